// SPDX-License-Identifier: Apache-2.0
// Where a file's data and holes are: lseek(2), and its extents for `lunfs stat`.
#include <errno.h>
#include <unistd.h>

#include "fs/base/block_device.h"
#include "fs/base/sabotage.h"
#include "fs/extent_map.h"
#include "fs/file_inline.h"
#include "fs/inode_table.h"
#include "fs/open_file.h"
#include "fs/open_inode.h"
#include "fs/operation_private.h"
#include "fs/volume.h"

// Locks and loads, with everything in the map.
static int acquire_flushed(struct inode *inode, struct lock_set *set, struct volume *volume,
                           uint64_t number)
{
    struct open_inode *open = open_inode_find(volume, number);
    bool is_dirty = open != NULL && open_inode_is_dirty(open);
    int result =
        live_inode_acquire(inode, set, volume, number, is_dirty ? LOCK_EXCLUSIVE : LOCK_SHARED);
    if (result != 0 || !is_dirty || SABOTAGE(seek_skip_flush))
        return result;
    result = open_inode_flush(open_inode_find(volume, number), inode);
    if (result != 0)
        live_inode_release(inode, set);
    return result;
}

static off_t seek_blocks(struct inode *inode, uint64_t offset, uint64_t size, int whence)
{
    uint64_t block = offset / BLOCK_BYTES, found;
    uint64_t end = (size + BLOCK_BYTES - 1) / BLOCK_BYTES;
    int result = whence == SEEK_DATA ? extent_map_seek_data(inode, block, end, &found)
                                     : extent_map_seek_hole(inode, block, end, &found);
    if (result != 0)
        return result;
    uint64_t at = found <= block ? offset : found * BLOCK_BYTES;
    if (whence == SEEK_DATA)
        return at < size ? (off_t)at : -ENXIO;
    return at < size ? (off_t)at : (off_t)size;
}

static off_t seek_loaded(struct inode *inode, off_t offset, int whence)
{
    uint64_t size = open_inode_size(open_inode_find(inode->volume, inode->number), inode);
    if ((uint64_t)offset >= size)
        return -ENXIO;
    int is_inline = file_is_inline(inode);
    if (is_inline < 0)
        return is_inline;
    if (is_inline)
        return whence == SEEK_DATA ? offset : (off_t)size;
    return seek_blocks(inode, (uint64_t)offset, size, whence);
}

off_t operation_seek(struct volume *volume, struct open_file *file, off_t offset, int whence)
{
    struct inode inode;
    LOCK_SET(set);
    if (whence != SEEK_DATA && whence != SEEK_HOLE)
        return -EINVAL;
    if (offset < 0)
        return -ENXIO;
    int result = acquire_flushed(&inode, &set, volume, file->inode->number);
    if (result != 0)
        return result;
    off_t found = seek_loaded(&inode, offset, whence);
    live_inode_release(&inode, &set);
    return found;
}

struct extent_listing {
    void (*emit)(void *context, const struct extent_report *extent);
    void *context;
};

static bool report_extent(void *context, const struct extent *extent)
{
    const struct extent_listing *listing = context;
    if (extent->state == EXTENT_HOLE)
        return true;
    struct extent_report report = {
        .file_offset = extent->file_block * BLOCK_BYTES,
        .volume_offset = extent->volume_block * BLOCK_BYTES,
        .length = extent->block_count * BLOCK_BYTES,
        .is_unwritten = extent->state == EXTENT_UNWRITTEN_RUN,
    };
    listing->emit(listing->context, &report);
    return true;
}

int operation_list_extents(struct volume *volume, uint64_t number,
                           void (*emit)(void *context, const struct extent_report *extent),
                           void *context)
{
    struct extent_listing listing = {emit, context};
    struct inode inode;
    LOCK_SET(set);
    int result = acquire_flushed(&inode, &set, volume, number);
    if (result != 0)
        return result;
    if (inode_is_regular(&inode))
        result = extent_map_iterate(&inode, 0, report_extent, &listing);
    live_inode_release(&inode, &set);
    return result == -ENOENT ? 0 : result;
}
