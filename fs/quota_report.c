// SPDX-License-Identifier: Apache-2.0
// What administrators ask for: rows of owners, and limits.
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/check.h"
#include "fs/freeze.h"
#include "fs/lock_types.h"
#include "fs/quota.h"
#include "fs/quota_private.h"
#include "fs/volume.h"

// --- rows ----------------------------------------------------------------------------------------

static uint32_t grace_of(uint32_t grace_s)
{
    return grace_s != 0 ? grace_s : QUOTA_GRACE_S_DEFAULT;
}

static void row_of(const struct format_quota *record, struct quota_row *row)
{
    *row = (struct quota_row){
        .owner = {record->kind, record->id},
        .limits = {.block_hard = record->block_hard,
                   .block_soft = record->block_soft,
                   .inode_hard = record->inode_hard,
                   .inode_soft = record->inode_soft,
                   .block_grace_s = grace_of(record->block_grace_s),
                   .inode_grace_s = grace_of(record->inode_grace_s)},
        .blocks = record->block_used,
        .inodes = record->inode_used,
    };
    if (record->block_since_s != 0)
        row->block_until_s = record->block_since_s + row->limits.block_grace_s;
    if (record->inode_since_s != 0)
        row->inode_until_s = record->inode_since_s + row->limits.inode_grace_s;
}

static int check_on(struct quota *quota)
{
    int result = quota_look(quota);
    if (result == 0 && !quota->is_on)
        result = -ENODATA;
    return result;
}

bool quota_is_on(struct quota *quota)
{
    return check_on(quota) == 0;
}

static int row_compare(const void *a, const void *b)
{
    const struct quota_row *left = a, *right = b;
    return left->owner.id < right->owner.id ? -1 : left->owner.id > right->owner.id;
}

// What a ledger has spent comes on top.
static void add_entry(struct quota_row *rows, size_t count, const struct format_quota_entry *entry)
{
    struct quota_row wanted = {.owner = {entry->kind, entry->id}};
    struct quota_row *row = bsearch(&wanted, rows, count, sizeof(rows[0]), row_compare);
    if (row == NULL || row->owner.kind != entry->kind)
        return;
    row->blocks += entry->block_spent;
    row->inodes += entry->inode_spent;
}

static int add_ledger(struct quota *quota, uint32_t slot, struct quota_row *rows, size_t count)
{
    struct quota_ledger *ledger;
    int result;
    struct cluster_lock *lock =
        quota_lock(quota->volume, lock_name_ledger(slot), LOCK_SHARED, &result);
    if (result != 0)
        return result;
    result = quota_ledger_get(quota->volume, lock, slot, &ledger);
    for (int i = 0; result == 0 && i < LEDGER_ENTRIES_ALL; i++) {
        struct format_quota_entry entry;
        quota_entry_read(ledger, i, &entry);
        if (entry.is_used && count > 0 && entry.kind == rows[0].owner.kind)
            add_entry(rows, count, &entry);
    }
    quota_unlock(lock, LOCK_SHARED);
    return result;
}

// As of now: the record knows only what is settled.
static void end_graces(struct quota_row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (rows[i].blocks <= (int64_t)rows[i].limits.block_soft)
            rows[i].block_until_s = 0;
        if (rows[i].inodes <= (int64_t)rows[i].limits.inode_soft)
            rows[i].inode_until_s = 0;
    }
}

static int add_ledgers(struct quota *quota, uint64_t holders, struct quota_row *rows, size_t count)
{
    int result = 0;
    for (uint32_t slot = 0; slot < quota->volume->geometry.slot_count && result == 0; slot++) {
        if ((holders >> slot & 1) != 0)
            result = add_ledger(quota, slot, rows, count);
    }
    end_graces(rows, count);
    return result;
}

// --- one owner -----------------------------------------------------------------------------------

static int get_row(struct quota *quota, struct quota_owner owner, bool adds_ledgers,
                   struct quota_row *row)
{
    struct quota_held_bucket held;
    struct format_quota record;
    int result = check_on(quota);
    if (result == 0)
        result = quota_bucket_hold(quota, owner, LOCK_SHARED, &held);
    if (result != 0)
        return result;
    result = quota_record_get(&held.bucket, owner, &record);
    if (result == 0 || result == -ENOENT) {
        row_of(&record, row);
        result = adds_ledgers ? add_ledgers(quota, record.holders, row, 1) : 0;
    }
    quota_bucket_let_go(&held);
    return result;
}

