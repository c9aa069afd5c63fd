// SPDX-License-Identifier: Apache-2.0
#include <stdlib.h>

#include "fs/base/check.h"
#include "tests/sim/disk.h"
#include "tests/sim/ring3.h"

static uint64_t choose(struct ring3 *ring3, uint64_t bound)
{
    return random_below(&ring3->fault_random, bound);
}

static uint64_t between(struct ring3 *ring3, uint64_t low_ms, uint64_t high_ms)
{
    return (low_ms + choose(ring3, high_ms - low_ms + 1)) * RING3_MS;
}

static struct ring3_machine *any_machine(struct ring3 *ring3)
{
    return &ring3->machines[choose(ring3, ring3->machine_count)];
}

// --- something later -------------------------------------------------------------------------

// What a fault does after a while; frees itself.
struct sequel {
    struct world_event event; // first
    struct ring3 *ring3;
    struct ring3_machine *machine;
    unsigned count;
    LIST_ENTRY(sequel) link;
    void (*act)(struct sequel *sequel); // may set `again_in_ns`
    uint64_t again_in_ns;
};

static void sequel_fires(struct world_event *event)
{
    struct sequel *sequel = (struct sequel *)event;
    sequel->again_in_ns = 0;
    sequel->act(sequel);
    if (sequel->again_in_ns > 0) {
        ring3_arm_in(sequel->ring3, event, sequel->again_in_ns);
        return;
    }
    LIST_REMOVE(sequel, link);
    free(sequel);
}

static struct sequel *later(struct ring3 *ring3, struct ring3_machine *machine,
                            void (*act)(struct sequel *sequel), uint64_t in_ns)
{
    struct sequel *sequel = calloc(1, sizeof(*sequel));
    CHECK(sequel != NULL);
    *sequel =
        (struct sequel){.event.fire = sequel_fires, .ring3 = ring3, .machine = machine, .act = act};
    LIST_INSERT_HEAD(&ring3->sequels, sequel, link);
    ring3_arm_in(ring3, &sequel->event, in_ns);
    return sequel;
}

void ring3_faults_end(struct ring3 *ring3)
{
    struct sequel *sequel;
    world_event_disarm(ring3->world, &ring3->fault);
    while ((sequel = LIST_FIRST(&ring3->sequels)) != NULL) {
        world_event_disarm(ring3->world, &sequel->event);
        LIST_REMOVE(sequel, link);
        free(sequel);
    }
}

static void comes_up(struct sequel *sequel)
{
    ring3_machine_power(sequel->machine, true);
}

static void lose_power(struct ring3 *ring3, struct ring3_machine *machine)
{
    if (!machine->is_up)
        return;
    ring3_machine_power(machine, false);
    later(ring3, machine, comes_up, between(ring3, 200, 12000));
}

// --- the network -------------------------------------------------------------------------------

static void network_heals(struct sequel *sequel)
{
    static const unsigned together[RING3_MACHINES_MAX];
    ring3_trace(sequel->ring3, "the network heals");
    ring3_network_set(sequel->ring3, together);
}

static void part_network(struct ring3 *ring3)
{
    unsigned component[RING3_MACHINES_MAX];
    for (unsigned i = 0; i < ring3->machine_count; i++)
        component[i] = (unsigned)choose(ring3, 2);
    ring3_trace(ring3, "the network is cut");
    ring3_network_set(ring3, component);
    later(ring3, NULL, network_heals, between(ring3, 300, 15000));
}

static void flap(struct sequel *sequel)
{
    struct ring3 *ring3 = sequel->ring3;
    unsigned component[RING3_MACHINES_MAX] = {0};
    bool is_alone = sequel->count % 2 == 1;
    component[sequel->machine->node_id - 1] = is_alone;
    ring3_trace(ring3, "n%u is %s", sequel->machine->node_id, is_alone ? "alone" : "back");
    ring3_network_set(ring3, component);
    if (sequel->count-- > 0)
        sequel->again_in_ns = between(ring3, 50, 2500);
}

static void break_link(struct sequel *sequel)
{
    struct ring3 *ring3 = sequel->ring3;
    ring3_transport_cut(ring3, sequel->machine->node_id,
                        1 + (uint32_t)choose(ring3, ring3->machine_count));
    if (sequel->count-- > 0)
        sequel->again_in_ns = between(ring3, 1, 300);
}

