// SPDX-License-Identifier: Apache-2.0
// Byte-range locks of the files that all share. Each client holds one range at most and waits for
// none while it does, so that nobody waits in a circle. What the model knows: who was told that a
// range is its own has it until it gives it back, or until its life is dead and recovered.
#include <errno.h>
#include <stdlib.h>

#include "dlm/membership.h"
#include "fs/base/check.h"
#include "fs/cluster_state.h"
#include "fs/range_locks_dlm.h"
#include "fs/volume.h"
#include "tests/sim/ring3_client.h"

// Lives until it was answered, or with its life.
struct ring3_lock_request {
    struct range_lock_request request; // first
    LIST_ENTRY(ring3_lock_request) link;
    struct ring3_life *life;
    bool is_done, is_cancelled;
    int result;
};

// --- lives ---------------------------------------------------------------------------------------

void ring3_ranges_start(struct ring3_life *life)
{
    life->range_locks = range_locks_dlm_new(cluster_locks(life->cluster), life->machine->node_id);
}

void ring3_ranges_stop(struct ring3_life *life)
{
    struct ring3_client *client;
    for (unsigned i = 0; i < life->ring3->client_count; i++) {
        client = life->ring3->clients[i];
        if (client->range.life != life)
            continue;
        if (life->range_locks != NULL && life->volume->failure == 0)
            life->range_locks->operations->release_handle(
                life->range_locks, client->range.lock.inode, client->range.lock.handle);
        if (!life->memory.is_dead)
            client->range.life = NULL;
    }
    range_locks_dlm_free(life->range_locks);
    life->range_locks = NULL;
}

void ring3_ranges_free(struct ring3_life *life)
{
    struct ring3_lock_request *request;
    while ((request = LIST_FIRST(&life->lock_requests)) != NULL) {
        LIST_REMOVE(request, link);
        free(request);
    }
}

// --- what the model knows --------------------------------------------------------------------

// For a living node that has a view the other one is neither a member nor still to be recovered.
static bool has_recovered(const struct ring3_life *life, const struct ring3_life *dead)
{
    if (life->is_killed || life->cluster == NULL || life->cluster->membership == NULL)
        return false;
    const struct membership_view *view = membership_view_get(life->cluster->membership);
    for (uint32_t i = 0; i < view->member_count; i++) {
        if (view->members[i].incarnation == dead->incarnation &&
            view->members[i].node_id == dead->machine->node_id)
            return false;
    }
    for (uint32_t i = 0; i < view->dead_count; i++) {
        if (view->dead[i].incarnation == dead->incarnation &&
            view->dead[i].node_id == dead->machine->node_id)
            return false;
    }
    return view->member_count > 0;
}

static bool is_recovered(const struct ring3_life *dead)
{
    const struct ring3_life *life;
    LIST_FOREACH (life, &dead->ring3->lives, link) {
        if (life != dead && has_recovered(life, dead))
            return true;
    }
    return false;
}

static bool excludes(const struct range_lock *a, const struct range_lock *b)
{
    return a->inode == b->inode && a->start <= b->end && b->start <= a->end &&
           (a->is_exclusive || b->is_exclusive);
}

// Whose range, held since before `since`, forbids this one; NULL: nobody's.
static const struct ring3_client *who_excludes(const struct ring3_client *client,
                                               const struct range_lock *lock, ring3_tick since)
{
    const struct ring3 *ring3 = client->ring3;
    for (unsigned i = 0; i < ring3->client_count; i++) {
        const struct ring3_client *other = ring3->clients[i];
        if (other != client && other->range.life != NULL && other->range.since < since &&
            excludes(&other->range.lock, lock) && !is_recovered(other->range.life))
            return other;
    }
    return NULL;
}

static void check_granted(struct ring3_act *act, const struct range_lock *lock, ring3_tick since)
{
    const struct ring3_client *other = who_excludes(act->client, lock, since);
    char why[100];
    if (other == NULL)
        return;
    snprintf(why, sizeof(why), "client %u has [%llu, %llu] of it, through life %u", other->number,
             (unsigned long long)other->range.lock.start, (unsigned long long)other->range.lock.end,
             other->range.life->number);
    ring3_act_wrong(act, why);
}

// --- asking ----------------------------------------------------------------------------------

static void answered(struct range_lock_request *range_request, int result)
{
    struct ring3_lock_request *request = (struct ring3_lock_request *)range_request;
    request->is_done = true;
    request->result = result;
    ring3_life_moved(request->life);
}

