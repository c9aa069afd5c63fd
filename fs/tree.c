// SPDX-License-Identifier: Apache-2.0
// Reading: the way down, and cursors. A node is verified whole when its block came in from the
// disk, and what follows from its place in the tree (level, bounds of its keys) at each step down.
// So keys ascend over the whole of a walk, whatever the disk says, and every walk ends.
#include "fs/tree.h"

#include <string.h>

#include "fs/base/check.h"
#include "fs/base/error.h"
#include "fs/format_decode.h"
#include "fs/tree_path.h"

struct tree_node tree_block_node(const struct tree *tree, const struct cache_block *block)
{
    if (block == tree->root)
        return (struct tree_node){tree->root->bytes + tree->area_offset, tree->area_bytes};
    size_t offset = offsetof(struct tree_block_disk, area);
    return (struct tree_node){block->bytes + offset, (uint16_t)(BLOCK_BYTES - offset)};
}

// --- verification ----------------------------------------------------------------------------

int tree_corrupt(const struct tree *tree, const struct cache_block *block, const char *reason)
{
    return cache_report_damage(tree->cache, -ERROR_CORRUPT_TREE, "block %llu of owner %llu: %s",
                               (unsigned long long)block->address, (unsigned long long)tree->owner,
                               reason);
}

static int verify_content(const struct tree *tree, struct cache_block *block)
{
    if (block->verified & TREE_VERIFIED)
        return 0;
    struct tree_node node = tree_block_node(tree, block);
    struct format_node checked;
    const char *reason = NULL;
    if (format_node_open(&checked, node.area, node.area_bytes, &reason) != 0)
        return tree_corrupt(tree, block, reason);
    block->verified |= TREE_VERIFIED;
    return 0;
}

int tree_verify_root(struct tree *tree)
{
    int result = verify_content(tree, tree->root);
    if (result != 0)
        return result;
    if (tree_node_level(tree_block_node(tree, tree->root)) >= TREE_LEVELS_MAX)
        return tree_corrupt(tree, tree->root, "the tree is too deep");
    return 0;
}

// The key of the slot behind the path's at or above `depth`: what all keys below are lower than.
static bool upper_bound(const struct tree_cursor *path, unsigned depth, unsigned index,
                        struct tree_key *bound)
{
    for (unsigned i = depth + 1; i > 0; i--) {
        struct tree_node node = tree_path_node(path, i - 1);
        unsigned taken = i - 1 == depth ? index : path->path[i - 1].index;
        if (taken + 1 < tree_node_count(node)) {
            *bound = tree_node_key(node, taken + 1);
            return true;
        }
    }
    return false;
}

bool tree_path_covers(const struct tree_cursor *path, struct tree_key key)
{
    struct tree_key bound;
    unsigned leaf = path->depth - 1;
    if (leaf == 0)
        return true;
    unsigned index = path->path[leaf - 1].index;
    if (tree_key_compare(key, tree_node_key(tree_path_node(path, leaf - 1), index)) < 0)
        return false;
    return !upper_bound(path, leaf - 1, index, &bound) || tree_key_compare(key, bound) < 0;
}

static int verify_place(const struct tree_cursor *path, unsigned depth, unsigned index,
                        const struct cache_block *child)
{
    struct tree_node parent = tree_path_node(path, depth);
    struct tree_node node = tree_block_node(path->tree, child);
    unsigned count = tree_node_count(node);
    struct tree_key bound;
    if (tree_node_level(node) + 1 != tree_node_level(parent))
        return tree_corrupt(path->tree, child,
                            "a tree node's level does not follow from its parent's");
    if (count == 0)
        return tree_corrupt(path->tree, child, "a tree node is empty");
    if (tree_key_compare(tree_node_key(node, 0), tree_node_key(parent, index)) < 0)
        return tree_corrupt(path->tree, child, "a tree node's keys lie below its parent's");
    if (upper_bound(path, depth, index, &bound) &&
        tree_key_compare(tree_node_key(node, count - 1), bound) >= 0)
        return tree_corrupt(path->tree, child, "a tree node's keys reach into its neighbour's");
    return 0;
}

int tree_read_child(struct tree_cursor *path, unsigned depth, unsigned index,
                    struct cache_block **child)
{
    struct tree *tree = path->tree;
    struct cache_identity identity = {
        .address = tree_node_child(tree_path_node(path, depth), index),
        .owner = tree->owner,
        .type = BLOCK_TYPE_TREE_NODE,
        .lock = tree->lock,
    };
    int result = cache_read(tree->cache, &identity, child);
    if (result != 0)
        return result;
    result = verify_content(tree, *child);
    if (result == 0)
        result = verify_place(path, depth, index, *child);
    if (result != 0)
        cache_put(*child);
    return result;
}

// --- the way down ----------------------------------------------------------------------------

void tree_cursor_init(struct tree_cursor *cursor, struct tree *tree)
{
    cursor->tree = tree;
    cursor->depth = 0;
    cursor->value = NULL;
    cursor->length = 0;
}

static void truncate_path(struct tree_cursor *cursor, unsigned depth)
{
    while (cursor->depth > depth)
        cache_put(cursor->path[--cursor->depth].block);
}

