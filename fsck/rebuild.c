// SPDX-License-Identifier: Apache-2.0
#include "fsck/rebuild.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fs/base/check.h"
#include "fs/base/cleanup.h"
#include "fs/base/error.h"
#include "fsck/block_reader.h"
#include "fsck/check.h"
#include "fsck/inode_items.h"
#include "fsck/rebuild_entries.h"
#include "fsck/repair.h"
#include "fsck/tree_build.h"
#include "fsck/tree_walk.h"

struct rebuild {
    const struct rebuild_request *request;
    struct inode_disk *disk;
    struct inode_items *judge;
    struct tree_build_items items;    // that stay
    struct tree_build_items gathered; // of a damaged tree, in any order
    struct rebuild_entries entries;
    size_t xattr_begin; // in `items`: the attribute whose chunks come
    uint32_t xattr_count;
    uint64_t extents_end, extent_blocks;
    uint64_t inline_bytes;
    size_t inline_end; // in `items`
    uint64_t node_count;
    bool is_changed;
};

// --- extents ---------------------------------------------------------------------------------

static bool take_once(const struct rebuild_forbidden *forbidden, uint64_t block)
{
    uint64_t bit = block - forbidden->block;
    if (forbidden->is_taken == NULL || forbidden->is_taken[bit / 8] >> (bit % 8) & 1)
        return false;
    forbidden->is_taken[bit / 8] |= (uint8_t)(1u << (bit % 8));
    return true;
}

static bool may_have(const struct rebuild_request *request, uint64_t block)
{
    for (size_t i = 0; i < request->forbidden_count; i++) {
        const struct rebuild_forbidden *forbidden = &request->forbidden[i];
        if (block >= forbidden->block && block - forbidden->block < forbidden->count &&
            !take_once(forbidden, block))
            return false;
    }
    return true;
}

static void keep_piece(struct rebuild *rebuild, const struct format_extent *extent, uint32_t skip,
                       uint32_t count)
{
    struct format_key key = {.kind = ITEM_EXTENT, .major = extent->file_block + skip};
    struct extent_disk disk = {
        .start_block = le64_make(extent->start_block + skip),
        .block_count = le32_make(count),
        .flags = le32_make(extent->flags),
    };
    tree_build_items_add(&rebuild->items, &key, &disk, sizeof(disk));
    rebuild->extent_blocks += count;
}

// Asked once for each block: one that may be had once is taken by the answer.
static void keep_allowed(struct rebuild *rebuild, const struct format_extent *extent, uint32_t skip,
                         uint32_t end)
{
    uint32_t start = skip;
    for (uint32_t i = skip; i < end; i++) {
        if (may_have(rebuild->request, extent->start_block + i))
            continue;
        if (start < i)
            keep_piece(rebuild, extent, start, i - start);
        start = i + 1;
        rebuild->is_changed = true;
    }
    if (start < end)
        keep_piece(rebuild, extent, start, end - start);
}

static uint32_t blocks_before(const struct format_extent *extent, uint64_t file_block)
{
    uint64_t count = file_block > extent->file_block ? file_block - extent->file_block : 0;
    return count < extent->block_count ? (uint32_t)count : extent->block_count;
}

static void keep_extent(struct rebuild *rebuild, const struct format_item *item)
{
    const struct rebuild_request *request = rebuild->request;
    struct format_extent extent;
    if (format_extent_decode(item, &request->check->geometry, &extent, NULL) < 0) {
        rebuild->is_changed = true;
        return;
    }
    uint32_t skip = blocks_before(&extent, rebuild->extents_end);
    uint32_t end =
        request->has_end ? blocks_before(&extent, request->file_block_end) : extent.block_count;
    if (skip > 0 || end < extent.block_count)
        rebuild->is_changed = true;
    if (skip >= end)
        return;
    rebuild->extents_end = extent.file_block + end;
    if (request->forbidden_count == 0)
        keep_piece(rebuild, &extent, skip, end - skip);
    else
        keep_allowed(rebuild, &extent, skip, end);
}

