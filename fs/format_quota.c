// SPDX-License-Identifier: Apache-2.0
#include "fs/format_quota.h"

#include <string.h>

#include "fs/base/check.h"
#include "fs/base/error.h"
#include "fs/format_fields.h"

uint32_t geometry_quota_bucket_of(const struct geometry *g, enum quota_kind kind, uint32_t id)
{
    // Neighbouring numbers in different buckets, and so do the three kinds of one number.
    return (uint32_t)(((uint64_t)id + (uint64_t)kind * 11) % g->slot_count);
}

static int fail(int error, const char **reason, const char *sentence)
{
    if (reason != NULL)
        *reason = sentence;
    return -error;
}

static bool is_count(uint64_t value)
{
    return value < FORMAT_QUOTA_MAX;
}

static bool is_sum(int64_t value)
{
    return value < (int64_t)FORMAT_QUOTA_MAX && value > -(int64_t)FORMAT_QUOTA_MAX;
}

static bool is_share(uint64_t value)
{
    return value == QUOTA_SHARE_ENDLESS || is_count(value);
}

// --- records -------------------------------------------------------------------------------------

static void quota_from_disk(const struct quota_disk *disk, struct format_quota *quota)
{
    quota->block_hard = le64_get(disk->block_hard);
    quota->block_soft = le64_get(disk->block_soft);
    quota->inode_hard = le64_get(disk->inode_hard);
    quota->inode_soft = le64_get(disk->inode_soft);
    quota->block_used = (int64_t)le64_get(disk->block_used);
    quota->inode_used = (int64_t)le64_get(disk->inode_used);
    quota->block_lent = le64_get(disk->block_lent);
    quota->inode_lent = le64_get(disk->inode_lent);
    quota->block_since_s = le64_get(disk->block_since_s);
    quota->inode_since_s = le64_get(disk->inode_since_s);
    quota->block_grace_s = le32_get(disk->block_grace_s);
    quota->inode_grace_s = le32_get(disk->inode_grace_s);
    quota->holders = le64_get(disk->holders);
}

static const char *quota_broken(const struct format_quota *quota, uint32_t slot_count)
{
    if (!is_count(quota->block_hard) || !is_count(quota->block_soft) ||
        !is_count(quota->inode_hard) || !is_count(quota->inode_soft))
        return "a quota's limit is out of range";
    if (!is_sum(quota->block_used) || !is_sum(quota->inode_used) || !is_count(quota->block_lent) ||
        !is_count(quota->inode_lent))
        return "what a quota counts is out of range";
    if (!is_count(quota->block_since_s) || !is_count(quota->inode_since_s))
        return "a quota's time is out of range";
    if (slot_count < 64 && quota->holders >> slot_count != 0)
        return "a quota names a slot that does not exist";
    return NULL;
}

int format_quota_decode(const struct format_item *item, const struct geometry *g,
                        struct format_quota *quota, const char **reason)
{
    struct quota_disk disk;
    if (item->key.kind != ITEM_QUOTA || item->length != sizeof(disk) || item->key.minor != 0)
        return fail(ERROR_CORRUPT_TREE, reason, "a quota's item has the wrong shape");
    if (item->key.major >> 32 >= QUOTA_KIND_COUNT)
        return fail(ERROR_CORRUPT_TREE, reason, "a quota is of unknown kind");
    memcpy(&disk, item->value, sizeof(disk));
    quota->kind = (enum quota_kind)(item->key.major >> 32);
    quota->id = (uint32_t)item->key.major;
    quota_from_disk(&disk, quota);
    const char *broken = quota_broken(quota, g->slot_count);
    return broken == NULL ? 0 : fail(ERROR_CORRUPT_TREE, reason, broken);
}

void format_quota_encode(const struct format_quota *quota, struct quota_disk *disk)
{
    *disk = (struct quota_disk){
        .block_hard = le64_make(quota->block_hard),
        .block_soft = le64_make(quota->block_soft),
        .inode_hard = le64_make(quota->inode_hard),
        .inode_soft = le64_make(quota->inode_soft),
        .block_used = le64_make((uint64_t)quota->block_used),
        .inode_used = le64_make((uint64_t)quota->inode_used),
        .block_lent = le64_make(quota->block_lent),
        .inode_lent = le64_make(quota->inode_lent),
        .block_since_s = le64_make(quota->block_since_s),
        .inode_since_s = le64_make(quota->inode_since_s),
        .block_grace_s = le32_make(quota->block_grace_s),
        .inode_grace_s = le32_make(quota->inode_grace_s),
        .holders = le64_make(quota->holders),
    };
}

