// SPDX-License-Identifier: Apache-2.0
// The parts of the repair; repair.c is its spine.
#pragma once

#include <stdint.h>

struct check;

// Drops the space of inodes that are to be deleted, and of the orphan lists' own nodes; cuts inodes
// off whose truncate was under way, each by one write of its block. 0 or a negative error.
int repair_orphan_inodes(struct check *check);
// Empties the orphan lists. 0 or -errno.
int repair_orphan_lists(struct check *check);
// Writes a new free tree for each group that needs one: nodes first, headers when those are
// durable. 0 or a negative error (-ENOSPC: no room for the tree's own nodes).
int repair_groups(struct check *check);
// Writes the superblock and its copies, with `state`; durable when it returns. 0 or -errno.
int repair_superblocks(struct check *check, uint32_t state);
// Marks the slots of dead nodes, whose journals were replayed, as free. 0 or -errno.
int repair_slots(struct check *check);
