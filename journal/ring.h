// SPDX-License-Identifier: Apache-2.0
// Arithmetic of the ring: positions count blocks since the life of the log began and never wrap;
// position p stands in the ring's block p % block_count. Pure.
//
//   block   0 1 2 3 4 5 6 7        tail 13, head 18: 5 of 8 blocks used
//           . . h . . t x x        position 13 stands in block 5, position 16 in block 0
//           x x                    (x: live, t: tail, h: head)
#pragma once

#include <stdint.h>

struct journal_ring {
    uint64_t start_block; // of the ring on the volume
    uint32_t block_count;
    uint64_t tail; // oldest position that may be needed, as durable on disk
    uint64_t head; // where the next record goes
};

// A piece of the ring that is contiguous on the volume.
struct journal_span {
    uint64_t block; // on the volume
    uint32_t block_count;
};

uint32_t journal_ring_used(const struct journal_ring *ring);
uint32_t journal_ring_free(const struct journal_ring *ring);
// The volume's block at `position`.
uint64_t journal_ring_block(const struct journal_ring *ring, uint64_t position);
// The one or two pieces of `block_count` blocks from `position`; returns how many. 0 < block_count
// <= the ring's.
uint32_t journal_ring_spans(const struct journal_ring *ring, uint64_t position,
                            uint32_t block_count, struct journal_span spans[2]);
// Takes `block_count` free blocks at the head; returns their position.
uint64_t journal_ring_append(struct journal_ring *ring, uint32_t block_count);
// Gives up everything before `tail`.
void journal_ring_move_tail(struct journal_ring *ring, uint64_t tail);
