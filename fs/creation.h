// SPDX-License-Identifier: Apache-2.0
// How a new inode comes into being: what the operations that make one share. Whoever makes one
// fills in the first part and runs it once.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "fs/inode.h"
#include "fs/lock_set.h"
#include "fs/orphans.h"

struct acl;
struct attributes;
struct cluster_lock;
struct open_inode;
struct volume;

struct creation {
    struct volume *volume;
    const char *name;   // NULL: it gets none, and stands on this slot's orphan list
    const char *target; // of a symbolic link, else NULL
    bool opens;
    mode_t umask;
    struct inode_creation what; // generation, parent and time are set by the run

    // Private:
    struct inode parent;                 // loaded, locked
    const struct acl *access, *defaults; // lists that it inherits; NULL: none
    uint64_t claimed;                    // its locks are held; 0: none
    uint64_t changes;                    // of the lock table, when numbers were last looked at
    uint64_t wait_end_ns; // when other groups are looked at, too; 0: nothing was waited for yet
    uint64_t tried_ns;    // when numbers were last looked at again
    struct cluster_lock *inode_lock, *open_lock;
    struct inode child; // loaded once it is made
    struct lock_set orphans_set;
    struct orphan_list orphans; // loaded and locked while there is no name
    bool has_orphans;
    struct tree_cost orphans_cost; // that the transaction counts with
};

// Makes the inode in directory `parent`. `*open` is set if it is opened. 0, -EEXIST if the name is
// taken, or another error, with nothing done. Waits.
int creation_run(struct creation *creation, uint64_t parent, struct attributes *out,
                 struct open_inode **open);
