// SPDX-License-Identifier: Apache-2.0
// Items of the map, one at a time. Every change is put together from two: `trim` takes a part out
// of an item (and leaves what stands before and behind it), `put` adds a run and merges it with its
// neighbours.
#include "fs/extent_map.h"

#include <errno.h>

#include "fs/base/check.h"
#include "fs/base/coroutine.h"
#include "fs/base/error.h"
#include "fs/format_decode.h"
#include "fs/volume.h"

static uint64_t end_of(const struct extent *extent)
{
    return extent->file_block + extent->block_count;
}

static int corrupt(const struct inode *inode, uint64_t file_block, const char *reason)
{
    return cache_report_damage(inode->volume->cache, -ERROR_CORRUPT_INODE,
                               "inode %llu, file block %llu: %s", (unsigned long long)inode->number,
                               (unsigned long long)file_block, reason);
}

static struct tree_key key_of(uint64_t file_block)
{
    return TREE_KEY(ITEM_EXTENT, file_block, 0);
}

// --- finding ---------------------------------------------------------------------------------

// The extent at a cursor; -ENOENT if an item of another kind stands there.
static int decode(const struct inode *inode, const struct tree_cursor *cursor,
                  struct extent *extent)
{
    if (cursor->key.kind != ITEM_EXTENT)
        return -ENOENT;
    struct format_item item = {
        .key = {cursor->key.kind, cursor->key.minor, cursor->key.major},
        .value = cursor->value,
        .length = (uint16_t)cursor->length,
    };
    struct format_extent decoded;
    const char *reason = NULL;
    if (format_extent_decode(&item, &inode->volume->geometry, &decoded, &reason) != 0)
        return corrupt(inode, cursor->key.major, reason);
    bool is_unwritten = (decoded.flags & EXTENT_UNWRITTEN) != 0;
    *extent = (struct extent){
        .file_block = decoded.file_block,
        .block_count = decoded.block_count,
        .volume_block = decoded.start_block,
        .state = is_unwritten ? EXTENT_UNWRITTEN_RUN : EXTENT_WRITTEN_RUN,
    };
    return 0;
}

static int next(struct inode *inode, struct tree_cursor *cursor, struct extent *extent)
{
    int result = tree_cursor_next(cursor);
    return result != 0 ? result : decode(inode, cursor, extent);
}

// The extent that holds `file_block`, or else the first behind it; the cursor stands on it.
static int seek(struct inode *inode, struct tree_cursor *cursor, uint64_t file_block,
                struct extent *extent)
{
    int result = tree_cursor_seek(cursor, key_of(file_block), TREE_FLOOR);
    if (result == 0) {
        result = decode(inode, cursor, extent);
        if (result == -ENOENT || (result == 0 && end_of(extent) <= file_block))
            result = next(inode, cursor, extent);
        return result;
    }
    if (result == -ENOENT)
        result = tree_cursor_seek(cursor, key_of(file_block), TREE_CEILING);
    return result != 0 ? result : decode(inode, cursor, extent);
}

static struct extent hole(uint64_t file_block, uint64_t end)
{
    return (struct extent){.file_block = file_block, .block_count = end - file_block};
}

int extent_map_lookup(struct inode *inode, uint64_t file_block, struct extent *extent)
{
    CHECK(file_block < EXTENT_FILE_BLOCKS);
    TREE_CURSOR(cursor, &inode->tree);
    int result = seek(inode, &cursor, file_block, extent);
    if (result == -ENOENT)
        *extent = hole(file_block, EXTENT_FILE_BLOCKS);
    else if (result == 0 && extent->file_block > file_block)
        *extent = hole(file_block, extent->file_block);
    return result == -ENOENT ? 0 : result;
}

// A file may have millions: others have their turn now and then.
static void pause_after_many(const struct inode *inode, unsigned seen)
{
    enum { EXTENTS_BEFORE_PAUSE = 1024 };
    struct scheduler *scheduler = inode->volume->scheduler;
    if (seen % EXTENTS_BEFORE_PAUSE == 0 && coroutine_current(scheduler) != NULL)
        coroutine_pause(scheduler);
}

