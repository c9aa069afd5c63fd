// SPDX-License-Identifier: Apache-2.0
// Ranges of a file's blocks that a write of the core is at work on. Two of them never overlap, so
// that a write of a part of a block (read, merge, write) loses nothing of its neighbour (rule 25).
#pragma once

#include <stdint.h>
#include <sys/queue.h>

#include "fs/base/coroutine.h"

// On its holder's stack while it is held.
struct block_range {
    LIST_ENTRY(block_range) link;
    uint64_t first_block, last_block;
};

struct block_ranges {
    LIST_HEAD(, block_range) held;
    struct wait_queue released;
    struct scheduler *scheduler;
};

void block_ranges_init(struct block_ranges *ranges, struct scheduler *scheduler);
// Waits until nothing that is held overlaps [first_block, last_block]; the holders need no lock to
// come to their end, so the caller may hold some.
void block_range_acquire(struct block_ranges *ranges, struct block_range *range,
                         uint64_t first_block, uint64_t last_block);
void block_range_release(struct block_ranges *ranges, struct block_range *range);
