// SPDX-License-Identifier: Apache-2.0
// Changing. A leaf without room is split, and the new node's key and address go into the parent,
// which may have to be split in turn; the root, which cannot grow, moves its items into a new child
// first:
//
//   root [a b c d] full   ──►   root [·]            ──►   root [· c]
//                                    └ [a b c d]               ├ [a b]
//                                                              └ [c new d]
//
// A node that falls below a quarter is put together with a neighbour if three quarters of a node
// hold both; a root with one child takes the child's items back under the same condition. The gap
// between splitting and merging keeps a tree from doing both over and over.
//
// On an error the tree may be left half changed: the caller aborts its handle.
#include <string.h>

#include "fs/base/check.h"
#include "fs/base/error.h"
#include "fs/tree.h"
#include "fs/tree_path.h"

// Lower than any key in use, a valid key on disk: the key of a tree's leftmost slots.
static const struct tree_key KEY_LEAST = {.kind = ITEM_INLINE};

static void change(struct tree_cursor *path, unsigned depth, struct journal_handle *handle)
{
    cache_change(path->path[depth].block, handle);
}

// --- nodes -----------------------------------------------------------------------------------

static int node_new(struct tree *tree, struct journal_handle *handle, unsigned level,
                    struct cache_block **block)
{
    uint64_t address;
    int result = tree->nodes->allocate(tree->nodes, handle, &address);
    if (result != 0)
        return result;
    struct cache_identity identity = {
        .address = address,
        .owner = tree->owner,
        .type = BLOCK_TYPE_TREE_NODE,
        .lock = tree->lock,
    };
    result = cache_create(tree->cache, handle, &identity, block);
    if (result != 0)
        return result;
    tree_node_clear(tree_block_node(tree, *block), level);
    (*block)->verified |= TREE_VERIFIED;
    return 0;
}

static int node_release(struct tree *tree, struct journal_handle *handle, uint64_t address)
{
    return tree->nodes->release(tree->nodes, handle, address);
}

// --- inserting -------------------------------------------------------------------------------

struct new_item {
    struct tree_key key;
    const void *value;
    unsigned length;
};

// The root's items go into a new child, which takes the root's place in the path.
static int push_down_root(struct tree_cursor *path, struct journal_handle *handle)
{
    struct tree *tree = path->tree;
    struct tree_node root = tree_path_node(path, 0);
    unsigned level = tree_node_level(root);
    if (level + 1 >= TREE_LEVELS_MAX)
        return tree_corrupt(tree, tree->root, "the tree is too deep to grow");
    struct cache_block *child;
    int result = node_new(tree, handle, level, &child);
    if (result != 0)
        return result;
    change(path, 0, handle);
    tree_node_append(tree_block_node(tree, child), root, 0);
    tree_node_clear(root, level + 1);
    le64_t address = le64_make(child->address);
    tree_node_insert(root, 0, KEY_LEAST, &address, sizeof(address));
    memmove(&path->path[2], &path->path[1], (path->depth - 1) * sizeof(path->path[0]));
    path->path[1].block = child;
    path->path[1].index = path->path[0].index;
    path->path[0].index = 0;
    path->depth++;
    return 0;
}

static int insert_at(struct tree_cursor *path, struct journal_handle *handle, unsigned depth,
                     unsigned index, const struct new_item *item);

// Moves the upper items of the node at `depth` into a new right neighbour and inserts the item.
static int split(struct tree_cursor *path, struct journal_handle *handle, unsigned depth,
                 unsigned index, const struct new_item *item)
{
    struct tree *tree = path->tree;
    struct tree_node left = tree_path_node(path, depth);
    struct cache_block *block;
    int result = node_new(tree, handle, tree_node_level(left), &block);
    if (result != 0)
        return result;
    struct tree_node right = tree_block_node(tree, block);
    bool item_goes_right;
    unsigned stay = tree_node_split_point(left, index, item->length, &item_goes_right);
    tree_node_append(right, left, stay);
    tree_node_cut(left, stay);
    if (item_goes_right)
        tree_node_insert(right, index - stay, item->key, item->value, item->length);
    else
        tree_node_insert(left, index, item->key, item->value, item->length);
    le64_t address = le64_make(block->address);
    struct new_item separator = {tree_node_key(right, 0), &address, sizeof(address)};
    cache_put(block);
    return insert_at(path, handle, depth - 1, path->path[depth - 1].index + 1, &separator);
}

// Inserts the item in the node at `depth`, at `index`.
static int insert_at(struct tree_cursor *path, struct journal_handle *handle, unsigned depth,
                     unsigned index, const struct new_item *item)
{
    change(path, depth, handle);
    struct tree_node node = tree_path_node(path, depth);
    if (tree_node_has_room(node, item->length)) {
        tree_node_insert(node, index, item->key, item->value, item->length);
        return 0;
    }
    if (depth > 0)
        return split(path, handle, depth, index, item);
    int result = push_down_root(path, handle);
    return result != 0 ? result : insert_at(path, handle, 1, index, item);
}

