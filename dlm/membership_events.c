// SPDX-License-Identifier: Apache-2.0
// What the machine hears: of corosync, and of this node. One function an event.
#include <stdlib.h>
#include <string.h>

#include "dlm/membership_machine.h"
#include "fs/base/check.h"
#include "fs/base/error.h"

// --- events from corosync --------------------------------------------------------------------

static void evidence_add(struct membership_evidence *list, uint32_t *count,
                         const struct membership_evidence *evidence)
{
    if (*count == MEMBERSHIP_EVIDENCE_MAX) { // the oldest goes: at worst a lease is waited for
        memmove(list, list + 1, (MEMBERSHIP_EVIDENCE_MAX - 1) * sizeof(*list));
        --*count;
    }
    list[(*count)++] = *evidence;
}

static void take_left(struct membership *self, const struct membership_left *left)
{
    for (uint32_t i = 0; i < self->excluded_count; i++)
        if (membership_process_equal(self->excluded[i], left->process))
            self->excluded[i--] = self->excluded[--self->excluded_count];
    if (left->reason != MEMBERSHIP_LEFT_PROCESS)
        return;
    struct membership_evidence evidence = {
        .ring = self->ring, .node_id = left->process.node_id, .pid = left->process.pid};
    evidence_add(self->down, &self->down_count, &evidence);
}

static void on_group(struct membership *self, const struct membership_group_change *change)
{
    CHECK(change->member_count <= MEMBERSHIP_PROCESSES_MAX);
    struct membership_member_process *kept =
        membership_zeroed(change->member_count + 1, sizeof(*self->processes));
    for (uint32_t i = 0; i < change->member_count; i++)
        kept[i].id = change->members[i];
    membership_processes_free(self->processes, self->process_count);
    self->processes = kept;
    self->process_count = change->member_count;
    for (uint32_t i = 0; i < change->left_count; i++)
        take_left(self, &change->left[i]);
    membership_round_trigger(self);
}

static void on_ring(struct membership *self, struct membership_ring ring)
{
    bool is_same = self->has_ring && membership_ring_equal(self->ring, ring);
    self->has_ring = true;
    self->ring = ring;
    if (!is_same)
        membership_round_reset(self);
}

static void on_quorum(struct membership *self, struct membership_ring ring, bool is_quorate)
{
    self->has_quorum_ring = true;
    self->quorum_ring = ring;
    self->is_quorate = is_quorate;
    if (!is_quorate)
        membership_suspend(self);
}

static void on_lost(struct membership *self)
{
    if (!self->is_lost)
        self->lost_ns = self->now_ns;
    self->is_lost = true;
    self->has_ring = self->has_quorum_ring = self->is_quorate = false;
    membership_processes_free(self->processes, self->process_count);
    self->processes = membership_zeroed(1, sizeof(*self->processes));
    self->process_count = 0;
    self->excluded_count = 0;
    membership_round_reset(self);
    membership_suspend(self);
}

static void on_delivered(struct membership *self, struct membership_process from,
                         const uint8_t *bytes, size_t length)
{
    struct membership_message *message = malloc(sizeof(*message)); // large: decode zeroes it
    CHECK(message != NULL);
    int result = membership_message_decode(message, self->config.format_id, bytes, length);
    bool is_current = result == 0 && self->has_ring &&
                      membership_ring_equal(message->ring, self->ring) &&
                      !membership_process_is_excluded(self, from);
    if (is_current && message->type <= MEMBERSHIP_MESSAGE_ACK)
        membership_round_deliver(self, from, message);
    else if (is_current)
        membership_facts_deliver(self, from, message);
    free(message);
}

// --- events from this node -------------------------------------------------------------------

static void on_join(struct membership *self, const struct membership_event *event)
{
    CHECK(self->standing == MEMBERSHIP_OUT && event->join.incarnation != 0);
    self->standing = MEMBERSHIP_JOINING;
    self->incarnation = event->join.incarnation;
    self->slot_wish = event->join.slot_wish;
    self->slot_count = event->join.slot_count;
    self->port = event->join.port;
}

static void on_founded(struct membership *self, const struct membership_event *event)
{
    if (!self->is_founding || self->found != NULL)
        return;
    struct membership_message *found = membership_zeroed(1, sizeof(*found));
    found->type = MEMBERSHIP_MESSAGE_FOUND;
    found->found.member.slot = event->founded.slot;
    found->found.slot_count = self->slot_count;
    CHECK(event->founded.dead_count <= MEMBERSHIP_DEAD_MAX);
    found->found.dead_count = event->founded.dead_count;
    for (uint32_t i = 0; i < event->founded.dead_count; i++)
        found->found.dead[i] = event->founded.dead[i];
    self->found = found;
}

static void on_drained(struct membership *self, const struct membership_event *event)
{
    struct membership_evidence evidence = {.ring = event->drained.ring,
                                           .node_id = event->drained.node.node_id,
                                           .pid = UINT32_MAX,
                                           .incarnation = event->drained.node.incarnation};
    evidence_add(self->drained, &self->drained_count, &evidence);
}

