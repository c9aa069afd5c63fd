// SPDX-License-Identifier: Apache-2.0
// What this node wants everybody to know: said in each round, and again after each ring that broke,
// until the state shows it.
#include <string.h>

#include "dlm/membership_machine.h"
#include "fs/base/check.h"
#include "fs/base/sabotage.h"

static bool wish_equal(const struct membership_wish *a, const struct membership_wish *b)
{
    return a->type == b->type && a->node.node_id == b->node.node_id &&
           a->node.incarnation == b->node.incarnation &&
           membership_process_equal(a->process, b->process);
}

void membership_wish_add(struct membership *self, const struct membership_wish *wish)
{
    for (uint32_t i = 0; i < self->wish_count; i++) {
        if (!wish_equal(&self->wishes[i], wish))
            continue;
        if (self->wishes[i].is_down != wish->is_down)
            self->wishes[i] = *wish; // the link has come up again
        return;
    }
    CHECK(self->wish_count < MEMBERSHIP_WISHES_MAX);
    self->wishes[self->wish_count++] = *wish;
}

void membership_wishes_unsend(struct membership *self)
{
    for (uint32_t i = 0; i < self->wish_count; i++)
        self->wishes[i].is_sent = false;
    self->join_sent = self->found_sent = self->leave_sent = self->features_sent = false;
}

// Whether there is still a point in saying it.
static bool is_open(struct membership *self, const struct membership_wish *wish)
{
    uint32_t node_id = wish->node.node_id;
    uint64_t incarnation = wish->node.incarnation;
    const struct membership_dead *dead = membership_state_dead(self->state, node_id, incarnation);
    const struct membership_joiner *joiner =
        membership_state_joiner(self->state, node_id, incarnation);
    switch (wish->type) {
    case MEMBERSHIP_MESSAGE_NODE_FENCED:
        return dead != NULL && dead->phase == MEMBERSHIP_DEAD;
    case MEMBERSHIP_MESSAGE_NODE_RECOVERED:
        return dead != NULL;
    case MEMBERSHIP_MESSAGE_PROVED:
        return joiner != NULL && !(joiner->is_proved && SABOTAGE(membership_proved_once));
    case MEMBERSHIP_MESSAGE_SEEN:
        return joiner != NULL && !joiner->is_seen;
    case MEMBERSHIP_MESSAGE_STRANGER:
        return !membership_state_knows(self->state, node_id, incarnation);
    case MEMBERSHIP_MESSAGE_LINK:
        return membership_state_member(self->state, node_id, incarnation) != NULL;
    default:
        return false;
    }
}

static bool expulsion_is_open(struct membership *self, struct membership_wish *wish)
{
    if (wish->process.pid == 0) {
        const struct membership_member *member =
            membership_state_member(self->state, wish->node.node_id, wish->node.incarnation);
        if (member == NULL)
            return false;
        wish->process = membership_member_process(member);
    }
    return membership_process_find(self, wish->process) != NULL &&
           !membership_process_is_excluded(self, wish->process);
}

static void send_wish(struct membership *self, struct membership_wish *wish)
{
    struct membership_message message = {.type = wish->type};
    if (wish->type == MEMBERSHIP_MESSAGE_EXPEL) {
        message.expel.process = wish->process;
        message.expel.incarnation = wish->node.incarnation;
        memcpy(message.expel.reason, wish->reason, sizeof(wish->reason));
    } else if (wish->type == MEMBERSHIP_MESSAGE_LINK) {
        message.link.peer_node_id = wish->node.node_id;
        message.link.peer_incarnation = wish->node.incarnation;
        message.link.is_down = wish->is_down;
    } else {
        message.node = wish->node;
    }
    wish->is_sent = true;
    membership_send(self, &message);
}

