// SPDX-License-Identifier: Apache-2.0
#include "fsck/inode_items.h"

#include <string.h>
#include <sys/stat.h>

#include "fs/base/siphash.h"
#include "fsck/check.h"
#include "fsck/directory_entries.h"
#include "fsck/tree_walk.h"

typedef unsigned long long ull;

enum { INLINE_BYTES_MAX = FORMAT_SYMLINK_BYTES_MAX, HASH_SHIFT = 9 };

bool inode_items_node(struct tree_walk *walk, uint64_t block)
{
    struct inode_items *items = walk->context;
    items->node_count++;
    space_add(&walk->check->space, block, 1, SPACE_TREE, items->number);
    return true;
}

// --- extents ---------------------------------------------------------------------------------

static void take_extent(struct inode_items *items, uint64_t block, const struct format_item *item)
{
    struct format_extent extent;
    const char *reason = NULL;
    if (format_extent_decode(item, &items->check->geometry, &extent, &reason) < 0) {
        problem_report(&items->check->problems, PROBLEM_EXTENT, block, "inode %llu: %s",
                       (ull)items->number, reason);
        return;
    }
    if (extent.file_block < items->extents_end)
        problem_report(&items->check->problems, PROBLEM_EXTENT_OVERLAP, block,
                       "inode %llu, at its block %llu", (ull)items->number, (ull)extent.file_block);
    items->extents_end = extent.file_block + extent.block_count;
    items->extent_blocks += extent.block_count;
    space_add(&items->check->space, extent.start_block, extent.block_count, SPACE_DATA,
              items->number);
}

// --- inline content --------------------------------------------------------------------------

static void report_inline(struct inode_items *items, uint64_t block, const char *reason)
{
    items->inline_is_broken = true;
    problem_report(&items->check->problems, PROBLEM_INLINE_CONTENT, block, "inode %llu: %s",
                   (ull)items->number, reason);
}

// Chunks are numbered from 0, full but for the last one.
static const char *inline_broken(const struct inode_items *items, const struct format_item *item)
{
    if (item->key.major != 0 || item->key.minor != items->inline_chunks)
        return "a chunk of the inline content is missing";
    if (items->inline_bytes != (uint64_t)items->inline_chunks * TREE_VALUE_BYTES_MAX)
        return "a chunk of the inline content is too short";
    if (item->length == 0 || items->inline_bytes + item->length > INLINE_BYTES_MAX)
        return "the inline content has the wrong length";
    if (S_ISLNK(items->inode.mode) && memchr(item->value, 0, item->length) != NULL)
        return "the symbolic link's target holds a zero byte";
    return NULL;
}

static bool take_inline(struct inode_items *items, uint64_t block, const struct format_item *item)
{
    const char *reason = items->inline_is_broken ? NULL : inline_broken(items, item);
    if (reason != NULL)
        report_inline(items, block, reason);
    if (items->inline_is_broken)
        return false;
    items->inline_chunks++;
    items->inline_bytes += item->length;
    return true;
}

static void compare_inline(struct inode_items *items)
{
    const struct format_inode *inode = &items->inode;
    const char *reason = NULL;
    if (items->inline_is_broken)
        return;
    if (S_ISLNK(inode->mode) && items->inline_bytes != inode->size)
        reason = "the symbolic link's target is not as long as the inode says";
    else if (items->inline_bytes > inode->size)
        reason = "the inline content is longer than the file";
    else if (items->inline_bytes > 0 && items->extent_blocks > 0)
        reason = "the file has both inline content and extents";
    if (reason != NULL)
        report_inline(items, items->number, reason);
}

// --- extended attributes -----------------------------------------------------------------------

static void report_xattr(const struct inode_items *items, uint64_t block, const char *reason)
{
    problem_report(&items->check->problems, PROBLEM_XATTR, block, "inode %llu: %s",
                   (ull)items->number, reason);
}

