// SPDX-License-Identifier: Apache-2.0
// A round, from the cause to the view:
//
//   cause (ring, process came or went, JOIN, LEAVING, EXPEL ...)      all processes see it
//      │ the lowest process sends START once its ring is quorate
//   START delivered: who is in the group now is expected              ... at the same place
//      │ everybody sends SYNC once its ring is quorate
//   last SYNC delivered: the highest generation is the base, merged   ... in the order
//      │ with what others know; everybody computes the next state
//      │ and sends ACK
//   last ACK delivered: installed
//
// A cause in between voids the round. Whoever prepared a state that was installed elsewhere just
// before the ring broke finds it as the base of a later round, and installs it first
// (membership_prepared.c).
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dlm/membership_machine.h"
#include "fs/base/check.h"
#include "fs/base/error.h"
#include "fs/base/sabotage.h"

bool membership_process_is_excluded(const struct membership *self,
                                    struct membership_process process)
{
    for (uint32_t i = 0; i < self->excluded_count; i++)
        if (membership_process_equal(self->excluded[i], process))
            return true;
    return false;
}

void membership_processes_free(struct membership_member_process *processes, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        free(processes[i].sync);
    free(processes);
}

void membership_process_exclude(struct membership *self, struct membership_process process)
{
    bool is_known = membership_process_is_excluded(self, process);
    if (!is_known && self->excluded_count < MEMBERSHIP_PROCESSES_MAX)
        self->excluded[self->excluded_count++] = process;
}

struct membership_member_process *membership_process_find(const struct membership *self,
                                                          struct membership_process process)
{
    for (uint32_t i = 0; i < self->process_count; i++)
        if (membership_process_equal(self->processes[i].id, process))
            return &self->processes[i];
    return NULL;
}

void membership_round_trigger(struct membership *self)
{
    self->round.phase = ROUND_NONE;
    self->mailbox_asked = false; // who comes or goes with this round may have written a note
    self->trigger_count++;
    if (!self->start_wanted)
        self->start_wanted_ns = self->now_ns;
    self->start_wanted = true;
    membership_wishes_unsend(self);
}

void membership_round_reset(struct membership *self)
{
    self->round = (struct membership_round){.phase = ROUND_NONE};
    self->trigger_count = 0;
    self->start_sent_count = 0;
    self->start_wanted = false;
    membership_round_trigger(self);
}

// --- START -----------------------------------------------------------------------------------

// The lowest process that is not expelled begins rounds.
static const struct membership_process *starter(const struct membership *self)
{
    const struct membership_process *lowest = NULL;
    for (uint32_t i = 0; i < self->process_count; i++) {
        const struct membership_process *process = &self->processes[i].id;
        if (membership_process_is_excluded(self, *process))
            continue;
        if (lowest == NULL || process->node_id < lowest->node_id ||
            (process->node_id == lowest->node_id && process->pid < lowest->pid))
            lowest = process;
    }
    return lowest;
}

static void send_start(struct membership *self)
{
    struct membership_message message = {.type = MEMBERSHIP_MESSAGE_START};
    const struct membership_process *lowest = starter(self);
    if (lowest == NULL || !membership_process_equal(*lowest, self->config.self))
        return;
    if (self->start_sent_count == self->trigger_count)
        return; // on its way
    self->start_sent_count = self->trigger_count;
    message.round = (struct membership_round_id){self->config.self, ++self->round_number};
    message.start.excluded_count = self->excluded_count;
    memcpy(message.start.excluded, self->excluded,
           self->excluded_count * sizeof(self->excluded[0]));
    membership_send(self, &message);
}

static bool start_names(const struct membership_message *message, struct membership_process process)
{
    for (uint32_t i = 0; i < message->start.excluded_count; i++)
        if (membership_process_equal(message->start.excluded[i], process))
            return true;
    return false;
}

