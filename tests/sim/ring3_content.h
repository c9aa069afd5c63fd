// SPDX-License-Identifier: Apache-2.0
// What a file holds: cells of 512 bytes, each with the stamp of the write that filled it, and the
// size. A stamp says which write and which place, so that content of another file, another place
// or an older write is told from the right one.
#pragma once

#include "tests/sim/ring3_model.h"

enum {
    RING3_CELL_BYTES = 512,
    RING3_FILE_CELLS = 192,
};

struct ring3_content {
    struct ring3_cell size;
    struct ring3_cell cells[RING3_FILE_CELLS];
    bool is_shared; // by all clients; its size stays
};

struct ring3_content *ring3_content_new(bool is_shared);
void ring3_content_free(struct ring3_content *content);

// The stamp of a cell that the write `number` (from 1) fills.
uint64_t ring3_stamp(uint64_t number, unsigned cell);
void ring3_content_fill(void *buffer, uint64_t number, unsigned first, unsigned count);
// The stamp that fills 512 bytes, 0 for zeros; false: they are nobody's.
bool ring3_content_stamp(const void *bytes, uint64_t *stamp);

bool ring3_content_is_busy(const struct ring3_content *content, unsigned first, unsigned count);
// Cells [first, first + count) get the write's stamps; with number 0 zeros.
void ring3_content_change(struct ring3_content *content, struct ring3_change *change,
                          unsigned first, unsigned count, uint64_t number);
// ... the stamps that stand in another file, one for certain in each cell.
void ring3_content_copy(struct ring3_content *content, struct ring3_change *change, unsigned first,
                        unsigned count, const struct ring3_content *from, unsigned from_first);
// What those cells hold is known, and nobody changes them.
bool ring3_content_is_known(const struct ring3_content *content, unsigned first, unsigned count);
// Nobody knows what it holds: whatever is there counts.
void ring3_content_doubt(struct ring3_content *content);
void ring3_content_undo(struct ring3_content *content, struct ring3_change *change);
void ring3_content_synced(struct ring3_content *content, const struct ring3_memory *memory,
                          ring3_tick begin);
// `size` was found: one that may be there, or, where a growth was cut off, a block on the way to
// it. What lies behind it is gone. False: memories->why.
bool ring3_content_size_seen(struct ring3_memories *memories, struct ring3_content *content,
                             struct ring3_memory *reader, ring3_tick begin, uint64_t size);
bool ring3_content_seen(struct ring3_memories *memories, struct ring3_content *content,
                        struct ring3_memory *reader, ring3_tick begin, unsigned first,
                        unsigned count, const void *bytes);
