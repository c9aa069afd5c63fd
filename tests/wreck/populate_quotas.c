// SPDX-License-Identifier: Apache-2.0
#include "tests/wreck/populate_quotas.h"

#include <string.h>

#include "fs/format_quota.h"

enum { LIMITED_FIRST = 2000, LIMITED_COUNT = 100 };

// --- ledgers -------------------------------------------------------------------------------------

static const struct populated_entry {
    uint32_t slot;
    unsigned block, index;
    struct format_quota_entry entry;
} entries[] = {
    {1, 0, 0, {true, QUOTA_USER, 0, QUOTA_SHARE_ENDLESS, QUOTA_SHARE_ENDLESS, 5, 1}},
    {1, 0, 1, {true, QUOTA_GROUP, 0, QUOTA_SHARE_ENDLESS, QUOTA_SHARE_ENDLESS, 5, 1}},
    {1, 0, 99, {true, QUOTA_PROJECT, 0, QUOTA_SHARE_ENDLESS, QUOTA_SHARE_ENDLESS, 0, 0}},
    {1, 1, 40, {true, QUOTA_USER, LIMITED_FIRST, 8, 2, 0, 0}},
    {0, 0, 3, {true, QUOTA_PROJECT, POPULATE_PROJECT, 4096, 16, -3, 0}},
    {1, 1, 0, {true, QUOTA_PROJECT, POPULATE_PROJECT, 100, 0, 9, 0}},
};

static struct quota_ledger_disk *ledger_of(const struct image *image, uint32_t slot, unsigned index)
{
    return image_block(image, geometry_quota_ledger_block(&image->g, slot, index));
}

static void set_features(struct image *image)
{
    uint64_t blocks[FORMAT_SUPERBLOCK_COUNT];
    geometry_superblock_blocks(&image->g, blocks);
    for (unsigned i = 0; i < FORMAT_SUPERBLOCK_COUNT; i++)
        image_set(image, blocks[i], "feature_ro_compat",
                  FEATURE_RO_COMPAT_QUOTA_BLOCKS | FEATURE_RO_COMPAT_QUOTAS);
}

void populate_ledgers(struct image *image)
{
    for (uint32_t slot = 0; slot < image->g.slot_count; slot++) {
        for (unsigned i = 0; i < QUOTA_LEDGER_BLOCKS; i++)
            format_quota_ledger_init(ledger_of(image, slot, i), &image->g, slot, i);
    }
    for (size_t i = 0; i < sizeof(entries) / sizeof(entries[0]); i++)
        format_quota_entry_encode(ledger_of(image, entries[i].slot, entries[i].block),
                                  entries[i].index, &entries[i].entry);
    for (uint32_t slot = 0; slot < image->g.slot_count; slot++) {
        for (unsigned i = 0; i < QUOTA_LEDGER_BLOCKS; i++)
            image_seal(image, geometry_quota_ledger_block(&image->g, slot, i));
    }
    set_features(image);
}

void populate_charge(struct image *image, uint64_t inode)
{
    uint64_t blocks = image_get(image, inode, "block_count");
    for (unsigned i = 0; i < QUOTA_LEDGER_ENTRIES; i++) {
        struct format_quota_entry entry;
        struct quota_ledger_disk *ledger = ledger_of(image, 1, 0);
        format_quota_entry_decode(ledger, i, &entry);
        if (!entry.is_used || entry.id != 0)
            continue;
        entry.block_spent += (int64_t)blocks;
        entry.inode_spent++;
        format_quota_entry_encode(ledger, i, &entry);
    }
    image_seal(image, geometry_quota_ledger_block(&image->g, 1, 0));
}

// --- records -------------------------------------------------------------------------------------

static uint32_t owner_of(const struct inode_disk *inode, enum quota_kind kind)
{
    const le32_t owners[] = {inode->uid, inode->gid, inode->project_id};
    return le32_get(owners[kind]);
}

static void count_inodes(const struct image *image, struct format_quota *record)
{
    uint64_t first = geometry_ag_first_block(&image->g, 0);
    uint64_t end = first + geometry_ag_block_count(&image->g, 0);
    for (uint64_t block = first; block < end; block++) {
        const struct inode_disk *inode = image_block(image, block);
        if (le32_get(inode->header.magic) != BLOCK_MAGIC ||
            le16_get(inode->header.type) != BLOCK_TYPE_INODE ||
            owner_of(inode, record->kind) != record->id)
            continue;
        record->block_used += (int64_t)le64_get(inode->block_count);
        record->inode_used++;
    }
}

static void take_off_entries(struct format_quota *record)
{
    for (size_t i = 0; i < sizeof(entries) / sizeof(entries[0]); i++) {
        const struct format_quota_entry *entry = &entries[i].entry;
        if (entry->kind != record->kind || entry->id != record->id)
            continue;
        record->block_used -= entry->block_spent;
        record->inode_used -= entry->inode_spent;
        record->holders |= (uint64_t)1 << entries[i].slot;
        if (entry->block_share != QUOTA_SHARE_ENDLESS)
            record->block_lent += entry->block_share;
        if (entry->inode_share != QUOTA_SHARE_ENDLESS)
            record->inode_lent += entry->inode_share;
    }
}

static void add_record(const struct image *image, uint32_t slot, struct format_quota record,
                       struct tree_build_items *items)
{
    struct quota_disk disk;
    struct format_key key = {.kind = ITEM_QUOTA, .major = quota_key(record.kind, record.id)};
    if (geometry_quota_bucket_of(&image->g, record.kind, record.id) != slot)
        return;
    count_inodes(image, &record);
    take_off_entries(&record);
    format_quota_encode(&record, &disk);
    tree_build_items_add(items, &key, &disk, sizeof(disk));
}

void populate_records(const struct image *image, uint32_t slot, struct tree_build_items *items)
{
    static const uint32_t owners[QUOTA_KIND_COUNT] = {POPULATE_USER, POPULATE_GROUP,
                                                      POPULATE_PROJECT};
    tree_build_items_init(items);
    for (enum quota_kind kind = QUOTA_USER; kind < QUOTA_KIND_COUNT; kind++) {
        add_record(image, slot, (struct format_quota){.kind = kind}, items);
        add_record(image, slot,
                   (struct format_quota){.kind = kind, .id = owners[kind], .block_hard = 1000000},
                   items);
        for (uint32_t i = 0; kind == QUOTA_USER && i < LIMITED_COUNT; i++)
            add_record(
                image, slot,
                (struct format_quota){
                    .kind = kind, .id = LIMITED_FIRST + i, .block_hard = 100, .inode_hard = 9},
                items);
    }
}