// --- attributes and inline content -----------------------------------------------------------

static void drop_cut_attribute(struct rebuild *rebuild)
{
    if (rebuild->judge->xattr_left == 0)
        return;
    tree_build_items_truncate(&rebuild->items, rebuild->xattr_begin);
    rebuild->judge->xattr_left = 0;
    rebuild->xattr_count--;
    rebuild->is_changed = true;
}

static void keep_plain(struct rebuild *rebuild, const struct format_item *item)
{
    bool begins_attribute = item->key.kind == ITEM_XATTR && (item->key.minor & 0xffff) == 0;
    if (begins_attribute) {
        rebuild->xattr_begin = rebuild->items.count;
        rebuild->xattr_count++;
    }
    tree_build_items_add(&rebuild->items, &item->key, item->value, item->length);
    if (item->key.kind == ITEM_INLINE) {
        rebuild->inline_bytes += item->length;
        rebuild->inline_end = rebuild->items.count;
    }
}

// --- all items -------------------------------------------------------------------------------

static bool keep_item(struct tree_walk *walk, uint64_t block, const struct format_item *item)
{
    struct rebuild *rebuild = walk->context;
    if (item->key.kind != ITEM_XATTR || (item->key.minor & 0xffff) == 0)
        drop_cut_attribute(rebuild);
    if (!inode_items_judge(rebuild->judge, block, item))
        rebuild->is_changed = true;
    else if (item->key.kind == ITEM_EXTENT)
        keep_extent(rebuild, item);
    else if (item->key.kind == ITEM_DIRENT)
        rebuild_entries_take(&rebuild->entries, item);
    else
        keep_plain(rebuild, item);
    return true;
}

static bool count_node(struct tree_walk *walk, uint64_t block)
{
    struct rebuild *rebuild = walk->context;
    (void)block;
    rebuild->judge->node_count++;
    return true;
}

static void walk_tree(struct rebuild *rebuild, struct tree_walk *walk,
                      bool (*take)(struct tree_walk *walk, uint64_t block,
                                   const struct format_item *item))
{
    *walk = (struct tree_walk){
        .check = rebuild->request->check,
        .root_block = rebuild->request->number,
        .area = rebuild->disk->root,
        .area_bytes = sizeof(rebuild->disk->root),
        .owner = rebuild->request->number,
        .node = count_node,
        .item = take,
        .context = rebuild,
    };
    rebuild->judge->node_count = 0;
    tree_walk_run(walk);
}

// --- a damaged tree --------------------------------------------------------------------------

static bool see_item(struct tree_walk *walk, uint64_t block, const struct format_item *item)
{
    (void)walk, (void)block, (void)item;
    return true;
}

static bool gather_item(struct tree_walk *walk, uint64_t block, const struct format_item *item)
{
    struct rebuild *rebuild = walk->context;
    (void)block;
    tree_build_items_add(&rebuild->gathered, &item->key, item->value, item->length);
    return true;
}

// Leaves that say whose they are, but to which no way leads from the root any more.
static void gather_strays(struct rebuild *rebuild, struct tree_walk *walk)
{
    const struct rebuild_request *request = rebuild->request;
    const struct stray_leaves *strays = &request->check->strays;
    for (size_t i = 0; i < strays->count; i++) {
        struct tree_block_disk disk;
        struct format_node node;
        uint64_t block = strays->leaves[i].block;
        if (strays->leaves[i].owner != request->number ||
            block_reader_read_verified(request->check->reader, BLOCK_TYPE_TREE_NODE, block,
                                       request->number, &disk) < 0 ||
            format_node_open(&node, disk.area, sizeof(disk.area), NULL) < 0)
            continue;
        for (unsigned k = 0; k < node.item_count; k++) {
            struct format_item item = format_node_item(&node, k);
            gather_item(walk, block, &item);
        }
    }
}

static int compare_gathered(const void *a, const void *b)
{
    const struct tree_build_item *x = a, *y = b;
    int order = format_key_compare(&x->key, &y->key);
    if (order != 0)
        return order;
    return x->value < y->value ? -1 : x->value > y->value; // first gathered, first kept
}

