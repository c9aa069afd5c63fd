// SPDX-License-Identifier: Apache-2.0
// Reading what lanes cannot: holes, unwritten and inline content, and the first read after the
// right came to this node (which lets lanes do the rest). Where nodes write the file they read it
// under the right that lets the others go on (fs/operation_together.c).
#include <string.h>

#include "fs/base/block_device.h"
#include "fs/data_io.h"
#include "fs/file_inline.h"
#include "fs/file_map.h"
#include "fs/open_file.h"
#include "fs/open_inode.h"
#include "fs/operation_private.h"
#include "fs/volume.h"

enum { PIECES_MAX = 64 }; // on their way at once

struct reading {
    struct volume *volume;
    struct data_piece pieces[PIECES_MAX];
    size_t piece_count;
};

static int read_pieces(struct reading *reading)
{
    int result = data_io_read(reading->volume, reading->pieces, reading->piece_count);
    reading->piece_count = 0;
    return result;
}

static int read_run(struct reading *reading, const struct extent *run, uint64_t block_count,
                    uint8_t *buffer)
{
    if (run->state != EXTENT_WRITTEN_RUN) {
        memset(buffer, 0, block_count * BLOCK_BYTES);
        return 0;
    }
    reading->pieces[reading->piece_count++] =
        (struct data_piece){run->volume_block, block_count, buffer};
    return reading->piece_count == PIECES_MAX ? read_pieces(reading) : 0;
}

// Whole blocks [first, end) into the buffer.
static int read_blocks(struct inode *inode, const struct open_inode *open, uint64_t first,
                       uint64_t end, uint8_t *buffer)
{
    struct reading reading = {.volume = inode->volume};
    int result = 0;
    for (uint64_t block = first; result == 0 && block < end;) {
        struct extent run;
        result = file_map_lookup(inode, open, block, &run);
        if (result != 0)
            break;
        uint64_t count = run.block_count < end - block ? run.block_count : end - block;
        result = read_run(&reading, &run, count, buffer + (block - first) * BLOCK_BYTES);
        block += count;
    }
    // Also after an error: nothing may be left on its way.
    int last = read_pieces(&reading);
    return result != 0 ? result : last;
}

static int read_range(struct inode *inode, const struct open_inode *open, uint64_t offset,
                      uint8_t *buffer, size_t length)
{
    uint64_t first = offset / BLOCK_BYTES;
    uint64_t end = (offset + length + BLOCK_BYTES - 1) / BLOCK_BYTES;
    int result = file_is_inline(inode);
    if (result == 1)
        return file_inline_read(inode, offset, buffer, length);
    if (result == 0)
        result = read_blocks(inode, open, first, end, buffer);
    if (result == 0 && offset % BLOCK_BYTES != 0)
        memmove(buffer, buffer + offset % BLOCK_BYTES, length);
    return result;
}

ssize_t operation_read_locked(struct open_inode *open, struct inode *inode, uint64_t offset,
                              void *buffer, size_t length)
{
    uint64_t size = open_inode_size(open, inode);
    int result = open_inode_publish(open, inode);
    if (result != 0 || offset >= size || length == 0)
        return result;
    if (length > size - offset)
        length = size - offset;
    result = read_range(inode, open, offset, buffer, length);
    if (result != 0)
        return result;
    open_inode_note_read(open);
    return (ssize_t)length;
}

ssize_t operation_read(struct volume *volume, struct open_file *file, uint64_t offset, void *buffer,
                       size_t length)
{
    struct inode inode;
    bool is_shared = volume->journal != NULL && open_inode_has_rivals(file->inode);
    struct lock_set set = {.flags = is_shared ? LOCK_TO_WRITE_TOGETHER : 0};
    ssize_t result = live_inode_acquire(&inode, &set, volume, file->inode->number, LOCK_SHARED);
    if (result != 0)
        return result;
    result = operation_read_locked(file->inode, &inode, offset, buffer, length);
    live_inode_release(&inode, &set);
    return result;
}
