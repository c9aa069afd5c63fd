// SPDX-License-Identifier: Apache-2.0
#include "fs/written_ranges.h"

#include <stdlib.h>
#include <string.h>

#include "fs/base/check.h"
#include "fs/base/memory.h"

void written_ranges_init(struct written_ranges *written)
{
    *written = (struct written_ranges){0};
}

void written_ranges_deinit(struct written_ranges *written)
{
    free(written->ranges);
    written_ranges_init(written);
}

static uint64_t range_end(const struct written_range *range)
{
    return range->file_block + range->block_count;
}

// The index of the first range that ends behind `file_block`.
static size_t first_behind(const struct written_ranges *written, uint64_t file_block)
{
    size_t low = 0, high = written->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (range_end(&written->ranges[middle]) <= file_block)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void make_room(struct written_ranges *written)
{
    if (written->count < written->capacity)
        return;
    written->capacity = written->capacity == 0 ? 8 : written->capacity * 2;
    written->ranges = memory_resize(written->ranges, written->capacity, sizeof(written->ranges[0]));
}

// Replaces `removed` ranges from `at` on by `inserted` (0, 1 or 2) ones.
static void splice(struct written_ranges *written, size_t at, size_t removed,
                   const struct written_range *inserted, size_t inserted_count)
{
    if (inserted_count > removed)
        make_room(written);
    memmove(written->ranges + at + inserted_count, written->ranges + at + removed,
            (written->count - at - removed) * sizeof(written->ranges[0]));
    memcpy(written->ranges + at, inserted, inserted_count * sizeof(inserted[0]));
    written->count = written->count - removed + inserted_count;
}

void written_ranges_add(struct written_ranges *written, uint64_t file_block, uint64_t block_count)
{
    CHECK(block_count > 0);
    uint64_t end = file_block + block_count;
    // One that ends where the new one begins touches it.
    size_t at = file_block > 0 ? first_behind(written, file_block - 1) : 0;
    size_t last = at;
    while (last < written->count && written->ranges[last].file_block <= end)
        last++;
    if (last > at) {
        uint64_t start = written->ranges[at].file_block;
        uint64_t last_end = range_end(&written->ranges[last - 1]);
        file_block = start < file_block ? start : file_block;
        end = last_end > end ? last_end : end;
    }
    struct written_range merged = {file_block, end - file_block};
    splice(written, at, last - at, &merged, 1);
}

void written_ranges_remove(struct written_ranges *written, uint64_t file_block,
                           uint64_t block_count)
{
    uint64_t end = file_block + block_count;
    size_t at = first_behind(written, file_block), last = at;
    while (last < written->count && written->ranges[last].file_block < end)
        last++;
    if (last == at)
        return;
    struct written_range rest[2];
    size_t rest_count = 0;
    uint64_t start = written->ranges[at].file_block;
    uint64_t last_end = range_end(&written->ranges[last - 1]);
    if (start < file_block)
        rest[rest_count++] = (struct written_range){start, file_block - start};
    if (last_end > end)
        rest[rest_count++] = (struct written_range){end, last_end - end};
    splice(written, at, last - at, rest, rest_count);
}

bool written_ranges_find(const struct written_ranges *written, uint64_t file_block,
                         struct written_range *found)
{
    size_t at = first_behind(written, file_block);
    if (at == written->count)
        return false;
    *found = written->ranges[at];
    if (found->file_block < file_block) {
        found->block_count -= file_block - found->file_block;
        found->file_block = file_block;
    }
    return true;
}
