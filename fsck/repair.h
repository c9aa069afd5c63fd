// SPDX-License-Identifier: Apache-2.0
// The repair: stage after stage, each over what the checks find when all earlier ones are done.
//
//   VOLUME   claim, slots, journals, the map of groups
//   INODES   fields of inodes
//   TREES    items of inodes, names in directories
//   SHARED   blocks with two owners, groups that nobody initialised
//   NAMES    inodes without a name
//   LINKS    counts of links, parents
//   ORPHANS  what is still to be deleted or truncated
//   QUOTAS   records that do not say what is used and lent
//   SPACE    free space, slots of dead nodes
//
// All of it goes to check->changes; the disk is written when a check of the result has found
// nothing wrong (fsck/commit.h).
#pragma once

#include <stdint.h>

#include "fsck/problem.h"

struct check;

// Does one stage. 0; -ENOSPC: no room for new blocks; an error of reading; or a check that failed:
// what is wrong cannot be put right.
int repair_stage(struct check *check, enum problem_stage stage);

// --- for the stages --------------------------------------------------------------------------

// Seals 4096 bytes with a new version and adds them to the changes.
void repair_write(struct check *check, uint64_t block, void *bytes);

// A new, empty directory.
struct repair_directory {
    uint64_t number, generation, parent;
    uint32_t permissions;
};
void repair_make_directory(struct check *check, const struct repair_directory *directory);
void repair_make_root(struct check *check);

int repair_volume_blocks(struct check *check);
int repair_inode_fields(struct check *check);
int repair_trees(struct check *check);
int repair_shared(struct check *check);
int repair_names(struct check *check);
int repair_links(struct check *check);

// Cuts off inodes whose truncate was under way, each by one write of its block.
int repair_orphan_inodes(struct check *check);
// Blocks of a slot's quotas that are not valid; -ENOSPC.
int repair_quota_blocks(struct check *check, uint32_t slot);
// Writes a bucket anew: the records that are known, with the numbers that are right. -ENOSPC.
int repair_quota_records(struct check *check, uint32_t slot);
int repair_quotas(struct check *check); // of all buckets that are wrong
// Empties the orphan lists; one slot's.
int repair_orphan_lists(struct check *check);
int repair_orphan_list(struct check *check, uint32_t slot);
// Writes a new free tree for each group that needs one: nodes first, headers behind a barrier.
// -ENOSPC: no room for the tree's own nodes.
int repair_groups(struct check *check);
// Writes a group as one of which nothing is used, and its bit in the map.
int repair_group_initialise(struct check *check, uint32_t ag);
