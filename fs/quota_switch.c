// SPDX-License-Identifier: Apache-2.0
// Turning quotas on and off. All nodes look at the feature bits anew when they have LOCK_FREEZE
// again, so each transaction knows whether it is charged:
//
//   LOCK_SUPERBLOCK EX ─► frozen ─┬─ blocks of buckets and ledgers made, the first time ─► bit 0
//                                 ├─ inodes counted ─► records, empty ledgers ─► durable ─► bit 1
//                                 └─ thawed
//
// A crash before bit 1 leaves quotas off.
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/allocator.h"
#include "fs/base/block_device.h"
#include "fs/base/error.h"
#include "fs/base/lamport.h"
#include "fs/freeze.h"
#include "fs/lock_types.h"
#include "fs/quota_count.h"
#include "fs/quota_private.h"
#include "fs/superblock.h"
#include "fs/volume.h"
#include "journal/journal.h"

// --- the blocks ----------------------------------------------------------------------------------

static int write_block(struct volume *volume, void *block)
{
    const struct block_header_disk *header = block;
    format_block_seal(block, lamport_tick(&volume->clock));
    return block_device_write(volume->device, volume->scheduler,
                              le64_get(header->address) * BLOCK_BYTES, block, BLOCK_BYTES);
}

static int write_slot(struct volume *volume, uint32_t slot)
{
    const struct geometry *g = &volume->geometry;
    void *block = block_buffer_new(BLOCK_BYTES);
    format_quota_bucket_init(block, g, slot);
    int result = write_block(volume, block);
    for (unsigned i = 0; i < QUOTA_LEDGER_BLOCKS && result == 0; i++) {
        format_quota_ledger_init(block, g, slot, i);
        result = write_block(volume, block);
    }
    free(block);
    return result;
}

// Nobody reads them before bit 0 says that they are there.
static int make_blocks(struct volume *volume)
{
    int result = 0;
    if ((volume->geometry.feature_ro_compat & FEATURE_RO_COMPAT_QUOTA_BLOCKS) != 0)
        return 0;
    for (uint32_t slot = 0; slot < volume->geometry.slot_count && result == 0; slot++)
        result = write_slot(volume, slot);
    if (result == 0)
        result = block_device_flush(volume->device, volume->scheduler);
    return result != 0 ? result
                       : superblock_change_ro_compat(volume, FEATURE_RO_COMPAT_QUOTA_BLOCKS, 0);
}

// --- what they say -------------------------------------------------------------------------------

static int change_ledger(struct transaction *t, void *context)
{
    struct quota_ledger *ledger = context;
    struct format_quota_entry none = {.is_used = false};
    for (int i = 0; i < LEDGER_ENTRIES_ALL; i++)
        quota_entry_write(ledger, t->handle, i, &none);
    return 0;
}

static int empty_loaded(struct volume *volume, struct quota_ledger *ledger)
{
    struct format_quota_entry none = {.is_used = false};
    struct transaction t;
    transaction_init(&t, volume, 0);
    t.charge.is_exempt = true;
    transaction_add_credits(&t, QUOTA_LEDGER_BLOCKS);
    int result = transaction_run(&t, change_ledger, ledger);
    for (int i = 0; i < LEDGER_ENTRIES_ALL && result == 0; i++)
        quota_entry_note(ledger, i, &none);
    return result;
}

static int empty_ledger(struct volume *volume, uint32_t slot)
{
    struct quota_ledger *ledger;
    int result;
    struct cluster_lock *lock = quota_lock(volume, lock_name_ledger(slot), LOCK_EXCLUSIVE, &result);
    if (result != 0)
        return result;
    result = quota_ledger_get(volume, lock, slot, &ledger);
    if (result == 0)
        result = empty_loaded(volume, ledger);
    quota_unlock(lock, LOCK_EXCLUSIVE);
    return result;
}

static int put_counted(struct quota *quota, struct quota_bucket *bucket,
                       struct format_quota *record, const struct quota_count *count)
{
    struct quota_owner owner = {record->kind, record->id};
    const struct quota_counted *counted = quota_count_find(count, owner);
    record->block_used = counted != NULL ? counted->blocks : 0;
    record->inode_used = counted != NULL ? counted->inodes : 0;
    record->block_lent = record->inode_lent = record->holders = 0;
    quota_note_soft(record, quota_now_s(quota));
    struct quota_change change = {.bucket = bucket, .record = record};
    return quota_change_run(&change);
}

// Records of before keep their limits.
static int put_known(struct quota *quota, struct quota_bucket *bucket, enum quota_kind kind,
                     const struct quota_count *count)
{
    struct format_quota record;
    uint32_t id = 0;
    int result;
    while ((result = quota_record_next(bucket, kind, id, &record)) == 0) {
        result = put_counted(quota, bucket, &record, count);
        if (result != 0 || record.id == UINT32_MAX)
            return result;
        id = record.id + 1;
    }
    return result == -ENOENT ? 0 : result;
}

