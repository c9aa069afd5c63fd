// SPDX-License-Identifier: Apache-2.0
// The life of the FUSE front end: threads, end.
//
//   start: session thread ─► libfuse's loop: lane threads, one clone of /dev/fuse each
//   live:  the kernel's INIT was taken (a lane) ──post──► core: config.live
//   end:   umount or abort ─► the loop returns ──post──► core: nothing new can come; waiters give
//          up, the last request is answered, handles the kernel did not release are, config.ended
#include "fs/fuse_server.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "fs/base/check.h"
#include "fs/base/error.h"
#include "fs/base/text.h"
#include "fs/fuse_server_request.h"
#include "fs/gate.h"
#include "fs/io_buffers.h"
#include "fs/volume.h"

enum {
    BACKGROUND_REQUESTS_MAX = 4096, // what writes a page back must not wait behind reads that wait
                                    // for other nodes (docs/caching.md)
    BACKGROUND_CONGESTED = 256,     // the kernel writes back less eagerly
};

// What is asked of the kernel, where it can: reads and direct I/O side by side, directories looked
// up side by side, attributes with directory entries (they fetch the locks ahead), truncation as
// part of open, all locks, ACLs, and the umask told to us (a directory's default list takes its
// place). What is not: caching writes or symlinks (other nodes change them), splice (no faster, see
// docs/daemon.md), export by NFS.
static const unsigned features_wanted =
    FUSE_CAP_ASYNC_READ | FUSE_CAP_ASYNC_DIO | FUSE_CAP_PARALLEL_DIROPS | FUSE_CAP_READDIRPLUS |
    FUSE_CAP_READDIRPLUS_AUTO | FUSE_CAP_ATOMIC_O_TRUNC | FUSE_CAP_POSIX_LOCKS |
    FUSE_CAP_FLOCK_LOCKS | FUSE_CAP_POSIX_ACL | FUSE_CAP_DONT_MASK | FUSE_CAP_IOCTL_DIR;

// --- threads ---------------------------------------------------------------------------------

// libfuse starts its threads as requests come; each becomes a lane at its first READ or WRITE.
struct lane *fuse_server_lane(struct fuse_server *server)
{
    struct lane *lane = pthread_getspecific(server->lane_key);
    if (lane != NULL)
        return lane;
    uint32_t index = atomic_load(&server->lane_count);
    do {
        CHECK(index < FUSE_SERVER_LANES_MAX);
    } while (!atomic_compare_exchange_weak(&server->lane_count, &index, index + 1));
    lane = &server->lanes[index];
    if (lane_init(lane, &server->lane_volume) != 0)
        return NULL;
    char name[16];
    snprintf(name, sizeof(name), "lunfs-lane%u", index);
    pthread_setname_np(pthread_self(), name);
    pthread_setspecific(server->lane_key, lane);
    return lane;
}

static void run_loop(struct fuse_server *server)
{
    struct fuse_loop_config *config = fuse_loop_cfg_create();
    if (config == NULL)
        return;
    fuse_loop_cfg_set_clone_fd(config, 1);
    fuse_loop_cfg_set_max_threads(config, server->config.lane_count);
    fuse_loop_cfg_set_idle_threads(config, server->config.lane_count);
    int result = fuse_session_loop_mt(server->session, config);
    fuse_loop_cfg_destroy(config);
    if (result != 0)
        log_error(server->volume->log, 0, "the FUSE session of %s ended: %s", server->directory,
                  strerror(result < 0 ? -result : result));
}

static void *session_body(void *argument)
{
    struct fuse_server *server = argument;
    pthread_setname_np(pthread_self(), "lunfs-fuse");
    run_loop(server);
    // Behind all that lanes forwarded: they are gone.
    environment_event_post(server->volume->environment, &server->ended_post);
    return NULL;
}

// --- called by libfuse on a lane's thread ----------------------------------------------------

static ssize_t read_request(int descriptor, void *buffer, size_t bytes, void *userdata)
{
    struct fuse_server *server = userdata;
    ssize_t count = read(descriptor, buffer, bytes);
    if (count <= 0)
        return count;
    return (ssize_t)fuse_dialect_translate(&server->dialect, buffer, (size_t)count);
}