static const char *take_first_chunk(struct inode_items *items, const struct format_item *item)
{
    struct format_xattr xattr;
    const char *reason = NULL;
    if (format_xattr_decode(item, &xattr, &reason) < 0)
        return reason;
    uint64_t hash = siphash24(items->check->geometry.hash_key, xattr.name, xattr.name_length);
    if (item->key.major != hash >> HASH_SHIFT)
        return "it stands in the wrong place";
    items->xattr_count++;
    items->xattr_major = item->key.major;
    items->xattr_minor = item->key.minor + 1;
    items->xattr_left = xattr.value_length - xattr.part_length;
    return NULL;
}

static const char *take_further_chunk(struct inode_items *items, const struct format_item *item)
{
    if (item->key.major != items->xattr_major || item->key.minor != items->xattr_minor ||
        item->length == 0 || item->length > items->xattr_left)
        return "a chunk of it does not belong here";
    items->xattr_minor++;
    items->xattr_left -= item->length;
    return NULL;
}

static bool take_xattr(struct inode_items *items, uint64_t block, const struct format_item *item)
{
    bool is_first = (item->key.minor & 0xffff) == 0;
    const char *reason = NULL;
    if (is_first && items->xattr_left > 0)
        report_xattr(items, block, "the end of the one before is missing");
    if (is_first)
        items->xattr_left = 0;
    reason = is_first ? take_first_chunk(items, item) : take_further_chunk(items, item);
    if (reason != NULL)
        report_xattr(items, block, reason);
    return reason == NULL;
}

static void compare_xattrs(const struct inode_items *items)
{
    if (items->xattr_left > 0)
        report_xattr(items, items->number, "the end of the last one is missing");
    if (items->xattr_count != items->inode.xattr_count)
        problem_report(&items->check->problems, PROBLEM_XATTR_COUNT, items->number,
                       "inode %llu says %u, has %u", (ull)items->number, items->inode.xattr_count,
                       items->xattr_count);
}

// --- all kinds -------------------------------------------------------------------------------

static bool kind_fits(uint8_t kind, uint32_t mode)
{
    switch (kind) {
    case ITEM_XATTR:
        return true;
    case ITEM_INLINE:
        return S_ISREG(mode) || S_ISLNK(mode);
    case ITEM_EXTENT:
        return S_ISREG(mode);
    case ITEM_DIRENT:
        return S_ISDIR(mode);
    default:
        return false;
    }
}

bool inode_items_judge(struct inode_items *items, uint64_t block, const struct format_item *item)
{
    bool fits = kind_fits(item->key.kind, items->inode.mode);
    if (!fits)
        problem_report(&items->check->problems, PROBLEM_ITEM_KIND, block, "inode %llu, kind %u",
                       (ull)items->number, item->key.kind);
    if (fits && item->key.kind == ITEM_INLINE)
        return take_inline(items, block, item);
    if (fits && item->key.kind == ITEM_XATTR)
        return take_xattr(items, block, item);
    return fits;
}

bool inode_items_item(struct tree_walk *walk, uint64_t block, const struct format_item *item)
{
    struct inode_items *items = walk->context;
    if (!inode_items_judge(items, block, item))
        return true;
    if (item->key.kind == ITEM_EXTENT)
        take_extent(items, block, item);
    else if (item->key.kind == ITEM_DIRENT)
        directory_entries_take(items, block, item);
    return true;
}

void inode_items_end(struct inode_items *items)
{
    uint64_t block_count = items->node_count + items->extent_blocks;
    compare_inline(items);
    compare_xattrs(items);
    if (block_count != items->inode.block_count)
        problem_report(&items->check->problems, PROBLEM_BLOCK_COUNT, items->number,
                       "inode %llu says %llu, has %llu", (ull)items->number,
                       (ull)items->inode.block_count, (ull)block_count);
    if (S_ISDIR(items->inode.mode) && items->entry_count != items->inode.size)
        problem_report(&items->check->problems, PROBLEM_DIRECTORY_SIZE, items->number,
                       "inode %llu says %llu, has %llu", (ull)items->number, (ull)items->inode.size,
                       (ull)items->entry_count);
}
