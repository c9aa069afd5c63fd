// SPDX-License-Identifier: Apache-2.0
// A node as fs/cluster makes it, without the file system: what a membership machine hears and what
// becomes of its effects. It writes data whenever its gate is open; a replay is a few writes and a
// clean mark.
#include "tests/sim/membership_life.h"

#include <inttypes.h>

#include "fs/base/check.h"
#include "fs/base/error.h"

uint64_t life_now(const struct sim_life *life)
{
    return life->node->clock_base + life->sim->world.now_ns / 1000 * life->node->clock_rate;
}

uint64_t life_at(const struct sim_life *life, uint64_t local_ns)
{
    if (local_ns == UINT64_MAX)
        return UINT64_MAX;
    if (local_ns <= life->node->clock_base)
        return 0;
    return (local_ns - life->node->clock_base) / life->node->clock_rate * 1000;
}

void life_arm_in(struct sim_life *life, struct world_event *event, uint64_t in_ns)
{
    world_event_arm(&life->sim->world, event, life->sim->world.now_ns + in_ns);
}

// The gate, as lanes see it.
bool life_may_write(const struct sim_life *life)
{
    return life->runs && !life->has_ended && !life->is_leaving && life->heartbeat != NULL &&
           lease_is_valid(&life->heartbeat->lease, life_now(life));
}

// --- events into the machine -----------------------------------------------------------------

static void carry_out(struct sim_life *life, const struct membership_effect *effect);

static void arm_tick(struct sim_life *life)
{
    uint64_t at_ns = membership_deadline_ns(life->membership);
    if (at_ns == UINT64_MAX) {
        world_event_disarm(&life->sim->world, &life->tick);
        return;
    }
    at_ns = life_at(life, at_ns) + 1000;
    if (at_ns < life->sim->world.now_ns)
        at_ns = life->sim->world.now_ns;
    world_event_arm(&life->sim->world, &life->tick, at_ns);
}

void life_event(struct sim_life *life, const struct membership_event *event)
{
    struct membership_event stamped = *event;
    if (!life->is_alive || life->sim->is_failed)
        return;
    CHECK(!life->is_stepping);
    life->is_stepping = true;
    stamped.now_ns = life_now(life);
    if (event->type == MEMBERSHIP_EVENT_RING)
        life->ring_heard_ns = life->sim->world.now_ns;
    life->sim->steps++;
    if (life->sim->trace != NULL) {
        char bytes[300];
        struct text text;
        text_init(&text, bytes, sizeof(bytes));
        membership_event_to_text(&stamped, &text);
        sim_trace(life->sim, "n%u.%" PRIu64 " <- %s", life->process.node_id, life->incarnation,
                  text.bytes);
    }
    membership_step(life->membership, &stamped, &life->effects);
    for (size_t i = 0; i < life->effects.count && life->is_alive; i++)
        carry_out(life, &life->effects.items[i]);
    life->is_stepping = false;
    if (life->is_alive)
        arm_tick(life);
}

void life_node_event(struct sim_life *life, enum membership_event_type type,
                     struct membership_node node)
{
    struct membership_event event = {.type = type, .node = node};
    life_event(life, &event);
}

void life_simple_event(struct sim_life *life, enum membership_event_type type)
{
    struct membership_event event = {.type = type};
    life_event(life, &event);
}

// --- effects ---------------------------------------------------------------------------------

static void begin_replay(struct sim_life *life, struct membership_node node)
{
    struct sim *sim = life->sim;
    check_replay_begins(life, &node);
    CHECK(life->replay_count < SIM_LIVES_MAX / 4);
    struct sim_replay *replay = &life->replays[life->replay_count++];
    *replay = (struct sim_replay){.node = node};
    bool is_dirty = sim->disk.is_dirty[node.slot] &&
                    sim->disk.dirty_node[node.slot] == node.node_id &&
                    sim->disk.dirty_incarnation[node.slot] == node.incarnation;
    replay->writes_left = is_dirty ? 1 + (uint32_t)sim_below(sim, sim_one_in(sim, 2) ? 3 : 20) : 0;
    life_arm_in(life, &life->chore, 10 * MS);
}

void life_fence_forget(struct sim_life *life, struct membership_node node)
{
    for (uint32_t i = 0; i < life->fence_count; i++)
        if (life->fences[i].slot == node.slot && life->fences[i].incarnation == node.incarnation)
            life->fences[i--] = life->fences[--life->fence_count];
}

static void begin_fence(struct sim_life *life, const struct membership_effect *effect)
{
    struct membership_node node = effect->fence.node;
    CHECK(life->fence_count < SIM_LIVES_MAX / 4);
    life->fences[life->fence_count++] = node;
    life->fence_ordered_ns = life->sim->world.now_ns;
    life->fence_ordered_incarnation = node.incarnation;
    uint64_t yield_ns = life->heartbeat->config.lease.beat_ns + SIM_IO_MAX_NS;
    heartbeat_machine_fence(life->heartbeat, node.slot, node.incarnation,
                            effect->fence.yields ? life_now(life) + yield_ns : 0,
                            effect->fence.reason);
    life_arm_in(life, &life->beat, 0);
}

