// SPDX-License-Identifier: Apache-2.0
// How the journal does I/O: groups of requests that one coroutine waits for, the one durability
// barrier, and the pools that keep the commit path free of allocation.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "fs/base/block_device.h"
#include "fs/base/coroutine.h"

enum { JOURNAL_CHUNK_BLOCKS = 64 };

// --- groups of requests ------------------------------------------------------------------------

// On the stack of the coroutine that waits.
struct journal_io_group {
    struct block_device *device;
    struct scheduler *scheduler;
    struct coroutine *waiting;
    uint32_t pending;
    int result; // of the first that failed
};

void journal_io_init(struct journal_io_group *group, struct block_device *device,
                     struct scheduler *scheduler);
// `bytes` to or from `block_count` blocks at `block` of the volume. The request and the bytes
// belong to the group until journal_io_wait returns.
void journal_io_submit(struct journal_io_group *group, struct block_request *request,
                       enum block_operation operation, uint64_t block, uint32_t block_count,
                       void *bytes);
// Waits until nothing is pending; 0 or -errno.
int journal_io_wait(struct journal_io_group *group);

// Lets other coroutines run, if called from one: between the slices of long work (rule P4).
void journal_pause(struct scheduler *scheduler);

// --- the durability barrier (rule 5) -------------------------------------------------------------

// A flush makes durable what had completed when it was submitted. One is in flight at a time;
// whoever comes meanwhile shares the next one.
//
//   caller A   ticket 1 ──submit──────────done
//   caller B       ticket 2 ····waits·····submit──────done
//   caller C              ticket 2 ·······shares──────done
struct journal_barrier {
    struct block_device *device;
    struct scheduler *scheduler;
    struct wait_queue done;
    uint64_t submitted; // flushes so far
    uint64_t completed; // all up to this one are done
    int result;         // sticky: after a failed flush nobody knows what is durable
};

void journal_barrier_init(struct journal_barrier *barrier, struct block_device *device,
                          struct scheduler *scheduler);
// The flush that will cover everything that has completed by now.
uint64_t journal_barrier_ticket(const struct journal_barrier *barrier);
// Waits until that flush is done: 0 or -errno.
int journal_barrier_reach(struct journal_barrier *barrier, uint64_t ticket);
// Both in one: what completed before the call is durable when it returns 0.
int journal_barrier_flush(struct journal_barrier *barrier);

// --- pools ---------------------------------------------------------------------------------------

// Buffers for 64 blocks with the requests that may be made of them.
struct journal_chunk {
    TAILQ_ENTRY(journal_chunk) link;
    uint8_t *bytes;
    struct block_request requests[JOURNAL_CHUNK_BLOCKS];
};
TAILQ_HEAD(journal_chunk_list, journal_chunk);

// A buffer of one block while it is free.
struct journal_free_block {
    SLIST_ENTRY(journal_free_block) link;
};
SLIST_HEAD(journal_free_blocks, journal_free_block);

struct journal_pool {
    struct journal_chunk_list chunks;
    struct journal_free_blocks blocks;
};

void journal_pool_init(struct journal_pool *pool);
void journal_pool_deinit(struct journal_pool *pool);
struct journal_chunk *journal_pool_get_chunk(struct journal_pool *pool);
void journal_pool_put_chunk(struct journal_pool *pool, struct journal_chunk *chunk);
// 4096 bytes, for a before-image; not for I/O.
uint8_t *journal_pool_get_block(struct journal_pool *pool);
void journal_pool_put_block(struct journal_pool *pool, uint8_t *bytes);
