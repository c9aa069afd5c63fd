// SPDX-License-Identifier: Apache-2.0
// One coroutine tells the life of a mount from top to bottom: open, join, start, serve, leave.
//
//   device ─► gate in front of it ─► volume (new) ─► cluster | solo | alone: slot, first view
//          ─► volume started ─► orphans ─► FUSE ─► live ... umount ─► volume stopped ─► left
#include "fs/worker.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/base/block_device_aio.h"
#include "fs/base/check.h"
#include "fs/base/coroutine.h"
#include "fs/base/environment_event.h"
#include "fs/base/error.h"
#include "fs/base/sabotage.h"
#include "fs/base/text.h"
#include "fs/cache.h"
#include "fs/cluster.h"
#include "fs/control_server.h"
#include "fs/dlm_service.h"
#include "fs/fuse_server.h"
#include "fs/gated_device.h"
#include "fs/guard.h"
#include "fs/guard_helper.h"
#include "fs/inode_table.h"
#include "fs/log_daemon.h"
#include "fs/range_locks_dlm.h"
#include "fs/recovery.h"
#include "fs/run_lock.h"
#include "fs/scrubber.h"
#include "fs/solo.h"
#include "fs/startup.h"
#include "fs/status.h"
#include "fs/volume.h"

enum { LANES_MAX = 16, DRAIN_POLL_NS = 20 * 1000 * 1000 };

// Remembers the last error line until the mount is live: it is what the user is told.
struct log_tap {
    struct log log; // first
    struct log *target;
    char last_error[200];
};

struct worker {
    const struct worker_context *context;
    struct log_tap log;
    struct scheduler *scheduler;
    struct environment *environment;
    struct block_device *device;
    struct block_device *gated;
    struct block_device *recovery; // the gated device of journal replay
    struct environment_watch *device_watch;
    struct geometry geometry;
    struct lease_config lease;
    bool allows_lease;
    struct volume *volume;
    struct cluster *cluster;   // one of these three
    struct solo *solo;         //
    struct dlm_service *alone; //
    struct range_locks *range_locks;
    struct scrubber *scrubber;
    struct fuse_server *fuse;
    struct control_server *control;
    struct status_source status;
    struct environment_post drained_post;
    atomic_flag drained_posted;
    struct wait_queue moved;
    bool is_live;
    bool fuse_ended;
    bool is_draining; // a coroutine waits for the last I/O after a failure
    int exit_code;
};

static void worker_moved(struct worker *worker)
{
    wait_queue_wake_all(worker->scheduler, &worker->moved);
}

// --- log -------------------------------------------------------------------------------------

static void tap_write(struct log *log, enum log_level level, int code, const char *line)
{
    struct log_tap *tap = (struct log_tap *)log;
    if (level == LOG_LEVEL_ERROR)
        text_copy(tap->last_error, sizeof(tap->last_error), line);
    tap->target->write(tap->target, level, code, line);
}

static void tap_init(struct log_tap *tap, struct log *target)
{
    tap->target = target;
    tap->log = (struct log){.level_max = target->level_max, .write = tap_write};
}

// --- the device ------------------------------------------------------------------------------

static void device_ready(void *argument, unsigned what)
{
    struct worker *worker = argument;
    (void)what;
    block_device_aio_reap(worker->device);
}

// How long others must wait for our last writes, and we for theirs (rule 10).
static void set_lease(struct worker *worker)
{
    const struct mount_options *options = worker->context->options;
    const struct device_timeouts timeouts = worker->context->device->timeouts;
    worker->lease =
        lease_config_of((uint64_t)options->lease_ms * 1000000, timeouts.io_max_ms * 1000000);
    worker->lease.beat_ns = (uint64_t)options->beat_ms * 1000000;
    worker->allows_lease = timeouts.is_bounded || options->allow_unbounded;
    log_notice(&worker->log.log,
               "%s: %s, %s cache; beat %u ms, lease %u ms, drift %llu ms, I/O at most %llu ms (%s)",
               worker->context->device->path, worker->context->device->layers,
               worker->device->has_volatile_cache ? "volatile" : "no volatile", options->beat_ms,
               options->lease_ms, (unsigned long long)worker->lease.drift_ns / 1000000,
               (unsigned long long)timeouts.io_max_ms,
               timeouts.is_bounded ? "bounded" : "not bounded");
    if (timeouts.io_max_ms > options->lease_ms || !timeouts.is_bounded)
        log_warning(&worker->log.log,
                    "%s: its timeouts are longer than the lease: fencing by lease waits %llu s%s",
                    worker->context->device->path, (unsigned long long)timeouts.io_max_ms / 1000,
                    worker->allows_lease ? "" : " would not be safe and is off (lease-unsafe)");
}

