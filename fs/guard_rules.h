// SPDX-License-Identifier: Apache-2.0
// What a guard does next, as a pure function of what it sees: rules 9, 10 and 17 in one place.
//
//   WATCHING ── lease nearly over or core hung ────► kill ──► DYING ── not gone in time ──► abort
//   FUSE
//      │ worker gone by itself                                │ gone
//      ▼                                                      ▼
//   DRAINING: try for the worker's byte lock: it comes free with its last I/O
//      │ got it                                   (nothing to prove if it held no slot, or left)
//      ▼
//   ANNOUNCING: drained(slot, incarnation) to the members ──► OVER
//
// Timeline of a worker that hangs (lease 5 s, beats each 1 s):
//
//   0.0  last heartbeat submitted; it is acknowledged: lease until 5.0
//   4.5  still 5.0: SIGKILL, also to a stopped process; no code of it runs any more
//   4.5+ its I/O ends, its lock comes free, the guard says so: recovery needs no fence
//   5.0  the moment up to which others must fear its writes
//   6.0  not gone: a thread is stuck in the FUSE connection perhaps: abort that
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum guard_phase {
    GUARD_WATCHING,
    GUARD_DYING,
    GUARD_DRAINING,
    GUARD_ANNOUNCING,
    GUARD_OVER,
};

enum guard_action {
    GUARD_WAIT,     // until something happens or guard_decision.wait_ms have passed
    GUARD_KILL,     // SIGKILL the worker
    GUARD_ABORT,    // abort its FUSE connection
    GUARD_TRY_LOCK, // try for the worker's byte lock on the LUN
    GUARD_ANNOUNCE, // multicast drained(slot, incarnation)
    GUARD_END,      // nothing is left to do
};

enum {
    GUARD_MARGIN_MS_MAX = 500,     // before the end of the lease
    GUARD_EXIT_PATIENCE_MS = 1500, // from the kill to the abort
    GUARD_DRAIN_POLL_MS = 5,
    GUARD_ANNOUNCE_POLL_MS = 20,
    GUARD_WATCH_MS_MAX = 1000,
};

struct guard_sight {
    uint64_t now_ms;         // CLOCK_BOOTTIME
    uint64_t lease_until_ms; // 0: no lease yet
    uint32_t lease_ms;       // its whole length
    bool has_ended;          // the gate says ENDED ...
    bool is_drained;         // ... and nothing is in flight nor can be submitted any more
    bool is_hung;            // the worker itself says that its core turns no more
    bool has_slot;
    bool has_left;    // the slot was given back cleanly: nothing to prove
    bool worker_gone; // all threads
    bool got_lock;
    bool announced; // or there is no cluster to tell
};

struct guard_rules {
    enum guard_phase phase;
    uint64_t killed_at_ms;
    bool aborted;
};

struct guard_decision {
    enum guard_action action;
    uint32_t wait_ms; // for GUARD_WAIT, and after GUARD_TRY_LOCK and GUARD_ANNOUNCE
};

void guard_rules_init(struct guard_rules *rules);
struct guard_decision guard_rules_step(struct guard_rules *rules, const struct guard_sight *sight);

// Whether the watchdog may be petted: the worker cannot write past its lease.
bool guard_rules_is_safe(const struct guard_rules *rules, const struct guard_sight *sight);