static enum ring3_phase phase_of(const struct ring3 *ring3)
{
    enum ring3_phase phase = RING3_QUIET;
    for (unsigned i = 0; i < ring3->machine_count; i++) {
        const struct ring3_life *life = ring3->machines[i].life;
        enum ring3_phase seen = life != NULL ? ring3_life_phase(life) : RING3_QUIET;
        phase = seen > phase ? seen : phase;
    }
    return phase;
}

// --- deaths --------------------------------------------------------------------------------------

static void kill_worker(struct ring3_machine *machine)
{
    if (machine->life != NULL)
        ring3_life_kill(machine->life, false);
}

// Waits for somebody to replay, and kills it soon after.
static void kill_recoverer(struct sequel *sequel)
{
    struct ring3 *ring3 = sequel->ring3;
    if (ring3->is_healing || sequel->count-- == 0)
        return;
    sequel->again_in_ns = 1 * RING3_MS;
    for (unsigned i = 0; i < ring3->machine_count; i++) {
        struct ring3_machine *machine = &ring3->machines[i];
        if (machine->life == NULL || !ring3_life_replays(machine->life))
            continue;
        if (choose(ring3, 8) != 0)
            return; // a little later
        ring3->result.faults[RING3_FAULT_recoverer][RING3_REPLAYING]++;
        sequel->again_in_ns = 0;
        if (choose(ring3, 2) == 0)
            lose_power(ring3, machine);
        else
            kill_worker(machine);
        return;
    }
}

// ... or has it leave as soon as it may work on what the dead left.
static void leave_recoverer(struct sequel *sequel)
{
    struct ring3 *ring3 = sequel->ring3;
    if (ring3->is_healing || sequel->count-- == 0)
        return;
    sequel->again_in_ns = 1 * RING3_MS;
    if (sequel->machine == NULL) {
        for (unsigned i = 0; i < ring3->machine_count; i++) {
            struct ring3_machine *machine = &ring3->machines[i];
            if (machine->life != NULL && ring3_life_replays(machine->life))
                sequel->machine = machine;
        }
        return;
    }
    struct ring3_life *life = sequel->machine->life;
    if (life != NULL && ring3_life_replays(life))
        return;
    sequel->again_in_ns = 0;
    if (life != NULL)
        ring3_life_leave(life);
}

static void leave(struct ring3 *ring3, struct ring3_machine *machine)
{
    if (phase_of(ring3) != RING3_QUIET || choose(ring3, 2) == 0)
        later(ring3, NULL, leave_recoverer, 1 * RING3_MS)->count = 15000;
    else if (machine->life != NULL)
        ring3_life_leave(machine->life);
}

static void lose_all_power(struct ring3 *ring3, bool with_lun)
{
    for (unsigned i = 0; i < ring3->machine_count; i++)
        lose_power(ring3, &ring3->machines[i]);
    if (!with_lun)
        return;
    struct ring3_life *life; // also those that have ended by themselves
    LIST_FOREACH (life, &ring3->lives, link) {
        sim_disk_stop(life->path);
        sim_disk_stop(life->beat_path);
    }
    ring3_trace(ring3, "the LUN loses its power");
    sim_disk_power_cut(ring3->disk);
    ring3->memories.cuts++;
}

static void pause(struct ring3 *ring3, struct ring3_machine *machine)
{
    uint64_t lease_ms = ring3->lease_ns / RING3_MS;
    uint64_t for_ns = choose(ring3, 2) == 0 ? between(ring3, 20, lease_ms)
                                            : between(ring3, lease_ms, 4 * lease_ms);
    if (machine->life != NULL)
        ring3_life_pause(machine->life, ring3->world->now_ns + for_ns);
}

static void stall(struct ring3 *ring3, struct ring3_machine *machine)
{
    if (machine->life != NULL)
        ring3_life_stall(machine->life,
                         ring3->world->now_ns + between(ring3, 20, 2 * ring3->lease_ns / RING3_MS));
}

static void corosync_returns(struct sequel *sequel)
{
    ring3_totem_corosync(sequel->machine, true);
    ring3_network_reform_in(sequel->ring3, between(sequel->ring3, 10, 900));
}

// A paused worker would hear of it later: it is left alone.
static void kill_corosync(struct ring3 *ring3, struct ring3_machine *machine)
{
    if (!machine->is_up || (machine->life != NULL && ring3_life_is_paused(machine->life)))
        return;
    ring3_totem_corosync(machine, false);
    ring3_network_reform_in(ring3, between(ring3, 1, 1300));
    later(ring3, machine, corosync_returns, between(ring3, 5, 10000));
}

