// SPDX-License-Identifier: Apache-2.0
#include "dlm/membership_state.h"

#include <stdlib.h>
#include <string.h>

#include "fs/base/check.h"
#include "fs/base/sabotage.h"

// A ring's number comes before the generations in it: of any two quorate rings the later one has
// the higher number, so generations of different rings never meet.
enum { GENERATIONS_PER_RING_SHIFT = 16 };

// --- look-ups --------------------------------------------------------------------------------

struct membership_member *membership_state_member(struct membership_state *state, uint32_t node_id,
                                                  uint64_t incarnation)
{
    for (uint32_t i = 0; i < state->view.member_count; i++) {
        struct membership_member *member = &state->view.members[i];
        if (member->node_id == node_id && member->incarnation == incarnation)
            return member;
    }
    return NULL;
}

struct membership_joiner *membership_state_joiner(struct membership_state *state, uint32_t node_id,
                                                  uint64_t incarnation)
{
    for (uint32_t i = 0; i < state->joiner_count; i++) {
        struct membership_member *member = &state->joiners[i].member;
        if (member->node_id == node_id && member->incarnation == incarnation)
            return &state->joiners[i];
    }
    return NULL;
}

struct membership_dead *membership_state_dead(struct membership_state *state, uint32_t node_id,
                                              uint64_t incarnation)
{
    for (uint32_t i = 0; i < state->view.dead_count; i++) {
        struct membership_dead *dead = &state->view.dead[i];
        if (dead->node_id == node_id && dead->incarnation == incarnation)
            return dead;
    }
    return NULL;
}

bool membership_state_has_node(const struct membership_state *state, uint32_t node_id)
{
    for (uint32_t i = 0; i < state->view.member_count; i++)
        if (state->view.members[i].node_id == node_id)
            return true;
    for (uint32_t i = 0; i < state->joiner_count; i++)
        if (state->joiners[i].member.node_id == node_id)
            return true;
    for (uint32_t i = 0; i < state->view.dead_count; i++)
        if (state->view.dead[i].node_id == node_id)
            return true;
    return false;
}

bool membership_state_was_recovered(const struct membership_state *state, uint32_t node_id,
                                    uint64_t incarnation)
{
    for (uint32_t i = 0; i < state->recovered_count; i++)
        if (state->recovered[i].node_id == node_id &&
            state->recovered[i].incarnation == incarnation)
            return true;
    return false;
}

bool membership_state_knows(const struct membership_state *state, uint32_t node_id,
                            uint64_t incarnation)
{
    struct membership_state *found = (struct membership_state *)state; // only read
    return membership_state_member(found, node_id, incarnation) != NULL ||
           membership_state_joiner(found, node_id, incarnation) != NULL ||
           membership_state_dead(found, node_id, incarnation) != NULL ||
           membership_state_was_recovered(state, node_id, incarnation);
}

static bool slot_is_used(const struct membership_state *state, uint32_t slot)
{
    for (uint32_t i = 0; i < state->view.member_count; i++)
        if (state->view.members[i].slot == slot)
            return true;
    for (uint32_t i = 0; i < state->joiner_count; i++)
        if (state->joiners[i].member.slot == slot)
            return true;
    for (uint32_t i = 0; i < state->view.dead_count; i++)
        if (state->view.dead[i].slot == slot && !SABOTAGE(membership_reuse_slot))
            return true;
    return false;
}

uint32_t membership_state_free_slot(const struct membership_state *state, uint32_t wish)
{
    if (wish < state->slot_count && !slot_is_used(state, wish))
        return wish;
    for (uint32_t slot = 0; slot < state->slot_count; slot++)
        if (!slot_is_used(state, slot))
            return slot;
    return MEMBERSHIP_NO_SLOT;
}

const struct membership_member *membership_state_leader(const struct membership_state *state)
{
    for (uint32_t i = 0; i < state->view.member_count; i++)
        if (!state->view.members[i].is_leaving)
            return &state->view.members[i];
    return NULL;
}

// --- recoverers ------------------------------------------------------------------------------

static bool has_recoverer(const struct membership_dead *dead)
{
    return dead->recoverer_node_id != 0;
}