// A starter that has come since may not know who was expelled before: it is told, and starts again.
static void tell_starter(struct membership *self, const struct membership_message *message)
{
    bool is_starter = membership_process_equal(*starter(self), self->config.self);
    for (uint32_t i = 0; i < self->excluded_count; i++) {
        if (start_names(message, self->excluded[i]))
            continue;
        self->start_wanted = is_starter;
        self->start_wanted_ns = self->now_ns;
        if (is_starter)
            return;
        struct membership_message expel = {.type = MEMBERSHIP_MESSAGE_EXPEL};
        expel.expel.process = self->excluded[i];
        snprintf(expel.expel.reason, sizeof(expel.expel.reason), "expelled before");
        membership_send(self, &expel);
    }
}

static void deliver_start(struct membership *self, struct membership_process from,
                          const struct membership_message *message)
{
    if (membership_process_is_excluded(self, from))
        return;
    if (start_names(message, self->config.self)) {
        membership_end(self, -ERROR_NODE_EXPELLED, "expelled");
        return;
    }
    self->round = (struct membership_round){
        .phase = ROUND_SYNCING, .id = message->round, .began_ns = self->now_ns};
    self->start_wanted = false;
    self->start_sent_count = 0;
    tell_starter(self, message);
    for (uint32_t i = 0; i < message->start.excluded_count; i++)
        membership_process_exclude(self, message->start.excluded[i]);
    for (uint32_t i = 0; i < self->process_count; i++) {
        struct membership_member_process *process = &self->processes[i];
        process->has_synced = process->has_acked = false;
        process->is_expected = !membership_process_is_excluded(self, process->id);
    }
}

// --- SYNC ------------------------------------------------------------------------------------

// Members carry the state on, and a founder until it is one. Who only watches does not: if all
// members are gone, the LUN says what they left behind.
static bool carries_state(struct membership *self)
{
    if (!self->has_state)
        return false;
    if (membership_self_member(self) != NULL)
        return true;
    return self->found_accepted && membership_self_joiner(self) != NULL;
}

static void send_sync(struct membership *self)
{
    struct membership_message message = {.type = MEMBERSHIP_MESSAGE_SYNC};
    struct membership_sync *sync = &message.sync;
    sync->has_state = carries_state(self);
    sync->is_joining = self->round.said_joining = self->standing == MEMBERSHIP_JOINING;
    sync->is_founding = self->is_founding;
    sync->incarnation = self->incarnation;
    if (sync->has_state)
        sync->state = *self->state;
    self->round.has_sent_sync = true;
    membership_send(self, &message);
}

