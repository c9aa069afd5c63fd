// SPDX-License-Identifier: Apache-2.0
// Ordered facts. Everybody takes them at the same place of the order, and only while a round is
// complete (expulsions excepted, which end rounds that hang): what falls in between is dropped by
// all alike, and its sender, which keeps it as a wish, says it again.
#include <stdio.h>
#include <string.h>

#include "dlm/membership_machine.h"
#include "fs/base/check.h"
#include "fs/base/error.h"
#include "fs/base/sabotage.h"

// --- on delivery -----------------------------------------------------------------------------

static bool is_from_member(struct membership *self, struct membership_process from)
{
    for (uint32_t i = 0; i < self->state->view.member_count; i++)
        if (membership_process_equal(membership_member_process(&self->state->view.members[i]),
                                     from))
            return true;
    return false;
}

static bool is_from(const struct membership_member *member, struct membership_process from)
{
    return membership_process_equal(membership_member_process(member), from);
}

static void deliver_found(struct membership *self, struct membership_process from,
                          const struct membership_message *message)
{
    if (self->has_state || !is_from(&message->found.member, from))
        return;
    struct membership_state *state = self->state;
    memset(state, 0, sizeof(*state));
    state->slot_count = message->found.slot_count;
    state->view.version = message->found.member.version_min;
    state->joiner_count = 1;
    state->joiners[0] = (struct membership_joiner){
        .member = message->found.member, .is_assigned = true, .is_proved = true, .is_seen = true};
    for (uint32_t i = 0; i < message->found.dead_count; i++)
        state->view.dead[state->view.dead_count++] =
            (struct membership_dead){.node_id = message->found.dead[i].node_id,
                                     .incarnation = message->found.dead[i].incarnation,
                                     .slot = message->found.dead[i].slot};
    self->has_state = true;
    if (is_from(&message->found.member, self->config.self)) {
        self->found_accepted = true;
        self->slot = message->found.member.slot;
    }
    membership_round_trigger(self);
}

// Why a joiner cannot be let in; 0: it can.
static int refusal(const struct membership_state *state, const struct membership_member *member)
{
    uint16_t version = state->view.version;
    if (member->version_min > version || member->version_max < version)
        return -ERROR_PEER_VERSION;
    if ((state->view.features & ~member->features) != 0)
        return -ERROR_PEER_VERSION;
    if (membership_state_free_slot(state, member->slot) == MEMBERSHIP_NO_SLOT)
        return -ERROR_VOLUME_SLOTS;
    return 0;
}

static void deliver_join(struct membership *self, struct membership_process from,
                         const struct membership_message *message)
{
    struct membership_state *state = self->state;
    struct membership_member member = message->join.member;
    bool is_ours = membership_process_equal(from, self->config.self);
    if (!is_from(&member, from) || state->joiner_count == MEMBERSHIP_NODES_MAX ||
        state->view.member_count + state->joiner_count >= MEMBERSHIP_NODES_MAX)
        return;
    // An earlier life of the node is to be recovered first (rule 27): it asks again then.
    if (membership_state_has_node(state, member.node_id) && !SABOTAGE(membership_reuse_slot))
        return;
    int error = refusal(state, &member);
    if (error != 0) {
        if (is_ours)
            membership_end(self, error, "the cluster cannot let this node in");
        return;
    }
    member.slot = membership_state_free_slot(state, member.slot);
    member.is_leaving = false;
    state->joiners[state->joiner_count++] = (struct membership_joiner){.member = member};
    self->join_accepted |= is_ours;
    membership_round_trigger(self);
}

static void deliver_admission(struct membership *self, struct membership_process from,
                              const struct membership_message *message)
{
    struct membership_joiner *joiner =
        membership_state_joiner(self->state, message->node.node_id, message->node.incarnation);
    if (joiner == NULL)
        return;
    bool was_ready = joiner->is_proved && joiner->is_seen;
    if (message->type == MEMBERSHIP_MESSAGE_PROVED && is_from(&joiner->member, from))
        joiner->is_proved = true;
    if (message->type == MEMBERSHIP_MESSAGE_SEEN && is_from_member(self, from))
        joiner->is_seen = true;
    if (!was_ready && joiner->is_proved && joiner->is_seen)
        membership_round_trigger(self);
}

