// SPDX-License-Identifier: Apache-2.0
// Writing what lanes cannot: first writes, growth, parts of blocks, small files.
//
//   LOCK_INODE EX: the end (append) ─► small file? done in the inode
//     │ blocks of the range are mine (block_ranges)
//     │ holes get unwritten blocks, ahead of what comes next
//     │ whole blocks around the data: read, or zeros where nothing was written (rule 33)
//     ├─ writes that neither grow the file nor share a block let the lock go here ─┐
//     ▼                                                                            │ in flight
//   data on the device ◄───────────────────────────────────────────────────────────┘
//   then only in memory: written ranges, size, time, the lanes' map   (fs/open_inode.h)
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/block_device.h"
#include "fs/base/check.h"
#include "fs/base/sabotage.h"
#include "fs/data_io.h"
#include "fs/file_blocks.h"
#include "fs/file_inline.h"
#include "fs/file_map.h"
#include "fs/file_size.h"
#include "fs/inode_table.h"
#include "fs/open_file.h"
#include "fs/open_inode.h"
#include "fs/operation_private.h"
#include "fs/volume.h"

enum {
    PIECE_BYTES_MAX = 1 << 20, // of one round
    RUNS_MAX = PIECE_BYTES_MAX / BLOCK_BYTES + 1,
    AHEAD_BLOCKS_MIN = 256,  // 1 MiB
    AHEAD_BLOCKS_MAX = 4096, // 16 MiB
};

// One round of a write, at most PIECE_BYTES_MAX long.
struct writing {
    struct open_inode *open;
    struct inode inode; // loaded while the lock is held
    struct lock_set set;
    uint64_t offset;
    const uint8_t *data;
    size_t length;
    uint64_t first_block, end_block;
    uint64_t size; // of the file before it
    struct block_range range;
    bool is_page;     // written back by the kernel
    bool is_part;     // of blocks: lanes are kept out
    bool is_growing;  // the file
    bool is_unlocked; // the lock went before the data
    struct extent runs[RUNS_MAX];
    unsigned run_count;
    uint8_t *bounce; // whole blocks, if the data are not
};

static uint64_t end_of(const struct writing *w)
{
    return w->offset + w->length;
}

// --- blocks ----------------------------------------------------------------------------------

// Space is so short that what is acknowledged must be in the map: the last blocks may be needed.
static bool is_space_short(struct volume *volume)
{
    struct allocator_summary summary;
    allocator_summary_get(volume, &summary);
    uint64_t few = summary.block_count / 32;
    uint64_t enough = (uint64_t)1 << 18; // 1 GiB
    return summary.available_block_count < (few < enough ? few : enough);
}

// How many blocks to allocate for `needed` ones in a hole at `block` of `hole` blocks.
static uint64_t blocks_ahead(struct writing *w, uint64_t block, uint64_t needed, uint64_t hole)
{
    struct open_inode *open = w->open;
    uint64_t wanted = needed;
    if (is_space_short(open->volume))
        return needed;
    if (w->offset == open->next_offset && w->offset > 0) {
        wanted = open->ahead_blocks * 2;
        wanted = wanted < AHEAD_BLOCKS_MIN ? AHEAD_BLOCKS_MIN : wanted;
        wanted = wanted > AHEAD_BLOCKS_MAX ? AHEAD_BLOCKS_MAX : wanted;
        open->ahead_blocks = wanted;
    } else if (!w->is_growing) {
        // Inside the file, up to a multiple: what is written next to it later finds its place.
        uint64_t size_blocks = w->size / BLOCK_BYTES;
        uint64_t end = (block / AHEAD_BLOCKS_MIN + 1) * AHEAD_BLOCKS_MIN;
        wanted = (end < size_blocks ? end : size_blocks) - block;
    }
    if (wanted < needed || wanted > FORMAT_BLOCK_COUNT_MAX)
        wanted = needed;
    return wanted < hole ? wanted : hole;
}

static void note_ahead(struct writing *w, uint64_t first, uint64_t end)
{
    struct open_inode *open = w->open;
    if (end <= w->end_block)
        return;
    if (open->ahead_end == 0 || first < open->ahead_first)
        open->ahead_first = first;
    if (end > open->ahead_end)
        open->ahead_end = end;
}

