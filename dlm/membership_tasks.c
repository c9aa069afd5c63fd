// SPDX-License-Identifier: Apache-2.0
// What a member does in a view: who died is fenced and replayed, who asks to be let in is looked
// for on the LUN. Each is ordered once and ends when the state shows it done, whoever did it.
#include <stdio.h>
#include <string.h>

#include "dlm/membership_machine.h"
#include "fs/base/check.h"
#include "fs/base/sabotage.h"

// --- what is under way -----------------------------------------------------------------------

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

void membership_tasks_end(struct membership *self)
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

// --- all of it -------------------------------------------------------------------------------

static bool is_leader(struct membership *self)
{
    const struct membership_member *leader = membership_state_leader(self->state);
    return leader != NULL && leader == membership_self_member(self);
}

void membership_tasks_order(struct membership *self)
{
    order_replays(self);
    if (!is_leader(self))
        return;
    order_fences(self);
    order_looks(self);
}
