// SPDX-License-Identifier: Apache-2.0
// The journal simulator: one to three nodes with their journals on one mean disk, sharing blocks
// under locks; one seed is one history. What a file system does to the journal is done here in
// small:
//
//   lock 0 .. n-1    an object each: a root block, metadata blocks, data blocks of its own
//   lock n           the allocator: its root stands for the map of the pool's blocks
//   pool             blocks that are free, metadata of an object, or its data
//
//   journal_world.c     setting up a history, its end, the last look at the disk
//   journal_truth.c     what each block must hold; operations, and which of them may be lost
//   journal_locks.c     the oracle of the locks, obeying write-back and retire
//   journal_node.c      the life of a node: workers, giving locks up, unmount
//   journal_operations.c  what workers do; journal_work.c: the steps of it
//   journal_recovery.c  crashes, fences, replays in any order, cut off and repeated
//   journal_shadow.c    what a power cut after this write would have left
//
// What is looked for (I2, I3): every block read under a lock is the newest version; after a
// recovery the dead node's blocks are a prefix of its operations, none missing that was
// acknowledged; nobody else's block has changed; data that a durable block points to is there.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/queue.h>

#include "journal/journal.h"
#include "tests/sim/disk.h"
#include "tests/sim/journal_format.h"
#include "tests/sim/world.h"

enum {
    NODES_MAX = 3,
    LOCKS_MAX = 5, // the allocator's is the last one in use
    POOL_MAX = 12,
    BLOCKS_MAX = LOCKS_MAX + POOL_MAX,
    WORKERS_MAX = 3,
    CHANGES_MAX = 7, // of one operation
    CRASHES_MAX = 5,
    FAILURE_BYTES = 512,
};

// --- truth ---------------------------------------------------------------------------------------

enum block_kind { KIND_FREE, KIND_METADATA, KIND_DATA };

// What a block holds in the newest state, on disk or in some node's memory.
struct block_truth {
    enum block_kind kind;
    uint32_t lock;   // whose metadata or data
    uint64_t serial; // of the operation that wrote it; data of each serial is different
};

struct operation_change {
    uint32_t block;
    struct block_truth before, after;
};

// An operation that ended, until it is known that no crash may take it back.
struct operation {
    TAILQ_ENTRY(operation) link;
    uint64_t number; // of the life's, from 1
    uint32_t change_count;
    struct operation_change changes[2 * CHANGES_MAX];
};
TAILQ_HEAD(operation_list, operation);

// --- nodes ---------------------------------------------------------------------------------------

enum lock_mode { MODE_NULL, MODE_SHARED, MODE_EXCLUSIVE };

struct sim;

struct cached_block {
    struct journal_block block;
    struct test_block *bytes;
    bool is_loaded;
};

struct life_lock {
    bool is_used; // by a worker
    bool is_giving_up;
    uint64_t last_operation; // that touched it
};

// One incarnation of a node.
struct life {
    TAILQ_ENTRY(life) link;
    struct sim *sim;
    uint32_t slot;
    struct world_node node;
    struct block_device *path;
    struct lamport_clock clock;
    struct journal_config config;
    struct journal *journal; // NULL until it is open
    bool is_dead;            // crashed; what its coroutines still do counts for nothing
    bool is_leaving;         // unmounts
    bool is_giver_done;
    uint32_t worker_count, coroutine_count;
    struct wait_queue changed; // something of this life
    struct life_lock locks[LOCKS_MAX];
    struct cached_block cache[BLOCKS_MAX];
    bool is_reserved[BLOCKS_MAX]; // freed and not reusable yet, or about to be used
    struct operation_list operations;
    uint64_t operation_count; // that ended
    uint64_t durable_count;   // those up to it must survive
};
TAILQ_HEAD(life_list, life);

enum slot_state { SLOT_EMPTY, SLOT_RUNNING, SLOT_DEAD, SLOT_CLEAN };

struct slot {
    enum slot_state state;
    struct life *life; // running, or dead and not recovered yet
};

// --- the history ---------------------------------------------------------------------------------

enum crash_kind { CRASH_NODE, CRASH_ALL, CRASH_KINDS };

// What a write is to: crashes are aimed, for most writes are to the rings.
enum write_region {
    REGION_HEADER,
    REGION_RING,
    REGION_PLACE,
    REGION_BEHIND_HEADER, // the next write after one to a header
    REGION_ANY,
    REGIONS
};

// Comes when so many writes to the region have landed, counted from the crash before.
struct crash {
    enum write_region region;
    uint64_t writes_left;
    enum crash_kind kind;
};

struct sim_options {
    struct scheduler *scheduler;        // may serve one history after the other that did not fail
    struct scheduler *shadow_scheduler; // another one
    uint32_t shadow_percent;            // of writes after which a power cut is tried on a clone
    FILE *trace;                        // NULL: none
};

