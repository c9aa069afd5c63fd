// SPDX-License-Identifier: Apache-2.0
// A view change: begun in core_recovery_view, gone on with by core_recovery_work kind by kind,
// ended by the last READY. Every phase is the same whether the rebuild of the view before was over
// or not; a view that comes in the middle simply goes on from what is here (core_view.h tells what
// may be missing then, and how it is made up for).
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

static void change_peers(struct dlm_core *core, const struct dlm_view *view)
{
    struct core_peer *peers[DLM_NODES_MAX];
    uint32_t count = view->member_count;

    core->self_peer = NULL;
    for (uint32_t i = 0; i < count; i++) {
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
        core->departed[core->departed_count++] = core->peers[i];
    }
    CHECK(core->self_peer != NULL);
    memcpy(core->peers, peers, count * sizeof(peers[0]));
    core->peer_count = count;
}

// Nothing points to them any more.
void core_recovery_free_departed(struct dlm_core *core)
{
    for (uint32_t i = 0; i < core->departed_count; i++) {
        free(core->departed[i]->out);
        free(core->departed[i]);
    }
    core->departed_count = 0;
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
        .epoch = le64_make(core_epoch(core)),
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

    if (message->epoch != core_epoch(core))
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

static void settle_resource(struct dlm_core *core, struct core_resource *resource)
{
    struct core_range_waiter *waiter;

    TAILQ_FOREACH (waiter, &resource->range_waiters, link)
        waiter->is_suspect = true;
    if (resource->is_moving)
        core_resource_settle(core, resource);
    else if (!TAILQ_EMPTY(&resource->range_waiters))
        core_resource_run(core, resource);
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
    uint64_t epoch = core_epoch(core);

    if (le64_get(m->epoch) != epoch || core->is_complete)
        return;
    message->from->ready_epoch = epoch;
    message->from->ready_is_first = m->is_first;
    core->is_all_ready = all_are_ready(core, epoch);
}

// ---- what is done piece by piece --------------------------------------------------------------

static void work_begin(struct dlm_core *core, enum core_work_kind kind)
{
    const struct table *const tables[] = {
        [WORK_RESOURCES] = &core->resources, [WORK_NOTES] = &core->notes,
        [WORK_LOCKS] = &core->locks,         [WORK_FILES] = &core->files,
        [WORK_SETTLE] = &core->resources,    [WORK_RECOVERED] = &core->resources,
    };

    core->work.kind = kind;
    if (kind != WORK_NONE)
        core->work.cursor = table_begin(tables[kind]);
}

void core_recovery_settle(struct dlm_core *core)
{
    note_ignorance(core);
    core->is_all_ready = false;
    core->is_complete = true;
    core->complete_epoch = core_epoch(core);
    work_begin(core, WORK_SETTLE);
}

static void work_end(struct dlm_core *core)
{
    enum core_work_kind kind = core->work.kind;

    work_begin(core, kind < WORK_FILES ? kind + 1 : WORK_NONE);
    if (kind == WORK_FILES) {
        announce_ready(core);
        core_recovery_free_departed(core);
    }
    if (kind == WORK_SETTLE) {
        prune_history(core);
        core_effect(core, DLM_EFFECT_VIEW_DONE)->view_done = core->complete_epoch;
    }
}

void core_recovery_work(struct dlm_core *core)
{
    struct table_link *link = table_next(&core->work.cursor);

    if (!link) {
        work_end(core);
        return;
    }
    switch (core->work.kind) {
    case WORK_NONE:
        break;
    case WORK_RESOURCES:
        core_depart_resource(core, CONTAINER_OF(link, struct core_resource, link));
        return;
    case WORK_NOTES:
        core_note_change(core, CONTAINER_OF(link, struct core_note, link));
        return;
    case WORK_LOCKS:
        core_client_move(core, CONTAINER_OF(link, struct core_lock, link));
        return;
    case WORK_FILES:
        core_range_client_move(core, CONTAINER_OF(link, struct core_file, link));
        return;
    case WORK_SETTLE:
        settle_resource(core, CONTAINER_OF(link, struct core_resource, link));
        return;
    case WORK_RECOVERED:
        core_depart_recovered(core, CONTAINER_OF(link, struct core_resource, link),
                              core->work.recovered);
        return;
    }
    CHECK(!"work of a known kind");
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

    CHECK(view->member_count > 0 && view->member_count <= DLM_NODES_MAX);
    CHECK(view->epoch > (before ? before->epoch : 0));
    core_flush_frames(core); // what was said so far was said in the view before
    set_dead(core, view);
    core_rules_note_view(&core->rules, &core->history, core->complete_epoch, view, &core->dead,
                         core->self);
    core_history_add(&core->history, view);
    core->is_complete = false;
    core->replays_held = true;
    core->counters.views++;
    change_peers(core, view);
    if (SABOTAGE(dlm_ready_too_early))
        announce_ready(core);
    work_begin(core, WORK_RESOURCES); // then all kinds up to WORK_FILES, then READY
}

void core_recovery_recovered(struct dlm_core *core, struct dlm_node node)
{
    core_dead_remove(&core->dead, node);
    core_rules_recovered(&core->rules, node);
    core->work.recovered = node;
    work_begin(core, WORK_RECOVERED);
}
