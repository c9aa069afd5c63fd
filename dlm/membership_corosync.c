// SPDX-License-Identifier: Apache-2.0
// Three connections to corosync: the workers' group, the guards' group, quorum. They stand and fall
// together: when one is lost all are closed, the machine is told, and all are tried again.
#include "dlm/membership_corosync.h"

#include <corosync/cpg.h>
#include <corosync/quorum.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "dlm/membership_guard_message.h"
#include "fs/base/check.h"
#include "fs/base/environment_event.h"
#include "fs/base/error.h"

#define RETRY_BUSY_NS    ((uint64_t)5000000)   // corosync answered TRY_AGAIN
#define RETRY_CONNECT_NS ((uint64_t)500000000) // corosync is gone

enum { OPEN_TRIES = 500, OPEN_TRY_NS = 20000000 };

struct outgoing {
    TAILQ_ENTRY(outgoing) link;
    size_t length;
    uint8_t bytes[];
};

struct connection {
    struct corosync *corosync;
    struct environment_watch *watch;
    bool is_open;
    bool is_joined; // groups only
};

struct corosync {
    struct corosync_open_config config;
    struct membership_process self;
    struct connection workers, guards, quorum;
    cpg_handle_t workers_handle, guards_handle;
    quorum_handle_t quorum_handle;
    struct environment_timer timer;
    TAILQ_HEAD(outgoings, outgoing) outgoing;
    bool is_connected;
    bool is_leaving; // cpg_leave when the queue is empty
    bool has_failed; // noticed inside a callback's dispatch
    bool is_closed;
    uint32_t busy;
};

static void lose(struct corosync *self);

// --- callbacks -------------------------------------------------------------------------------

static struct corosync *corosync_of(cpg_handle_t handle)
{
    void *context = NULL;
    CHECK(cpg_context_get(handle, &context) == CS_OK);
    return context;
}

static void tell(struct corosync *self, const struct membership_event *event)
{
    if (!self->is_closed)
        self->config.event(self->config.context, event);
}

static void delivered(cpg_handle_t handle, const struct cpg_name *group, uint32_t node_id,
                      uint32_t pid, void *bytes, size_t length)
{
    (void)group;
    struct membership_event event = {
        .type = MEMBERSHIP_EVENT_DELIVERED,
        .delivered = {.from = {node_id, pid}, .bytes = bytes, .length = length}};
    tell(corosync_of(handle), &event);
}

static enum membership_left_reason left_reason(uint32_t reason)
{
    if (reason == CPG_REASON_LEAVE)
        return MEMBERSHIP_LEFT_LEAVE;
    return reason == CPG_REASON_PROCDOWN ? MEMBERSHIP_LEFT_PROCESS : MEMBERSHIP_LEFT_DOWN;
}

static void group_changed(cpg_handle_t handle, const struct cpg_name *group,
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
        gone[i] =
            (struct membership_left){{left[i].nodeid, left[i].pid}, left_reason(left[i].reason)};
    struct membership_event event = {.type = MEMBERSHIP_EVENT_GROUP,
                                     .group = {.members = processes,
                                               .member_count = (uint32_t)member_count,
                                               .left = gone,
                                               .left_count = (uint32_t)left_count}};
    tell(corosync_of(handle), &event);
}

static void ring_changed(cpg_handle_t handle, struct cpg_ring_id ring, uint32_t count,
                         const uint32_t *nodes)
{
    (void)count, (void)nodes;
    struct membership_event event = {.type = MEMBERSHIP_EVENT_RING,
                                     .ring = {ring.nodeid, ring.seq}};
    tell(corosync_of(handle), &event);
}

static void guard_delivered(cpg_handle_t handle, const struct cpg_name *group, uint32_t node_id,
                            uint32_t pid, void *bytes, size_t length)
{
    struct membership_event event = {.type = MEMBERSHIP_EVENT_DRAINED};
    (void)group, (void)pid;
    if (guard_drained_decode(bytes, length, &event.drained.node, &event.drained.ring) != 0)
        return;
    event.drained.node.node_id = node_id; // as corosync says, whatever the message does
    tell(corosync_of(handle), &event);
}

