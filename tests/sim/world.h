// SPDX-License-Identifier: Apache-2.0
// Simulated time: one virtual clock, events in order, one seeded generator, one scheduler. All
// nodes of a history live in one world; one seed is one history.
//
//   world_new(seed) ── nodes, disks ── coroutines started ── world_run ── world_free
//
// An event fires when all coroutines that could run have run; events of the same instant fire in
// the order in which they were armed. Nothing here looks at the real clock.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "fs/base/coroutine.h"
#include "fs/base/environment.h"
#include "fs/base/random.h"

// Embedded in its user; zeroed before the first use.
struct world_event {
    void (*fire)(struct world_event *event); // may arm it again
    uint64_t at_ns;
    uint64_t order;   // among those of one instant
    size_t heap_slot; // 1 and up; 0: not armed
};

struct world_timer;

struct world {
    uint64_t now_ns;
    struct random random;
    struct scheduler *scheduler;
    struct world_event **heap; // [1 .. heap_count], the earliest first
    size_t heap_count, heap_capacity;
    uint64_t next_order;
    LIST_HEAD(world_timers, world_timer) free_timers;
};

// The scheduler is the caller's and may serve one world after the other.
void world_init(struct world *world, uint64_t seed, struct scheduler *scheduler);
// Events that are still armed are forgotten.
void world_deinit(struct world *world);

void world_event_arm(struct world *world, struct world_event *event, uint64_t at_ns);
void world_event_disarm(struct world *world, struct world_event *event);

// Runs what is ready, then the earliest event and what it made ready; false if there was no event.
bool world_step(struct world *world);
// Steps until no event is left.
void world_run(struct world *world);

// --- a node's environment ------------------------------------------------------------------------

struct world_node {
    struct environment environment; // first
    struct world *world;
    bool is_stopped;
    // Its clock shows base + now * rate / 1000; from world_node_init on: the world's own time.
    uint64_t clock_base_ns;
    uint64_t clock_rate;
    int64_t wall_offset_ns;   // of its wall clock, which people set
    uint64_t paused_until_ns; // of the world: timers that fire before wait until then
    LIST_HEAD(world_node_timers, world_timer) timers; // that are armed
};

void world_node_init(struct world_node *node, struct world *world);
// When the node's clock shows `boot_ns`, in the world's time, rounded up.
uint64_t world_node_time_ns(const struct world_node *node, uint64_t boot_ns);
// Its clock goes on from where it stands, at another rate.
void world_node_set_rate(struct world_node *node, uint64_t clock_rate);
// Its timers do not fire any more.
void world_node_stop(struct world_node *node);