static bool has_failed(const struct ring3_life *life)
{
    return life->is_killed || life->volume == NULL || life->volume->failure != 0;
}

// Waits for the answer; who wants to unmount takes the request back. -EIO: there is none.
static int wait_for_answer(struct ring3_lock_request *request)
{
    struct ring3_life *life = request->life;
    while (!request->is_done && !life->is_killed) {
        if (life->wants_leave && !request->is_cancelled && life->range_locks != NULL) {
            request->is_cancelled = true;
            life->range_locks->operations->cancel(life->range_locks, &request->request);
            continue;
        }
        wait_queue_wait(life->ring3->scheduler, &life->moved);
    }
    int result = request->is_done ? request->result : -EIO;
    if (request->is_done) {
        LIST_REMOVE(request, link);
        free(request);
    }
    return result;
}

static struct ring3_lock_request *request_new(struct ring3_life *life,
                                              const struct range_lock *lock, bool waits)
{
    struct ring3_lock_request *request = calloc(1, sizeof(*request));
    CHECK(request != NULL);
    request->request = (struct range_lock_request){.lock = *lock, .waits = waits, .done = answered};
    request->life = life;
    LIST_INSERT_HEAD(&life->lock_requests, request, link);
    return request;
}

// --- steps ---------------------------------------------------------------------------------------

static struct range_lock draw_lock(struct ring3_client *client)
{
    const struct ring3_tree *tree = client->ring3->tree;
    uint64_t start = ring3_choose(client, 8), last = start + ring3_choose(client, 4);
    return (struct range_lock){
        .inode = tree->objects[RING3_SHARED_DIRECTORIES + ring3_choose(client, RING3_SHARED_FILES)]
                     ->inode,
        .owner = client->number + 1,
        .handle = client->number + 1,
        .start = start,
        .end = ring3_choose(client, 16) == 0 ? UINT64_MAX : last,
        .is_exclusive = ring3_choose(client, 2) == 0,
    };
}

static void lock_range(struct ring3_client *client)
{
    struct range_lock lock = draw_lock(client);
    bool waits = ring3_choose(client, 3) != 0;
    struct ring3_act act = {.where = ""};
    if (!ring3_act_begin(&act, client, waits ? "lock a range" : "try to lock a range", false))
        return;
    struct ring3_life *life = act.life;
    struct ring3_lock_request *request = request_new(life, &lock, waits);
    life->range_locks->operations->lock(life->range_locks, &request->request);
    int result = wait_for_answer(request);
    bool is_refused = result == -EINTR || (result == -EAGAIN && !waits);
    if (ring3_act_end(&act, result, is_refused ? result : 0) != RING3_DONE)
        return;
    check_granted(&act, &lock, UINT64_MAX);
    client->range = (struct ring3_range){life, lock, ring3_tick_next(&client->ring3->memories)};
}

static void test_range(struct ring3_client *client)
{
    struct range_lock lock = draw_lock(client);
    struct ring3_act act = {.where = ""};
    if (!ring3_act_begin(&act, client, "test a range", false))
        return;
    struct ring3_life *life = act.life;
    struct ring3_lock_request *request = request_new(life, &lock, false);
    life->range_locks->operations->test(life->range_locks, &request->request);
    int result = wait_for_answer(request);
    if (ring3_act_end(&act, result, result == -EAGAIN ? result : 0) == RING3_DONE)
        check_granted(&act, &lock, act.begin);
}

// Through the life that has it, wherever the client is by now. Gone with that life: it has to be
// recovered before anybody forgets the range.
static void give_back(struct ring3_client *client)
{
    struct ring3_life *life = client->range.life;
    if (has_failed(life)) {
        if (is_recovered(life))
            client->range.life = NULL;
        return;
    }
    if (!life->is_mounted || life->range_locks == NULL)
        return; // it is about to give all back
    client->range.life = NULL;
    life->range_locks->operations->unlock(life->range_locks, &client->range.lock);
    ring3_trace(client->ring3, "client %u, life %u: gives its range back", client->number,
                life->number);
}

void ring3_ranges_step(struct ring3_client *client)
{
    if (client->range.life != NULL)
        give_back(client);
    else if (ring3_choose(client, 4) == 0)
        test_range(client);
    else
        lock_range(client);
}

void ring3_ranges_end(struct ring3_client *client)
{
    if (client->range.life != NULL)
        give_back(client);
}
