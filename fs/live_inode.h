// SPDX-License-Identifier: Apache-2.0
// Inodes by numbers that may be out of date: the kernel's, an orphan list's, those of names read
// before. The block of a freed inode says that it is dead until it is used for something else, and
// then it is no inode (fs/reaper.h).
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "fs/inode.h"
#include "fs/lock_set.h"

// LOCK_INODE is held. 0; -ESTALE if there is no such inode any more (not logged: nothing is wrong);
// else as inode_load. An unlinked inode is alive while this node has it open. Waits.
int live_inode_load(struct inode *inode, struct volume *volume, uint64_t number);
// The same for one that may be unlinked and not open: on the way to be freed.
int live_inode_load_dying(struct inode *inode, struct volume *volume, uint64_t number);

// Takes LOCK_INODE alone and loads, as live_inode_load. On error nothing is held.
int live_inode_acquire(struct inode *inode, struct lock_set *set, struct volume *volume,
                       uint64_t number, enum lock_mode mode);
void live_inode_release(struct inode *inode, struct lock_set *set);
