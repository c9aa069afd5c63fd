// SPDX-License-Identifier: Apache-2.0
// The locks of one operation, taken in rank order and let go together.
//
//   LOCK_SET(set);
//   lock_set_add(&set, lock_name_inode(parent), LOCK_EXCLUSIVE);
//   lock_set_add(&set, lock_name_inode(child), LOCK_EXCLUSIVE);
//   result = lock_set_acquire(&set, volume);
//   ... check the plan again, change blocks in one transaction ...
//   lock_set_release(&set);
//
// A second acquire after further adds is allowed only for names of higher rank than all that are
// held (CHECKed).
#pragma once

#include "fs/cluster_lock.h"

struct freeze_gate;

enum { LOCK_SET_MAX = 25 };

struct lock_set {
    struct {
        struct lock_name name;
        enum lock_mode mode;
        struct cluster_lock *lock; // set once held
    } entries[LOCK_SET_MAX];
    size_t count;
    unsigned flags; // LOCK_* of each acquire
    struct freeze_gate
        *freeze; // entered for the kernel (LOCK_FOR_KERNEL_WRITE), in place of an entry
    bool is_let_in;
};

#define LOCK_SET(name) struct lock_set name = {.count = 0}

// The same name twice is one entry with the stronger mode.
void lock_set_add(struct lock_set *set, struct lock_name name, enum lock_mode mode);
// All or nothing: 0, or the failing acquire's error with nothing of this call held. The waits of a
// first acquire are interruptible if it begins with a LOCK_INODE: an operation begins so, and if it
// takes any lock EXCLUSIVE, LOCK_FREEZE is taken before it (rule 24). What is taken in the middle
// of a longer change is waited out.
int lock_set_acquire(struct lock_set *set, struct volume *volume);
void lock_set_release(struct lock_set *set);
struct cluster_lock *lock_set_find(const struct lock_set *set, struct lock_name name);