// Whether the recoverer may still be writing to the journal or to blocks: it is a member, or dead
// but not fenced. Two who replay one journal are the death of it: the first one's clean mark lets
// the locks go while the second one still writes old images.
static bool recoverer_may_write(struct membership_state *state, const struct membership_dead *dead)
{
    if (!has_recoverer(dead))
        return false;
    if (membership_state_member(state, dead->recoverer_node_id, dead->recoverer_incarnation))
        return true;
    const struct membership_dead *recoverer =
        membership_state_dead(state, dead->recoverer_node_id, dead->recoverer_incarnation);
    if (SABOTAGE(membership_two_recoverers))
        return false;
    return recoverer != NULL && recoverer->phase == MEMBERSHIP_DEAD;
}

// Gives every fenced one that has nobody to replay its journal to the leader.
static void assign_recoverers(struct membership_state *state)
{
    const struct membership_member *leader = membership_state_leader(state);
    for (uint32_t i = 0; i < state->view.dead_count; i++) {
        struct membership_dead *dead = &state->view.dead[i];
        if (dead->phase != MEMBERSHIP_FENCED || recoverer_may_write(state, dead))
            continue;
        dead->recoverer_node_id = leader ? leader->node_id : 0;
        dead->recoverer_incarnation = leader ? leader->incarnation : 0;
    }
}

// --- facts -----------------------------------------------------------------------------------

bool membership_state_fenced(struct membership_state *state, struct membership_node node)
{
    struct membership_dead *dead = membership_state_dead(state, node.node_id, node.incarnation);
    if (dead == NULL || dead->phase != MEMBERSHIP_DEAD)
        return false;
    dead->phase = MEMBERSHIP_FENCED;
    assign_recoverers(state);
    return true;
}

bool membership_state_stranger(struct membership_state *state, struct membership_node node)
{
    struct membership_view *view = &state->view;
    if (membership_state_knows(state, node.node_id, node.incarnation) ||
        view->dead_count == MEMBERSHIP_DEAD_MAX)
        return false;
    view->dead[view->dead_count++] = (struct membership_dead){
        .node_id = node.node_id, .incarnation = node.incarnation, .slot = node.slot};
    return true;
}

static void dead_remove(struct membership_state *state, struct membership_dead *dead)
{
    size_t index = (size_t)(dead - state->view.dead);
    state->view.dead_count--;
    memmove(dead, dead + 1, (state->view.dead_count - index) * sizeof(*dead));
}

void membership_state_note_recovered(struct membership_state *state, struct membership_dead *dead)
{
    CHECK(state->recovered_count < MEMBERSHIP_DEAD_MAX);
    state->recovered[state->recovered_count++] = membership_dead_node(dead);
    dead_remove(state, dead);
}

bool membership_state_recovered(struct membership_state *state, struct membership_node node,
                                struct membership_process from)
{
    struct membership_dead *dead = membership_state_dead(state, node.node_id, node.incarnation);
    if (dead == NULL || dead->phase != MEMBERSHIP_FENCED)
        return false;
    const struct membership_member *recoverer =
        membership_state_member(state, dead->recoverer_node_id, dead->recoverer_incarnation);
    if (recoverer == NULL || !membership_member_is(recoverer, from))
        return false;
    membership_state_note_recovered(state, dead);
    return true;
}

// --- rounds ----------------------------------------------------------------------------------

static bool is_present(const struct membership_member *member,
                       const struct membership_presence *present, uint32_t present_count)
{
    for (uint32_t i = 0; i < present_count; i++)
        if (membership_process_equal(present[i].process, membership_member_process(member)) &&
            present[i].incarnation == member->incarnation)
            return true;
    return false;
}

static void add_dead(struct membership_state *next, const struct membership_member *member)
{
    CHECK(next->view.dead_count < MEMBERSHIP_DEAD_MAX);
    next->view.dead[next->view.dead_count++] = (struct membership_dead){
        .node_id = member->node_id,
        .pid = member->pid,
        .incarnation = member->incarnation,
        .slot = member->slot,
        .phase = SABOTAGE(membership_skip_fence) ? MEMBERSHIP_FENCED : MEMBERSHIP_DEAD,
    };
}

