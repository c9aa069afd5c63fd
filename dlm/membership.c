// SPDX-License-Identifier: Apache-2.0
#include "dlm/membership.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dlm/membership_machine.h"
#include "fs/base/check.h"
#include "fs/base/error.h"
#include "fs/base/sabotage.h"

// --- effects ---------------------------------------------------------------------------------

struct membership_effect *membership_emit(struct membership *self, enum membership_effect_type type)
{
    struct membership_effects *effects = self->effects;
    if (effects->count == effects->capacity) {
        effects->capacity = effects->capacity ? 2 * effects->capacity : 16;
        effects->items = realloc(effects->items, effects->capacity * sizeof(*effects->items));
        CHECK(effects->items != NULL);
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
        effects->bytes = realloc(effects->bytes, effects->byte_capacity);
        CHECK(effects->bytes != NULL);
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

static void *zeroed(size_t count, size_t bytes)
{
    void *memory = calloc(count, bytes);
    CHECK(memory != NULL);
    return memory;
}

struct membership *membership_new(const struct membership_config *config)
{
    struct membership *self = zeroed(1, sizeof(*self));
    self->config = *config;
    self->processes = zeroed(1, sizeof(*self->processes));
    self->state = zeroed(1, sizeof(*self->state));
    self->prepared = zeroed(1, sizeof(*self->prepared));
    self->shown = zeroed(1, sizeof(*self->shown));
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

static bool is_leader(struct membership *self)
{
    const struct membership_member *leader = membership_state_leader(self->state);
    return leader != NULL && leader == membership_self_member(self);
}

// --- suspend and resume (rule 18) ------------------------------------------------------------

static void suspend(struct membership *self)
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

static void mailbox_clean(struct membership *self)
{
    bool was_asked = self->mailbox_asked;
    self->mailbox_asked = false;
    if (was_asked && !self->is_running && may_run(self))
        resume(self);
}

// --- what a member does in a view ------------------------------------------------------------

// Orders something once: true if it was not ordered yet.
static bool task_add(struct membership *self, enum membership_effect_type type,
                     struct membership_node node)
{
    for (uint32_t i = 0; i < self->task_count; i++)
        if (self->tasks[i].type == type && self->tasks[i].node.node_id == node.node_id &&
            self->tasks[i].node.incarnation == node.incarnation)
            return false;
    CHECK(self->task_count < MEMBERSHIP_WISHES_MAX);
    self->tasks[self->task_count].type = type;
    self->tasks[self->task_count++].node = node;
    return true;
}

static bool task_is_over(struct membership *self, uint32_t index)
{
    struct membership_node node = self->tasks[index].node;
    const struct membership_dead *dead =
        membership_state_dead(self->state, node.node_id, node.incarnation);
    if (self->tasks[index].type == MEMBERSHIP_EFFECT_FENCE)
        return dead == NULL || dead->phase != MEMBERSHIP_DEAD;
    if (self->tasks[index].type == MEMBERSHIP_EFFECT_REPLAY)
        return dead == NULL;
    return membership_state_joiner(self->state, node.node_id, node.incarnation) == NULL;
}

static void tasks_end(struct membership *self)
{
    for (uint32_t i = 0; i < self->task_count; i++) {
        if (!task_is_over(self, i))
            continue;
        if (self->tasks[i].type == MEMBERSHIP_EFFECT_FENCE)
            membership_emit_node(self, MEMBERSHIP_EFFECT_FENCE_CANCEL, self->tasks[i].node);
        self->tasks[i--] = self->tasks[--self->task_count];
    }
}

static bool has_evidence(const struct membership *self, const struct membership_evidence *list,
                         uint32_t count, const struct membership_dead *dead)
{
    for (uint32_t i = 0; i < count; i++)
        if (list[i].node_id == dead->node_id && membership_ring_equal(list[i].ring, self->ring) &&
            (list[i].pid == dead->pid || list[i].incarnation == dead->incarnation))
            return true;
    return false;
}

static bool is_down(const struct membership *self, const struct membership_dead *dead)
{
    return has_evidence(self, self->down, self->down_count, dead);
}

// Rule 9: the process went down in this very ring, and its guard says that its I/O has drained.
static bool is_drained(const struct membership *self, const struct membership_dead *dead)
{
    return is_down(self, dead) && (SABOTAGE(membership_down_is_drained) ||
                                   has_evidence(self, self->drained, self->drained_count, dead));
}

static void order_fence(struct membership *self, const struct membership_dead *dead)
{
    struct membership_node node = membership_dead_node(dead);
    if (is_drained(self, dead)) {
        struct membership_wish wish = {.type = MEMBERSHIP_MESSAGE_NODE_FENCED, .node = node};
        membership_wish_add(self, &wish);
        return;
    }
    if (!task_add(self, MEMBERSHIP_EFFECT_FENCE, node))
        return;
    struct membership_effect *effect = membership_emit(self, MEMBERSHIP_EFFECT_FENCE);
    effect->fence.node = node;
    effect->fence.is_node_up = is_down(self, dead);
    effect->fence.yields =
        self->config.is_two_node && self->config.self.node_id > dead->node_id && dead->pid != 0;
    snprintf(effect->fence.reason, sizeof(effect->fence.reason), "%s",
             dead->pid == 0             ? "left behind by an earlier life of the cluster"
             : effect->fence.is_node_up ? "its process went down"
                                        : "it is no longer in the cluster");
}

// A stranger and a joiner that was given its slot: the slot has one mailbox, so the stranger, which
// is the one that the slot shows, comes first.
static bool waits_for_stranger(const struct membership *self, const struct membership_dead *dead)
{
    for (uint32_t i = 0; i < self->state->view.dead_count && dead->pid != 0; i++) {
        const struct membership_dead *other = &self->state->view.dead[i];
        if (other->slot == dead->slot && other->pid == 0)
            return true;
    }
    return false;
}

static void task_take_back(struct membership *self, enum membership_effect_type type,
                           struct membership_node node)
{
    for (uint32_t i = 0; i < self->task_count; i++) {
        if (self->tasks[i].type != type || self->tasks[i].node.node_id != node.node_id ||
            self->tasks[i].node.incarnation != node.incarnation)
            continue;
        self->tasks[i] = self->tasks[--self->task_count];
        membership_emit_node(self, MEMBERSHIP_EFFECT_FENCE_CANCEL, node);
        return;
    }
}

static void order_fences(struct membership *self)
{
    const struct membership_view *view = &self->state->view;
    for (uint32_t i = 0; i < view->dead_count; i++)
        if (view->dead[i].phase == MEMBERSHIP_DEAD && waits_for_stranger(self, &view->dead[i]))
            task_take_back(self, MEMBERSHIP_EFFECT_FENCE, membership_dead_node(&view->dead[i]));
    for (uint32_t i = 0; i < view->dead_count; i++)
        if (view->dead[i].phase == MEMBERSHIP_DEAD && !waits_for_stranger(self, &view->dead[i]))
            order_fence(self, &view->dead[i]);
}

// Whether somebody who is dead now and may still write may also be replaying this journal: whoever
// died with its owner or later may have been told to, by a fact that reached nobody else:
//
//      n1 (leader)                      n2                               n3 (dead, its lease over)
//      "n3 is fenced" delivered to n1
//      replay n3 ...                    ── the ring breaks: n2 is quorate, n1 is not ──
//      ... goes on: its lease is good   view without n1: n1 and n3 are dead
//                                       n3 is fenced, replay, recovered: n3's locks go to others
//      ... writes an old image of n3
//
// So the next recoverer waits until such a one is fenced; not for a joiner that waits for a
// stranger, which has never been a member. Of two nodes that are cut apart, which are both quorate
// (rule 26), it keeps either half from a third one's journal in the same way.
static bool another_may_replay(const struct membership *self, const struct membership_dead *dead)
{
    const struct membership_view *view = &self->state->view;
    for (uint32_t i = 0; i < view->dead_count; i++) {
        const struct membership_dead *other = &view->dead[i];
        bool is_later = other->died_generation == 0 || dead->died_generation == 0 ||
                        other->died_generation >= dead->died_generation;
        bool may_write = other->phase == MEMBERSHIP_DEAD && !waits_for_stranger(self, other);
        if (other != dead && may_write && is_later && !SABOTAGE(membership_two_recoverers))
            return true;
    }
    return false;
}

static void order_replays(struct membership *self)
{
    const struct membership_member *member = membership_self_member(self);
    for (uint32_t i = 0; i < self->state->view.dead_count; i++) {
        const struct membership_dead *dead = &self->state->view.dead[i];
        bool is_ours = dead->recoverer_node_id == member->node_id &&
                       dead->recoverer_incarnation == member->incarnation;
        if (dead->phase == MEMBERSHIP_FENCED && is_ours && !another_may_replay(self, dead) &&
            task_add(self, MEMBERSHIP_EFFECT_REPLAY, membership_dead_node(dead)))
            membership_emit_node(self, MEMBERSHIP_EFFECT_REPLAY, membership_dead_node(dead));
    }
}

static void order_looks(struct membership *self)
{
    for (uint32_t i = 0; i < self->state->joiner_count; i++) {
        const struct membership_joiner *joiner = &self->state->joiners[i];
        struct membership_node node = membership_member_node(&joiner->member);
        if (joiner->is_assigned && !joiner->is_seen &&
            task_add(self, MEMBERSHIP_EFFECT_WATCH_JOINER, node))
            membership_emit_node(self, MEMBERSHIP_EFFECT_WATCH_JOINER, node);
    }
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
        tasks_end(self);
        tell_slot(self);
        if (membership_ring_is_quorate(self) && membership_self_member(self) != NULL) {
            order_replays(self);
            if (is_leader(self)) {
                order_fences(self);
                order_looks(self);
            }
        }
        consider_resume(self);
    }
    membership_wishes_drive(self);
}

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
        zeroed(change->member_count + 1, sizeof(*self->processes));
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
        suspend(self);
}

static void on_lost(struct membership *self)
{
    if (!self->is_lost)
        self->lost_ns = self->now_ns;
    self->is_lost = true;
    self->has_ring = self->has_quorum_ring = self->is_quorate = false;
    membership_processes_free(self->processes, self->process_count);
    self->processes = zeroed(1, sizeof(*self->processes));
    self->process_count = 0;
    self->excluded_count = 0;
    membership_round_reset(self);
    suspend(self);
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
    struct membership_message *found = zeroed(1, sizeof(*found));
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
        mailbox_clean(self);
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
