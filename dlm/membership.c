// SPDX-License-Identifier: Apache-2.0
#include "dlm/membership.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dlm/membership_machine.h"
#include "fs/base/check.h"
#include "fs/base/memory.h"
#include "fs/base/sabotage.h"

// --- effects ---------------------------------------------------------------------------------

struct membership_effect *membership_emit(struct membership *self, enum membership_effect_type type)
{
    struct membership_effects *effects = self->effects;
    if (effects->count == effects->capacity) {
        effects->capacity = effects->capacity ? 2 * effects->capacity : 16;
        effects->items = memory_resize(effects->items, effects->capacity, sizeof(*effects->items));
    }
    struct membership_effect *effect = &effects->items[effects->count++];
    memset(effect, 0, sizeof(*effect));
    effect->type = type;
    return effect;
}

void membership_emit_node(struct membership *self, enum membership_effect_type type,
                          struct membership_node node)
{
    membership_emit(self, type)->node = node;
}

void membership_send(struct membership *self, struct membership_message *message)
{
    struct membership_effects *effects = self->effects;
    size_t wanted = effects->byte_count + MEMBERSHIP_MESSAGE_BYTES_MAX;
    if (wanted > effects->byte_capacity) {
        effects->byte_capacity = 2 * wanted;
        effects->bytes = memory_resize(effects->bytes, effects->byte_capacity, 1);
    }
    message->ring = self->ring;
    if (message->type != MEMBERSHIP_MESSAGE_START)
        message->round = self->round.id;
    size_t length = membership_message_encode(message, self->config.format_id,
                                              effects->bytes + effects->byte_count);
    struct membership_effect *effect = membership_emit(self, MEMBERSHIP_EFFECT_SEND);
    effect->send.offset = effects->byte_count;
    effect->send.length = length;
    effects->byte_count += length;
}

void membership_effects_deinit(struct membership_effects *effects)
{
    free(effects->items);
    free(effects->bytes);
    memset(effects, 0, sizeof(*effects));
}

const uint8_t *membership_effects_bytes(const struct membership_effects *effects,
                                        const struct membership_effect *send)
{
    CHECK(send->type == MEMBERSHIP_EFFECT_SEND);
    return effects->bytes + send->send.offset;
}

// --- life ------------------------------------------------------------------------------------

void *membership_zeroed(size_t count, size_t bytes)
{
    void *memory = calloc(count, bytes);
    CHECK(memory != NULL);
    return memory;
}

struct membership *membership_new(const struct membership_config *config)
{
    struct membership *self = membership_zeroed(1, sizeof(*self));
    self->config = *config;
    self->processes = membership_zeroed(1, sizeof(*self->processes));
    self->state = membership_zeroed(1, sizeof(*self->state));
    self->prepared = membership_zeroed(1, sizeof(*self->prepared));
    self->shown = membership_zeroed(1, sizeof(*self->shown));
    self->slot = MEMBERSHIP_NO_SLOT;
    return self;
}

void membership_free(struct membership *self)
{
    membership_processes_free(self->processes, self->process_count);
    membership_prepared_forget(self);
    free(self->state);
    free(self->prepared);
    free(self->shown);
    free(self->found);
    free(self);
}

bool membership_has_ended(const struct membership *self)
{
    return self->standing == MEMBERSHIP_ENDED || self->left_told;
}

void membership_end(struct membership *self, int error, const char *reason)
{
    if (self->standing == MEMBERSHIP_ENDED)
        return;
    self->standing = MEMBERSHIP_ENDED;
    struct membership_effect *effect = membership_emit(self, MEMBERSHIP_EFFECT_ENDED);
    effect->ended.error = error;
    snprintf(effect->ended.reason, sizeof(effect->ended.reason), "%s", reason);
}

bool membership_ring_is_quorate(const struct membership *self)
{
    if (!self->has_ring || !self->has_quorum_ring || !self->is_quorate)
        return false;
    return membership_ring_equal(self->ring, self->quorum_ring) || SABOTAGE(membership_any_ring);
}

struct membership_member *membership_self_member(struct membership *self)
{
    if (!self->has_state || self->incarnation == 0)
        return NULL;
    return membership_state_member(self->state, self->config.self.node_id, self->incarnation);
}

struct membership_joiner *membership_self_joiner(struct membership *self)
{
    if (!self->has_state || self->incarnation == 0)
        return NULL;
    return membership_state_joiner(self->state, self->config.self.node_id, self->incarnation);
}

// --- suspend and resume (rule 18) ------------------------------------------------------------