static int fill_hole(struct writing *w, const struct extent *hole)
{
    uint64_t block = hole->file_block, allocated;
    uint64_t needed = w->end_block - block;
    if (needed > hole->block_count)
        needed = hole->block_count;
    uint64_t wanted = blocks_ahead(w, block, needed, hole->block_count);
    int result = file_blocks_allocate(&w->inode, block, wanted, &allocated);
    // Of what its owners may still have, all is for this write.
    while (result == -EDQUOT && wanted > 1) {
        wanted = wanted > needed ? needed : wanted / 2;
        result = file_blocks_allocate(&w->inode, block, wanted, &allocated);
    }
    if (result == 0)
        note_ahead(w, block, block + allocated);
    return result;
}

static void take_run(struct writing *w, const struct extent *run)
{
    CHECK(w->run_count < RUNS_MAX);
    w->runs[w->run_count] = *run;
    uint64_t left = w->end_block - run->file_block;
    if (run->block_count > left)
        w->runs[w->run_count].block_count = left;
    w->run_count++;
}

// The volume is full behind the runs so far, or a quota used up.
static int shorten(struct writing *w, uint64_t end_block, int error)
{
    if (end_block * BLOCK_BYTES <= w->offset)
        return error;
    w->end_block = end_block;
    w->length = end_block * BLOCK_BYTES - w->offset;
    return 0;
}

// All blocks of the range into `runs`.
static int map_blocks(struct writing *w)
{
    w->run_count = 0;
    for (uint64_t block = w->first_block; block < w->end_block;) {
        struct extent run;
        int result = file_map_lookup(&w->inode, w->open, block, &run);
        if (result == 0 && run.state == EXTENT_HOLE) {
            result = fill_hole(w, &run);
            if (result == -ENOSPC || result == -EDQUOT)
                return shorten(w, block, result);
            if (result == 0)
                continue;
        }
        if (result != 0)
            return result;
        take_run(w, &run);
        block += w->runs[w->run_count - 1].block_count;
    }
    return 0;
}

// --- whole blocks ----------------------------------------------------------------------------

static const struct extent *run_of(const struct writing *w, uint64_t block)
{
    unsigned i = 0;
    while (block - w->runs[i].file_block >= w->runs[i].block_count)
        i++;
    return &w->runs[i];
}

// What stands around the data in one of the two blocks at its ends.
static int fill_edge(struct writing *w, uint64_t block)
{
    const struct extent *run = run_of(w, block);
    struct volume *volume = w->open->volume;
    if (run->state != EXTENT_WRITTEN_RUN && !SABOTAGE(first_write_keeps_edges))
        return 0; // zeros
    uint64_t place = run->volume_block + (block - run->file_block);
    uint8_t *bytes = w->bounce + (block - w->first_block) * BLOCK_BYTES;
    int result = block_device_read(volume->device, volume->scheduler, place * BLOCK_BYTES, bytes,
                                   BLOCK_BYTES);
    // Behind the end may stand what a write put there that a crash cut off.
    if (block == w->size / BLOCK_BYTES && !SABOTAGE(grow_skip_tail_zero))
        memset(bytes + w->size % BLOCK_BYTES, 0, BLOCK_BYTES - w->size % BLOCK_BYTES);
    return result;
}

static int fill_bounce(struct writing *w)
{
    int result = 0;
    bool is_head_part = w->offset % BLOCK_BYTES != 0;
    bool is_tail_part = end_of(w) % BLOCK_BYTES != 0;
    uint64_t last = w->end_block - 1;
    w->bounce = block_buffer_new((w->end_block - w->first_block) * BLOCK_BYTES);
    if (is_head_part || (is_tail_part && last == w->first_block))
        result = fill_edge(w, w->first_block);
    if (result == 0 && is_tail_part && last != w->first_block)
        result = fill_edge(w, last);
    memcpy(w->bounce + (w->offset - w->first_block * BLOCK_BYTES), w->data, w->length);
    return result;
}

static bool needs_bounce(const struct writing *w)
{
    return w->offset % BLOCK_BYTES != 0 || w->length % BLOCK_BYTES != 0 ||
           (uintptr_t)w->data % BUFFER_ALIGNMENT != 0;
}

static int transfer(struct writing *w)
{
    struct data_piece pieces[RUNS_MAX];
    uint8_t *bytes = (uint8_t *)(uintptr_t)w->data;
    int result = needs_bounce(w) ? fill_bounce(w) : 0;
    if (result != 0)
        return result;
    if (w->bounce != NULL)
        bytes = w->bounce;
    for (unsigned i = 0; i < w->run_count; i++) {
        const struct extent *run = &w->runs[i];
        pieces[i] = (struct data_piece){run->volume_block, run->block_count,
                                        bytes + (run->file_block - w->first_block) * BLOCK_BYTES};
    }
    return data_io_write(w->open->volume, pieces, w->run_count);
}

