// SPDX-License-Identifier: Apache-2.0
// What a node was about to delete or to cut when it died. The lists are emptied: what stood on them
// to be deleted then has no name and no list, and its space is free.
#include <stdlib.h>
#include <string.h>

#include "fs/base/check.h"
#include "fs/base/cleanup.h"
#include "fsck/block_reader.h"
#include "fsck/check.h"
#include "fsck/rebuild.h"
#include "fsck/repair.h"

// --- finishing a truncate --------------------------------------------------------------------

// One that was cut by a repair which was itself cut off is listed, but no orphan any more: it keeps
// all that it has.
static bool is_to_be_cut(const struct inode_record *record)
{
    return record->seen & INODE_SEEN_VALID && record->seen & INODE_SEEN_ORPHAN &&
           record->link_count > 0;
}

// Whoever truncates sets the size first. One that stands on no list may never have been truncated:
// its size counts.
static int cut_inode(struct check *check, const struct inode_record *record)
{
    CLEANUP_FREE struct inode_disk *disk = malloc(sizeof(*disk));
    CHECK(disk != NULL);
    uint64_t number = record->number;
    int result = block_reader_read_verified(check->reader, BLOCK_TYPE_INODE, number, number, disk);
    if (result < 0)
        return result;
    uint64_t end = le64_get(disk->truncate_size), size = le64_get(disk->size);
    if (!(record->seen & INODE_SEEN_LISTED) && size > end)
        end = size;
    struct rebuild_request request = {
        .check = check,
        .number = number,
        .has_end = true,
        .file_block_end = (end + BLOCK_BYTES - 1) / BLOCK_BYTES,
    };
    return rebuild_inode(&request);
}

int repair_orphan_inodes(struct check *check)
{
    int result = 0;
    for (size_t i = 0; i < check->inodes.count && result == 0; i++) {
        if (is_to_be_cut(&check->inodes.records[i]))
            result = cut_inode(check, &check->inodes.records[i]);
    }
    return result;
}

// --- the lists -------------------------------------------------------------------------------

int repair_orphan_list(struct check *check, uint32_t slot)
{
    CLEANUP_FREE struct slot_state_disk *disk = malloc(sizeof(*disk));
    uint8_t empty[sizeof(disk->orphan_root)] __attribute__((aligned(8)));
    CHECK(disk != NULL);
    uint64_t block = geometry_slot_state_block(&check->geometry, slot);
    int result =
        block_reader_read_verified(check->reader, BLOCK_TYPE_SLOT_STATE, block, slot, disk);
    format_node_init(empty, sizeof(empty), 0);
    if (result < 0 || memcmp(empty, disk->orphan_root, sizeof(empty)) == 0)
        return result;
    memcpy(disk->orphan_root, empty, sizeof(empty));
    repair_write(check, block, disk);
    return 0;
}

int repair_orphan_lists(struct check *check)
{
    int result = 0;
    for (uint32_t slot = 0; slot < check->geometry.slot_count && result == 0; slot++)
        result = repair_orphan_list(check, slot);
    return result;
}
