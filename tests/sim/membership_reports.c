// SPDX-License-Identifier: Apache-2.0
// What the heartbeat shows goes into the membership machine: fences that are done, slots that are
// free, joiners, stalls, strangers; and what became of lock links.
#include "tests/sim/membership_life.h"

#include <stdio.h>
#include <string.h>

static const struct heartbeat_slot *slot_of(const struct sim_life *life, uint32_t slot)
{
    return &life->heartbeat->slots[slot];
}

static void report_fences(struct sim_life *life)
{
    for (uint32_t i = 0; i < life->fence_count; i++) {
        struct membership_node node = life->fences[i];
        const struct heartbeat_slot *slot = slot_of(life, node.slot);
        if (!slot->fences || slot->fence.incarnation != node.incarnation ||
            slot->fence_verdict != LEASE_FENCE_DONE)
            continue;
        life_fence_forget(life, node);
        life_node_event(life, MEMBERSHIP_EVENT_FENCED, node);
        return;
    }
}

static void report_frees(struct sim_life *life)
{
    for (uint32_t i = 0; i < life->replay_count; i++) {
        struct sim_replay *replay = &life->replays[i];
        if (!replay->is_freeing || replay->is_over || slot_of(life, replay->node.slot)->frees)
            continue;
        replay->is_over = true;
        life_node_event(life, MEMBERSHIP_EVENT_REPLAYED, replay->node);
        return;
    }
}

static void report_looks(struct sim_life *life)
{
    for (uint32_t i = 0; i < life->look_count; i++) {
        struct membership_node node = life->looks[i];
        const struct lease_watch *watch = &slot_of(life, node.slot)->watch;
        if (!watch->last.is_valid || watch->last.incarnation != node.incarnation)
            continue;
        life->looks[i] = life->looks[--life->look_count];
        life_node_event(life, MEMBERSHIP_EVENT_LUN_SEEN, node);
        return;
    }
    if (!life->proves_lun || life->heartbeat->state_durable != HEARTBEAT_JOINING)
        return;
    for (uint32_t i = 0; i < SIM_SLOTS; i++) {
        if (i == life->slot || slot_of(life, i)->watch.change_count == 0)
            continue;
        life->proves_lun = false;
        life_simple_event(life, MEMBERSHIP_EVENT_LUN_PROVED);
        return;
    }
}

static void report_stalls(struct sim_life *life)
{
    const struct membership_view *view = membership_view_get(life->membership);
    for (uint32_t i = 0; life->runs && i < view->member_count; i++) {
        const struct membership_member *member = &view->members[i];
        const struct lease_watch *watch = &slot_of(life, member->slot)->watch;
        if (member->slot == life->slot || life->was_expelled[member->slot] ||
            watch->last.incarnation != member->incarnation || member->is_leaving ||
            lease_watch_silent_ns(watch) < SIM_LEASE_NS)
            continue;
        life->was_expelled[member->slot] = true;
        struct membership_event event = {
            .type = MEMBERSHIP_EVENT_EXPEL,
            .expel.node = {member->node_id, member->slot, member->incarnation}};
        snprintf(event.expel.reason, sizeof(event.expel.reason), "its heartbeat stands still");
        life_event(life, &event);
        return;
    }
}

// What a life tells of its lock links: down for 3 s, or up again.
static void report_links(struct sim_life *life)
{
    const struct membership_view *view = membership_view_get(life->membership);
    const struct sim *sim = life->sim;
    const uint64_t *down_ns = sim->link_down_ns[life->process.node_id - 1];
    for (uint32_t i = 0; life->runs && i < view->member_count; i++) {
        const struct membership_member *member = &view->members[i];
        uint32_t at = member->node_id - 1;
        bool is_new = life->link_reported[at] != member->incarnation;
        bool is_down = down_ns[at] != 0 && sim->world.now_ns > down_ns[at] + 3000 * MS;
        if (is_down == (life->link_told[at] && !is_new) || member->incarnation == life->incarnation)
            continue;
        life->link_told[at] = is_down;
        if (is_down)
            life->link_reported[at] = member->incarnation;
        struct membership_event event = {.type = MEMBERSHIP_EVENT_LINK,
                                         .link = {.peer_node_id = member->node_id,
                                                  .peer_incarnation = member->incarnation,
                                                  .is_down = is_down}};
        life_event(life, &event);
        return;
    }
}

// A slot in use by a life that nobody here has heard of; true if there is one.
static bool report_strangers(struct sim_life *life)
{
    uint64_t changed_ns = membership_changed_ns(life->membership);
    for (uint32_t i = 0; i < SIM_SLOTS; i++) {
        const struct lease_watch *watch = &slot_of(life, i)->watch;
        const struct lease_sighting *seen = &watch->last;
        if (i == life->slot || !seen->is_valid || seen->state == HEARTBEAT_FREE ||
            watch->seen_ns <= changed_ns ||
            membership_knows(life->membership, seen->node_id, seen->incarnation))
            continue;
        life_node_event(life, MEMBERSHIP_EVENT_STRANGER,
                        (struct membership_node){seen->node_id, i, seen->incarnation});
        return true;
    }
    return false;
}

static bool all_slots_were_read(const struct sim_life *life, uint64_t since_ns)
{
    for (uint32_t i = 0; i < SIM_SLOTS; i++)
        if (i != life->slot && slot_of(life, i)->watch.seen_ns < since_ns)
            return false;
    return true;
}

static void report_state(struct sim_life *life)
{
    const struct heartbeat_machine *heartbeat = life->heartbeat;
    bool has_stranger = life->last_epoch != 0 && report_strangers(life);
    if (life->has_asked_mailbox && heartbeat->mailbox_clean_ns >= life->mailbox_asked_ns &&
        !has_stranger && all_slots_were_read(life, life->mailbox_asked_ns)) {
        life->has_asked_mailbox = false;
        life_simple_event(life, MEMBERSHIP_EVENT_MAILBOX_CLEAN);
    }
    if (life->is_alive && life->is_leaving && !life->says_left && heartbeat->is_silent &&
        heartbeat->state_durable == HEARTBEAT_FREE) {
        life->says_left = true;
        life_simple_event(life, MEMBERSHIP_EVENT_LEAVE);
    }
}

void life_heartbeat_changed(struct sim_life *life)
{
    if (life->heartbeat == NULL || !life->is_alive || life->is_stepping || life->sim->is_failed)
        return;
    if (life->heartbeat->end != HEARTBEAT_ALIVE && !life->has_ended) {
        struct membership_event event = {.type = MEMBERSHIP_EVENT_END,
                                         .error = heartbeat_end_error(life->heartbeat->end)};
        life_ends(life, life->heartbeat->end_reason);
        life_event(life, &event);
    }
    if (life->has_ended) {
        if (life->in_flight == 0)
            heartbeat_machine_set_state(life->heartbeat, HEARTBEAT_STOPPED);
        return;
    }
    life_report_founded(life);
    report_fences(life);
    report_frees(life);
    report_looks(life);
    report_stalls(life);
    if (life->is_alive)
        report_links(life);
    if (life->is_alive)
        report_state(life);
}
