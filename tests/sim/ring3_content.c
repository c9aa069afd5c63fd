// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/ring3_content.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/check.h"

enum { WORDS = RING3_CELL_BYTES / 8, BLOCK = 4096 };

struct ring3_content *ring3_content_new(bool is_shared)
{
    struct ring3_content *content = calloc(1, sizeof(*content));
    CHECK(content != NULL);
    content->is_shared = is_shared;
    content->size.is_content = true;
    for (unsigned i = 0; i < RING3_FILE_CELLS; i++)
        content->cells[i].is_content = true;
    return content;
}

void ring3_content_free(struct ring3_content *content)
{
    if (content == NULL)
        return;
    ring3_cell_deinit(&content->size);
    for (unsigned i = 0; i < RING3_FILE_CELLS; i++)
        ring3_cell_deinit(&content->cells[i]);
    free(content);
}

// --- stamps ------------------------------------------------------------------------------------

uint64_t ring3_stamp(uint64_t number, unsigned cell)
{
    return number << 8 | cell;
}

void ring3_content_fill(void *buffer, uint64_t number, unsigned first, unsigned count)
{
    uint64_t *words = buffer;
    for (unsigned i = 0; i < count * WORDS; i++)
        words[i] = ring3_stamp(number, first + i / WORDS) * WORDS + i % WORDS;
}

bool ring3_content_stamp(const void *bytes, uint64_t *stamp)
{
    const uint64_t *words = bytes;
    *stamp = words[0] / WORDS;
    for (unsigned i = 0; i < WORDS; i++) {
        if (words[i] != (*stamp == 0 ? 0 : *stamp * WORDS + i))
            return false;
    }
    return true;
}

// --- changes -------------------------------------------------------------------------------------

bool ring3_content_is_busy(const struct ring3_content *content, unsigned first, unsigned count)
{
    for (unsigned i = first; i < first + count; i++) {
        if (ring3_cell_is_busy(&content->cells[i]))
            return true;
    }
    return false;
}

void ring3_content_change(struct ring3_content *content, struct ring3_change *change,
                          unsigned first, unsigned count, uint64_t number)
{
    for (unsigned i = first; i < first + count; i++) {
        if (number != 0 || content->cells[i].count > 0)
            ring3_cell_change(&content->cells[i], change, number == 0 ? 0 : ring3_stamp(number, i));
    }
}

void ring3_content_copy(struct ring3_content *content, struct ring3_change *change, unsigned first,
                        unsigned count, const struct ring3_content *from, unsigned from_first)
{
    for (unsigned i = 0; i < count; i++)
        ring3_cell_change(&content->cells[first + i], change,
                          ring3_cell_latest(&from->cells[from_first + i]));
}

bool ring3_content_is_known(const struct ring3_content *content, unsigned first, unsigned count)
{
    for (unsigned i = first; i < first + count; i++) {
        if (!ring3_cell_is_certain(&content->cells[i]))
            return false;
    }
    return !ring3_content_is_busy(content, first, count);
}

void ring3_content_doubt(struct ring3_content *content)
{
    for (unsigned i = 0; i < RING3_FILE_CELLS; i++)
        content->cells[i].is_blind = true;
}

void ring3_content_undo(struct ring3_content *content, struct ring3_change *change)
{
    ring3_cell_undo(&content->size, change);
    for (unsigned i = 0; i < RING3_FILE_CELLS; i++)
        ring3_cell_undo(&content->cells[i], change);
}

void ring3_content_synced(struct ring3_content *content, const struct ring3_memory *memory,
                          ring3_tick begin)
{
    ring3_cell_synced(&content->size, memory, begin);
    for (unsigned i = 0; i < RING3_FILE_CELLS; i++)
        ring3_cell_synced(&content->cells[i], memory, begin);
}

// --- looking -------------------------------------------------------------------------------------

// Growth comes block by block, in order.
static bool is_on_the_way(const struct ring3_content *content, ring3_tick begin, uint64_t size)
{
    uint64_t value, least = UINT64_MAX, most = 0;
    for (unsigned i = 0; ring3_cell_candidate(&content->size, begin, i, &value); i++) {
        least = value < least ? value : least;
        most = value > most ? value : most;
    }
    return size % BLOCK == 0 && size > least && size < most;
}

bool ring3_content_size_seen(struct ring3_memories *memories, struct ring3_content *content,
                             struct ring3_memory *reader, ring3_tick begin, uint64_t size)
{
    if (content->size.is_blind)
        ring3_cell_unblind(memories, &content->size, size);
    else if (is_on_the_way(content, begin, size))
        ring3_cell_set(memories, &content->size, size);
    else if (!ring3_cell_seen(memories, &content->size, reader, begin, size))
        return false;
    for (uint64_t i = (size + RING3_CELL_BYTES - 1) / RING3_CELL_BYTES; i < RING3_FILE_CELLS; i++) {
        struct ring3_cell *cell = &content->cells[i];
        if (ring3_cell_latest(cell) != 0 && !ring3_cell_seen(memories, cell, reader, begin, 0))
            ring3_cell_set(memories, cell, 0);
    }
    return true;
}

bool ring3_content_seen(struct ring3_memories *memories, struct ring3_content *content,
                        struct ring3_memory *reader, ring3_tick begin, unsigned first,
                        unsigned count, const void *bytes)
{
    for (unsigned i = 0; i < count; i++) {
        uint64_t stamp;
        char why[200];
        if (!ring3_content_stamp((const uint8_t *)bytes + i * RING3_CELL_BYTES, &stamp)) {
            snprintf(memories->why, sizeof(memories->why), "cell %u is of two pieces, %" PRIx64,
                     first + i, stamp);
            return false;
        }
        if (ring3_cell_judge(memories, &content->cells[first + i], reader, begin, stamp))
            continue;
        snprintf(why, sizeof(why), "%.*s", (int)sizeof(why) - 1, memories->why);
        snprintf(memories->why, sizeof(memories->why), "cell %u: %s", first + i, why);
        return false;
    }
    return true;
}