static void told_view(struct sim_life *life, const struct membership_view *view)
{
    bool is_first = check_view(life, view);
    for (uint32_t i = 0; i < SIM_SLOTS; i++)
        life->was_expelled[i] = false;
    if (is_first)
        sim_view_installed(life);
}

static void resume(struct sim_life *life)
{
    struct sim *sim = life->sim;
    check_resume(life);
    life->companion_count = 0;
    life->runs = true;
    heartbeat_machine_set_state(life->heartbeat, HEARTBEAT_RUNNING);
    sim->disk.is_dirty[life->slot] = true;
    sim->disk.dirty_node[life->slot] = life->process.node_id;
    sim->disk.dirty_incarnation[life->slot] = life->incarnation;
    life_arm_in(life, &life->data, sim_between(sim, 0, 50 * MS));
}

static void suspend(struct sim_life *life)
{
    life->runs = false;
    life->has_asked_mailbox = false;
    life->settled_ns = 0;
    const struct membership_view *view = membership_view_get(life->membership);
    life->companion_count = 0;
    for (uint32_t i = 0; i < view->member_count; i++)
        life->companions[life->companion_count++] = (struct membership_node){
            view->members[i].node_id, view->members[i].slot, view->members[i].incarnation};
    if (life->heartbeat != NULL && !life->is_leaving)
        heartbeat_machine_set_state(life->heartbeat, HEARTBEAT_SUSPENDED);
}

static void watch_joiner(struct sim_life *life, struct membership_node node)
{
    CHECK(life->look_count < SIM_LIVES_MAX / 4);
    life->looks[life->look_count++] = node;
}

static void left(struct sim_life *life)
{
    sim_trace(life->sim, "n%u.%" PRIu64 " has left", life->process.node_id, life->incarnation);
    if (life->is_connected)
        totem_worker_gone(&life->node->totem, life->process.pid, true);
    life->is_connected = false;
    life_arm_in(life, &life->exit, 20 * MS);
    sim_has_left(life);
}

static void take_slot(struct sim_life *life, uint32_t slot)
{
    // Taken for dead as soon as it has its slot, before it has looked into the mailbox (rule 10b).
    if (!life->sim->is_healing && sim_one_in(life->sim, 40)) {
        life->slow_until_ns = life->sim->world.now_ns + SIM_IO_MAX_NS;
        sim_isolate(life->node);
    }
    life_start_heartbeat(life, slot);
    life->proves_lun = true;
    sim_slot_taken(life);
}

static void carry_out(struct sim_life *life, const struct membership_effect *effect)
{
    struct sim *sim = life->sim;
    if (sim->trace != NULL && effect->type != MEMBERSHIP_EFFECT_SEND) {
        char bytes[500];
        struct text text;
        text_init(&text, bytes, sizeof(bytes));
        membership_effect_to_text(effect, &text);
        sim_trace(sim, "n%u.%" PRIu64 "    -> %s", life->process.node_id, life->incarnation,
                  text.bytes);
    }
    switch (effect->type) {
    case MEMBERSHIP_EFFECT_SEND:
        if (life->is_connected)
            totem_send(&life->node->totem, life->process, TOTEM_BYTES,
                       membership_effects_bytes(&life->effects, effect), effect->send.length);
        break;
    case MEMBERSHIP_EFFECT_VIEW:
        told_view(life, effect->view);
        break;
    case MEMBERSHIP_EFFECT_RECOVERED:
        check_recovered(life, &effect->node);
        break;
    case MEMBERSHIP_EFFECT_FOUND:
        life_begin_found(life);
        break;
    case MEMBERSHIP_EFFECT_SLOT_ASSIGNED:
        take_slot(life, effect->node.slot);
        break;
    case MEMBERSHIP_EFFECT_WATCH_JOINER:
        watch_joiner(life, effect->node);
        break;
    case MEMBERSHIP_EFFECT_FENCE:
        begin_fence(life, effect);
        break;
    case MEMBERSHIP_EFFECT_FENCE_CANCEL:
        life_fence_forget(life, effect->node);
        heartbeat_machine_fence_cancel(life->heartbeat, effect->node.slot);
        break;
    case MEMBERSHIP_EFFECT_REPLAY:
        begin_replay(life, effect->node);
        break;
    case MEMBERSHIP_EFFECT_SUSPEND:
        suspend(life);
        break;
    case MEMBERSHIP_EFFECT_CHECK_MAILBOX:
        life->has_asked_mailbox = true;
        life->mailbox_asked_ns = life_now(life);
        life->settled_ns = sim->world.now_ns;
        break;
    case MEMBERSHIP_EFFECT_RESUME:
        if (life->settled_ns == 0)
            life->settled_ns = sim->world.now_ns; // it has not been asked to look
        life->has_asked_mailbox = false;
        resume(life);
        break;
    case MEMBERSHIP_EFFECT_LEFT:
        left(life);
        break;
    case MEMBERSHIP_EFFECT_FEATURES:
        break;
    case MEMBERSHIP_EFFECT_ENDED:
        if (effect->ended.error == -ERROR_VIEW_MISSED)
            sim_fail(sim, "n%u has missed a view", life->process.node_id);
        check_expelled(life, effect->ended.reason);
        life_ends(life, effect->ended.reason);
        break;
    }
}
