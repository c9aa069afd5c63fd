// SPDX-License-Identifier: Apache-2.0
// What the membership machine orders, carried out: views to locks and links, fences to the fence,
// replays to recovery, the gate shut and opened.
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/check.h"
#include "fs/base/error.h"
#include "fs/base/sabotage.h"
#include "fs/base/text.h"
#include "fs/cluster_state.h"
#include "fs/gated_device.h"
#include "fs/recovery.h"
#include "fs/slot_takeover.h"

enum { REPLAY_AGAIN_NS = 1000 * 1000 * 1000 };

static const char *name_of(struct cluster *cluster, uint32_t node_id)
{
    const struct transport_node *node = corosync_config_node(cluster->corosync_config, node_id);
    return node != NULL ? node->name : "unknown node";
}

// --- views -----------------------------------------------------------------------------------

static void install_in_locks(struct cluster *cluster, const struct membership_view *view)
{
    struct dlm_view *dlm = calloc(1, sizeof(*dlm));
    CHECK(dlm != NULL);
    dlm->epoch = view->epoch;
    for (uint32_t i = 0; i < view->member_count; i++)
        dlm->members[dlm->member_count++] =
            (struct dlm_node){view->members[i].node_id, view->members[i].incarnation};
    for (uint32_t i = 0; i < view->dead_count; i++)
        dlm->dead[dlm->dead_count++] =
            (struct dlm_node){view->dead[i].node_id, view->dead[i].incarnation};
    dlm_service_view(cluster->locks, dlm);
    free(dlm);
}

static void add_links(struct cluster *cluster, const struct membership_view *view)
{
    for (uint32_t i = 0; i < view->member_count; i++) {
        const struct membership_member *member = &view->members[i];
        if (member->node_id == cluster_node_id(cluster))
            continue;
        struct dlm_node peer = {member->node_id, member->incarnation};
        transport_peer_add(cluster->transport, peer, member->port);
    }
}

static void log_view(struct cluster *cluster, const struct membership_view *view)
{
    TEXT(text, 512);
    for (uint32_t i = 0; i < view->member_count; i++)
        text_add(&text, "%s%s", i > 0 ? " " : "", name_of(cluster, view->members[i].node_id));
    for (uint32_t i = 0; i < view->dead_count; i++)
        text_add(&text, "%s%s (slot %u)",
                 i > 0 ? ", " : "; to recover: ", name_of(cluster, view->dead[i].node_id),
                 view->dead[i].slot);
    log_notice(cluster->config.log, "view %llu: %s", (unsigned long long)view->epoch, text.bytes);
}

static void install_view(struct cluster *cluster, const struct membership_view *view)
{
    log_view(cluster, view);
    cluster_peers_set_view(cluster, view);
    add_links(cluster, view);
    install_in_locks(cluster, view);
    cluster->has_view = true;
}

// --- founding and joining --------------------------------------------------------------------

static int keep_claim(void *context)
{
    struct cluster *cluster = context;
    if (cluster->is_closing)
        return -ECANCELED;
    return claim_beat(&cluster->claim);
}

// 0 with the slot and whose it was; -ERROR_VOLUME_SLOTS where silence proves nothing.
static int take_over(struct cluster *cluster, uint32_t *slot, struct recovery_victim *before)
{
    const struct slot_takeover takeover = {
        .device = cluster->config.device,
        .scheduler = cluster->config.environment->scheduler,
        .clock = claim_clock_environment(cluster->config.environment),
        .geometry = &cluster->config.volume->geometry,
        .lease = cluster->config.lease,
        .node_id = cluster->corosync_config->node_id,
        .keep_claim = keep_claim,
        .context = cluster,
    };
    if (!cluster->config.allows_lease)
        return -ERROR_VOLUME_SLOTS;
    log_notice(cluster->config.log, SLOT_TAKEOVER_NOTICE, cluster->survey.slot_count);
    int result = slot_takeover_wait(&takeover, &cluster->survey, slot);
    if (result == 0)
        *before =
            (struct recovery_victim){*slot, cluster->survey.slots[*slot].heartbeat.incarnation};
    return result;
}

