// SPDX-License-Identifier: Apache-2.0
// From what all have said in a round to the state that follows, and what its installation makes of
// this life. Everybody puts the same in, in the same order.
#include <stdlib.h>
#include <string.h>

#include "dlm/membership_machine.h"
#include "fs/base/check.h"
#include "fs/base/error.h"
#include "fs/base/sabotage.h"

// Members carry the state on, and a founder until it is one. Who only watches does not: if all
// members are gone, the LUN says what they left behind.
bool membership_carries_state(struct membership *self)
{
    if (!self->has_state)
        return false;
    if (membership_self_member(self) != NULL)
        return true;
    return self->found_accepted && membership_self_joiner(self) != NULL;
}

static const struct membership_state *base_state(const struct membership *self)
{
    const struct membership_state *base = NULL;
    for (uint32_t i = 0; i < self->process_count; i++) {
        const struct membership_member_process *process = &self->processes[i];
        if (process->is_expected && process->sync->has_state &&
            (base == NULL || process->sync->state.generation > base->generation))
            base = &process->sync->state;
    }
    return base;
}

// Nobody of the group is a member: the founder is who already tries, else the lowest that asks.
static void found_if_we_must(struct membership *self)
{
    const struct membership_member_process *founder = NULL;
    for (uint32_t i = 0; i < self->process_count; i++) {
        const struct membership_member_process *process = &self->processes[i];
        if (!process->is_expected || !process->sync->is_joining)
            continue;
        bool is_better = founder == NULL ||
                         process->sync->is_founding > founder->sync->is_founding ||
                         (process->sync->is_founding == founder->sync->is_founding &&
                          process->id.node_id < founder->id.node_id);
        if (is_better)
            founder = process;
    }
    self->round.phase = ROUND_COMPLETE;
    if (founder == NULL || !membership_process_equal(founder->id, self->config.self))
        return;
    self->is_founding = true;
    if (!self->found_asked)
        membership_emit(self, MEMBERSHIP_EFFECT_FOUND);
    self->found_asked = true;
}

static void tell_view(struct membership *self)
{
    if (self->view_told == self->state->view.epoch || membership_self_member(self) == NULL)
        return;
    self->view_told = self->state->view.epoch;
    *self->shown = self->state->view;
    membership_emit(self, MEMBERSHIP_EFFECT_VIEW)->view = self->shown;
}

// A joiner whose JOIN was accepted somewhere may have been taken for dead since, and recovered,
// whether it has heard of its slot or not. An incarnation counts once (rule 20): when the joiner is
// not named any more it must not ask again:
//
//      n4 (joins)                        n1                                the rest
//      ACK of "slot 4 is n4's"           installs it: n4 has the slot
//      ── the ring breaks: n4 has not heard the last ACK ──
//                                        view without n4: n4 is dead, fenced, replayed, recovered
//      ── the ring heals ──
//      JOIN with the life that was recovered: it would be let in, die a second time, and its
//      second recovery would free what the next user of the slot holds
static bool may_have_been_recovered(const struct membership *self)
{
    if (SABOTAGE(membership_life_rejoins))
        return self->slot_told;
    return self->slot_told || self->join_accepted || self->found_accepted;
}

// What the new state makes of this life.
static void take_standing(struct membership *self)
{
    const struct membership_member *member = membership_self_member(self);
    if (member != NULL && self->standing == MEMBERSHIP_JOINING) {
        self->slot = member->slot;
        self->is_founding = false;
        self->standing = MEMBERSHIP_MEMBER;
    }
    bool is_forgotten = self->standing == MEMBERSHIP_JOINING && may_have_been_recovered(self) &&
                        membership_self_joiner(self) == NULL;
    if (member != NULL || self->standing == MEMBERSHIP_OUT ||
        (self->standing == MEMBERSHIP_JOINING && !is_forgotten))
        return;
    if (self->standing == MEMBERSHIP_LEAVING && self->leave_accepted) {
        if (!self->left_told)
            membership_emit(self, MEMBERSHIP_EFFECT_LEFT);
        self->left_told = true;
    } else {
        membership_end(self, -ERROR_NODE_EXPELLED, "the cluster went on without this node");
    }
}

static void install_prepared(struct membership *self)
{
    struct membership_state *old = self->state;
    self->state = self->prepared;
    self->prepared = old;
    membership_prepared_forget(self);
    self->has_state = true;
    self->changed_ns = self->now_ns;
    self->link_count = 0;
    self->features_sent = false;
    take_standing(self);
    tell_view(self);
}

// Installs what we have prepared and others have installed. False: we have missed something else.
static bool catch_up(struct membership *self, const struct membership_state *base)
{
    bool is_new = !self->has_state || self->state->generation != base->generation;
    if (is_new && membership_prepared_find(self, base->generation))
        install_prepared(self);
    else if (is_new && membership_carries_state(self))
        return false;
    return true;
}

