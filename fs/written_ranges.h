// SPDX-License-Identifier: Apache-2.0
// Which blocks of a file are written on the device while its map still says unwritten: ordered,
// disjoint ranges that grow by first writes and are taken out when the map was changed in a
// transaction (rule P6: many first writes, one change of the map). Pure.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct written_range {
    uint64_t file_block;
    uint64_t block_count; // > 0
};

struct written_ranges {
    struct written_range *ranges; // ascending; no two touch
    size_t count, capacity;
};

void written_ranges_init(struct written_ranges *written);
void written_ranges_deinit(struct written_ranges *written);

static inline bool written_ranges_is_empty(const struct written_ranges *written)
{
    return written->count == 0;
}

// Any of [file_block, file_block + block_count) may be in it already.
void written_ranges_add(struct written_ranges *written, uint64_t file_block, uint64_t block_count);
void written_ranges_remove(struct written_ranges *written, uint64_t file_block,
                           uint64_t block_count);
// The part of the first range that begins at or behind `file_block`, or the rest of the one that
// holds it; false if there is none.
bool written_ranges_find(const struct written_ranges *written, uint64_t file_block,
                         struct written_range *found);
