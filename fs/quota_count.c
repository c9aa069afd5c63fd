// SPDX-License-Identifier: Apache-2.0
#include "fs/quota_count.h"
#include "fs/base/memory.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fs/base/block_device.h"
#include "fs/base/coroutine.h"
#include "fs/base/error.h"
#include "fs/cache.h"
#include "fs/format_decode.h"
#include "fs/volume.h"

enum { PAUSE_INODES = 64 };

// A directory that is still to be read; or an inode of several names, which counts once.
struct numbered {
    uint64_t number;
    struct numbered *next;
    UT_hash_handle by_number;
};

struct walk {
    struct quota_count *count;
    struct numbered *directories; // a stack
    struct numbered *linked;      // by number
};

// --- adding up -----------------------------------------------------------------------------------

struct quota_counted *quota_count_find(const struct quota_count *count, struct quota_owner owner)
{
    struct quota_counted *counted;
    uint64_t key = quota_key(owner.kind, owner.id);
    HASH_FIND(by_key, count->owners, &key, sizeof(key), counted);
    return counted;
}

static void add(struct quota_count *count, enum quota_kind kind, uint32_t id, uint64_t blocks)
{
    struct quota_counted *counted = quota_count_find(count, (struct quota_owner){kind, id});
    if (counted == NULL) {
        counted = memory_new(sizeof(*counted));
        counted->key = quota_key(kind, id);
        HASH_ADD(by_key, count->owners, key, sizeof(counted->key), counted);
    }
    counted->blocks += (int64_t)blocks;
    counted->inodes++;
}

void quota_count_free(struct quota_count *count)
{
    struct quota_counted *counted, *next;
    HASH_ITER (by_key, count->owners, counted, next) {
        HASH_DELETE(by_key, count->owners, counted);
        free(counted);
    }
}

static int go_on(struct quota_count *count)
{
    if (count->inode_count % PAUSE_INODES == 0)
        coroutine_pause(count->volume->scheduler);
    return count->go_on != NULL ? count->go_on(count->context, count->inode_count) : 0;
}

static int add_inode(struct quota_count *count, const struct format_inode *inode)
{
    add(count, QUOTA_USER, inode->uid, inode->block_count);
    add(count, QUOTA_GROUP, inode->gid, inode->block_count);
    add(count, QUOTA_PROJECT, inode->project_id, inode->block_count);
    count->inode_count++;
    return go_on(count);
}

// --- blocks --------------------------------------------------------------------------------------

static int read_block(struct walk *walk, uint64_t address, uint64_t owner, enum block_type type,
                      void *buffer)
{
    struct cache *cache = walk->count->volume->cache;
    struct cache_identity identity = {.address = address, .owner = owner, .type = type};
    int result = cache_read_unlocked(cache, &identity, buffer);
    return error_is_check(result)
               ? cache_report_damage(cache, result, "block %llu: %s", (unsigned long long)address,
                                     error_text(result))
               : result;
}

static int read_inode(struct walk *walk, uint64_t number, void *buffer, struct format_inode *inode)
{
    struct volume *volume = walk->count->volume;
    const char *reason = NULL;
    if (!geometry_is_data_range(&volume->geometry, number, 1))
        return -ERROR_BLOCK_RANGE;
    int result = read_block(walk, number, number, BLOCK_TYPE_INODE, buffer);
    if (result != 0)
        return result;
    result = format_inode_decode(buffer, &volume->geometry, inode, &reason);
    return result == 0 ? 0
                       : cache_report_damage(volume->cache, result, "inode %llu: %s",
                                             (unsigned long long)number, reason);
}

// --- trees ---------------------------------------------------------------------------------------

// The leaves' items, in order, of a tree whose root's area this is.
struct scan {
    struct walk *walk;
    uint64_t owner;
    int (*item)(struct walk *walk, const struct format_item *item);
};

static int scan_area(const struct scan *scan, const void *area, size_t area_bytes, int level);

static int scan_child(const struct scan *scan, uint64_t block, int level)
{
    const struct geometry *g = &scan->walk->count->volume->geometry;
    if (!geometry_is_data_range(g, block, 1))
        return -ERROR_BLOCK_RANGE;
    struct tree_block_disk *node = block_buffer_new(BLOCK_BYTES);
    int result = read_block(scan->walk, block, scan->owner, BLOCK_TYPE_TREE_NODE, node);
    if (result == 0)
        result = scan_area(scan, node->area, sizeof(node->area), level);
    free(node);
    return result;
}