// What others recovered while we did not hear it is told before the state that no longer names it.
static void tell_recovered(struct membership *self, const struct membership_state *before)
{
    for (uint32_t i = 0; i < self->state->recovered_count && self->view_told != 0; i++) {
        struct membership_node node = self->state->recovered[i];
        if (membership_state_dead((struct membership_state *)before, node.node_id,
                                  node.incarnation) != NULL)
            membership_emit_node(self, MEMBERSHIP_EFFECT_RECOVERED, node);
    }
    if (self->view_told != 0 && (before->view.features != self->state->view.features ||
                                 before->view.version != self->state->view.version))
        membership_emit(self, MEMBERSHIP_EFFECT_FEATURES);
}

// The last facts of a ring that broke may have reached some and not others. Everybody begins with
// the same base and adds what each says in the same order, so that all have the same in the end.
static void merge_all(struct membership *self, const struct membership_state *base)
{
    struct membership_state *before = malloc(sizeof(*before));
    CHECK(before != NULL);
    *before = *self->state;
    *self->state = *base;
    self->has_state = true;
    self->changed_ns = self->now_ns;
    for (uint32_t i = 0; i < self->process_count; i++) {
        const struct membership_member_process *process = &self->processes[i];
        if (process->is_expected && process->sync->has_state)
            membership_state_merge(self->state, &process->sync->state);
    }
    tell_recovered(self, before);
    free(before);
}

static bool is_member_of(const struct membership_state *state, uint32_t node_id,
                         uint64_t incarnation)
{
    for (uint32_t i = 0; i < state->view.member_count; i++)
        if (state->view.members[i].node_id == node_id &&
            state->view.members[i].incarnation == incarnation)
            return true;
    return false;
}

// If the ring breaks now, the joiner itself may be the only one that hears all ACKs: it takes its
// slot and beats there. Whoever has prepared that state knows it, and whoever it syncs with:
//
//      n5 (joins), all ACKs heard        n1, n2, one ACK not heard
//      slot 2 is n5's, beats there       ── the ring breaks: n1, n2 without n5 ──
//                                        n5 is dead, its slot not free
//                                        (forgotten: slot 2 goes to the next joiner, both beat
//                                        there)
static void note_offers(struct membership *self)
{
    for (uint32_t i = 0; i < self->prepared->joiner_count; i++) {
        const struct membership_member *member = &self->prepared->joiners[i].member;
        struct membership_joiner *joiner =
            membership_state_joiner(self->state, member->node_id, member->incarnation);
        if (joiner != NULL)
            joiner->offered = self->prepared->generation;
    }
}

static void prepare(struct membership *self)
{
    struct membership_presence present[MEMBERSHIP_PROCESSES_MAX];
    uint32_t count = 0;
    for (uint32_t i = 0; i < self->process_count; i++)
        if (self->processes[i].is_expected)
            present[count++] = (struct membership_presence){self->processes[i].id,
                                                            self->processes[i].sync->incarnation};
    if (self->is_prepared && !membership_ring_equal(self->prepared_ring, self->ring))
        membership_prepared_keep(self);
    self->prepared_ring = self->ring;
    membership_state_next(self->prepared, self->state, present, count, self->ring);
    self->is_prepared = true;
    self->round.phase = ROUND_ACKING;
    note_offers(self);
}

// A joiner that had been given a slot and now finds nobody who knows of it starts anew.
static bool lost_our_members(struct membership *self)
{
    return self->standing != MEMBERSHIP_OUT && (self->slot_told || self->join_accepted) &&
           !(self->is_founding && membership_self_joiner(self) == NULL);
}

void membership_syncs_complete(struct membership *self)
{
    const struct membership_state *base = base_state(self);
    if (base == NULL) {
        self->has_state = false;
        if (lost_our_members(self))
            membership_end(self, -ERROR_STATE_ENDED, "the members have gone; mount again");
        else
            found_if_we_must(self);
        return;
    }
    if (self->is_founding && !self->found_accepted) {
        membership_end(self, -ERROR_CLAIM_HELD, "another node has taken the volume meanwhile");
        return;
    }
    if (!catch_up(self, base)) {
        bool is_named = is_member_of(base, self->config.self.node_id, self->incarnation);
        if (is_named) // cannot be: nobody installs what not everybody has prepared
            membership_end(self, -ERROR_VIEW_MISSED, "this node has missed a view");
        else
            membership_end(self, -ERROR_NODE_EXPELLED, "the cluster went on without this node");
        return;
    }
    merge_all(self, base);
    take_standing(self);
    tell_view(self);
    prepare(self);
}

void membership_acks_complete(struct membership *self)
{
    self->round.phase = ROUND_COMPLETE;
    if (self->is_prepared && self->prepared->generation != self->state->generation)
        install_prepared(self);
    self->is_prepared = false;
    membership_wishes_unsend(self);
}
