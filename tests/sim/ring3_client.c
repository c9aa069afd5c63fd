// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/ring3_attributes.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/check.h"
#include "fs/base/coroutine.h"
#include "fs/base/error.h"
#include "fs/volume.h"
#include "tests/sim/ring3_part.h"

uint64_t ring3_choose(struct ring3_client *client, uint64_t bound)
{
    return random_below(&client->ring3->work_random, bound);
}

static void rest(struct ring3_client *client, uint64_t ns)
{
    environment_sleep(&client->ring3->client_node.environment, ns);
}

// --- operations ------------------------------------------------------------------------------

bool ring3_act_begin(struct ring3_act *act, struct ring3_client *client, const char *what,
                     bool changes)
{
    struct ring3_life *life = client->life;
    struct ring3 *ring3 = client->ring3;
    char where[sizeof(act->where)];
    memcpy(where, act->where, sizeof(where));
    *act = (struct ring3_act){
        .client = client, .life = life, .what = what, .began_ns = ring3->world->now_ns};
    memcpy(act->where, where, sizeof(where));
    if (ring3->result.is_failed || life == NULL || !ring3_life_begin(life))
        return false;
    act->deaths = ring3->deaths;
    if (changes)
        act->change = ring3_change_begin(&ring3->memories, &life->memory, what);
    act->begin = changes ? act->change->begin : ring3_tick_next(&ring3->memories);
    ring3_trace(ring3, "client %u, life %u: %s begins", client->number, life->number, what);
    return true;
}

struct volume *ring3_act_volume(const struct ring3_act *act)
{
    return act->life->volume;
}

void ring3_act_wrong(struct ring3_act *act, const char *why)
{
    ring3_fail(act->client->ring3, "client %u, life %u on n%u: %s %.60s: %s", act->client->number,
               act->life->number, act->life->machine->node_id, act->what, act->where, why);
}

// A death while it was under way, or since this client looked last, leaves open what it met: not
// there, there again, full, empty.
static bool is_open_ended(const struct ring3_act *act, long result)
{
    static const int errors[] = {-ENOENT,  -ESTALE, -EEXIST, -ENOTEMPTY,
                                 -ENOTDIR, -EISDIR, -ENODATA};
    const struct ring3_client *client = act->client;
    unsigned deaths = client->ring3->deaths;
    if (deaths == act->deaths && deaths == client->settled_deaths)
        return false;
    for (unsigned i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
        if (result == errors[i])
            return true;
    }
    return result >= 0;
}

static void client_did_one(struct ring3 *ring3)
{
    ring3->result.operations++;
    if (ring3->operations_left > 0)
        ring3->operations_left--;
}

static void note_wait(const struct ring3_act *act)
{
    struct ring3 *ring3 = act->client->ring3;
    uint64_t *longest_ns = &ring3->result.waits_ns[RING3_WAIT_answer];
    uint64_t from_ns = act->began_ns > ring3->healed_ns ? act->began_ns : ring3->healed_ns;
    if (ring3->is_healing && ring3->world->now_ns - from_ns > *longest_ns)
        *longest_ns = ring3->world->now_ns - from_ns;
}

enum ring3_answer ring3_act_end(struct ring3_act *act, long result, int expected)
{
    struct ring3 *ring3 = act->client->ring3;
    struct ring3_life *life = act->life;
    bool is_answered = ring3_life_may_answer(life);
    enum ring3_answer answer = RING3_WRONG;
    note_wait(act);
    ring3_trace(ring3, "client %u, life %u: %s %.60s: %s", act->client->number, life->number,
                act->what, act->where,
                !is_answered  ? "no answer"
                : result >= 0 ? "done"
                              : error_text((int)result));
    if (!is_answered || (result == -EIO && life->had_errors)) {
        ring3->result.unknown++;
        answer = RING3_UNKNOWN;
        if (is_answered && act->change != NULL)
            ring3_life_doubt(life);
    } else if (result == expected || (expected == 0 && result > 0) || is_open_ended(act, result)) {
        if (act->client->number == RING3_NOBODY)
            ring3->result.looks++;
        else
            client_did_one(ring3);
        answer = result >= 0 ? RING3_DONE : RING3_REFUSED;
        if (act->change != NULL)
            ring3_change_end(&ring3->memories, act->change);
    } else {
        char why[160];
        snprintf(why, sizeof(why), "answered %ld (%s), expected %d", result,
                 result < 0 ? error_text((int)result) : "bytes", expected);
        ring3_act_wrong(act, why);
    }
    ring3_life_end(life);
    return answer;
}

