// SPDX-License-Identifier: Apache-2.0
// fallocate(2): allocate, punch, zero. Large ones are many transactions; each leaves a file that is
// right, so a crash in between leaves some of it done. When the volume fills up, what was allocated
// so far is given back.
#include <errno.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/block_device.h"
#include "fs/base/coroutine.h"
#include "fs/base/sabotage.h"
#include "fs/file_blocks.h"
#include "fs/file_inline.h"
#include "fs/file_map.h"
#include "fs/file_size.h"
#include "fs/inode_table.h"
#include "fs/open_file.h"
#include "fs/open_inode.h"
#include "fs/operation_private.h"
#include "fs/volume.h"
#include "fs/written_ranges.h"

struct allocating {
    struct open_inode *open;
    struct inode *inode;
    uint64_t offset, end;        // bytes
    struct written_ranges given; // what was a hole before
    unsigned run_count;          // looked at
};

// A file may have millions of runs: others have their turn now and then.
static void pause_after_many(struct allocating *a)
{
    enum { RUNS_BEFORE_PAUSE = 256 };
    if (++a->run_count % RUNS_BEFORE_PAUSE == 0)
        coroutine_pause(a->open->volume->scheduler);
}

static uint64_t block_behind(uint64_t offset)
{
    return offset / BLOCK_BYTES + (offset % BLOCK_BYTES != 0);
}

// --- holes to unwritten blocks ---------------------------------------------------------------

static int give_blocks(struct allocating *a, uint64_t first, uint64_t end)
{
    int result = 0;
    for (uint64_t block = first; result == 0 && block < end;) {
        struct extent run;
        uint64_t count;
        result = file_map_lookup(a->inode, a->open, block, &run);
        if (result != 0)
            break;
        count = run.block_count < end - block ? run.block_count : end - block;
        if (run.state == EXTENT_HOLE) {
            result = file_blocks_allocate(a->inode, block, count, &count);
            if (result == 0)
                written_ranges_add(&a->given, block, count);
            coroutine_pause(a->open->volume->scheduler);
        }
        block += count;
        pause_after_many(a);
    }
    return result;
}

static void take_back(struct allocating *a)
{
    struct written_range range;
    while (written_ranges_find(&a->given, 0, &range)) {
        if (file_blocks_remove(a->inode, range.file_block, range.block_count) != 0)
            return;
        written_ranges_remove(&a->given, range.file_block, range.block_count);
    }
}

// A volume that cannot hold it is not tried: its last blocks would be locked, taken, given back.
static int check_space(struct allocating *a, uint64_t first, uint64_t end)
{
    struct allocator_summary summary;
    allocator_summary_get(a->open->volume, &summary);
    uint64_t available = summary.available_block_count, missing = 0;
    for (uint64_t block = first; block < end;) {
        struct extent run;
        int result = file_map_lookup(a->inode, a->open, block, &run);
        if (result != 0)
            return result;
        uint64_t count = run.block_count < end - block ? run.block_count : end - block;
        if (run.state == EXTENT_HOLE)
            missing += count;
        if (missing > available + (available >> 4))
            return -ENOSPC;
        block += count;
        pause_after_many(a);
    }
    return 0;
}

static int allocate_range(struct allocating *a)
{
    uint64_t first = a->offset / BLOCK_BYTES, end = block_behind(a->end);
    int result = check_space(a, first, end);
    if (result == 0)
        result = give_blocks(a, first, end);
    if (result != 0)
        take_back(a);
    a->open->ahead_first = a->open->ahead_end = 0; // what is there now was asked for
    return result;
}

// --- zeros -----------------------------------------------------------------------------------

static int zero_bytes(struct volume *volume, uint64_t block, size_t from, size_t to)
{
    uint8_t *buffer = block_buffer_new(BLOCK_BYTES);
    uint64_t offset = block * BLOCK_BYTES;
    int result = block_device_read(volume->device, volume->scheduler, offset, buffer, BLOCK_BYTES);
    if (result == 0) {
        memset(buffer + from, 0, to - from);
        result = block_device_write(volume->device, volume->scheduler, offset, buffer, BLOCK_BYTES);
    }
    free(buffer);
    return result;
}

// Zeros [offset, end), which lies in one block; passes are drained.
static int zero_in_block(struct allocating *a, uint64_t offset, uint64_t end)
{
    struct extent run;
    int result = file_map_lookup(a->inode, a->open, offset / BLOCK_BYTES, &run);
    if (result != 0 || run.state != EXTENT_WRITTEN_RUN)
        return result;
    size_t from = offset % BLOCK_BYTES;
    return zero_bytes(a->open->volume, run.volume_block, from, from + (size_t)(end - offset));
}

// The parts of blocks at both ends of the range.
static int zero_edges(struct allocating *a)
{
    uint64_t head_end = block_behind(a->offset) * BLOCK_BYTES;
    uint64_t tail_start = a->end / BLOCK_BYTES * BLOCK_BYTES;
    if (SABOTAGE(punch_skip_edges))
        return 0;
    if (head_end > a->end)
        return zero_in_block(a, a->offset, a->end);
    int result = 0;
    if (a->offset < head_end)
        result = zero_in_block(a, a->offset, head_end);
    if (result == 0 && tail_start < a->end)
        result = zero_in_block(a, tail_start, a->end);
    return result;
}

static int punch_range(struct allocating *a)
{
    uint64_t first = block_behind(a->offset), end = a->end / BLOCK_BYTES;
    int result = zero_edges(a);
    if (result == 0 && first < end)
        result = file_blocks_remove(a->inode, first, end - first);
    return result;
}

