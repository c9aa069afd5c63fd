// SPDX-License-Identifier: Apache-2.0
// Writing where several nodes write the same file: what is in place (written blocks, whole sectors,
// inside the size) is done under a right that others may have, too, and the lanes do the rest of
// it. Who orders writes to one sector is whoever shares the file: a cluster file system or database
// in guests, by byte-range locks or messages of its own.
//
//   n1  writes in place, EXCLUSIVE        n2  writes: wants EXCLUSIVE ─► has it, n1 has a rival
//   n1  writes again: wants TOGETHER ─► n2 goes down to that, its lanes go on ─► both write
//
// Everything else takes the file for itself and sends the others' lanes away (rules 3 and 25).
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/block_device.h"
#include "fs/base/check.h"
#include "fs/open_file.h"
#include "fs/open_inode.h"
#include "fs/operation_private.h"
#include "fs/volume.h"

// Lanes may write, if what the node has and may have lets them.
static int let_lanes_write(struct open_inode *open)
{
    struct inode inode;
    struct lock_set set = {.flags = LOCK_TO_WRITE_TOGETHER};
    int result = live_inode_acquire(&inode, &set, open->volume, open->number, LOCK_SHARED);
    if (result != 0)
        return result;
    result = open_inode_publish(open, &inode);
    live_inode_release(&inode, &set);
    return result;
}

static bool is_in_place(struct pass *pass, uint64_t offset, size_t length)
{
    uint64_t end = offset + length, volume_offset, run;
    if (end > pass_size(pass))
        return false;
    for (; offset < end; offset += run) {
        if (!pass_translate(pass, offset, &volume_offset, &run))
            return false;
    }
    return true;
}

static int write_piece(struct volume *volume, uint64_t volume_offset, const uint8_t *data,
                       size_t length)
{
    void *aligned = NULL;
    if ((uintptr_t)data % BUFFER_ALIGNMENT != 0)
        data = aligned = memcpy(block_buffer_new(length), data, length);
    int result = block_device_write(volume->device, volume->scheduler, volume_offset, data, length);
    free(aligned);
    return result;
}

// The map that was looked at can only have grown since the pass was entered.
static int write_in_place(struct open_inode *open, uint64_t offset, const uint8_t *data,
                          size_t length)
{
    int result = 0;
    while (result == 0 && length > 0) {
        uint64_t volume_offset, run;
        CHECK(pass_translate(&open->pass, offset, &volume_offset, &run));
        size_t piece = run < length ? (size_t)run : length;
        result = write_piece(open->volume, volume_offset, data, piece);
        offset += piece;
        data += piece;
        length -= piece;
    }
    return result;
}

// As a lane does it, in the core.
static ssize_t write_as_lane(struct open_inode *open, uint64_t offset, const uint8_t *data,
                             size_t length)
{
    if (!pass_enter(&open->pass, PASS_WRITE))
        return 0;
    ssize_t result = is_in_place(&open->pass, offset, length) ? (ssize_t)length : 0;
    if (result > 0) {
        int error = write_in_place(open, offset, data, length);
        open_inode_note_write(open);
        result = error != 0 ? error : result;
    }
    pass_leave(&open->pass);
    return result;
}

bool operation_writes_together(const struct open_file *file, uint64_t offset, size_t length)
{
    const struct open_inode *open = file->inode;
    uint64_t sector_mask = open->volume->device->sector_bytes - 1;
    return open->writes_in_place && open_inode_has_rivals(open) && (file->flags & O_APPEND) == 0 &&
           length > 0 && ((offset | length) & sector_mask) == 0;
}

ssize_t operation_write_together(struct open_file *file, uint64_t offset, const void *data,
                                 size_t length)
{
    struct open_inode *open = file->inode;
    int result = let_lanes_write(open);
    if (result != 0)
        return result;
    ssize_t written = write_as_lane(open, offset, data, length);
    open->writes_in_place = written != 0;
    return written;
}
