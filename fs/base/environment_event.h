// SPDX-License-Identifier: Apache-2.0
// The real environment: a libevent loop on the core's thread, a CLOCK_BOOTTIME timer, and the way
// in for all other threads.
//
//   lanes, heartbeat, helpers ── environment_event_post ──┐
//   descriptors (aio, sockets, corosync) ── watch ────────┼─► one turn: callbacks, then
//   timers (one timerfd) ─────────────────────────────────┘   scheduler_run, then sleep again
//
// All functions are for the core's thread (the one that calls environment_event_run, or the one
// that set everything up before), except where "any thread" is said.
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "fs/base/environment.h"

// Work handed to the core. Embedded in its owner, which fills `function` and leaves the rest alone
// until `function` has been entered; then it may be posted again. Nothing is allocated.
struct environment_post {
    void (*function)(struct environment_post *post); // on the core's thread
    struct environment_post *next;
};

// Never NULL; -errno of what could not be had is a CHECK (descriptors at start-up). The scheduler
// is the caller's and outlives the environment.
struct environment *environment_event_new(struct scheduler *scheduler);
// No watch may be left; armed timers are forgotten.
void environment_event_free(struct environment *environment);

// Turns until environment_event_stop. Returns after the turn in which it was called.
void environment_event_run(struct environment *environment);
// Any thread.
void environment_event_stop(struct environment *environment);

// Any thread, also a signal-free real-time one: lock-free, never blocks. Posts of one thread run in
// order; all posts that wait are run in one turn.
void environment_event_post(struct environment *environment, struct environment_post *post);

// Takes back a post that has not been run, so that its owner may be freed: after it, and after all
// threads that might post it are gone, nothing refers to it. Harmless if it was not posted.
void environment_event_post_cancel(struct environment *environment, struct environment_post *post);

// --- descriptors -----------------------------------------------------------------------------

enum environment_watch_interest { ENVIRONMENT_READABLE = 1, ENVIRONMENT_WRITABLE = 2 };

struct environment_watch;

// Calls `ready` whenever the descriptor has what `interest` (or-ed) asks for: level-triggered.
// `what` says which. Never NULL. The descriptor stays the caller's, open until after unwatch.
struct environment_watch *environment_event_watch_fd(struct environment *environment, int fd,
                                                     unsigned interest,
                                                     void (*ready)(void *argument, unsigned what),
                                                     void *argument);
// Changes the interest; 0 pauses the watch.
void environment_event_watch_change(struct environment_watch *watch, unsigned interest);
// After it `ready` is not called; allowed from inside `ready`.
void environment_event_unwatch(struct environment_watch *watch);

// --- how the core does -----------------------------------------------------------------------

struct environment_event_counters {
    _Atomic uint64_t turns;             // of the loop
    _Atomic uint64_t core_slice_us_max; // longest turn, from its first callback on (P4)
    _Atomic uint64_t posts;
};

// Any thread.
const struct environment_event_counters *
environment_event_counters(const struct environment *environment);
// Begins the maximum anew. Any thread.
void environment_event_slice_reset(struct environment *environment);

// CLOCK_BOOTTIME in nanoseconds. Any thread.
uint64_t environment_event_now_ns(void);
