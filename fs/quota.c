// SPDX-License-Identifier: Apache-2.0
// Taking shares and settling them. Whoever is short settles what others have of the owner by
// itself, while it holds the owner's bucket:
//
//   n1  LOCK_QUOTA EX ─ too little left ─┬─► LOCK_LEDGER n2 EX ─► settled ─► let go
//                                        ├─► LOCK_LEDGER n3 EX ─► settled ─► let go
//                                        └─► what is left now decides
//   n2  transactions under way end, the ledger goes; the next one takes its share anew
//
// Nobody who holds a ledger waits for a bucket, and nobody in a callback for either.
#include "fs/quota.h"
#include "fs/base/memory.h"

#include <errno.h>
#include <stdlib.h>

#include "fs/base/check.h"
#include "fs/base/error.h"
#include "fs/base/sabotage.h"
#include "fs/cache.h"
#include "fs/freeze.h"
#include "fs/lock_types.h"
#include "fs/quota_private.h"
#include "fs/volume.h"

// --- life ----------------------------------------------------------------------------------------

struct quota *quota_new(struct volume *volume)
{
    struct quota *quota = memory_new(sizeof(*quota));
    quota->volume = volume;
    quota->ended = -ENODATA;
    quota->ledger_lock = cluster_lock_get(volume->locks, lock_name_ledger(volume->slot));
    wait_queue_init(&quota->idle);
    return quota;
}

void quota_free(struct quota *quota)
{
    CHECK(!quota->is_armed && !quota->is_settling && !quota->is_switching);
    cluster_lock_put(quota->ledger_lock);
    free(quota);
}

void quota_look_again(struct quota *quota)
{
    quota->is_known = false;
    quota->look_count++;
}

int quota_look(struct quota *quota)
{
    struct volume *volume = quota->volume;
    struct geometry geometry;
    if (quota->is_known)
        return 0;
    bool is_stable = freeze_has_right(volume->freeze);
    uint64_t seen = quota->look_count;
    int result = volume_read_geometry(volume->device, volume->scheduler, volume->log, &geometry);
    if (result != 0)
        return result;
    volume->geometry.feature_ro_compat = geometry.feature_ro_compat;
    quota->is_on = (geometry.feature_ro_compat & FEATURE_RO_COMPAT_QUOTAS) != 0;
    quota->is_known = is_stable && seen == quota->look_count;
    return 0;
}

// --- locks ---------------------------------------------------------------------------------------

uint64_t quota_now_s(const struct quota *quota)
{
    int64_t now_ns = environment_wall_ns(quota->volume->environment);
    return now_ns > 0 ? (uint64_t)now_ns / 1000000000 : 1;
}

struct cluster_lock *quota_lock(struct volume *volume, struct lock_name name, enum lock_mode mode,
                                int *result)
{
    struct cluster_lock *lock = cluster_lock_get(volume->locks, name);
    *result = cluster_lock_acquire(lock, mode, 0);
    if (*result == 0)
        return lock;
    cluster_lock_put(lock);
    return NULL;
}

void quota_unlock(struct cluster_lock *lock, enum lock_mode mode)
{
    cluster_lock_release(lock, mode);
    cluster_lock_put(lock);
}

int quota_bucket_hold(struct quota *quota, struct quota_owner owner, enum lock_mode mode,
                      struct quota_held_bucket *held)
{
    struct volume *volume = quota->volume;
    uint32_t slot = geometry_quota_bucket_of(&volume->geometry, owner.kind, owner.id);
    int result;
    held->mode = mode;
    held->lock = quota_lock(volume, lock_name_quota(slot), mode, &result);
    if (result != 0)
        return result;
    result = quota_bucket_load(&held->bucket, volume, slot);
    if (result != 0)
        quota_unlock(held->lock, mode);
    return result;
}

void quota_bucket_let_go(struct quota_held_bucket *held)
{
    quota_bucket_unload(&held->bucket);
    quota_unlock(held->lock, held->mode);
}

// --- settling ------------------------------------------------------------------------------------

// With bucket and ledger EXCLUSIVE.
static int settle_index(struct quota *quota, struct quota_bucket *bucket,
                        struct quota_ledger *ledger, int index)
{
    struct quota_owner owner = quota_ledger_owner(ledger, index);
    struct format_quota record;
    struct format_quota_entry entry;
    quota_entry_read(ledger, index, &entry);
    int result = quota_record_get(bucket, owner, &record);
    if (result != 0 && result != -ENOENT)
        return result;
    if (SABOTAGE(quota_share_lost) && ledger->slot != quota->volume->slot)
        entry.block_spent = entry.inode_spent = 0;
    if (!quota_settle_into(&record, &entry, ledger->slot, quota_now_s(quota)))
        cache_report_damage(quota->volume->cache, -ERROR_CORRUPT_TREE,
                            "quota of kind %d, number %u: slot %u has a share that was not lent",
                            (int)owner.kind, owner.id, ledger->slot);
    struct quota_change change = {
        .bucket = bucket, .record = &record, .ledger = ledger, .index = index, .uses_margin = true};
    return quota_change_run(&change);
}

