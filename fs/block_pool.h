// SPDX-License-Identifier: Apache-2.0
// Many 4 KiB buffers, aligned for I/O, out of larger pieces: one of posix_memalign each would take
// twice its size. What is given back is used again; the memory goes when the pool does.
#pragma once

#include <stddef.h>
#include <sys/queue.h>

struct block_pool_piece;
struct block_pool_unused;

struct block_pool {
    SLIST_HEAD(, block_pool_piece) pieces;
    SLIST_HEAD(, block_pool_unused) unused;
    size_t taken_count;
};

void block_pool_init(struct block_pool *pool);
// All were given back (CHECKed).
void block_pool_end(struct block_pool *pool);

// 4096 bytes of zeros, the caller's until block_pool_give.
void *block_pool_take(struct block_pool *pool);
void block_pool_give(struct block_pool *pool, void *bytes);
