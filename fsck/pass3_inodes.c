// SPDX-License-Identifier: Apache-2.0
// Assumes that groups were read. Starts at the root directory and at the orphan lists, reads every
// inode that is found, walks its tree, and so finds more. Leaves the inode table, with what each
// inode says and what was found to point to it, and in `space` what all of them use. An inode that
// nothing points to is found by its space: what is neither used nor free is read in search of it.
#include <dirent.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "fs/base/check.h"
#include "fs/base/cleanup.h"
#include "fs/base/error.h"
#include "fs/base/memory.h"
#include "fsck/block_reader.h"
#include "fsck/check.h"
#include "fsck/chunk_cache.h"
#include "fsck/directory_entries.h"
#include "fsck/inode_items.h"
#include "fsck/tree_walk.h"

typedef unsigned long long ull;

// --- one inode -------------------------------------------------------------------------------

static bool read_inode(struct check *check, struct inode_record *record, struct inode_disk *disk,
                       struct format_inode *inode)
{
    const char *reason = NULL;
    uint64_t number = record->number;
    int result = block_reader_read_verified(check->reader, BLOCK_TYPE_INODE, number, number, disk);
    if (result < 0) {
        problem_report(&check->problems, PROBLEM_INODE_BLOCK, number, "%s (directory %llu)",
                       error_text(result), (ull)record->linked_from);
        return false;
    }
    if (format_inode_decode(disk, &check->geometry, inode, &reason) < 0) {
        record->seen |= INODE_SEEN_BAD_FIELDS;
        problem_report(&check->problems, PROBLEM_INODE_FIELDS, number, "%s (directory %llu)",
                       reason, (ull)record->linked_from);
        return false;
    }
    return true;
}

// What a directory entry promised about it.
static void compare_with_entry(struct check *check, const struct inode_record *record,
                               const struct format_inode *inode)
{
    struct directory_promise promise = {
        .type = record->type,
        .generation = record->generation,
        .block = record->linked_from,
        .directory = record->linked_from,
    };
    if (record->seen & INODE_SEEN_LINKED)
        directory_promise_compare(check, &promise, inode->number, IFTODT(inode->mode),
                                  inode->generation);
}

static void take_fields(struct check *check, struct inode_record *record,
                        const struct format_inode *inode)
{
    record->generation = inode->generation;
    record->link_count = inode->link_count;
    record->parent = inode->parent;
    record->type = IFTODT(inode->mode);
    record->slot = (uint16_t)inode->orphan_slot;
    record->seen |= INODE_SEEN_VALID;
    if (S_ISDIR(inode->mode))
        record->seen |= INODE_SEEN_DIRECTORY;
    if (inode->flags & INODE_FLAG_ORPHAN)
        record->seen |= INODE_SEEN_ORPHAN;
    if (S_ISDIR(inode->mode))
        check->directory_count++;
    else
        check->file_count++;
}

static void walk_tree(struct check *check, const struct inode_disk *disk,
                      const struct format_inode *inode)
{
    CLEANUP_FREE struct inode_items *items = calloc(1, sizeof(*items));
    CHECK(items != NULL);
    items->check = check;
    items->inode = *inode;
    items->number = inode->number;
    struct tree_walk walk = {
        .check = check,
        .root_block = inode->number,
        .area = disk->root,
        .area_bytes = sizeof(disk->root),
        .owner = inode->number,
        .problem = PROBLEM_TREE_NODE,
        .node = inode_items_node,
        .item = inode_items_item,
        .context = items,
    };
    uint64_t before = problem_count(&check->problems);
    tree_walk_run(&walk);
    if (!walk.is_damaged)
        inode_items_end(items);
    if (problem_count(&check->problems) > before) // names apart, but then nothing is written anew
        inode_table_find(&check->inodes, inode->number)->seen |= INODE_SEEN_BAD_TREE;
}

void pass3_inode(struct check *check, struct inode_record *record)
{
    CLEANUP_FREE struct inode_disk *disk = malloc(sizeof(*disk));
    CHECK(disk != NULL);
    struct format_inode inode;
    record->seen |= INODE_SEEN_CHECKED;
    space_add(&check->space, record->number, 1, SPACE_INODE, record->number);
    if (!read_inode(check, record, disk, &inode))
        return;
    compare_with_entry(check, record, &inode);
    take_fields(check, record, &inode);
    pass6_quota_inode(check, &inode);
    walk_tree(check, disk, &inode);
}

static uint64_t used_block_estimate(const struct check *check)
{
    uint64_t used = 0;
    for (uint32_t ag = 0; ag < check->geometry.ag_count; ag++) {
        if (check->space.groups[ag].is_initialised)
            used += geometry_ag_block_count(&check->geometry, ag) - check->groups[ag].free_found;
    }
    return used;
}

struct turn {
    uint64_t number;
    size_t index; // in the table
};

static int compare_turns(const void *a, const void *b)
{
    const struct turn *x = a, *y = b;
    return x->number < y->number ? -1 : x->number > y->number;
}