// --- any of them -------------------------------------------------------------------------------

static void cause(struct ring3 *ring3, enum ring3_fault fault)
{
    struct ring3_machine *machine = any_machine(ring3);
    if (fault != RING3_FAULT_recoverer)
        ring3->result.faults[fault][phase_of(ring3)]++;
    switch (fault) {
    case RING3_FAULT_power:
        lose_power(ring3, machine);
        break;
    case RING3_FAULT_worker:
        kill_worker(machine);
        break;
    case RING3_FAULT_two:
        lose_power(ring3, machine);
        lose_power(ring3, any_machine(ring3));
        break;
    case RING3_FAULT_pause:
        pause(ring3, machine);
        break;
    case RING3_FAULT_partition:
        part_network(ring3);
        break;
    case RING3_FAULT_flap:
        later(ring3, machine, flap, 0)->count = 1 + 2 * (unsigned)choose(ring3, 4);
        break;
    case RING3_FAULT_link:
        later(ring3, machine, break_link, 0)->count = (unsigned)choose(ring3, 10);
        break;
    case RING3_FAULT_leave:
        leave(ring3, machine);
        break;
    case RING3_FAULT_recoverer:
        if (phase_of(ring3) == RING3_QUIET)
            lose_power(ring3, machine);
        later(ring3, NULL, kill_recoverer, 1 * RING3_MS)->count = 15000;
        break;
    case RING3_FAULT_all:
        lose_all_power(ring3, false);
        break;
    case RING3_FAULT_lun:
        lose_all_power(ring3, true);
        break;
    case RING3_FAULT_stall:
        stall(ring3, machine);
        break;
    case RING3_FAULT_corosync:
        kill_corosync(ring3, machine);
        break;
    case RING3_FAULT_clock:
        ring3_machine_set_clock(machine, (int64_t)between(ring3, 0, 2000000) -
                                             (int64_t)(1000000 * RING3_MS));
        break;
    case RING3_FAULT_COUNT:
        break;
    }
}

static enum ring3_fault draw(struct ring3 *ring3)
{
    static const unsigned shares[] = {
#define RING3_FAULT(name, share, sentence) share,
#include "tests/sim/ring3_faults.def"
#undef RING3_FAULT
    };
    unsigned sum = 0, i = 0;
    for (unsigned j = 0; j < RING3_FAULT_COUNT; j++)
        sum += ring3->options.faults >> j & 1 ? shares[j] : 0;
    uint64_t dice = choose(ring3, sum);
    for (;; i++) {
        unsigned share = ring3->options.faults >> i & 1 ? shares[i] : 0;
        if (dice < share)
            return (enum ring3_fault)i;
        dice -= share;
    }
}

static void fault_fires(struct world_event *event)
{
    struct ring3 *ring3 = (struct ring3 *)(void *)((char *)event - offsetof(struct ring3, fault));
    if (ring3->is_healing || ring3->faults_left == 0)
        return;
    ring3->faults_left--;
    cause(ring3, draw(ring3));
    // Often one fault comes in the middle of what another one caused.
    uint64_t in_ns = choose(ring3, 2) == 0 ? between(ring3, 1, 2 * ring3->lease_ns / RING3_MS)
                                           : between(ring3, 1000, ring3->work_ns / RING3_MS / 3);
    ring3_arm_in(ring3, event, in_ns);
}

void ring3_faults_start(struct ring3 *ring3)
{
    ring3->fault.fire = fault_fires;
    if (ring3->faults_left > 0)
        ring3_arm_in(ring3, &ring3->fault, between(ring3, 50, ring3->work_ns / RING3_MS * 2 / 3));
}

void ring3_heal(struct ring3 *ring3)
{
    static const unsigned together[RING3_MACHINES_MAX];
    ring3_trace(ring3, "all is well from here on");
    ring3->is_healing = true;
    ring3_faults_end(ring3);
    ring3_network_set(ring3, together);
    for (unsigned i = 0; i < ring3->machine_count; i++) {
        struct ring3_machine *machine = &ring3->machines[i];
        ring3_machine_power(machine, true);
        ring3_totem_corosync(machine, true);
        if (machine->life != NULL)
            ring3_life_pause(machine->life, 0);
    }
}