// --- the lock --------------------------------------------------------------------------------

static void unlock(struct writing *w)
{
    live_inode_release(&w->inode, &w->set);
    w->is_unlocked = true;
}

// Whether the data may go to the device without the lock: then others may plan their writes.
static bool can_unlock(const struct writing *w)
{
    return !w->is_growing && !w->is_part && !is_space_short(w->open->volume) &&
           !open_inode_is_long(w->open);
}

// Every block with data around the range's that was written keeps lanes out while it is read,
// merged and written (rule 25).
static bool shares_blocks(const struct writing *w)
{
    bool is_head_part = w->offset % BLOCK_BYTES != 0;
    bool is_tail_part = end_of(w) % BLOCK_BYTES != 0;
    return (is_head_part && run_of(w, w->first_block)->state == EXTENT_WRITTEN_RUN) ||
           (is_tail_part && run_of(w, w->end_block - 1)->state == EXTENT_WRITTEN_RUN);
}

static int transfer_unlocked(struct writing *w)
{
    struct open_inode *open = w->open;
    open_inode_get(open);
    open->writes_in_flight++;
    unlock(w);
    return transfer(w);
}

static int transfer_data(struct writing *w)
{
    if (can_unlock(w))
        return transfer_unlocked(w);
    if (!w->is_part)
        return transfer(w);
    open_inode_begin_part_write(w->open);
    int result = transfer(w);
    open_inode_end_part_write(w->open);
    return result;
}

// --- after the data --------------------------------------------------------------------------

static void note_written(struct writing *w)
{
    struct open_inode *open = w->open;
    for (unsigned i = 0; i < w->run_count; i++) {
        const struct extent *run = &w->runs[i];
        if (run->state == EXTENT_UNWRITTEN_RUN)
            open_inode_add_written(open, run->file_block, run->volume_block, run->block_count);
    }
    open_inode_note_write(open);
    open->next_offset = end_of(w);
}

// What must happen under the lock, if it is still held.
static int finish_locked(struct writing *w)
{
    struct open_inode *open = w->open;
    open_inode_grow(open, &w->inode, end_of(w));
    if (is_space_short(open->volume) || open_inode_is_long(open)) {
        int result = open_inode_flush(open, &w->inode);
        if (result != 0)
            return result;
    }
    return 0;
}

static int end_unlocked(struct writing *w, int result)
{
    struct open_inode *open = w->open;
    open->writes_in_flight--;
    inode_table_drained(open->table);
    open_inode_put(open);
    return result;
}

// --- one round -------------------------------------------------------------------------------

// The hole that a write behind the end leaves begins in the last block.
static int zero_old_tail(struct writing *w)
{
    bool zeroed;
    if (w->size / BLOCK_BYTES >= w->first_block || SABOTAGE(grow_skip_tail_zero))
        return 0;
    return file_size_zero_tail(&w->inode, w->open, w->size, &zeroed);
}

static bool is_in_place(const struct writing *w)
{
    uint64_t sector_mask = w->open->volume->device->sector_bytes - 1;
    bool is_in_place = !w->is_growing && ((w->offset | w->length) & sector_mask) == 0;
    for (unsigned i = 0; is_in_place && i < w->run_count; i++)
        is_in_place = w->runs[i].state == EXTENT_WRITTEN_RUN;
    return is_in_place;
}

static int write_range(struct writing *w)
{
    int result = zero_old_tail(w);
    if (result == 0)
        result = map_blocks(w);
    if (result != 0)
        return result;
    w->is_part = shares_blocks(w);
    w->open->writes_in_place = is_in_place(w);
    if (SABOTAGE(write_size_before_data) && w->is_growing) {
        open_inode_grow(w->open, &w->inode, end_of(w));
        open_inode_flush(w->open, &w->inode);
    }
    result = transfer_data(w);
    if (result == 0)
        note_written(w);
    if (w->is_unlocked)
        return end_unlocked(w, result);
    return result != 0 ? result : finish_locked(w);
}

static int write_blocks(struct writing *w)
{
    w->first_block = w->offset / BLOCK_BYTES;
    w->end_block = (end_of(w) + BLOCK_BYTES - 1) / BLOCK_BYTES;
    w->size = open_inode_size(w->open, &w->inode);
    w->is_growing = end_of(w) > w->size;
    int result = open_inode_publish(w->open, &w->inode);
    if (result != 0)
        return result;
    block_range_acquire(&w->open->block_ranges, &w->range, w->first_block, w->end_block - 1);
    result = write_range(w);
    block_range_release(&w->open->block_ranges, &w->range);
    free(w->bounce);
    return result;
}

