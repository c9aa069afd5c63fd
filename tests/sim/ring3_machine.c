// SPDX-License-Identifier: Apache-2.0
// Machines: power, the network between them, and when the next mount is tried.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fs/base/check.h"
#include "tests/sim/disk.h"
#include "tests/sim/ring3.h"

#define TOKEN_NS (1000 * RING3_MS)

struct ring3_machine *ring3_machine_of(struct ring3 *ring3, uint32_t node_id)
{
    CHECK(node_id >= 1 && node_id <= ring3->machine_count);
    return &ring3->machines[node_id - 1];
}

bool ring3_machines_reach(const struct ring3_machine *a, const struct ring3_machine *b)
{
    return a->is_up && b->is_up && a->component == b->component;
}

bool ring3_machine_hears(const struct ring3_machine *machine, const struct ring3_machine *from)
{
    return ring3_machines_reach(machine, from) && !(machine->deaf_to >> from->node_id & 1);
}

int ring3_machine_open_lun(const struct ring3_machine *machine)
{
    char path[40];
    snprintf(path, sizeof(path), "/proc/self/fd/%d", machine->lun);
    int descriptor = open(path, O_RDWR | O_CLOEXEC);
    CHECK(descriptor >= 0);
    return descriptor;
}

// --- the network -----------------------------------------------------------------------------

static void reform(struct world_event *event)
{
    struct ring3 *ring3 = (struct ring3 *)(void *)((char *)event - offsetof(struct ring3, reform));
    ring3_totem_reform(ring3);
}

void ring3_network_reform_in(struct ring3 *ring3, uint64_t in_ns)
{
    ring3->reform.fire = reform;
    ring3_arm_in(ring3, &ring3->reform, in_ns);
}

void ring3_network_set(struct ring3 *ring3, const unsigned *component)
{
    for (unsigned i = 0; i < ring3->machine_count; i++)
        ring3->machines[i].component = component[i];
    ring3_transport_network_changed(ring3);
    ring3_network_reform_in(ring3, TOKEN_NS + ring3_between(ring3, 0, 300 * RING3_MS));
}

void ring3_network_heal(struct ring3 *ring3)
{
    static const unsigned together[RING3_MACHINES_MAX];
    for (unsigned i = 0; i < ring3->machine_count; i++) {
        ring3->machines[i].deaf_to = 0;
        ring3->machines[i].delay_ns_max = 0;
    }
    ring3_network_set(ring3, together);
}

void ring3_network_deafen(struct ring3 *ring3, struct ring3_machine *machine,
                          const struct ring3_machine *to)
{
    machine->deaf_to = to != NULL ? 1u << to->node_id : 0;
    ring3_transport_network_changed(ring3);
}

void ring3_network_delay(struct ring3 *ring3, struct ring3_machine *machine, uint64_t delay_ns_max)
{
    (void)ring3;
    machine->delay_ns_max = delay_ns_max;
}

// --- the path to the LUN -----------------------------------------------------------------------

static void apply_path(struct ring3_life *life, struct block_device *device)
{
    const struct ring3_path *path = &life->machine->path;
    sim_disk_slow(device, path->slow_ns_max);
    sim_disk_set_fault(device, &(struct sim_disk_fault){.operations = path->failing,
                                                        .first = 0,
                                                        .last = UINT64_MAX,
                                                        .one_in = path->error_one_in,
                                                        .error = -EIO});
    life->had_errors |= path->failing != 0;
}

void ring3_machine_apply_path(struct ring3_life *life)
{
    apply_path(life, life->path);
    apply_path(life, life->beat_path);
}

void ring3_machine_set_path(struct ring3_machine *machine, const struct ring3_path *path)
{
    machine->path = *path;
    if (machine->life != NULL)
        ring3_machine_apply_path(machine->life);
}

// --- power -------------------------------------------------------------------------------------

static void turn_off(struct ring3_machine *machine)
{
    struct ring3 *ring3 = machine->ring3;
    struct ring3_life *life;
    ring3_trace(ring3, "n%u loses its power", machine->node_id);
    machine->is_up = false;
    world_event_disarm(ring3->world, &machine->mount);
    LIST_FOREACH (life, &ring3->lives, link) {
        if (life->machine != machine)
            continue;
        ring3_life_kill(life, true);
        ring3_guard_stop(life->guard);
        ring3_life_close_if_drained(life);
    }
    ring3_totem_machine(machine, false);
    ring3_network_reform_in(ring3, TOKEN_NS + ring3_between(ring3, 0, 300 * RING3_MS));
}

void ring3_machine_power(struct ring3_machine *machine, bool is_on)
{
    if (machine->is_up == is_on)
        return;
    if (!is_on) {
        turn_off(machine);
        return;
    }
    ring3_trace(machine->ring3, "n%u comes up", machine->node_id);
    machine->is_up = true;
    ring3_totem_machine(machine, true);
    ring3_network_reform_in(machine->ring3,
                            ring3_between(machine->ring3, 200 * RING3_MS, 900 * RING3_MS));
    ring3_machine_mount_in(machine, ring3_between(machine->ring3, 500 * RING3_MS, 2500 * RING3_MS));
}

void ring3_machine_set_clock(struct ring3_machine *machine, int64_t offset_ns)
{
    struct ring3_life *life;
    machine->wall_offset_ns = offset_ns;
    LIST_FOREACH (life, &machine->ring3->lives, link) {
        if (life->machine == machine)
            life->world_node.wall_offset_ns = offset_ns;
    }
}

void ring3_machine_set_rate(struct ring3_machine *machine, uint64_t clock_rate)
{
    struct ring3_life *life;
    uint64_t now_ns = machine->ring3->world->now_ns;
    machine->clock_base_ns += now_ns * machine->clock_rate / 1000 - now_ns * clock_rate / 1000;
    machine->clock_rate = clock_rate;
    LIST_FOREACH (life, &machine->ring3->lives, link) {
        if (life->machine == machine)
            world_node_set_rate(&life->world_node, clock_rate);
    }
}

// --- mounting ----------------------------------------------------------------------------------

static void mount(struct world_event *event)
{
    struct ring3_machine *machine =
        (struct ring3_machine *)(void *)((char *)event - offsetof(struct ring3_machine, mount));
    if (machine->is_up && machine->life == NULL && !machine->ring3->is_unmounting)
        ring3_life_start(machine);
}

void ring3_machine_mount_in(struct ring3_machine *machine, uint64_t in_ns)
{
    if (machine->is_up)
        ring3_arm_in(machine->ring3, &machine->mount, in_ns);
}

void ring3_machine_init(struct ring3 *ring3, uint32_t index)
{
    struct random *random = &ring3->world->random;
    struct ring3_machine *machine = &ring3->machines[index];
    *machine = (struct ring3_machine){
        .ring3 = ring3,
        .node_id = index + 1,
        .is_up = true,
        .clock_base_ns = (1 + random_below(random, 1000)) * 1000 * RING3_MS,
        .clock_rate = RING3_CLOCK_RATE_LEAST + random_below(random, RING3_CLOCK_RATES),
        .mount.fire = mount,
        .lun = memfd_create("lun", MFD_CLOEXEC),
    };
    CHECK(machine->lun >= 0);
    ring3_totem_machine(machine, true);
}

void ring3_machine_deinit(struct ring3_machine *machine)
{
    world_event_disarm(machine->ring3->world, &machine->mount);
    close(machine->lun);
}