static int open_device(struct worker *worker)
{
    unsigned flags = worker->context->options->no_recovery ? BLOCK_DEVICE_READ_ONLY : 0;
    int result = block_device_aio_open(worker->context->device->path, flags, &worker->device);
    if (result != 0) {
        log_error(&worker->log.log, 0, "%s: %s", worker->context->device->path, error_text(result));
        return result;
    }
    worker->device_watch =
        environment_event_watch_fd(worker->environment, block_device_aio_event_fd(worker->device),
                                   ENVIRONMENT_READABLE, device_ready, worker);
    struct gate *gate = &worker->context->page->gate;
    worker->gated = gated_device_new(worker->device, gate, worker->environment, GATED_ORDINARY);
    worker->recovery = gated_device_new(worker->device, gate, worker->environment, GATED_RECOVERY);
    set_lease(worker);
    return 0;
}

static void close_device(struct worker *worker)
{
    if (worker->device == NULL)
        return;
    block_device_close(worker->gated);
    block_device_close(worker->recovery);
    environment_event_unwatch(worker->device_watch);
    block_device_close(worker->device);
}

// --- a failure while mounted -------------------------------------------------------------------

static struct dlm_service *locks_of(struct worker *worker)
{
    if (worker->cluster != NULL)
        return cluster_locks(worker->cluster);
    return worker->solo != NULL ? solo_locks(worker->solo) : worker->alone;
}

// Tells the guard when nothing of ours can reach the LUN any more: then the process may stay and
// answer EIO until it is unmounted; else it is killed before the lease ends.
static void drain(void *argument)
{
    struct worker *worker = argument;
    while (gated_device_in_flight(worker->gated) > 0 ||
           gated_device_in_flight(worker->recovery) > 0 ||
           (worker->cluster != NULL && cluster_is_writing(worker->cluster)) ||
           (worker->volume->inodes != NULL && !inode_table_is_drained(worker->volume->inodes)))
        environment_sleep(worker->environment, DRAIN_POLL_NS);
    atomic_store(&worker->context->page->is_drained, true);
    if (worker->cluster != NULL)
        cluster_volume_drained(worker->cluster);
    worker->is_draining = false;
    worker_moved(worker);
}

static void volume_failed(void *context, int error)
{
    struct worker *worker = context;
    if (worker->cluster != NULL)
        cluster_volume_failed(worker->cluster);
    if (worker->range_locks != NULL && !SABOTAGE(cluster_ranges_unanswered))
        dlm_service_range_fail(locks_of(worker), error);
    if (worker->is_draining)
        return;
    worker->is_draining = true;
    gated_device_gate_moved(worker->gated);
    gated_device_gate_moved(worker->recovery);
    if (worker->fuse != NULL)
        fuse_server_drop_pages(worker->fuse);
    coroutine_start(worker->scheduler, "drain", drain, worker);
    worker_moved(worker);
}

// Waiting for the lease to run out would change nothing: it does not come back.
static void shut_out(void *context)
{
    struct worker *worker = context;
    if (worker->volume != NULL)
        volume_fail(worker->volume, -ERROR_SHUT_OUT, "I/O was refused");
}

static void member_ended(void *context, int error)
{
    (void)error;
    worker_moved(context);
}

// Metadata kept in memory: a sixteenth of the machine's, which leaves the rest to its VMs.
static uint64_t cache_bytes(const struct mount_options *options)
{
    const uint64_t least = CACHE_BYTES_DEFAULT, most = 4ull << 30;
    if (options->cache_bytes != 0)
        return options->cache_bytes;
    uint64_t share = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE) / 16;
    return share < least ? least : share > most ? most : share;
}

// --- joining ---------------------------------------------------------------------------------