int extent_map_iterate(struct inode *inode, uint64_t file_block,
                       bool (*emit)(void *context, const struct extent *extent), void *context)
{
    TREE_CURSOR(cursor, &inode->tree);
    struct extent extent;
    uint64_t at = file_block;
    int result = seek(inode, &cursor, file_block, &extent);
    for (unsigned seen = 0; result == 0;) {
        if (seen > 0 && extent.file_block < at)
            return corrupt(inode, extent.file_block, "two extents overlap");
        struct extent gap = hole(at, extent.file_block > at ? extent.file_block : at);
        if (gap.block_count > 0 && !emit(context, &gap))
            return 0;
        if (!emit(context, &extent))
            return 0;
        at = end_of(&extent);
        pause_after_many(inode, ++seen);
        result = next(inode, &cursor, &extent);
    }
    return result == -ENOENT ? 0 : result;
}

struct seeking {
    uint64_t file_block;
    uint64_t end_block;
    uint64_t found;
    bool is_found;
};

static bool seek_written(void *context, const struct extent *extent)
{
    struct seeking *seeking = context;
    if (extent->file_block >= seeking->end_block)
        return false;
    if (extent->state != EXTENT_WRITTEN_RUN)
        return true;
    uint64_t from = seeking->file_block;
    seeking->found = extent->file_block > from ? extent->file_block : from;
    seeking->is_found = true;
    return false;
}

int extent_map_seek_data(struct inode *inode, uint64_t file_block, uint64_t end_block,
                         uint64_t *found)
{
    struct seeking seeking = {.file_block = file_block, .end_block = end_block};
    int result = extent_map_iterate(inode, file_block, seek_written, &seeking);
    if (result != 0)
        return result;
    *found = seeking.found;
    return seeking.is_found ? 0 : -ENXIO;
}

static bool seek_not_written(void *context, const struct extent *extent)
{
    struct seeking *seeking = context;
    if (extent->state != EXTENT_WRITTEN_RUN)
        return false;
    seeking->found = end_of(extent);
    return seeking->found < seeking->end_block;
}

int extent_map_seek_hole(struct inode *inode, uint64_t file_block, uint64_t end_block,
                         uint64_t *found)
{
    struct seeking seeking = {.end_block = end_block, .found = file_block};
    int result = extent_map_iterate(inode, file_block, seek_not_written, &seeking);
    *found = seeking.found < end_block ? seeking.found : end_block;
    return result;
}

// --- changing items --------------------------------------------------------------------------

static struct extent_disk encode(const struct extent *extent)
{
    return (struct extent_disk){
        .start_block = le64_make(extent->volume_block),
        .block_count = le32_make((uint32_t)extent->block_count),
        .flags = le32_make(extent->state == EXTENT_UNWRITTEN_RUN ? EXTENT_UNWRITTEN : 0),
    };
}

static int insert_item(struct inode *inode, struct journal_handle *handle,
                       const struct extent *extent)
{
    struct extent_disk disk = encode(extent);
    return tree_insert(&inode->tree, handle, key_of(extent->file_block), &disk, sizeof(disk));
}

static int replace_item(struct inode *inode, struct journal_handle *handle,
                        const struct extent *extent)
{
    struct extent_disk disk = encode(extent);
    return tree_replace(&inode->tree, handle, key_of(extent->file_block), &disk, sizeof(disk));
}

// The item that began at `from` becomes `extent`.
static int move_item(struct inode *inode, struct journal_handle *handle, uint64_t from,
                     const struct extent *extent)
{
    struct extent_disk disk = encode(extent);
    return tree_move(&inode->tree, handle, key_of(from), key_of(extent->file_block), &disk,
                     sizeof(disk));
}

// Part of an extent: [from, to).
static struct extent part_of(const struct extent *extent, uint64_t from, uint64_t to)
{
    return (struct extent){
        .file_block = from,
        .block_count = to - from,
        .volume_block = extent->volume_block + (from - extent->file_block),
        .state = extent->state,
    };
}

