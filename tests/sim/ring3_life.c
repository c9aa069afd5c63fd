// SPDX-License-Identifier: Apache-2.0
// A life of a node, from mount to umount or to its death, as fs/worker.c leads it: the same calls
// in the same order, with the simulator's clients where the front ends stand.
//
// When its process is killed, the path to the LUN is stopped first, so that nothing of what follows
// reaches anybody: operations fail, coroutines unwind, memory is given back. What it had in flight
// lands late or not at all, whatever becomes of the machine.
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/base/check.h"
#include "fs/base/coroutine.h"
#include "fs/base/error.h"
#include "fs/base/sabotage.h"
#include "fs/base/text.h"
#include "fs/cluster_state.h"
#include "fs/dlm_service.h"
#include "fs/gated_device.h"
#include "fs/inode_table.h"
#include "fs/operation.h"
#include "fs/recovery.h"
#include "fs/volume.h"
#include "tests/sim/disk.h"
#include "tests/sim/ring3.h"

static struct environment *environment_of(struct ring3_life *life)
{
    return &life->world_node.environment;
}

void ring3_life_moved(struct ring3_life *life)
{
    wait_queue_wake_all(life->ring3->scheduler, &life->moved);
}

static void write_log(struct log *log, enum log_level level, int code, const char *line)
{
    struct ring3_life *life = ((struct ring3_log *)log)->life;
    ring3_trace(life->ring3, "life %u: log %d LUNFS-%d: %s", life->number, (int)level, code, line);
    if (level != LOG_LEVEL_ERROR || life->is_killed)
        return;
    if (life->error_count++ == 0)
        text_copy(life->first_error, sizeof(life->first_error), line);
}

// --- failing -----------------------------------------------------------------------------------

static void drain(void *argument)
{
    struct ring3_life *life = argument;
    while (gated_device_in_flight(life->gated) > 0 || gated_device_in_flight(life->recovery) > 0 ||
           (life->cluster != NULL && cluster_is_writing(life->cluster)) ||
           (life->volume->inodes != NULL && !inode_table_is_drained(life->volume->inodes)))
        environment_sleep(environment_of(life), 20 * RING3_MS);
    life->is_drained = true;
    if (life->cluster != NULL && !life->is_killed)
        cluster_volume_drained(life->cluster);
    life->is_draining = false;
    ring3_life_moved(life);
}

// What it has answered may be lost from now on, and it answers no more.
void ring3_life_mark_dead(struct ring3_life *life)
{
    if (!life->memory.is_dead)
        life->ring3->deaths++;
    ring3_memory_end(&life->memory);
}

static void volume_failed(void *context, int error)
{
    struct ring3_life *life = context;
    ring3_life_mark_dead(life);
    if (life->cluster != NULL)
        cluster_volume_failed(life->cluster);
    if (life->range_locks != NULL && !SABOTAGE(cluster_ranges_unanswered))
        dlm_service_range_fail(cluster_locks(life->cluster), error);
    if (life->is_draining)
        return;
    life->is_draining = true;
    gated_device_gate_moved(life->gated);
    gated_device_gate_moved(life->recovery);
    coroutine_start(life->ring3->scheduler, "drain", drain, life);
    ring3_life_moved(life);
}

static void member_ended(void *context, int error)
{
    (void)error;
    ring3_life_moved(context);
}

// --- starting ------------------------------------------------------------------------------------

static void open_device(struct ring3_life *life)
{
    char name[24];
    snprintf(name, sizeof(name), "life %u", life->number);
    life->path = sim_disk_attach(life->ring3->disk, name);
    life->beat_path = sim_disk_attach(life->ring3->disk, name);
    sim_disk_write_through(life->beat_path);
    ring3_machine_apply_path(life);
    life->description = ring3_machine_open_lun(life->machine);
    life->gated = gated_device_new(life->path, &life->gate, environment_of(life), GATED_ORDINARY);
    life->recovery =
        gated_device_new(life->path, &life->gate, environment_of(life), GATED_RECOVERY);
}

