// SPDX-License-Identifier: Apache-2.0
// Three connections: the workers' group, the guards' group (to hear what guards say) and quorum.
// If one is lost all are dropped, and all are made anew.
#include "dlm/membership_corosync.h"

#include <corosync/cpg.h>
#include <corosync/quorum.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/uio.h>
#include <unistd.h>

#include "dlm/corosync_guards.h"
#include "fs/base/check.h"
#include "fs/base/environment_event.h"
#include "fs/base/error.h"

#define MS ((uint64_t)1000 * 1000)

enum { RETRY_MS = 20, RECONNECT_MS = 500 };

struct outgoing {
    STAILQ_ENTRY(outgoing) link;
    size_t length;
    uint8_t bytes[];
};

struct corosync {
    struct corosync_open_config config;
    cpg_handle_t workers, guards;
    quorum_handle_t quorum;
    struct environment_watch *workers_watch, *guards_watch, *quorum_watch;
    struct environment_timer retry;     // of what corosync could not take
    struct environment_timer reconnect; // after it was lost
    STAILQ_HEAD(outgoing_list, outgoing) outgoing;
    struct membership_process self;
    bool is_connected;
    bool is_leaving; // after what is queued
    bool was_lost;   // noticed inside of a callback; dropped after it
};

// --- callbacks of corosync -> events -------------------------------------------------------------

static void say(struct corosync *corosync, const struct membership_event *event)
{
    corosync->config.event(corosync->config.context, event);
}

static struct corosync *of_cpg(cpg_handle_t cpg)
{
    void *context = NULL;
    CHECK(cpg_context_get(cpg, &context) == CS_OK);
    return context;
}

static void worker_said(cpg_handle_t cpg, const struct cpg_name *group, uint32_t node_id,
                        uint32_t pid, void *bytes, size_t length)
{
    (void)group;
    struct membership_event event = {
        .type = MEMBERSHIP_EVENT_DELIVERED,
        .delivered = {.from = {node_id, pid}, .bytes = bytes, .length = length},
    };
    say(of_cpg(cpg), &event);
}

static enum membership_left_reason left_reason(uint32_t reason)
{
    switch (reason) {
    case CPG_REASON_LEAVE:
        return MEMBERSHIP_LEFT_LEAVE;
    case CPG_REASON_PROCDOWN:
        return MEMBERSHIP_LEFT_PROCESS;
    default:
        return MEMBERSHIP_LEFT_DOWN;
    }
}

static void workers_changed(cpg_handle_t cpg, const struct cpg_name *group,
                            const struct cpg_address *members, size_t member_count,
                            const struct cpg_address *left, size_t left_count,
                            const struct cpg_address *joined, size_t joined_count)
{
    struct membership_process processes[CPG_MEMBERS_MAX];
    struct membership_left gone[CPG_MEMBERS_MAX];
    (void)group, (void)joined, (void)joined_count;
    CHECK(member_count <= CPG_MEMBERS_MAX && left_count <= CPG_MEMBERS_MAX);
    for (size_t i = 0; i < member_count; i++)
        processes[i] = (struct membership_process){members[i].nodeid, members[i].pid};
    for (size_t i = 0; i < left_count; i++)
        gone[i] = (struct membership_left){.process = {left[i].nodeid, left[i].pid},
                                           .reason = left_reason(left[i].reason)};
    struct membership_event event = {
        .type = MEMBERSHIP_EVENT_GROUP,
        .group = {.members = processes,
                  .member_count = (uint32_t)member_count,
                  .left = gone,
                  .left_count = (uint32_t)left_count},
    };
    say(of_cpg(cpg), &event);
}

static void ring_changed(cpg_handle_t cpg, struct cpg_ring_id ring, uint32_t member_count,
                         const uint32_t *members)
{
    (void)member_count, (void)members;
    struct membership_event event = {
        .type = MEMBERSHIP_EVENT_RING,
        .ring = {.node_id = ring.nodeid, .sequence = ring.seq},
    };
    say(of_cpg(cpg), &event);
}