static int insert_here(struct tree_cursor *path, struct journal_handle *handle, bool is_before,
                       const struct new_item *item)
{
    unsigned leaf = path->depth - 1;
    unsigned index = path->path[leaf].index;
    if (!is_before) {
        if (tree_key_compare(tree_node_key(tree_path_node(path, leaf), index), item->key) == 0)
            return -EEXIST;
        index++;
    }
    return insert_at(path, handle, leaf, index, item);
}

int tree_insert(struct tree *tree, struct journal_handle *handle, struct tree_key key,
                const void *value, size_t length)
{
    CHECK(length <= TREE_VALUE_BYTES_MAX && key.kind >= ITEM_INLINE);
    TREE_CURSOR(path, tree);
    bool is_before;
    int result = tree_path_descend(&path, key, &is_before);
    if (result != 0)
        return result;
    struct new_item item = {key, value, (unsigned)length};
    return insert_here(&path, handle, is_before, &item);
}

// --- deleting --------------------------------------------------------------------------------

static int shrink(struct tree_cursor *path, struct journal_handle *handle, unsigned depth);

// Frees the child at `index` of the node at `depth` and takes its slot out. The first slot's key
// stays the lower bound of what is left.
static int drop_child(struct tree_cursor *path, struct journal_handle *handle, unsigned depth,
                      unsigned index)
{
    struct tree_node node = tree_path_node(path, depth);
    int result = node_release(path->tree, handle, tree_node_child(node, index));
    if (result != 0)
        return result;
    change(path, depth, handle);
    struct tree_key bound = tree_node_key(node, index);
    tree_node_remove(node, index);
    if (index == 0 && tree_node_count(node) > 0)
        tree_node_set_key(node, 0, bound);
    return shrink(path, handle, depth);
}

static bool fit_together(struct tree_node a, struct tree_node b)
{
    return tree_node_used(a) + tree_node_used(b) <= tree_node_capacity(a) / 4 * 3;
}

// Moves the items of the child at `right` of the node at `depth` to the child before, and drops it.
static int merge(struct tree_cursor *path, struct journal_handle *handle, unsigned depth,
                 unsigned right, struct cache_block *left_block, struct cache_block *right_block)
{
    struct tree_node from = tree_block_node(path->tree, right_block);
    struct tree_node to = tree_block_node(path->tree, left_block);
    cache_change(left_block, handle);
    tree_node_append(to, from, 0);
    return drop_child(path, handle, depth, right);
}

// Tries the neighbour of the node at `depth` on one side. `*merged` if it was put together.
static int try_merge(struct tree_cursor *path, struct journal_handle *handle, unsigned depth,
                     bool with_right, bool *merged)
{
    unsigned index = path->path[depth - 1].index;
    unsigned count = tree_node_count(tree_path_node(path, depth - 1));
    if (with_right ? index + 1 >= count : index == 0)
        return 0;
    struct cache_block *block = path->path[depth].block;
    struct cache_block *neighbour;
    unsigned other = with_right ? index + 1 : index - 1;
    int result = tree_read_child(path, depth - 1, other, &neighbour);
    if (result != 0)
        return result;
    *merged =
        fit_together(tree_block_node(path->tree, block), tree_block_node(path->tree, neighbour));
    if (*merged && with_right)
        result = merge(path, handle, depth - 1, other, block, neighbour);
    else if (*merged)
        result = merge(path, handle, depth - 1, index, neighbour, block);
    cache_put(neighbour);
    return result;
}

// A root with one child takes the child's items, if they fit well; an inner root without a child is
// an empty leaf again.
static int shrink_root(struct tree_cursor *path, struct journal_handle *handle)
{
    struct tree *tree = path->tree;
    struct tree_node root = tree_path_node(path, 0);
    while (tree_node_level(root) > 0 && tree_node_count(root) <= 1) {
        change(path, 0, handle);
        if (tree_node_count(root) == 0) {
            tree_node_clear(root, 0);
            return 0;
        }
        struct cache_block *child;
        int result = tree_read_child(path, 0, 0, &child);
        if (result != 0)
            return result;
        struct tree_node node = tree_block_node(tree, child);
        bool fits = tree_node_used(node) <= tree_node_capacity(root) / 4 * 3;
        if (fits) {
            tree_node_clear(root, tree_node_level(node));
            tree_node_append(root, node, 0);
            result = node_release(tree, handle, child->address);
        }
        cache_put(child);
        if (!fits || result != 0)
            return result;
    }
    return 0;
}

// After the node at `depth` lost an item.
static int shrink(struct tree_cursor *path, struct journal_handle *handle, unsigned depth)
{
    if (depth == 0)
        return shrink_root(path, handle);
    struct tree_node node = tree_path_node(path, depth);
    if (tree_node_count(node) == 0)
        return drop_child(path, handle, depth - 1, path->path[depth - 1].index);
    if (tree_node_used(node) >= tree_node_capacity(node) / 4)
        return 0;
    bool merged = false;
    int result = try_merge(path, handle, depth, true, &merged);
    if (result == 0 && !merged)
        result = try_merge(path, handle, depth, false, &merged);
    return result;
}