static int put_new(struct quota *quota, struct quota_bucket *bucket,
                   const struct quota_count *count)
{
    const struct geometry *g = &quota->volume->geometry;
    const struct quota_counted *counted;
    int result = 0;
    for (counted = count->owners; counted != NULL && result == 0; counted = counted->by_key.next) {
        struct quota_owner owner = {(enum quota_kind)(counted->key >> 32), (uint32_t)counted->key};
        struct format_quota record;
        if (geometry_quota_bucket_of(g, owner.kind, owner.id) != bucket->slot)
            continue;
        result = quota_record_get(bucket, owner, &record);
        if (result == -ENOENT)
            result = put_counted(quota, bucket, &record, count);
    }
    return result;
}

static int fill_bucket(struct quota *quota, uint32_t slot, const struct quota_count *count)
{
    struct volume *volume = quota->volume;
    struct quota_bucket bucket;
    int result;
    struct cluster_lock *lock = quota_lock(volume, lock_name_quota(slot), LOCK_EXCLUSIVE, &result);
    if (result != 0)
        return result;
    result = quota_bucket_load(&bucket, volume, slot);
    if (result == 0) {
        for (int kind = 0; kind < QUOTA_KIND_COUNT && result == 0; kind++)
            result = put_known(quota, &bucket, (enum quota_kind)kind, count);
        if (result == 0)
            result = put_new(quota, &bucket, count);
        quota_bucket_unload(&bucket);
    }
    quota_unlock(lock, LOCK_EXCLUSIVE);
    return result;
}

// --- on, off -------------------------------------------------------------------------------------

static int go_on(void *context, uint64_t inode_count)
{
    struct quota *quota = context;
    quota->counted = inode_count;
    if (volume_check(quota->volume) != 0)
        return volume_check(quota->volume);
    bool is_cancelled = quota->is_stopped || freeze_hold_is_cancelled(quota->volume->freeze);
    return is_cancelled ? -ECANCELED : 0;
}

static int write_counts(struct quota *quota, const struct quota_count *count)
{
    struct volume *volume = quota->volume;
    int result = 0;
    for (uint32_t slot = 0; slot < volume->geometry.slot_count && result == 0; slot++) {
        result = empty_ledger(volume, slot);
        if (result == 0)
            result = fill_bucket(quota, slot, count);
    }
    return result != 0 ? result : journal_sync(volume->journal);
}

static int count_all(struct quota *quota)
{
    struct quota_count count = {.volume = quota->volume, .go_on = go_on, .context = quota};
    int result = quota_count_run(&count);
    if (result == 0)
        result = write_counts(quota, &count);
    quota_count_free(&count);
    return result;
}

static int turn_on(struct quota *quota)
{
    struct volume *volume = quota->volume;
    int result = make_blocks(volume);
    if (result == 0)
        result = count_all(quota);
    if (result == 0)
        result = superblock_change_ro_compat(volume, FEATURE_RO_COMPAT_QUOTAS, 0);
    return result;
}

static int turn(struct quota *quota)
{
    struct volume *volume = quota->volume;
    bool is_on = quota->phase == QUOTA_TURNS_ON;
    int result = freeze_hold(volume->freeze);
    if (result != 0)
        return result;
    quota_look_again(quota);
    result = quota_look(quota); // another node may have been faster
    if (result == 0 && quota->is_on == is_on)
        result = -EALREADY;
    if (result == 0)
        result = is_on ? turn_on(quota)
                       : superblock_change_ro_compat(volume, 0, FEATURE_RO_COMPAT_QUOTAS);
    quota->is_ledger_bad = quota->is_ledger_bad && result != 0;
    quota_look_again(quota);
    freeze_let_go(volume->freeze);
    return result;
}

static void tell(struct quota *quota, int result)
{
    struct volume *volume = quota->volume;
    const char *what = quota->phase == QUOTA_TURNS_ON ? "on" : "off";
    if (result == 0)
        log_notice(volume->log, "%s: quotas are %s", volume->device->name, what);
    else
        log_line(volume->log, LOG_LEVEL_WARNING, error_is_check(result) ? -result : 0,
                 "%s: quotas were not turned %s: %s", volume->device->name, what,
                 error_text(result));
}

static void run(void *argument)
{
    struct quota *quota = argument;
    struct volume *volume = quota->volume;
    int result;
    struct cluster_lock *lock = quota_lock(volume, lock_name_superblock(), LOCK_EXCLUSIVE, &result);
    if (result == 0) {
        result = turn(quota);
        quota_unlock(lock, LOCK_EXCLUSIVE);
    }
    tell(quota, result);
    quota->ended = result;
    quota->is_switching = false;
    wait_queue_wake_all(volume->scheduler, &quota->idle);
}

int quota_switch(struct quota *quota, bool on)
{
    struct volume *volume = quota->volume;
    struct freeze_status frozen;
    if (volume->journal == NULL)
        return -EROFS;
    freeze_status_get(volume->freeze, &frozen);
    if (quota->is_switching || quota->is_stopped || frozen.state != FREEZE_NONE)
        return -EBUSY;
    int result = quota_look(quota);
    if (result != 0)
        return result;
    if (quota->is_on == on)
        return -EALREADY;
    if (quota->is_switching)
        return -EBUSY;
    quota->is_switching = true;
    quota->phase = on ? QUOTA_TURNS_ON : QUOTA_TURNS_OFF;
    quota->counted = 0;
    coroutine_start(volume->scheduler, "switch quotas", run, quota);
    return 0;
}
