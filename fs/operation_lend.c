// SPDX-License-Identifier: Apache-2.0
// What an answer may let the kernel keep (docs/caching.md).
#include "fs/cluster_lock.h"
#include "fs/inode_table.h"
#include "fs/lock_types.h"
#include "fs/operation.h"
#include "fs/volume.h"

// An open file's size, times and blocks change with no request that tells the kernel: lanes write,
// a write that was submitted asynchronously ends, what was allocated ahead is given back.
bool operation_lend(struct volume *volume, uint64_t inode, uint64_t node, unsigned loans)
{
    if (volume->options.no_recovery)
        return false; // nobody is told when others write
    if ((loans & LOAN_ATTRIBUTES) != 0 && open_inode_find(volume, inode) != NULL)
        return false;
    return cluster_lock_lend(volume->locks, lock_name_inode(inode), node, loans);
}

void operation_recall(struct volume *volume, uint64_t inode)
{
    lock_table_recall(volume->locks, lock_name_inode(inode));
}