static bool all_have(const struct membership *self, bool ack)
{
    for (uint32_t i = 0; i < self->process_count; i++) {
        const struct membership_member_process *process = &self->processes[i];
        if (process->is_expected && !(ack ? process->has_acked : process->has_synced))
            return false;
    }
    return true;
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
    else if (is_new && carries_state(self))
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

static void complete_sync(struct membership *self)
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

static void deliver_sync(struct membership *self, struct membership_member_process *process,
                         const struct membership_message *message)
{
    if (self->round.phase != ROUND_SYNCING)
        return;
    if (process->sync == NULL)
        process->sync = malloc(sizeof(*process->sync));
    CHECK(process->sync != NULL);
    *process->sync = message->sync;
    process->has_synced = true;
    if (all_have(self, false))
        complete_sync(self);
}

// --- ACK -------------------------------------------------------------------------------------

static void complete(struct membership *self)
{
    self->round.phase = ROUND_COMPLETE;
    if (self->is_prepared && self->prepared->generation != self->state->generation)
        install_prepared(self);
    self->is_prepared = false;
    membership_wishes_unsend(self);
}

static void send_ack(struct membership *self)
{
    struct membership_message message = {.type = MEMBERSHIP_MESSAGE_ACK,
                                         .generation = self->prepared->generation};
    self->round.has_sent_ack = true;
    membership_send(self, &message);
    if (SABOTAGE(membership_no_ack))
        complete(self);
}

static void deliver_ack(struct membership *self, struct membership_member_process *process,
                        const struct membership_message *message)
{
    if (self->round.phase != ROUND_ACKING)
        return;
    if (message->generation != self->prepared->generation) {
        membership_end(self, -ERROR_MESSAGE_FIELD, "two members computed different views");
        return;
    }
    process->has_acked = true;
    if (all_have(self, true))
        complete(self);
}

// --- driving ---------------------------------------------------------------------------------

static bool is_in_group(const struct membership *self, uint32_t node_id)
{
    for (uint32_t i = 0; i < self->process_count; i++) {
        if (self->processes[i].id.node_id == node_id)
            return true;
    }
    return false;
}

// A switch that comes back joins its nodes one after the other, so the first quorate ring lacks
// some. Whoever was suspended has all the time to wait for them; without it they would be fenced
// though they were about to be back (rule 18). 0: there is nobody to wait for.
static uint64_t companions_deadline_ns(const struct membership *self)
{
    if (self->is_running || !self->has_run || self->round.phase != ROUND_NONE)
        return 0;
    for (uint32_t i = 0; i < self->companion_count; i++) {
        if (!is_in_group(self, self->companions[i].node_id))
            return self->start_wanted_ns + self->config.patience_ns / 2;
    }
    return 0;
}

void membership_round_drive(struct membership *self)
{
    if (membership_has_ended(self) || !membership_ring_is_quorate(self))
        return;
    if (membership_process_find(self, self->config.self) == NULL)
        return;
    if (self->start_wanted && self->now_ns >= companions_deadline_ns(self))
        send_start(self);
    struct membership_member_process *process = membership_process_find(self, self->config.self);
    if (!process->is_expected)
        return;
    if (self->round.phase == ROUND_SYNCING && !self->round.has_sent_sync)
        send_sync(self);
    if (self->round.phase == ROUND_ACKING && !self->round.has_sent_ack)
        send_ack(self);
}

static bool is_of_this_round(const struct membership *self,
                             const struct membership_message *message)
{
    return membership_process_equal(message->round.starter, self->round.id.starter) &&
           message->round.number == self->round.id.number;
}

void membership_round_deliver(struct membership *self, struct membership_process from,
                              const struct membership_message *message)
{
    struct membership_member_process *process = membership_process_find(self, from);
    if (process == NULL)
        return;
    if (message->type == MEMBERSHIP_MESSAGE_START) {
        deliver_start(self, from, message);
        return;
    }
    if (!process->is_expected || !is_of_this_round(self, message))
        return;
    if (message->type == MEMBERSHIP_MESSAGE_SYNC)
        deliver_sync(self, process, message);
    else
        deliver_ack(self, process, message);
}

// --- patience --------------------------------------------------------------------------------

uint64_t membership_round_deadline_ns(const struct membership *self)
{
    if (!membership_ring_is_quorate(self) || membership_has_ended(self))
        return UINT64_MAX;
    if (self->round.phase == ROUND_SYNCING || self->round.phase == ROUND_ACKING)
        return self->round.began_ns + self->config.patience_ns;
    if (self->start_wanted && self->now_ns < companions_deadline_ns(self))
        return companions_deadline_ns(self);
    if (self->start_wanted)
        return self->start_wanted_ns + self->config.patience_ns;
    return UINT64_MAX;
}

static void expel_process(struct membership *self, struct membership_process process)
{
    struct membership_wish wish = {.type = MEMBERSHIP_MESSAGE_EXPEL, .process = process};
    snprintf(wish.reason, sizeof(wish.reason), "does not answer a membership round");
    membership_wish_add(self, &wish);
}

void membership_round_tick(struct membership *self)
{
    if (self->now_ns < membership_round_deadline_ns(self))
        return;
    if (self->round.phase == ROUND_NONE || self->round.phase == ROUND_COMPLETE) {
        const struct membership_process *lowest = starter(self);
        self->start_wanted_ns = self->now_ns;
        self->start_sent_count = 0; // ours may have been lost with a ring: say it again
        if (lowest != NULL && !membership_process_equal(*lowest, self->config.self))
            expel_process(self, *lowest);
        return;
    }
    bool waits_for_ack = self->round.phase == ROUND_ACKING;
    self->round.began_ns = self->now_ns;
    for (uint32_t i = 0; i < self->process_count; i++) {
        const struct membership_member_process *process = &self->processes[i];
        bool has = waits_for_ack ? process->has_acked : process->has_synced;
        bool is_self = membership_process_equal(process->id, self->config.self);
        if (process->is_expected && !has && !is_self)
            expel_process(self, process->id);
    }
}
