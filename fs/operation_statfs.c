// SPDX-License-Identifier: Apache-2.0
#include <string.h>

#include "fs/allocator.h"
#include "fs/base/block_device.h"
#include "fs/format.h"
#include "fs/operation.h"
#include "fs/quota.h"
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

// --- as a project sees it ------------------------------------------------------------------------

// The limit that counts: the soft one, for beyond it one has only a while.
static void narrow(uint64_t hard, uint64_t soft, int64_t used, uint64_t *total, uint64_t *left)
{
    uint64_t limit = soft != 0 ? soft : hard;
    uint64_t taken = used > 0 ? (uint64_t)used : 0;
    if (limit == 0)
        return;
    if (limit < *total)
        *total = limit;
    uint64_t rest = limit > taken ? limit - taken : 0;
    if (rest < *left)
        *left = rest;
}

static void show_project(const struct quota_row *row, struct statvfs *out)
{
    const struct quota_limits *limits = &row->limits;
    uint64_t blocks = out->f_blocks, files = out->f_files;
    uint64_t blocks_left = out->f_bavail, files_left = out->f_favail;
    narrow(limits->block_hard, limits->block_soft, row->blocks, &blocks, &blocks_left);
    narrow(limits->inode_hard, limits->inode_soft, row->inodes, &files, &files_left);
    if (blocks != out->f_blocks || blocks_left != out->f_bavail)
        out->f_bfree = out->f_bavail = blocks_left;
    if (files != out->f_files || files_left != out->f_favail)
        out->f_ffree = out->f_favail = files_left;
    out->f_blocks = blocks;
    out->f_files = files;
}

// What cannot be read is not shown: the volume's own numbers are true in any case.
int operation_statfs_of(struct volume *volume, uint64_t inode, struct statvfs *out)
{
    struct attributes found;
    struct quota_row row;
    int result = operation_statfs(volume, out);
    if (result != 0 || volume->quota == NULL || !quota_is_on(volume->quota))
        return result;
    if (operation_get_attributes(volume, inode, &found) == 0 && found.hands_project_down &&
        quota_get_project(volume->quota, found.project, &row) == 0)
        show_project(&row, out);
    return volume_check(volume);
}