void ring3_sync_step(struct ring3_client *client)
{
    struct ring3_act act = {.where = ""};
    if (!ring3_act_begin(&act, client, "syncfs", false))
        return;
    int result = operation_sync_volume(ring3_act_volume(&act));
    if (ring3_act_end(&act, result, 0) == RING3_DONE && act.begin > act.life->memory.durable)
        act.life->memory.durable = act.begin;
}

// --- a client's day ----------------------------------------------------------------------------

static struct ring3_life *life_at(const struct ring3_machine *machine)
{
    struct ring3_life *life = machine->life;
    return life != NULL && life->is_mounted && !life->is_killed ? life : NULL;
}

// Where it is, or on the next machine that is mounted.
static bool find_life(struct ring3_client *client)
{
    struct ring3 *ring3 = client->ring3;
    for (unsigned i = 0; i < ring3->machine_count; i++) {
        client->life = life_at(client->at);
        if (client->life != NULL)
            return true;
        client->at = &ring3->machines[client->at->node_id % ring3->machine_count];
    }
    client->at = NULL;
    return false;
}

bool ring3_client_move(struct ring3_client *client)
{
    struct ring3 *ring3 = client->ring3;
    client->at = &ring3->machines[ring3_choose(client, ring3->machine_count)];
    return find_life(client);
}

// Mostly where it was; after a death, or at a whim, anywhere.
static bool choose_life(struct ring3_client *client)
{
    if (client->at == NULL || ring3_choose(client, 6) == 0)
        return ring3_client_move(client);
    return find_life(client);
}

static void forget_handles(struct ring3_client *client)
{
    for (unsigned i = 0; i < RING3_HANDLES; i++) {
        struct ring3_handle *handle = client->handles[i];
        if (handle == NULL || (handle->open != NULL && !handle->life->is_killed))
            continue;
        if (handle->open != NULL)
            continue; // its life is about to release it
        ring3_handle_free(handle);
        client->handles[i] = NULL;
    }
}

static void step(struct ring3_client *client)
{
    static const struct {
        unsigned share; // of 100
        void (*step)(struct ring3_client *client);
    } steps[] = {
        {37, ring3_names_step}, {17, ring3_attributes_step}, {36, ring3_files_step},
        {4, ring3_sync_step},   {5, ring3_ranges_step},      {1, ring3_space_look},
    };
    if (!ring3_protection_undo(client) || client->life == NULL)
        return;
    uint64_t dice = ring3_choose(client, 100);
    unsigned i = 0;
    while (dice >= steps[i].share)
        dice -= steps[i++].share;
    steps[i].step(client);
}

// Thinks long enough that the clients' work fills the history's time.
static uint64_t draw_pause(struct ring3_client *client)
{
    const struct ring3 *ring3 = client->ring3;
    uint64_t mean_ns = ring3->is_healing || ring3->options.operation_count == 0
                           ? 1 * RING3_MS
                           : ring3->work_ns * ring3->client_count / ring3->options.operation_count;
    if (ring3_choose(client, 3) == 0)
        return ring3_choose(client, 4 * mean_ns + 1);
    return ring3_choose(client, mean_ns + 1);
}

