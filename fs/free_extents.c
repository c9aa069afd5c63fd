// SPDX-License-Identifier: Apache-2.0
#include "fs/free_extents.h"

#include "fs/base/check.h"
#include "fs/base/error.h"
#include "fs/base/sabotage.h"
#include "fs/format_decode.h"
#include "fs/lock_types.h"

// The reserve's levels: one handle's splits fit below LOW, its merges above HIGH.
enum {
    RESERVE_LOW = 12,
    RESERVE_HIGH = 24,
    RESERVE_LEAST = 4,       // below this the tree may not be able to grow
    BALANCE_CHANGES_MAX = 4, // items that one balance touches
    DRAIN_CHANGES_MAX = 2,   // blocks that one balance gives back
    BALANCE_LOOKS_MAX = 32,  // items that one balance looks at
};

static struct ag_header_disk *header_of(const struct free_extents *extents)
{
    return (struct ag_header_disk *)extents->header->bytes;
}

static int corrupt(const struct free_extents *extents, uint64_t block, const char *reason)
{
    return cache_report_damage(
        extents->tree.cache, -ERROR_CORRUPT_FREE_SPACE, "group at block %llu, block %llu: %s",
        (unsigned long long)extents->first_block, (unsigned long long)block, reason);
}

// --- the reserve -----------------------------------------------------------------------------

static unsigned reserve_count(const struct free_extents *extents)
{
    return le32_get(header_of(extents)->reserve_count);
}

static void reserve_push(struct free_extents *extents, uint64_t block)
{
    struct ag_header_disk *header = header_of(extents);
    unsigned count = reserve_count(extents);
    CHECK(count < AG_RESERVE_MAX);
    header->reserve[count] = le64_make(block);
    header->reserve_count = le32_make(count + 1);
}

static uint64_t reserve_take(struct free_extents *extents, unsigned index)
{
    struct ag_header_disk *header = header_of(extents);
    unsigned last = reserve_count(extents) - 1;
    uint64_t block = le64_get(header->reserve[index]);
    header->reserve[index] = header->reserve[last];
    header->reserve[last] = le64_make(0);
    header->reserve_count = le32_make(last);
    return block;
}

static bool is_busy(const struct free_extents *extents, uint64_t block, uint64_t count)
{
    return extents->user->is_busy(extents->context, block, count);
}

static unsigned reserve_ready_count(const struct free_extents *extents)
{
    unsigned ready = 0;
    for (unsigned i = 0; i < reserve_count(extents); i++)
        ready += !is_busy(extents, le64_get(header_of(extents)->reserve[i]), 1);
    return ready;
}

static int node_allocate(struct tree_nodes *nodes, struct journal_handle *handle, uint64_t *block)
{
    struct free_extents *extents =
        (struct free_extents *)((char *)nodes - offsetof(struct free_extents, nodes));
    cache_change(extents->header, handle);
    for (unsigned i = reserve_count(extents); i > 0; i--) {
        if (is_busy(extents, le64_get(header_of(extents)->reserve[i - 1]), 1))
            continue;
        *block = reserve_take(extents, i - 1);
        return 0;
    }
    return -EAGAIN;
}

static int node_release(struct tree_nodes *nodes, struct journal_handle *handle, uint64_t block)
{
    struct free_extents *extents =
        (struct free_extents *)((char *)nodes - offsetof(struct free_extents, nodes));
    if (reserve_count(extents) == AG_RESERVE_MAX)
        return -EAGAIN;
    int result = cache_revoke(extents->tree.cache, handle, block);
    if (result != 0)
        return result;
    cache_change(extents->header, handle);
    reserve_push(extents, block);
    extents->user->released(extents->context, handle, block);
    return 0;
}

// --- items -----------------------------------------------------------------------------------