static void keep_what_is_found(struct rebuild *rebuild, struct tree_walk *walk)
{
    struct tree_build_items *gathered = &rebuild->gathered;
    tree_build_items_init(gathered);
    walk_tree(rebuild, walk, gather_item);
    gather_strays(rebuild, walk);
    if (gathered->count > 1)
        qsort(gathered->items, gathered->count, sizeof(*gathered->items), compare_gathered);
    for (size_t i = 0; i < gathered->count; i++) {
        const struct tree_build_item *found = &gathered->items[i];
        struct format_item item = {
            .key = found->key, .value = gathered->heap + found->value, .length = found->length};
        if (i == 0 || format_key_compare(&found->key, &gathered->items[i - 1].key) != 0)
            keep_item(walk, rebuild->request->number, &item);
    }
    tree_build_items_deinit(gathered);
}

// Inline content is all before the extents; a file with both has its extents.
static void drop_inline_before_extents(struct rebuild *rebuild)
{
    if (rebuild->inline_bytes == 0 || rebuild->extent_blocks == 0)
        return;
    struct tree_build_items all = rebuild->items;
    tree_build_items_init(&rebuild->items);
    for (size_t i = 0; i < all.count; i++) {
        if (all.items[i].key.kind != ITEM_INLINE)
            tree_build_items_add(&rebuild->items, &all.items[i].key, all.heap + all.items[i].value,
                                 all.items[i].length);
    }
    tree_build_items_deinit(&all);
    rebuild->inline_bytes = 0;
    rebuild->is_changed = true;
}

// A name that stands there gets a number behind it.
static void choose_name(const struct rebuild *rebuild, const struct rebuild_name *name,
                        struct rebuild_entry *entry)
{
    char text[sizeof(name->name) + 16];
    snprintf(text, sizeof(text), "%s", name->name);
    for (unsigned i = 1; rebuild_entries_have(&rebuild->entries, text); i++)
        snprintf(text, sizeof(text), "%s-%u", name->name, i);
    entry->name_length = (uint8_t)strlen(text);
    memcpy(entry->name, text, entry->name_length);
}

static void add_names(struct rebuild *rebuild)
{
    for (size_t i = 0; i < rebuild->request->name_count; i++) {
        const struct rebuild_name *name = &rebuild->request->names[i];
        struct rebuild_entry entry = {
            .inode = name->inode, .generation = name->generation, .type = name->type};
        choose_name(rebuild, name, &entry);
        rebuild_entries_add(&rebuild->entries, &entry);
    }
}

static void collect(struct rebuild *rebuild)
{
    struct check *check = rebuild->request->check;
    struct tree_walk walk;
    check->problems.is_off = true; // the check has named all of it
    walk_tree(rebuild, &walk, see_item);
    rebuild->is_changed = walk.is_damaged;
    if (walk.is_damaged)
        keep_what_is_found(rebuild, &walk);
    else
        walk_tree(rebuild, &walk, keep_item);
    drop_cut_attribute(rebuild);
    check->problems.is_off = false;
    drop_inline_before_extents(rebuild);
    add_names(rebuild);
    rebuild_entries_give(&rebuild->entries, &rebuild->items);
    rebuild->is_changed = rebuild->is_changed || rebuild->entries.is_changed;
}

// --- fields ----------------------------------------------------------------------------------

static uint64_t entry_count(const struct rebuild *rebuild)
{
    uint64_t count = 0;
    for (size_t i = 0; i < rebuild->items.count; i++)
        count += rebuild->items.items[i].key.kind == ITEM_DIRENT;
    return count;
}

static uint64_t size_that_fits(const struct rebuild *rebuild)
{
    uint32_t mode = le32_get(rebuild->disk->mode);
    uint64_t size = le64_get(rebuild->disk->size);
    if (S_ISDIR(mode))
        return entry_count(rebuild);
    if (S_ISLNK(mode) || rebuild->inline_bytes > size)
        return rebuild->inline_bytes;
    return size;
}

