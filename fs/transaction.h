// SPDX-License-Identifier: Apache-2.0
// One transaction of an operation: what it may cost, the space it takes from or gives back to, the
// handle. The operation holds its locks (all but the groups') and says in a function what changes:
//
//   struct transaction t;
//   transaction_init(&t, volume, goal);
//   transaction_add_cost(&t, directory_change_cost(&directory));
//   result = transaction_run(&t, change, &context);
//
//   run: lock groups ─► handle ─► change ─┬─ 0: end                          all of it, or
//            ▲                            └─ error: abort, byte for byte      nothing of it
//            └──── needs more space, or ◄─┘
//                  a share of a quota
//
// `change` may run several times: each time on what the abort restored. It waits for no cluster
// lock.
#pragma once

#include <stdint.h>
#include <time.h>

#include "fs/allocator.h"
#include "fs/quota_charge.h"
#include "fs/tree.h"

struct inode;
struct journal_handle;
struct volume;

struct transaction {
    struct volume *volume;
    struct journal_handle *handle; // open while `change` runs
    struct allocator_reservation space;
    struct timespec now;    // of the operation: its time stamps
    uint32_t credits;       // blocks changed outside of the groups
    uint32_t space_changes; // allocations and frees
    // When `change` answers TRANSACTION_WAIT: called with the handle aborted and the groups let go;
    // after 0 `change` runs again. May be NULL.
    int (*wait)(struct transaction *transaction, void *context);
    // When all was changed and is taken back all the same, because quotas have to be asked first:
    // what `change` did outside of blocks. May be NULL.
    void (*undo)(struct transaction *transaction, void *context);
    struct quota_charge charge; // what owners use more or less, of the open handle
    unsigned take_count;        // how often shares were taken for it
    bool must_fit;              // is refused by quotas even if it may use the last blocks
};

enum {
    TRANSACTION_WAIT = 1,
    TRANSACTION_SHORT = 2, // its own, of a charge that shares do not cover
};

// `goal`: a block near which new ones should lie; 0: anywhere.
void transaction_init(struct transaction *transaction, struct volume *volume, uint64_t goal);
void transaction_add_credits(struct transaction *transaction, uint32_t credits);
// Of a tree's change. The blocks of new nodes are asked for only when it turns out that the change
// needs them, which is rare.
void transaction_add_cost(struct transaction *transaction, struct tree_cost cost);
// `count` more runs are allocated or freed.
void transaction_add_space_changes(struct transaction *transaction, uint32_t count);
// 0 or the error of whatever failed; then nothing was changed. -EDQUOT; -EROFS on a read-only
// volume, -ERROR_JOURNAL_FULL if the journal is too small for such a change (do less at once).
// Waits.
int transaction_run(struct transaction *transaction,
                    int (*change)(struct transaction *transaction, void *context), void *context);

// Inside `change`, before the inode or its tree is changed: takes nodes from this transaction, and
// notes for fsync that the inode changed in it.
void transaction_change_inode(struct transaction *transaction, struct inode *inode);
// The same for one that was made in this transaction (inode_create).
void transaction_adopt_inode(struct transaction *transaction, struct inode *inode);

// Wall clock, for time stamps.
struct timespec transaction_clock(struct volume *volume);
// 0; -EROFS; the error that ended the mount.
int transaction_check_writable(const struct volume *volume);