void free_extents_init(struct free_extents *extents, struct cache *cache, struct log *log,
                       struct cache_block *header, uint64_t first_block, uint64_t block_count,
                       const struct free_extents_user *user, void *context)
{
    *extents = (struct free_extents){
        .tree = {.cache = cache,
                 .root = header,
                 .area_offset = offsetof(struct ag_header_disk, free_root),
                 .area_bytes = sizeof(((struct ag_header_disk *)0)->free_root),
                 .owner = header->owner,
                 .lock = header->journal.lock,
                 .nodes = &extents->nodes,
                 .log = log},
        .nodes = {.allocate = node_allocate, .release = node_release},
        .header = header,
        .first_block = first_block,
        .block_count = block_count,
        .user = user,
        .context = context,
    };
}

uint64_t free_extents_count(const struct free_extents *extents)
{
    return le64_get(header_of(extents)->free_block_count);
}

static int count_blocks(struct free_extents *extents, struct journal_handle *handle, bool adds,
                        uint64_t count)
{
    uint64_t before = free_extents_count(extents);
    if (adds ? count > extents->block_count - 1 - before : count > before)
        return corrupt(extents, extents->first_block, "the count of free blocks is wrong");
    cache_change(extents->header, handle);
    if (adds && SABOTAGE(allocator_skip_count))
        return 0;
    uint64_t after = adds ? before + count : before - count;
    header_of(extents)->free_block_count = le64_make(after);
    return 0;
}

static struct tree_key key_of(uint64_t block)
{
    return TREE_KEY(ITEM_FREE, block, 0);
}

static bool is_inside(const struct free_extents *extents, uint64_t block, uint64_t count)
{
    uint64_t end = extents->first_block + extents->block_count;
    return block > extents->first_block && block < end && count > 0 && count <= end - block;
}

// The item at a cursor.
static int decode(const struct free_extents *extents, const struct tree_cursor *cursor,
                  struct free_extent *found)
{
    struct format_item item = {
        .key = {cursor->key.kind, cursor->key.minor, cursor->key.major},
        .value = cursor->value,
        .length = (uint16_t)cursor->length,
    };
    if (item.key.kind != ITEM_FREE)
        return corrupt(extents, cursor->key.major, "an item of another kind among free extents");
    const char *reason = NULL;
    found->start_block = item.key.major;
    if (format_free_decode(&item, &found->block_count, &reason) != 0)
        return corrupt(extents, found->start_block, reason);
    if (!is_inside(extents, found->start_block, found->block_count))
        return corrupt(extents, found->start_block, "a free extent lies outside of its group");
    return 0;
}

static uint64_t end_of(const struct free_extent *extent)
{
    return extent->start_block + extent->block_count;
}

// --- finding ---------------------------------------------------------------------------------

int free_extents_scan_begin(struct free_extents_scan *scan, struct free_extents *extents,
                            uint64_t block, struct free_extent *found)
{
    scan->extents = extents;
    tree_cursor_init(&scan->cursor, &extents->tree);
    int result = tree_cursor_seek(&scan->cursor, key_of(block), TREE_FLOOR);
    if (result == -ENOENT)
        result = tree_cursor_seek(&scan->cursor, key_of(block), TREE_CEILING);
    if (result == 0)
        result = decode(extents, &scan->cursor, found);
    if (result == 0 && end_of(found) <= block)
        result = free_extents_scan_next(scan, found);
    return result;
}

int free_extents_scan_next(struct free_extents_scan *scan, struct free_extent *found)
{
    int result = tree_cursor_next(&scan->cursor);
    return result != 0 ? result : decode(scan->extents, &scan->cursor, found);
}

void free_extents_scan_end(struct free_extents_scan *scan)
{
    tree_cursor_deinit(&scan->cursor);
}

int free_extents_find(struct free_extents *extents, uint64_t block, struct free_extent *found)
{
    struct free_extents_scan scan;
    int result = free_extents_scan_begin(&scan, extents, block, found);
    free_extents_scan_end(&scan);
    return result;
}

// --- changing --------------------------------------------------------------------------------

static int set_length(struct free_extents *extents, struct journal_handle *handle, uint64_t start,
                      uint64_t count)
{
    struct free_disk disk = {le64_make(count)};
    return tree_replace(&extents->tree, handle, key_of(start), &disk, sizeof(disk));
}

static int insert(struct free_extents *extents, struct journal_handle *handle, uint64_t start,
                  uint64_t count)
{
    struct free_disk disk = {le64_make(count)};
    return tree_insert(&extents->tree, handle, key_of(start), &disk, sizeof(disk));
}

