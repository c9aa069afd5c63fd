// SPDX-License-Identifier: Apache-2.0
// What has to be looked at from time to time: beats of members and joiners, links that stay down,
// the claim, the mailbox before a resume (rules 15, 18, 20).
#include <string.h>

#include "fs/base/check.h"
#include "fs/cluster_state.h"
#include "fs/gated_device.h"

// --- peers -----------------------------------------------------------------------------------

struct cluster_peer *cluster_peer_find(struct cluster *cluster, uint32_t node_id,
                                       uint64_t incarnation)
{
    for (uint32_t i = 0; i < cluster->peer_count; i++) {
        struct cluster_peer *peer = &cluster->peers[i];
        if (peer->node.node_id == node_id && peer->node.incarnation == incarnation)
            return peer;
    }
    return NULL;
}

struct cluster_peer *cluster_peer_get(struct cluster *cluster, const struct membership_node *node)
{
    struct cluster_peer *peer = cluster_peer_find(cluster, node->node_id, node->incarnation);
    if (peer != NULL)
        return peer;
    CHECK(cluster->peer_count < MEMBERSHIP_NODES_MAX);
    peer = &cluster->peers[cluster->peer_count++];
    *peer = (struct cluster_peer){.node = *node};
    return peer;
}

static bool is_dead_in(const struct membership_view *view, const struct membership_node *node)
{
    for (uint32_t i = 0; i < view->dead_count; i++) {
        if (view->dead[i].node_id == node->node_id &&
            view->dead[i].incarnation == node->incarnation)
            return true;
    }
    return false;
}

static bool has_peer_in_slot(const struct cluster *cluster, uint32_t slot)
{
    for (uint32_t i = 0; i < cluster->peer_count; i++) {
        if (cluster->peers[i].node.slot == slot)
            return true;
    }
    return false;
}

// A node that leaves beats no more, and views come until it is gone.
static void watch_slot(struct cluster *cluster, uint32_t slot, bool on)
{
    if (cluster->presence != NULL)
        heartbeat_watch(presence_heartbeat(cluster->presence), slot, on);
}

// A node's next life comes to its old slot before the last one is forgotten: that slot stays
// watched.
static void forget_peer(struct cluster *cluster, uint32_t index)
{
    struct membership_node node = cluster->peers[index].node;
    transport_peer_remove(cluster->transport, (struct dlm_node){node.node_id, node.incarnation});
    cluster->peers[index] = cluster->peers[--cluster->peer_count];
    if (!has_peer_in_slot(cluster, node.slot))
        watch_slot(cluster, node.slot, false);
}

// The dead stay until they are recovered and a view without them comes.
void cluster_peers_set_view(struct cluster *cluster, const struct membership_view *view)
{
    for (uint32_t i = 0; i < cluster->peer_count; i++)
        cluster->peers[i].is_in_view = false;
    for (uint32_t i = 0; i < view->member_count; i++) {
        const struct membership_member *member = &view->members[i];
        if (member->node_id == cluster_node_id(cluster))
            continue;
        struct membership_node node = {member->node_id, member->slot, member->incarnation};
        struct cluster_peer *peer = cluster_peer_get(cluster, &node);
        peer->is_in_view = true;
        peer->is_joiner = false;
        if (peer->link_since_ns == 0)
            peer->link_since_ns = environment_boot_ns(cluster->config.environment);
        watch_slot(cluster, node.slot, true);
    }
    for (uint32_t i = cluster->peer_count; i-- > 0;) {
        struct cluster_peer *peer = &cluster->peers[i];
        if (is_dead_in(view, &peer->node))
            peer->is_joiner = false; // it died over it: nobody looks for it any more
        if (!peer->is_in_view && !peer->is_joiner && !is_dead_in(view, &peer->node))
            forget_peer(cluster, i);
        else if (!peer->is_in_view) // no link to the dead
            transport_peer_remove(cluster->transport,
                                  (struct dlm_node){peer->node.node_id, peer->node.incarnation});
    }
}

// --- links -----------------------------------------------------------------------------------

static void tell_link(struct cluster *cluster, struct cluster_peer *peer, bool is_down)
{
    struct membership_event event = {
        .type = MEMBERSHIP_EVENT_LINK,
        .link = {.peer_node_id = peer->node.node_id,
                 .peer_incarnation = peer->node.incarnation,
                 .is_down = is_down},
    };
    peer->link_down_told = is_down;
    cluster_event(cluster, &event);
}

void cluster_watch_link(struct cluster *cluster, struct dlm_node node, bool is_up,
                        uint64_t since_ns)
{
    struct cluster_peer *peer = cluster_peer_find(cluster, node.node_id, node.incarnation);
    if (peer == NULL)
        return;
    peer->link_is_up = is_up;
    peer->link_since_ns = since_ns;
    if (is_up && peer->link_down_told)
        tell_link(cluster, peer, false);
}

