// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/ring3_faults.h"

// --- cuts --------------------------------------------------------------------------------------

static void network_heals(struct sequel *sequel)
{
    ring3_trace(sequel->ring3, "the network heals");
    ring3_network_heal(sequel->ring3);
}

bool ring3_fault_partition(struct ring3 *ring3, struct ring3_machine *machine)
{
    unsigned component[RING3_MACHINES_MAX] = {0};
    for (unsigned i = 0; i < ring3->machine_count; i++)
        component[i] = (unsigned)ring3_fault_choose(ring3, 2);
    component[machine->node_id - 1] = 0;
    component[machine->node_id % ring3->machine_count] = 1;
    ring3_trace(ring3, "the network is cut");
    ring3_network_set(ring3, component);
    ring3_later(ring3, NULL, network_heals, ring3_fault_between(ring3, 300, 15000));
    return true;
}

bool ring3_fault_quorum(struct ring3 *ring3, struct ring3_machine *machine)
{
    unsigned component[RING3_MACHINES_MAX];
    (void)machine;
    for (unsigned i = 0; i < ring3->machine_count; i++)
        component[i] = i;
    ring3_trace(ring3, "every machine is alone");
    ring3_network_set(ring3, component);
    ring3_later(ring3, NULL, network_heals, ring3_fault_between(ring3, 300, 12000));
    return true;
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
        sequel->again_in_ns = ring3_fault_between(ring3, 50, 2500);
}

bool ring3_fault_flap(struct ring3 *ring3, struct ring3_machine *machine)
{
    unsigned count = 1 + 2 * (unsigned)ring3_fault_choose(ring3, 4);
    ring3_later(ring3, machine, flap, 0)->count = count;
    return true;
}

// --- one way -----------------------------------------------------------------------------------

static void hears_again(struct sequel *sequel)
{
    ring3_trace(sequel->ring3, "n%u hears all again", sequel->machine->node_id);
    ring3_network_deafen(sequel->ring3, sequel->machine, NULL);
}

// Corosync, which has a token go round, parts the two, now and then for the moment only; or it goes
// another way, and only their lock link suffers.
bool ring3_fault_oneway(struct ring3 *ring3, struct ring3_machine *machine)
{
    struct ring3_machine *other = ring3_fault_machine(ring3);
    uint64_t for_ns = ring3_fault_between(ring3, 300, 12000);
    if (other == machine)
        other = &ring3->machines[machine->node_id % ring3->machine_count];
    ring3_trace(ring3, "n%u does not hear n%u", machine->node_id, other->node_id);
    ring3_network_deafen(ring3, machine, other);
    ring3_later(ring3, machine, hears_again, for_ns);
    if (ring3_fault_choose(ring3, 2) == 0) {
        unsigned count = 1 + 2 * (unsigned)ring3_fault_choose(ring3, 3);
        ring3_later(ring3, machine, flap, ring3_fault_between(ring3, 1, 300))->count = count;
    }
    return true;
}

// --- links -------------------------------------------------------------------------------------

static void break_link(struct sequel *sequel)
{
    struct ring3 *ring3 = sequel->ring3;
    ring3_transport_cut(ring3, sequel->machine->node_id,
                        1 + (uint32_t)ring3_fault_choose(ring3, ring3->machine_count));
    if (sequel->count-- > 0)
        sequel->again_in_ns = ring3_fault_between(ring3, 1, 300);
}

bool ring3_fault_link(struct ring3 *ring3, struct ring3_machine *machine)
{
    if (machine->life == NULL)
        return false;
    ring3_later(ring3, machine, break_link, 0)->count = (unsigned)ring3_fault_choose(ring3, 10);
    return true;
}

static void is_fast_again(struct sequel *sequel)
{
    ring3_network_delay(sequel->ring3, sequel->machine, 0);
}

// From a millisecond, which lets others overtake, to what one takes for a hung peer.
bool ring3_fault_delay(struct ring3 *ring3, struct ring3_machine *machine)
{
    static const uint64_t most_ms[] = {3, 30, 300, 2000};
    if (machine->life == NULL)
        return false;
    uint64_t delay_ns = ring3_fault_between(ring3, 1, most_ms[ring3_fault_choose(ring3, 4)]);
    ring3_trace(ring3, "n%u: messages take up to %llu ms", machine->node_id,
                (unsigned long long)(delay_ns / RING3_MS));
    ring3_network_delay(ring3, machine, delay_ns);
    ring3_later(ring3, machine, is_fast_again, ring3_fault_between(ring3, 100, 8000));
    return true;
}

// --- corosync ----------------------------------------------------------------------------------

static void corosync_returns(struct sequel *sequel)
{
    ring3_totem_corosync(sequel->machine, true);
    ring3_network_reform_in(sequel->ring3, ring3_fault_between(sequel->ring3, 10, 900));
}

// A paused worker would hear of it later: it is left alone.
bool ring3_fault_corosync(struct ring3 *ring3, struct ring3_machine *machine)
{
    if (!machine->is_up || (machine->life != NULL && ring3_life_is_paused(machine->life)))
        return false;
    ring3_totem_corosync(machine, false);
    ring3_network_reform_in(ring3, ring3_fault_between(ring3, 1, 1300));
    ring3_later(ring3, machine, corosync_returns, ring3_fault_between(ring3, 5, 10000));
    return true;
}