int quota_settle_entry(struct quota *quota, struct quota_bucket *bucket, uint32_t slot,
                       struct quota_owner owner)
{
    struct quota_ledger *ledger;
    int result;
    struct cluster_lock *lock =
        quota_lock(quota->volume, lock_name_ledger(slot), LOCK_EXCLUSIVE, &result);
    if (result != 0)
        return result;
    result = quota_ledger_get(quota->volume, lock, slot, &ledger);
    int index = result == 0 ? quota_ledger_find(ledger, owner) : -1;
    if (index >= 0)
        result = settle_index(quota, bucket, ledger, index);
    quota_unlock(lock, LOCK_EXCLUSIVE);
    return result;
}

int quota_settle_owner(struct quota *quota, uint32_t slot, struct quota_owner owner)
{
    struct quota_held_bucket held;
    int result = quota_bucket_hold(quota, owner, LOCK_EXCLUSIVE, &held);
    if (result != 0)
        return result;
    result = quota_settle_entry(quota, &held.bucket, slot, owner);
    quota_bucket_let_go(&held);
    return result;
}

int quota_settle_holders(struct quota *quota, struct quota_bucket *bucket,
                         struct format_quota *record)
{
    struct quota_owner owner = {record->kind, record->id};
    uint64_t holders = record->holders;
    int result = 0;
    for (uint32_t slot = 0; slot < quota->volume->geometry.slot_count && result == 0; slot++) {
        if ((holders >> slot & 1) != 0)
            result = quota_settle_entry(quota, bucket, slot, owner);
    }
    if (result == 0)
        result = quota_record_get(bucket, owner, record);
    return result == -ENOENT ? 0 : result;
}

// The owners of a ledger, as they are now.
static int list_owners(struct quota *quota, uint32_t slot, struct quota_owner *owners,
                       unsigned *count)
{
    struct quota_ledger *ledger;
    int result;
    struct cluster_lock *lock =
        quota_lock(quota->volume, lock_name_ledger(slot), LOCK_SHARED, &result);
    *count = 0;
    if (result != 0)
        return result;
    result = quota_ledger_get(quota->volume, lock, slot, &ledger);
    for (int i = 0; result == 0 && i < LEDGER_ENTRIES_ALL; i++) {
        if (ledger->keys[i] != 0)
            owners[(*count)++] = quota_ledger_owner(ledger, i);
    }
    quota_unlock(lock, LOCK_SHARED);
    return result;
}

static int settle_all(struct quota *quota, uint32_t slot)
{
    struct quota_owner owners[LEDGER_ENTRIES_ALL];
    unsigned count;
    int result = list_owners(quota, slot, owners, &count);
    for (unsigned i = 0; result == 0 && i < count; i++)
        result = quota_settle_owner(quota, slot, owners[i]);
    return result;
}

int quota_settle_slot(struct quota *quota, uint32_t slot)
{
    struct freeze *freeze = quota->volume->freeze;
    int result = freeze_enter(freeze);
    if (result != 0)
        return result;
    result = quota_look(quota);
    if (result == 0 && quota->is_on)
        result = settle_all(quota, slot);
    freeze_leave(freeze);
    return result;
}

// --- taking --------------------------------------------------------------------------------------

enum take_result {
    TAKE_DONE,
    TAKE_SHORT = 1, // too little is left
    TAKE_NO_ENTRY,  // the ledger is full
};

// One owner's, with the bucket EXCLUSIVE.
struct taking {
    struct quota *quota;
    struct quota_bucket *bucket;
    struct quota_owner owner;
    struct quota_request request;
    bool uses_margin;
    struct quota_owner oldest; // of a full ledger
};

static int oldest_entry(const struct quota_ledger *ledger)
{
    int oldest = 0;
    for (int i = 1; i < LEDGER_ENTRIES_ALL; i++) {
        if (ledger->uses[i] < ledger->uses[oldest])
            oldest = i;
    }
    return oldest;
}

static int find_or_make(struct taking *taking, const struct quota_ledger *ledger,
                        struct quota_change *change)
{
    change->index = quota_ledger_find(ledger, taking->owner);
    if (change->index >= 0) {
        quota_entry_read(ledger, change->index, &change->entry);
        return 0;
    }
    change->entry = (struct format_quota_entry){
        .is_used = true, .kind = taking->owner.kind, .id = taking->owner.id};
    change->index = quota_ledger_find_free(ledger);
    if (change->index >= 0)
        return 0;
    taking->oldest = quota_ledger_owner(ledger, oldest_entry(ledger));
    return TAKE_NO_ENTRY;
}

