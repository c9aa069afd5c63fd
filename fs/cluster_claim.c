// SPDX-License-Identifier: Apache-2.0
// The claim block in a cluster: the founder takes it, the member with the lowest node id keeps it
// beating, whoever leaves last gives it back (rule 15).
#include <string.h>

#include "fs/base/error.h"
#include "fs/base/text.h"
#include "fs/cluster_state.h"

static struct claim_config make_config(struct cluster *cluster)
{
    struct environment *environment = cluster->config.environment;
    struct claim_config config = {
        .device = cluster->config.device,
        .scheduler = environment->scheduler,
        .geometry = &cluster->config.volume->geometry,
        .clock = claim_clock_environment(environment),
        .purpose = CLAIM_CLUSTER,
        .io_max_ns = cluster->config.lease.io_max_ns,
    };
    uint64_t words[2] = {environment_random_u64(environment), environment_random_u64(environment)};
    memcpy(config.holder, words, sizeof(words));
    memcpy(config.cluster_id, cluster->corosync_config->cluster_id, 16);
    const struct transport_node *self =
        corosync_config_node(cluster->corosync_config, cluster->corosync_config->node_id);
    text_copy(config.host_name, sizeof(config.host_name), self->name);
    return config;
}

int cluster_claim_acquire(struct cluster *cluster)
{
    struct claim_config config = make_config(cluster);
    struct claim_users users = {0};
    int result = claim_acquire(&cluster->claim, &config, &users);
    if (result == -ERROR_CLAIM_HELD) {
        TEXT(text, 512);
        claim_users_to_text(&users, &text);
        log_error(cluster->config.log, ERROR_CLAIM_HELD, "%s is in use by %s",
                  cluster->config.device->name, text.bytes);
    }
    cluster->last_claim_beat_ns = environment_boot_ns(cluster->config.environment);
    return result;
}

static bool is_keeper(const struct cluster *cluster)
{
    const struct membership_view *view = membership_view_get(cluster->membership);
    return cluster->runs && volume_check(cluster->config.volume) == 0 && view->member_count > 0 &&
           view->members[0].node_id == cluster_node_id(cluster) &&
           view->members[0].incarnation == cluster->incarnation;
}

static void beat(void *argument)
{
    struct cluster *cluster = argument;
    int result = 0;
    if (!cluster->claim.is_held) {
        struct claim_config config = make_config(cluster);
        result = claim_adopt(&cluster->claim, &config);
    }
    if (result == 0)
        result = claim_beat(&cluster->claim);
    cluster->keeps_claim = false;
    if (result != 0 && error_is_check(result) && !cluster->is_closing)
        cluster_fail(cluster, result, "keeping the claim on the volume");
    cluster_helper_ended(cluster);
}

void cluster_claim_keep(struct cluster *cluster)
{
    uint64_t now = environment_boot_ns(cluster->config.environment);
    if (!is_keeper(cluster)) {
        cluster->claim.is_held = false;
        return;
    }
    if (cluster->keeps_claim || now < cluster->last_claim_beat_ns + cluster->config.lease.beat_ns)
        return;
    cluster->keeps_claim = true;
    cluster->last_claim_beat_ns = now;
    cluster_helper_start(cluster, "claim beat", beat, cluster);
}

int cluster_claim_release(struct cluster *cluster)
{
    const struct membership_view *view = membership_view_get(cluster->membership);
    bool is_last = view->member_count == 1 && view->dead_count == 0;
    if (!is_last || !cluster->claim.is_held)
        return 0;
    int result = claim_release(&cluster->claim);
    cluster->claim.is_held = false;
    return result;
}