static void guards_changed(cpg_handle_t handle, const struct cpg_name *group,
                           const struct cpg_address *members, size_t member_count,
                           const struct cpg_address *left, size_t left_count,
                           const struct cpg_address *joined, size_t joined_count)
{
    (void)handle, (void)group, (void)members, (void)member_count;
    (void)left, (void)left_count, (void)joined, (void)joined_count;
}

static void quorum_changed(quorum_handle_t handle, uint32_t quorate, struct quorum_ring_id ring,
                           uint32_t count, const uint32_t *nodes)
{
    const void *context = NULL;
    (void)count, (void)nodes;
    CHECK(quorum_context_get(handle, &context) == CS_OK);
    struct membership_event event = {
        .type = MEMBERSHIP_EVENT_QUORUM,
        .quorum = {.ring = {ring.nodeid, ring.seq}, .is_quorate = quorate != 0}};
    tell((struct corosync *)context, &event);
}

static void nodes_changed(quorum_handle_t handle, struct quorum_ring_id ring, uint32_t count,
                          const uint32_t *nodes, uint32_t joined_count, const uint32_t *joined,
                          uint32_t left_count, const uint32_t *left)
{
    (void)handle, (void)ring, (void)count, (void)nodes;
    (void)joined_count, (void)joined, (void)left_count, (void)left;
}

// --- dispatch --------------------------------------------------------------------------------

static cs_error_t dispatch_one(struct connection *connection)
{
    struct corosync *self = connection->corosync;
    if (connection == &self->quorum)
        return quorum_dispatch(self->quorum_handle, CS_DISPATCH_ONE_NONBLOCKING);
    return cpg_dispatch(connection == &self->workers ? self->workers_handle : self->guards_handle,
                        CS_DISPATCH_ONE_NONBLOCKING);
}

static void destroy_if_closed(struct corosync *self)
{
    if (self->busy == 0 && self->is_closed)
        free(self);
}

static void connection_ready(void *argument, unsigned what)
{
    struct connection *connection = argument;
    struct corosync *self = connection->corosync;
    cs_error_t result = CS_OK;
    (void)what;
    self->busy++;
    while (result == CS_OK && !self->is_closed && connection->is_open)
        result = dispatch_one(connection);
    if (result != CS_OK && result != CS_ERR_TRY_AGAIN && !self->is_closed)
        lose(self);
    self->busy--;
    destroy_if_closed(self);
}

// --- connecting ------------------------------------------------------------------------------

static void watch(struct corosync *self, struct connection *connection, int fd)
{
    connection->corosync = self;
    connection->is_open = true;
    connection->watch = environment_event_watch_fd(
        self->config.environment, fd, ENVIRONMENT_READABLE, connection_ready, connection);
}

static cs_error_t open_group(struct corosync *self, struct connection *connection,
                             cpg_handle_t *handle, cpg_model_v1_data_t *model)
{
    int fd = -1;
    cs_error_t result = cpg_model_initialize(handle, CPG_MODEL_V1, (cpg_model_data_t *)model, self);
    if (result != CS_OK)
        return result;
    result = cpg_fd_get(*handle, &fd);
    if (result != CS_OK) {
        cpg_finalize(*handle);
        return result;
    }
    watch(self, connection, fd);
    return CS_OK;
}

static cs_error_t open_workers(struct corosync *self)
{
    cpg_model_v1_data_t model = {.model = CPG_MODEL_V1,
                                 .cpg_deliver_fn = delivered,
                                 .cpg_confchg_fn = group_changed,
                                 .cpg_totem_confchg_fn = ring_changed,
                                 .flags = CPG_MODEL_V1_DELIVER_INITIAL_TOTEM_CONF};
    return open_group(self, &self->workers, &self->workers_handle, &model);
}

static cs_error_t open_guards(struct corosync *self)
{
    cpg_model_v1_data_t model = {
        .model = CPG_MODEL_V1, .cpg_deliver_fn = guard_delivered, .cpg_confchg_fn = guards_changed};
    return open_group(self, &self->guards, &self->guards_handle, &model);
}