static int make_volume(struct worker *worker)
{
    const struct mount_options *options = worker->context->options;
    int result = volume_read_geometry(worker->device, worker->scheduler, &worker->log.log,
                                      &worker->geometry);
    if (result != 0) {
        log_error(&worker->log.log, error_is_check(result) ? -result : 0, "%s: %s",
                  worker->context->device->path, error_text(result));
        return result;
    }
    worker->volume = volume_new(&(struct volume_config){
        .environment = worker->environment,
        .device = worker->gated,
        .recovery_device = worker->recovery,
        .log = &worker->log.log,
        .gate = &worker->context->page->gate,
        .options =
            {
                .read_only = options->is_read_only,
                .no_recovery = options->no_recovery,
                .is_local = options->is_local,
                .strict_atime = options->atime == MOUNT_STRICTATIME,
                .no_atime = options->atime == MOUNT_NOATIME,
                .cache_bytes = cache_bytes(options),
                .keep_pages = !options->is_direct && !options->no_recovery,
                .keep_names = options->keep_names,
            },
        .geometry = worker->geometry,
        .failed = volume_failed,
        .context = worker,
    });
    return 0;
}

static int join_cluster(struct worker *worker)
{
    struct cluster_config config = {
        .environment = worker->environment,
        .log = &worker->log.log,
        .volume = worker->volume,
        .device = worker->device,
        .gated_device = worker->gated,
        .descriptor = block_device_aio_opened(worker->device)->fd,
        .guard_socket = worker->context->guard_socket,
        .port = worker->context->options->port,
        .has_fence_command = worker->context->options->fence[0] != '\0',
        .allows_lease = worker->allows_lease,
        .lease = worker->lease,
        .context = worker,
        .ended = member_ended,
    };
    worker->cluster = cluster_new(&config);
    worker->status.cluster = worker->cluster; // whoever waits may ask what for
    return cluster_join(worker->cluster);
}

static int join_solo(struct worker *worker)
{
    struct solo_config config = {
        .environment = worker->environment,
        .log = &worker->log.log,
        .volume = worker->volume,
        .device = worker->device,
        .gated_device = worker->gated,
        .descriptor = block_device_aio_opened(worker->device)->fd,
        .guard_socket = worker->context->guard_socket,
        .lease = worker->lease,
        .context = worker,
        .ended = member_ended,
    };
    worker->solo = solo_new(&config);
    worker->status.solo = worker->solo;
    return solo_join(worker->solo);
}

// Looks at what is there, however old it gets: no slot, no lease, nothing is written.
static int join_alone(struct worker *worker)
{
    struct gate *gate = &worker->context->page->gate;
    worker->alone = solo_locks_alone(worker->volume);
    atomic_store(&gate->lease_until_ns, UINT64_MAX);
    atomic_store(&gate->state, GATE_RUNNING);
    return 0;
}

static int join(struct worker *worker)
{
    if (worker->context->options->no_recovery)
        return join_alone(worker);
    if (worker->context->options->is_local)
        return join_solo(worker);
    return join_cluster(worker);
}

// What was begun is given back before anybody is told that it failed.
static void abandon_join(struct worker *worker)
{
    struct cluster *cluster = worker->cluster;
    struct solo *solo = worker->solo;
    worker->status.cluster = worker->cluster = NULL;
    worker->status.solo = worker->solo = NULL;
    if (cluster != NULL)
        cluster_abandon(cluster);
    if (solo != NULL)
        solo_abandon(solo);
}

// --- starting --------------------------------------------------------------------------------

static void drained_on_core(struct environment_post *post)
{
    struct worker *worker =
        (struct worker *)(void *)((char *)post - offsetof(struct worker, drained_post));
    atomic_flag_clear(&worker->drained_posted);
    if (worker->volume->inodes != NULL)
        inode_table_drained(worker->volume->inodes);
}

// Lanes' threads: several may drain before the core has looked once.
static void wake_core(void *context)
{
    struct worker *worker = context;
    if (!atomic_flag_test_and_set(&worker->drained_posted))
        environment_event_post(worker->environment, &worker->drained_post);
}

static int start_volume(struct worker *worker)
{
    uint32_t slot = 0;
    uint64_t incarnation = 1;
    uint32_t node_id = 1;
    if (worker->cluster != NULL) {
        slot = cluster_slot(worker->cluster);
        incarnation = cluster_incarnation(worker->cluster);
        node_id = cluster_node_id(worker->cluster);
    } else if (worker->solo != NULL) {
        slot = solo_slot(worker->solo);
        incarnation = solo_incarnation(worker->solo);
    }
    int result =
        volume_start(worker->volume, slot, incarnation, dlm_service_locks(locks_of(worker)));
    if (result != 0) {
        log_error(&worker->log.log, error_is_check(result) ? -result : 0,
                  "%s: the journal of slot %u: %s", worker->context->device->path, slot,
                  error_text(result));
        return result;
    }
    worker->drained_post.function = drained_on_core;
    inode_table_set_waker(worker->volume->inodes, wake_core, worker);
    gated_device_on_conflict(worker->gated, shut_out, worker);
    gated_device_on_conflict(worker->recovery, shut_out, worker);
    worker->range_locks = range_locks_dlm_new(locks_of(worker), node_id);
    worker->scrubber = scrubber_new(worker->volume);
    worker->status.locks = locks_of(worker);
    worker->status.scrubber = worker->scrubber;
    return 0;
}

