// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/disk.h"
#include "tests/sim/ring3_faults.h"

// --- power -------------------------------------------------------------------------------------

static void comes_up(struct sequel *sequel)
{
    ring3_machine_power(sequel->machine, true);
}

static bool turn_off_for(struct ring3 *ring3, struct ring3_machine *machine, uint64_t for_ns)
{
    if (!machine->is_up)
        return false;
    ring3_machine_power(machine, false);
    ring3_later(ring3, machine, comes_up, for_ns);
    return true;
}

bool ring3_lose_power(struct ring3 *ring3, struct ring3_machine *machine)
{
    return turn_off_for(ring3, machine, ring3_fault_between(ring3, 200, 12000));
}

bool ring3_fault_power(struct ring3 *ring3, struct ring3_machine *machine)
{
    return ring3_lose_power(ring3, machine);
}

bool ring3_fault_restart(struct ring3 *ring3, struct ring3_machine *machine)
{
    return turn_off_for(ring3, machine, ring3_fault_between(ring3, 50, 900));
}

// `count` that are up lose their power, this one first. False: there are not so many.
static bool lose_several(struct ring3 *ring3, struct ring3_machine *machine, unsigned count)
{
    unsigned up = 0;
    for (unsigned i = 0; i < ring3->machine_count; i++)
        up += ring3->machines[i].is_up;
    if (up < count || !ring3_lose_power(ring3, machine))
        return false;
    for (count--; count > 0;)
        count -= ring3_lose_power(ring3, ring3_fault_machine(ring3));
    return true;
}

bool ring3_fault_two(struct ring3 *ring3, struct ring3_machine *machine)
{
    return lose_several(ring3, machine, 2);
}

bool ring3_fault_three(struct ring3 *ring3, struct ring3_machine *machine)
{
    return lose_several(ring3, machine, 3);
}

bool ring3_fault_all(struct ring3 *ring3, struct ring3_machine *machine)
{
    bool is_any = false;
    (void)machine;
    for (unsigned i = 0; i < ring3->machine_count; i++)
        is_any |= ring3_lose_power(ring3, &ring3->machines[i]);
    return is_any;
}

bool ring3_fault_lun(struct ring3 *ring3, struct ring3_machine *machine)
{
    struct ring3_life *life; // also those that have ended by themselves
    ring3_fault_all(ring3, machine);
    LIST_FOREACH (life, &ring3->lives, link) {
        sim_disk_stop(life->path);
        sim_disk_stop(life->beat_path);
    }
    ring3_trace(ring3, "the LUN loses its power");
    sim_disk_power_cut(ring3->disk);
    ring3->memories.cuts++;
    return true;
}

// --- workers -----------------------------------------------------------------------------------

bool ring3_fault_worker(struct ring3 *ring3, struct ring3_machine *machine)
{
    (void)ring3;
    if (machine->life == NULL)
        return false;
    ring3_life_kill(machine->life, false);
    return true;
}

static void die_with_slot(struct sequel *sequel)
{
    struct ring3_life *life = sequel->machine->life;
    sequel->again_in_ns = ring3_fault_between(sequel->ring3, 1, 60);
    if (life == NULL || life->incarnation == 0 ||
        (!life->is_mounted && ring3_fault_choose(sequel->ring3, 4) != 0))
        return;
    ring3_life_kill(life, false);
    ring3_machine_mount_in(sequel->machine, ring3_fault_between(sequel->ring3, 1, 300));
    if (--sequel->count == 0)
        sequel->again_in_ns = 0;
}

bool ring3_fault_reuse(struct ring3 *ring3, struct ring3_machine *machine)
{
    if (machine->life == NULL)
        return false;
    ring3_later(ring3, machine, die_with_slot, 1 * RING3_MS)->count =
        2 + (unsigned)ring3_fault_choose(ring3, 4);
    return true;
}

bool ring3_fault_pause(struct ring3 *ring3, struct ring3_machine *machine)
{
    uint64_t lease_ms = ring3->lease_ns / RING3_MS;
    if (machine->life == NULL)
        return false;
    uint64_t for_ns = ring3_fault_choose(ring3, 2) == 0
                          ? ring3_fault_between(ring3, 20, lease_ms)
                          : ring3_fault_between(ring3, lease_ms, 4 * lease_ms);
    ring3_life_pause(machine->life, ring3->world->now_ns + for_ns);
    return true;
}

// --- whoever replays -----------------------------------------------------------------------------

static void kill_recoverer(struct sequel *sequel)
{
    struct ring3 *ring3 = sequel->ring3;
    struct ring3_machine *machine = ring3_machine_that_replays(ring3);
    sequel->again_in_ns = --sequel->count > 0 ? 1 * RING3_MS : 0;
    if (machine == NULL || ring3_fault_choose(ring3, 8) != 0)
        return; // a little later
    sequel->again_in_ns = 0;
    if (ring3_fault_choose(ring3, 2) == 0)
        ring3_lose_power(ring3, machine);
    else
        ring3_life_kill(machine->life, false);
}

bool ring3_fault_recoverer(struct ring3 *ring3, struct ring3_machine *machine)
{
    if (!ring3_lose_power(ring3, machine))
        return false;
    ring3_later(ring3, NULL, kill_recoverer, 1 * RING3_MS)->count = 15000;
    return true;
}

// As soon as it may work on what the dead left.
static void leave_recoverer(struct sequel *sequel)
{
    struct ring3 *ring3 = sequel->ring3;
    sequel->again_in_ns = --sequel->count > 0 ? 1 * RING3_MS : 0;
    if (sequel->machine == NULL) {
        sequel->machine = ring3_machine_that_replays(ring3);
        return;
    }
    struct ring3_life *life = sequel->machine->life;
    if (life != NULL && ring3_life_replays(life))
        return;
    sequel->again_in_ns = 0;
    if (life != NULL)
        ring3_life_leave(life);
}

bool ring3_fault_leave(struct ring3 *ring3, struct ring3_machine *machine)
{
    if (machine->life == NULL || !machine->life->is_mounted)
        return false;
    if (ring3_fault_choose(ring3, 2) == 0)
        ring3_later(ring3, NULL, leave_recoverer, 1 * RING3_MS)->count = 15000;
    else
        ring3_life_leave(machine->life);
    return true;
}

// --- clocks --------------------------------------------------------------------------------------

bool ring3_fault_clock(struct ring3 *ring3, struct ring3_machine *machine)
{
    ring3_machine_set_clock(machine, (int64_t)ring3_fault_between(ring3, 0, 2000000) -
                                         (int64_t)(1000000 * RING3_MS));
    return true;
}

bool ring3_fault_drift(struct ring3 *ring3, struct ring3_machine *machine)
{
    ring3_machine_set_rate(machine,
                           RING3_CLOCK_RATE_LEAST + ring3_fault_choose(ring3, RING3_CLOCK_RATES));
    return true;
}