static void guard_said(cpg_handle_t cpg, const struct cpg_name *group, uint32_t node_id,
                       uint32_t pid, void *bytes, size_t length)
{
    struct guard_drained_wire wire;
    (void)group, (void)pid;
    if (length != sizeof(wire))
        return;
    memcpy(&wire, bytes, sizeof(wire));
    if (le32_get(wire.magic) != GUARD_DRAINED_MAGIC || le32_get(wire.version) != 1)
        return;
    struct membership_event event = {
        .type = MEMBERSHIP_EVENT_DRAINED,
        .drained = {.node = {.node_id = node_id,
                             .slot = le32_get(wire.slot),
                             .incarnation = le64_get(wire.incarnation)},
                    .ring = {.node_id = le32_get(wire.ring_node_id),
                             .sequence = le64_get(wire.ring_sequence)}},
    };
    say(of_cpg(cpg), &event);
}

static void guards_changed(cpg_handle_t cpg, const struct cpg_name *group,
                           const struct cpg_address *members, size_t member_count,
                           const struct cpg_address *left, size_t left_count,
                           const struct cpg_address *joined, size_t joined_count)
{
    (void)cpg, (void)group, (void)members, (void)member_count, (void)left, (void)left_count;
    (void)joined, (void)joined_count;
}

static void quorum_changed(quorum_handle_t quorum, uint32_t is_quorate, struct quorum_ring_id ring,
                           uint32_t member_count, const uint32_t *members)
{
    const void *context = NULL;
    (void)member_count, (void)members;
    CHECK(quorum_context_get(quorum, &context) == CS_OK);
    struct membership_event event = {
        .type = MEMBERSHIP_EVENT_QUORUM,
        .quorum = {.ring = {.node_id = ring.nodeid, .sequence = ring.seq},
                   .is_quorate = is_quorate != 0},
    };
    say((struct corosync *)context, &event);
}

static void nodes_changed(quorum_handle_t quorum, struct quorum_ring_id ring, uint32_t member_count,
                          const uint32_t *members, uint32_t joined_count, const uint32_t *joined,
                          uint32_t left_count, const uint32_t *left)
{
    (void)quorum, (void)ring, (void)member_count, (void)members, (void)joined_count;
    (void)joined, (void)left_count, (void)left;
}

// --- connections -----------------------------------------------------------------------------

static void drop(struct corosync *corosync)
{
    struct environment_watch **watches[] = {&corosync->workers_watch, &corosync->guards_watch,
                                            &corosync->quorum_watch};
    for (size_t i = 0; i < 3; i++) {
        if (*watches[i] != NULL)
            environment_event_unwatch(*watches[i]);
        *watches[i] = NULL;
    }
    if (corosync->workers != 0)
        cpg_finalize(corosync->workers);
    if (corosync->guards != 0)
        cpg_finalize(corosync->guards);
    if (corosync->quorum != 0)
        quorum_finalize(corosync->quorum);
    corosync->workers = corosync->guards = 0;
    corosync->quorum = 0;
    corosync->is_connected = false;
    environment_timer_disarm(corosync->config.environment, &corosync->retry);
    struct outgoing *outgoing;
    while ((outgoing = STAILQ_FIRST(&corosync->outgoing)) != NULL) {
        STAILQ_REMOVE_HEAD(&corosync->outgoing, link);
        free(outgoing);
    }
}

static void lost(struct corosync *corosync)
{
    if (!corosync->is_connected)
        return;
    drop(corosync);
    log_error(corosync->config.log, ERROR_COROSYNC, "the connection to corosync is lost");
    environment_timer_arm(corosync->config.environment, &corosync->reconnect,
                          environment_boot_ns(corosync->config.environment) + RECONNECT_MS * MS);
    struct membership_event event = {.type = MEMBERSHIP_EVENT_LOST};
    say(corosync, &event);
}