int quota_get(struct quota *quota, struct quota_owner owner, struct quota_row *row)
{
    return get_row(quota, owner, true, row);
}

int quota_get_project(struct quota *quota, uint32_t project, struct quota_row *row)
{
    struct quota_owner owner = {QUOTA_PROJECT, project};
    int result = get_row(quota, owner, false, row);
    if (result != 0)
        return result;
    const struct quota_limits *limits = &row->limits;
    bool has_limit =
        (limits->block_hard | limits->block_soft | limits->inode_hard | limits->inode_soft) != 0;
    const struct quota_ledger *ledger = cluster_lock_object(quota->ledger_lock);
    int index = ledger != NULL ? quota_ledger_find(ledger, owner) : -1;
    if (index >= 0) {
        struct format_quota_entry entry;
        quota_entry_read(ledger, index, &entry);
        add_entry(row, 1, &entry);
    }
    return has_limit ? 0 : -ENODATA;
}

// --- many ----------------------------------------------------------------------------------------

// All buckets SHARED, so that nothing is settled meanwhile: what has gone from a ledger stands in
// its record.
struct report {
    struct quota *quota;
    struct cluster_lock *locks[FORMAT_SLOT_COUNT_MAX];
    uint32_t lock_count;
    struct quota_row *rows; // sorted, the lowest `capacity` of those found
    size_t count, capacity;
    uint64_t holders;
};

static int lock_buckets(struct report *report)
{
    struct volume *volume = report->quota->volume;
    int result = 0;
    while (result == 0 && report->lock_count < volume->geometry.slot_count) {
        struct cluster_lock *lock =
            quota_lock(volume, lock_name_quota(report->lock_count), LOCK_SHARED, &result);
        if (result == 0)
            report->locks[report->lock_count++] = lock;
    }
    return result;
}

static void unlock_buckets(struct report *report)
{
    while (report->lock_count > 0)
        quota_unlock(report->locks[--report->lock_count], LOCK_SHARED);
}

// False if it lies behind all that there is room for.
static bool insert(struct report *report, const struct format_quota *record)
{
    size_t at = report->count;
    while (at > 0 && report->rows[at - 1].owner.id > record->id)
        at--;
    if (at == report->capacity)
        return false;
    size_t behind = report->count - at;
    if (report->count == report->capacity)
        behind--;
    else
        report->count++;
    memmove(&report->rows[at + 1], &report->rows[at], behind * sizeof(report->rows[0]));
    row_of(record, &report->rows[at]);
    report->holders |= record->holders;
    return true;
}

static int read_bucket(struct report *report, uint32_t slot, enum quota_kind kind, uint32_t first)
{
    struct quota_bucket bucket;
    struct format_quota record;
    int result = quota_bucket_load(&bucket, report->quota->volume, slot);
    if (result != 0)
        return result;
    while ((result = quota_record_next(&bucket, kind, first, &record)) == 0) {
        if (!insert(report, &record) || record.id == UINT32_MAX)
            break;
        first = record.id + 1;
    }
    quota_bucket_unload(&bucket);
    return result == -ENOENT ? 0 : result;
}

int quota_report(struct quota *quota, enum quota_kind kind, uint32_t first, struct quota_row *rows,
                 size_t capacity, size_t *count)
{
    struct report report = {.quota = quota, .rows = rows, .capacity = capacity};
    uint32_t slot_count = quota->volume->geometry.slot_count;
    CHECK(capacity > 0);
    *count = 0;
    int result = check_on(quota);
    if (result == 0)
        result = lock_buckets(&report);
    for (uint32_t slot = 0; slot < slot_count && result == 0; slot++)
        result = read_bucket(&report, slot, kind, first);
    if (result == 0)
        result = add_ledgers(quota, report.holders, rows, report.count);
    unlock_buckets(&report);
    if (result == 0)
        *count = report.count;
    return result;
}

// --- limits --------------------------------------------------------------------------------------

