// SPDX-License-Identifier: Apache-2.0
// The world as the core sees it: a clock, timers and random numbers. There are two: the real one
// (environment_event.c, a libevent loop) and the simulated one (tests/sim). Block I/O has a seam of
// its own, block_device.h; peers and membership have theirs in dlm/.
//
// All calls are made on the core's thread, all callbacks come on it.
#pragma once

#include <stdint.h>

struct environment;
struct scheduler;

// Embedded in its user; zeroed before the first use.
struct environment_timer {
    void (*fire)(struct environment_timer *timer); // may arm the timer again
    void *implementation;                          // the environment's
};

struct environment_operations {
    // CLOCK_BOOTTIME: goes on while the machine sleeps, never jumps back. Leases count in it.
    uint64_t (*boot_ns)(struct environment *environment);
    // CLOCK_REALTIME in nanoseconds since 1970: time stamps of files only.
    int64_t (*wall_ns)(struct environment *environment);
    uint64_t (*random_u64)(struct environment *environment);
    // Fires once at `at_boot_ns` or soon after; arming an armed timer moves it.
    void (*timer_arm)(struct environment *environment, struct environment_timer *timer,
                      uint64_t at_boot_ns);
    // After it the timer does not fire; harmless on a timer that is not armed.
    void (*timer_disarm)(struct environment *environment, struct environment_timer *timer);
};

struct environment {
    const struct environment_operations *operations;
    struct scheduler *scheduler; // runs the core's coroutines; run after each batch of callbacks
};

static inline uint64_t environment_boot_ns(struct environment *environment)
{
    return environment->operations->boot_ns(environment);
}
static inline int64_t environment_wall_ns(struct environment *environment)
{
    return environment->operations->wall_ns(environment);
}
static inline uint64_t environment_random_u64(struct environment *environment)
{
    return environment->operations->random_u64(environment);
}
static inline void environment_timer_arm(struct environment *environment,
                                         struct environment_timer *timer, uint64_t at_boot_ns)
{
    environment->operations->timer_arm(environment, timer, at_boot_ns);
}
static inline void environment_timer_disarm(struct environment *environment,
                                            struct environment_timer *timer)
{
    environment->operations->timer_disarm(environment, timer);
}

// Suspends the running coroutine for `ns`.
void environment_sleep(struct environment *environment, uint64_t ns);
