// SPDX-License-Identifier: Apache-2.0
// The granting side of byte ranges. As with fcntl on one machine, a request waits only for ranges
// that are held, not for others that wait; those are tried again, oldest first, whenever something
// was let go.
//
// A request that only the dead stand against waits for their recovery, even one that does not want
// to wait: "somebody holds it" would be an answer that nobody alive can vouch for.
#include "dlm/core.h"

#include "fs/base/check.h"
#include "fs/base/sabotage.h"

#include <errno.h>

void core_range_waiter_free(struct dlm_core *core, struct core_resource *resource,
                            struct core_range_waiter *waiter)
{
    TAILQ_REMOVE(&resource->range_waiters, waiter, link);
    pool_put(&core->waiter_pool, waiter);
}

static void answer(struct dlm_core *core, struct core_resource *resource,
                   struct core_range_waiter *waiter, int error, const struct core_range *conflict,
                   bool is_kept)
{
    struct message_range_result_wire m = {
        .name = message_name_make(resource->name),
        .cookie = le64_make(waiter->cookie),
        .serial = le64_make(waiter->serial),
        .seen = le64_make(waiter->peer->range_serial_seen),
        .error = message_error_make(error),
        .is_kept = is_kept,
    };
    if (conflict) {
        m.conflict_node = message_node_make(conflict->node);
        m.conflict = message_range_make(&conflict->range);
    }
    core_send(core, waiter->peer, &m, MESSAGE_RANGE_RESULT, sizeof(m));
    core_range_waiter_free(core, resource, waiter);
}

// A range that was just granted stands in the way of others: a ring may have closed.
static void suspect_waiters(struct core_resource *resource)
{
    struct core_range_waiter *waiter;

    TAILQ_FOREACH (waiter, &resource->range_waiters, link)
        waiter->is_suspect = true;
}

// A part that its owner has exclusive and now asks shared stays exclusive until the owner knows.
static bool give(struct dlm_core *core, struct core_resource *resource, struct dlm_node node,
                 const struct dlm_range *range)
{
    core->counters.mastered_grants++;
    if (range->type == DLM_RANGE_SHARED)
        return core_range_set_add_shared(&resource->ranges, &core->range_pool, node, range);
    core_range_set_add(&resource->ranges, &core->range_pool, node, false, range);
    return false;
}

enum verdict { VERDICT_WAIT, VERDICT_ANSWERED, VERDICT_GRANTED };

static enum verdict waiter_try(struct dlm_core *core, struct core_resource *resource,
                               struct core_range_waiter *waiter)
{
    struct dlm_node node = waiter->peer->node;
    struct dlm_range range = waiter->range;
    const struct core_range *conflict = core_range_set_conflict(&resource->ranges, node, &range);

    if (!conflict && resource->is_orphaned && !SABOTAGE(dlm_forget_dead_ranges))
        return VERDICT_WAIT;
    if (!conflict) {
        bool is_test = waiter->is_test;
        bool is_kept = !is_test && give(core, resource, node, &range);
        answer(core, resource, waiter, 0, NULL, is_kept);
        return is_test ? VERDICT_ANSWERED : VERDICT_GRANTED;
    }
    if (waiter->wait || (conflict->is_dead && !waiter->is_test))
        return VERDICT_WAIT;
    answer(core, resource, waiter, -EAGAIN, conflict, false);
    return VERDICT_ANSWERED;
}

// One pass over the waiters. True if a range was granted.
static bool try_all(struct dlm_core *core, struct core_resource *resource)
{
    struct core_range_waiter *waiter = TAILQ_FIRST(&resource->range_waiters), *next;
    bool any = false;

    for (; waiter; waiter = next) {
        next = TAILQ_NEXT(waiter, link);
        any = waiter_try(core, resource, waiter) == VERDICT_GRANTED || any;
    }
    return any;
}