// --- written blocks to unwritten ones, in place ----------------------------------------------

struct unwriting {
    struct inode *inode;
    struct extent_removal removal;
};

static int change_to_unwritten(struct transaction *t, void *context)
{
    struct unwriting *u = context;
    transaction_change_inode(t, u->inode);
    int result = extent_map_remove(u->inode, t->handle, &u->removal);
    for (unsigned i = 0; result == 0 && i < u->removal.count; i++) {
        struct extent extent = u->removal.runs[i];
        extent.state = EXTENT_UNWRITTEN_RUN;
        result = extent_map_insert(u->inode, t->handle, &extent);
    }
    return result;
}

static int unwrite_run(struct inode *inode, const struct extent *run, uint64_t count)
{
    struct unwriting u = {.inode = inode};
    int result = extent_map_plan_removal(inode, run->file_block, count, 1, &u.removal);
    if (result != 0)
        return result;
    struct transaction t;
    transaction_init(&t, inode->volume, run->volume_block);
    transaction_add_credits(&t, 1);
    transaction_add_cost(&t, extent_map_remove_cost(inode, u.removal.count));
    transaction_add_cost(&t, extent_map_insert_cost(inode));
    return transaction_run(&t, change_to_unwritten, &u);
}

static int unwrite_blocks(struct allocating *a, uint64_t first, uint64_t end)
{
    int result = 0;
    for (uint64_t block = first; result == 0 && block < end;) {
        struct extent run;
        result = file_map_lookup(a->inode, NULL, block, &run);
        if (result != 0)
            break;
        uint64_t count = run.block_count < end - block ? run.block_count : end - block;
        if (run.state == EXTENT_WRITTEN_RUN)
            result = unwrite_run(a->inode, &run, count);
        block += count;
        coroutine_pause(a->open->volume->scheduler);
    }
    return result;
}

static int zero_range(struct allocating *a)
{
    uint64_t first = block_behind(a->offset), end = a->end / BLOCK_BYTES;
    int result = allocate_range(a);
    if (result == 0)
        result = zero_edges(a);
    if (result == 0 && first < end && !SABOTAGE(zero_keeps_written))
        result = unwrite_blocks(a, first, end);
    return result;
}

// --- the call --------------------------------------------------------------------------------

static bool takes_away(int mode)
{
    return (mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) != 0;
}

static int run_mode(struct allocating *a, int mode)
{
    if ((mode & FALLOC_FL_PUNCH_HOLE) != 0)
        return punch_range(a);
    return (mode & FALLOC_FL_ZERO_RANGE) != 0 ? zero_range(a) : allocate_range(a);
}

static int change_times(struct transaction *t, void *context)
{
    struct inode *inode = context;
    transaction_change_inode(t, inode);
    inode_set_time(inode, INODE_MODIFIED, t->now);
    inode_set_time(inode, INODE_CHANGED, t->now);
    return 0;
}

static int finish(struct allocating *a, int mode)
{
    struct inode *inode = a->inode;
    bool grows = (mode & FALLOC_FL_KEEP_SIZE) == 0 && a->end > open_inode_size(a->open, inode);
    if (grows)
        return file_size_set(inode, a->open, a->end);
    struct transaction t;
    transaction_init(&t, inode->volume, inode->number);
    transaction_add_credits(&t, 1);
    return transaction_run(&t, change_times, inode);
}

static int allocate_loaded(struct allocating *a, int mode)
{
    int result = file_size_settle(a->inode);
    if (result == 0)
        result = file_is_inline(a->inode);
    if (result == 1)
        result = file_inline_to_block(a->inode);
    // What is in memory is brought to the map, and nobody writes while it changes (rule 3).
    if (result == 0 && takes_away(mode)) {
        open_inode_drain(a->open);
        result = open_inode_flush(a->open, a->inode);
    }
    if (result == 0)
        result = run_mode(a, mode);
    if (result == 0)
        result = finish(a, mode);
    return result;
}

static int check_protection(const struct inode *inode, int mode)
{
    if (inode_is_immutable(inode))
        return -EPERM;
    return inode_is_protected(inode) && (mode & ~FALLOC_FL_KEEP_SIZE) != 0 ? -EPERM : 0;
}

static int check_request(int mode, uint64_t offset, uint64_t length)
{
    static const int modes[] = {0, FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                FALLOC_FL_ZERO_RANGE, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE};
    bool is_known = false;
    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++)
        is_known = is_known || mode == modes[i];
    if (!is_known)
        return -EOPNOTSUPP;
    if (length == 0)
        return -EINVAL;
    return offset > FORMAT_FILE_BYTES_MAX || length > FORMAT_FILE_BYTES_MAX - offset ? -EFBIG : 0;
}

int operation_allocate(struct volume *volume, struct open_file *file, int mode, uint64_t offset,
                       uint64_t length)
{
    struct inode inode;
    struct allocating a = {
        .open = file->inode, .inode = &inode, .offset = offset, .end = offset + length};
    LOCK_SET(set);
    int result = check_request(mode, offset, length);
    if (result == 0)
        result = transaction_check_writable(volume);
    if (result == 0)
        result = live_inode_acquire(&inode, &set, volume, file->inode->number, LOCK_EXCLUSIVE);
    if (result != 0)
        return result;
    written_ranges_init(&a.given);
    result = check_protection(&inode, mode);
    if (result == 0)
        result = allocate_loaded(&a, mode);
    written_ranges_deinit(&a.given);
    live_inode_release(&inode, &set);
    return result;
}
