// SPDX-License-Identifier: Apache-2.0
// The free extents of one allocation group: ITEM_FREE items in the header's tree, keyed by their
// first block, never touching or overlapping each other. Pure bookkeeping on the tree: which blocks
// may be given out now (busy ones may not) and where to look is the allocator's.
//
// The tree's own nodes come from a stack in the group's header, `reserve`. An insert or delete
// takes or gives at most a few; between operations the stack is brought back to its middle by
// taking blocks from the front of a free extent, which moves a key in place and never splits a
// node. So there is no recursion, and a full group can still record frees.
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

struct free_extents {
    struct tree tree;
    struct tree_nodes nodes;
    struct cache_block *header; // the group's; the user's reference
    uint64_t first_block;       // of the group, its header block
    uint64_t block_count;       // of the group
};

// For the group whose header block is given. The header was verified (format_ag_decode).
void free_extents_init(struct free_extents *extents, struct cache *cache,
                       struct cache_block *header, struct lock_name lock, uint64_t first_block,
                       uint64_t block_count);

uint64_t free_extents_count(const struct free_extents *extents); // free blocks, without the reserve
unsigned free_extents_reserve_count(const struct free_extents *extents);

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

// Whether the reserve can serve one more operation.
bool free_extents_reserve_suffices(const struct free_extents *extents);
// Brings the reserve back to its middle: takes from the free extents that `may_take` allows (at
// most some; looks at no more than a few dozen items) or gives back to the tree. 0 also if it could
// take nothing.
int free_extents_balance(struct free_extents *extents, struct journal_handle *handle,
                         bool (*may_take)(void *context, uint64_t block, uint64_t count),
                         void *context);

// Credits of one take, add or balance.
uint32_t free_extents_credits(const struct free_extents *extents);
