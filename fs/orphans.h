// SPDX-License-Identifier: Apache-2.0
// A slot's orphan list: inodes that are unlinked but still open somewhere, or whose truncate is
// under way (rule 14). ITEM_ORPHAN items in the tree of the slot's state block, keyed by inode
// number. What makes an inode an orphan is one transaction with the change of the inode itself.
//
// The caller holds LOCK_ORPHANS of the slot, EXCLUSIVE to change. Functions may wait.
#pragma once

#include <stdint.h>

#include "fs/tree.h"

struct allocator_reservation;
struct journal_handle;
struct volume;

struct orphan_list {
    struct volume *volume;
    uint32_t slot;
    struct cache_block *block; // the slot state
    struct tree tree;
    struct tree_nodes nodes;
    struct allocator_reservation *space; // what changes allocate from and free to; the user sets it
};

// Reads the slot's state block. 0 or -ERROR_BLOCK_*.
int orphan_list_load(struct orphan_list *list, struct volume *volume, uint32_t slot);
void orphan_list_unload(struct orphan_list *list);

// -EEXIST if it is there; as tree_insert.
int orphan_list_insert(struct orphan_list *list, struct journal_handle *handle, uint64_t inode,
                       uint64_t generation);
// -ERROR_CORRUPT_ORPHANS if it does not stand there: as its inode says that it does; tree_delete.
int orphan_list_remove(struct orphan_list *list, struct journal_handle *handle, uint64_t inode);
// The entry with the least inode number above `after` (0: the first). -ENOENT at the end;
// -ERROR_CORRUPT_ORPHANS.
int orphan_list_next(struct orphan_list *list, uint64_t after, uint64_t *inode,
                     uint64_t *generation);

// Credits and nodes of one insert or remove; the state block is included.
struct tree_cost orphan_list_cost(const struct orphan_list *list);