static ssize_t write_answer(int descriptor, struct iovec *parts, int count, void *userdata)
{
    struct fuse_server *server = userdata;
    if (count == 2)
        fuse_dialect_amend(&server->dialect, parts[0].iov_base, parts[0].iov_len, parts[1].iov_base,
                           parts[1].iov_len);
    return writev(descriptor, parts, count);
}

static void handle_init(void *userdata, struct fuse_conn_info *connection)
{
    struct fuse_server *server = userdata;
    connection->max_write = LANE_TRANSFER_BYTES_MAX;
    connection->max_readahead = LANE_TRANSFER_BYTES_MAX;
    connection->max_background = BACKGROUND_REQUESTS_MAX;
    connection->congestion_threshold = BACKGROUND_CONGESTED;
    connection->time_gran = 1;
    connection->want = connection->capable & features_wanted;
    fuse_server_note_kernel(server, connection->proto_minor);
    environment_event_post(server->volume->environment, &server->live_post);
}

static struct fuse_lowlevel_ops operations_table(void)
{
    struct fuse_lowlevel_ops operations = {.init = handle_init};
    fuse_server_add_names(&operations);
    fuse_server_add_attributes(&operations);
    fuse_server_add_directories(&operations);
    fuse_server_add_files(&operations);
    fuse_server_add_locks(&operations);
    fuse_server_add_protection(&operations);
    fuse_server_add_lanes(&operations);
    return operations;
}

static void lane_failed(void *context, int error)
{
    struct fuse_server *server = context;
    log_error(server->volume->log, 0, "%s: a data transfer failed: %s",
              server->volume->device->name, strerror(-error));
    if (error == -EBADE && !atomic_exchange(&server->is_shut_out, true))
        environment_event_post(server->volume->environment, &server->shut_out_post);
}

// --- posted to the core ----------------------------------------------------------------------

static void on_drain(struct environment_post *post)
{
    fuse_request_drain(
        (struct fuse_server *)((char *)post - offsetof(struct fuse_server, drain_post)));
}

static void on_live(struct environment_post *post)
{
    struct fuse_server *server =
        (struct fuse_server *)((char *)post - offsetof(struct fuse_server, live_post));
    fuse_server_begin_lending(server);
    server->config.live(server->config.context);
}

static void on_shut_out(struct environment_post *post)
{
    struct fuse_server *server =
        (struct fuse_server *)((char *)post - offsetof(struct fuse_server, shut_out_post));
    volume_fail(server->volume, -ERROR_SHUT_OUT, "a lane's I/O was refused");
}

static void wind_down(void *argument)
{
    struct fuse_server *server = argument;
    struct fuse_handle *handle;
    server->is_stopping = true;
    fuse_server_end_lending(server);
    fuse_request_wake_gate(server);
    fuse_server_cancel_locks(server);
    while (atomic_load(&server->alive_count) > 0 || !fuse_server_locks_are_idle(server) ||
           server->recalls_waiting > 0)
        wait_queue_wait(server->volume->scheduler, &server->idle_waiters);
    // After an abort; the kernel releases every handle before it unmounts.
    while ((handle = LIST_FIRST(&server->handles)) != NULL)
        fuse_handle_release(server, handle);
    environment_timer_disarm(server->volume->environment, &server->gate_timer);
    environment_timer_disarm(server->volume->environment, &server->patrol_timer);
    server->config.ended(server->config.context);
}

static void on_ended(struct environment_post *post)
{
    struct fuse_server *server =
        (struct fuse_server *)((char *)post - offsetof(struct fuse_server, ended_post));
    coroutine_start(server->volume->scheduler, "fuse wind-down", wind_down, server);
}

// --- start and end ---------------------------------------------------------------------------

static int session_open(struct fuse_server *server)
{
    char name[] = "lunfsd";
    char *arguments[] = {name, NULL};
    struct fuse_args parsed = FUSE_ARGS_INIT(1, arguments);
    struct fuse_lowlevel_ops operations = operations_table();
    static const struct fuse_custom_io io = {.writev = write_answer, .read = read_request};
    server->session = fuse_session_new(&parsed, &operations, sizeof(operations), server);
    fuse_opt_free_args(&parsed);
    if (server->session == NULL)
        return -ENOMEM;
    CHECK(fuse_session_custom_io(server->session, &io, server->config.descriptor) == 0);
    return 0;
}

