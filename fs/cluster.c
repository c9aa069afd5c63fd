// SPDX-License-Identifier: Apache-2.0
#include "fs/cluster.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/check.h"
#include "fs/base/environment_event.h"
#include "fs/base/error.h"
#include "fs/base/sabotage.h"
#include "fs/base/text.h"
#include "fs/cluster_state.h"
#include "fs/freeze.h"
#include "fs/gated_device.h"

// --- events ----------------------------------------------------------------------------------

static void arm_deadline(struct cluster *cluster)
{
    uint64_t at = membership_deadline_ns(cluster->membership);
    if (at == UINT64_MAX)
        environment_timer_disarm(cluster->config.environment, &cluster->deadline);
    else
        environment_timer_arm(cluster->config.environment, &cluster->deadline, at);
}

static void step(struct cluster *cluster, const struct membership_event *event)
{
    struct membership_event stamped = *event;
    stamped.now_ns = environment_boot_ns(cluster->config.environment);
    membership_step(cluster->membership, &stamped, &cluster->effects);
    for (size_t i = 0; i < cluster->effects.count; i++)
        cluster_carry_out(cluster, &cluster->effects.items[i]);
}

void cluster_event(struct cluster *cluster, const struct membership_event *event)
{
    if (cluster->is_stepping) {
        CHECK(cluster->event_count < CLUSTER_EVENTS_MAX);
        cluster->events[cluster->event_count++] = *event;
        return;
    }
    cluster->is_stepping = true;
    step(cluster, event);
    for (uint32_t i = 0; i < cluster->event_count; i++) {
        struct membership_event next = cluster->events[i];
        step(cluster, &next);
    }
    cluster->event_count = 0;
    cluster->is_stepping = false;
    arm_deadline(cluster);
}

void cluster_simple_event(struct cluster *cluster, enum membership_event_type type)
{
    struct membership_event event = {.type = type};
    cluster_event(cluster, &event);
}

void cluster_node_event(struct cluster *cluster, enum membership_event_type type,
                        const struct membership_node *node)
{
    struct membership_event event = {.type = type, .node = *node};
    cluster_event(cluster, &event);
}

void cluster_expel(struct cluster *cluster, const struct membership_node *node, const char *reason)
{
    struct membership_event event = {.type = MEMBERSHIP_EVENT_EXPEL, .expel.node = *node};
    text_copy(event.expel.reason, sizeof(event.expel.reason), reason);
    cluster_event(cluster, &event);
}

static void deadline_passed(struct environment_timer *timer)
{
    struct cluster *cluster =
        (struct cluster *)(void *)((char *)timer - offsetof(struct cluster, deadline));
    cluster_simple_event(cluster, MEMBERSHIP_EVENT_TICK);
}

void cluster_fail(struct cluster *cluster, int error, const char *reason)
{
    if (cluster->failure != 0)
        return;
    cluster->failure = error;
    volume_fail(cluster->config.volume, error, reason);
    gated_device_gate_moved(cluster->config.gated_device);
    gated_device_gate_moved(cluster->config.volume->recovery_device);
    if (cluster->membership != NULL && !cluster->is_closing) {
        struct membership_event event = {.type = MEMBERSHIP_EVENT_END, .error = error};
        cluster_event(cluster, &event);
    }
    wait_queue_wake_all(cluster->config.environment->scheduler, &cluster->moved);
    cluster->config.ended(cluster->config.context, error);
}

void cluster_volume_failed(struct cluster *cluster)
{
    if (cluster->failure != 0 || cluster->is_closing || cluster->membership == NULL ||
        cluster->presence == NULL || SABOTAGE(cluster_failure_untold))
        return;
    struct membership_node self = {cluster_node_id(cluster), cluster_slot(cluster),
                                   cluster->incarnation};
    cluster_expel(cluster, &self, "its mount has failed");
}

bool cluster_is_writing(const struct cluster *cluster)
{
    return cluster->keeps_claim;
}

