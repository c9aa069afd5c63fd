// SPDX-License-Identifier: Apache-2.0
// Between the files of fs/quota*.c alone.
#pragma once

#include "fs/base/coroutine.h"
#include "fs/base/environment.h"
#include "fs/cluster_lock.h"
#include "fs/quota.h"
#include "fs/transaction.h"
#include "fs/tree.h"

enum { LEDGER_ENTRIES_ALL = QUOTA_LEDGER_ENTRIES * QUOTA_LEDGER_BLOCKS };

struct quota {
    struct volume *volume;
    struct cluster_lock *ledger_lock; // of our slot; referenced for good
    bool is_known;       // whether the feature bits were looked at since LOCK_FREEZE came
    uint64_t look_count; // how often it went
    bool is_on;
    bool is_ledger_bad; // ours cannot be read: nothing is charged
    // Settles what was idle (quota_idle.c).
    struct environment_timer timer;
    bool is_armed, is_settling, is_stopped;
    struct wait_queue idle;
    // A switch (quota_switch.c).
    enum quota_phase phase;
    uint64_t counted;
    int ended;
    bool is_switching;
};

// --- ledgers (quota_ledger.c) --------------------------------------------------------------------

// A slot's, while its lock is cached here.
struct quota_ledger {
    uint32_t slot;
    struct cache_block *blocks[QUOTA_LEDGER_BLOCKS];
    uint64_t keys[LEDGER_ENTRIES_ALL];    // quota_key + 1 of the owner; 0: unused
    uint64_t used_ns[LEDGER_ENTRIES_ALL]; // by this node, last
    uint64_t uses[LEDGER_ENTRIES_ALL];    // the same, counted: time may stand still meanwhile
    uint64_t use_count;
};

// Of a slot whose LOCK_LEDGER the caller holds in `lock`; read on first use, and kept as long as
// the right. 0 or -ERROR_BLOCK_*, -errno. Waits.
int quota_ledger_get(struct volume *volume, struct cluster_lock *lock, uint32_t slot,
                     struct quota_ledger **ledger);
// The owner's entry; negative if it has none.
int quota_ledger_find(const struct quota_ledger *ledger, struct quota_owner owner);
// A place for a new one; negative if there is none.
int quota_ledger_find_free(const struct quota_ledger *ledger);
void quota_entry_read(const struct quota_ledger *ledger, int index,
                      struct format_quota_entry *entry);
// In a handle: one credit.
void quota_entry_write(struct quota_ledger *ledger, struct journal_handle *handle, int index,
                       const struct format_quota_entry *entry);
// After the handle that wrote it has ended: what quota_ledger_find says from now on.
void quota_entry_note(struct quota_ledger *ledger, int index,
                      const struct format_quota_entry *entry);
// After `result`, of what must not fail: true if it is an error of a path, which passes, and some
// time went by: it is to be tried again. `tries` begins at 0. Holding no ledger. Waits.
bool quota_waits_out(struct quota *quota, int result, unsigned *tries);
// This node uses it now.
void quota_ledger_use(struct quota *quota, struct quota_ledger *ledger, int index);
struct quota_owner quota_ledger_owner(const struct quota_ledger *ledger, int index);

// --- records (quota_record.c) --------------------------------------------------------------------

// A bucket whose LOCK_QUOTA the caller holds.
struct quota_bucket {
    struct volume *volume;
    uint32_t slot;
    struct cache_block *block;
    struct tree tree;
    struct tree_nodes nodes;
    struct allocator_reservation *space; // of the open handle
};

int quota_bucket_load(struct quota_bucket *bucket, struct volume *volume, uint32_t slot);
void quota_bucket_unload(struct quota_bucket *bucket);
// The owner's record. -ENOENT: `record` is that of one who has nothing. -ERROR_CORRUPT_TREE.
int quota_record_get(struct quota_bucket *bucket, struct quota_owner owner,
                     struct format_quota *record);
// The first of the kind with at least this number; -ENOENT at the end.
int quota_record_next(struct quota_bucket *bucket, enum quota_kind kind, uint32_t id,
                      struct format_quota *record);
// Writes it, new or not.
int quota_record_put(struct quota_bucket *bucket, struct transaction *t,
                     const struct format_quota *record);
// A transaction that changes a record, and perhaps an entry of a ledger, both held EXCLUSIVE.
struct quota_change {
    struct quota_bucket *bucket;
    const struct format_quota *record;
    struct quota_ledger *ledger; // NULL: none
    int index;
    struct format_quota_entry entry;
    bool uses_margin; // must not fail for want of space
};
int quota_change_run(struct quota_change *change);

// --- limits (quota_limits.c) ---------------------------------------------------------------------

// What is asked for on top of what an entry has: decides, and if it is granted puts it into record
// and entry. Pure.
struct quota_request {
    uint64_t blocks, inodes;
    uint32_t slot_count;
    uint64_t now_s;
};
bool quota_grant(struct format_quota *record, struct format_quota_entry *entry,
                 const struct quota_request *request);
// Takes the entry back into the record; false if the record cannot have lent that much.
bool quota_settle_into(struct format_quota *record, const struct format_quota_entry *entry,
                       uint32_t slot, uint64_t now_s);
// Keeps since when soft limits are exceeded.
void quota_note_soft(struct format_quota *record, uint64_t now_s);

// An owner's bucket, held and loaded.
struct quota_held_bucket {
    struct cluster_lock *lock;
    enum lock_mode mode;
    struct quota_bucket bucket;
};
int quota_bucket_hold(struct quota *quota, struct quota_owner owner, enum lock_mode mode,
                      struct quota_held_bucket *held);
void quota_bucket_let_go(struct quota_held_bucket *held);

// --- taking and settling (quota.c) ---------------------------------------------------------------

uint64_t quota_now_s(const struct quota *quota);
struct cluster_lock *quota_lock(struct volume *volume, struct lock_name name, enum lock_mode mode,
                                int *result);
void quota_unlock(struct cluster_lock *lock, enum lock_mode mode);
// Settles one owner's entry in the ledger of `slot`; the caller holds the owner's bucket EXCLUSIVE.
// 0 also if there is none. Waits.
int quota_settle_entry(struct quota *quota, struct quota_bucket *bucket, uint32_t slot,
                       struct quota_owner owner);
// The same, bucket and all.
int quota_settle_owner(struct quota *quota, uint32_t slot, struct quota_owner owner);
// All entries that others and this node have of the record's owner.
int quota_settle_holders(struct quota *quota, struct quota_bucket *bucket,
                         struct format_quota *record);
// Looks at the feature bits, if it has to.
int quota_look(struct quota *quota);

// --- idle ones (quota_idle.c) --------------------------------------------------------------------

void quota_idle_later(struct quota *quota);
