// SPDX-License-Identifier: Apache-2.0
// Who owns which blocks: runs with their owners, gathered per allocation group in any order, sorted
// when they are looked at. 16 bytes a run, so memory goes with the number of files and extents, not
// with the size of the volume.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "fs/format.h"

enum space_use {
    SPACE_FREE = 0,
    SPACE_HEADER = 1,
    SPACE_RESERVE = 2,
    SPACE_FREE_TREE = 3, // a node of the group's own trees
    SPACE_INODE = 4,
    SPACE_TREE = 5, // a node of an inode's tree
    SPACE_DATA = 6,
    SPACE_ORPHAN_TREE = 7, // a node of a slot's orphan list; the owner is the slot
    SPACE_QUOTA_TREE = 8,  // a node of a slot's quota bucket; likewise
};

// "the reserve of group 3", "data of inode 8241"
const char *space_use_name(enum space_use use);

struct space_run {
    uint32_t start; // from the group's first block
    uint32_t count;
    uint64_t owner_and_use; // owner << 8 | use
};

struct space_group {
    struct space_run *runs;
    uint32_t run_count;
    uint32_t capacity;
    bool is_initialised;
    bool is_unreadable; // its header or free tree is damaged: what is free is not known
    bool needs_rebuild; // its free tree is not what it should be
};

struct space {
    const struct geometry *geometry;
    struct space_group *groups; // ag_count of them
    uint64_t used_block_count;  // added so far, but for SPACE_FREE
    bool is_only_counted;       // no runs are kept
};

void space_init(struct space *space, const struct geometry *geometry);
void space_deinit(struct space *space);

static inline enum space_use space_run_use(const struct space_run *run)
{
    return (enum space_use)(run->owner_and_use & 0xff);
}
static inline uint64_t space_run_owner(const struct space_run *run)
{
    return run->owner_and_use >> 8;
}

// `count` blocks from `block` on, inside one group (CHECKed), belong to `owner`.
void space_add(struct space *space, uint64_t block, uint64_t count, enum space_use use,
               uint64_t owner);
// Sorts the group's runs by start.
void space_group_sort(struct space_group *group);

// --- for the repair --------------------------------------------------------------------------

// Free extents of a group, ascending.
struct space_gaps {
    struct space_run *gaps; // owner_and_use is 0
    uint32_t count;
};

// The gaps that are left when runs of the uses that `keeps` accepts are taken out of a sorted
// group.
void space_gaps_find(const struct space *space, uint32_t ag,
                     bool (*keeps)(const struct space_run *run), struct space_gaps *gaps);
void space_gaps_deinit(struct space_gaps *gaps);
// What keeps a block from being written to in a repair: all runs but free ones and reserves.
bool space_run_is_referenced(const struct space_run *run);
// What is used when the repair is done, but for the group's own tree and reserve.
bool space_run_stays(const struct space_run *run);

// Hands out blocks that nothing refers to: first those that sound groups say are free, then all
// others. (What a damaged group or directory has lost may stand in the latter.)
struct space_pool {
    const struct space *space; // its groups are sorted
    struct space_gaps gaps;    // of the group being used up
    uint32_t gap;
    uint64_t gap_first_block;
    uint64_t group_next; // counts the groups twice: sound ones, all
};
void space_pool_init(struct space_pool *pool, const struct space *space);
void space_pool_deinit(struct space_pool *pool);
// 0 if there is none.
uint64_t space_pool_take(struct space_pool *pool);
