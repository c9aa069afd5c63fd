// SPDX-License-Identifier: Apache-2.0
#include <stdlib.h>

#include "fs/base/check.h"
#include "fs/base/cleanup.h"
#include "fsck/block_reader.h"
#include "fsck/check.h"
#include "fsck/repair.h"

// One that was to be deleted and has a name after all stays as it is: it leaves the orphans.
static void keep(struct inode_disk *disk)
{
    disk->flags = le32_make(le32_get(disk->flags) & ~(uint32_t)INODE_FLAG_ORPHAN);
    disk->orphan_slot = le32_make(0);
    disk->truncate_size = le64_make(0);
}

static int correct(struct check *check, const struct inode_record *record)
{
    CLEANUP_FREE struct inode_disk *disk = malloc(sizeof(*disk));
    CHECK(disk != NULL);
    uint64_t number = record->number;
    int result = block_reader_read_verified(check->reader, BLOCK_TYPE_INODE, number, number, disk);
    if (result < 0)
        return result;
    if (record->link_count == 0)
        keep(disk);
    disk->link_count = le32_make(inode_record_links_wanted(record));
    disk->parent = le64_make(inode_record_parent_wanted(record));
    repair_write(check, number, disk);
    return 0;
}

int repair_links(struct check *check)
{
    int result = 0;
    for (size_t i = 0; i < check->inodes.count && result == 0; i++) {
        const struct inode_record *record = &check->inodes.records[i];
        bool is_right = record->link_count == inode_record_links_wanted(record) &&
                        record->parent == inode_record_parent_wanted(record);
        if (record->seen & INODE_SEEN_VALID && !is_right)
            result = correct(check, record);
    }
    return result;
}