static void merge(struct quota_limits *into, unsigned fields, const struct quota_limits *limits)
{
    if ((fields & QUOTA_SET_BLOCK_HARD) != 0)
        into->block_hard = limits->block_hard;
    if ((fields & QUOTA_SET_BLOCK_SOFT) != 0)
        into->block_soft = limits->block_soft;
    if ((fields & QUOTA_SET_INODE_HARD) != 0)
        into->inode_hard = limits->inode_hard;
    if ((fields & QUOTA_SET_INODE_SOFT) != 0)
        into->inode_soft = limits->inode_soft;
    if ((fields & QUOTA_SET_BLOCK_GRACE) != 0)
        into->block_grace_s = limits->block_grace_s;
    if ((fields & QUOTA_SET_INODE_GRACE) != 0)
        into->inode_grace_s = limits->inode_grace_s;
}

static bool pair_is_sound(uint64_t hard, uint64_t soft)
{
    return hard < FORMAT_QUOTA_MAX && soft < FORMAT_QUOTA_MAX &&
           (hard == 0 || soft == 0 || soft <= hard);
}

static bool limits_are_sound(struct quota_owner owner, const struct quota_limits *limits)
{
    bool has_limit =
        (limits->block_hard | limits->block_soft | limits->inode_hard | limits->inode_soft) != 0;
    return pair_is_sound(limits->block_hard, limits->block_soft) &&
           pair_is_sound(limits->inode_hard, limits->inode_soft) && !(has_limit && owner.id == 0);
}

static void limits_of(const struct format_quota *record, struct quota_limits *limits)
{
    *limits = (struct quota_limits){.block_hard = record->block_hard,
                                    .block_soft = record->block_soft,
                                    .inode_hard = record->inode_hard,
                                    .inode_soft = record->inode_soft,
                                    .block_grace_s = record->block_grace_s,
                                    .inode_grace_s = record->inode_grace_s};
}

static void set_limits(struct format_quota *record, const struct quota_limits *limits)
{
    record->block_hard = limits->block_hard;
    record->block_soft = limits->block_soft;
    record->inode_hard = limits->inode_hard;
    record->inode_soft = limits->inode_soft;
    record->block_grace_s = limits->block_grace_s;
    record->inode_grace_s = limits->inode_grace_s;
}

// With the bucket EXCLUSIVE: shares that were given under other limits come back first.
static int set_locked(struct quota *quota, struct quota_bucket *bucket, struct quota_owner owner,
                      unsigned fields, const struct quota_limits *limits)
{
    struct format_quota record;
    struct quota_limits merged;
    int result = quota_record_get(bucket, owner, &record);
    if (result != 0 && result != -ENOENT)
        return result;
    limits_of(&record, &merged);
    merge(&merged, fields, limits);
    if (!limits_are_sound(owner, &merged))
        return -EINVAL;
    result = quota_settle_holders(quota, bucket, &record);
    if (result != 0)
        return result;
    set_limits(&record, &merged);
    quota_note_soft(&record, quota_now_s(quota));
    struct quota_change change = {.bucket = bucket, .record = &record};
    return quota_change_run(&change);
}

int quota_set(struct quota *quota, struct quota_owner owner, unsigned fields,
              const struct quota_limits *limits)
{
    struct quota_held_bucket held;
    struct freeze *freeze = quota->volume->freeze;
    int result = transaction_check_writable(quota->volume);
    if (result == 0)
        result = freeze_enter(freeze);
    if (result != 0)
        return result;
    result = check_on(quota);
    if (result == 0)
        result = quota_bucket_hold(quota, owner, LOCK_EXCLUSIVE, &held);
    if (result == 0) {
        result = set_locked(quota, &held.bucket, owner, fields, limits);
        quota_bucket_let_go(&held);
    }
    freeze_leave(freeze);
    return result;
}

int quota_get_status(struct quota *quota, struct quota_status *status)
{
    int result = quota->is_switching ? 0 : quota_look(quota);
    *status = (struct quota_status){.phase = quota->is_on ? QUOTA_ON : QUOTA_OFF,
                                    .counted = quota->counted,
                                    .ended = quota->ended};
    if (quota->is_switching)
        status->phase = quota->phase;
    return result;
}