static void deliver_leaving(struct membership *self, struct membership_process from,
                            const struct membership_message *message)
{
    struct membership_member *member =
        membership_state_member(self->state, message->node.node_id, message->node.incarnation);
    if (member == NULL || !is_from(member, from) || member->is_leaving)
        return;
    member->is_leaving = true;
    if (membership_process_equal(from, self->config.self))
        self->leave_accepted = true;
    membership_round_trigger(self);
}

static void deliver_node_fenced(struct membership *self, struct membership_process from,
                                const struct membership_message *message)
{
    if (is_from_member(self, from))
        membership_state_fenced(self->state, message->node);
}

static void deliver_node_recovered(struct membership *self, struct membership_process from,
                                   const struct membership_message *message)
{
    if (!membership_state_recovered(self->state, message->node, from))
        return;
    self->join_sent = false; // a joiner may have waited for it
    if (self->view_told != 0)
        membership_emit_node(self, MEMBERSHIP_EFFECT_RECOVERED, message->node);
}

// Members who have all died since had let it in while we were apart.
static void deliver_stranger(struct membership *self, struct membership_process from,
                             const struct membership_message *message)
{
    if (is_from_member(self, from) && membership_state_stranger(self->state, message->node))
        membership_round_trigger(self);
}

static void deliver_features(struct membership *self, struct membership_process from,
                             const struct membership_message *message)
{
    struct membership_view *view = &self->state->view;
    if (!is_from_member(self, from))
        return;
    for (uint32_t i = 0; i < view->member_count; i++)
        if ((message->features.features & ~view->members[i].features) != 0 ||
            message->features.version > view->members[i].version_max)
            return; // one who cannot has joined meanwhile
    if (message->features.version > view->version)
        view->version = message->features.version;
    view->features |= message->features.features;
    self->features_sent = false;
    if (self->view_told != 0)
        membership_emit(self, MEMBERSHIP_EFFECT_FEATURES);
}

static void deliver_expel(struct membership *self, const struct membership_message *message)
{
    struct membership_process victim = message->expel.process;
    if (membership_process_is_excluded(self, victim) ||
        membership_process_find(self, victim) == NULL)
        return;
    membership_process_exclude(self, victim);
    if (membership_process_equal(victim, self->config.self))
        membership_end(self, -ERROR_NODE_EXPELLED, message->expel.reason);
    else
        membership_round_trigger(self);
}

// --- links (rule 20) -------------------------------------------------------------------------

static bool link_is_down(const struct membership *self, uint32_t node_id, uint32_t peer_node_id)
{
    for (uint32_t i = 0; i < self->link_count; i++)
        if (self->links[i].node_id == node_id && self->links[i].peer_node_id == peer_node_id)
            return true;
    return false;
}

static void link_set(struct membership *self, uint32_t node_id, uint32_t peer_node_id, bool is_down)
{
    for (uint32_t i = 0; i < self->link_count; i++)
        if (self->links[i].node_id == node_id && self->links[i].peer_node_id == peer_node_id)
            self->links[i] = self->links[--self->link_count];
    if (is_down && self->link_count < MEMBERSHIP_EVIDENCE_MAX)
        self->links[self->link_count++] = (struct membership_link_report){node_id, peer_node_id};
}

// How many links of a node both ends say are down.
static uint32_t links_lost(const struct membership *self, uint32_t node_id)
{
    uint32_t lost = 0;
    for (uint32_t i = 0; i < self->link_count; i++)
        if (self->links[i].node_id == node_id &&
            link_is_down(self, self->links[i].peer_node_id, node_id))
            lost++;
    return lost;
}

