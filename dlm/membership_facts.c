// SPDX-License-Identifier: Apache-2.0
// Ordered facts. Everybody takes them at the same place of the order, and only while a round is
// complete (expulsions excepted, which end rounds that hang): what falls in between is dropped by
// all alike, and its sender, which keeps it as a wish, says it again.
#include <stdio.h>
#include <string.h>

#include "dlm/membership_machine.h"
#include "fs/base/error.h"
#include "fs/base/sabotage.h"

// --- on delivery -----------------------------------------------------------------------------

static bool is_from_member(struct membership *self, struct membership_process from)
{
    for (uint32_t i = 0; i < self->state->view.member_count; i++)
        if (membership_member_is(&self->state->view.members[i], from))
            return true;
    return false;
}

static void deliver_found(struct membership *self, struct membership_process from,
                          const struct membership_message *message)
{
    if (self->has_state || !membership_member_is(&message->found.member, from))
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
    if (membership_member_is(&message->found.member, self->config.self)) {
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
    if (!membership_member_is(&member, from) || state->joiner_count == MEMBERSHIP_NODES_MAX ||
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
    if (message->type == MEMBERSHIP_MESSAGE_PROVED && membership_member_is(&joiner->member, from))
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
    if (member == NULL || !membership_member_is(member, from) || member->is_leaving)
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
    bool is_victim = membership_member_is(victim, self->config.self);
    bool is_ours = leader != NULL && (membership_member_is(leader, self->config.self) ||
                                      (leader == victim && !is_victim));
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
    if (peer == NULL || reporter == NULL || !membership_member_is(reporter, from) ||
        peer == reporter)
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