static int move_start(struct free_extents *extents, struct journal_handle *handle, uint64_t from,
                      uint64_t to, uint64_t count)
{
    struct free_disk disk = {le64_make(count)};
    return tree_move(&extents->tree, handle, key_of(from), key_of(to), &disk, sizeof(disk));
}

// Changes the items so that [block, block + count) is not in `extent` any more.
static int cut(struct free_extents *extents, struct journal_handle *handle,
               const struct free_extent *extent, uint64_t block, uint64_t count)
{
    uint64_t end = block + count;
    uint64_t left = block - extent->start_block;
    uint64_t right = end_of(extent) - end;
    if (left == 0 && right == 0)
        return tree_delete(&extents->tree, handle, key_of(extent->start_block));
    if (left == 0)
        return move_start(extents, handle, extent->start_block, end, right);
    int result = set_length(extents, handle, extent->start_block, left);
    if (result == 0 && right > 0)
        result = insert(extents, handle, end, right);
    return result;
}

int free_extents_take(struct free_extents *extents, struct journal_handle *handle, uint64_t block,
                      uint64_t count)
{
    struct free_extent extent;
    int result = free_extents_find(extents, block, &extent);
    if (result != 0 && result != -ENOENT)
        return result;
    if (result != 0 || extent.start_block > block || count > end_of(&extent) - block)
        return corrupt(extents, block, "free extents overlap");
    result = count_blocks(extents, handle, false, count);
    return result != 0 ? result : cut(extents, handle, &extent, block, count);
}

// The free extents around [block, ...): `left` ends at or before it or covers it, `right` begins
// behind `block`. A count of 0 says that there is none.
static int find_neighbours(struct free_extents *extents, uint64_t block, struct free_extent *left,
                           struct free_extent *right)
{
    *left = *right = (struct free_extent){0, 0};
    TREE_CURSOR(cursor, &extents->tree);
    int result = tree_cursor_seek(&cursor, key_of(block), TREE_FLOOR);
    if (result == 0) {
        result = decode(extents, &cursor, left);
        if (result == 0)
            result = tree_cursor_next(&cursor);
    } else if (result == -ENOENT) {
        result = tree_cursor_seek(&cursor, key_of(block), TREE_CEILING);
    }
    if (result == 0)
        result = decode(extents, &cursor, right);
    return result == -ENOENT ? 0 : result;
}

static int join(struct free_extents *extents, struct journal_handle *handle, uint64_t block,
                uint64_t count, const struct free_extent *left, const struct free_extent *right)
{
    bool joins_left = left->block_count > 0 && end_of(left) == block;
    bool joins_right = right->block_count > 0 && block + count == right->start_block;
    if (joins_left && joins_right) {
        int result = tree_delete(&extents->tree, handle, key_of(right->start_block));
        if (result != 0)
            return result;
        count += right->block_count;
    } else if (joins_right) {
        return move_start(extents, handle, right->start_block, block, count + right->block_count);
    }
    if (joins_left)
        return set_length(extents, handle, left->start_block, left->block_count + count);
    return insert(extents, handle, block, count);
}

int free_extents_add(struct free_extents *extents, struct journal_handle *handle, uint64_t block,
                     uint64_t count)
{
    if (!is_inside(extents, block, count))
        return corrupt(extents, block, "freed blocks lie outside of their group");
    struct free_extent left, right;
    int result = find_neighbours(extents, block, &left, &right);
    if (result != 0)
        return result;
    if ((left.block_count > 0 && end_of(&left) > block) ||
        (right.block_count > 0 && right.start_block < block + count))
        return corrupt(extents, block, "freed blocks are free already");
    result = count_blocks(extents, handle, true, count);
    return result != 0 ? result : join(extents, handle, block, count, &left, &right);
}

// --- balancing the reserve -------------------------------------------------------------------

// Blocks at the end of `extent` that can be cut off for the reserve.
static uint64_t ready_at_end(const struct free_extents *extents, const struct free_extent *extent,
                             uint64_t wanted)
{
    uint64_t count = extent->block_count < wanted ? extent->block_count : wanted;
    while (count > 0 && is_busy(extents, end_of(extent) - count, count))
        count--;
    return count;
}

