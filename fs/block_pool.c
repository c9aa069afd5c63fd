// SPDX-License-Identifier: Apache-2.0
#include "fs/block_pool.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/check.h"
#include "fs/format.h"

// With AddressSanitizer each buffer is a piece of its own, so that a use after its end is seen.
#ifdef __SANITIZE_ADDRESS__
enum { PIECE_BLOCKS = 1 };
#else
enum { PIECE_BLOCKS = 64 };
#endif

struct block_pool_piece {
    uint8_t *bytes;
    unsigned begun; // blocks of it that were taken at some time: memory is touched as it is needed
    SLIST_ENTRY(block_pool_piece) link;
};

// Stands in the buffer itself while nobody has it.
struct block_pool_unused {
    SLIST_ENTRY(block_pool_unused) link;
};

void block_pool_init(struct block_pool *pool)
{
    SLIST_INIT(&pool->pieces);
    SLIST_INIT(&pool->unused);
    pool->taken_count = 0;
}

void block_pool_end(struct block_pool *pool)
{
    CHECK(pool->taken_count == 0);
    while (!SLIST_EMPTY(&pool->pieces)) {
        struct block_pool_piece *piece = SLIST_FIRST(&pool->pieces);
        SLIST_REMOVE_HEAD(&pool->pieces, link);
        free(piece->bytes);
        free(piece);
    }
    SLIST_INIT(&pool->unused);
}

static struct block_pool_piece *piece_new(struct block_pool *pool)
{
    struct block_pool_piece *piece = calloc(1, sizeof(*piece));
    void *bytes = NULL;
    int failed = posix_memalign(&bytes, BLOCK_BYTES, (size_t)PIECE_BLOCKS * BLOCK_BYTES);
    CHECK(piece != NULL && failed == 0);
    piece->bytes = bytes;
    SLIST_INSERT_HEAD(&pool->pieces, piece, link);
    return piece;
}

static void *take_any(struct block_pool *pool)
{
    struct block_pool_unused *unused = SLIST_FIRST(&pool->unused);
    if (unused != NULL) {
        SLIST_REMOVE_HEAD(&pool->unused, link);
        return unused;
    }
    struct block_pool_piece *piece = SLIST_FIRST(&pool->pieces);
    if (piece == NULL || piece->begun == PIECE_BLOCKS)
        piece = piece_new(pool);
    return piece->bytes + (size_t)piece->begun++ * BLOCK_BYTES;
}

void *block_pool_take(struct block_pool *pool)
{
    pool->taken_count++;
    return memset(take_any(pool), 0, BLOCK_BYTES);
}

void block_pool_give(struct block_pool *pool, void *bytes)
{
    struct block_pool_unused *unused = bytes;
    CHECK(pool->taken_count > 0);
    pool->taken_count--;
    SLIST_INSERT_HEAD(&pool->unused, unused, link);
}