void cluster_volume_drained(struct cluster *cluster)
{
    CHECK(!cluster_is_writing(cluster));
    if (cluster->presence != NULL && !cluster->is_closing && !SABOTAGE(cluster_failure_untold))
        heartbeat_write_stopped(presence_heartbeat(cluster->presence));
}

void cluster_helper_start(struct cluster *cluster, const char *name, void (*function)(void *),
                          void *argument)
{
    cluster->helpers++;
    coroutine_start(cluster->config.environment->scheduler, name, function, argument);
}

void cluster_helper_ended(struct cluster *cluster)
{
    cluster->helpers--;
    wait_queue_wake_all(cluster->config.environment->scheduler, &cluster->moved);
}

// --- what comes from outside -----------------------------------------------------------------

static void corosync_said(void *context, const struct membership_event *event)
{
    struct cluster *cluster = context;
    if (cluster->membership != NULL && !cluster->has_left)
        cluster_event(cluster, event);
}

static void deliver(void *context, struct dlm_node from, const uint8_t *bytes, size_t length)
{
    struct cluster *cluster = context;
    dlm_service_frame(cluster->locks, from, bytes, length);
}

static void link_changed(void *context, struct dlm_node peer, bool is_up, uint64_t since_ns)
{
    cluster_watch_link(context, peer, is_up, since_ns);
}

static void expel_life(struct cluster *cluster, struct dlm_node life, const char *reason)
{
    struct cluster_peer *peer = cluster_peer_find(cluster, life.node_id, life.incarnation);
    if (peer == NULL || peer->was_expelled)
        return;
    peer->was_expelled = true;
    struct membership_node node = peer->node;
    cluster_expel(cluster, &node, reason);
}

static void session_lost(void *context, struct dlm_node peer, int error)
{
    expel_life(context, peer, error_text(error));
}

static void send_frame(void *context, struct dlm_node to, const uint8_t *bytes, size_t length)
{
    struct cluster *cluster = context;
    transport_send(cluster->transport, to, bytes, length);
}

static void bad_frame(void *context, struct dlm_node from, int error)
{
    struct cluster *cluster = context;
    log_error(cluster->config.log, -error, "node %u sent a malformed lock message: %s",
              from.node_id, error_text(error));
    expel_life(cluster, from, "it sent a malformed lock message");
}

static void presence_ended(void *context, int error, const char *reason)
{
    cluster_fail(context, error, reason);
}

static void presence_changed(void *context)
{
    cluster_watch_heartbeats(context);
}

static void fenced(void *context, uint32_t slot, uint64_t incarnation, enum fence_method method)
{
    struct cluster *cluster = context;
    log_notice(cluster->config.log, "slot %u (incarnation %llu) is fenced: %s", slot,
               (unsigned long long)incarnation, fence_method_text(method));
    struct membership_node node = {.slot = slot, .incarnation = incarnation};
    const struct membership_view *view = membership_view_get(cluster->membership);
    // Two nodes that joined from one survey may have the same incarnation, but not in one slot.
    for (uint32_t i = 0; i < view->dead_count; i++) {
        if ((view->dead[i].slot == slot || SABOTAGE(cluster_life_by_number)) &&
            view->dead[i].incarnation == incarnation)
            node.node_id = view->dead[i].node_id;
    }
    cluster_node_event(cluster, MEMBERSHIP_EVENT_FENCED, &node);
}

// --- building --------------------------------------------------------------------------------