void tree_cursor_deinit(struct tree_cursor *cursor)
{
    truncate_path(cursor, 0);
}

static int push_root(struct tree_cursor *cursor)
{
    int result = tree_verify_root(cursor->tree);
    if (result != 0)
        return result;
    truncate_path(cursor, 0);
    cursor->path[0].block = cache_get(cursor->tree->root);
    cursor->path[0].index = 0;
    cursor->depth = 1;
    return 0;
}

static struct tree_node last_node(const struct tree_cursor *cursor)
{
    return tree_path_node(cursor, cursor->depth - 1);
}

// Extends the path by the child at `index` of its last node.
static int push_child(struct tree_cursor *cursor, unsigned index)
{
    struct cache_block *child;
    int result = tree_read_child(cursor, cursor->depth - 1, index, &child);
    if (result != 0)
        return result;
    cursor->path[cursor->depth - 1].index = index;
    cursor->path[cursor->depth].block = child;
    cursor->path[cursor->depth].index = 0;
    cursor->depth++;
    return 0;
}

int tree_path_descend(struct tree_cursor *path, struct tree_key key, bool *is_before)
{
    int result = push_root(path);
    while (result == 0) {
        struct tree_node node = last_node(path);
        int index = tree_node_floor(node, key);
        *is_before = index < 0;
        if (index < 0)
            index = 0;
        if (tree_node_level(node) == 0) {
            path->path[path->depth - 1].index = (unsigned)index;
            return 0;
        }
        result = push_child(path, (unsigned)index);
    }
    truncate_path(path, 0);
    return result;
}

// --- cursors ---------------------------------------------------------------------------------

static int show_item(struct tree_cursor *cursor)
{
    struct tree_node node = last_node(cursor);
    unsigned index = cursor->path[cursor->depth - 1].index;
    cursor->key = tree_node_key(node, index);
    cursor->value = tree_node_value(node, index);
    cursor->length = tree_node_length(node, index);
    return 0;
}

// Down to the first or last leaf below the last node of the path.
static int descend_to_edge(struct tree_cursor *cursor, bool to_last)
{
    while (true) {
        struct tree_node node = last_node(cursor);
        unsigned edge = to_last ? tree_node_count(node) - 1 : 0;
        cursor->path[cursor->depth - 1].index = edge;
        if (tree_node_level(node) == 0)
            return show_item(cursor);
        int result = push_child(cursor, edge);
        if (result != 0)
            return result;
    }
}

// To the nearest item beyond the current leaf: up until a node has a neighbour slot, and down
// again.
static int step_over_leaf(struct tree_cursor *cursor, bool forward)
{
    while (cursor->depth > 1) {
        truncate_path(cursor, cursor->depth - 1);
        unsigned index = cursor->path[cursor->depth - 1].index;
        bool has_more = forward ? index + 1 < tree_node_count(last_node(cursor)) : index > 0;
        if (!has_more)
            continue;
        int result = push_child(cursor, forward ? index + 1 : index - 1);
        return result != 0 ? result : descend_to_edge(cursor, !forward);
    }
    return -ENOENT;
}

static int step(struct tree_cursor *cursor, bool forward)
{
    CHECK(cursor->depth > 0);
    unsigned *index = &cursor->path[cursor->depth - 1].index;
    if (forward ? *index + 1 < tree_node_count(last_node(cursor)) : *index > 0) {
        *index = forward ? *index + 1 : *index - 1;
        return show_item(cursor);
    }
    int result = step_over_leaf(cursor, forward);
    if (result != 0)
        truncate_path(cursor, 0);
    return result;
}

int tree_cursor_next(struct tree_cursor *cursor)
{
    return step(cursor, true);
}

int tree_cursor_previous(struct tree_cursor *cursor)
{
    return step(cursor, false);
}

// The leaf holds no item at or below the key: the floor is the last item of the leaf before.
static int seek_from_before(struct tree_cursor *cursor, enum tree_seek seek)
{
    bool is_empty = tree_node_count(last_node(cursor)) == 0;
    if (seek == TREE_CEILING && !is_empty)
        return show_item(cursor);
    if (seek == TREE_FLOOR && !is_empty)
        return step(cursor, false);
    truncate_path(cursor, 0);
    return -ENOENT;
}

int tree_cursor_seek(struct tree_cursor *cursor, struct tree_key key, enum tree_seek seek)
{
    bool is_before;
    int result = tree_path_descend(cursor, key, &is_before);
    if (result != 0)
        return result;
    if (is_before)
        return seek_from_before(cursor, seek);
    show_item(cursor);
    if (seek == TREE_FLOOR || tree_key_compare(cursor->key, key) == 0)
        return 0;
    if (seek == TREE_CEILING)
        return step(cursor, true);
    truncate_path(cursor, 0);
    return -ENOENT;
}

int tree_get(struct tree *tree, struct tree_key key, void *value, size_t capacity)
{
    TREE_CURSOR(cursor, tree);
    int result = tree_cursor_seek(&cursor, key, TREE_EXACT);
    if (result != 0)
        return result;
    memcpy(value, cursor.value, cursor.length < capacity ? cursor.length : capacity);
    return (int)cursor.length;
}