// Takes [from, to) out of the item `extent`.
static int trim(struct inode *inode, struct journal_handle *handle, const struct extent *extent,
                uint64_t from, uint64_t to)
{
    struct extent before = part_of(extent, extent->file_block, from);
    struct extent behind = part_of(extent, to, end_of(extent));
    if (before.block_count == 0 && behind.block_count == 0)
        return tree_delete(&inode->tree, handle, key_of(extent->file_block));
    if (before.block_count == 0)
        return move_item(inode, handle, extent->file_block, &behind);
    int result = replace_item(inode, handle, &before);
    if (result == 0 && behind.block_count > 0)
        result = insert_item(inode, handle, &behind);
    return result;
}

static bool continues(const struct extent *a, const struct extent *b)
{
    return a->block_count > 0 && b->block_count > 0 && a->state == b->state &&
           end_of(a) == b->file_block && a->volume_block + a->block_count == b->volume_block &&
           a->block_count + b->block_count <= EXTENT_BLOCKS_MAX;
}

// The extents before and behind a run of a hole; counts of 0 where there is none.
static int find_neighbours(struct inode *inode, const struct extent *run, struct extent *left,
                           struct extent *right)
{
    *left = *right = (struct extent){0};
    TREE_CURSOR(cursor, &inode->tree);
    int result = tree_cursor_seek(&cursor, key_of(run->file_block), TREE_FLOOR);
    if (result == 0) {
        result = decode(inode, &cursor, left);
        if (result == 0 || result == -ENOENT)
            result = tree_cursor_next(&cursor);
    } else if (result == -ENOENT) {
        result = tree_cursor_seek(&cursor, key_of(run->file_block), TREE_CEILING);
    }
    if (result == 0)
        result = decode(inode, &cursor, right);
    if (result != 0 && result != -ENOENT)
        return result;
    bool overlaps = (left->block_count > 0 && end_of(left) > run->file_block) ||
                    (right->block_count > 0 && right->file_block < end_of(run));
    return overlaps ? corrupt(inode, run->file_block, "a run to be mapped is mapped already") : 0;
}

// Adds a run, merged with its neighbours.
static int put(struct inode *inode, struct journal_handle *handle, const struct extent *run)
{
    struct extent left, right;
    int result = find_neighbours(inode, run, &left, &right);
    if (result != 0)
        return result;
    struct extent merged = *run;
    bool joins_left = continues(&left, &merged);
    if (joins_left)
        merged = (struct extent){left.file_block, left.block_count + merged.block_count,
                                 left.volume_block, left.state};
    bool joins_right = continues(&merged, &right);
    if (joins_right)
        merged.block_count += right.block_count;
    if (joins_left && joins_right)
        result = tree_delete(&inode->tree, handle, key_of(right.file_block));
    if (result != 0)
        return result;
    if (joins_left)
        return replace_item(inode, handle, &merged);
    if (joins_right)
        return move_item(inode, handle, right.file_block, &merged);
    return insert_item(inode, handle, &merged);
}

// --- the map's changes -------------------------------------------------------------------------

int extent_map_insert(struct inode *inode, struct journal_handle *handle,
                      const struct extent *extent)
{
    CHECK(extent->block_count > 0 && extent->block_count <= EXTENT_BLOCKS_MAX);
    CHECK(extent->state != EXTENT_HOLE && end_of(extent) <= EXTENT_FILE_BLOCKS);
    int result = put(inode, handle, extent);
    if (result != 0)
        return result;
    inode_change(inode, handle);
    inode_add_blocks(inode, (int64_t)extent->block_count);
    return 0;
}

static int write_part(struct inode *inode, struct journal_handle *handle,
                      const struct extent *extent, uint64_t from, uint64_t to)
{
    int result = trim(inode, handle, extent, from, to);
    if (result != 0)
        return result;
    struct extent written = part_of(extent, from, to);
    written.state = EXTENT_WRITTEN_RUN;
    return put(inode, handle, &written);
}

static int find_at_or_behind(struct inode *inode, uint64_t file_block, struct extent *extent)
{
    TREE_CURSOR(cursor, &inode->tree);
    return seek(inode, &cursor, file_block, extent);
}