// All that the table has from `first` on, as they stand on the disk: a directory names them in the
// order of hashes, which would be a seek each.
static struct turn *turns_from(const struct check *check, size_t first, size_t count)
{
    struct turn *turns = calloc(count, sizeof(*turns));
    CHECK(turns != NULL);
    for (size_t i = 0; i < count; i++)
        turns[i] = (struct turn){check->inodes.records[first + i].number, first + i};
    qsort(turns, count, sizeof(*turns), compare_turns);
    return turns;
}

struct look_ahead {
    const struct turn *turns;
    size_t count, expected;
    unsigned chunks; // between the turn that it is and the last one expected
};

static bool begins_chunk(const struct look_ahead *ahead, size_t turn)
{
    return turn == 0 || ahead->turns[turn].number / CHUNK_CACHE_BLOCKS !=
                            ahead->turns[turn - 1].number / CHUNK_CACHE_BLOCKS;
}

static void expect_chunks(struct check *check, struct look_ahead *ahead, size_t turn)
{
    if (turn > 0 && begins_chunk(ahead, turn))
        ahead->chunks--;
    for (; ahead->expected < ahead->count && ahead->chunks < CHUNK_CACHE_AHEAD; ahead->expected++) {
        if (!begins_chunk(ahead, ahead->expected))
            continue;
        block_reader_expect(check->reader, ahead->turns[ahead->expected].number);
        ahead->chunks++;
    }
}

static int check_turns(struct check *check, const struct turn *turns, size_t count, uint64_t total)
{
    struct look_ahead ahead = {.turns = turns, .count = count};
    for (size_t i = 0; i < count; i++) {
        if (check_cancelled(check) != 0)
            return -ECANCELED;
        expect_chunks(check, &ahead, i);
        pass3_inode(check, &check->inodes.records[turns[i].index]);
        progress_update(&check->progress, environment_boot_ns(check->environment),
                        check->space.used_block_count, total);
    }
    return 0;
}

// Those found on the way are behind it in the table, and have the next turn.
static int check_found_inodes(struct check *check, size_t *next, uint64_t total)
{
    int result = 0;
    while (*next < check->inodes.count && result == 0) {
        size_t count = check->inodes.count - *next;
        struct turn *turns = turns_from(check, *next, count);
        *next += count;
        result = check_turns(check, turns, count, total);
        free(turns);
    }
    return result;
}

// --- orphan lists ----------------------------------------------------------------------------

static bool take_orphan_node(struct tree_walk *walk, uint64_t block)
{
    space_add(&walk->check->space, block, 1, SPACE_ORPHAN_TREE, walk->owner);
    return true;
}

static bool take_orphan(struct tree_walk *walk, uint64_t block, const struct format_item *item)
{
    struct check *check = walk->check;
    uint64_t generation = 0, number = item->key.major;
    const char *reason = NULL;
    if (item->key.kind != ITEM_ORPHAN)
        reason = "an item of another kind stands in the list";
    else if (format_orphan_decode(item, &generation, &reason) == 0 &&
             !geometry_is_data_range(&check->geometry, number, 1))
        reason = "the inode's number is out of range";
    struct inode_record *record = reason == NULL ? inode_table_add(&check->inodes, number) : NULL;
    if (record != NULL && record->seen & INODE_SEEN_LISTED)
        reason = "the inode stands on another list too";
    else if (record != NULL && record->seen & INODE_SEEN_VALID &&
             record->generation != generation && check->online == NULL)
        reason = "the inode has another generation";
    if (reason != NULL) {
        problem_report(&check->problems, PROBLEM_ORPHAN_ITEM, block, "slot %llu, inode %llu: %s",
                       (ull)walk->owner, (ull)number, reason);
        return true;
    }
    CHECK(record != NULL);
    record->seen |= INODE_SEEN_LISTED;
    record->listed_by = (uint16_t)walk->owner;
    if (!(record->seen & INODE_SEEN_CHECKED))
        record->generation = generation;
    check->orphan_count++;
    return true;
}

void pass3_orphan_list(struct check *check, uint32_t slot)
{
    CLEANUP_FREE struct slot_state_disk *disk = malloc(sizeof(*disk));
    CHECK(disk != NULL);
    uint64_t block = geometry_slot_state_block(&check->geometry, slot);
    if (block_reader_read_verified(check->reader, BLOCK_TYPE_SLOT_STATE, block, slot, disk) < 0)
        return; // pass 1 has reported it
    struct tree_walk walk = {
        .check = check,
        .root_block = block,
        .area = disk->orphan_root,
        .area_bytes = sizeof(disk->orphan_root),
        .owner = slot,
        .problem = PROBLEM_ORPHAN_TREE,
        .node = take_orphan_node,
        .item = take_orphan,
    };
    tree_walk_run(&walk);
}

// --- the pass --------------------------------------------------------------------------------

