// SPDX-License-Identifier: Apache-2.0
#include <string.h>

#include "fs/allocator.h"
#include "fs/base/block_device.h"
#include "fs/format.h"
#include "fs/operation.h"
#include "fs/volume.h"

int operation_statfs(struct volume *volume, struct statvfs *out)
{
    struct allocator_summary summary;
    if (volume_check(volume) != 0)
        return volume_check(volume);
    allocator_summary_get(volume, &summary);
    *out = (struct statvfs){
        .f_bsize = BLOCK_BYTES,
        .f_frsize = BLOCK_BYTES,
        .f_blocks = summary.block_count,
        .f_bfree = summary.free_block_count,
        .f_bavail = summary.available_block_count,
        .f_files = summary.block_count, // an inode is a block
        .f_ffree = summary.free_block_count,
        .f_favail = summary.available_block_count,
        .f_namemax = FORMAT_NAME_BYTES_MAX,
        .f_flag = volume->options.read_only ? ST_RDONLY : 0,
    };
    memcpy(&out->f_fsid, volume->geometry.uuid, sizeof(out->f_fsid));
    return 0;
}