// --- blocks --------------------------------------------------------------------------------------

int format_quota_bucket_check(const struct quota_bucket_disk *disk, const char **reason)
{
    if (!format_reserved_is_zero(format_structure_of(BLOCK_TYPE_QUOTA_BUCKET), disk))
        return fail(ERROR_BLOCK_CONTENT, reason, "reserved bytes are not 0");
    return 0;
}

void format_quota_entry_decode(const struct quota_ledger_disk *disk, unsigned index,
                               struct format_quota_entry *entry)
{
    CHECK(index < QUOTA_LEDGER_ENTRIES);
    const struct quota_entry_disk *from = &disk->entries[index];
    *entry = (struct format_quota_entry){
        .is_used = from->is_used != 0,
        .kind = (enum quota_kind)from->kind,
        .id = le32_get(from->id),
        .block_share = le64_get(from->block_share),
        .inode_share = le64_get(from->inode_share),
        .block_spent = (int64_t)le64_get(from->block_spent),
        .inode_spent = (int64_t)le64_get(from->inode_spent),
    };
}

void format_quota_entry_encode(struct quota_ledger_disk *disk, unsigned index,
                               const struct format_quota_entry *entry)
{
    CHECK(index < QUOTA_LEDGER_ENTRIES);
    struct quota_entry_disk *to = &disk->entries[index];
    memset(to, 0, sizeof(*to));
    if (!entry->is_used)
        return;
    to->is_used = 1;
    to->kind = (uint8_t)entry->kind;
    to->id = le32_make(entry->id);
    to->block_share = le64_make(entry->block_share);
    to->inode_share = le64_make(entry->inode_share);
    to->block_spent = le64_make((uint64_t)entry->block_spent);
    to->inode_spent = le64_make((uint64_t)entry->inode_spent);
}

static bool is_all_zero(const struct quota_entry_disk *entry)
{
    static const struct quota_entry_disk zero;
    return memcmp(entry, &zero, sizeof(zero)) == 0;
}

static const char *entry_broken(const struct quota_ledger_disk *disk, unsigned index)
{
    struct format_quota_entry entry, before;
    format_quota_entry_decode(disk, index, &entry);
    if (disk->entries[index].is_used > 1 || (!entry.is_used && !is_all_zero(&disk->entries[index])))
        return "an unused entry is not 0";
    if (entry.kind >= QUOTA_KIND_COUNT)
        return "an entry is of unknown kind";
    if (!is_share(entry.block_share) || !is_share(entry.inode_share) ||
        !is_sum(entry.block_spent) || !is_sum(entry.inode_spent))
        return "what an entry counts is out of range";
    for (unsigned i = 0; entry.is_used && i < index; i++) {
        format_quota_entry_decode(disk, i, &before);
        if (before.is_used && before.kind == entry.kind && before.id == entry.id)
            return "an owner has two entries";
    }
    return NULL;
}

int format_quota_ledger_check(const struct quota_ledger_disk *disk, const char **reason)
{
    if (!format_reserved_is_zero(format_structure_of(BLOCK_TYPE_QUOTA_LEDGER), disk))
        return fail(ERROR_BLOCK_CONTENT, reason, "reserved bytes are not 0");
    for (unsigned i = 0; i < QUOTA_LEDGER_ENTRIES; i++) {
        const char *broken = entry_broken(disk, i);
        if (broken != NULL)
            return fail(ERROR_BLOCK_CONTENT, reason, broken);
    }
    return 0;
}

// --- making them ---------------------------------------------------------------------------------

static void init(void *disk, const struct geometry *g, enum block_type type, uint64_t address,
                 uint32_t slot)
{
    struct block_expectation is = {
        .format_id = g->format_id, .address = address, .owner = slot, .type = type};
    memset(disk, 0, BLOCK_BYTES);
    format_block_init(disk, &is);
}

void format_quota_bucket_init(struct quota_bucket_disk *disk, const struct geometry *g,
                              uint32_t slot)
{
    init(disk, g, BLOCK_TYPE_QUOTA_BUCKET, geometry_quota_bucket_block(g, slot), slot);
    format_node_init(disk->record_root, sizeof(disk->record_root), 0);
}

void format_quota_ledger_init(struct quota_ledger_disk *disk, const struct geometry *g,
                              uint32_t slot, unsigned index)
{
    CHECK(index < QUOTA_LEDGER_BLOCKS);
    init(disk, g, BLOCK_TYPE_QUOTA_LEDGER, geometry_quota_ledger_block(g, slot, index), slot);
}