void membership_suspend(struct membership *self)
{
    const struct membership_view *view = &self->state->view;
    if (!self->is_running)
        return;
    self->is_running = false;
    self->mailbox_asked = false;
    if (self->standing == MEMBERSHIP_MEMBER)
        self->standing = MEMBERSHIP_SUSPENDED;
    self->companion_count = 0;
    for (uint32_t i = 0; i < view->member_count; i++)
        self->companions[self->companion_count++] = membership_member_node(&view->members[i]);
    membership_emit(self, MEMBERSHIP_EFFECT_SUSPEND);
}

// All who were with us are back, and there is no stranger of whom nobody knows what it held:
// they are with the life they had, or recovered, or have left.
static bool companions_are_settled(struct membership *self)
{
    if (SABOTAGE(membership_resume_early))
        return true;
    for (uint32_t i = 0; i < self->state->view.dead_count && self->has_run; i++)
        if (self->state->view.dead[i].pid == 0)
            return false;
    for (uint32_t i = 0; i < self->companion_count; i++)
        if (membership_state_dead(self->state, self->companions[i].node_id,
                                  self->companions[i].incarnation) != NULL)
            return false;
    return true;
}

static bool may_run(struct membership *self)
{
    return membership_ring_is_quorate(self) && self->round.phase == ROUND_COMPLETE &&
           membership_self_member(self) != NULL && companions_are_settled(self);
}

static void resume(struct membership *self)
{
    self->is_running = self->has_run = true;
    self->mailbox_asked = false;
    self->companion_count = 0;
    if (self->standing == MEMBERSHIP_SUSPENDED)
        self->standing = MEMBERSHIP_MEMBER;
    membership_emit(self, MEMBERSHIP_EFFECT_RESUME);
}

static void consider_resume(struct membership *self)
{
    if (self->is_running || self->standing == MEMBERSHIP_LEAVING || !may_run(self))
        return;
    if (!self->has_run || SABOTAGE(membership_resume_unread)) {
        resume(self);
    } else if (!self->mailbox_asked) {
        self->mailbox_asked = true;
        membership_emit(self, MEMBERSHIP_EFFECT_CHECK_MAILBOX);
    }
}

void membership_mailbox_clean(struct membership *self)
{
    bool was_asked = self->mailbox_asked;
    self->mailbox_asked = false;
    if (was_asked && !self->is_running && may_run(self))
        resume(self);
}

static void tell_slot(struct membership *self)
{
    const struct membership_joiner *joiner = membership_self_joiner(self);
    if (self->slot_told || self->is_founding || joiner == NULL || !joiner->is_assigned)
        return;
    self->slot_told = true;
    self->slot = joiner->member.slot;
    membership_emit_node(self, MEMBERSHIP_EFFECT_SLOT_ASSIGNED,
                         membership_member_node(&joiner->member));
}

// Nobody can be told that we leave: the slot says so.
static void leave_alone(struct membership *self)
{
    if (!self->wants_leave || self->left_told || membership_ring_is_quorate(self))
        return;
    self->left_told = true;
    membership_emit(self, MEMBERSHIP_EFFECT_LEFT);
}

void membership_act(struct membership *self)
{
    if (membership_has_ended(self))
        return;
    leave_alone(self);
    membership_round_drive(self);
    bool is_settled = self->has_state && self->round.phase == ROUND_COMPLETE;
    if (is_settled && !membership_has_ended(self)) {
        membership_tasks_end(self);
        tell_slot(self);
        if (membership_ring_is_quorate(self) && membership_self_member(self) != NULL)
            membership_tasks_order(self);
        consider_resume(self);
    }
    membership_wishes_drive(self);
}

// --- questions -------------------------------------------------------------------------------

uint64_t membership_deadline_ns(const struct membership *self)
{
    uint64_t at_ns = membership_round_deadline_ns(self);
    if (membership_has_ended(self))
        return UINT64_MAX;
    if (self->is_lost && self->lost_ns + self->config.patience_ns < at_ns)
        at_ns = self->lost_ns + self->config.patience_ns;
    return at_ns;
}

enum membership_standing membership_standing_get(const struct membership *self)
{
    return self->standing;
}

const struct membership_view *membership_view_get(const struct membership *self)
{
    if (self->view_told == 0)
        return self->shown; // epoch 0
    return self->has_state ? &self->state->view : self->shown;
}

uint32_t membership_slot(const struct membership *self)
{
    return self->slot;
}

bool membership_knows(const struct membership *self, uint32_t node_id, uint64_t incarnation)
{
    if (self->has_state && membership_state_knows(self->state, node_id, incarnation))
        return true;
    return membership_prepared_knows(self, node_id, incarnation);
}

uint64_t membership_changed_ns(const struct membership *self)
{
    return self->changed_ns;
}

uint32_t membership_joiner_count(const struct membership *self)
{
    return self->has_state ? self->state->joiner_count : 0;
}

bool membership_is_settled(const struct membership *self)
{
    return self->is_running && self->round.phase == ROUND_COMPLETE &&
           self->state->view.dead_count == 0;
}
