// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/ring2_history.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/check.h"
#include "fs/base/coroutine.h"
#include "fs/base/error.h"
#include "fs/base/text.h"
#include "fs/cluster_lock.h"
#include "fs/operation.h"

// --- what parts call -----------------------------------------------------------------------------

void ring2_fail(struct ring2_history *history, const char *format, ...)
{
    va_list arguments;
    if (history->result.is_failed)
        return;
    history->result.is_failed = true;
    va_start(arguments, format);
    vsnprintf(history->result.failure, sizeof(history->result.failure), format, arguments);
    va_end(arguments);
    ring2_trace(history, "FAILED: %s", history->result.failure);
}

void ring2_trace(struct ring2_history *history, const char *format, ...)
{
    va_list arguments;
    if (history->options.trace == NULL)
        return;
    fprintf(history->options.trace, "%12llu ", (unsigned long long)history->world.now_ns);
    va_start(arguments, format);
    vfprintf(history->options.trace, format, arguments);
    va_end(arguments);
    fputc('\n', history->options.trace);
}

struct ring2_file *ring2_history_new_file(struct ring2_history *history)
{
    if (history->file_count == RING2_FILES_MAX)
        return NULL;
    struct ring2_file *file = ring2_file_new((uint16_t)(history->file_count + 1));
    history->files[history->file_count++] = file;
    return file;
}

bool ring2_no_space(struct ring2_history *history, unsigned node)
{
    if (!history->is_nearly_full)
        return false;
    history->is_full = true;
    ring2_did(history, RING2_ROW_no_space);
    if (operation_reclaim(history->nodes[node].volume))
        ring2_did(history, RING2_ROW_reclaim);
    return true;
}

void ring2_freed(struct ring2_history *history)
{
    if (history->is_full)
        ring2_did(history, RING2_ROW_freed_when_full);
    history->is_full = false;
}

// --- cuts at writes ------------------------------------------------------------------------------

static void on_write(void *context, const struct sim_disk_write *write)
{
    struct ring2_history *history = context;
    unsigned one_in = history->cuts_one_in;
    (void)write;
    history->result.writes++;
    if (!ring2_goes_on(history) || history->is_checking)
        return;
    if (history->steps_under_way > 0 && one_in > 4)
        one_in = 4;
    if (!random_one_in(&history->cut_random, one_in))
        return;
    history->is_checking = true;
    ring2_cut(history);
    history->is_checking = false;
}

// --- work ----------------------------------------------------------------------------------------

static void client_body(void *argument)
{
    struct ring2_client *client = argument;
    struct ring2_history *history = client->history;
    while (ring2_goes_on(history) && client->operations_left > 0) {
        client->operations_left--;
        ring2_client_step(client);
        if (random_one_in(&history->random, 4))
            environment_sleep(&history->nodes[0].world_node.environment,
                              random_below(&history->random, 3000000));
        else
            coroutine_pause(history->world.scheduler);
    }
    history->user_count--;
}

static bool clients_work(const struct ring2_history *history)
{
    for (unsigned i = 0; i < RING2_CLIENTS; i++) {
        if (history->clients[i].operations_left > 0)
            return true;
    }
    return false;
}

struct lane_start {
    struct ring2_history *history;
    unsigned lane;
};

static void lane_body(void *argument)
{
    struct lane_start *start = argument;
    struct ring2_history *history = start->history;
    while (ring2_goes_on(history) && clients_work(history)) {
        ring2_lane_step(history, start->lane);
        environment_sleep(&history->nodes[0].world_node.environment,
                          random_below(&history->random, 400000));
    }
    history->user_count--;
}

static void close_all(void *argument)
{
    struct ring2_history *history = argument;
    while (history->user_count > 0)
        environment_sleep(&history->nodes[0].world_node.environment, 1000);
    for (unsigned i = 0; i < RING2_CLIENTS; i++)
        ring2_client_close_all(&history->clients[i]);
}