static int take_into(struct taking *taking, struct quota_ledger *ledger,
                     struct format_quota *record)
{
    struct quota *quota = taking->quota;
    struct quota_change change = {.bucket = taking->bucket,
                                  .record = record,
                                  .ledger = ledger,
                                  .uses_margin = taking->uses_margin};
    int result = find_or_make(taking, ledger, &change);
    if (result != 0)
        return result;
    if (!quota_grant(record, &change.entry, &taking->request))
        return TAKE_SHORT;
    record->holders |= (uint64_t)1 << ledger->slot;
    result = quota_change_run(&change);
    if (result == 0)
        quota_ledger_use(quota, ledger, change.index);
    return result;
}

// What the record was before is read again: a share that is not granted leaves no trace.
static int take_once(struct taking *taking, struct format_quota *record)
{
    struct quota *quota = taking->quota;
    struct quota_ledger *ledger;
    int result = quota_record_get(taking->bucket, taking->owner, record);
    if (result != 0 && result != -ENOENT)
        return result;
    result = cluster_lock_acquire(quota->ledger_lock, LOCK_EXCLUSIVE, 0);
    if (result != 0)
        return result;
    struct format_quota changed = *record;
    result = quota_ledger_get(quota->volume, quota->ledger_lock, quota->volume->slot, &ledger);
    if (result == 0)
        result = take_into(taking, ledger, &changed);
    cluster_lock_release(quota->ledger_lock, LOCK_EXCLUSIVE);
    return result;
}

static int take_locked(struct taking *taking)
{
    struct format_quota record;
    int result = take_once(taking, &record);
    if (result != TAKE_SHORT || record.holders == 0 || SABOTAGE(quota_refuse_alone))
        return result;
    result = quota_settle_holders(taking->quota, taking->bucket, &record);
    return result != 0 ? result : take_once(taking, &record);
}

static int take_owner(struct taking *taking)
{
    struct quota *quota = taking->quota;
    int result;
    do {
        struct quota_held_bucket held;
        result = quota_bucket_hold(quota, taking->owner, LOCK_EXCLUSIVE, &held);
        if (result != 0)
            return result;
        taking->bucket = &held.bucket;
        result = take_locked(taking);
        quota_bucket_let_go(&held);
        if (result == TAKE_NO_ENTRY) {
            int settled = quota_settle_owner(quota, quota->volume->slot, taking->oldest);
            result = settled != 0 ? settled : TAKE_NO_ENTRY;
        }
    } while (result == TAKE_NO_ENTRY);
    return result == TAKE_SHORT ? -EDQUOT : result;
}

// What cannot be refused asks for an entry alone.
static void request_for(struct taking *taking, const struct quota_charge *charge,
                        const struct quota_delta *delta)
{
    const struct quota *quota = taking->quota;
    bool is_free = charge->is_unrefusable || !quota_delta_is_more(delta);
    taking->owner = delta->owner;
    taking->uses_margin = is_free;
    taking->request = (struct quota_request){
        .blocks = !is_free && delta->blocks > 0 ? (uint64_t)delta->blocks : 0,
        .inodes = !is_free && delta->inodes > 0 ? (uint64_t)delta->inodes : 0,
        .slot_count = quota->volume->geometry.slot_count,
        .now_s = quota_now_s(quota),
    };
}

int quota_take(struct quota *quota, struct quota_charge *charge)
{
    unsigned tries = 0;
    for (unsigned i = 0; i < charge->count; i++) {
        const struct quota_delta *delta = &charge->deltas[i];
        struct taking taking = {.quota = quota};
        if (delta->blocks == 0 && delta->inodes == 0)
            continue;
        request_for(&taking, charge, delta);
        int result;
        do {
            result = take_owner(&taking);
        } while (taking.uses_margin && quota_waits_out(quota, result, &tries));
        if (result == 0)
            continue;
        if (!taking.uses_margin || volume_check(quota->volume) != 0)
            return result;
        if (!error_is_check(result)) // who met damage has reported it
            cache_report_damage(quota->volume->cache, -ERROR_BLOCK_CONTENT,
                                "quota of kind %d, number %u: %s: what is freed is not counted",
                                (int)delta->owner.kind, delta->owner.id, error_text(result));
        charge->is_damaged = true; // deletes go on; fsck.lunfs counts anew
    }
    quota_idle_later(quota);
    return 0;
}
