// SPDX-License-Identifier: Apache-2.0
// What the histories of a run did, added up: sums, how it is spread over the histories, and which
// fault came in which phase of a recovery.
#pragma once

#include "tests/sim/ring3.h"

enum { RING3_SPREAD_STEPS = 256 };

// Histories by some size: counts[i] are those of i * grain up to the next; the last one, and more.
struct ring3_spread {
    uint64_t counts[RING3_SPREAD_STEPS];
};

// uint64_t all over (tests/sim/seeds.h).
struct ring3_tally {
    uint64_t histories;
    uint64_t long_ones;  // at least 20 s, 300 operations, 3 nodes and 2 faults each
    uint64_t short_ones; // at least 40 operations and 1 fault; not those
    uint64_t operations, looks, unknown, transfers, lives, virtual_ms, writes, late_writes, steps;
    uint64_t copies, broken_freezes; // of the volume while it was frozen; freezes that ended early
    uint64_t faults[RING3_FAULT_COUNT][RING3_PHASE_COUNT];
    struct ring3_spread nodes, virtual_s, operation_tens, fault_counts;
    struct ring3_spread waits[RING3_WAIT_COUNT]; // in percent of what is promised
};

void ring3_tally_add(struct ring3_tally *tally, const struct ring3_result *result);
void ring3_tally_merge(void *sum, const void *tally);
// One line.
void ring3_tally_print(const struct ring3_tally *tally, uint64_t first, double seconds);
// Fault by phase, and the spreads. False: a cell of the faults in the mask is empty.
bool ring3_tally_print_table(const struct ring3_tally *tally, uint64_t faults);