static int take_first_slot(struct cluster *cluster, uint32_t *slot)
{
    struct recovery_victim before = {0};
    int result = slot_survey_choose(&cluster->survey, cluster->corosync_config->node_id, slot);
    if (result == -ERROR_VOLUME_SLOTS)
        result = take_over(cluster, slot, &before);
    if (result == 0)
        result = cluster_presence_start(cluster, *slot, before.incarnation);
    if (result != 0 || before.incarnation == 0)
        return result;
    cluster->survey.slots[*slot].is_in_use = false;
    return recovery_replay_own(cluster->config.volume, &before);
}

static void found(void *argument)
{
    struct cluster *cluster = argument;
    struct membership_node dead[FORMAT_SLOT_COUNT_MAX];
    uint32_t dead_count = 0, slot = 0;
    int result = cluster_claim_acquire(cluster);
    uint64_t block = 0;
    if (result == 0)
        result = slot_survey_read(&cluster->survey, cluster->config.device,
                                  cluster->config.environment->scheduler,
                                  &cluster->config.volume->geometry, &block);
    if (result == 0)
        result = take_first_slot(cluster, &slot);
    for (uint32_t i = 0; i < cluster->survey.slot_count && result == 0; i++) {
        const struct heartbeat_content *heartbeat = &cluster->survey.slots[i].heartbeat;
        if (cluster->survey.slots[i].is_in_use)
            dead[dead_count++] =
                (struct membership_node){heartbeat->node_id, i, heartbeat->incarnation};
    }
    if (result != 0) {
        cluster_fail(cluster, result, "taking the volume");
    } else if (!cluster->is_closing) {
        cluster->is_founder = true;
        struct membership_event event = {
            .type = MEMBERSHIP_EVENT_FOUNDED,
            .founded = {.slot = slot, .dead = dead, .dead_count = dead_count}};
        cluster_event(cluster, &event);
    }
    cluster_helper_ended(cluster);
}

// A joiner beats in its slot, so that the members see it, and looks for beats of theirs.
static void take_slot(struct cluster *cluster, const struct membership_node *node)
{
    int result = cluster_presence_start(cluster, node->slot, 0);
    if (result != 0) {
        cluster_fail(cluster, result, "the first heartbeat");
        return;
    }
    for (uint32_t slot = 0; slot < cluster->survey.slot_count; slot++)
        heartbeat_watch(presence_heartbeat(cluster->presence), slot, slot != node->slot);
    cluster->proves_lun = true;
}

static void watch_joiner(struct cluster *cluster, const struct membership_node *node)
{
    struct cluster_peer *peer = cluster_peer_get(cluster, node);
    struct heartbeat_slot_info info;
    heartbeat_watch(presence_heartbeat(cluster->presence), node->slot, true);
    heartbeat_slot_get(presence_heartbeat(cluster->presence), node->slot, &info);
    peer->is_joiner = true;
    peer->count_first = info.change_count;
}

// --- fencing and recovery --------------------------------------------------------------------

static void fence(struct cluster *cluster, const struct membership_effect *effect)
{
    const struct membership_node *node = &effect->fence.node;
    const struct lease_config *lease = &cluster->config.lease;
    struct fence_victim victim = {
        .slot = node->slot,
        .node_id = node->node_id,
        .incarnation = node->incarnation,
        .is_node_up = effect->fence.is_node_up,
        .yields = effect->fence.yields,
        .yield_ns = lease->beat_ns + lease->io_max_ns,
    };
    text_copy(victim.name, sizeof(victim.name), name_of(cluster, node->node_id));
    text_copy(victim.reason, sizeof(victim.reason), effect->fence.reason);
    log_notice(cluster->config.log, "fencing %s (slot %u, incarnation %llu): %s", victim.name,
               node->slot, (unsigned long long)node->incarnation, victim.reason);
    fence_start(cluster->fence, &victim);
}

