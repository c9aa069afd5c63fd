// SPDX-License-Identifier: Apache-2.0
// What the members of a ring that broke had heard differently comes together: everybody adds the
// same in the same order to the same base.
#include <string.h>

#include "dlm/membership_state.h"
#include "fs/base/sabotage.h"

static void merge_recovered(struct membership_state *state, const struct membership_state *other)
{
    for (uint32_t i = 0; i < other->recovered_count; i++) {
        const struct membership_node *node = &other->recovered[i];
        struct membership_dead *dead =
            membership_state_dead(state, node->node_id, node->incarnation);
        if (dead != NULL)
            membership_state_note_recovered(state, dead);
    }
}

static void merge_dead(struct membership_state *state, const struct membership_state *other)
{
    for (uint32_t i = 0; i < other->view.dead_count; i++) {
        const struct membership_dead *theirs = &other->view.dead[i];
        if (other->generation == state->generation && theirs->pid == 0)
            membership_state_stranger(state, membership_dead_node(theirs));
        struct membership_dead *dead =
            membership_state_dead(state, theirs->node_id, theirs->incarnation);
        if (dead == NULL || dead->phase >= theirs->phase)
            continue;
        dead->phase = theirs->phase;
        dead->recoverer_node_id = theirs->recoverer_node_id;
        dead->recoverer_incarnation = theirs->recoverer_incarnation;
    }
}

static void merge_members(struct membership_state *state, const struct membership_state *other)
{
    for (uint32_t i = 0; i < other->view.member_count; i++) {
        const struct membership_member *theirs = &other->view.members[i];
        struct membership_member *member =
            membership_state_member(state, theirs->node_id, theirs->incarnation);
        if (member != NULL && theirs->is_leaving)
            member->is_leaving = true;
    }
}

// --- joiners ---------------------------------------------------------------------------------
//
// Two rings that broke may have let a joiner each ask for the same slot:
//
//      n1 (alone hears the end of ring 8)   n2, n3, n5 (ring 12)              n4, n5
//      JOIN of n4: slot 4
//                                           JOIN of n5: slot 4
//                                           prepare "slot 4 is n5's", ACK     n5 hears all ACKs,
//                                           ── the ring breaks ──             beats in slot 4
//      ring 16, without n5: n1 knows n4 at slot 4, n2 and n3 know n5 there, all of one generation
//
// Who was offered the slot may use it, so the other one gets a free one; it has not been told any
// yet. If both were offered it, the later offer counts: any two quorate rings have a node in
// common, and had the earlier offer been installed anywhere, then that node had acknowledged it,
// and had told the later ring of it.

static uint64_t hold_of(const struct membership_joiner *joiner)
{
    return joiner->is_assigned ? UINT64_MAX : joiner->offered;
}

static void joiner_remove(struct membership_state *state, struct membership_joiner *joiner)
{
    size_t index = (size_t)(joiner - state->joiners);
    state->joiner_count--;
    memmove(joiner, joiner + 1, (state->joiner_count - index) * sizeof(*joiner));
}

// One for whom there is no slot left asks again.
static void move_to_free_slot(struct membership_state *state, struct membership_joiner *joiner)
{
    joiner->offered = 0;
    joiner->member.slot = membership_state_free_slot(state, MEMBERSHIP_NO_SLOT);
    if (joiner->member.slot == MEMBERSHIP_NO_SLOT)
        joiner_remove(state, joiner);
}

static struct membership_joiner *rival_of(struct membership_state *state,
                                          const struct membership_joiner *joiner)
{
    for (uint32_t i = 0; i < state->joiner_count; i++)
        if (state->joiners[i].member.slot == joiner->member.slot && &state->joiners[i] != joiner)
            return &state->joiners[i];
    return NULL;
}

static void joiner_add(struct membership_state *state, const struct membership_joiner *theirs)
{
    bool is_free = membership_state_free_slot(state, theirs->member.slot) == theirs->member.slot;
    struct membership_joiner *joiner = &state->joiners[state->joiner_count++];
    *joiner = *theirs;
    if (is_free)
        return;
    if (SABOTAGE(merge_forgets_joiner)) {
        state->joiner_count--;
        return;
    }
    struct membership_joiner *rival = rival_of(state, joiner);
    if (rival != NULL && hold_of(rival) < hold_of(joiner))
        move_to_free_slot(state, rival);
    else if (rival != NULL || hold_of(joiner) == 0)
        move_to_free_slot(state, joiner);
}

static void merge_joiner(struct membership_state *state, const struct membership_joiner *theirs)
{
    struct membership_joiner *joiner =
        membership_state_joiner(state, theirs->member.node_id, theirs->member.incarnation);
    if (joiner != NULL && joiner->member.slot == theirs->member.slot) {
        joiner->is_proved |= theirs->is_proved;
        joiner->is_seen |= theirs->is_seen;
        if (joiner->offered < theirs->offered)
            joiner->offered = theirs->offered;
        return;
    }
    if (joiner != NULL && hold_of(joiner) >= hold_of(theirs))
        return;
    if (joiner != NULL)
        joiner_remove(state, joiner);
    if (!membership_state_has_node(state, theirs->member.node_id) &&
        state->joiner_count < MEMBERSHIP_NODES_MAX)
        joiner_add(state, theirs);
}

// --- all of it -------------------------------------------------------------------------------

void membership_state_merge(struct membership_state *state, const struct membership_state *other)
{
    merge_recovered(state, other);
    merge_dead(state, other);
    merge_members(state, other);
    if (other->generation != state->generation)
        return; // what it knows of joiners is old
    for (uint32_t i = 0; i < other->joiner_count; i++)
        merge_joiner(state, &other->joiners[i]);
    state->view.features |= other->view.features;
    if (other->view.version > state->view.version)
        state->view.version = other->view.version;
}