// A free extent at or behind `*from` that can give; `*from` moves behind it. -ENOENT: none is near.
static int find_giver(struct free_extents *extents, uint64_t *from, uint64_t wanted,
                      unsigned *looks, struct free_extent *part)
{
    struct free_extents_scan scan;
    struct free_extent extent;
    int result = free_extents_scan_begin(&scan, extents, *from, &extent);
    uint64_t count = 0;
    while (result == 0) {
        *from = end_of(&extent);
        count = ready_at_end(extents, &extent, wanted);
        if (count > 0)
            break;
        result = ++*looks < BALANCE_LOOKS_MAX ? free_extents_scan_next(&scan, &extent) : -ENOENT;
    }
    free_extents_scan_end(&scan);
    *part = (struct free_extent){*from - count, count};
    return result;
}

static int fill_reserve(struct free_extents *extents, struct journal_handle *handle)
{
    uint64_t from = extents->first_block + 1;
    unsigned looks = 0;
    unsigned ready = reserve_ready_count(extents);
    for (int i = 0; i < BALANCE_CHANGES_MAX && ready < RESERVE_HIGH; i++) {
        unsigned room = AG_RESERVE_MAX - reserve_count(extents);
        unsigned wanted = RESERVE_HIGH - ready < room ? RESERVE_HIGH - ready : room;
        struct free_extent part;
        int result = wanted > 0 ? find_giver(extents, &from, wanted, &looks, &part) : -ENOENT;
        if (result == -ENOENT)
            break;
        if (result == 0)
            result = free_extents_take(extents, handle, part.start_block, part.block_count);
        if (result != 0)
            return result;
        for (uint64_t j = 0; j < part.block_count; j++)
            reserve_push(extents, part.start_block + j);
        ready += (unsigned)part.block_count;
    }
    bool can_grow = ready >= RESERVE_LEAST || free_extents_count(extents) == 0;
    return can_grow ? 0 : -EAGAIN;
}

static int drain_reserve(struct free_extents *extents, struct journal_handle *handle)
{
    for (int i = 0; i < DRAIN_CHANGES_MAX && reserve_count(extents) > RESERVE_HIGH; i++) {
        cache_change(extents->header, handle);
        uint64_t block = reserve_take(extents, reserve_count(extents) - 1);
        int result = free_extents_add(extents, handle, block, 1);
        if (result != 0)
            return result;
    }
    return 0;
}

int free_extents_balance(struct free_extents *extents, struct journal_handle *handle)
{
    if (reserve_count(extents) > RESERVE_HIGH)
        return drain_reserve(extents, handle);
    if (reserve_ready_count(extents) < RESERVE_LOW)
        return fill_reserve(extents, handle);
    return 0;
}

uint64_t free_extents_balance_need(const struct free_extents *extents)
{
    unsigned ready = reserve_ready_count(extents);
    return ready < RESERVE_LOW ? RESERVE_HIGH - ready : 0;
}

// What the balance at the start of the handle costs: it fills from items that are near each other,
// or gives single blocks back anywhere, or has nothing to do.
static uint32_t balance_credits(const struct free_extents *extents, uint32_t change)
{
    if (reserve_count(extents) > RESERVE_HIGH)
        return DRAIN_CHANGES_MAX * change;
    return reserve_ready_count(extents) < RESERVE_LOW ? 2 * change : 0;
}

// A take or add changes at most two neighbouring items: the path of one change, and one leaf. A run
// of takes stays within two neighbouring leaves (three if it wraps). The tree may get a level more.
uint32_t free_extents_credits(const struct free_extents *extents, uint32_t scattered, uint32_t run)
{
    uint32_t level = tree_level(&extents->tree);
    if (level == 0)
        return 1 + 3 + (scattered + run + BALANCE_CHANGES_MAX) / 30;
    uint32_t change = 3 * level + 3;
    uint32_t run_changes = run < 3 ? run : 3;
    return 1 + 3 + balance_credits(extents, change) + (scattered + run_changes) * change + run / 30;
}
