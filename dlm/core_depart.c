// SPDX-License-Identifier: Apache-2.0
// What becomes of a resource that this node masters, or has mastered, when others go: what moved is
// let go of, who left is forgotten, what the dead hold stays until they are recovered.
#include "dlm/core.h"

#include "fs/base/sabotage.h"

// Only the old master knows what the dead hold here: it tells the new one.
static void relay_dead(struct dlm_core *core, const struct core_resource *resource,
                       struct core_peer *master)
{
    const struct core_holder *holder;
    const struct core_range *held;

    TAILQ_FOREACH (holder, &resource->granted, granted_link) {
        struct message_hold_wire m = {
            .name = message_name_make(resource->name),
            .holder = message_node_make(holder->node),
            .cookie = le64_make(holder->cookie),
            .serial = le64_make(holder->base),
            .granted = holder->granted,
            .requested = DLM_MODE_NONE,
        };
        if (holder->at_most != DLM_MODE_NONE) {
            m.flags = MESSAGE_AT_MOST;
            m.granted = resource->is_moving ? holder->at_most : holder->granted;
        }
        if (core_dead_has(&core->dead, holder->node) && !SABOTAGE(dlm_no_relay))
            core_send(core, master, &m, MESSAGE_HOLD, sizeof(m));
    }
    TAILQ_FOREACH (held, &resource->ranges, link) {
        struct message_range_hold_wire m = {
            .name = message_name_make(resource->name),
            .holder = message_node_make(held->node),
            .range = message_range_make(&held->range),
        };
        if (core_dead_has(&core->dead, held->node) && !SABOTAGE(dlm_no_relay))
            core_send(core, master, &m, MESSAGE_RANGE_HOLD, sizeof(m));
    }
}

// A lock of somebody who is no member any more: kept if it died, purged if it left (rule 28).
static void depart_holder(struct dlm_core *core, struct core_holder *holder)
{
    struct core_resource *resource = holder->resource;
    bool is_dead = core_dead_has(&core->dead, holder->node);

    if (holder->granted != DLM_MODE_NONE && dlm_mode_writes_value(holder->granted) &&
        !SABOTAGE(dlm_trust_old_value))
        resource->value_valid = false; // rule 19
    if (!is_dead && SABOTAGE(dlm_no_purge))
        is_dead = true;
    if (is_dead && SABOTAGE(dlm_grant_before_recovered))
        is_dead = false;
    if (holder->granted == DLM_MODE_NONE || !is_dead) {
        core_holder_free(core, holder);
        return;
    }
    core_holder_unqueue(holder); // a conversion of the dead waits no more
    holder->peer = NULL;
}

static void depart_holders(struct dlm_core *core, struct core_holder_list *list, bool is_granted)
{
    struct core_holder *holder = TAILQ_FIRST(list), *next;

    for (; holder; holder = next) {
        next = is_granted ? TAILQ_NEXT(holder, granted_link) : TAILQ_NEXT(holder, queue_link);
        if (holder->peer && holder->peer->is_departed)
            depart_holder(core, holder);
    }
}

static void depart_ranges(struct dlm_core *core, struct core_resource *resource)
{
    struct core_range *held = TAILQ_FIRST(&resource->ranges), *next;
    struct core_range_waiter *waiter = TAILQ_FIRST(&resource->range_waiters), *next_waiter;

    for (; held; held = next) {
        next = TAILQ_NEXT(held, link);
        if (held->is_dead || core_peer_find(core, held->node))
            continue;
        held->is_dead = core_dead_has(&core->dead, held->node);
        if (held->is_dead && !SABOTAGE(dlm_forget_dead_ranges))
            continue;
        TAILQ_REMOVE(&resource->ranges, held, link);
        pool_put(&core->range_pool, held);
    }
    for (; waiter; waiter = next_waiter) {
        next_waiter = TAILQ_NEXT(waiter, link);
        if (waiter->peer->is_departed)
            core_range_waiter_free(core, resource, waiter);
    }
}

void core_depart_resource(struct dlm_core *core, struct core_resource *resource)
{
    struct core_peer *master = core_peer_of_master(core, resource->name);

    if (master != core->self_peer) {
        relay_dead(core, resource, master);
        core_resource_free(core, resource);
        return;
    }
    if (core->departed_count) {
        depart_holders(core, &resource->granted, true);
        depart_holders(core, &resource->waiting, false);
        depart_ranges(core, resource);
    }
    core_resource_run(core, resource);
}

static void free_recovered(struct dlm_core *core, struct core_resource *resource,
                           struct dlm_node node)
{
    struct core_holder *holder = TAILQ_FIRST(&resource->granted), *next;
    struct core_range *held = TAILQ_FIRST(&resource->ranges), *next_held;

    for (; holder; holder = next) {
        next = TAILQ_NEXT(holder, granted_link);
        if (!holder->peer && node_equal(holder->node, node))
            core_holder_free(core, holder);
    }
    for (; held; held = next_held) {
        next_held = TAILQ_NEXT(held, link);
        if (!held->is_dead || !node_equal(held->node, node))
            continue;
        TAILQ_REMOVE(&resource->ranges, held, link);
        pool_put(&core->range_pool, held);
    }
}

void core_depart_recovered(struct dlm_core *core, struct core_resource *resource,
                           struct dlm_node node)
{
    free_recovered(core, resource, node);
    if (resource->is_orphaned && !core_rules_name_ranges(&core->rules, resource->name))
        resource->is_orphaned = false;
    if (resource->assumed != DLM_MODE_NONE && !core_rules_name(&core->rules, resource->name))
        resource->assumed = DLM_MODE_NONE;
    core_resource_run(core, resource);
}