void ring3_client_work(void *argument)
{
    struct ring3_client *client = argument;
    struct ring3 *ring3 = client->ring3;
    while (!ring3->result.is_failed && (ring3->operations_left > 0 || ring3_faults_are_due(ring3) ||
                                        client->protected != NULL)) {
        forget_handles(client);
        if (!choose_life(client)) {
            rest(client, 50 * RING3_MS);
            continue;
        }
        if (!ring3_names_settle(client)) {
            client->at = NULL;
            rest(client, 20 * RING3_MS);
            continue;
        }
        uint64_t before = ring3->result.operations;
        step(client);
        if (ring3->result.operations == before)
            client->at = NULL;
        rest(client, draw_pause(client));
    }
    ring3_ranges_end(client);
    ring3->clients_at_work--;
}

struct ring3_client *ring3_client_new(struct ring3 *ring3, unsigned number)
{
    struct ring3_client *client = calloc(1, sizeof(*client));
    CHECK(client != NULL);
    client->ring3 = ring3;
    client->number = number;
    client->at = &ring3->machines[number % ring3->machine_count];
    return client;
}

void ring3_client_free(struct ring3_client *client)
{
    for (unsigned i = 0; i < RING3_HANDLES; i++) {
        if (client->handles[i] != NULL)
            ring3_handle_free(client->handles[i]);
    }
    free(client);
}

// --- the final check ---------------------------------------------------------------------------

static bool verify_names(struct ring3_client *client, struct ring3_object *directory)
{
    for (unsigned i = 0; i < directory->name_count; i++) {
        if (!ring3_look_name(client, directory, i))
            return false;
    }
    return ring3_look_directory(client, directory);
}

static bool verify_object(struct ring3_client *client, struct ring3_object *object)
{
    if (!ring3_look_attributes(client, object) || !ring3_look_acls(client, object) ||
        !ring3_look_xattrs(client, object))
        return false;
    return object->kind != RING3_FILE || ring3_look_content(client, object);
}

static void reach(struct ring3_tree *tree, const struct ring3_object *directory)
{
    for (unsigned i = 0; i < directory->name_count; i++) {
        struct ring3_object *object =
            ring3_object_of(tree, ring3_cell_latest(&directory->names[i]));
        if (object != NULL)
            object->is_reached = true;
    }
}

// Directories first made lie below later ones at times: round after round, until nothing is new.
static bool verify_all_names(struct ring3_client *looker, bool *is_done)
{
    struct ring3_tree *tree = looker->ring3->tree;
    bool is_new = true;
    for (unsigned i = 0; i < tree->count; i++)
        tree->objects[i]->is_reached = i < RING3_SHARED_DIRECTORIES;
    while (is_new) {
        is_new = false;
        for (unsigned i = 0; i < tree->count; i++) {
            struct ring3_object *object = tree->objects[i];
            if (!object->is_reached || is_done[i] || object->kind != RING3_DIRECTORY)
                continue;
            is_done[i] = is_new = true;
            if (!verify_names(looker, object))
                return false;
            reach(tree, object);
        }
    }
    return true;
}

void ring3_verify(struct ring3 *ring3, struct ring3_life *life)
{
    struct ring3_client looker = {.ring3 = ring3, .number = RING3_NOBODY, .life = life};
    struct ring3_tree *tree = ring3->tree;
    bool *is_done = calloc(tree->count, sizeof(bool));
    CHECK(is_done != NULL);
    bool holds = verify_all_names(&looker, is_done);
    for (unsigned i = 0; i < tree->count; i++)
        tree->objects[i]->is_gone = !tree->objects[i]->is_reached;
    for (unsigned i = 0; holds && i < tree->count; i++)
        holds = !tree->objects[i]->is_reached || verify_object(&looker, tree->objects[i]);
    free(is_done);
    if (!holds)
        ring3_fail(ring3, "life %u could not look at everything", life->number);
}
