// SPDX-License-Identifier: Apache-2.0
// Quotas: buckets, ledgers, and sums that do not add up.
#include <string.h>

#include "fs/format_quota.h"
#include "tests/wreck/populate_quotas.h"
#include "tests/wreck/wreck_parts.h"
#include "tests/wreck/wrecks.h"

static uint64_t bucket_of(const struct image *image, uint32_t slot)
{
    return geometry_quota_bucket_block(&image->g, slot);
}

// A leaf of a bucket's tree.
static struct image_node leaf_of(const struct image *image, uint32_t slot, unsigned index)
{
    struct image_node root = image_node_of(image, bucket_of(image, slot), "record_root");
    return wreck_child_of(image, &root, index);
}

static uint64_t bucket(struct image *image, const struct places *places)
{
    (void)places;
    return wreck_spoil(image, bucket_of(image, 1));
}

// --- ledgers -------------------------------------------------------------------------------------

static uint64_t ledger(struct image *image, const struct places *places)
{
    (void)places;
    return wreck_spoil(image, geometry_quota_ledger_block(&image->g, 0, 0));
}

// The owner stands in the other block of the slot, too.
static uint64_t ledger_double(struct image *image, const struct places *places)
{
    (void)places;
    uint64_t block = geometry_quota_ledger_block(&image->g, 1, 1);
    image_set_at(image, block, "entries.id", 0, 0);
    image_set_at(image, block, "entries.kind", 0, QUOTA_USER);
    return block;
}

// Each number is one that a block may hold, but all slots' together are too much for a record.
static uint64_t ledger_huge(struct image *image, const struct places *places)
{
    (void)places;
    uint64_t block = geometry_quota_ledger_block(&image->g, 0, 0);
    image_set_at(image, block, "entries.block_spent", 3, FORMAT_QUOTA_MAX - 1);
    return block;
}

// --- records -------------------------------------------------------------------------------------

static uint64_t tree(struct image *image, const struct places *places)
{
    (void)places;
    struct image_node leaf = leaf_of(image, 0, 0);
    image_node_set(image, &leaf, "heap_free", 5);
    return leaf.block;
}

static uint64_t tree_root(struct image *image, const struct places *places)
{
    (void)places;
    struct image_node root = image_node_of(image, bucket_of(image, 1), "record_root");
    image_node_set(image, &root, "level", 200);
    return root.block;
}

static uint64_t record(struct image *image, const struct places *places)
{
    (void)places;
    struct image_node leaf = leaf_of(image, 0, 1);
    image_value_set(image, &leaf, 2, "quota", "holders", (uint64_t)1 << 63);
    return leaf.block;
}

// User 0's becomes one of user 1, whose bucket is the other one.
static uint64_t record_misplaced(struct image *image, const struct places *places)
{
    (void)places;
    struct image_node leaf = leaf_of(image, 0, 0);
    image_slot_set(image, &leaf, 0, "major", quota_key(QUOTA_USER, 1));
    return leaf.block;
}

// --- sums ----------------------------------------------------------------------------------------

static uint64_t used(struct image *image, const struct places *places)
{
    (void)places;
    struct image_node leaf = leaf_of(image, 0, 0);
    image_value_set(image, &leaf, 0, "quota", "inode_used", 1);
    return bucket_of(image, 0);
}

// A file that changed hands, and nobody was charged.
static uint64_t used_chown(struct image *image, const struct places *places)
{
    image_set(image, places->large, "project_id", POPULATE_PROJECT + 2);
    return bucket_of(image, 1);
}

static uint64_t used_no_record(struct image *image, const struct places *places)
{
    (void)places;
    struct image_node leaf = leaf_of(image, 0, 0);
    image_slot_delete(image, &leaf, 0);
    return bucket_of(image, 0);
}

// A share that nobody gave back.
static uint64_t lent(struct image *image, const struct places *places)
{
    (void)places;
    image_set_at(image, geometry_quota_ledger_block(&image->g, 1, 1), "entries.block_share", 40, 7);
    return bucket_of(image, 0);
}

static uint64_t holders(struct image *image, const struct places *places)
{
    (void)places;
    struct image_node leaf = leaf_of(image, 0, 0);
    image_value_set(image, &leaf, 0, "quota", "holders", 1);
    return bucket_of(image, 0);
}

// --- the table -----------------------------------------------------------------------------------

const struct wreck wrecks_quotas[] = {
    {"QUOTA_BUCKET", bucket},
    {"QUOTA_LEDGER", ledger},
    {"QUOTA_LEDGER", ledger_double},
    {"QUOTA_LEDGER", ledger_huge},
    {"QUOTA_TREE", tree},
    {"QUOTA_TREE", tree_root},
    {"QUOTA_RECORD", record},
    {"QUOTA_RECORD", record_misplaced},
    {"QUOTA_USED", used},
    {"QUOTA_USED", used_chown},
    {"QUOTA_USED", used_no_record},
    {"QUOTA_LENT", lent},
    {"QUOTA_HOLDERS", holders},
    {NULL, NULL},
};