static void look_at_link(struct cluster *cluster, struct cluster_peer *peer, uint64_t now)
{
    if (!peer->link_is_up && !peer->link_down_told &&
        now > peer->link_since_ns + CLUSTER_LINK_PATIENCE_NS)
        tell_link(cluster, peer, true);
}

// --- beats -----------------------------------------------------------------------------------

static void look_at_joiner(struct cluster *cluster, struct cluster_peer *peer,
                           const struct heartbeat_slot_info *info)
{
    bool is_seen = info->sighting.is_valid &&
                   info->sighting.incarnation == peer->node.incarnation &&
                   info->change_count > peer->count_first;
    if (!is_seen)
        return;
    peer->is_joiner = false;
    struct membership_node node = peer->node;
    cluster_node_event(cluster, MEMBERSHIP_EVENT_LUN_SEEN, &node);
}

static void look_at_member(struct cluster *cluster, struct cluster_peer *peer,
                           const struct heartbeat_slot_info *info)
{
    if (peer->was_expelled || info->changed_ns == 0 ||
        info->silent_ns <= cluster->config.lease.lease_ns)
        return;
    peer->was_expelled = true;
    struct membership_node node = peer->node;
    cluster_expel(cluster, &node, "its heartbeat has stopped");
}

static void look_at_peers(struct cluster *cluster)
{
    struct heartbeat *heartbeat = presence_heartbeat(cluster->presence);
    uint64_t now = environment_boot_ns(cluster->config.environment);
    for (uint32_t i = 0; i < cluster->peer_count; i++) {
        struct cluster_peer *peer = &cluster->peers[i];
        struct heartbeat_slot_info info;
        heartbeat_slot_get(heartbeat, peer->node.slot, &info);
        if (peer->is_joiner)
            look_at_joiner(cluster, peer, &info);
        else if (peer->is_in_view && cluster->runs) {
            look_at_member(cluster, peer, &info);
            look_at_link(cluster, peer, now);
        }
    }
}

// A joiner is on the members' LUN if a beat of theirs moves on it.
static void prove_lun(struct cluster *cluster)
{
    for (uint32_t slot = 0; slot < cluster->survey.slot_count; slot++) {
        struct heartbeat_slot_info info;
        heartbeat_slot_get(presence_heartbeat(cluster->presence), slot, &info);
        bool moves = info.change_count >= 2 && info.sighting.is_valid &&
                     (info.sighting.state == HEARTBEAT_RUNNING ||
                      info.sighting.state == HEARTBEAT_SUSPENDED);
        if (!moves || slot == presence_slot(cluster->presence))
            continue;
        cluster->proves_lun = false;
        cluster_simple_event(cluster, MEMBERSHIP_EVENT_LUN_PROVED);
        return;
    }
}

static void look_at_mailbox(struct cluster *cluster)
{
    struct heartbeat_status status;
    heartbeat_status_get(presence_heartbeat(cluster->presence), &status);
    if (status.mailbox_rounds < cluster->mailbox_round_wanted)
        return;
    cluster->mailbox_is_clean = true;
    cluster->mailbox_clean_ns = environment_boot_ns(cluster->config.environment);
}

void cluster_watch_heartbeats(struct cluster *cluster)
{
    if (cluster->presence == NULL || cluster->failure != 0 || cluster->is_closing)
        return;
    fence_heartbeat_changed(cluster->fence);
    if (cluster->checks_mailbox && !cluster->mailbox_is_clean)
        look_at_mailbox(cluster);
    cluster_strangers_tick(cluster);
    if (cluster->proves_lun)
        prove_lun(cluster);
    look_at_peers(cluster);
}

// --- the tick --------------------------------------------------------------------------------

static void tick(struct environment_timer *timer)
{
    struct cluster *cluster =
        (struct cluster *)(void *)((char *)timer - offsetof(struct cluster, tick));
    struct environment *environment = cluster->config.environment;
    environment_timer_arm(environment, timer, environment_boot_ns(environment) + CLUSTER_TICK_NS);
    if (cluster->presence == NULL || cluster->failure != 0)
        return;
    heartbeat_set_lamport(presence_heartbeat(cluster->presence), cluster->config.volume->clock.now);
    gated_device_gate_moved(cluster->config.gated_device);
    gated_device_gate_moved(cluster->config.volume->recovery_device);
    cluster_watch_heartbeats(cluster);
    if (!cluster->is_closing)
        cluster_claim_keep(cluster);
}

void cluster_watch_start(struct cluster *cluster)
{
    cluster->tick.fire = tick;
    environment_timer_arm(cluster->config.environment, &cluster->tick,
                          environment_boot_ns(cluster->config.environment) + CLUSTER_TICK_NS);
}

void cluster_watch_stop(struct cluster *cluster)
{
    environment_timer_disarm(cluster->config.environment, &cluster->tick);
}