struct replay_job {
    struct cluster *cluster;
    struct membership_node node;
};

// The path may fail for a moment, and nobody else replays as long as this node beats. Once its path
// is gone for good it beats no more: then the journal is another's.
static bool tries_again(const struct cluster *cluster, int result)
{
    return result == -EIO && !cluster->is_closing && !SABOTAGE(recovery_gives_up) &&
           !gate_has_ended(cluster->config.volume->gate);
}

static void replay(void *argument)
{
    struct replay_job *job = argument;
    struct cluster *cluster = job->cluster;
    struct volume *volume = cluster->config.volume;
    struct recovery_victim victim = {job->node.slot, job->node.incarnation};
    int result;
    do {
        result =
            recovery_replay_and_free(volume, presence_heartbeat(cluster->presence), &victim, 1);
        if (tries_again(cluster, result))
            environment_sleep(cluster->config.environment, REPLAY_AGAIN_NS);
    } while (tries_again(cluster, result));
    if (result == 0 && !cluster->is_closing)
        cluster_node_event(cluster, MEMBERSHIP_EVENT_REPLAYED, &job->node);
    free(job);
    cluster_helper_ended(cluster);
}

static void start_replay(struct cluster *cluster, const struct membership_node *node)
{
    struct replay_job *job = malloc(sizeof(*job));
    CHECK(job != NULL);
    *job = (struct replay_job){cluster, *node};
    struct cluster_peer *peer = cluster_peer_get(cluster, node);
    peer->is_replayed_here = true;
    cluster_helper_start(cluster, "replay", replay, job);
}

static void orphans(void *argument)
{
    struct replay_job *job = argument;
    struct cluster *cluster = job->cluster;
    recovery_orphans(cluster->config.volume, job->node.slot);
    cluster->volume_users--;
    cluster_helper_ended(cluster);
    free(job);
}

// Whoever replayed the journal also finishes what the dead had unlinked, now that its locks can be
// had. A volume that is only being mounted does so when it starts (fs/worker.c).
static void recovered(struct cluster *cluster, const struct membership_node *node)
{
    log_notice(cluster->config.log, "%s (slot %u) is recovered", name_of(cluster, node->node_id),
               node->slot);
    dlm_service_recovered(cluster->locks, (struct dlm_node){node->node_id, node->incarnation});
    struct cluster_peer *peer = cluster_peer_find(cluster, node->node_id, node->incarnation);
    bool is_ours = peer != NULL && peer->is_replayed_here;
    if (!is_ours || cluster->config.volume->locks == NULL || cluster->is_closing ||
        cluster->volume_is_stopped)
        return;
    struct replay_job *job = malloc(sizeof(*job));
    CHECK(job != NULL);
    *job = (struct replay_job){cluster, *node};
    cluster->volume_users++;
    cluster_helper_start(cluster, "orphans", orphans, job);
}

// --- the gate --------------------------------------------------------------------------------

static void suspend(struct cluster *cluster)
{
    int running = GATE_RUNNING;
    atomic_compare_exchange_strong(&cluster->config.volume->gate->state, &running, GATE_SUSPENDED);
    cluster->runs = false;
    cluster->checks_mailbox = false;
    if (cluster->presence != NULL)
        heartbeat_set_state(presence_heartbeat(cluster->presence), HEARTBEAT_SUSPENDED);
    log_line(cluster->config.log, LOG_LEVEL_WARNING, ERROR_QUORUM_LOST, "%s: I/O waits",
             error_text(-ERROR_QUORUM_LOST));
}

// A fresh mailbox read: one that began after now, so the one under way does not count.
static void check_mailbox(struct cluster *cluster)
{
    struct heartbeat_status status;
    heartbeat_status_get(presence_heartbeat(cluster->presence), &status);
    cluster->mailbox_round_wanted = status.mailbox_rounds + 2;
    cluster->checks_mailbox = true;
    cluster->mailbox_is_clean = false;
}

