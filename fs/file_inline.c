// SPDX-License-Identifier: Apache-2.0
#include "fs/file_inline.h"

#include <stdlib.h>
#include <string.h>

#include "fs/base/block_device.h"
#include "fs/base/check.h"
#include "fs/extent_map.h"
#include "fs/transaction.h"
#include "fs/volume.h"
#include "journal/journal.h"

int file_is_inline(struct inode *inode)
{
    if (inode_size(inode) == 0 || inode_size(inode) > FILE_INLINE_BYTES_MAX)
        return 0;
    uint8_t byte;
    int length = inode_get_inline(inode, &byte, sizeof(byte));
    return length > 0 ? 1 : length;
}

int file_can_be_inline(struct inode *inode, uint64_t size)
{
    struct extent extent;
    if (size > FILE_INLINE_BYTES_MAX || inode_size(inode) > FILE_INLINE_BYTES_MAX)
        return 0;
    int result = file_is_inline(inode);
    if (result != 0)
        return result;
    result = extent_map_lookup(inode, 0, &extent);
    if (result != 0)
        return result;
    return extent.state == EXTENT_HOLE && extent.block_count >= EXTENT_FILE_BLOCKS;
}

// The content, with zeros up to FILE_INLINE_BYTES_MAX.
static int get_content(struct inode *inode, uint8_t content[FILE_INLINE_BYTES_MAX])
{
    memset(content, 0, FILE_INLINE_BYTES_MAX);
    int length = inode_get_inline(inode, content, FILE_INLINE_BYTES_MAX);
    return length < 0 ? length : 0;
}

int file_inline_read(struct inode *inode, uint64_t offset, void *buffer, size_t length)
{
    uint8_t content[FILE_INLINE_BYTES_MAX];
    CHECK(offset + length <= FILE_INLINE_BYTES_MAX);
    int result = get_content(inode, content);
    if (result == 0)
        memcpy(buffer, content + offset, length);
    return result;
}

struct inline_change {
    struct inode *inode;
    uint8_t content[FILE_INLINE_BYTES_MAX];
    size_t size;
};

static int change_content(struct transaction *t, void *context)
{
    struct inline_change *change = context;
    struct inode *inode = change->inode;
    transaction_change_inode(t, inode);
    int result = inode_set_inline(inode, t->handle, change->content, change->size);
    if (result != 0)
        return result;
    inode_set_size(inode, change->size);
    inode_set_time(inode, INODE_MODIFIED, t->now);
    inode_set_time(inode, INODE_CHANGED, t->now);
    return 0;
}

static int set_content(struct inline_change *change)
{
    struct transaction t;
    transaction_init(&t, change->inode->volume, change->inode->number);
    allocator_allow_interrupt(&t.space);
    transaction_add_credits(&t, 1);
    transaction_add_cost(&t, inode_inline_cost(change->inode, FILE_INLINE_BYTES_MAX));
    return transaction_run(&t, change_content, change);
}

int file_inline_write(struct inode *inode, uint64_t offset, const void *data, size_t length)
{
    struct inline_change change = {.inode = inode, .size = inode_size(inode)};
    CHECK(offset + length <= FILE_INLINE_BYTES_MAX);
    int result = get_content(inode, change.content);
    if (result != 0)
        return result;
    memcpy(change.content + offset, data, length);
    if (change.size < offset + length)
        change.size = offset + length;
    return set_content(&change);
}

int file_inline_resize(struct inode *inode, uint64_t size)
{
    struct inline_change change = {.inode = inode, .size = size};
    CHECK(size <= FILE_INLINE_BYTES_MAX);
    int result = get_content(inode, change.content);
    if (result != 0)
        return result;
    memset(change.content + size, 0, FILE_INLINE_BYTES_MAX - size);
    return set_content(&change);
}

// --- leaving the inode ---------------------------------------------------------------------------

struct inline_move {
    struct inode *inode;
    uint8_t *block; // the content, with zeros behind it
};

// The write is small and rare enough to be waited for inside of the handle: so there is no moment
// at which the content stands in both places or in none.
static int change_place(struct transaction *t, void *context)
{
    struct inline_move *move = context;
    struct inode *inode = move->inode;
    struct volume *volume = inode->volume;
    struct block_run run;
    transaction_change_inode(t, inode);
    int result = allocator_allocate(&t->space, t->handle, inode->number, 1, 1, 1, &run);
    if (result == 0)
        result = inode_set_inline(inode, t->handle, NULL, 0);
    struct extent extent = {.block_count = 1, .state = EXTENT_WRITTEN_RUN};
    extent.volume_block = result == 0 ? run.start_block : 0;
    if (result == 0)
        result = extent_map_insert(inode, t->handle, &extent);
    if (result == 0)
        result = block_device_write(volume->device, volume->scheduler,
                                    run.start_block * BLOCK_BYTES, move->block, BLOCK_BYTES);
    if (result == 0)
        journal_transaction_needs_data_flush(t->handle);
    return result;
}

int file_inline_to_block(struct inode *inode)
{
    struct inline_move move = {.inode = inode, .block = block_buffer_new(BLOCK_BYTES)};
    int result = get_content(inode, move.block);
    if (result == 0) {
        struct transaction t;
        transaction_init(&t, inode->volume, inode->number);
        allocator_want_data(&t.space, 1, 1);
        transaction_add_space_changes(&t, 1);
        transaction_add_cost(&t, inode_inline_cost(inode, 0));
        transaction_add_cost(&t, extent_map_insert_cost(inode));
        result = transaction_run(&t, change_place, &move);
    }
    free(move.block);
    return result;
}