static void server_init(struct fuse_server *server, const struct fuse_server_config *config)
{
    struct volume *volume = config->volume;
    server->config = *config;
    server->volume = volume;
    server->lane_volume = (struct lane_volume){
        .gate = volume->gate,
        .descriptor = config->lun_descriptor,
        .sector_bytes = volume->device->sector_bytes,
        .tracks_access = !volume->options.no_atime && !volume->options.read_only,
        .failed = lane_failed,
        .context = server,
    };
    server->dialect.maps_direct = volume->options.keep_pages;
    server->drain_post.function = on_drain;
    server->live_post.function = on_live;
    server->ended_post.function = on_ended;
    server->shut_out_post.function = on_shut_out;
    server->gate_timer.fire = fuse_request_gate_timer;
    server->patrol_timer.fire = fuse_request_patrol_timer;
    LIST_INIT(&server->alive);
    LIST_INIT(&server->handles);
    wait_queue_init(&server->gate_waiters);
    wait_queue_init(&server->idle_waiters);
    fuse_server_recall_init(server);
}

// Releases all but the threads and the mount.
static void server_deinit(struct fuse_server *server)
{
    fuse_server_recall_deinit(server);
    if (server->session != NULL)
        fuse_session_destroy(server->session); // closes the connection
    else
        close(server->config.descriptor);
    for (uint32_t i = 0; i < atomic_load(&server->lane_count); i++) {
        if (server->lanes[i].bounce != NULL)
            lane_deinit(&server->lanes[i]);
    }
    if (server->buffers != NULL)
        io_buffers_free(server->buffers);
    pthread_key_delete(server->lane_key);
    fuse_server_locks_deinit(server);
    free(server->directory);
    free(server);
}

static int server_open(struct fuse_server *server)
{
    server->directory = strdup(server->config.directory);
    if (server->directory == NULL)
        return -ENOMEM;
    server->buffers = io_buffers_new();
    if (server->buffers == NULL || fuse_server_locks_init(server) != 0)
        return -ENOMEM;
    int result = fuse_server_recall_start(server);
    return result != 0 ? result : session_open(server);
}

int fuse_server_start(const struct fuse_server_config *config, struct fuse_server **out)
{
    CHECK(config->lane_count > 0 && config->lane_count <= FUSE_SERVER_LANES_MAX);
    struct fuse_server *server = calloc(1, sizeof(*server));
    int result = server == NULL ? -ENOMEM : -pthread_key_create(&server->lane_key, NULL);
    if (result != 0) {
        close(config->descriptor);
        free(server);
        return result;
    }
    server_init(server, config);
    result = server_open(server);
    if (result == 0)
        result = -pthread_create(&server->session_thread, NULL, session_body, server);
    if (result == 0)
        *out = server;
    else
        server_deinit(server);
    return result;
}

void fuse_server_free(struct fuse_server *server)
{
    pthread_join(server->session_thread, NULL);
    server_deinit(server);
}

// --- looking in ------------------------------------------------------------------------------

uint32_t fuse_server_connection(const struct fuse_server *server)
{
    return server->config.connection;
}

static uint64_t get(const _Atomic uint64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

void fuse_server_counters(const struct fuse_server *server, struct fuse_server_counters *out)
{
    *out = (struct fuse_server_counters){
        .core_reads = get(&server->core_reads),
        .core_writes = get(&server->core_writes),
        .core_requests = get(&server->core_requests),
        .core_wakeups = get(&server->core_wakeups),
        .requests_alive = get(&server->alive_count),
        .requests_at_gate = get(&server->at_gate_count),
        .handles = get(&server->handle_count),
        .loans = get(&server->loan_count),
        .recalls = get(&server->recall_count),
        .epochs = get(&server->epoch_count),
    };
    for (uint32_t i = 0; i < atomic_load(&server->lane_count); i++) {
        const struct lane_counters *lane = &server->lanes[i].counters;
        out->lane_reads += get(&lane->reads);
        out->lane_writes += get(&lane->writes);
        out->lane_read_bytes += get(&lane->read_bytes);
        out->lane_write_bytes += get(&lane->written_bytes);
        out->lane_errors += get(&lane->errors);
    }
}

void fuse_server_visit_files(const struct fuse_server *server,
                             void (*visit)(void *context, uint64_t inode, int flags), void *context)
{
    const struct fuse_handle *handle;
    LIST_FOREACH (handle, &server->handles, link)
        visit(context, handle->inode, handle->flags);
}