static const struct membership_member *member_of_node(const struct membership_state *state,
                                                      uint32_t node_id)
{
    for (uint32_t i = 0; i < state->view.member_count; i++)
        if (state->view.members[i].node_id == node_id)
            return &state->view.members[i];
    return NULL;
}

// Both ends agree that their link is down: the one with fewer links left goes, else the one with
// the higher slot. Everybody comes to the same verdict; the leader says it, if it stays.
static void judge_link(struct membership *self, const struct membership_member *a,
                       const struct membership_member *b)
{
    uint32_t lost_a = links_lost(self, a->node_id), lost_b = links_lost(self, b->node_id);
    const struct membership_member *victim = lost_a != lost_b    ? (lost_a > lost_b ? a : b)
                                             : a->slot > b->slot ? a
                                                                 : b;
    const struct membership_member *leader = membership_state_leader(self->state);
    bool is_victim = is_from(victim, self->config.self);
    bool is_ours =
        leader != NULL && (is_from(leader, self->config.self) || (leader == victim && !is_victim));
    if (!is_ours || is_victim)
        return;
    struct membership_wish wish = {.type = MEMBERSHIP_MESSAGE_EXPEL,
                                   .node = membership_member_node(victim),
                                   .process = membership_member_process(victim)};
    snprintf(wish.reason, sizeof(wish.reason), "its lock link to node %u is down",
             victim == a ? b->node_id : a->node_id);
    membership_wish_add(self, &wish);
}

static void deliver_link(struct membership *self, struct membership_process from,
                         const struct membership_message *message)
{
    const struct membership_member *peer = membership_state_member(
        self->state, message->link.peer_node_id, message->link.peer_incarnation);
    const struct membership_member *reporter = member_of_node(self->state, from.node_id);
    if (peer == NULL || reporter == NULL || !is_from(reporter, from) || peer == reporter)
        return;
    link_set(self, reporter->node_id, peer->node_id, message->link.is_down);
    bool is_confirmed = link_is_down(self, peer->node_id, reporter->node_id);
    if (message->link.is_down && (is_confirmed || SABOTAGE(membership_link_one_end)))
        judge_link(self, reporter, peer);
}

// --- dispatch --------------------------------------------------------------------------------

void membership_facts_deliver(struct membership *self, struct membership_process from,
                              const struct membership_message *message)
{
    if (message->type == MEMBERSHIP_MESSAGE_EXPEL) {
        deliver_expel(self, message);
        return;
    }
    if (self->round.phase != ROUND_COMPLETE)
        return;
    if (message->type == MEMBERSHIP_MESSAGE_FOUND) {
        deliver_found(self, from, message);
        return;
    }
    self->changed_ns = self->now_ns;
    if (!self->has_state) {
        // Somebody asks to be let in and there are no members: a round finds the founder.
        if (message->type == MEMBERSHIP_MESSAGE_JOIN)
            membership_round_trigger(self);
        return;
    }
    switch (message->type) {
    case MEMBERSHIP_MESSAGE_JOIN:
        deliver_join(self, from, message);
        break;
    case MEMBERSHIP_MESSAGE_PROVED:
    case MEMBERSHIP_MESSAGE_SEEN:
        deliver_admission(self, from, message);
        break;
    case MEMBERSHIP_MESSAGE_LEAVING:
        deliver_leaving(self, from, message);
        break;
    case MEMBERSHIP_MESSAGE_NODE_FENCED:
        deliver_node_fenced(self, from, message);
        break;
    case MEMBERSHIP_MESSAGE_NODE_RECOVERED:
        deliver_node_recovered(self, from, message);
        break;
    case MEMBERSHIP_MESSAGE_LINK:
        deliver_link(self, from, message);
        break;
    case MEMBERSHIP_MESSAGE_FEATURES:
        deliver_features(self, from, message);
        break;
    case MEMBERSHIP_MESSAGE_STRANGER:
        deliver_stranger(self, from, message);
        break;
    default:
        break;
    }
}

// --- wishes ----------------------------------------------------------------------------------

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
    if (leader == NULL || !is_from(leader, self->config.self) || self->features_sent)
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