static cs_error_t open_quorum(struct corosync *self)
{
    quorum_model_v1_data_t model = {.model = QUORUM_MODEL_V1,
                                    .quorum_notify_fn = quorum_changed,
                                    .nodelist_notify_fn = nodes_changed};
    uint32_t type = QUORUM_FREE;
    int fd = -1;
    cs_error_t result = quorum_model_initialize(&self->quorum_handle, QUORUM_MODEL_V1,
                                                (quorum_model_data_t *)&model, &type, self);
    if (result != CS_OK)
        return result;
    if (type != QUORUM_SET) {
        log_error(self->config.log, ERROR_COROSYNC, "corosync has no quorum provider");
        result = CS_ERR_NOT_SUPPORTED;
    }
    if (result == CS_OK)
        result = quorum_fd_get(self->quorum_handle, &fd);
    if (result == CS_OK)
        result = quorum_trackstart(self->quorum_handle, CS_TRACK_CHANGES);
    if (result != CS_OK) {
        quorum_finalize(self->quorum_handle);
        return result;
    }
    watch(self, &self->quorum, fd);
    return CS_OK;
}

static cs_error_t join_group(struct corosync *self, struct connection *connection,
                             cpg_handle_t handle, bool is_guards)
{
    struct cpg_name name = corosync_group_name(self->config.format_id, is_guards);
    if (connection->is_joined)
        return CS_OK;
    cs_error_t result = cpg_join(handle, &name);
    connection->is_joined = result == CS_OK;
    return result;
}

// One step further each time; CS_ERR_TRY_AGAIN: call again in a moment.
static cs_error_t connect_some(struct corosync *self)
{
    unsigned node_id = 0;
    cs_error_t result = CS_OK;
    if (!self->quorum.is_open)
        result = open_quorum(self);
    if (result == CS_OK && !self->workers.is_open)
        result = open_workers(self);
    if (result == CS_OK && !self->guards.is_open)
        result = open_guards(self);
    if (result == CS_OK)
        result = cpg_local_get(self->workers_handle, &node_id);
    if (result == CS_OK)
        result = join_group(self, &self->guards, self->guards_handle, true);
    if (result == CS_OK)
        result = join_group(self, &self->workers, self->workers_handle, false);
    if (result == CS_OK)
        self->self = (struct membership_process){node_id, (uint32_t)getpid()};
    return result;
}

static void close_connection(struct connection *connection)
{
    struct corosync *self = connection->corosync;
    if (!connection->is_open)
        return;
    environment_event_unwatch(connection->watch);
    if (connection == &self->quorum)
        quorum_finalize(self->quorum_handle);
    else
        cpg_finalize(connection == &self->workers ? self->workers_handle : self->guards_handle);
    connection->is_open = connection->is_joined = false;
}

static void close_all(struct corosync *self)
{
    close_connection(&self->workers);
    close_connection(&self->guards);
    close_connection(&self->quorum);
}

static void forget_outgoing(struct corosync *self)
{
    struct outgoing *outgoing;
    while ((outgoing = TAILQ_FIRST(&self->outgoing)) != NULL) {
        TAILQ_REMOVE(&self->outgoing, outgoing, link);
        free(outgoing);
    }
}

static void arm(struct corosync *self, uint64_t in_ns)
{
    environment_timer_arm(self->config.environment, &self->timer,
                          environment_boot_ns(self->config.environment) + in_ns);
}

static void lose(struct corosync *self)
{
    struct membership_event event = {.type = MEMBERSHIP_EVENT_LOST};
    bool was_connected = self->is_connected;
    self->is_connected = false;
    close_all(self);
    forget_outgoing(self);
    arm(self, RETRY_CONNECT_NS);
    if (!was_connected)
        return;
    log_error(self->config.log, ERROR_COROSYNC, "the connection to corosync is lost");
    tell(self, &event);
}

static void reconnect(struct corosync *self)
{
    struct membership_event event = {.type = MEMBERSHIP_EVENT_RECONNECTED};
    cs_error_t result = connect_some(self);
    if (result == CS_ERR_TRY_AGAIN) {
        arm(self, RETRY_BUSY_NS);
        return;
    }
    if (result != CS_OK) {
        close_all(self);
        arm(self, RETRY_CONNECT_NS);
        return;
    }
    self->is_connected = true;
    log_notice(self->config.log, "corosync is back");
    tell(self, &event);
}

// --- multicast -------------------------------------------------------------------------------

