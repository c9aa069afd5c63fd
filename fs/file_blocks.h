// SPDX-License-Identifier: Apache-2.0
// Giving blocks to a file and taking them away. LOCK_INODE is held EXCLUSIVE; before blocks are
// taken away the caller has drained the file's passes (rule 3). All functions wait.
#pragma once

#include <stdint.h>

#include "fs/extent_map.h"
#include "fs/transaction.h"

// Gives [file_block, ...), a hole of at least `block_count` blocks, up to so many unwritten blocks
// in one run, in a transaction of its own; `*allocated` says how many (1 at least). 0; -ENOSPC.
int file_blocks_allocate(struct inode *inode, uint64_t file_block, uint64_t block_count,
                         uint64_t *allocated);

// Takes away everything of [file_block, file_block + block_count), from the end towards the front,
// in as many transactions as it takes: a crash leaves the front.
int file_blocks_remove(struct inode *inode, uint64_t file_block, uint64_t block_count);

// The same inside a transaction that does something else, too. Plans at most `step_max` runs (fewer
// if so many groups cannot be locked together; removal->has_more says so) and adds what they cost.
int file_blocks_plan_removal(struct transaction *t, struct inode *inode, uint64_t file_block,
                             uint64_t block_count, unsigned step_max,
                             struct extent_removal *removal);
// In the transaction's change, after transaction_change_inode.
int file_blocks_apply_removal(struct transaction *t, struct inode *inode,
                              const struct extent_removal *removal);