static int open_transport(struct cluster *cluster)
{
    const struct corosync_config *corosync = cluster->corosync_config;
    const struct geometry *geometry = &cluster->config.volume->geometry;
    struct transport_config config = {
        .environment = cluster->config.environment,
        .log = cluster->config.log,
        .nodes = corosync->nodes,
        .node_count = corosync->node_count,
        .port = cluster->config.port,
        .context = cluster,
        .deliver = deliver,
        .link_changed = link_changed,
        .session_lost = session_lost,
    };
    config.hello.sender = (struct dlm_node){corosync->node_id, cluster->incarnation};
    config.hello.version_min = CLUSTER_PROTOCOL_VERSION;
    config.hello.version_max = CLUSTER_PROTOCOL_VERSION;
    memcpy(config.hello.format_id, geometry->format_id, 16);
    transport_key_derive(config.key, corosync->key, corosync->key_bytes, geometry->format_id);
    int result = transport_new(&config, &cluster->transport);
    explicit_bzero(config.key, sizeof(config.key));
    if (result != 0)
        log_error(cluster->config.log, 0, "listening for the other nodes on port %u: %s",
                  cluster->config.port, error_text(result));
    return result;
}

static int open_corosync(struct cluster *cluster)
{
    struct corosync_open_config config = {
        .environment = cluster->config.environment,
        .log = cluster->config.log,
        .context = cluster,
        .event = corosync_said,
    };
    memcpy(config.format_id, cluster->config.volume->geometry.format_id, 16);
    return corosync_open(&config, &cluster->corosync);
}

static void make_membership(struct cluster *cluster)
{
    struct membership_config config = {
        .self = corosync_self(cluster->corosync),
        .patience_ns = cluster->config.lease.lease_ns,
        .is_two_node = cluster->corosync_config->is_two_node,
        .version_min = CLUSTER_PROTOCOL_VERSION,
        .version_max = CLUSTER_PROTOCOL_VERSION,
    };
    memcpy(config.format_id, cluster->config.volume->geometry.format_id, 16);
    cluster->membership = membership_new(&config);
}

static void make_locks(struct cluster *cluster)
{
    struct dlm_service_config config = {
        .self = {cluster->corosync_config->node_id, cluster->incarnation},
        .clock = &cluster->config.volume->clock,
        .environment = cluster->config.environment,
        .send = send_frame,
        .bad_frame = bad_frame,
        .context = cluster,
    };
    cluster->locks = dlm_service_new(&config);
}

static int read_survey(struct cluster *cluster)
{
    uint64_t block = 0;
    int result = slot_survey_read(&cluster->survey, cluster->config.device,
                                  cluster->config.environment->scheduler,
                                  &cluster->config.volume->geometry, &block);
    if (result != 0)
        log_error(cluster->config.log, error_is_check(result) ? -result : 0,
                  "%s: block %llu of the slot table: %s: run fsck.lunfs",
                  cluster->config.device->name, (unsigned long long)block, error_text(result));
    lamport_observe(&cluster->config.volume->clock, cluster->survey.lamport_max);
    return result;
}

// The wall clock keeps lives apart even where two join from the same survey, or where one has died
// before its first beat and left no trace; and where that clock lags behind another node's, chance:
//
//   n4, incarnation 8   let in, dies before its first beat; recovered: its slot shows nothing of it
//   n4, incarnation 8   again: the members look for its beat in the first one's slot, for ever
static uint64_t choose_incarnation(struct cluster *cluster)
{
    struct environment *environment = cluster->config.environment;
    uint64_t after = cluster->survey.incarnation_max + 1;
    uint64_t now = (uint64_t)environment_wall_ns(environment) / 1000;
    uint64_t chance = environment_random_u64(environment) % 1000000;
    return (after > now ? after : now) + (SABOTAGE(cluster_life_by_number) ? 0 : chance);
}

static void guard_said(void *argument, unsigned what)
{
    struct cluster *cluster = argument;
    struct guard_message message;
    int result;
    (void)what;
    while ((result = guard_message_receive(cluster->config.guard_socket, &message)) == 1)
        fence_guard_answered(cluster->fence, &message);
    if (result == -EPIPE) // the guard is gone: this process dies with it
        environment_event_watch_change(cluster->guard_watch, 0);
}

