// SPDX-License-Identifier: Apache-2.0
// From the lane that read a request to the coroutine that answers it.
#include "fs/fuse_server_request.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/check.h"
#include "fs/base/error.h"
#include "fs/io_buffers.h"
#include "fs/volume.h"

enum {
    NODE_DIRECTORY_SHIFT = 48,
    NODE_GENERATION_SHIFT = 49,
    ERRNO_MAX = 511, // the kernel takes no larger one in an answer
};

// How often waiters at the gate look again: the lease can be renewed without anybody telling us.
static const uint64_t gate_poll_ns = 20000000;

static const uint64_t patrol_period_ns = 200000000;

// --- node ids --------------------------------------------------------------------------------

fuse_ino_t fuse_node_make(const struct fuse_server *server, const struct attributes *of)
{
    if (of->inode == server->volume->geometry.root_inode)
        return FUSE_ROOT_ID;
    return of->inode | (fuse_ino_t)S_ISDIR(of->stat.st_mode) << NODE_DIRECTORY_SHIFT |
           of->generation << NODE_GENERATION_SHIFT;
}

uint64_t fuse_node_inode(const struct fuse_server *server, fuse_ino_t node)
{
    if (node == FUSE_ROOT_ID)
        return server->volume->geometry.root_inode;
    return node & (((uint64_t)1 << NODE_DIRECTORY_SHIFT) - 1);
}

int fuse_node_check(const struct fuse_server *server, fuse_ino_t node, int result,
                    const struct attributes *now)
{
    bool is_directory = node != FUSE_ROOT_ID && (node >> NODE_DIRECTORY_SHIFT & 1) != 0;
    if (result == 0 && fuse_node_make(server, now) != node)
        result = -ESTALE;
    return result == -ESTALE && is_directory ? -ENOENT : result;
}

// --- lane side -------------------------------------------------------------------------------

static char *append(char **end, const char *text)
{
    if (text == NULL)
        return NULL;
    char *start = *end;
    size_t bytes = strlen(text) + 1;
    memcpy(start, text, bytes);
    *end += bytes;
    return start;
}

void fuse_request_mean(struct fuse_request *request, fuse_ino_t node)
{
    struct live_inodes_meant *meant = &request->meant;
    if (node == FUSE_ROOT_ID)
        return;
    CHECK(meant->count < LIVE_INODES_MEANT_MAX);
    meant->generation_mask = UINT64_MAX >> NODE_GENERATION_SHIFT;
    meant->of[meant->count++] = (struct live_inode_meant){fuse_node_inode(request->server, node),
                                                          node >> NODE_GENERATION_SHIFT};
}

struct fuse_request *fuse_request_new(fuse_req_t fuse, const struct fuse_request_type *type,
                                      fuse_ino_t node, const char *name, const char *second_name)
{
    size_t bytes =
        (name != NULL ? strlen(name) + 1 : 0) + (second_name != NULL ? strlen(second_name) + 1 : 0);
    struct fuse_request *request = calloc(1, sizeof(*request) + bytes);
    if (request == NULL) {
        fuse_reply_err(fuse, ENOMEM);
        return NULL;
    }
    char *end = request->text;
    const struct fuse_ctx *who = fuse_req_ctx(fuse);
    request->server = fuse_server_of(fuse);
    request->fuse = fuse;
    request->type = type;
    request->node = node;
    request->who = (struct credentials){who->uid, who->gid, who->umask};
    request->name = append(&end, name);
    request->second_name = append(&end, second_name);
    fuse_request_mean(request, node);
    return request;
}

struct fuse_request *fuse_request_new_buffered(fuse_req_t fuse,
                                               const struct fuse_request_type *type,
                                               fuse_ino_t node, const char *name, size_t bytes)
{
    struct fuse_request *request = fuse_request_new(fuse, type, node, name, NULL);
    if (request == NULL)
        return NULL;
    request->buffer = io_buffers_take(request->server->buffers, bytes);
    request->buffer_bytes = bytes;
    if (request->buffer != NULL)
        return request;
    free(request);
    fuse_reply_err(fuse, ENOMEM);
    return NULL;
}

// Only the lane that finds the list empty wakes the core: whatever is added behind it until the
// core takes the list is taken with it. Acquire as well: the post that the core has done with is
// the lane's again once the lane has seen the list that the core took.
void fuse_request_forward(struct fuse_request *request)
{
    struct fuse_server *server = request->server;
    struct fuse_request *first = atomic_load_explicit(&server->forwarded, memory_order_relaxed);
    do {
        request->next = first;
    } while (!atomic_compare_exchange_weak_explicit(&server->forwarded, &first, request,
                                                    memory_order_acq_rel, memory_order_relaxed));
    if (first == NULL)
        environment_event_post(server->volume->environment, &server->drain_post);
}

