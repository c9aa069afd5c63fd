// SPDX-License-Identifier: Apache-2.0
// Old bytes behind the end (rule 33): they are zeroed when the file grows over them, not when it is
// cut. So a truncation changes no data: a crash leaves the old file or the new one. And growth has
// to look there anyway, for a truncation is not the only one that leaves them:
//
//   append: block read, merged, written ── crash ── replay: the old size, new bytes behind it
//           truncate to a larger size: the bytes would show
//
// Growth: tail zeroed on the device ─► larger size, in a transaction that waits for it.
#include "fs/file_size.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/block_device.h"
#include "fs/base/error.h"
#include "fs/base/sabotage.h"
#include "fs/file_blocks.h"
#include "fs/file_inline.h"
#include "fs/file_map.h"
#include "fs/inode.h"
#include "fs/lock_set.h"
#include "fs/lock_types.h"
#include "fs/open_inode.h"
#include "fs/orphans.h"
#include "fs/volume.h"
#include "journal/journal.h"

// One transaction: the size, perhaps with the last extents, perhaps with the intent.
struct size_change {
    struct inode *inode;
    uint64_t size;
    bool needs_flush; // the tail was zeroed
    struct extent_removal removal;
    struct orphan_list *orphans; // NULL: no intent
};

static uint64_t blocks_of(uint64_t bytes)
{
    return bytes / BLOCK_BYTES + (bytes % BLOCK_BYTES != 0);
}

// --- transactions --------------------------------------------------------------------------------

static int enter_list(struct transaction *t, const struct size_change *change)
{
    struct inode *inode = change->inode;
    inode_set_truncate_size(inode, change->size);
    inode_set_orphan(inode, true, change->orphans->slot);
    change->orphans->space = &t->space;
    return orphan_list_insert(change->orphans, t->handle, inode->number, inode_generation(inode));
}

static int change_size(struct transaction *t, void *context)
{
    const struct size_change *change = context;
    struct inode *inode = change->inode;
    transaction_change_inode(t, inode);
    if (change->needs_flush)
        journal_transaction_needs_data_flush(t->handle);
    int result = file_blocks_apply_removal(t, inode, &change->removal);
    if (result == 0 && change->orphans != NULL)
        result = enter_list(t, change);
    if (result != 0)
        return result;
    inode_set_size(inode, change->size);
    inode_set_time(inode, INODE_MODIFIED, t->now);
    inode_set_time(inode, INODE_CHANGED, t->now);
    return 0;
}

static int leave_list(struct transaction *t, void *context)
{
    const struct size_change *change = context;
    struct inode *inode = change->inode;
    transaction_change_inode(t, inode);
    inode_set_orphan(inode, false, 0);
    inode_set_truncate_size(inode, 0);
    change->orphans->space = &t->space;
    return orphan_list_remove(change->orphans, t->handle, inode->number);
}

static int run_with_list(struct size_change *change, uint32_t slot,
                         int (*body)(struct transaction *t, void *context))
{
    struct volume *volume = change->inode->volume;
    struct orphan_list orphans;
    LOCK_SET(set);
    lock_set_add(&set, lock_name_orphans(slot), LOCK_EXCLUSIVE);
    int result = lock_set_acquire(&set, volume);
    if (result != 0)
        return result;
    result = orphan_list_load(&orphans, volume, slot);
    if (result == 0) {
        struct transaction t;
        transaction_init(&t, volume, change->inode->number);
        allocator_allow_margin(&t.space);
        transaction_add_credits(&t, 1);
        transaction_add_cost(&t, orphan_list_cost(&orphans));
        change->orphans = &orphans;
        result = transaction_run(&t, body, change);
        change->orphans = NULL;
        orphan_list_unload(&orphans);
    }
    lock_set_release(&set);
    return result;
}

// --- the tail --------------------------------------------------------------------------------

// Whole sectors: those before the one that `size` cuts belong to lanes.
static int zero_behind(struct volume *volume, uint64_t block, size_t from)
{
    size_t sector = volume->device->sector_bytes;
    size_t first = from & ~(sector - 1);
    uint64_t offset = block * BLOCK_BYTES + first;
    uint8_t *buffer = block_buffer_new(BLOCK_BYTES);
    int result = 0;
    if (first < from)
        result = block_device_read(volume->device, volume->scheduler, offset, buffer, sector);
    memset(buffer + (from - first), 0, BLOCK_BYTES - from);
    if (result == 0)
        result = block_device_write(volume->device, volume->scheduler, offset, buffer,
                                    BLOCK_BYTES - first);
    free(buffer);
    return result;
}

