// SPDX-License-Identifier: Apache-2.0
// The coherence table: all that nodes must agree on, one row a lock type. Locks are taken in the
// order of rank, and of id within a rank; never while a journal handle is open (the holder of the
// lock that we would wait for may itself wait for a commit of ours).
#pragma once

#include "fs/base/lock_name.h"
#include "fs/lock_service.h"

struct volume;
struct cluster_lock;

enum lock_type_id {
    LOCK_RENAME = 1,     // id 0: directory renames, one at a time, so that no loop can arise
    LOCK_INODE = 2,      // id inode: its block, tree, map; SHARED to read, EXCLUSIVE to change
    LOCK_ORPHANS = 3,    // id slot: the slot state's orphan list
    LOCK_AG_MAP = 4,     // id 0: which groups are initialised
    LOCK_AG = 5,         // id group: its header and trees; EXCLUSIVE to allocate and free
    LOCK_OPEN = 6,       // id inode: SHARED while any handle is open; EXCLUSIVE to free (rule 14)
    LOCK_OWNER = 7,      // id inode: held for a VM's life; no callback makes it yield (rule 13)
    LOCK_SUPERBLOCK = 8, // id 0: label, state, feature words
    LOCK_RANGES = 9,     // id inode: its byte-range locks; never taken as a lock itself
    LOCK_FREEZE = 10,    // id 0: SHARED to change anything; EXCLUSIVE: frozen (fs/freeze.h)
    LOCK_THAW = 11,      // id 0: who has frozen the volume keeps it; whoever asks wants a thaw
    LOCK_QUOTA = 12,     // id slot: the records in its quota bucket (fs/quota.h)
    LOCK_LEDGER = 13, // id slot: its quota ledger, its node's; EXCLUSIVE to settle what another has
    LOCK_TYPE_COUNT,
};

struct lock_type {
    const char *name;  // as `lunfs locks` prints it
    int rank;          // order of taking
    bool yields;       // a blocking callback makes it go
    bool is_held_long; // by open files: goes down to SHARED under its shared holders, who may
                       // stay for ever; protects no blocks
    // Before the lock goes down to `keep`, with no local holder left: drain passes, write lazy
    // times into the inode. Runs in a coroutine, may wait for I/O and commits, never for a cluster
    // lock. NULL: nothing to do.
    void (*quiesce)(struct volume *volume, struct cluster_lock *lock, enum lock_right keep);
    // What the kernel reads from now on asks for the lock: pages that were lent are called in.
    // NULL: it always does.
    void (*stop_filling)(struct volume *volume, struct cluster_lock *lock);
    // After the lock's blocks left the cache, when nothing is held any more.
    void (*forget)(struct volume *volume, struct cluster_lock *lock);
};

// Never NULL for 1 <= id < LOCK_TYPE_COUNT.
const struct lock_type *lock_type_of(uint32_t id);

static inline struct lock_name lock_name_inode(uint64_t inode)
{
    return (struct lock_name){LOCK_INODE, inode};
}
static inline struct lock_name lock_name_open(uint64_t inode)
{
    return (struct lock_name){LOCK_OPEN, inode};
}
static inline struct lock_name lock_name_ag(uint32_t ag)
{
    return (struct lock_name){LOCK_AG, ag};
}
static inline struct lock_name lock_name_ag_map(void)
{
    return (struct lock_name){LOCK_AG_MAP, 0};
}
static inline struct lock_name lock_name_orphans(uint32_t slot)
{
    return (struct lock_name){LOCK_ORPHANS, slot};
}
static inline struct lock_name lock_name_ranges(uint64_t inode)
{
    return (struct lock_name){LOCK_RANGES, inode};
}
static inline struct lock_name lock_name_freeze(void)
{
    return (struct lock_name){LOCK_FREEZE, 0};
}
static inline struct lock_name lock_name_thaw(void)
{
    return (struct lock_name){LOCK_THAW, 0};
}
static inline struct lock_name lock_name_quota(uint32_t slot)
{
    return (struct lock_name){LOCK_QUOTA, slot};
}
static inline struct lock_name lock_name_ledger(uint32_t slot)
{
    return (struct lock_name){LOCK_LEDGER, slot};
}
static inline struct lock_name lock_name_superblock(void)
{
    return (struct lock_name){LOCK_SUPERBLOCK, 0};
}
static inline struct lock_name lock_name_rename(void)
{
    return (struct lock_name){LOCK_RENAME, 0};
}