static int write_inline(struct writing *w)
{
    int result = file_inline_write(&w->inode, w->offset, w->data, w->length);
    if (result != 0)
        return result;
    pass_grow(&w->open->pass, inode_size(&w->inode));
    w->open->next_offset = end_of(w);
    return 0;
}

static int write_locked(struct writing *w)
{
    int result = file_size_settle(&w->inode);
    if (result == 0)
        result = file_can_be_inline(&w->inode, end_of(w));
    if (result == 1)
        return write_inline(w);
    if (result == 0)
        result = file_is_inline(&w->inode);
    if (result == 1)
        result = file_inline_to_block(&w->inode);
    return result != 0 ? result : write_blocks(w);
}

static int check_protection(const struct writing *w, bool appends)
{
    if (w->is_page) // mapped before the file was protected
        return 0;
    bool is_allowed = !inode_is_immutable(&w->inode) && (!inode_is_protected(&w->inode) || appends);
    return is_allowed ? 0 : -EPERM;
}

// The part of the range that this round writes; of pages what lies inside the file.
static int place(struct writing *w, const struct open_file *file, uint64_t offset, size_t length)
{
    uint64_t size = open_inode_size(w->open, &w->inode);
    bool appends = (file->flags & O_APPEND) != 0 && !w->is_page;
    if (appends)
        offset = SABOTAGE(append_at_known_end) ? pass_size(&w->open->pass) : size;
    w->offset = offset;
    uint64_t room = PIECE_BYTES_MAX - w->offset % BLOCK_BYTES;
    uint64_t to_size = w->offset < size ? size - w->offset : 0;
    if (w->is_page && room > to_size)
        room = to_size;
    w->length = length < room ? length : room;
    if (w->offset + w->length > FORMAT_FILE_BYTES_MAX)
        return -EFBIG;
    return check_protection(w, appends);
}

// Bytes written; the rest is for the next round.
static ssize_t write_round(struct open_file *file, bool is_page, uint64_t *offset,
                           const uint8_t *data, size_t length)
{
    struct writing *w = calloc(1, sizeof(*w));
    CHECK(w != NULL);
    w->open = file->inode;
    w->data = data;
    w->is_page = is_page;
    w->set.flags = is_page ? LOCK_FOR_KERNEL_WRITE : 0;
    int result =
        live_inode_acquire(&w->inode, &w->set, w->open->volume, w->open->number, LOCK_EXCLUSIVE);
    if (result == 0) {
        result = place(w, file, *offset, length);
        if (result == 0 && w->length > 0)
            result = write_locked(w);
        if (!w->is_unlocked)
            live_inode_release(&w->inode, &w->set);
    }
    *offset = end_of(w);
    ssize_t written = result == 0 ? (ssize_t)w->length : result;
    free(w);
    return written;
}

ssize_t operation_write_pages(struct volume *volume, struct open_file *file, uint64_t offset,
                              const void *buffer, size_t length)
{
    int result = transaction_check_writable(volume);
    size_t done = 0;
    if (result != 0)
        return result;
    while (done < length) {
        ssize_t written =
            write_round(file, true, &offset, (const uint8_t *)buffer + done, length - done);
        if (written < 0)
            return written;
        if (written == 0)
            break;
        done += (size_t)written;
    }
    return (ssize_t)length;
}

// One round, and the kernel keeps no older pages.
static ssize_t write_and_tell(struct open_file *file, uint64_t *offset, const uint8_t *data,
                              size_t length)
{
    struct open_inode *open = file->inode;
    ssize_t written = write_round(file, false, offset, data, length);
    if (written <= 0)
        return written;
    int result = page_loans_written(&open->pages, open->volume->locks, open->number,
                                    *offset - (uint64_t)written, (uint64_t)written);
    return result != 0 ? result : written;
}

ssize_t operation_write(struct volume *volume, struct open_file *file, uint64_t offset,
                        const void *buffer, size_t length)
{
    int result = transaction_check_writable(volume);
    size_t done = 0;
    if (result != 0)
        return result;
    if (operation_writes_together(file, offset, length)) {
        ssize_t written = operation_write_together(file, offset, buffer, length);
        if (written != 0)
            return written;
    }
    while (done < length) {
        ssize_t written =
            write_and_tell(file, &offset, (const uint8_t *)buffer + done, length - done);
        if (written < 0)
            return done > 0 ? (ssize_t)done : written;
        done += (size_t)written;
    }
    return (ssize_t)done;
}