static int compare_members(const void *a, const void *b)
{
    const struct membership_member *first = a, *second = b;
    return (first->node_id > second->node_id) - (first->node_id < second->node_id);
}

static void next_members(struct membership_state *next, const struct membership_state *base,
                         const struct membership_presence *present, uint32_t present_count)
{
    for (uint32_t i = 0; i < base->view.member_count; i++) {
        const struct membership_member *member = &base->view.members[i];
        if (member->is_leaving)
            continue;
        if (is_present(member, present, present_count))
            next->view.members[next->view.member_count++] = *member;
        else
            add_dead(next, member);
    }
}

static void next_joiners(struct membership_state *next, const struct membership_state *base,
                         const struct membership_presence *present, uint32_t present_count)
{
    for (uint32_t i = 0; i < base->joiner_count; i++) {
        struct membership_joiner joiner = base->joiners[i];
        bool has_come = is_present(&joiner.member, present, present_count);
        bool is_offered = joiner.offered != 0 && !SABOTAGE(membership_joiner_forgotten);
        if (!has_come && (joiner.is_assigned || is_offered))
            add_dead(next, &joiner.member); // it may beat in its slot
        if (!has_come)
            continue;
        bool is_on_our_lun = joiner.is_proved && joiner.is_seen;
        if (is_on_our_lun || (joiner.is_assigned && SABOTAGE(membership_join_unseen))) {
            next->view.members[next->view.member_count++] = joiner.member;
            continue;
        }
        joiner.is_assigned = true;
        next->joiners[next->joiner_count++] = joiner;
    }
}

static bool same_people(const struct membership_view *a, const struct membership_view *b)
{
    if (a->member_count != b->member_count || a->dead_count != b->dead_count)
        return false;
    for (uint32_t i = 0; i < a->member_count; i++)
        if (a->members[i].node_id != b->members[i].node_id ||
            a->members[i].incarnation != b->members[i].incarnation)
            return false;
    for (uint32_t i = 0; i < a->dead_count; i++)
        if (a->dead[i].node_id != b->dead[i].node_id ||
            a->dead[i].incarnation != b->dead[i].incarnation)
            return false;
    return true;
}

// Whether only facts differ, which need no round.
static bool same_state(const struct membership_state *a, const struct membership_state *b)
{
    if (!same_people(&a->view, &b->view) || a->joiner_count != b->joiner_count)
        return false;
    for (uint32_t i = 0; i < a->joiner_count; i++)
        if (a->joiners[i].member.node_id != b->joiners[i].member.node_id ||
            a->joiners[i].is_assigned != b->joiners[i].is_assigned)
            return false;
    for (uint32_t i = 0; i < a->view.dead_count; i++)
        if (a->view.dead[i].recoverer_incarnation != b->view.dead[i].recoverer_incarnation ||
            a->view.dead[i].recoverer_node_id != b->view.dead[i].recoverer_node_id)
            return false;
    return true;
}

void membership_state_next(struct membership_state *next, const struct membership_state *base,
                           const struct membership_presence *present, uint32_t present_count,
                           struct membership_ring ring)
{
    *next = *base;
    next->view.member_count = 0;
    next->joiner_count = 0;
    next_members(next, base, present, present_count);
    next_joiners(next, base, present, present_count);
    qsort(next->view.members, next->view.member_count, sizeof(next->view.members[0]),
          compare_members);
    assign_recoverers(next);
    if (same_state(next, base))
        return;
    uint64_t first = ring.sequence << GENERATIONS_PER_RING_SHIFT;
    next->generation = base->generation + 1 > first ? base->generation + 1 : first;
    next->recovered_count = 0; // everybody who installs this has heard of them
    if (!same_people(&next->view, &base->view) || base->view.epoch == 0)
        next->view.epoch = next->generation;
    for (uint32_t i = 0; i < next->view.dead_count; i++)
        if (next->view.dead[i].died_generation == 0)
            next->view.dead[i].died_generation = next->generation;
}