int cluster_presence_start(struct cluster *cluster, uint32_t slot, uint64_t replaced_incarnation)
{
    struct presence_config config = {
        .environment = cluster->config.environment,
        .log = cluster->config.log,
        .gate = cluster->config.volume->gate,
        .geometry = &cluster->config.volume->geometry,
        .lease = cluster->config.lease,
        .descriptor = cluster->config.descriptor,
        .has_volatile_cache = cluster->config.device->has_volatile_cache,
        .guard_socket = cluster->config.guard_socket,
        .node_id = cluster->corosync_config->node_id,
        .replaced_incarnation = replaced_incarnation,
        .context = cluster,
        .ended = presence_ended,
        .changed = presence_changed,
    };
    const struct transport_node *self =
        corosync_config_node(cluster->corosync_config, config.node_id);
    memcpy(config.cluster_id, cluster->corosync_config->cluster_id, 16);
    text_copy(config.node_name, sizeof(config.node_name), self->name);
    uint64_t before = cluster->survey.slots[slot].heartbeat.recovered_incarnation;
    int result = presence_start(&config, slot, cluster->incarnation, before, &cluster->presence);
    if (result != 0)
        return result;
    cluster->fence = fence_new(&(struct fence_config){
        .environment = config.environment,
        .heartbeat = presence_heartbeat(cluster->presence),
        .log = config.log,
        .guard_socket = config.guard_socket,
        .has_command = cluster->config.has_fence_command,
        .allows_lease = cluster->config.allows_lease,
        .command_wait_ns = (uint64_t)1000 * 1000 * 1000,
        .context = cluster,
        .fenced = fenced,
    });
    if (config.guard_socket >= 0)
        cluster->guard_watch = environment_event_watch_fd(
            config.environment, config.guard_socket, ENVIRONMENT_READABLE, guard_said, cluster);
    return 0;
}

static void forget_fence(struct cluster *cluster)
{
    if (cluster->guard_watch != NULL)
        environment_event_unwatch(cluster->guard_watch);
    cluster->guard_watch = NULL;
    fence_free(cluster->fence);
}

// --- joining ---------------------------------------------------------------------------------

static void ask_to_join(struct cluster *cluster)
{
    struct membership_event event = {
        .type = MEMBERSHIP_EVENT_JOIN,
        .join =
            {
                .incarnation = cluster->incarnation,
                .slot_wish = MEMBERSHIP_NO_SLOT,
                .slot_count = cluster->config.volume->geometry.slot_count,
                .port = transport_port(cluster->transport),
            },
    };
    uint32_t wish;
    if (slot_survey_choose(&cluster->survey, cluster->corosync_config->node_id, &wish) == 0)
        event.join.slot_wish = wish;
    cluster_event(cluster, &event);
}

static bool has_dead_of_earlier_life(const struct cluster *cluster)
{
    const struct membership_view *view = membership_view_get(cluster->membership);
    for (uint32_t i = 0; i < view->dead_count; i++) {
        if (view->dead[i].pid == 0 && view->dead[i].phase != MEMBERSHIP_RECOVERED)
            return true;
    }
    return false;
}

// A mount begins when all who died before this life of the cluster are recovered: nobody of it
// knows what they held.
static int wait_until_running(struct cluster *cluster)
{
    while (cluster->failure == 0 &&
           (!cluster->runs || !cluster->has_view || has_dead_of_earlier_life(cluster)))
        wait_queue_wait(cluster->config.environment->scheduler, &cluster->moved);
    return cluster->failure;
}

int cluster_join(struct cluster *cluster)
{
    int result = corosync_config_read(cluster->corosync_config, cluster->config.log);
    if (result == 0)
        result = read_survey(cluster);
    if (result != 0)
        return result;
    cluster->incarnation = choose_incarnation(cluster);
    result = open_transport(cluster);
    if (result == 0)
        result = open_corosync(cluster);
    if (result != 0)
        return result;
    corosync_config_wipe(cluster->corosync_config);
    make_membership(cluster);
    make_locks(cluster);
    cluster_watch_start(cluster);
    ask_to_join(cluster);
    return wait_until_running(cluster);
}

