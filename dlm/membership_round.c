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
#include "fs/base/memory.h"
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

// A starter has its patience for itself: what the one before it did not do is not held against it.
//
//   ring    n1 (ended, silent), n2, n3
//   n3      ├─── patience ───► EXPEL n1 ─┐ now n2 is to start
//   n2      ├─── patience ───────────────┴► the same deadline, already over: not n2's
static void await_starter(struct membership *self)
{
    const struct membership_process *lowest = starter(self);
    bool is_same = lowest == NULL || membership_process_equal(*lowest, self->awaited);
    if (!self->start_wanted || !is_same)
        self->start_wanted_ns = self->now_ns;
    self->start_wanted = true;
    if (lowest != NULL)
        self->awaited = *lowest;
}

void membership_round_trigger(struct membership *self)
{
    self->round.phase = ROUND_NONE;
    self->mailbox_asked = false; // who comes or goes with this round may have written a note
    self->trigger_count++;
    await_starter(self);
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

static void send_sync(struct membership *self)
{
    struct membership_message message = {.type = MEMBERSHIP_MESSAGE_SYNC};
    struct membership_sync *sync = &message.sync;
    sync->has_state = membership_carries_state(self);
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

static void deliver_sync(struct membership *self, struct membership_member_process *process,
                         const struct membership_message *message)
{
    if (self->round.phase != ROUND_SYNCING)
        return;
    if (process->sync == NULL)
        process->sync = memory_new(sizeof(*process->sync));
    *process->sync = message->sync;
    process->has_synced = true;
    if (all_have(self, false))
        membership_syncs_complete(self);
}

// --- ACK -------------------------------------------------------------------------------------

static void send_ack(struct membership *self)
{
    struct membership_message message = {.type = MEMBERSHIP_MESSAGE_ACK,
                                         .generation = self->prepared->generation};
    self->round.has_sent_ack = true;
    membership_send(self, &message);
    if (SABOTAGE(membership_no_ack))
        membership_acks_complete(self);
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
        membership_acks_complete(self);
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