// `level`: what its parent asks for; negative: a root. It falls with each step, so there is no
// loop.
static int scan_area(const struct scan *scan, const void *area, size_t area_bytes, int level)
{
    struct format_node node;
    const char *reason = NULL;
    int result = format_node_open(&node, area, area_bytes, &reason);
    if (result == 0 && level >= 0 && node.level != level) {
        result = -ERROR_CORRUPT_TREE;
        reason = "a tree node is of another level";
    }
    if (result != 0)
        return cache_report_damage(scan->walk->count->volume->cache, result, "tree of %llu: %s",
                                   (unsigned long long)scan->owner, reason);
    for (unsigned i = 0; i < node.item_count && result == 0; i++) {
        struct format_item item = format_node_item(&node, i);
        result = node.level > 0 ? scan_child(scan, format_node_child(&node, i), node.level - 1)
                                : scan->item(scan->walk, &item);
    }
    return result;
}

// --- inodes --------------------------------------------------------------------------------------

static void push(struct walk *walk, uint64_t number)
{
    struct numbered *directory = memory_new(sizeof(*directory));
    directory->number = number;
    directory->next = walk->directories;
    walk->directories = directory;
}

static bool is_met_again(struct walk *walk, uint64_t number)
{
    struct numbered *linked;
    HASH_FIND(by_number, walk->linked, &number, sizeof(number), linked);
    if (linked != NULL)
        return true;
    linked = memory_new(sizeof(*linked));
    linked->number = number;
    HASH_ADD(by_number, walk->linked, number, sizeof(linked->number), linked);
    return false;
}

static int count_one(struct walk *walk, uint64_t number, bool is_orphan)
{
    struct format_inode inode;
    void *buffer = block_buffer_new(BLOCK_BYTES);
    int result = read_inode(walk, number, buffer, &inode);
    free(buffer);
    if (result != 0 || (is_orphan && inode.link_count > 0)) // in a truncation: it has a name
        return result;
    bool is_directory = S_ISDIR(inode.mode);
    if (!is_directory && inode.link_count > 1 && is_met_again(walk, number))
        return 0;
    if (is_directory && !is_orphan)
        push(walk, number);
    return add_inode(walk->count, &inode);
}

static int count_entry(struct walk *walk, const struct format_item *item)
{
    struct format_dirent entry;
    const char *reason = NULL;
    if (item->key.kind != ITEM_DIRENT)
        return 0;
    int result = format_dirent_decode(item, &entry, &reason);
    return result != 0 ? cache_report_damage(walk->count->volume->cache, result, "%s", reason)
                       : count_one(walk, entry.inode, false);
}

static int count_orphan(struct walk *walk, const struct format_item *item)
{
    return item->key.kind == ITEM_ORPHAN ? count_one(walk, item->key.major, true) : 0;
}

static int scan_directory(struct walk *walk, uint64_t number)
{
    struct format_inode inode;
    struct inode_disk *disk = block_buffer_new(BLOCK_BYTES);
    struct scan scan = {walk, number, count_entry};
    int result = read_inode(walk, number, disk, &inode);
    if (result == 0)
        result = scan_area(&scan, disk->root, sizeof(disk->root), -1);
    free(disk);
    return result;
}

static int scan_orphans(struct walk *walk, uint32_t slot)
{
    const struct geometry *g = &walk->count->volume->geometry;
    struct slot_state_disk *disk = block_buffer_new(BLOCK_BYTES);
    struct scan scan = {walk, slot, count_orphan};
    int result =
        read_block(walk, geometry_slot_state_block(g, slot), slot, BLOCK_TYPE_SLOT_STATE, disk);
    if (result == 0)
        result = scan_area(&scan, disk->orphan_root, sizeof(disk->orphan_root), -1);
    free(disk);
    return result;
}

static void free_walk(struct walk *walk)
{
    struct numbered *linked, *next;
    HASH_ITER (by_number, walk->linked, linked, next) {
        HASH_DELETE(by_number, walk->linked, linked);
        free(linked);
    }
    while ((next = walk->directories) != NULL) {
        walk->directories = next->next;
        free(next);
    }
}

int quota_count_run(struct quota_count *count)
{
    const struct geometry *g = &count->volume->geometry;
    struct walk walk = {.count = count};
    struct numbered *directory;
    int result = count_one(&walk, g->root_inode, false);
    while (result == 0 && (directory = walk.directories) != NULL) {
        walk.directories = directory->next;
        result = scan_directory(&walk, directory->number);
        free(directory);
    }
    for (uint32_t slot = 0; slot < g->slot_count && result == 0; slot++)
        result = scan_orphans(&walk, slot);
    free_walk(&walk);
    return result;
}