// A symbolic link to nowhere is none: it becomes an empty file, which nobody follows to a wrong
// place.
static void fit_link(const struct rebuild *rebuild)
{
    uint32_t mode = le32_get(rebuild->disk->mode);
    if (S_ISLNK(mode) && rebuild->inline_bytes == 0)
        rebuild->disk->mode = le32_make(S_IFREG | (mode & 07777));
}

static bool fields_fit(const struct rebuild *rebuild)
{
    const struct inode_disk *disk = rebuild->disk;
    return le64_get(disk->size) == size_that_fits(rebuild) &&
           le32_get(disk->xattr_count) == rebuild->xattr_count &&
           le64_get(disk->block_count) == rebuild->extent_blocks + rebuild->judge->node_count &&
           (!S_ISLNK(le32_get(disk->mode)) || rebuild->inline_bytes > 0);
}

// --- writing ---------------------------------------------------------------------------------

static int write_node(struct tree_build *build, struct tree_block_disk *disk, uint64_t *block)
{
    struct rebuild *rebuild = build->context;
    struct check *check = rebuild->request->check;
    *block = space_pool_take(&check->pool);
    if (*block == 0)
        return -ENOSPC;
    struct block_expectation is = {
        .format_id = check->geometry.format_id,
        .address = *block,
        .owner = rebuild->request->number,
        .type = BLOCK_TYPE_TREE_NODE,
    };
    rebuild->node_count++;
    format_block_init(disk, &is);
    repair_write(check, *block, disk);
    return 0;
}

static int write_inode(struct rebuild *rebuild)
{
    struct check *check = rebuild->request->check;
    struct inode_disk *disk = rebuild->disk;
    struct tree_build build = {
        .root = disk->root,
        .root_bytes = sizeof(disk->root),
        .write_node = write_node,
        .context = rebuild,
    };
    disk->size = le64_make(size_that_fits(rebuild));
    fit_link(rebuild);
    int result = tree_build_run(&build, &rebuild->items);
    if (result < 0)
        return result;
    if (rebuild->node_count > 0) // they are there before the root names them
        change_log_barrier(&check->changes);
    disk->block_count = le64_make(rebuild->extent_blocks + rebuild->node_count);
    disk->xattr_count = le32_make(rebuild->xattr_count);
    if (rebuild->request->has_end) {
        disk->flags = le32_make(le32_get(disk->flags) & ~(uint32_t)INODE_FLAG_ORPHAN);
        disk->orphan_slot = le32_make(0);
        disk->truncate_size = le64_make(0);
    }
    repair_write(check, rebuild->request->number, disk);
    return 0;
}

static int read_inode(struct rebuild *rebuild)
{
    struct check *check = rebuild->request->check;
    uint64_t number = rebuild->request->number;
    int result =
        block_reader_read_verified(check->reader, BLOCK_TYPE_INODE, number, number, rebuild->disk);
    if (result == 0)
        result = format_inode_decode(rebuild->disk, &check->geometry, &rebuild->judge->inode, NULL);
    rebuild->judge->check = check;
    rebuild->judge->number = number;
    return result;
}

int rebuild_inode(const struct rebuild_request *request)
{
    CLEANUP_FREE struct inode_disk *disk = malloc(sizeof(*disk));
    CLEANUP_FREE struct inode_items *judge = calloc(1, sizeof(*judge));
    CHECK(disk != NULL && judge != NULL);
    struct rebuild rebuild = {
        .request = request,
        .disk = disk,
        .judge = judge,
        .entries = {.check = request->check, .directory = request->number},
    };
    int result = read_inode(&rebuild);
    if (result < 0)
        return result;
    tree_build_items_init(&rebuild.items);
    collect(&rebuild);
    if (rebuild.is_changed || request->has_end || !fields_fit(&rebuild))
        result = write_inode(&rebuild);
    tree_build_items_deinit(&rebuild.items);
    rebuild_entries_deinit(&rebuild.entries);
    return result;
}