// --- core side -------------------------------------------------------------------------------

void fuse_request_gate_timer(struct environment_timer *timer)
{
    struct fuse_server *server =
        (struct fuse_server *)((char *)timer - offsetof(struct fuse_server, gate_timer));
    server->gate_timer_is_armed = false;
    wait_queue_wake_all(server->volume->scheduler, &server->gate_waiters);
}

void fuse_request_wake_gate(struct fuse_server *server)
{
    wait_queue_wake_all(server->volume->scheduler, &server->gate_waiters);
}

static void wait_at_gate(struct fuse_request *request)
{
    struct fuse_server *server = request->server;
    struct environment *environment = server->volume->environment;
    if (!server->gate_timer_is_armed) {
        server->gate_timer_is_armed = true;
        environment_timer_arm(environment, &server->gate_timer,
                              environment_boot_ns(environment) + gate_poll_ns);
    }
    atomic_fetch_add_explicit(&server->at_gate_count, 1, memory_order_relaxed);
    request->is_at_gate = true;
    wait_queue_wait(server->volume->scheduler, &server->gate_waiters);
    request->is_at_gate = false;
    atomic_fetch_sub_explicit(&server->at_gate_count, 1, memory_order_relaxed);
}

// Returns when this node may touch the LUN and answer (0), or never will again (an error).
static int pass_gate(struct fuse_request *request)
{
    struct fuse_server *server = request->server;
    struct volume *volume = server->volume;
    for (;;) {
        if (volume_check(volume) != 0)
            return volume_check(volume);
        if (gate_has_ended(volume->gate))
            return -ERROR_STATE_ENDED;
        if (gate_is_open(volume->gate, environment_boot_ns(volume->environment)))
            return 0;
        if (server->is_stopping)
            return -ENOTCONN;
        if (request->is_killed)
            return -EINTR;
        wait_at_gate(request);
    }
}

static void answer(struct fuse_request *request, int result)
{
    if (result < 0) {
        int error = error_to_errno(result);
        fuse_reply_err(request->fuse, error > 0 && error <= ERRNO_MAX ? error : EIO);
    } else if (request->type->reply != NULL) {
        request->type->reply(request);
    } else {
        fuse_reply_err(request->fuse, 0);
    }
}

static void request_free(struct fuse_request *request)
{
    struct fuse_server *server = request->server;
    LIST_REMOVE(request, alive);
    io_buffers_give(server->buffers, request->buffer, request->buffer_bytes);
    free(request);
    if (atomic_fetch_sub_explicit(&server->alive_count, 1, memory_order_relaxed) == 1)
        wait_queue_wake_all(server->volume->scheduler, &server->idle_waiters);
}

static int run_request(struct fuse_request *request)
{
    int result = request->type->run(request);
    bool is_full = result == -ENOSPC || result == -EDQUOT;
    if (is_full && operation_reclaim(request->server->volume))
        result = request->type->run(request);
    return result;
}

// What an operation found out may be stale when the gate shut meanwhile: others may have taken over
// what we held. So the gate is asked again before the answer.
static void request_body(void *argument)
{
    struct fuse_request *request = argument;
    const struct fuse_request_type *type = request->type;
    bool is_undone = false;
    live_inode_mean(request->server->volume->scheduler, &request->meant);
    int result = type->is_cleanup ? 0 : pass_gate(request);
    if (result == 0) {
        result = run_request(request);
        int gate = type->is_cleanup ? 0 : pass_gate(request);
        is_undone = result == 0 && gate != 0 && type->undo != NULL;
        if (gate != 0)
            result = gate;
    }
    answer(request, result);
    if (is_undone)
        type->undo(request);
    request_free(request);
}

// --- requests of processes that were killed --------------------------------------------------
//
// A process that waits for an answer cannot die before it comes. The kernel says once that a signal
// interrupted the wait (INTERRUPT), and not which: a mere SIGALRM must not make stat(2) fail, so
// only death counts, which may come later. So requests that were here a patrol ago and were
// interrupted are looked after until they end.
//
//   0.0   open(2) ─► gate shut, or a lock whose holder is being fenced
//   1.0   SIGKILL ─► INTERRUPT ─► libfuse notes it
//   1.2   patrol: interrupted, and the thread has a SIGKILL pending: the wait ends with EINTR
//
// An operation that has begun to change something is waited out: whoever sees the process dead must
// not see its work done later.