static void check_root(struct check *check)
{
    const struct inode_record *root = inode_table_find(&check->inodes, check->geometry.root_inode);
    if (root->seen & INODE_SEEN_VALID && !(root->seen & INODE_SEEN_DIRECTORY))
        problem_report(&check->problems, PROBLEM_ROOT, root->number, "it is of another type");
}

// --- what nothing points to --------------------------------------------------------------------

// Blocks that are read in search of inodes if nothing is to be put right: enough for any real case,
// and a volume that lost terabytes is not read to its end.
enum { SEARCHED_BLOCKS_MAX = 1 << 18 };

static void take_lost_inode(struct check *check, uint64_t block)
{
    struct inode_disk disk;
    int result = block_reader_read_verified(check->reader, BLOCK_TYPE_INODE, block, block, &disk);
    if (result < 0 || le32_get(disk.link_count) == 0)
        return;
    struct inode_record *record = inode_table_add(&check->inodes, block);
    record->seen |= INODE_SEEN_FOUND;
}

// Of a tree that has lost its way to it: what it holds can be put back (fsck/rebuild.c).
static void take_stray_leaf(struct check *check, uint64_t block, uint64_t owner)
{
    struct tree_block_disk disk;
    struct format_node node;
    struct stray_leaves *strays = &check->strays;
    if (block_reader_read_verified(check->reader, BLOCK_TYPE_TREE_NODE, block, owner, &disk) < 0 ||
        format_node_open(&node, disk.area, sizeof(disk.area), NULL) < 0 || node.level > 0)
        return;
    if (strays->count == strays->capacity) {
        strays->capacity = strays->capacity == 0 ? 64 : strays->capacity * 2;
        strays->leaves = memory_resize(strays->leaves, strays->capacity, sizeof(*strays->leaves));
    }
    strays->leaves[strays->count++] = (struct stray_leaf){.owner = owner, .block = block};
}

// A leaf from a group whose free space is not known may have been freed long ago: what it maps may
// be another file's by now.
static void search_block(struct check *check, uint64_t block, bool leaves_count)
{
    struct block_header_disk *header;
    uint8_t bytes[BLOCK_BYTES] __attribute__((aligned(8)));
    if (block_reader_read(check->reader, block, bytes) < 0)
        return;
    header = (struct block_header_disk *)bytes;
    if (le16_get(header->type) == BLOCK_TYPE_INODE)
        take_lost_inode(check, block);
    else if (le16_get(header->type) == BLOCK_TYPE_TREE_NODE && leaves_count)
        take_stray_leaf(check, block, le64_get(header->owner));
}

static bool is_claimed(const struct space_run *run)
{
    (void)run;
    return true;
}

// Blocks that are neither used nor free. In a group whose free space is not known these are all
// that are not used: they are looked at if a directory has lost names, since they are many, and a
// deleted inode may stand there.
static int search_group(struct check *check, uint32_t ag, uint64_t *left)
{
    struct space_gaps gaps;
    uint64_t first = geometry_ag_first_block(&check->geometry, ag);
    int result = 0;
    space_group_sort(&check->space.groups[ag]);
    space_gaps_find(&check->space, ag, is_claimed, &gaps);
    for (uint32_t i = 0; i < gaps.count && result == 0; i++) {
        uint64_t block = first + gaps.gaps[i].start, end = block + gaps.gaps[i].count;
        for (; block < end && *left != 0 && result == 0; block++, --*left) {
            search_block(check, block, !check->space.groups[ag].is_unreadable);
            result = check_cancelled(check);
        }
    }
    space_gaps_deinit(&gaps);
    return result;
}

static int search_lost_inodes(struct check *check)
{
    uint64_t left = check_may_repair(check) ? UINT64_MAX : SEARCHED_BLOCKS_MAX;
    int result = 0;
    if (check->problems.counts[PROBLEM_INODE_BLOCK] > 0 ||
        check->problems.counts[PROBLEM_INODE_FIELDS] > 0 ||
        check->problems.counts[PROBLEM_TREE_NODE] > 0 || check->problems.counts[PROBLEM_ROOT] > 0)
        check->has_lost_names = true;
    for (uint32_t ag = 0; ag < check->geometry.ag_count && result == 0; ag++) {
        const struct space_group *group = &check->space.groups[ag];
        if (group->is_initialised && (!group->is_unreadable || check->has_lost_names))
            result = search_group(check, ag, &left);
    }
    return result;
}

int pass3_inodes(struct check *check)
{
    size_t next = 0;
    uint64_t total = used_block_estimate(check);
    inode_table_init(&check->inodes);
    progress_begin(&check->progress, "files and directories", "blocks");
    inode_table_add(&check->inodes, check->geometry.root_inode)->seen |= INODE_SEEN_ROOT;
    int result = check_found_inodes(check, &next, total);
    if (result < 0)
        return result;
    check_root(check);
    for (uint32_t slot = 0; slot < check->geometry.slot_count; slot++)
        pass3_orphan_list(check, slot);
    result = check_found_inodes(check, &next, total);
    if (result == 0)
        result = search_lost_inodes(check);
    return result == 0 ? check_found_inodes(check, &next, total) : result;
}
