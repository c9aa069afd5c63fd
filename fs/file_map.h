// SPDX-License-Identifier: Apache-2.0
// A file's map as this node sees it: the inode's extents, in which what was written since counts as
// written. LOCK_INODE is held; functions may wait.
#pragma once

#include <stdint.h>

#include "fs/extent_map.h"

struct open_inode;

// The run from `file_block` on that is of one state (it may go on in the next). For a hole the
// volume block is 0. `open` may be NULL.
int file_map_lookup(struct inode *inode, const struct open_inode *open, uint64_t file_block,
                    struct extent *run);
// The volume block in front of which the block before `file_block` stands, as a goal for new ones;
// 0 if there is none.
int file_map_goal(struct inode *inode, uint64_t file_block, uint64_t *goal);
// Calls `emit` for all written runs in order, until it returns an error. 0 or that.
int file_map_iterate_written(struct inode *inode, const struct open_inode *open,
                             int (*emit)(void *context, const struct extent *run), void *context);