int extent_map_mark_written(struct inode *inode, struct journal_handle *handle, uint64_t file_block,
                            uint64_t count, uint64_t *done)
{
    uint64_t end = file_block + count;
    CHECK(end >= file_block && end <= EXTENT_FILE_BLOCKS);
    uint64_t at = file_block;
    for (int looked = 0; at < end && looked < EXTENT_MAP_STEP_MAX; looked++) {
        struct extent extent;
        int result = find_at_or_behind(inode, at, &extent);
        if (result == -ENOENT || (result == 0 && extent.file_block >= end)) {
            at = end;
            break;
        }
        if (result != 0)
            return result;
        uint64_t from = extent.file_block > at ? extent.file_block : at;
        uint64_t to = end_of(&extent) < end ? end_of(&extent) : end;
        if (extent.state == EXTENT_UNWRITTEN_RUN)
            result = write_part(inode, handle, &extent, from, to);
        if (result != 0)
            return result;
        at = to;
    }
    *done = at;
    return 0;
}

static uint64_t range_end(uint64_t file_block, uint64_t count)
{
    uint64_t most = EXTENT_FILE_BLOCKS - file_block;
    return file_block + (count < most ? count : most);
}

// The last extent that begins before `end`; -ENOENT.
static int seek_last(struct inode *inode, struct tree_cursor *cursor, uint64_t end,
                     struct extent *extent)
{
    int result = tree_cursor_seek(cursor, key_of(end - 1), TREE_FLOOR);
    return result != 0 ? result : decode(inode, cursor, extent);
}

static int previous(struct inode *inode, struct tree_cursor *cursor, struct extent *extent)
{
    int result = tree_cursor_previous(cursor);
    return result != 0 ? result : decode(inode, cursor, extent);
}

int extent_map_plan_removal(struct inode *inode, uint64_t file_block, uint64_t count,
                            unsigned step_max, struct extent_removal *removal)
{
    CHECK(step_max > 0 && step_max <= EXTENT_MAP_STEP_MAX && file_block <= EXTENT_FILE_BLOCKS);
    uint64_t end = range_end(file_block, count);
    removal->count = 0;
    removal->has_more = false;
    if (end == file_block)
        return 0;
    TREE_CURSOR(cursor, &inode->tree);
    struct extent extent;
    int result = seek_last(inode, &cursor, end, &extent);
    while (result == 0 && end_of(&extent) > file_block) {
        if (end_of(&extent) > end && removal->count > 0)
            return corrupt(inode, extent.file_block, "two extents overlap");
        removal->has_more = removal->count == step_max;
        if (removal->has_more)
            return 0;
        uint64_t from = extent.file_block > file_block ? extent.file_block : file_block;
        uint64_t to = end_of(&extent) < end ? end_of(&extent) : end;
        removal->runs[removal->count++] = part_of(&extent, from, to);
        end = from;
        result = previous(inode, &cursor, &extent);
    }
    return result == -ENOENT ? 0 : result;
}

static int remove_run(struct inode *inode, struct journal_handle *handle, const struct extent *run)
{
    struct extent extent;
    int result = find_at_or_behind(inode, run->file_block, &extent);
    if (result != 0 && result != -ENOENT)
        return result;
    if (result != 0 || extent.file_block > run->file_block || end_of(&extent) < end_of(run))
        return corrupt(inode, run->file_block, "extents overlap");
    return trim(inode, handle, &extent, run->file_block, end_of(run));
}

int extent_map_remove(struct inode *inode, struct journal_handle *handle,
                      const struct extent_removal *removal)
{
    inode_change(inode, handle);
    for (unsigned i = 0; i < removal->count; i++) {
        int result = remove_run(inode, handle, &removal->runs[i]);
        if (result != 0)
            return result;
        inode_add_blocks(inode, -(int64_t)removal->runs[i].block_count);
    }
    return 0;
}

// --- costs -----------------------------------------------------------------------------------

// Items that change and stand next to each other, in bytes of values.
static struct tree_cost cost_of(const struct inode *inode, uint32_t change_count)
{
    return tree_run_cost(&inode->tree, change_count, change_count * sizeof(struct extent_disk));
}

struct tree_cost extent_map_insert_cost(const struct inode *inode)
{
    return cost_of(inode, 2);
}

struct tree_cost extent_map_mark_cost(const struct inode *inode)
{
    return cost_of(inode, 4 * EXTENT_MAP_STEP_MAX);
}

struct tree_cost extent_map_remove_cost(const struct inode *inode, unsigned step)
{
    return cost_of(inode, 2 * step);
}
