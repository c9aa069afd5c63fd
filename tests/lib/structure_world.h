// SPDX-License-Identifier: Apache-2.0
// One node on one LUN in memory, without front ends: volume, journal, cache, lock table over a lock
// service that grants everything, allocator. For unit tests of what lives in metadata blocks.
//
//   structure_world_open(&world, &options);
//   structure_world_run(&world, body, argument);     body runs as a coroutine of the core
//   structure_world_close(&world);
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "fs/allocator.h"
#include "fs/base/environment.h"
#include "fs/cache.h"
#include "fs/inode.h"
#include "fs/lock_service.h"
#include "fs/volume.h"
#include "journal/journal.h"
#include "tests/lib/memory_device.h"

struct world_timer;

struct structure_options {
    uint64_t block_count;         // of the volume; 0: 64 Ki blocks
    uint32_t ag_block_shift;      // 0: 12
    uint32_t journal_block_count; // 0: 4096
    uint32_t slot_count;          // 0: 2
    uint64_t cache_bytes;         // 0: the cache's default
    uint64_t seed;
};

struct structure_world {
    struct environment environment; // first
    struct lock_service service;
    struct memory_device memory;
    struct volume volume;
    struct gate gate;
    struct log log;
    struct random random;
    struct structure_options options;
    uint64_t now_ns;
    TAILQ_HEAD(world_timers, world_timer) timers;
    unsigned log_error_count; // lines logged as errors
    int log_last_code;
    bool prints_log;
    uint64_t last_cookie;
};

// Formats the LUN and mounts it.
void structure_world_open(struct structure_world *world, const struct structure_options *options);
// Unmounts, checks that nothing is left, and forgets the LUN.
void structure_world_close(struct structure_world *world);
// Unmounts cleanly and mounts again: everything is read back from the LUN.
void structure_world_remount(struct structure_world *world);

// Runs `body` to its end, with all the waits in between.
void structure_world_run(struct structure_world *world, void (*body)(void *argument),
                         void *argument);
// Starts a coroutine beside the next run.
void structure_world_start(struct structure_world *world, void (*body)(void *argument),
                           void *argument);
// From a coroutine: opens a handle of the journal; it must succeed.
struct journal_handle *structure_world_begin(struct structure_world *world, uint32_t credits);
// From a coroutine: changes blocks as an operation does, with a reservation, in one handle, as
// often as the reservation asks for it. `body` is called in the open handle; another result of it
// than 0 aborts. `cost` is the body's own, `change_count` the blocks that it allocates and frees.
struct structure_change {
    int (*body)(struct structure_change *change, struct journal_handle *handle);
    struct tree_cost cost;
    uint32_t change_count;
    struct allocator_reservation space;
};
void structure_change_init(struct structure_change *change, struct structure_world *world,
                           struct tree_cost cost);
int structure_change_run(struct structure_change *change, struct structure_world *world);
// A new inode of that mode in a transaction of its own, loaded; it must succeed.
void structure_world_create(struct structure_world *world, mode_t mode, struct inode *inode);
// Another node asks for the lock: this one gives it up. From a coroutine; waits until it is gone.
void structure_world_take_lock(struct structure_world *world, struct lock_name name);

// The bytes of a block on the LUN.
uint8_t *structure_world_block(struct structure_world *world, uint64_t address);