struct cluster *cluster_new(const struct cluster_config *config)
{
    struct cluster *cluster = calloc(1, sizeof(*cluster));
    CHECK(cluster != NULL);
    cluster->config = *config;
    cluster->corosync_config = calloc(1, sizeof(*cluster->corosync_config));
    CHECK(cluster->corosync_config != NULL);
    cluster->deadline.fire = deadline_passed;
    wait_queue_init(&cluster->moved);
    return cluster;
}

uint32_t cluster_slot(const struct cluster *cluster)
{
    return presence_slot(cluster->presence);
}

uint64_t cluster_incarnation(const struct cluster *cluster)
{
    return cluster->incarnation;
}

uint32_t cluster_node_id(const struct cluster *cluster)
{
    return cluster->corosync_config->node_id;
}

bool cluster_is_founder(const struct cluster *cluster)
{
    return cluster->is_founder;
}

struct dlm_service *cluster_locks(struct cluster *cluster)
{
    return cluster->locks;
}

// --- leaving ---------------------------------------------------------------------------------

static void wait_for_helpers(struct cluster *cluster)
{
    while (cluster->helpers > 0)
        wait_queue_wait(cluster->config.environment->scheduler, &cluster->moved);
}

static void cluster_free(struct cluster *cluster)
{
    cluster->is_closing = true;
    wait_for_helpers(cluster);
    cluster_watch_stop(cluster);
    environment_timer_disarm(cluster->config.environment, &cluster->deadline);
    if (cluster->corosync != NULL)
        corosync_close(cluster->corosync);
    if (cluster->transport != NULL)
        transport_free(cluster->transport);
    if (cluster->locks != NULL)
        dlm_service_free(cluster->locks);
    if (cluster->membership != NULL)
        membership_free(cluster->membership);
    membership_effects_deinit(&cluster->effects);
    free(cluster->corosync_config);
    free(cluster);
}

//   A  RECOVERED(B): works through B's orphans, holds their list
//   A  umount: volume_stop gives back all locks                      and one of them is held
//   A  has frozen the volume; RECOVERED(B): its orphans wait for the thaw; umount waits for them
void cluster_volume_stops(struct cluster *cluster)
{
    cluster->volume_is_stopped = true;
    if (cluster->config.volume->freeze != NULL)
        freeze_stop(cluster->config.volume->freeze);
    while (cluster->volume_users > 0 && !SABOTAGE(cluster_stop_under_orphans))
        wait_queue_wait(cluster->config.environment->scheduler, &cluster->moved);
}

// 'left' is durable on the LUN before the group hears of it (rule 28); until the group has heard,
// this node still answers as a master.
int cluster_leave(struct cluster *cluster)
{
    cluster->is_closing = true;
    wait_for_helpers(cluster);
    int result = cluster_claim_release(cluster);
    struct presence *presence = cluster->presence;
    forget_fence(cluster);
    cluster->presence = NULL;
    int stopped = presence_stop(presence);
    if (result == 0)
        result = stopped;
    cluster_simple_event(cluster, MEMBERSHIP_EVENT_LEAVE);
    while (!cluster->has_left && cluster->failure == 0)
        wait_queue_wait(cluster->config.environment->scheduler, &cluster->moved);
    corosync_leave(cluster->corosync);
    cluster_free(cluster);
    return result;
}

void cluster_abandon(struct cluster *cluster)
{
    cluster->is_closing = true;
    wait_for_helpers(cluster);
    struct presence *presence = cluster->presence;
    if (presence != NULL) {
        forget_fence(cluster);
        cluster->presence = NULL; // views still come, and it carries out no orders any more
        presence_abandon(presence);
    }
    cluster_free(cluster);
}