int file_size_zero_tail(struct inode *inode, const struct open_inode *open, uint64_t size,
                        bool *zeroed)
{
    struct extent run;
    *zeroed = false;
    if (size % BLOCK_BYTES == 0)
        return 0;
    int result = file_map_lookup(inode, open, size / BLOCK_BYTES, &run);
    if (result != 0 || run.state != EXTENT_WRITTEN_RUN)
        return result;
    *zeroed = true;
    return zero_behind(inode->volume, run.volume_block, size % BLOCK_BYTES);
}

// --- shrinking -------------------------------------------------------------------------------

// Everything in one transaction, if it fits: else -ERROR_JOURNAL_FULL with nothing done.
static int shrink_at_once(struct size_change *change)
{
    struct inode *inode = change->inode;
    struct transaction t;
    transaction_init(&t, inode->volume, inode->number);
    transaction_add_credits(&t, 1);
    int result = file_blocks_plan_removal(&t, inode, blocks_of(change->size), EXTENT_FILE_BLOCKS,
                                          EXTENT_MAP_STEP_MAX, &change->removal);
    if (result == 0)
        result = change->removal.has_more ? -ERROR_JOURNAL_FULL
                                          : transaction_run(&t, change_size, change);
    change->removal.count = 0;
    return result;
}

int file_size_settle(struct inode *inode)
{
    bool is_cut_short =
        (inode_flags(inode) & INODE_FLAG_ORPHAN) != 0 && inode_link_count(inode) > 0;
    if (!is_cut_short)
        return 0;
    struct size_change change = {.inode = inode};
    int result =
        file_blocks_remove(inode, blocks_of(inode_truncate_size(inode)), EXTENT_FILE_BLOCKS);
    return result != 0 ? result : run_with_list(&change, inode_orphan_slot(inode), leave_list);
}

static int set_size_alone(struct size_change *change)
{
    struct transaction t;
    transaction_init(&t, change->inode->volume, change->inode->number);
    transaction_add_credits(&t, 1);
    return transaction_run(&t, change_size, change);
}

// An unlinked file is on the list already, and a crash frees all of it.
static int shrink_unlinked(struct size_change *change)
{
    int result = set_size_alone(change);
    if (result != 0)
        return result;
    return file_blocks_remove(change->inode, blocks_of(change->size), EXTENT_FILE_BLOCKS);
}

static int shrink_with_intent(struct size_change *change)
{
    struct inode *inode = change->inode;
    if (inode_link_count(inode) == 0 || SABOTAGE(truncate_without_intent))
        return shrink_unlinked(change);
    int result = run_with_list(change, inode->volume->slot, change_size);
    return result != 0 ? result : file_size_settle(inode);
}

static int shrink(struct inode *inode, struct open_inode *open, uint64_t size)
{
    struct size_change change = {.inode = inode, .size = size};
    open_inode_drain(open);
    int result = shrink_at_once(&change);
    if (result == -ERROR_JOURNAL_FULL)
        result = shrink_with_intent(&change);
    if (result == 0 && open != NULL)
        open_inode_cut(open, size);
    return result;
}

// --- growing, or neither ---------------------------------------------------------------------

static int grow(struct inode *inode, struct open_inode *open, uint64_t size)
{
    struct size_change change = {.inode = inode, .size = size};
    int result = 0;
    if (size > inode_size(inode) && !SABOTAGE(grow_skip_tail_zero))
        result = file_size_zero_tail(inode, open, inode_size(inode), &change.needs_flush);
    return result != 0 ? result : set_size_alone(&change);
}

static int resize_blocks(struct inode *inode, struct open_inode *open, uint64_t size)
{
    uint64_t old = open_inode_size(open, inode);
    // The order of first writes and sizes is the flush's business: what is in memory goes first.
    int result = open_inode_flush(open, inode);
    if (result != 0)
        return result;
    if (size < old)
        return shrink(inode, open, size);
    return grow(inode, open, size);
}

static int resize(struct inode *inode, struct open_inode *open, uint64_t size)
{
    int is_inline = file_is_inline(inode);
    if (is_inline < 0)
        return is_inline;
    if (is_inline && size <= FILE_INLINE_BYTES_MAX) {
        open_inode_drain(open);
        return file_inline_resize(inode, size);
    }
    int result = is_inline ? file_inline_to_block(inode) : 0;
    return result != 0 ? result : resize_blocks(inode, open, size);
}

int file_size_set(struct inode *inode, struct open_inode *open, uint64_t size)
{
    if (size > FORMAT_FILE_BYTES_MAX)
        return -EFBIG;
    int result = file_size_settle(inode);
    if (result == 0)
        result = resize(inode, open, size);
    if (result == 0 && open != NULL)
        pass_grow(&open->pass, size);
    return result;
}