static void dispatch(struct corosync *corosync, cs_error_t error)
{
    if ((error != CS_OK && error != CS_ERR_TRY_AGAIN) || corosync->was_lost) {
        corosync->was_lost = false;
        lost(corosync);
    }
}

static void workers_ready(void *argument, unsigned what)
{
    struct corosync *corosync = argument;
    (void)what;
    dispatch(corosync, cpg_dispatch(corosync->workers, CS_DISPATCH_ALL));
}

static void guards_ready(void *argument, unsigned what)
{
    struct corosync *corosync = argument;
    (void)what;
    dispatch(corosync, cpg_dispatch(corosync->guards, CS_DISPATCH_ALL));
}

static void quorum_ready(void *argument, unsigned what)
{
    struct corosync *corosync = argument;
    (void)what;
    dispatch(corosync, quorum_dispatch(corosync->quorum, CS_DISPATCH_ALL));
}

static bool open_group(struct corosync *corosync, bool is_guards, cpg_handle_t *cpg)
{
    cpg_model_v1_data_t model = {
        .model = CPG_MODEL_V1,
        .cpg_deliver_fn = is_guards ? guard_said : worker_said,
        .cpg_confchg_fn = is_guards ? guards_changed : workers_changed,
        .cpg_totem_confchg_fn = is_guards ? NULL : ring_changed,
        .flags = is_guards ? 0 : CPG_MODEL_V1_DELIVER_INITIAL_TOTEM_CONF,
    };
    struct cpg_name group;
    corosync_group_name(&group, corosync->config.format_id, is_guards);
    if (cpg_model_initialize(cpg, CPG_MODEL_V1, (cpg_model_data_t *)&model, corosync) != CS_OK) {
        *cpg = 0;
        return false;
    }
    return cpg_join(*cpg, &group) == CS_OK;
}

static bool open_quorum(struct corosync *corosync)
{
    quorum_model_v1_data_t model = {
        .model = QUORUM_MODEL_V1,
        .quorum_notify_fn = quorum_changed,
        .nodelist_notify_fn = nodes_changed,
    };
    uint32_t type;
    if (quorum_model_initialize(&corosync->quorum, QUORUM_MODEL_V1, (quorum_model_data_t *)&model,
                                &type, corosync) != CS_OK) {
        corosync->quorum = 0;
        return false;
    }
    return type == QUORUM_SET &&
           quorum_trackstart(corosync->quorum, CS_TRACK_CHANGES | CS_TRACK_CURRENT) == CS_OK;
}

static struct environment_watch *watch(struct corosync *corosync, int fd,
                                       void (*ready)(void *, unsigned))
{
    return environment_event_watch_fd(corosync->config.environment, fd, ENVIRONMENT_READABLE, ready,
                                      corosync);
}

static bool open_all(struct corosync *corosync)
{
    int workers_fd, guards_fd, quorum_fd;
    unsigned node_id;
    bool is_open = open_quorum(corosync) && open_group(corosync, true, &corosync->guards) &&
                   open_group(corosync, false, &corosync->workers) &&
                   cpg_fd_get(corosync->workers, &workers_fd) == CS_OK &&
                   cpg_fd_get(corosync->guards, &guards_fd) == CS_OK &&
                   quorum_fd_get(corosync->quorum, &quorum_fd) == CS_OK &&
                   cpg_local_get(corosync->workers, &node_id) == CS_OK;
    if (!is_open) {
        drop(corosync);
        return false;
    }
    corosync->self = (struct membership_process){node_id, (uint32_t)getpid()};
    corosync->workers_watch = watch(corosync, workers_fd, workers_ready);
    corosync->guards_watch = watch(corosync, guards_fd, guards_ready);
    corosync->quorum_watch = watch(corosync, quorum_fd, quorum_ready);
    corosync->is_connected = true;
    return true;
}