static cs_error_t multicast(struct corosync *self, const struct outgoing *outgoing)
{
    struct iovec vector = {.iov_base = (void *)outgoing->bytes, .iov_len = outgoing->length};
    return cpg_mcast_joined(self->workers_handle, CPG_TYPE_AGREED, &vector, 1);
}

static void leave_now(struct corosync *self)
{
    struct cpg_name name = corosync_group_name(self->config.format_id, false);
    if (cpg_leave(self->workers_handle, &name) == CS_ERR_TRY_AGAIN)
        arm(self, RETRY_BUSY_NS);
    else
        self->is_leaving = false;
}

static void send_waiting(struct corosync *self)
{
    struct outgoing *outgoing;
    while ((outgoing = TAILQ_FIRST(&self->outgoing)) != NULL) {
        cs_error_t result = multicast(self, outgoing);
        if (result == CS_ERR_TRY_AGAIN) {
            arm(self, RETRY_BUSY_NS);
            return;
        }
        if (result != CS_OK) {
            lose(self);
            return;
        }
        TAILQ_REMOVE(&self->outgoing, outgoing, link);
        free(outgoing);
    }
    if (self->is_leaving)
        leave_now(self);
}

static void timer_fired(struct environment_timer *timer)
{
    struct corosync *self =
        (struct corosync *)(void *)((char *)timer - offsetof(struct corosync, timer));
    self->busy++;
    if (self->is_connected)
        send_waiting(self);
    else
        reconnect(self);
    self->busy--;
    destroy_if_closed(self);
}

// Never from inside the caller's step: a lost connection is told by the timer's turn.
void corosync_multicast(struct corosync *self, const uint8_t *bytes, size_t length)
{
    struct outgoing *outgoing = malloc(sizeof(*outgoing) + length);
    CHECK(outgoing != NULL);
    if (!self->is_connected) {
        free(outgoing);
        return;
    }
    outgoing->length = length;
    memcpy(outgoing->bytes, bytes, length);
    bool is_first = TAILQ_EMPTY(&self->outgoing);
    if (is_first && multicast(self, outgoing) == CS_OK) {
        free(outgoing);
        return;
    }
    TAILQ_INSERT_TAIL(&self->outgoing, outgoing, link);
    if (is_first)
        arm(self, RETRY_BUSY_NS);
}

void corosync_leave(struct corosync *self)
{
    if (!self->is_connected)
        return;
    self->is_leaving = true;
    arm(self, 0);
}

// --- open and close --------------------------------------------------------------------------

int corosync_open(const struct corosync_open_config *config, struct corosync **out)
{
    struct corosync *self = calloc(1, sizeof(*self));
    const struct timespec pause = {.tv_nsec = OPEN_TRY_NS};
    CHECK(self != NULL);
    self->config = *config;
    self->timer.fire = timer_fired;
    TAILQ_INIT(&self->outgoing);
    self->workers.corosync = self->guards.corosync = self->quorum.corosync = self;
    cs_error_t result = connect_some(self);
    for (int i = 0; i < OPEN_TRIES && result == CS_ERR_TRY_AGAIN; i++) {
        nanosleep(&pause, NULL);
        result = connect_some(self);
    }
    if (result != CS_OK) {
        log_error(config->log, ERROR_COROSYNC, "corosync does not let this node in (error %d)",
                  (int)result);
        close_all(self);
        free(self);
        return -ERROR_COROSYNC;
    }
    self->is_connected = true;
    *out = self;
    return 0;
}

// A last chance for what corosync could not take at once: the group must hear that we leave.
static void drain(struct corosync *self)
{
    const struct timespec pause = {.tv_nsec = OPEN_TRY_NS};
    for (int i = 0; i < 50 && self->is_connected; i++) {
        send_waiting(self);
        if (TAILQ_EMPTY(&self->outgoing) && !self->is_leaving)
            return;
        nanosleep(&pause, NULL);
    }
}

void corosync_close(struct corosync *self)
{
    self->is_closed = true;
    drain(self);
    environment_timer_disarm(self->config.environment, &self->timer);
    close_all(self);
    forget_outgoing(self);
    destroy_if_closed(self);
}

bool corosync_is_connected(const struct corosync *self)
{
    return self->is_connected;
}

struct membership_process corosync_self(const struct corosync *self)
{
    return self->self;
}
