// SPDX-License-Identifier: Apache-2.0
// Quotas: what users, groups and projects may use of the volume, in blocks and in inodes, kept for
// the whole cluster (docs/quotas.md has the protocol and its timelines).
//
//   record of an owner   limits, what is used, what is lent     LOCK_QUOTA of its bucket
//         │ take ▲ settle
//         ▼      │
//   ledger of a node     its shares, and what it spent          LOCK_LEDGER of its slot
//         │ charge, in the transaction that allocates or frees
//         ▼
//   inodes               block_count, uid, gid, project_id      LOCK_INODE
//
// At any time what a record says is used and what all ledgers have spent of it adds up to what the
// inodes say, and what it has lent is the sum of the shares.
//
// On the core's thread; what waits is called from a coroutine, with no handle open.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fs/quota_charge.h"

struct cluster_lock;
struct journal_handle;
struct quota;
struct volume;

// In blocks of 4096 bytes and in inodes; 0: no limit.
struct quota_limits {
    uint64_t block_hard, block_soft;
    uint64_t inode_hard, inode_soft;
    uint32_t block_grace_s, inode_grace_s; // how long a soft limit may be exceeded; 0: the default
};

struct quota_row {
    struct quota_owner owner;
    struct quota_limits limits; // graces of 0 as QUOTA_GRACE_S_DEFAULT
    int64_t blocks, inodes;     // in use now, on all nodes; negative only if sums are wrong
    uint64_t block_until_s;     // wall clock: when the grace of an exceeded soft limit ends;
    uint64_t inode_until_s;     // 0: it is not exceeded
};

enum quota_phase {
    QUOTA_OFF,
    QUOTA_TURNS_ON, // by this node: the volume is frozen, inodes are counted
    QUOTA_ON,
    QUOTA_TURNS_OFF,
};

struct quota_status {
    enum quota_phase phase;
    uint64_t counted; // inodes, while it turns on
    int ended;        // of this node's last quota_switch: 0 or its error; -ENODATA: there was none
};

struct quota *quota_new(struct volume *volume);
// Settles what this node's ledger holds, and ends a switch. Before the locks go; no operation is
// under way. Waits.
void quota_stop(struct quota *quota);
void quota_free(struct quota *quota);

// --- for whoever administers it ------------------------------------------------------------------

// What this node knows; QUOTA_OFF as long as it has changed nothing: waits to look if it has to. 0,
// an error of reading the superblock, or the volume's failure.
int quota_get_status(struct quota *quota, struct quota_status *status);
// Whether they are on, as far as that can be read. Waits.
bool quota_is_on(struct quota *quota);
// Turns quotas on (the volume is frozen, on all nodes; all inodes are counted; limits of before are
// kept) or off. Begins, and goes on by itself: quota_get_status says when it is over. 0; -EALREADY:
// they are; -EBUSY: a switch or a freeze is under way here; -EROFS.
int quota_switch(struct quota *quota, bool on);

// The rows of a kind, ascending by number, from `first` on: at most `capacity`, their number in
// `count`; less than `capacity`: there are no more. -ENODATA: quotas are off. Errors of reading.
// Takes LOCK_QUOTA and LOCK_LEDGER of all slots SHARED; the caller holds no lock. Waits.
int quota_report(struct quota *quota, enum quota_kind kind, uint32_t first, struct quota_row *rows,
                 size_t capacity, size_t *count);
// One owner's; one who has nothing and no limit has a row of zeros. As quota_report.
int quota_get(struct quota *quota, struct quota_owner owner, struct quota_row *row);

enum {
    QUOTA_SET_BLOCK_HARD = 1u << 0,
    QUOTA_SET_BLOCK_SOFT = 1u << 1,
    QUOTA_SET_INODE_HARD = 1u << 2,
    QUOTA_SET_INODE_SOFT = 1u << 3,
    QUOTA_SET_BLOCK_GRACE = 1u << 4,
    QUOTA_SET_INODE_GRACE = 1u << 5,
};
// Changes those of `limits` that `fields` names; from its return on all nodes keep to them. A limit
// below what is used refuses all that comes, and takes nothing away. -EINVAL: a soft limit above
// its hard limit, one of FORMAT_QUOTA_MAX or more, or limits for number 0; -ENODATA: quotas are
// off; -EROFS; -ENOSPC for the record of a new owner; errors of reading. Waits, also for ledgers of
// nodes that are being recovered.
int quota_set(struct quota *quota, struct quota_owner owner, unsigned fields,
              const struct quota_limits *limits);

// --- for the operations --------------------------------------------------------------------------

// Around a transaction (fs/transaction.c), with no lock of rank LOCK_LEDGER or higher: holds the
// ledger if quotas are on, which charge->is_counting then says. 0 or the mount's failure. Waits.
int quota_charge_begin(struct quota *quota, struct quota_charge *charge);
void quota_charge_end(struct quota *quota, struct quota_charge *charge);
// Blocks of the ledger that a charge may change: journal credits.
static inline uint32_t quota_charge_credits(const struct quota_charge *charge)
{
    return charge->is_counting ? QUOTA_LEDGER_BLOCKS : 0;
}
// Whether shares cover the charge. If they do not: abort, let go of all from LOCK_LEDGER up,
// quota_take, again.
bool quota_charge_is_covered(struct quota *quota, const struct quota_charge *charge);
// Puts a charge that is covered into the ledger, the last change of the handle. Does not wait.
void quota_charge_apply(struct quota *quota, const struct quota_charge *charge,
                        struct journal_handle *handle);
// Takes shares for what the ledger did not cover; the charge has ended (quota_charge_end). 0;
// -EDQUOT; -ENOSPC for a new owner's record; errors of reading. Another may have used the shares
// before the next attempt. Waits.
int quota_take(struct quota *quota, struct quota_charge *charge);

// The limits of a project that count for a directory that hands it down: 0, or -ENODATA if quotas
// are off or it has none. As quota_get, but what other nodes have spent since they settled is not
// in it: takes LOCK_QUOTA of one bucket SHARED. Waits.
int quota_get_project(struct quota *quota, uint32_t project, struct quota_row *row);

// Settles the ledger of a slot whose node is gone, after 'recovered'. 0 or the first error. Waits.
int quota_settle_slot(struct quota *quota, uint32_t slot);

// --- the lock table's hooks ----------------------------------------------------------------------

// LOCK_LEDGER went: its entries are forgotten here.
void quota_ledger_forget(struct volume *volume, struct cluster_lock *lock);
// LOCK_FREEZE went: quotas may be turned on or off meanwhile.
void quota_look_again(struct quota *quota);
