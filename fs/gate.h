// SPDX-License-Identifier: Apache-2.0
// No valid lease, no I/O: the one place that says whether this node may touch the LUN now. Lanes
// and the core look at it before each submission; the heartbeat thread and membership move it.
//
//   RUNNING <-> SUSPENDED (quorum lost; drained, beating on)      RUNNING, SUSPENDED -> ENDED
//
// The lease is a moment on CLOCK_BOOTTIME; past it the gate is shut though the state says RUNNING.
// A local mount (one host, no cluster) runs with a lease too: its heartbeat is what keeps others
// away.
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum gate_state { GATE_RUNNING, GATE_SUSPENDED, GATE_ENDED };

struct gate {
    _Atomic int state;               // enum gate_state
    _Atomic uint64_t lease_until_ns; // CLOCK_BOOTTIME; UINT64_MAX: the simulator's, no lease
};

static inline void gate_init(struct gate *gate)
{
    atomic_init(&gate->state, GATE_SUSPENDED);
    atomic_init(&gate->lease_until_ns, 0);
}

// Any thread. `now_ns` is CLOCK_BOOTTIME, read after the I/O was counted in flight.
static inline bool gate_is_open(struct gate *gate, uint64_t now_ns)
{
    return atomic_load_explicit(&gate->state, memory_order_seq_cst) == GATE_RUNNING &&
           now_ns < atomic_load_explicit(&gate->lease_until_ns, memory_order_acquire);
}

// Whether recovery may touch the LUN: also while suspended, when a quorate view waits for the dead
// to be recovered before anybody may resume (rule 18). Fencing this node stops it as it stops all.
static inline bool gate_is_open_to_recovery(struct gate *gate, uint64_t now_ns)
{
    return atomic_load_explicit(&gate->state, memory_order_seq_cst) != GATE_ENDED &&
           now_ns < atomic_load_explicit(&gate->lease_until_ns, memory_order_acquire);
}

static inline bool gate_has_ended(struct gate *gate)
{
    return atomic_load_explicit(&gate->state, memory_order_acquire) == GATE_ENDED;
}
