// SPDX-License-Identifier: Apache-2.0
// What `lunfs nodes` shows, and an administrator's word on a dead node.
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/text.h"
#include "fs/cluster_state.h"

static const char *name_of(void *context, uint32_t node_id)
{
    const struct cluster *cluster = context;
    const struct transport_node *node = corosync_config_node(cluster->corosync_config, node_id);
    return node != NULL ? node->name : NULL;
}

static struct cluster_node_status *add_node(struct cluster *cluster, struct cluster_status *status,
                                            uint32_t node_id, uint32_t slot, uint64_t incarnation)
{
    struct cluster_node_status *node = &status->nodes[status->node_count++];
    const char *name = name_of(cluster, node_id);
    *node =
        (struct cluster_node_status){.node_id = node_id, .slot = slot, .incarnation = incarnation};
    text_copy(node->name, sizeof(node->name), name != NULL ? name : "?");
    if (cluster->presence == NULL)
        return node;
    struct heartbeat_slot_info info;
    heartbeat_slot_get(presence_heartbeat(cluster->presence), slot, &info);
    node->heartbeat_age_ms = info.silent_ns / 1000000;
    return node;
}

static const char *member_state(struct cluster *cluster, const struct cluster_node_status *node)
{
    if (node->is_self)
        return cluster->failure != 0 ? "ended" : cluster->runs ? "running" : "suspended";
    struct heartbeat_slot_info info;
    heartbeat_slot_get(presence_heartbeat(cluster->presence), node->slot, &info);
    return info.changed_ns != 0 && info.sighting.is_valid
               ? heartbeat_state_text((enum heartbeat_state)info.sighting.state)
               : "member";
}

static void add_members(struct cluster *cluster, struct cluster_status *status,
                        const struct membership_view *view)
{
    for (uint32_t i = 0; i < view->member_count; i++) {
        const struct membership_member *member = &view->members[i];
        struct cluster_node_status *node =
            add_node(cluster, status, member->node_id, member->slot, member->incarnation);
        node->is_member = true;
        node->is_self = member->node_id == cluster_node_id(cluster) &&
                        member->incarnation == cluster->incarnation;
        node->heartbeat_age_ms = node->is_self ? 0 : node->heartbeat_age_ms;
        node->state = cluster->presence != NULL ? member_state(cluster, node) : "leaving";
    }
}

static void add_dead(struct cluster *cluster, struct cluster_status *status,
                     const struct membership_view *view)
{
    static const char *const states[] = {"dead, being fenced", "dead, being replayed", "recovered"};
    for (uint32_t i = 0; i < view->dead_count; i++) {
        const struct membership_dead *dead = &view->dead[i];
        struct cluster_node_status *node =
            add_node(cluster, status, dead->node_id, dead->slot, dead->incarnation);
        node->state = states[dead->phase];
    }
}

static void add_fencing(void *context, const struct membership_node *victim, struct text *text)
{
    const struct cluster *cluster = context;
    if (cluster->presence != NULL)
        fence_progress_to_text(cluster->fence, victim->slot, victim->incarnation, text);
}

void cluster_status_get(struct cluster *cluster, struct cluster_status *status)
{
    *status = (struct cluster_status){.is_running = false};
    if (cluster->membership == NULL) {
        text_copy(status->why, sizeof(status->why), "connecting to corosync\n");
        return;
    }
    const struct membership_view *view = membership_view_get(cluster->membership);
    *status = (struct cluster_status){.epoch = view->epoch, .is_running = cluster->runs};
    add_members(cluster, status, view);
    add_dead(cluster, status, view);
    struct text why;
    text_init(&why, status->why, sizeof(status->why));
    const struct membership_words words = {name_of, add_fencing, cluster};
    membership_status_to_text(cluster->membership, &words, &why);
}

// --- an administrator's word -------------------------------------------------------------------

static uint32_t node_id_of(struct cluster *cluster, const char *node)
{
    const struct corosync_config *config = cluster->corosync_config;
    for (uint32_t i = 0; i < config->node_count; i++) {
        if (strcmp(config->nodes[i].name, node) == 0)
            return config->nodes[i].node_id;
    }
    char *end;
    unsigned long id = strtoul(node, &end, 10);
    return *node != '\0' && *end == '\0' ? (uint32_t)id : 0;
}

int cluster_fence_confirm(struct cluster *cluster, const char *node)
{
    if (cluster->presence == NULL)
        return -EBUSY;
    uint32_t node_id = node_id_of(cluster, node);
    return node_id != 0 && fence_confirm(cluster->fence, node_id) ? 0 : -ENOENT;
}

int cluster_fence(struct cluster *cluster, const char *node)
{
    if (!cluster->runs)
        return -EBUSY;
    uint32_t node_id = node_id_of(cluster, node);
    const struct membership_view *view = membership_view_get(cluster->membership);
    for (uint32_t i = 0; i < view->member_count; i++) {
        const struct membership_member *member = &view->members[i];
        if (member->node_id != node_id)
            continue;
        struct membership_node victim = {member->node_id, member->slot, member->incarnation};
        cluster_expel(cluster, &victim, "an administrator asked for it");
        return 0;
    }
    return -ENOENT;
}