// Nothing takes a minute: whoever waits that long waits for ever.
static bool hangs(struct ring2_history *history)
{
    static const uint64_t patience_ns = 60000000000;
    uint64_t done = history->result.operations; // lanes need nobody
    if (done != history->last_done) {
        history->last_done = done;
        history->last_done_ns = history->world.now_ns;
    }
    if (history->world.now_ns - history->last_done_ns < patience_ns)
        return false;
    ring2_fail(history, "operations hang");
    for (unsigned i = 0; history->options.trace != NULL && i < history->options.node_count; i++) {
        TEXT(text, 1 << 16);
        lock_table_to_text(history->nodes[i].volume->locks, &text);
        fprintf(history->options.trace, "locks of node %u:\n%s", i, text.bytes);
    }
    return true;
}

// Lets clients and lanes work until the clients have done their part, or until `stop_ns`.
static void work(struct ring2_history *history, uint64_t operations, uint64_t stop_ns)
{
    struct lane_start lanes[RING2_LANES];
    struct world *world = &history->world;
    history->last_done_ns = world->now_ns;
    history->user_count = RING2_CLIENTS + RING2_LANES;
    for (unsigned i = 0; i < RING2_CLIENTS; i++) {
        history->clients[i].operations_left = operations;
        coroutine_start(world->scheduler, "client", client_body, &history->clients[i]);
    }
    for (unsigned i = 0; i < RING2_LANES; i++) {
        lanes[i] = (struct lane_start){history, i};
        coroutine_start(world->scheduler, "lane", lane_body, &lanes[i]);
    }
    scheduler_run(world->scheduler);
    while (history->user_count > 0 && world->now_ns < stop_ns && !hangs(history))
        CHECK(world_step(world)); // else somebody waits for something that never comes
    if (hangs(history))
        return;
    if (history->user_count > 0) {
        history->result.crashes++;
        ring2_trace(history, "a crash");
        ring2_crash(&history->nodes[0], close_all, history);
        return;
    }
    ring2_run(world, close_all, history);
}

// --- a history -----------------------------------------------------------------------------------

static void make_tops(void *argument)
{
    struct ring2_history *history = argument;
    struct volume *volume = history->nodes[0].volume;
    for (unsigned i = 0; i < RING2_CLIENTS; i++) {
        struct credentials who = {.uid = 0, .gid = 0};
        struct attributes made;
        char name[8];
        snprintf(name, sizeof(name), "c%u", i);
        CHECK(operation_make_directory(volume, volume->geometry.root_inode, name, 0755, &who,
                                       &made) == 0);
        history->clients[i].top_inode = made.inode;
        ring2_tree_init(&history->clients[i].tree, made.inode);
        history->clients[i].states[0] = history->clients[i].tree;
        history->clients[i].state_count = 1;
    }
    if (history->is_nearly_full || history->is_fragmented)
        ring2_history_fill(history);
    ring2_quota_begin(history);
    CHECK(operation_sync_volume(volume) == 0);
}

static bool mount_nodes(struct ring2_history *history)
{
    int result = ring2_mount(history->nodes, history->options.node_count, &history->world,
                             history->disk, history->options.trace != NULL);
    if (result == 0) {
        history->result.rows.counts[RING2_ROW_orphan_at_mount] += history->nodes[0].orphan_count;
        return true;
    }
    ring2_fail(history, "mount: %s (%s)", error_text(result), history->nodes[0].log.first_error);
    return false;
}

static void unmount_nodes(struct ring2_history *history)
{
    int result = ring2_unmount(history->nodes, history->options.node_count);
    if (result != 0)
        ring2_fail(history, "unmount: %s", error_text(result));
    for (unsigned i = 0; i < history->options.node_count; i++) {
        if (history->nodes[i].log.error_count > 0)
            ring2_fail(history, "node %u logged: %s", i, history->nodes[i].log.first_error);
    }
    ring2_fsck(history, &history->world, history->disk);
}

