// SPDX-License-Identifier: Apache-2.0
#include "journal/ring.h"

#include "fs/base/check.h"

uint32_t journal_ring_used(const struct journal_ring *ring)
{
    CHECK(ring->head >= ring->tail);
    CHECK(ring->head - ring->tail <= ring->block_count);
    return (uint32_t)(ring->head - ring->tail);
}

uint32_t journal_ring_free(const struct journal_ring *ring)
{
    return ring->block_count - journal_ring_used(ring);
}

uint64_t journal_ring_block(const struct journal_ring *ring, uint64_t position)
{
    return ring->start_block + position % ring->block_count;
}

uint32_t journal_ring_spans(const struct journal_ring *ring, uint64_t position,
                            uint32_t block_count, struct journal_span spans[2])
{
    CHECK(block_count > 0 && block_count <= ring->block_count);
    uint32_t to_end = ring->block_count - (uint32_t)(position % ring->block_count);
    uint32_t first = block_count < to_end ? block_count : to_end;
    spans[0] = (struct journal_span){journal_ring_block(ring, position), first};
    if (first == block_count)
        return 1;
    spans[1] = (struct journal_span){ring->start_block, block_count - first};
    return 2;
}

uint64_t journal_ring_append(struct journal_ring *ring, uint32_t block_count)
{
    CHECK(block_count <= journal_ring_free(ring));
    uint64_t position = ring->head;
    ring->head += block_count;
    return position;
}

void journal_ring_move_tail(struct journal_ring *ring, uint64_t tail)
{
    CHECK(tail >= ring->tail && tail <= ring->head);
    ring->tail = tail;
}