static void resume(struct cluster *cluster)
{
    int suspended = GATE_SUSPENDED;
    if (!atomic_compare_exchange_strong(&cluster->config.volume->gate->state, &suspended,
                                        GATE_RUNNING))
        return; // ended
    cluster->runs = true;
    heartbeat_set_state(presence_heartbeat(cluster->presence), HEARTBEAT_RUNNING);
    gated_device_gate_moved(cluster->config.gated_device);
    gated_device_gate_moved(cluster->config.volume->recovery_device);
    log_notice(cluster->config.log, "running");
}

// --- all effects -----------------------------------------------------------------------------

// What only a node can do that beats. One that leaves has FREE on the LUN before the group hears of
// it (rule 28), and until then the group may count on it:
//
//   A  FREE durable, beats no more ── LEAVE ──►              LEFT
//   B                               dies
//   C                                  view A, C: A fences B     view C: C fences B
//
// It does nothing then: with the next view it is another's.
static bool needs_presence(enum membership_effect_type type)
{
    switch (type) {
    case MEMBERSHIP_EFFECT_WATCH_JOINER:
    case MEMBERSHIP_EFFECT_FENCE:
    case MEMBERSHIP_EFFECT_FENCE_CANCEL:
    case MEMBERSHIP_EFFECT_REPLAY:
    case MEMBERSHIP_EFFECT_CHECK_MAILBOX:
    case MEMBERSHIP_EFFECT_RESUME:
        return true;
    default:
        return false;
    }
}

void cluster_carry_out(struct cluster *cluster, const struct membership_effect *effect)
{
    if (cluster->presence == NULL && needs_presence(effect->type) &&
        !SABOTAGE(cluster_orders_after_leave))
        return;
    switch (effect->type) {
    case MEMBERSHIP_EFFECT_SEND:
        corosync_multicast(cluster->corosync, membership_effects_bytes(&cluster->effects, effect),
                           effect->send.length);
        break;
    case MEMBERSHIP_EFFECT_VIEW:
        install_view(cluster, effect->view);
        break;
    case MEMBERSHIP_EFFECT_RECOVERED:
        recovered(cluster, &effect->node);
        break;
    case MEMBERSHIP_EFFECT_FOUND:
        cluster_helper_start(cluster, "found", found, cluster);
        break;
    case MEMBERSHIP_EFFECT_SLOT_ASSIGNED:
        take_slot(cluster, &effect->node);
        break;
    case MEMBERSHIP_EFFECT_WATCH_JOINER:
        watch_joiner(cluster, &effect->node);
        break;
    case MEMBERSHIP_EFFECT_FENCE:
        fence(cluster, effect);
        break;
    case MEMBERSHIP_EFFECT_FENCE_CANCEL:
        fence_cancel(cluster->fence, effect->node.slot, effect->node.incarnation);
        break;
    case MEMBERSHIP_EFFECT_REPLAY:
        start_replay(cluster, &effect->node);
        break;
    case MEMBERSHIP_EFFECT_SUSPEND:
        suspend(cluster);
        break;
    case MEMBERSHIP_EFFECT_CHECK_MAILBOX:
        check_mailbox(cluster);
        break;
    case MEMBERSHIP_EFFECT_RESUME:
        resume(cluster);
        break;
    case MEMBERSHIP_EFFECT_LEFT:
        cluster->has_left = true;
        break;
    case MEMBERSHIP_EFFECT_FEATURES:
        break; // no feature is optional yet: the view carries what all know
    case MEMBERSHIP_EFFECT_ENDED:
        cluster_fail(cluster, effect->ended.error, effect->ended.reason);
        break;
    }
    wait_queue_wake_all(cluster->config.environment->scheduler, &cluster->moved);
}