static void check_and_adopt(void *argument)
{
    struct ring2_history *history = argument;
    ring2_check(history, history->nodes[0].volume, history->after_crash, true);
}

// In one life of three a node looks at all metadata meanwhile: what it wrongly complains about is
// an error in its log, and marks the volume.
static void scrub_beside(struct ring2_history *history, unsigned life)
{
    uint64_t seed = history->options.seed;
    if ((seed + life) % 3 == 0)
        ring2_scrub(&history->nodes[life % history->options.node_count], seed % 2 == 0 ? 0 : 3000);
}

static void note_scrubs(struct ring2_history *history)
{
    for (unsigned i = 0; i < history->options.node_count; i++) {
        if (history->nodes[i].has_scrubbed)
            ring2_did(history, RING2_ROW_scrub);
    }
}

// From a mount to a crash or a clean unmount, and the look at what is there.
static void run_life(struct ring2_history *history, unsigned life)
{
    struct world *world = &history->world;
    bool crashes = history->options.node_count == 1 && random_one_in(&history->random, 2);
    uint64_t operations = 40 + random_below(&history->random, 120);
    uint64_t stop_ns =
        crashes ? world->now_ns + random_below(&history->random, 400000000) : UINT64_MAX;
    scrub_beside(history, life);
    work(history, operations, stop_ns);
    bool has_crashed = !history->nodes[0].is_mounted;
    if (!has_crashed && !history->result.is_failed)
        unmount_nodes(history);
    note_scrubs(history);
    if (history->nodes[0].handle_credits_most > history->result.handle_credits_most)
        history->result.handle_credits_most = history->nodes[0].handle_credits_most;
    if (history->result.is_failed || !mount_nodes(history))
        return;
    history->after_crash = has_crashed;
    ring2_run(world, check_and_adopt, history);
}

static void run_lives(struct ring2_history *history)
{
    unsigned lives = 2 + (unsigned)random_below(&history->random, 3);
    if (!mount_nodes(history))
        return;
    ring2_run(&history->world, make_tops, history);
    sim_disk_set_hook(history->disk, on_write, history);
    for (unsigned i = 0; i < lives && !history->result.is_failed; i++)
        run_life(history, i);
    history->is_checking = true; // no more cuts
    if (history->nodes[0].is_mounted && !history->result.is_failed)
        unmount_nodes(history);
}

static void begin(struct ring2_history *history, struct scheduler *scheduler)
{
    random_init(&history->random, history->options.seed);
    random_init(&history->cut_random, history->options.seed ^ 0x9e3779b97f4a7c15u);
    world_init(&history->world, history->options.seed, scheduler);
    history->cuts_one_in =
        history->options.cuts_everywhere ? 1 : 20 + (unsigned)random_below(&history->random, 100);
    ring2_history_format(history);
    for (unsigned i = 0; i < RING2_CLIENTS; i++) {
        struct ring2_client *client = &history->clients[i];
        client->history = history;
        client->number = i;
        client->states = calloc(RING2_STATES_MAX, sizeof(client->states[0]));
        CHECK(client->states != NULL);
    }
}

// After a failure coroutines may be left: their world goes with the process.
static void end(struct ring2_history *history, struct scheduler *scheduler)
{
    for (unsigned i = 0; i < RING2_CLIENTS; i++)
        free(history->clients[i].states);
    for (unsigned i = 0; i < history->file_count; i++)
        ring2_file_free(history->files[i]);
    if (history->result.is_failed)
        return;
    sim_disk_free(history->disk);
    world_deinit(&history->world);
    scheduler_free(scheduler);
}

void ring2_history_run(const struct ring2_options *options, struct ring2_result *result)
{
    struct ring2_history *history = calloc(1, sizeof(*history));
    struct scheduler *scheduler = scheduler_new();
    CHECK(history != NULL);
    history->options = *options;
    begin(history, scheduler);
    run_lives(history);
    *result = history->result;
    end(history, scheduler);
    if (!result->is_failed)
        free(history);
}
