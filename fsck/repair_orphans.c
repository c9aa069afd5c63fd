// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/check.h"
#include "fs/base/cleanup.h"
#include "fsck/block_reader.h"
#include "fsck/check.h"
#include "fsck/repair.h"
#include "fsck/tree_build.h"
#include "fsck/tree_walk.h"

// --- dropping space --------------------------------------------------------------------------

static bool is_deleted(const struct inode_record *record)
{
    return record != NULL && record->seen & INODE_SEEN_LISTED && record->link_count == 0;
}

// One that was cut by a repair which was itself cut off is listed, but no orphan any more: it keeps
// all that it has.
static bool is_to_be_cut(const struct inode_record *record)
{
    return record != NULL && record->seen & INODE_SEEN_LISTED && record->seen & INODE_SEEN_ORPHAN &&
           record->link_count > 0;
}

// A cut inode keeps its own block; its data and nodes are added again as far as they stay.
static bool run_is_given_up(const struct check *check, const struct space_run *run)
{
    enum space_use use = space_run_use(run);
    if (use == SPACE_ORPHAN_TREE)
        return true;
    if (use != SPACE_INODE && use != SPACE_TREE && use != SPACE_DATA)
        return false;
    const struct inode_record *record = inode_table_find(&check->inodes, space_run_owner(run));
    return is_deleted(record) || (use != SPACE_INODE && is_to_be_cut(record));
}

static void drop_space(struct check *check)
{
    for (uint32_t ag = 0; ag < check->geometry.ag_count; ag++) {
        struct space_group *group = &check->space.groups[ag];
        for (uint32_t i = 0; i < group->run_count; i++) {
            if (!run_is_given_up(check, &group->runs[i]))
                continue;
            group->runs[i].owner_and_use |= SPACE_DROPPED;
            group->needs_rebuild = true;
        }
    }
}

// --- finishing a truncate --------------------------------------------------------------------

struct cut {
    struct check *check;
    uint64_t number;
    uint64_t file_block_end; // what lies behind it goes
    uint64_t extent_blocks;  // that stay
    uint64_t node_count;     // of the new tree
    struct tree_build_items items;
};

static void keep_extent(struct cut *cut, const struct format_item *item)
{
    struct format_extent extent;
    int result = format_extent_decode(item, &cut->check->geometry, &extent, NULL);
    CHECK(result == 0); // the check would have said so
    if (extent.file_block >= cut->file_block_end)
        return;
    uint64_t room = cut->file_block_end - extent.file_block;
    uint32_t count = extent.block_count < room ? extent.block_count : (uint32_t)room;
    struct extent_disk disk = {
        .start_block = le64_make(extent.start_block),
        .block_count = le32_make(count),
        .flags = le32_make(extent.flags),
    };
    tree_build_items_add(&cut->items, &item->key, &disk, sizeof(disk));
    cut->extent_blocks += count;
    space_add(&cut->check->space, extent.start_block, count, SPACE_DATA, cut->number);
}

static bool keep_item(struct tree_walk *walk, uint64_t block, const struct format_item *item)
{
    struct cut *cut = walk->context;
    (void)block;
    if (item->key.kind == ITEM_EXTENT)
        keep_extent(cut, item);
    else
        tree_build_items_add(&cut->items, &item->key, item->value, item->length);
    return true;
}

static int write_node(struct tree_build *build, struct tree_block_disk *disk, uint64_t *block)
{
    struct cut *cut = build->context;
    struct check *check = cut->check;
    uint32_t ag = 0;
    geometry_ag_of_block(&check->geometry, cut->number, &ag);
    *block = space_take_block(&check->space, ag, SPACE_TREE, cut->number);
    if (*block == 0)
        return -ENOSPC;
    struct block_expectation is = {
        .format_id = check->geometry.format_id,
        .address = *block,
        .owner = cut->number,
        .type = BLOCK_TYPE_TREE_NODE,
    };
    cut->node_count++;
    format_block_init(disk, &is);
    format_block_seal(disk, lamport_tick(&check->clock));
    return block_reader_write(check->reader, *block, disk);
}

static void collect_items(struct cut *cut, const struct inode_disk *disk)
{
    struct tree_walk walk = {
        .check = cut->check,
        .root_block = cut->number,
        .area = disk->root,
        .area_bytes = sizeof(disk->root),
        .owner = cut->number,
        .problem = PROBLEM_TREE_NODE,
        .item = keep_item,
        .context = cut,
    };
    tree_walk_run(&walk);
    CHECK(!walk.is_damaged); // nothing has changed since the check
}

static void sort_groups(struct check *check)
{
    for (uint32_t ag = 0; ag < check->geometry.ag_count; ag++)
        space_group_sort(&check->space.groups[ag]);
}

static int build_cut_tree(struct cut *cut, struct inode_disk *disk)
{
    struct tree_build build = {
        .root = disk->root,
        .root_bytes = sizeof(disk->root),
        .write_node = write_node,
        .context = cut,
    };
    tree_build_items_init(&cut->items);
    collect_items(cut, disk);
    sort_groups(cut->check);
    int result = tree_build_run(&build, &cut->items);
    tree_build_items_deinit(&cut->items);
    return result;
}

static int cut_inode(struct check *check, uint64_t number)
{
    CLEANUP_FREE struct inode_disk *disk = malloc(sizeof(*disk));
    CHECK(disk != NULL);
    int result = block_reader_read_verified(check->reader, BLOCK_TYPE_INODE, number, number, disk);
    if (result < 0)
        return result;
    uint64_t size = le64_get(disk->truncate_size);
    struct cut cut = {
        .check = check,
        .number = number,
        .file_block_end = (size + BLOCK_BYTES - 1) / BLOCK_BYTES,
    };
    result = build_cut_tree(&cut, disk);
    if (result == 0) // the new nodes are durable before the root that points to them
        result = block_device_flush(check->device, check->environment->scheduler);
    if (result < 0)
        return result;
    disk->block_count = le64_make(cut.extent_blocks + cut.node_count);
    disk->flags = le32_make(le32_get(disk->flags) & ~(uint32_t)INODE_FLAG_ORPHAN);
    disk->orphan_slot = le32_make(0);
    disk->truncate_size = le64_make(0);
    format_block_seal(disk, lamport_tick(&check->clock));
    return block_reader_write(check->reader, number, disk);
}

int repair_orphan_inodes(struct check *check)
{
    int result = 0;
    drop_space(check);
    for (size_t i = 0; i < check->inodes.count && result == 0; i++) {
        if (is_to_be_cut(&check->inodes.records[i]))
            result = cut_inode(check, check->inodes.records[i].number);
    }
    return result;
}

// --- the lists -------------------------------------------------------------------------------

static int empty_list(struct check *check, uint32_t slot)
{
    CLEANUP_FREE struct slot_state_disk *disk = malloc(sizeof(*disk));
    CHECK(disk != NULL);
    uint64_t block = geometry_slot_state_block(&check->geometry, slot);
    int result =
        block_reader_read_verified(check->reader, BLOCK_TYPE_SLOT_STATE, block, slot, disk);
    if (result < 0 || ((struct tree_node_disk *)disk->orphan_root)->item_count.raw == 0)
        return result;
    format_node_init(disk->orphan_root, sizeof(disk->orphan_root), 0);
    format_block_seal(disk, lamport_tick(&check->clock));
    return block_reader_write(check->reader, block, disk);
}

int repair_orphan_lists(struct check *check)
{
    int result = 0;
    for (uint32_t slot = 0; slot < check->geometry.slot_count && result == 0; slot++)
        result = empty_list(check, slot);
    return result;
}
