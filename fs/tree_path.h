// SPDX-License-Identifier: Apache-2.0
// What tree.c (reading) and tree_change.c (changing) share: nodes of blocks, and paths. A path is a
// cursor: the nodes from the root to a leaf and the slot taken in each.
#pragma once

#include "fs/tree.h"
#include "fs/tree_node.h"

enum { TREE_VERIFIED = 1u << 0 }; // in cache_block.verified

// The node area in a block of the tree: embedded in the root's, behind the header in others.
struct tree_node tree_block_node(const struct tree *tree, const struct cache_block *block);

static inline struct tree_node tree_path_node(const struct tree_cursor *path, unsigned depth)
{
    return tree_block_node(path->tree, path->path[depth].block);
}

// Logs what is wrong with a block of the tree. -ERROR_CORRUPT_TREE.
int tree_corrupt(const struct tree *tree, const struct cache_block *block, const char *reason);
// Verifies the root's area if nobody did yet. 0 or -ERROR_CORRUPT_TREE.
int tree_verify_root(struct tree *tree);
// The child at `index` of the node at `depth` of the path, referenced and verified: one level
// below, not empty, its keys between the path's bounds.
int tree_read_child(struct tree_cursor *path, unsigned depth, unsigned index,
                    struct cache_block **child);
// Takes the path from the root to the leaf where `key` belongs. In the leaf the index is that of
// the last item not above `key`, `*is_before` says that there is none (and the index is 0).
int tree_path_descend(struct tree_cursor *path, struct tree_key key, bool *is_before);
// Whether `key` belongs in the leaf of the path by the keys of the nodes above it.
bool tree_path_covers(const struct tree_cursor *path, struct tree_key key);
