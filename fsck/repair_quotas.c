// SPDX-License-Identifier: Apache-2.0
// Quotas: a bucket of which anything is wrong is written anew, with the limits that can be found
// and the numbers that are right. A ledger that is not valid is emptied: nothing is lost by it,
// since what is used follows from the inodes.
#include <errno.h>
#include <stdlib.h>

#include "fs/base/check.h"
#include "fs/base/cleanup.h"
#include "fs/base/error.h"
#include "fsck/block_reader.h"
#include "fsck/check.h"
#include "fsck/quota_blocks.h"
#include "fsck/repair.h"
#include "fsck/tree_build.h"

// --- records -------------------------------------------------------------------------------------

struct bucket_build {
    struct check *check;
    uint32_t slot;
    uint64_t node_count;
};

static int write_node(struct tree_build *build, struct tree_block_disk *disk, uint64_t *block)
{
    struct bucket_build *bucket = build->context;
    struct check *check = bucket->check;
    *block = space_pool_take(&check->pool);
    if (*block == 0)
        return -ENOSPC;
    struct block_expectation is = {
        .format_id = check->geometry.format_id,
        .address = *block,
        .owner = bucket->slot,
        .type = BLOCK_TYPE_TREE_NODE,
    };
    bucket->node_count++;
    format_block_init(disk, &is);
    repair_write(check, *block, disk);
    return 0;
}

// Of quotas that are off nothing counts but the limits: they stay as they are.
static bool record_wanted(const struct check *check, const struct quota_sum *sum,
                          struct format_quota *record)
{
    if (quota_blocks_count(check))
        return quota_sum_wanted(sum, record);
    if (sum->record != NULL)
        *record = *sum->record;
    return sum->record != NULL;
}

// Leaves that say whose they are, but to which no way leads from the root any more.
static void take_stray(struct check *check, const struct stray_leaf *stray)
{
    CLEANUP_FREE struct tree_block_disk *disk = malloc(sizeof(*disk));
    CHECK(disk != NULL);
    struct format_node node;
    if (block_reader_read_verified(check->reader, BLOCK_TYPE_TREE_NODE, stray->block, stray->owner,
                                   disk) < 0 ||
        format_node_open(&node, disk->area, sizeof(disk->area), NULL) < 0)
        return;
    for (unsigned i = 0; i < node.item_count; i++) {
        struct format_item item = format_node_item(&node, i);
        struct format_quota record;
        if (format_quota_decode(&item, &check->geometry, &record, NULL) == 0 &&
            geometry_quota_bucket_of(&check->geometry, record.kind, record.id) == stray->owner &&
            quota_sums_get(&check->quotas, record.kind, record.id)->record == NULL)
            quota_sums_put_record(&check->quotas, &record);
    }
}

static void take_strays(struct check *check, uint32_t slot)
{
    for (size_t i = 0; i < check->strays.count; i++) {
        if (check->strays.leaves[i].owner == slot)
            take_stray(check, &check->strays.leaves[i]);
    }
}

static void list_records(struct check *check, uint32_t slot, struct tree_build_items *items)
{
    tree_build_items_init(items);
    quota_sums_sort(&check->quotas);
    for (const struct quota_sum *sum = check->quotas.first; sum != NULL; sum = sum->hh.next) {
        struct format_quota record;
        struct quota_disk disk;
        struct format_key key = {.kind = ITEM_QUOTA, .major = sum->key};
        uint32_t own =
            geometry_quota_bucket_of(&check->geometry, quota_sum_kind(sum), quota_sum_id(sum));
        if (own != slot || !record_wanted(check, sum, &record))
            continue;
        format_quota_encode(&record, &disk);
        tree_build_items_add(items, &key, &disk, sizeof(disk));
    }
}

int repair_quota_records(struct check *check, uint32_t slot)
{
    CLEANUP_FREE struct quota_bucket_disk *disk = malloc(sizeof(*disk));
    CHECK(disk != NULL);
    struct tree_build_items items;
    struct bucket_build bucket = {.check = check, .slot = slot};
    struct tree_build build = {
        .root = disk->record_root,
        .root_bytes = sizeof(disk->record_root),
        .write_node = write_node,
        .context = &bucket,
    };
    format_quota_bucket_init(disk, &check->geometry, slot);
    take_strays(check, slot);
    list_records(check, slot, &items);
    int result = tree_build_run(&build, &items);
    tree_build_items_deinit(&items);
    if (result < 0)
        return result;
    if (bucket.node_count > 0) // they are there before the root names them
        change_log_barrier(&check->changes);
    repair_write(check, geometry_quota_bucket_block(&check->geometry, slot), disk);
    return 0;
}

// --- the stages
// --------------------------------------------------------------------------------------

static void repair_ledger(struct check *check, uint32_t slot, unsigned index)
{
    CLEANUP_FREE struct quota_ledger_disk *disk = malloc(sizeof(*disk));
    CHECK(disk != NULL);
    if (quota_blocks_read_ledger(check, slot, index, disk) == NULL)
        return;
    format_quota_ledger_init(disk, &check->geometry, slot, index);
    repair_write(check, geometry_quota_ledger_block(&check->geometry, slot, index), disk);
}

int repair_quota_blocks(struct check *check, uint32_t slot)
{
    CLEANUP_FREE struct quota_bucket_disk *disk = malloc(sizeof(*disk));
    CHECK(disk != NULL);
    if (!quota_blocks_exist(check))
        return 0;
    for (unsigned index = 0; index < QUOTA_LEDGER_BLOCKS; index++)
        repair_ledger(check, slot, index);
    return quota_blocks_read_bucket(check, slot, disk) == NULL ? 0
                                                               : repair_quota_records(check, slot);
}

int repair_quotas(struct check *check)
{
    int result = 0;
    for (uint32_t slot = 0; slot < check->geometry.slot_count && result == 0; slot++) {
        if (check->quotas.wrong_buckets >> slot & 1)
            result = repair_quota_records(check, slot);
    }
    return result;
}
