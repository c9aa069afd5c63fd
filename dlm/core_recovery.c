// SPDX-License-Identifier: Apache-2.0
// A view change, read from top to bottom in core_recovery_view. Every phase is the same whether
// the rebuild of the view before was over or not; a view that comes in the middle simply goes on
// from what is here (core_view.h tells what may be missing then, and how it is made up for).
//
//   node A (holds R)        B (mastered R, dead)      C (R's shadow, masters R in view 8)
//   view 8 ─ HOLD R ────────────────────────────────► what it noted of B it takes for held;
//                                                     listens, grants nothing on R
//          ─ RULE, READY ───────────────────────────► A has told all it holds
//                                                     view 8; READY of all members is here:
//                                                     R settled
//   recovered(B) ...                                  recovered(B): what was held for B goes
#include "dlm/core.h"

#include "fs/base/check.h"
#include "fs/base/sabotage.h"

#include <stdlib.h>
#include <string.h>

// ---- peers ------------------------------------------------------------------------------------

// Members of the last view that are not in this one: kept until nothing points to them.
struct departed {
    struct core_peer *peers[DLM_NODES_MAX];
    uint32_t count;
};

static struct core_peer *peer_new(struct dlm_node node, uint64_t epoch)
{
    struct core_peer *peer = calloc(1, sizeof(*peer));

    CHECK(peer != NULL);
    peer->node = node;
    peer->epoch_seen = epoch;
    return peer;
}

static struct core_peer *peer_take(struct dlm_core *core, struct dlm_node node)
{
    for (uint32_t i = 0; i < core->peer_count; i++) {
        struct core_peer *peer = core->peers[i];
        if (!peer || !node_equal(peer->node, node))
            continue;
        core->peers[i] = NULL;
        return peer;
    }
    return NULL;
}

static void change_peers(struct dlm_core *core, const struct dlm_view *view,
                         struct departed *departed)
{
    struct core_peer *peers[DLM_NODES_MAX];

    departed->count = 0;
    core->self_peer = NULL;
    for (uint32_t i = 0; i < view->member_count; i++) {
        peers[i] = peer_take(core, view->members[i]);
        if (!peers[i])
            peers[i] = peer_new(view->members[i], view->epoch);
        if (node_equal(view->members[i], core->self))
            core->self_peer = peers[i];
    }
    for (uint32_t i = 0; i < core->peer_count; i++) {
        if (!core->peers[i])
            continue;
        core->peers[i]->is_departed = true;
        departed->peers[departed->count++] = core->peers[i];
    }
    CHECK(core->self_peer != NULL);
    for (uint32_t i = 0; i < view->member_count; i++)
        core->peers[i] = peers[i];
    core->peer_count = view->member_count;
}

static void free_departed(struct departed *departed)
{
    for (uint32_t i = 0; i < departed->count; i++) {
        free(departed->peers[i]->out);
        free(departed->peers[i]);
    }
}

// ---- the granting side ------------------------------------------------------------------------

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

static void change_resources(struct dlm_core *core, bool any_departed)
{
    struct table_cursor cursor = table_begin(&core->resources);
    struct table_link *link;

    while ((link = table_next(&cursor))) {
        struct core_resource *resource = CONTAINER_OF(link, struct core_resource, link);
        struct core_peer *master = core_peer_of_master(core, resource->name);
        if (master != core->self_peer) {
            relay_dead(core, resource, master);
            core_resource_free(core, resource);
            continue;
        }
        if (any_departed) {
            depart_holders(core, &resource->granted, true);
            depart_holders(core, &resource->waiting, false);
            depart_ranges(core, resource);
        }
        core_resource_run(core, resource);
    }
}

// ---- the end-of-holders marker ----------------------------------------------------------------

static void send_rule(struct dlm_core *core, struct core_peer *to, const struct core_rule *rule)
{
    uint32_t count = rule->member_count + rule->blocker_count;
    union {
        struct message_rule_wire m;
        uint8_t bytes[sizeof(struct message_rule_wire) +
                      (DLM_NODES_MAX + DLM_DEAD_MAX) * sizeof(struct node_wire)];
    } wire = {.m = {
                  .member_count = le32_make(rule->member_count),
                  .blocker_count = le32_make(rule->blocker_count),
                  .gone = le64_make(rule->gone),
                  .is_noted = rule->is_noted,
              }};
    for (uint32_t i = 0; i < count; i++)
        wire.m.nodes[i] = message_node_make(
            i < rule->member_count ? rule->members[i] : rule->blockers[i - rule->member_count]);
    core_send(core, to, &wire, MESSAGE_RULE, sizeof(wire.m) + count * sizeof(wire.m.nodes[0]));
}

static void announce_ready(struct dlm_core *core)
{
    const struct core_rule *rule;
    struct message_ready_wire m = {
        .epoch = le64_make(core_history_current(&core->history)->epoch),
        .is_first = core->counters.views == 1,
    };

    for (uint32_t i = 0; i < core->peer_count; i++) {
        if (core->peers[i] != core->self_peer && !SABOTAGE(dlm_rules_untold))
            LIST_FOREACH (rule, &core->rules, link)
                send_rule(core, core->peers[i], rule);
        core_send(core, core->peers[i], &m, MESSAGE_READY, sizeof(m));
    }
}