static int make_volume(struct ring3_life *life)
{
    int result =
        volume_read_geometry(life->path, life->ring3->scheduler, &life->log.log, &life->geometry);
    if (result != 0)
        return result;
    life->volume = volume_new(&(struct volume_config){
        .environment = environment_of(life),
        .device = life->gated,
        .recovery_device = life->recovery,
        .log = &life->log.log,
        .gate = &life->gate,
        .geometry = life->geometry,
        .failed = volume_failed,
        .context = life,
    });
    return 0;
}

static int join(struct ring3_life *life)
{
    struct cluster_config config = {
        .environment = environment_of(life),
        .log = &life->log.log,
        .volume = life->volume,
        .device = life->path,
        .gated_device = life->gated,
        .descriptor = life->description,
        .guard_socket = ring3_guard_socket(life->guard),
        .has_fence_command = life->ring3->has_fence_command,
        .allows_lease = true,
        .lease = life->lease,
        .context = life,
        .ended = member_ended,
    };
    life->cluster = cluster_new(&config);
    return cluster_join(life->cluster);
}

static void wake_core(void *context)
{
    struct ring3_life *life = context;
    inode_table_drained(life->volume->inodes);
}

static void finish_orphans(struct ring3_life *life)
{
    for (uint32_t slot = 0; slot < life->geometry.slot_count; slot++) {
        if (cluster_is_founder(life->cluster) || slot == life->volume->slot)
            recovery_orphans(life->volume, slot);
    }
}

static int start(struct ring3_life *life)
{
    struct geometry now;
    int result = volume_read_geometry(life->path, life->ring3->scheduler, &life->log.log, &now);
    if (result == 0)
        result = volume_start(life->volume, cluster_slot(life->cluster),
                              cluster_incarnation(life->cluster),
                              dlm_service_locks(cluster_locks(life->cluster)));
    if (result != 0)
        return result;
    inode_table_set_waker(life->volume->inodes, wake_core, life);
    ring3_ranges_start(life);
    finish_orphans(life);
    return volume_check(life->volume);
}

// --- ending --------------------------------------------------------------------------------------

static void release_handles(struct ring3_life *life)
{
    struct ring3_handle *handle;
    LIST_FOREACH (handle, &life->handles, link) {
        if (handle->open != NULL)
            operation_release(life->volume, handle->open);
        handle->open = NULL;
    }
}

static void wait_for_users(struct ring3_life *life)
{
    while (life->user_count > 0)
        wait_queue_wait(life->ring3->scheduler, &life->moved);
    release_handles(life);
}

static void leave(struct ring3_life *life)
{
    struct volume *volume = life->volume;
    int result = 0;
    if (life->cluster != NULL)
        cluster_volume_stops(life->cluster);
    if (volume->failure == 0 && volume->inodes != NULL)
        result = volume_stop(volume);
    if (result != 0 && volume->failure == 0)
        volume_fail(volume, result, "unmounting");
    while (life->is_draining)
        wait_queue_wait(life->ring3->scheduler, &life->moved);
    bool is_clean = volume->failure == 0;
    if (!is_clean)
        volume_abandon(volume);
    else
        life->memory.durable = ring3_tick_next(&life->ring3->memories);
    ring3_ranges_stop(life);
    ring3_memory_end(&life->memory);
    if (life->cluster != NULL && is_clean)
        result = cluster_leave(life->cluster);
    else if (life->cluster != NULL)
        cluster_abandon(life->cluster);
    life->has_left = is_clean && result == 0;
    life->cluster = NULL;
    while (life->is_draining) // it failed while it left
        wait_queue_wait(life->ring3->scheduler, &life->moved);
    volume_free(volume);
    life->volume = NULL;
}

// Coroutines may still be on their way out of what they waited for in the device.
static void close_device(struct ring3_life *life)
{
    block_device_close(life->gated);
    block_device_close(life->recovery);
    life->gated = life->recovery = NULL;
}

