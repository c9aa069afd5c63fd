// SPDX-License-Identifier: Apache-2.0
// Inodes by numbers that may be out of date: the kernel's, those of names read before, those that
// an orphan list once held. The block of a freed inode says that it is dead until it is used for
// something else, and then it is no inode (fs/reaper.h); it may become that at any time. So the
// block is looked at past the cache first, and only an inode that must be alive is loaded.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "fs/base/coroutine.h"
#include "fs/inode.h"
#include "fs/lock_set.h"

// Numbers that the kernel got with a look of its own come back with the generation of the inode
// that it saw (rule 14). A request may have waited long for its locks since: meanwhile another node
// may have removed the file and used the number again.
//
//   n1  looks up "a": inode 7, generation 3       link 7 as "b" ─► waits for LOCK_INODE 7 ─► a
//   stranger n2          holds it: removes "a" ── 7 is freed ── makes "c" in 7, generation 4 ──┘
//   gets a name
//
struct live_inode_meant {
    uint64_t number;
    uint64_t generation; // as many of its low bits as the caller knows
};

enum { LIVE_INODES_MEANT_MAX = 2 };

struct live_inodes_meant {
    struct live_inode_meant of[LIVE_INODES_MEANT_MAX];
    uint32_t count;
    uint64_t generation_mask; // the bits that the caller knows
};

// For all that the running coroutine does from now on: live_inode_load of one of these numbers in
// another life is -ESTALE. `meant` stays the caller's, for as long as the coroutine runs.
static inline void live_inode_mean(struct scheduler *scheduler,
                                   const struct live_inodes_meant *meant)
{
    coroutine_set_local(scheduler, meant);
}

// LOCK_INODE is held. 0; -ESTALE if there is no such inode any more (not logged: nothing is wrong);
// else as inode_load. An unlinked inode is alive while this node has it open. Waits.
int live_inode_load(struct inode *inode, struct volume *volume, uint64_t number);
// The same for one that may stand on an orphan list, in that life: it is alive if it does.
// LOCK_INODE is held EXCLUSIVE; takes the list's lock. Waits.
int live_inode_load_orphan(struct inode *inode, struct volume *volume, uint64_t number,
                           uint64_t generation);
// The entry behind `after` of a slot's orphan list, as orphan_list_next. Takes the list's lock.
// Waits.
int live_inode_next_orphan(struct volume *volume, uint32_t slot, uint64_t after, uint64_t *number,
                           uint64_t *generation);

// Takes LOCK_INODE alone and loads, as live_inode_load. On error nothing is held.
int live_inode_acquire(struct inode *inode, struct lock_set *set, struct volume *volume,
                       uint64_t number, enum lock_mode mode);
void live_inode_release(struct inode *inode, struct lock_set *set);
