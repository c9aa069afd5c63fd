// SPDX-License-Identifier: Apache-2.0
// A B+tree over slotted nodes. Its root stands in the block of the object that it belongs to (an
// inode, an allocation group, a slot state), so a small object is one block; deeper nodes have
// blocks of their own.
//
//   object's block                         tree blocks
//   ┌────────┬───────────────┐             ┌────────┬──────────────────────────────┐
//   │ fields │ root: level 2 ├──► level 1 ─┤ header │ node header, slots →  ← heap │
//   └────────┴───────────────┘             └────────┴──────────────────────────────┘
//
// Keys are unique. In an internal node the key of a slot is a lower bound of all keys below it,
// but for slot 0, whose key is never compared. A root that overflows moves its items down into a
// new child; a root with one child that fits takes the child's items back.
//
// Nodes come from the disk: every offset, length and level is checked before it is used, so a
// hostile node gives -ERROR_CORRUPT_TREE (logged with its block), never a bad access or a loop.
// Levels fall by one with each step down.
//
// All reads may wait for the disk. The caller holds the tree's lock for the whole of its use of a
// tree or cursor: SHARED to read, EXCLUSIVE to change. Changes go into the caller's handle; after a
// failed change the caller aborts the handle, which takes back whatever part of it was done.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fs/cache.h"
#include "fs/format.h"

enum { TREE_LEVELS_MAX = 16 }; // FORMAT_TREE_LEVEL_MAX and the leaves

struct tree_key {
    uint8_t kind; // enum item_kind
    uint32_t minor;
    uint64_t major;
};

#define TREE_KEY(kind_, major_, minor_)                                                            \
    ((struct tree_key){.kind = (kind_), .major = (major_), .minor = (minor_)})

// Negative, 0, positive as memcmp.
static inline int tree_key_compare(struct tree_key a, struct tree_key b)
{
    if (a.kind != b.kind)
        return a.kind < b.kind ? -1 : 1;
    if (a.major != b.major)
        return a.major < b.major ? -1 : 1;
    return a.minor < b.minor ? -1 : a.minor > b.minor;
}

// Where node blocks come from and go to. Embedded in whoever provides it.
struct tree_nodes {
    // A free block for a node. 0, or an error that ends the change (-EAGAIN, -ENOSPC, ...).
    int (*allocate)(struct tree_nodes *nodes, struct journal_handle *handle, uint64_t *block);
    // Takes back a node's block: revokes it (cache_revoke) and frees it.
    int (*release)(struct tree_nodes *nodes, struct journal_handle *handle, uint64_t block);
};

// One tree, as its user sees it. Holds nothing; valid while `root` is referenced by the user.
struct tree {
    struct cache *cache;
    struct cache_block *root; // the object's block
    uint16_t area_offset;     // of the root's area in it
    uint16_t area_bytes;
    uint64_t owner;           // of the tree's blocks
    struct lock_name lock;    // of the tree's blocks
    struct tree_nodes *nodes; // NULL: read-only
    struct log *log;
};

// --- one item --------------------------------------------------------------------------------

// Copies the value, at most `capacity` bytes of it. The value's length; -ENOENT. Waits.
int tree_get(struct tree *tree, struct tree_key key, void *value, size_t capacity);
// -EEXIST if the key is there. At most TREE_VALUE_BYTES_MAX bytes. Waits.
int tree_insert(struct tree *tree, struct journal_handle *handle, struct tree_key key,
                const void *value, size_t length);
// A new value, perhaps of another length. -ENOENT if the key is not there. Waits.
int tree_replace(struct tree *tree, struct journal_handle *handle, struct tree_key key,
                 const void *value, size_t length);
// -ENOENT if the key is not there. Waits.
int tree_delete(struct tree *tree, struct journal_handle *handle, struct tree_key key);
// Gives the item at `key` another key and a new value, in place if it can be had, at the cost of
// two changes at most. No other item lies between the two keys (else -ERROR_CORRUPT_TREE). -ENOENT.
// Waits.
int tree_move(struct tree *tree, struct journal_handle *handle, struct tree_key key,
              struct tree_key new_key, const void *value, size_t length);

// --- cursors ---------------------------------------------------------------------------------

enum tree_seek {
    TREE_EXACT,   // the key
    TREE_FLOOR,   // the greatest key that is not above it
    TREE_CEILING, // the least key that is not below it
};

// A position in a tree: references the nodes from root to leaf. Any change of the tree invalidates
// it (but tree_cursor_deinit); seek again, for which the same cursor serves.
struct tree_cursor {
    struct tree *tree;
    struct {
        struct cache_block *block;
        unsigned index;
    } path[TREE_LEVELS_MAX]; // [0]: the root
    unsigned depth;          // nodes in the path; 0: not positioned
    struct tree_key key;     // of the item at the cursor
    const void *value;       // in the leaf, valid until the cursor moves or the tree changes
    unsigned length;
};

void tree_cursor_init(struct tree_cursor *cursor, struct tree *tree);
void tree_cursor_deinit(struct tree_cursor *cursor);
#define TREE_CURSOR(name, tree_)                                                                   \
    __attribute__((cleanup(tree_cursor_deinit))) struct tree_cursor name;                          \
    tree_cursor_init(&name, (tree_))

// 0, or -ENOENT if there is no such item (the cursor is then not positioned). Waits.
int tree_cursor_seek(struct tree_cursor *cursor, struct tree_key key, enum tree_seek seek);
// To the neighbour of a positioned cursor; -ENOENT at the end. After an error (that one, too) the
// cursor is not positioned. Waits.
int tree_cursor_next(struct tree_cursor *cursor);
int tree_cursor_previous(struct tree_cursor *cursor);

// --- worst cases -----------------------------------------------------------------------------

// Blocks that `change_count` inserts, replaces and deletes may change and revoke (journal credits,
// the root's block included) and node blocks that they may allocate.
struct tree_cost {
    uint32_t credits;
    uint32_t node_blocks;
};
unsigned tree_level(const struct tree *tree); // 0: the root alone
struct tree_cost tree_change_cost(const struct tree *tree, uint32_t change_count);
// The same for `change_count` changes of keys that lie next to each other (a run of one object's
// chunks): they share their path, so it is far less. `bytes` is the sum of the values' lengths.
struct tree_cost tree_run_cost(const struct tree *tree, uint32_t change_count, size_t bytes);
