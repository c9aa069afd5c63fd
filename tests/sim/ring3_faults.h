// SPDX-License-Identifier: Apache-2.0
// Inside tests/sim/ring3_fault*.c: what goes wrong, and what follows from it later.
//
//   ring3_faults.c         which, when, and at which phase of a recovery
//   ring3_faults_nodes.c   what happens to machines and workers
//   ring3_faults_disk.c    ... to their paths to the LUN
//   ring3_faults_network.c ... to the network, and to corosync
#pragma once

#include "tests/sim/ring3.h"

// Has it happen to `machine`, or where it takes several, to others as well. False: there it cannot
// happen just now, and nothing has.
#define RING3_FAULT(name, share, sentence)                                                         \
    bool ring3_fault_##name(struct ring3 *ring3, struct ring3_machine *machine);
#include "tests/sim/ring3_faults.def"
#undef RING3_FAULT

// What a fault does after a while; frees itself.
struct sequel {
    struct world_event event; // first
    struct ring3 *ring3;
    struct ring3_machine *machine; // NULL: of no particular one
    uint64_t value;                // the act's own
    unsigned count;
    LIST_ENTRY(sequel) link;
    void (*act)(struct sequel *sequel); // may set `again_in_ns`
    uint64_t again_in_ns;
};

struct sequel *ring3_later(struct ring3 *ring3, struct ring3_machine *machine,
                           void (*act)(struct sequel *sequel), uint64_t in_ns);

// Of the faults' own numbers.
uint64_t ring3_fault_choose(struct ring3 *ring3, uint64_t bound);
uint64_t ring3_fault_between(struct ring3 *ring3, uint64_t low_ms, uint64_t high_ms);
struct ring3_machine *ring3_fault_machine(struct ring3 *ring3);
// Who replays a journal just now; NULL: nobody.
struct ring3_machine *ring3_machine_that_replays(struct ring3 *ring3);

// The machine's power is gone, for a while. False: it was.
bool ring3_lose_power(struct ring3 *ring3, struct ring3_machine *machine);