struct sim {
    struct world world;
    struct sim_disk *disk;
    struct journal_callbacks callbacks;
    struct log log;
    struct sim_options options;
    uint32_t node_count, object_count, lock_count, pool_count, block_count;
    uint32_t journal_block_count;
    uint64_t operations_left;
    uint64_t next_serial;
    struct block_truth truth[BLOCKS_MAX];
    uint32_t last_freed; // what is freed is soon used for something else
    struct slot slots[NODES_MAX];
    struct life_list dead_lives; // until their coroutines have unwound
    enum lock_mode modes[LOCKS_MAX][NODES_MAX];
    enum lock_mode wanted[LOCKS_MAX][NODES_MAX];
    uint64_t lock_clocks[LOCKS_MAX]; // as lock messages carry it
    struct wait_queue locks_changed;
    uint64_t commit_interval_ns, checkpoint_interval_ns, think_ns_max;
    uint32_t space_percent;            // operations that allocate or free
    bool has_affinity;                 // each node mostly works on an object of its own
    uint32_t sync_percent;             // that sync
    struct crash crashes[CRASHES_MAX]; // one after the other
    uint32_t crash_count, crashes_done;
    enum write_region last_region; // of the write before
    uint32_t recoveries;           // coroutines under way
    uint64_t power_cuts;           // so far: recoveries that began before one give up
    bool is_power_off, is_being_cut;
    struct wait_queue recovery_done;
    uint64_t replay_count, interrupted_count, image_count, shadow_count;
    char failure[FAILURE_BYTES]; // empty: none
};

struct sim_result {
    char failure[FAILURE_BYTES];
    uint64_t operation_count;
    uint64_t write_count; // that landed
    uint64_t crash_count, shadow_count, replay_count, interrupted_count, image_count;
};

void sim_run(uint64_t seed, const struct sim_options *options, struct sim_result *result);

// --- journal_world.c -----------------------------------------------------------------------------

// The history has failed: noted once.
void sim_fail(struct sim *sim, const char *format, ...) __attribute__((format(printf, 2, 3)));
void sim_trace(struct sim *sim, const char *format, ...) __attribute__((format(printf, 2, 3)));
uint64_t sim_random(struct sim *sim, uint64_t bound);
uint32_t sim_allocator_lock(const struct sim *sim);
struct lock_name sim_lock_name(uint32_t lock);
uint64_t sim_journal_start(const struct sim *sim, uint32_t slot);
uint64_t sim_address(const struct sim *sim, uint32_t block);
struct journal_config sim_journal_config(struct sim *sim, uint32_t slot,
                                         struct block_device *device,
                                         struct environment *environment,
                                         struct lamport_clock *clock);

// --- journal_truth.c -----------------------------------------------------------------------------

// The content of a data block, which may look like a metadata block of ours.
void truth_fill_data(const struct sim *sim, uint32_t block, uint64_t serial,
                     struct test_block *bytes);
// Whether `bytes` are what `truth` says of `block`.
bool truth_holds(const struct sim *sim, uint32_t block, const struct block_truth *truth,
                 const struct test_block *bytes);
void truth_change(struct sim *sim, struct operation *operation, uint32_t block,
                  struct block_truth after);
// The operation ended: from now on a crash may take it back until it is durable.
void truth_operation_ended(struct life *life, struct operation *operation, uint32_t lock_mask);
// Operations up to `number` must survive.
void truth_durable_up_to(struct life *life, uint64_t number);
// The same look at a copy of the history's truth and disk; changes the copy's truth only.
void truth_check_dead(struct sim *view, const struct life *life);
// After the recovery of a dead life: rolls back to what the disk says, which must be a prefix.
void truth_settle_dead(struct life *life);
// Every block that no running node holds exclusively is as it must be.
void truth_check_disk(struct sim *sim, const char *when);

// --- journal_locks.c -----------------------------------------------------------------------------

// Takes a lock for one worker; false if the life ends.
bool lock_acquire(struct life *life, uint32_t lock, enum lock_mode mode);
void lock_release(struct life *life, uint32_t lock);
// The coroutine that gives locks up when others want them.
void lock_giver_run(void *life);
// What a node held is free: it left, or was recovered.
void lock_drop_all(struct sim *sim, uint32_t slot);

// --- journal_node.c, journal_operations.c --------------------------------------------------------

// Mounts a clean slot and starts its coroutines.
void life_start(struct sim *sim, uint32_t slot);
// The process is gone, at once. May be called from anywhere.
void life_crash(struct life *life, const char *why);
// Frees what is left of lives whose coroutines are gone.
void life_reap(struct sim *sim);
void life_coroutine_ended(struct life *life);
// One random operation of a worker.
void operation_run(struct life *life);

// --- journal_recovery.c --------------------------------------------------------------------------

// The disk's hook: counts writes, and crashes where the plan says.
void recovery_after_write(void *sim, const struct sim_disk_write *write);
// A node is dead: somebody recovers it after a while.
void recovery_start(struct sim *sim, uint32_t slot);
void recovery_power_cut(struct sim *sim);

// --- journal_shadow.c ----------------------------------------------------------------------------

// On a clone of the disk: the power is cut now, all journals are replayed, all is looked at.
void shadow_power_cut(struct sim *sim);