// Whoever comes first finishes what all slots' last users left; else each its own slot's.
static void finish_orphans(struct worker *worker)
{
    bool is_first =
        worker->solo != NULL || (worker->cluster != NULL && cluster_is_founder(worker->cluster));
    if (worker->volume->journal == NULL)
        return;
    for (uint32_t slot = 0; slot < worker->geometry.slot_count; slot++) {
        if (is_first || slot == worker->volume->slot)
            recovery_orphans(worker->volume, slot);
    }
}

static uint32_t lane_count(const struct mount_options *options)
{
    if (options->lanes > 0)
        return options->lanes;
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    long lanes = cpus * 4;
    return lanes < 4 ? 4 : lanes > LANES_MAX ? LANES_MAX : (uint32_t)lanes;
}

static void fuse_is_live(void *context)
{
    struct worker *worker = context;
    worker->is_live = true;
    startup_send(worker->context->report_descriptor, MOUNT_EXIT_OK, "mounted");
    log_notice(&worker->log.log, "mounted %s in slot %u", worker->context->device->path,
               worker->volume->slot);
}

static void fuse_has_ended(void *context)
{
    struct worker *worker = context;
    worker->fuse_ended = true;
    worker_moved(worker);
}

static int start_fuse(struct worker *worker)
{
    struct fuse_server_config config = {
        .volume = worker->volume,
        .range_locks = worker->range_locks,
        .lun_descriptor = block_device_aio_opened(worker->device)->fd,
        .directory = worker->context->directory,
        .lane_count = lane_count(worker->context->options),
        .live = fuse_is_live,
        .ended = fuse_has_ended,
        .context = worker,
    };
    int socket = worker->context->helper_socket;
    int result = guard_helper_mount(socket, &config.descriptor, &config.connection);
    if (result == 0) {
        result = fuse_server_start(&config, &worker->fuse);
        if (result != 0)
            guard_helper_unmount(socket);
    }
    if (result != 0) {
        log_error(&worker->log.log, 0, "mounting at %s: %s", worker->context->directory,
                  error_text(result));
        return result;
    }
    worker->status.fuse = worker->fuse;
    atomic_store(&worker->context->page->connection, fuse_server_connection(worker->fuse));
    return 0;
}

// The mount is good without it: only `lunfs` could not ask.
static void start_control(struct worker *worker)
{
    char path[RUN_PATH_BYTES];
    run_path(worker->geometry.format_id, CONTROL_SOCKET_SUFFIX, path);
    worker->status = (struct status_source){
        .volume = worker->volume,
        .device = worker->context->device->path,
        .directory = worker->context->directory,
        .options = worker->context->options,
        .log = worker->context->log,
    };
    int result = control_server_start(
        &(struct control_server_config){
            .environment = worker->environment,
            .log = &worker->log.log,
            .path = path,
            .handle = status_handle,
            .context = &worker->status,
        },
        &worker->control);
    if (result != 0)
        log_warning(&worker->log.log, "the control socket %s: %s", path, error_text(result));
}

// Now that nobody else can change it: a repair may have begun, and been cut off, since the first
// look. Who does not know a feature that is read-only compatible may read.
static int check_state(struct worker *worker)
{
    struct geometry now;
    int result = volume_read_geometry(worker->device, worker->scheduler, &worker->log.log, &now);
    bool was_cut_off = result == 0 && (now.state & SUPERBLOCK_STATE_NEEDS_FSCK) != 0;
    if (was_cut_off && !worker->context->options->no_recovery)
        result = -ERROR_VOLUME_NEEDS_FSCK;
    bool has_unknown = (now.feature_ro_compat & ~FEATURE_RO_COMPAT_KNOWN) != 0;
    if (result == 0 && has_unknown && !worker->context->options->is_read_only)
        result = -ERROR_SUPERBLOCK_FEATURE;
    if (result != 0)
        log_error(&worker->log.log, error_is_check(result) ? -result : 0, "%s: %s",
                  worker->context->device->path, error_text(result));
    return result;
}

