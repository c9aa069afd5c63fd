// SPDX-License-Identifier: Apache-2.0
// Deadlock of waits for POSIX byte ranges over several masters, found by chasing edges (after
// Chandy, Misra and Haas 1983). An edge "owner waits for owner" is known to the master of the
// resource; what an owner waits for itself, to that owner's node:
//
//   master of R1                 node of Q                 master of R2
//   P waits for Q's range ─PROBE_OWNER─► Q waits on R2 ─PROBE_WAITER─► Q waits for P's range:
//                                                                      a ring
//   node of P  ◄───────────────────────── DEADLOCK ────────────────────┘
//     └─ takes its wait back: EDEADLK
//
// A search starts from a wait when the wait begins and whenever a range was granted that may stand
// in its way, so whichever edge closes a ring last finds it. After a view change all waits are
// searched from again, since probes may have been lost on resources that moved. Each wait passes a
// search on once, so a search ends. Owners that are cancelled or unlocked by other threads while a
// search is under way may be told of a ring that has just opened: POSIX allows that.
#include "dlm/core.h"

#include "fs/base/check.h"
#include "fs/base/memory.h"

#include <errno.h>
#include <stdlib.h>

static void send_found(struct dlm_core *core, const struct probe_wire *probe)
{
    struct core_peer *peer = core_peer_find(core, message_node_get(&probe->node));
    struct message_deadlock_wire m = {.cookie = probe->cookie, .serial = probe->serial};

    if (peer)
        core_send(core, peer, &m, MESSAGE_DEADLOCK, sizeof(m));
}

static void send_owner(struct dlm_core *core, const struct core_range *held,
                       const struct probe_wire *probe)
{
    struct core_peer *peer = core_peer_find(core, held->node);
    struct message_probe_owner_wire m = {
        .probe = *probe,
        .owner = le64_make(held->range.owner),
    };
    if (peer)
        core_send(core, peer, &m, MESSAGE_PROBE_OWNER, sizeof(m));
}

static bool is_initiator(const struct core_range *held, const struct probe_wire *probe)
{
    return node_equal(held->node, message_node_get(&probe->node)) &&
           held->range.owner == le64_get(probe->owner);
}

// Follows the edges from one waiter to all who hold what it wants.
static void chase(struct dlm_core *core, struct core_resource *resource,
                  const struct core_range_waiter *waiter, const struct probe_wire *probe)
{
    const struct core_range *held;

    TAILQ_FOREACH (held, &resource->ranges, link) {
        if (held->is_dead || !core_range_conflicts(held, waiter->peer->node, &waiter->range))
            continue;
        if (is_initiator(held, probe))
            send_found(core, probe);
        else
            send_owner(core, held, probe);
    }
}

static bool can_be_in_ring(const struct core_range_waiter *waiter)
{
    return waiter->wait && !waiter->is_test && waiter->range.space == DLM_RANGE_POSIX;
}

void core_deadlock_search(struct dlm_core *core, struct core_resource *resource)
{
    struct core_range_waiter *waiter;

    TAILQ_FOREACH (waiter, &resource->range_waiters, link) {
        if (!waiter->is_suspect || !can_be_in_ring(waiter))
            continue;
        struct probe_wire probe = {
            .node = message_node_make(waiter->peer->node),
            .owner = le64_make(waiter->range.owner),
            .cookie = le64_make(waiter->cookie),
            .serial = le64_make(waiter->serial),
            .number = le64_make(++core->probe_number),
        };
        waiter->is_suspect = false;
        chase(core, resource, waiter, &probe);
    }
}

// True once for each search, at each wait.
static bool pass_on(struct core_range_wait *wait, const struct probe_wire *probe)
{
    struct dlm_node node = message_node_get(&probe->node);
    uint64_t serial = le64_get(probe->serial), number = le64_get(probe->number);

    for (size_t i = 0; i < wait->probe_count; i++) {
        struct core_probe_seen *seen = &wait->probes[i];
        if (!node_equal(seen->node, node) || seen->serial != serial)
            continue;
        bool is_newer = number > seen->number;
        seen->number = is_newer ? number : seen->number;
        return is_newer;
    }
    if (wait->probe_count == wait->probe_capacity) {
        wait->probe_capacity = wait->probe_capacity ? wait->probe_capacity * 2 : 4;
        wait->probes = memory_resize(wait->probes, wait->probe_capacity, sizeof(*wait->probes));
    }
    wait->probes[wait->probe_count++] = (struct core_probe_seen){node, serial, number};
    return true;
}

static bool is_waited_by(const struct core_range_wait *wait, uint64_t owner)
{
    return wait->wait && !wait->is_test && !wait->cancel_error && wait->file->master &&
           wait->range.space == DLM_RANGE_POSIX && wait->range.owner == owner;
}

void core_deadlock_receive_owner(struct dlm_core *core, const struct core_message *message)
{
    const struct message_probe_owner_wire *m = message->wire;
    struct core_range_wait *wait;

    TAILQ_FOREACH (wait, &core->waits, all_link) {
        if (!is_waited_by(wait, le64_get(m->owner)) || !pass_on(wait, &m->probe))
            continue;
        struct message_probe_waiter_wire on = {
            .probe = m->probe,
            .name = message_name_make(wait->file->name),
            .cookie = le64_make(wait->cookie),
            .serial = le64_make(wait->serial),
        };
        core_send(core, wait->file->master, &on, MESSAGE_PROBE_WAITER, sizeof(on));
    }
}

void core_deadlock_receive_waiter(struct dlm_core *core, const struct core_message *message)
{
    const struct message_probe_waiter_wire *m = message->wire;
    struct core_resource *resource =
        core_resource_find_steady(core, message_name_get(&m->name), message->epoch);
    const struct core_range_waiter *waiter =
        resource ? core_range_waiter_find(resource, message->from, le64_get(m->serial)) : NULL;

    if (waiter && !resource->is_moving)
        chase(core, resource, waiter, &m->probe);
}

void core_deadlock_receive_found(struct dlm_core *core, const struct core_message *message)
{
    const struct message_deadlock_wire *m = message->wire;
    struct core_range_wait *wait;

    TAILQ_FOREACH (wait, &core->waits, all_link) {
        if (wait->serial != le64_get(m->serial) || wait->cookie != le64_get(m->cookie))
            continue;
        core->counters.deadlocks++;
        core_range_wait_cancel(core, wait, -EDEADLK);
        return;
    }
}