void core_range_master_run(struct dlm_core *core, struct core_resource *resource)
{
    if (TAILQ_EMPTY(&resource->range_waiters))
        return;
    if (try_all(core, resource))
        suspect_waiters(resource);
    core_deadlock_search(core, resource);
}

// Every operation of a peer is noted, also one that is refused: `seen` counts what is past.
static void note_serial(const struct core_message *message, uint64_t serial)
{
    if (serial > message->from->range_serial_seen)
        message->from->range_serial_seen = serial;
}

void core_range_master_receive_lock(struct dlm_core *core, const struct core_message *message)
{
    const struct message_range_lock_wire *m = message->wire;
    struct core_resource *resource =
        core_resource_open(core, message_name_get(&m->name), message->epoch);

    note_serial(message, le64_get(m->serial));
    if (!resource)
        return;
    struct core_range_waiter *waiter = pool_get(&core->waiter_pool);
    waiter->peer = message->from;
    waiter->cookie = le64_get(m->cookie);
    waiter->serial = le64_get(m->serial);
    waiter->range = message_range_get(&m->range);
    waiter->is_test = le16_get(m->header.type) == MESSAGE_RANGE_TEST;
    waiter->wait = m->wait;
    waiter->is_suspect = true;
    TAILQ_INSERT_TAIL(&resource->range_waiters, waiter, link);
    core_resource_run(core, resource);
}

void core_range_master_receive_unlock(struct dlm_core *core, const struct core_message *message)
{
    const struct message_range_unlock_wire *m = message->wire;
    struct core_resource *resource =
        core_resource_find_steady(core, message_name_get(&m->name), message->epoch);
    struct dlm_range range = message_range_get(&m->range);

    note_serial(message, le64_get(m->serial));
    if (!resource)
        return;
    if (m->is_share)
        core_range_set_share(&resource->ranges, &core->range_pool, message->from->node, &range);
    else
        core_range_set_remove(&resource->ranges, &core->range_pool, message->from->node, &range,
                              m->scope);
    core_resource_run(core, resource);
}

struct core_range_waiter *core_range_waiter_find(struct core_resource *resource,
                                                 const struct core_peer *peer, uint64_t serial)
{
    struct core_range_waiter *waiter;

    TAILQ_FOREACH (waiter, &resource->range_waiters, link)
        if (waiter->peer == peer && waiter->serial == serial)
            return waiter;
    return NULL;
}

void core_range_master_receive_cancel(struct dlm_core *core, const struct core_message *message)
{
    const struct message_range_cancel_wire *m = message->wire;
    struct core_resource *resource = core_resource_find(core, message_name_get(&m->name));
    struct core_range_waiter *waiter =
        resource ? core_range_waiter_find(resource, message->from, le64_get(m->serial)) : NULL;

    if (!waiter)
        return; // answered already, the answer is on its way
    answer(core, resource, waiter, message_error_get(m->error), NULL, false);
    core_resource_run(core, resource);
}

void core_range_master_receive_hold(struct dlm_core *core, const struct core_message *message)
{
    const struct message_range_hold_wire *m = message->wire;
    struct dlm_node node = message_node_get(&m->holder);
    struct dlm_range range = message_range_get(&m->range);
    bool is_own = node_equal(message->from->node, node);

    if (!is_own && !core_dead_has(&core->dead, node))
        return; // recovered in the meantime
    struct core_resource *resource =
        core_resource_open(core, message_name_get(&m->name), message->epoch);
    if (!resource)
        return;
    if (resource->is_moving || SABOTAGE(dlm_no_end_of_holders)) {
        core->counters.rebuild_conflicts +=
            core_range_set_conflict(&resource->ranges, node, &range) != NULL;
        core->counters.rebuilt_locks++;
        core_range_set_add(&resource->ranges, &core->range_pool, node, !is_own, &range);
    } else {
        core->counters.messages_refused++;
    }
    core_resource_run(core, resource);
}