static void reconnect(struct environment_timer *timer)
{
    struct corosync *corosync =
        (struct corosync *)(void *)((char *)timer - offsetof(struct corosync, reconnect));
    if (!open_all(corosync)) {
        environment_timer_arm(corosync->config.environment, timer,
                              environment_boot_ns(corosync->config.environment) +
                                  RECONNECT_MS * MS);
        return;
    }
    log_notice(corosync->config.log, "connected to corosync again");
    struct membership_event event = {.type = MEMBERSHIP_EVENT_RECONNECTED};
    say(corosync, &event);
}

// --- multicasts ------------------------------------------------------------------------------

static void leave_if_due(struct corosync *corosync)
{
    if (!corosync->is_leaving || !STAILQ_EMPTY(&corosync->outgoing) || corosync->workers == 0)
        return;
    struct cpg_name group;
    corosync_group_name(&group, corosync->config.format_id, false);
    cpg_leave(corosync->workers, &group);
}

// Corosync's flow control answers TRY_AGAIN: then later, in order.
static void send_queued(struct corosync *corosync)
{
    struct outgoing *outgoing;
    while ((outgoing = STAILQ_FIRST(&corosync->outgoing)) != NULL) {
        struct iovec part = {outgoing->bytes, outgoing->length};
        cs_error_t error = cpg_mcast_joined(corosync->workers, CPG_TYPE_AGREED, &part, 1);
        if (error == CS_ERR_TRY_AGAIN) {
            environment_timer_arm(corosync->config.environment, &corosync->retry,
                                  environment_boot_ns(corosync->config.environment) +
                                      RETRY_MS * MS);
            return;
        }
        if (error != CS_OK) { // the descriptor will say so; not from inside a callback
            corosync->was_lost = true;
            return;
        }
        STAILQ_REMOVE_HEAD(&corosync->outgoing, link);
        free(outgoing);
    }
    leave_if_due(corosync);
}

static void retry(struct environment_timer *timer)
{
    struct corosync *corosync =
        (struct corosync *)(void *)((char *)timer - offsetof(struct corosync, retry));
    send_queued(corosync);
    if (corosync->was_lost) {
        corosync->was_lost = false;
        lost(corosync);
    }
}

void corosync_multicast(struct corosync *corosync, const uint8_t *bytes, size_t length)
{
    if (!corosync->is_connected)
        return;
    bool was_empty = STAILQ_EMPTY(&corosync->outgoing);
    struct outgoing *outgoing = malloc(sizeof(*outgoing) + length);
    CHECK(outgoing != NULL);
    outgoing->length = length;
    memcpy(outgoing->bytes, bytes, length);
    STAILQ_INSERT_TAIL(&corosync->outgoing, outgoing, link);
    if (was_empty)
        send_queued(corosync);
}

// --- life ------------------------------------------------------------------------------------

int corosync_open(const struct corosync_open_config *config, struct corosync **out)
{
    struct corosync *corosync = calloc(1, sizeof(*corosync));
    CHECK(corosync != NULL);
    corosync->config = *config;
    corosync->retry.fire = retry;
    corosync->reconnect.fire = reconnect;
    STAILQ_INIT(&corosync->outgoing);
    if (!open_all(corosync)) {
        log_error(config->log, ERROR_COROSYNC,
                  "%s: is it running, with quorum configured (provider: corosync_votequorum)?",
                  error_text(-ERROR_COROSYNC));
        free(corosync);
        return -ERROR_COROSYNC;
    }
    *out = corosync;
    return 0;
}

void corosync_close(struct corosync *corosync)
{
    environment_timer_disarm(corosync->config.environment, &corosync->reconnect);
    drop(corosync); // closing the connection leaves the group
    free(corosync);
}

void corosync_leave(struct corosync *corosync)
{
    corosync->is_leaving = true;
    leave_if_due(corosync);
}

bool corosync_is_connected(const struct corosync *corosync)
{
    return corosync->is_connected;
}

struct membership_process corosync_self(const struct corosync *corosync)
{
    return corosync->self;
}
