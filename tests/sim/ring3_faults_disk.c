// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/disk.h"
#include "tests/sim/ring3_faults.h"

#include <errno.h>

enum {
    ALL_OPERATIONS = 1u << BLOCK_READ | 1u << BLOCK_WRITE | 1u << BLOCK_FLUSH | 1u << BLOCK_DISCARD
};

static void path_is_well(struct sequel *sequel)
{
    ring3_machine_set_path(sequel->machine, &(struct ring3_path){0});
}

static bool spoil(struct ring3 *ring3, struct ring3_machine *machine, const struct ring3_path *path,
                  uint64_t for_ns)
{
    if (!machine->is_up || machine->path.error_one_in != 0 || machine->path.slow_ns_max != 0)
        return false;
    ring3_machine_set_path(machine, path);
    if (for_ns > 0)
        ring3_later(ring3, machine, path_is_well, for_ns);
    return true;
}

// --- late ----------------------------------------------------------------------------------------

bool ring3_fault_stall(struct ring3 *ring3, struct ring3_machine *machine)
{
    uint64_t most_ms = 2 * ring3->lease_ns / RING3_MS;
    if (machine->life == NULL)
        return false;
    ring3_life_stall(machine->life, ring3->world->now_ns + ring3_fault_between(ring3, 20, most_ms));
    return true;
}

// Slow enough that much is under way, and within what io_max allows for.
static uint64_t draw_slow_ns(struct ring3 *ring3)
{
    return ring3_fault_between(ring3, 2, ring3->late_ns_max / RING3_MS);
}

bool ring3_fault_slow(struct ring3 *ring3, struct ring3_machine *machine)
{
    struct ring3_path path = {.slow_ns_max = draw_slow_ns(ring3)};
    uint64_t for_ns = ring3_fault_between(ring3, 200, 6000);
    bool is_any = spoil(ring3, machine, &path, for_ns);
    for (unsigned i = 0; is_any && ring3_fault_choose(ring3, 3) == 0 && i < ring3->machine_count;
         i++)
        spoil(ring3, &ring3->machines[i], &path, for_ns);
    return is_any;
}

static void dies_with_writes(struct sequel *sequel)
{
    struct ring3_machine *machine = sequel->machine;
    struct ring3 *ring3 = sequel->ring3;
    bool has_writes = machine->life != NULL && sim_disk_in_flight(machine->life->path) > 0;
    if (!has_writes && --sequel->count > 0) {
        sequel->again_in_ns = 1 * RING3_MS;
        return;
    }
    ring3_machine_set_path(machine, &(struct ring3_path){0});
    if (machine->life == NULL)
        return;
    if (ring3_fault_choose(ring3, 2) == 0)
        ring3_lose_power(ring3, machine);
    else
        ring3_life_kill(machine->life, false);
}

bool ring3_fault_late(struct ring3 *ring3, struct ring3_machine *machine)
{
    struct ring3_path path = {.slow_ns_max = draw_slow_ns(ring3)};
    if (machine->life == NULL || !spoil(ring3, machine, &path, 0))
        return false;
    ring3_later(ring3, machine, dies_with_writes, ring3_fault_between(ring3, 1, 400))->count = 1000;
    return true;
}

// --- errors --------------------------------------------------------------------------------------

bool ring3_fault_eio(struct ring3 *ring3, struct ring3_machine *machine)
{
    static const uint32_t operations[] = {ALL_OPERATIONS, 1u << BLOCK_READ, 1u << BLOCK_WRITE,
                                          1u << BLOCK_FLUSH};
    struct ring3_path path = {
        .failing = operations[ring3_fault_choose(ring3, 4)],
        .error_one_in = 1 + (uint32_t)ring3_fault_choose(ring3, 20),
    };
    return spoil(ring3, machine, &path, ring3_fault_between(ring3, 1, 2000));
}

static const struct ring3_path no_path = {.failing = ALL_OPERATIONS, .error_one_in = 1};

// The others' waits are seen by their operations' bound; that it goes, here.
static void must_be_gone(struct sequel *sequel)
{
    struct ring3_machine *machine = sequel->machine;
    const struct ring3_life *life = machine->life;
    if (life != NULL && life->number == sequel->value && life->is_mounted)
        ring3_fail(sequel->ring3, "life %u is still mounted, and has no path to the LUN",
                   life->number);
}

bool ring3_fault_broken(struct ring3 *ring3, struct ring3_machine *machine)
{
    struct ring3_life *life = machine->life;
    if (life == NULL || !life->is_mounted || ring3_life_is_paused(life) ||
        !spoil(ring3, machine, &no_path, ring3_fault_between(ring3, 10000, 20000)))
        return false;
    ring3_trace(ring3, "n%u has no path to the LUN any more", machine->node_id);
    ring3_later(ring3, machine, must_be_gone, 2 * ring3->lease_ns + ring3->io_max_ns)->value =
        life->number;
    return true;
}

bool ring3_fault_vanish(struct ring3 *ring3, struct ring3_machine *machine)
{
    uint64_t for_ns = ring3_fault_between(ring3, 20, 3 * ring3->lease_ns / RING3_MS);
    if (!spoil(ring3, machine, &no_path, for_ns))
        return false;
    ring3_trace(ring3, "n%u: the LUN is gone", machine->node_id);
    return true;
}

bool ring3_fault_vanish_all(struct ring3 *ring3, struct ring3_machine *machine)
{
    uint64_t for_ns = ring3_fault_between(ring3, 20, 3 * ring3->lease_ns / RING3_MS);
    bool is_any = false;
    (void)machine;
    ring3_trace(ring3, "the LUN is gone");
    for (unsigned i = 0; i < ring3->machine_count; i++)
        is_any |= spoil(ring3, &ring3->machines[i], &no_path, for_ns);
    return is_any;
}