static int find_exact(struct tree_cursor *path, struct tree_key key)
{
    return tree_cursor_seek(path, key, TREE_EXACT);
}

int tree_delete(struct tree *tree, struct journal_handle *handle, struct tree_key key)
{
    TREE_CURSOR(path, tree);
    int result = find_exact(&path, key);
    if (result != 0)
        return result;
    unsigned leaf = path.depth - 1;
    change(&path, leaf, handle);
    tree_node_remove(tree_path_node(&path, leaf), path.path[leaf].index);
    return shrink(&path, handle, leaf);
}

// --- replacing -------------------------------------------------------------------------------

int tree_replace(struct tree *tree, struct journal_handle *handle, struct tree_key key,
                 const void *value, size_t length)
{
    CHECK(length <= TREE_VALUE_BYTES_MAX);
    TREE_CURSOR(path, tree);
    int result = find_exact(&path, key);
    if (result != 0)
        return result;
    unsigned leaf = path.depth - 1;
    unsigned index = path.path[leaf].index;
    struct tree_node node = tree_path_node(&path, leaf);
    change(&path, leaf, handle);
    unsigned without = tree_node_used(node) - path.length;
    if (without + length <= tree_node_capacity(node)) {
        tree_node_set_value(node, index, value, (unsigned)length);
        return length < path.length ? shrink(&path, handle, leaf) : 0;
    }
    tree_node_remove(node, index);
    struct new_item item = {key, value, (unsigned)length};
    return insert_at(&path, handle, leaf, index, &item);
}

// Whether the item of the path can take `new_key` where it stands.
static int check_move(const struct tree_cursor *path, struct tree_key new_key, bool *in_place)
{
    unsigned leaf = path->depth - 1;
    unsigned index = path->path[leaf].index;
    struct tree_node node = tree_path_node(path, leaf);
    bool passes_next = index + 1 < tree_node_count(node) &&
                       tree_key_compare(tree_node_key(node, index + 1), new_key) <= 0;
    bool passes_previous =
        index > 0 && tree_key_compare(tree_node_key(node, index - 1), new_key) >= 0;
    if (passes_next || passes_previous)
        return tree_corrupt(path->tree, path->path[leaf].block, "an item moved past its neighbour");
    *in_place = tree_path_covers(path, new_key);
    return 0;
}

int tree_move(struct tree *tree, struct journal_handle *handle, struct tree_key key,
              struct tree_key new_key, const void *value, size_t length)
{
    TREE_CURSOR(path, tree);
    bool in_place = false;
    int result = find_exact(&path, key);
    if (result == 0)
        result = check_move(&path, new_key, &in_place);
    if (result != 0)
        return result;
    unsigned leaf = path.depth - 1;
    change(&path, leaf, handle);
    struct tree_node node = tree_path_node(&path, leaf);
    if (in_place && path.length == length) {
        tree_node_set_key(node, path.path[leaf].index, new_key);
        tree_node_set_value(node, path.path[leaf].index, value, (unsigned)length);
        return 0;
    }
    tree_node_remove(node, path.path[leaf].index);
    result = shrink(&path, handle, leaf);
    return result != 0 ? result : tree_insert(tree, handle, new_key, value, length);
}

// --- worst cases -----------------------------------------------------------------------------

unsigned tree_level(const struct tree *tree)
{
    unsigned level = tree_node_level(tree_block_node(tree, tree->root));
    return level < TREE_LEVELS_MAX ? level : TREE_LEVELS_MAX - 1;
}

// One change touches the root, and on each level a node and its new neighbour, or a node that it
// changes, the neighbour that takes its items and that neighbour's parent; a root that overflows
// adds a child and the child's neighbour. From a root alone no more blocks can come than one a
// change and what the root overflows into. Inner nodes fill once in thirty changes at most.
struct tree_cost tree_change_cost(const struct tree *tree, uint32_t change_count)
{
    if (change_count == 0)
        return (struct tree_cost){0, 0};
    unsigned level = tree_level(tree);
    unsigned growth = (change_count > 1 ? 3 : 0) + change_count / 30;
    unsigned changed = level == 0 ? change_count + 1 : change_count * (3 * level + 2);
    return (struct tree_cost){
        .credits = 1 + changed + growth,
        .node_blocks = level == 0 ? change_count + 1 + growth : change_count * (level + 2),
    };
}

// The run fills leaves one after the other, each at least to a quarter but the first and the last.
struct tree_cost tree_run_cost(const struct tree *tree, uint32_t change_count, size_t bytes)
{
    if (change_count == 0)
        return (struct tree_cost){0, 0};
    size_t all = bytes + change_count * sizeof(struct tree_slot_disk);
    unsigned leaves = (unsigned)(all / (BLOCK_BYTES / 4)) + 2;
    if (leaves > change_count + 2)
        leaves = change_count + 2;
    unsigned level = tree_level(tree) + 2;
    unsigned inner = level + leaves / 30;
    return (struct tree_cost){
        .credits = 1 + 3 * leaves + 3 * inner,
        .node_blocks = leaves + inner,
    };
}
