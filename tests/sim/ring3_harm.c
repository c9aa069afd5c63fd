// SPDX-License-Identifier: Apache-2.0
// What is done to a life from outside: it is killed, stopped, told to leave.
#include <errno.h>
#include <unistd.h>

#include "fs/cluster_state.h"
#include "fs/volume.h"
#include "tests/sim/disk.h"
#include "tests/sim/ring3.h"

void ring3_life_kill(struct ring3_life *life, bool with_machine)
{
    struct ring3_machine *machine = life->machine;
    if (life->is_killed || life->is_over)
        return;
    ring3_trace(life->ring3, "life %u is killed%s", life->number,
                with_machine ? " with its machine" : "");
    ring3_life_pause(life, 0);
    life->is_killed = true;
    life->is_mounted = false;
    ring3_life_mark_dead(life);
    machine->life = NULL;
    ring3_transport_life_gone(life, with_machine ? 2000 * RING3_MS : 1 * RING3_MS);
    if (!with_machine)
        ring3_totem_worker_gone(life);
    sim_disk_stop(life->path);
    sim_disk_stop(life->beat_path);
    if (life->heartbeat != NULL)
        ring3_heartbeat_kill(life->heartbeat);
    if (life->cluster != NULL)
        cluster_fail(life->cluster, -EIO, "its process is gone");
    else if (life->volume != NULL)
        volume_fail(life->volume, -EIO, "its process is gone");
    ring3_life_moved(life);
    ring3_guard_poke(life->guard);
    if (!with_machine)
        ring3_machine_mount_in(machine,
                               ring3_between(life->ring3, 200 * RING3_MS, 3000 * RING3_MS));
}

bool ring3_life_is_paused(const struct ring3_life *life)
{
    return life->world_node.paused_until_ns > life->ring3->world->now_ns;
}

void ring3_life_goes_on(struct ring3_life *life)
{
    ring3_totem_pause(life, false);
    ring3_transport_resume(life);
    world_node_set_rate(&life->world_node, life->world_node.clock_rate); // its timers come when due
}

void ring3_life_pause(struct ring3_life *life, uint64_t until_ns)
{
    bool is_paused = until_ns > life->ring3->world->now_ns;
    if (life->is_killed || life->is_over || (!is_paused && !ring3_life_is_paused(life)))
        return;
    ring3_trace(life->ring3, "life %u %s", life->number, is_paused ? "is stopped" : "goes on");
    life->world_node.paused_until_ns = until_ns;
    sim_disk_pause(life->path, until_ns);
    sim_disk_pause(life->beat_path, until_ns);
    if (is_paused) {
        ring3_totem_pause(life, true);
        world_event_arm(life->ring3->world, &life->wake, until_ns);
    } else {
        world_event_disarm(life->ring3->world, &life->wake);
        ring3_life_goes_on(life);
    }
}

// Writes land, and nobody says so until then.
void ring3_life_stall(struct ring3_life *life, uint64_t until_ns)
{
    if (life->is_killed || life->is_over || ring3_life_is_paused(life))
        return;
    ring3_trace(life->ring3, "life %u: the LUN does not answer", life->number);
    sim_disk_pause(life->path, until_ns);
    sim_disk_pause(life->beat_path, until_ns);
}

void ring3_life_leave(struct ring3_life *life)
{
    if (!life->is_mounted)
        return;
    ring3_trace(life->ring3, "life %u is to leave", life->number);
    life->wants_leave = true;
    life->is_mounted = false;
    ring3_life_moved(life);
}

// What it answers meanwhile counts as before: who asks again asks another life.
void ring3_life_doubt(struct ring3_life *life)
{
    life->ring3->deaths++;
    ring3_life_leave(life);
}

void ring3_life_close_if_drained(struct ring3_life *life)
{
    bool is_drained =
        sim_disk_in_flight(life->path) == 0 && sim_disk_in_flight(life->beat_path) == 0;
    if (life->description < 0 || (!life->is_killed && !life->is_over) ||
        (life->machine->is_up && !is_drained))
        return;
    close(life->description);
    life->description = -1;
}

void ring3_lives_drain(struct ring3 *ring3, uint32_t node_id)
{
    struct ring3_life *life;
    LIST_FOREACH (life, &ring3->lives, link) {
        if (life->machine->node_id != node_id || !life->is_killed)
            continue;
        sim_disk_fence(life->path);
        sim_disk_fence(life->beat_path);
        ring3_life_close_if_drained(life);
    }
}