// A fatal signal makes the kernel queue a SIGKILL for each thread. The thread is as /proc of this
// process namespace knows it; one of another namespace cannot be judged, and waits.
static bool is_dying(pid_t thread)
{
    char path[32], line[128];
    unsigned long long pending = 0;
    if (thread == 0)
        return false;
    snprintf(path, sizeof(path), "/proc/%d/status", (int)thread);
    FILE *status = fopen(path, "re");
    if (status == NULL)
        return errno == ENOENT;
    while (fgets(line, sizeof(line), status) != NULL) {
        if (sscanf(line, "SigPnd: %llx", &pending) == 1)
            break;
    }
    fclose(status);
    return (pending >> (SIGKILL - 1) & 1) != 0;
}

static void end_wait(struct fuse_request *request)
{
    struct volume *volume = request->server->volume;
    if (request->is_at_gate)
        wait_queue_wake_this(volume->scheduler, &request->server->gate_waiters, request->coroutine);
    else
        operation_interrupt(volume, request->coroutine);
}

static void look_after(struct fuse_request *request)
{
    if (!request->was_patrolled) {
        request->was_patrolled = true;
        return;
    }
    if (request->type->is_cleanup || !fuse_req_interrupted(request->fuse))
        return;
    request->is_killed = request->is_killed || is_dying(fuse_req_ctx(request->fuse)->pid);
    if (request->is_killed)
        end_wait(request);
}

static void arm_patrol(struct fuse_server *server)
{
    struct environment *environment = server->volume->environment;
    if (server->patrol_is_armed)
        return;
    server->patrol_is_armed = true;
    environment_timer_arm(environment, &server->patrol_timer,
                          environment_boot_ns(environment) + patrol_period_ns);
}

void fuse_request_patrol_timer(struct environment_timer *timer)
{
    struct fuse_server *server =
        (struct fuse_server *)((char *)timer - offsetof(struct fuse_server, patrol_timer));
    struct fuse_request *request;
    server->patrol_is_armed = false;
    LIST_FOREACH (request, &server->alive, alive)
        look_after(request);
    if (!LIST_EMPTY(&server->alive))
        arm_patrol(server);
}

// --- taking over -----------------------------------------------------------------------------

static struct fuse_request *take_in_order(struct fuse_server *server)
{
    struct fuse_request *newest =
        atomic_exchange_explicit(&server->forwarded, NULL, memory_order_acq_rel);
    struct fuse_request *first = NULL;
    while (newest != NULL) {
        struct fuse_request *older = newest->next;
        newest->next = first;
        first = newest;
        newest = older;
    }
    return first;
}

void fuse_request_drain(struct fuse_server *server)
{
    struct fuse_request *next = take_in_order(server);
    atomic_fetch_add_explicit(&server->core_wakeups, 1, memory_order_relaxed);
    while (next != NULL) {
        struct fuse_request *request = next;
        next = request->next;
        LIST_INSERT_HEAD(&server->alive, request, alive);
        atomic_fetch_add_explicit(&server->alive_count, 1, memory_order_relaxed);
        atomic_fetch_add_explicit(&server->core_requests, 1, memory_order_relaxed);
        request->coroutine =
            coroutine_start(server->volume->scheduler, request->type->name, request_body, request);
    }
    if (!LIST_EMPTY(&server->alive))
        arm_patrol(server);
}

// --- answers shared by several kinds ---------------------------------------------------------

// Attributes are never lent with a name: the kernel may know the inode by this answer only, and
// then could not be told to drop them before it has taken the answer in (docs/caching.md).
void fuse_entry_from_attributes(const struct fuse_server *server, const struct attributes *from,
                                struct fuse_entry_param *entry)
{
    *entry = (struct fuse_entry_param){
        .ino = fuse_node_make(server, from),
        .generation = from->generation,
        .attr = from->stat,
    };
}

int fuse_reply_request_attributes(struct fuse_request *request)
{
    return fuse_reply_attr(request->fuse, &request->out.attributes.stat, request->loan_s);
}

int fuse_reply_request_entry(struct fuse_request *request)
{
    struct fuse_entry_param entry;
    fuse_entry_from_attributes(request->server, &request->out.attributes, &entry);
    entry.entry_timeout = request->loan_s;
    return fuse_reply_entry(request->fuse, &entry);
}

int fuse_reply_request_buffer(struct fuse_request *request)
{
    return fuse_reply_buf(request->fuse, request->buffer, request->out.bytes);
}

int fuse_reply_request_count(struct fuse_request *request)
{
    return fuse_reply_write(request->fuse, request->out.bytes);
}
