// SPDX-License-Identifier: Apache-2.0
#include "fs/file_map.h"

#include "fs/open_inode.h"

// Cuts [file_block, ...) out of a run.
static void begin_at(struct extent *run, uint64_t file_block)
{
    uint64_t skipped = file_block - run->file_block;
    run->file_block += skipped;
    run->block_count -= skipped;
    if (run->state != EXTENT_HOLE)
        run->volume_block += skipped;
}

// An unwritten run, as far as it is of one state: written since, or not.
static void overlay_written(const struct open_inode *open, struct extent *run)
{
    struct written_range range;
    if (open == NULL || run->state != EXTENT_UNWRITTEN_RUN)
        return;
    if (!written_ranges_find(&open->written, run->file_block, &range))
        return;
    uint64_t same = range.file_block - run->file_block;
    if (same == 0) {
        run->state = EXTENT_WRITTEN_RUN;
        same = range.block_count;
    }
    if (run->block_count > same)
        run->block_count = same;
}

int file_map_lookup(struct inode *inode, const struct open_inode *open, uint64_t file_block,
                    struct extent *run)
{
    int result = extent_map_lookup(inode, file_block, run);
    if (result != 0)
        return result;
    begin_at(run, file_block);
    overlay_written(open, run);
    return 0;
}

int file_map_goal(struct inode *inode, uint64_t file_block, uint64_t *goal)
{
    struct extent before;
    *goal = 0;
    if (file_block == 0)
        return 0;
    int result = extent_map_lookup(inode, file_block - 1, &before);
    if (result == 0 && before.state != EXTENT_HOLE)
        *goal = before.volume_block + (file_block - before.file_block);
    return result;
}

struct written_iteration {
    const struct open_inode *open;
    int (*emit)(void *context, const struct extent *run);
    void *context;
    int result;
};

static bool emit_written(void *context, const struct extent *extent)
{
    struct written_iteration *iteration = context;
    struct extent rest = *extent;
    uint64_t end = extent->file_block + extent->block_count;
    while (iteration->result == 0 && rest.state != EXTENT_HOLE && rest.file_block < end) {
        struct extent run = rest;
        overlay_written(iteration->open, &run);
        if (run.state == EXTENT_WRITTEN_RUN)
            iteration->result = iteration->emit(iteration->context, &run);
        begin_at(&rest, run.file_block + run.block_count);
    }
    return iteration->result == 0;
}

int file_map_iterate_written(struct inode *inode, const struct open_inode *open,
                             int (*emit)(void *context, const struct extent *run), void *context)
{
    struct written_iteration iteration = {open, emit, context, 0};
    int result = extent_map_iterate(inode, 0, emit_written, &iteration);
    return result != 0 ? result : iteration.result;
}