// Shown by the state, but to be kept: who is let in does not carry the state, so what it said is
// lost with the members who heard it, and those who come after them have to hear it again.
static bool is_shown(struct membership *self, const struct membership_wish *wish)
{
    const struct membership_joiner *joiner;
    if (wish->type != MEMBERSHIP_MESSAGE_PROVED)
        return false;
    joiner = membership_state_joiner(self->state, wish->node.node_id, wish->node.incarnation);
    return joiner != NULL && joiner->is_proved;
}

// FENCED and RECOVERED are kept until the state shows them: they must not be lost with a round.
static void drive_wishes(struct membership *self)
{
    bool may_say_facts = self->round.phase == ROUND_COMPLETE && self->has_state;
    for (uint32_t i = 0; i < self->wish_count; i++) {
        struct membership_wish *wish = &self->wishes[i];
        bool is_expulsion = wish->type == MEMBERSHIP_MESSAGE_EXPEL;
        if (!is_expulsion && !may_say_facts)
            continue;
        if (is_expulsion ? !expulsion_is_open(self, wish) : !is_open(self, wish)) {
            self->wishes[i--] = self->wishes[--self->wish_count];
            continue;
        }
        if (!wish->is_sent && !is_shown(self, wish))
            send_wish(self, wish);
    }
}

static struct membership_member own_member(const struct membership *self, uint32_t slot)
{
    return (struct membership_member){
        .node_id = self->config.self.node_id,
        .pid = self->config.self.pid,
        .incarnation = self->incarnation,
        .slot = slot,
        .port = self->port,
        .version_min = self->config.version_min,
        .version_max = self->config.version_max,
        .features = self->config.features,
    };
}

static void drive_found(struct membership *self)
{
    if (self->found == NULL || self->has_state || self->found_sent)
        return;
    self->found_sent = true;
    self->found->found.member = own_member(self, self->found->found.member.slot);
    membership_send(self, self->found);
}

static void drive_join(struct membership *self)
{
    if (self->standing != MEMBERSHIP_JOINING || self->join_sent)
        return;
    // Without members a JOIN only says that somebody is here; once is enough.
    if (self->has_state ? membership_self_joiner(self) != NULL : self->round.said_joining)
        return;
    struct membership_message message = {.type = MEMBERSHIP_MESSAGE_JOIN,
                                         .join.member = own_member(self, self->slot_wish)};
    self->join_sent = true;
    membership_send(self, &message);
}

static void drive_leave(struct membership *self)
{
    const struct membership_member *member = membership_self_member(self);
    if (!self->wants_leave || self->leave_sent || member == NULL || member->is_leaving)
        return;
    struct membership_message message = {.type = MEMBERSHIP_MESSAGE_LEAVING,
                                         .node = membership_member_node(member)};
    self->leave_sent = true;
    membership_send(self, &message);
}

// Switched on when every member can: said by the leader, checked by all on delivery.
static void drive_features(struct membership *self)
{
    const struct membership_view *view = &self->state->view;
    const struct membership_member *leader = membership_state_leader(self->state);
    if (leader == NULL || !membership_member_is(leader, self->config.self) || self->features_sent)
        return;
    struct membership_message message = {.type = MEMBERSHIP_MESSAGE_FEATURES,
                                         .features = {UINT16_MAX, UINT64_MAX}};
    for (uint32_t i = 0; i < view->member_count; i++) {
        message.features.features &= view->members[i].features;
        if (view->members[i].version_max < message.features.version)
            message.features.version = view->members[i].version_max;
    }
    if ((message.features.features & ~view->features) == 0 &&
        message.features.version <= view->version)
        return;
    self->features_sent = true;
    membership_send(self, &message);
}

void membership_wishes_drive(struct membership *self)
{
    if (membership_has_ended(self) || !membership_ring_is_quorate(self))
        return;
    drive_wishes(self);
    if (self->round.phase != ROUND_COMPLETE)
        return;
    drive_found(self);
    drive_join(self);
    if (!self->has_state)
        return;
    drive_leave(self);
    drive_features(self);
}