static int start(struct worker *worker)
{
    int result = check_state(worker);
    if (result != 0)
        return result;
    result = start_volume(worker);
    if (result != 0)
        return result;
    finish_orphans(worker);
    result = volume_check(worker->volume);
    if (result == 0)
        result = start_fuse(worker);
    return result;
}

// --- the end ---------------------------------------------------------------------------------

static void wait_for_fuse(struct worker *worker)
{
    while (!worker->fuse_ended)
        wait_queue_wait(worker->scheduler, &worker->moved);
    worker->status.fuse = NULL;
    fuse_server_free(worker->fuse);
    worker->fuse = NULL;
}

static void wait_for_drain(struct worker *worker)
{
    while (worker->is_draining)
        wait_queue_wait(worker->scheduler, &worker->moved);
}

static void leave(struct worker *worker)
{
    int result = 0;
    worker->status.scrubber = NULL;
    if (worker->scrubber != NULL)
        scrubber_stop(worker->scrubber);
    if (worker->cluster != NULL)
        cluster_volume_stops(worker->cluster);
    if (worker->volume->failure == 0 && worker->volume->inodes != NULL)
        result = volume_stop(worker->volume);
    if (result != 0 && worker->volume->failure == 0)
        volume_fail(worker->volume, result, "unmounting");
    wait_for_drain(worker);
    bool is_clean = worker->volume->failure == 0;
    if (!is_clean)
        volume_abandon(worker->volume);
    range_locks_dlm_free(worker->range_locks);
    worker->range_locks = NULL;
    scrubber_free(worker->scrubber);
    if (worker->cluster != NULL && is_clean)
        result = cluster_leave(worker->cluster);
    else if (worker->cluster != NULL)
        cluster_abandon(worker->cluster);
    worker->status.cluster = worker->cluster = NULL;
    if (worker->solo != NULL && is_clean)
        result = solo_leave(worker->solo);
    else if (worker->solo != NULL)
        solo_abandon(worker->solo);
    if (worker->alone != NULL)
        dlm_service_free(worker->alone);
    if (!is_clean || result != 0)
        worker->exit_code = MOUNT_EXIT_FAILURE;
    else if (worker->is_live)
        log_notice(&worker->log.log, "left cleanly");
}

static void report_failure(struct worker *worker, int result)
{
    const char *why =
        worker->log.last_error[0] != '\0' ? worker->log.last_error : error_text(result);
    startup_send(worker->context->report_descriptor, MOUNT_EXIT_FAILURE, "%s", why);
    worker->exit_code = MOUNT_EXIT_FAILURE;
}

static void live(void *argument)
{
    struct worker *worker = argument;
    int result = open_device(worker);
    if (result == 0)
        result = make_volume(worker);
    if (result == 0) {
        start_control(worker);
        result = join(worker);
    }
    if (result != 0)
        abandon_join(worker);
    else
        result = start(worker);
    if (result == 0)
        wait_for_fuse(worker);
    else
        report_failure(worker, result);
    control_server_free(worker->control);
    if (worker->volume != NULL) {
        leave(worker);
        volume_free(worker->volume);
    }
    close_device(worker);
    environment_event_stop(worker->environment);
}

int worker_run(const struct worker_context *context)
{
    struct worker *worker = calloc(1, sizeof(*worker));
    CHECK(worker != NULL);
    worker->context = context;
    int result = log_daemon_start(context->log);
    if (result != 0) {
        startup_send(context->report_descriptor, MOUNT_EXIT_SYSTEM, "starting a thread: %s",
                     error_text(result));
        free(worker);
        return MOUNT_EXIT_SYSTEM;
    }
    tap_init(&worker->log, log_daemon_log(context->log));
    worker->scheduler = scheduler_new();
    worker->environment = environment_event_new(worker->scheduler);
    wait_queue_init(&worker->moved);
    gate_init(&context->page->gate);
    coroutine_start(worker->scheduler, "mount", live, worker);
    environment_event_run(worker->environment);
    environment_event_free(worker->environment);
    scheduler_free(worker->scheduler);
    int exit_code = worker->exit_code;
    free(worker);
    return exit_code;
}