static void over(struct ring3_life *life)
{
    struct ring3_machine *machine = life->machine;
    ring3_trace(life->ring3, "life %u is over%s", life->number, life->has_left ? ", cleanly" : "");
    life->is_over = true;
    ring3_memory_end(&life->memory);
    world_node_stop(&life->world_node);
    if (!life->is_killed) {
        sim_disk_stop(life->path); // the process is gone
        sim_disk_stop(life->beat_path);
    }
    ring3_life_close_if_drained(life);
    if (machine->life == life) {
        machine->life = NULL;
        ring3_machine_mount_in(machine,
                               ring3_between(life->ring3, 200 * RING3_MS, 3000 * RING3_MS));
    }
    ring3_guard_poke(life->guard);
}

// Until somebody unmounts it. One that has failed stays until its cluster has gone on without it:
// the others must not need an administrator for that.
static void wait_for_umount(struct ring3_life *life)
{
    while (!life->wants_leave && life->cluster->failure == 0) {
        wait_queue_wait(life->ring3->scheduler, &life->moved);
        if (life->volume->failure != 0)
            life->is_mounted = false;
    }
}

static void live(void *argument)
{
    struct ring3_life *life = argument;
    int result = make_volume(life);
    if (result == 0)
        result = join(life);
    if (result != 0 && life->cluster != NULL) { // given back before anybody is told
        struct cluster *cluster = life->cluster;
        life->cluster = NULL;
        cluster_abandon(cluster);
    } else if (result == 0) {
        result = start(life);
    }
    life->is_mounted = result == 0 && !life->is_killed;
    if (life->is_mounted)
        ring3_trace(life->ring3, "life %u is mounted in slot %u", life->number, life->volume->slot);
    if (result == 0)
        wait_for_umount(life);
    life->is_mounted = false;
    if (life->volume != NULL) {
        wait_for_users(life);
        leave(life);
    }
    close_device(life);
    over(life);
}

static void wake(struct world_event *event)
{
    struct ring3_life *life =
        (struct ring3_life *)(void *)((char *)event - offsetof(struct ring3_life, wake));
    ring3_trace(life->ring3, "life %u goes on", life->number);
    ring3_life_goes_on(life);
}

void ring3_life_start(struct ring3_machine *machine)
{
    struct ring3 *ring3 = machine->ring3;
    struct ring3_life *life = calloc(1, sizeof(*life));
    CHECK(life != NULL && machine->life == NULL);
    life->ring3 = ring3;
    life->machine = machine;
    life->number = (unsigned)++ring3->result.lives;
    life->pid = ++machine->last_pid;
    life->lease = lease_config_of(ring3->lease_ns, ring3->io_max_ns);
    life->log = (struct ring3_log){.log = {LOG_LEVEL_NOTICE, write_log}, .life = life};
    world_node_init(&life->world_node, ring3->world);
    life->world_node.clock_base_ns = machine->clock_base_ns;
    life->world_node.clock_rate = machine->clock_rate;
    life->world_node.wall_offset_ns = machine->wall_offset_ns;
    gate_init(&life->gate);
    wait_queue_init(&life->moved);
    life->wake.fire = wake;
    LIST_INIT(&life->handles);
    LIST_INIT(&life->lock_requests);
    ring3_memory_init(&life->memory, &ring3->memories, life->number);
    LIST_INSERT_HEAD(&ring3->lives, life, link);
    machine->life = life;
    ring3_trace(ring3, "life %u starts on n%u", life->number, machine->node_id);
    open_device(life);
    ring3_guard_start(life);
    coroutine_start(ring3->scheduler, "life", live, life);
}

void ring3_life_free(struct ring3_life *life)
{
    CHECK(life->is_over && LIST_EMPTY(&life->handles));
    ring3_guard_free(life->guard);
    ring3_ranges_free(life);
    block_device_close(life->path);
    block_device_close(life->beat_path);
    if (life->description >= 0)
        close(life->description);
    LIST_REMOVE(life, link);
    free(life);
}