void core_recovery_receive_rule(struct dlm_core *core, const struct core_message *message)
{
    const struct message_rule_wire *m = message->wire;
    struct core_rule rule = {
        .member_count = le32_get(m->member_count),
        .blocker_count = le32_get(m->blocker_count),
        .gone = le64_get(m->gone),
        .is_noted = m->is_noted,
    };

    if (message->epoch != core_history_current(&core->history)->epoch)
        return; // told again with that peer's next marker
    for (uint32_t i = 0; i < rule.member_count; i++)
        rule.members[i] = message_node_get(&m->nodes[i]);
    for (uint32_t i = 0; i < rule.blocker_count; i++)
        rule.blockers[i] = message_node_get(&m->nodes[rule.member_count + i]);
    core_rules_add(&core->rules, &rule, &core->dead);
}

// ---- the end of the rebuild -------------------------------------------------------------------

// Nobody here has seen an earlier view, yet somebody is dead: nothing is known of what it held.
static void note_ignorance(struct dlm_core *core)
{
    struct core_rule rule = {.blocker_count = core->dead.count};

    for (uint32_t i = 0; i < core->peer_count; i++)
        if (!core->peers[i]->ready_is_first)
            return;
    memcpy(rule.blockers, core->dead.nodes, sizeof(rule.blockers));
    core_rules_add(&core->rules, &rule, &core->dead);
}

static void settle_resources(struct dlm_core *core)
{
    struct table_cursor cursor = table_begin(&core->resources);
    struct table_link *link;

    while ((link = table_next(&cursor))) {
        struct core_resource *resource = CONTAINER_OF(link, struct core_resource, link);
        struct core_range_waiter *waiter;
        TAILQ_FOREACH (waiter, &resource->range_waiters, link)
            waiter->is_suspect = true;
        if (resource->is_moving)
            core_resource_settle(core, resource);
        else if (!TAILQ_EMPTY(&resource->range_waiters))
            core_resource_run(core, resource);
    }
}

static void prune_history(struct dlm_core *core)
{
    uint64_t oldest = core->complete_epoch;

    for (uint32_t i = 0; i < core->peer_count; i++)
        if (core->peers[i] != core->self_peer && core->peers[i]->epoch_seen < oldest)
            oldest = core->peers[i]->epoch_seen;
    core_history_prune(&core->history, oldest);
}

static bool all_are_ready(const struct dlm_core *core, uint64_t epoch)
{
    for (uint32_t i = 0; i < core->peer_count; i++)
        if (core->peers[i]->ready_epoch != epoch)
            return false;
    return true;
}

void core_recovery_receive_ready(struct dlm_core *core, const struct core_message *message)
{
    const struct message_ready_wire *m = message->wire;
    uint64_t epoch = core_history_current(&core->history)->epoch;

    if (le64_get(m->epoch) != epoch || core->is_complete)
        return;
    message->from->ready_epoch = epoch;
    message->from->ready_is_first = m->is_first;
    if (!all_are_ready(core, epoch))
        return;
    note_ignorance(core);
    core->is_complete = true;
    core->complete_epoch = epoch;
    settle_resources(core);
    prune_history(core);
    core_effect(core, DLM_EFFECT_VIEW_DONE)->view_done = epoch;
}

// ---- the spine --------------------------------------------------------------------------------

static void set_dead(struct dlm_core *core, const struct dlm_view *view)
{
    CHECK(view->dead_count <= DLM_DEAD_MAX);
    core->dead.count = view->dead_count;
    memcpy(core->dead.nodes, view->dead, view->dead_count * sizeof(view->dead[0]));
}

void core_recovery_view(struct dlm_core *core, const struct dlm_view *view)
{
    const struct core_view *before = core_history_current(&core->history);
    struct departed departed;

    CHECK(view->member_count > 0 && view->member_count <= DLM_NODES_MAX);
    CHECK(view->epoch > (before ? before->epoch : 0));
    core_flush_frames(core); // what was said so far was said in the view before
    set_dead(core, view);
    core_rules_note_view(&core->rules, &core->history, core->complete_epoch, view, &core->dead,
                         core->self);
    core_history_add(&core->history, view);
    core->is_complete = false;
    core->counters.views++;
    change_peers(core, view, &departed);
    change_resources(core, departed.count > 0); // relays what the dead hold, lets go of what moved
    core_notes_change(core);                    // says what they may hold where the master is gone
    core_client_move(core); // takes what we hold and want to the new masters and shadows
    core_range_client_move(core);
    announce_ready(core);
    free_departed(&departed);
    core_replay_held_frames(core);
}

// ---- recovered --------------------------------------------------------------------------------

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

void core_recovery_recovered(struct dlm_core *core, struct dlm_node node)
{
    struct table_cursor cursor = table_begin(&core->resources);
    struct table_link *link;

    core_dead_remove(&core->dead, node);
    core_rules_recovered(&core->rules, node);
    while ((link = table_next(&cursor))) {
        struct core_resource *resource = CONTAINER_OF(link, struct core_resource, link);
        free_recovered(core, resource, node);
        if (resource->is_orphaned && !core_rules_name_ranges(&core->rules, resource->name))
            resource->is_orphaned = false;
        if (resource->assumed != DLM_MODE_NONE && !core_rules_name(&core->rules, resource->name))
            resource->assumed = DLM_MODE_NONE;
        core_resource_run(core, resource);
    }
}