static void on_expel(struct membership *self, const struct membership_event *event)
{
    struct membership_wish wish = {.type = MEMBERSHIP_MESSAGE_EXPEL, .node = event->expel.node};
    memcpy(wish.reason, event->expel.reason, sizeof(wish.reason));
    wish.reason[sizeof(wish.reason) - 1] = '\0';
    if (self->has_state &&
        membership_state_member(self->state, wish.node.node_id, wish.node.incarnation) != NULL)
        membership_wish_add(self, &wish);
}

static void on_link(struct membership *self, const struct membership_event *event)
{
    struct membership_wish wish = {
        .type = MEMBERSHIP_MESSAGE_LINK,
        .node = {.node_id = event->link.peer_node_id, .incarnation = event->link.peer_incarnation},
        .is_down = event->link.is_down};
    membership_wish_add(self, &wish);
}

static void on_fact(struct membership *self, enum membership_message_type type,
                    struct membership_node node)
{
    struct membership_wish wish = {.type = type, .node = node};
    membership_wish_add(self, &wish);
}

static void on_stranger(struct membership *self, struct membership_node node)
{
    if (!membership_knows(self, node.node_id, node.incarnation))
        on_fact(self, MEMBERSHIP_MESSAGE_STRANGER, node);
}

static void on_proved(struct membership *self)
{
    const struct membership_joiner *joiner = membership_self_joiner(self);
    if (joiner != NULL)
        on_fact(self, MEMBERSHIP_MESSAGE_PROVED, membership_member_node(&joiner->member));
}

static void on_leave(struct membership *self)
{
    self->wants_leave = true;
    self->standing = MEMBERSHIP_LEAVING;
    if (membership_self_member(self) == NULL && !self->left_told) {
        self->left_told = true;
        membership_emit(self, MEMBERSHIP_EFFECT_LEFT);
    }
}

static void on_tick(struct membership *self)
{
    if (self->is_lost && self->now_ns >= self->lost_ns + self->config.patience_ns &&
        self->standing != MEMBERSHIP_OUT)
        membership_end(self, -ERROR_COROSYNC, "corosync is gone and has not come back");
    membership_round_tick(self);
}

static void dispatch(struct membership *self, const struct membership_event *event)
{
    switch (event->type) {
    case MEMBERSHIP_EVENT_GROUP:
        on_group(self, &event->group);
        break;
    case MEMBERSHIP_EVENT_RING:
        on_ring(self, event->ring);
        break;
    case MEMBERSHIP_EVENT_QUORUM:
        on_quorum(self, event->quorum.ring, event->quorum.is_quorate);
        break;
    case MEMBERSHIP_EVENT_DELIVERED:
        on_delivered(self, event->delivered.from, event->delivered.bytes, event->delivered.length);
        break;
    case MEMBERSHIP_EVENT_DRAINED:
        on_drained(self, event);
        break;
    case MEMBERSHIP_EVENT_LOST:
        on_lost(self);
        break;
    case MEMBERSHIP_EVENT_RECONNECTED:
        self->is_lost = false;
        break;
    case MEMBERSHIP_EVENT_JOIN:
        on_join(self, event);
        break;
    case MEMBERSHIP_EVENT_LEAVE:
        on_leave(self);
        break;
    case MEMBERSHIP_EVENT_EXPEL:
        on_expel(self, event);
        break;
    case MEMBERSHIP_EVENT_LINK:
        on_link(self, event);
        break;
    case MEMBERSHIP_EVENT_END:
        self->standing = MEMBERSHIP_ENDED;
        break;
    case MEMBERSHIP_EVENT_FOUNDED:
        on_founded(self, event);
        break;
    case MEMBERSHIP_EVENT_LUN_PROVED:
        on_proved(self);
        break;
    case MEMBERSHIP_EVENT_LUN_SEEN:
        on_fact(self, MEMBERSHIP_MESSAGE_SEEN, event->node);
        break;
    case MEMBERSHIP_EVENT_STRANGER:
        on_stranger(self, event->node);
        break;
    case MEMBERSHIP_EVENT_FENCED:
        on_fact(self, MEMBERSHIP_MESSAGE_NODE_FENCED, event->node);
        break;
    case MEMBERSHIP_EVENT_REPLAYED:
        on_fact(self, MEMBERSHIP_MESSAGE_NODE_RECOVERED, event->node);
        break;
    case MEMBERSHIP_EVENT_MAILBOX_CLEAN:
        membership_mailbox_clean(self);
        break;
    case MEMBERSHIP_EVENT_TICK:
        break;
    }
}

void membership_step(struct membership *self, const struct membership_event *event,
                     struct membership_effects *effects)
{
    effects->count = 0;
    effects->byte_count = 0;
    self->effects = effects;
    self->now_ns = event->now_ns;
    if (!membership_has_ended(self)) {
        dispatch(self, event);
        on_tick(self);
        membership_act(self);
    }
    self->effects = NULL;
}
