// SPDX-License-Identifier: Apache-2.0
// The free extents of one allocation group: ITEM_FREE items in the header's tree, keyed by their
// first block, never touching or overlapping each other. Pure bookkeeping on the tree: which blocks
// may be given out now (busy ones may not) and where to look is the allocator's.
//
// The tree's own nodes come from the reserve in the group's header. An insert or delete takes or
// gives at most a few; once in a handle the reserve is brought back to its middle by cutting blocks
// off the ends of free extents, which changes a value in place and never splits a node. So there is
// no recursion, and a full group can still record frees.
//
// The caller holds the group's lock EXCLUSIVE. Functions may wait for reads of nodes.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "fs/tree.h"

struct free_extent {
    uint64_t start_block;
    uint64_t block_count;
};

// What the allocator knows and the tree does not.
struct free_extents_user {
    // Whether any block of the range was freed and is not to be used yet.
    bool (*is_busy)(void *context, uint64_t block, uint64_t count);
    // A node's block went to the reserve in this handle: it is busy until that is durable.
    void (*released)(void *context, struct journal_handle *handle, uint64_t block);
};

struct free_extents {
    struct tree tree;
    struct tree_nodes nodes;
    struct cache_block *header; // the group's; the user's reference
    uint64_t first_block;       // of the group, its header block
    uint64_t block_count;       // of the group
    const struct free_extents_user *user;
    void *context; // the user's
};

// For the group whose header block is given. The header was verified (format_ag_decode).
void free_extents_init(struct free_extents *extents, struct cache *cache, struct log *log,
                       struct cache_block *header, uint64_t first_block, uint64_t block_count,
                       const struct free_extents_user *user, void *context);

uint64_t free_extents_count(const struct free_extents *extents); // free blocks, without the reserve

// The extent that contains `block`, or else the first behind it; -ENOENT at the end of the group;
// -ERROR_CORRUPT_FREE_SPACE if an item is out of the group or empty.
int free_extents_find(struct free_extents *extents, uint64_t block, struct free_extent *found);
// A scan: positioned by free_extents_scan_begin like free_extents_find. End it always.
struct free_extents_scan {
    struct tree_cursor cursor;
    struct free_extents *extents;
};
int free_extents_scan_begin(struct free_extents_scan *scan, struct free_extents *extents,
                            uint64_t block, struct free_extent *found);
int free_extents_scan_next(struct free_extents_scan *scan, struct free_extent *found);
void free_extents_scan_end(struct free_extents_scan *scan);

// Takes [block, block + count) out of the free extent that contains it (the caller found it).
int free_extents_take(struct free_extents *extents, struct journal_handle *handle, uint64_t block,
                      uint64_t count);
// Adds [block, block + count), merged with its neighbours. -ERROR_CORRUPT_FREE_SPACE if it
// overlaps.
int free_extents_add(struct free_extents *extents, struct journal_handle *handle, uint64_t block,
                     uint64_t count);

// Once in a handle, before its first take or add: brings the reserve back to its middle, from the
// ends of a few free extents that are not busy, or into the tree. -EAGAIN if the reserve is so low
// that the tree could not grow, and what could fill it is busy.
int free_extents_balance(struct free_extents *extents, struct journal_handle *handle);

// Blocks that a balance may take from the tree.
uint64_t free_extents_balance_need(const struct free_extents *extents);

// Credits of a balance, `scattered` takes and adds anywhere, and `run` takes of single blocks that
// follow each other in ascending order, but for one wrap; the header included.
uint32_t free_extents_credits(const struct free_extents *extents, uint32_t scattered, uint32_t run);
