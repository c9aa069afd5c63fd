// SPDX-License-Identifier: Apache-2.0
// The quotas of owners (docs/quotas.md). Buckets and ledgers are read when groups were, because the
// buckets' trees use space; inodes add what they have in pass 3; at the end, when all else is
// known, it is compared:
//
//   used of the record + spent of all ledgers = what the inodes have
//   lent of the record = the shares of all ledgers        holders of the record = whose they are
//
// Quotas that are off have blocks that must be sound, and sums that mean nothing.
#include <stdlib.h>

#include "fs/base/check.h"
#include "fs/base/cleanup.h"
#include "fsck/check.h"
#include "fsck/quota_blocks.h"
#include "fsck/tree_walk.h"

typedef unsigned long long ull;

// --- buckets -------------------------------------------------------------------------------------

static void mark_wrong(struct check *check, uint32_t slot)
{
    check->quotas.wrong_buckets |= (uint64_t)1 << slot;
}

static bool take_node(struct tree_walk *walk, uint64_t block)
{
    space_add(&walk->check->space, block, 1, SPACE_QUOTA_TREE, walk->owner);
    return true;
}

// One that stands in a wrong bucket is kept for its own, unless that has one.
static void keep_record(struct check *check, const struct format_quota *record, bool is_in_place)
{
    if (check->online != NULL)
        return;
    if (is_in_place || quota_sums_get(&check->quotas, record->kind, record->id)->record == NULL)
        quota_sums_put_record(&check->quotas, record);
}

static bool take_record(struct tree_walk *walk, uint64_t block, const struct format_item *item)
{
    struct check *check = walk->check;
    struct format_quota record;
    const char *reason = NULL;
    uint32_t slot = (uint32_t)walk->owner;
    if (format_quota_decode(item, &check->geometry, &record, &reason) == 0) {
        uint32_t own = geometry_quota_bucket_of(&check->geometry, record.kind, record.id);
        keep_record(check, &record, own == slot);
        if (own == slot)
            return true;
        reason = "it stands in another bucket than its own";
        mark_wrong(check, own);
    }
    mark_wrong(check, slot);
    problem_report(&check->problems, PROBLEM_QUOTA_RECORD, block, "slot %u, key %llx: %s", slot,
                   (ull)item->key.major, reason);
    return true;
}

void pass6_quota_bucket(struct check *check, uint32_t slot)
{
    CLEANUP_FREE struct quota_bucket_disk *disk = malloc(sizeof(*disk));
    CHECK(disk != NULL);
    uint64_t block = geometry_quota_bucket_block(&check->geometry, slot);
    const char *reason = quota_blocks_read_bucket(check, slot, disk);
    if (reason != NULL) {
        problem_report(&check->problems, PROBLEM_QUOTA_BUCKET, block, "%s (slot %u)", reason, slot);
        return;
    }
    struct tree_walk walk = {
        .check = check,
        .root_block = block,
        .area = disk->record_root,
        .area_bytes = sizeof(disk->record_root),
        .owner = slot,
        .problem = PROBLEM_QUOTA_TREE,
        .node = take_node,
        .item = take_record,
    };
    tree_walk_run(&walk);
    if (walk.is_damaged)
        mark_wrong(check, slot);
}

// --- ledgers -------------------------------------------------------------------------------------

static void take_entries(struct check *check, uint32_t slot, const struct quota_ledger_disk *disk)
{
    for (unsigned i = 0; i < QUOTA_LEDGER_ENTRIES; i++) {
        struct format_quota_entry entry;
        format_quota_entry_decode(disk, i, &entry);
        if (entry.is_used)
            quota_sums_add_entry(&check->quotas, slot, &entry);
    }
}

void pass6_quota_ledger(struct check *check, uint32_t slot)
{
    CLEANUP_FREE struct quota_ledger_disk *disk = malloc(sizeof(*disk));
    CHECK(disk != NULL);
    for (unsigned index = 0; index < QUOTA_LEDGER_BLOCKS; index++) {
        const char *reason = quota_blocks_read_ledger(check, slot, index, disk);
        if (reason != NULL)
            problem_report(&check->problems, PROBLEM_QUOTA_LEDGER,
                           geometry_quota_ledger_block(&check->geometry, slot, index),
                           "%s (slot %u)", reason, slot);
        else if (check->online == NULL && quota_blocks_count(check))
            take_entries(check, slot, disk);
    }
}

void pass6_quota_blocks(struct check *check)
{
    for (uint32_t slot = 0; slot < check->geometry.slot_count && quota_blocks_exist(check);
         slot++) {
        pass6_quota_bucket(check, slot);
        pass6_quota_ledger(check, slot);
    }
}

void pass6_quota_inode(struct check *check, const struct format_inode *inode)
{
    if (check->online == NULL && quota_blocks_count(check))
        quota_sums_add_inode(&check->quotas, inode);
}

// --- the sums ------------------------------------------------------------------------------------

struct comparison {
    struct check *check;
    const struct quota_sum *sum;
    struct format_quota is, wanted;
    uint32_t slot; // whose bucket has the record
    uint64_t block;
};

static const char *kind_text(enum quota_kind kind)
{
    static const char *const words[QUOTA_KIND_COUNT] = {"user", "group", "project"};
    return words[kind];
}

static void compare_used(const struct comparison *c)
{
    if (c->is.block_used == c->wanted.block_used && c->is.inode_used == c->wanted.inode_used)
        return;
    mark_wrong(c->check, c->slot);
    problem_report(&c->check->problems, PROBLEM_QUOTA_USED, c->block,
                   "%s %u says %lld blocks, %lld inodes, has %llu, %llu (%lld, %lld of them in "
                   "ledgers)",
                   kind_text(c->is.kind), c->is.id, (long long)c->is.block_used,
                   (long long)c->is.inode_used, (ull)c->sum->blocks, (ull)c->sum->inodes,
                   (long long)c->sum->block_spent, (long long)c->sum->inode_spent);
}

static void compare_lent(const struct comparison *c)
{
    if (c->is.block_lent == c->wanted.block_lent && c->is.inode_lent == c->wanted.inode_lent)
        return;
    mark_wrong(c->check, c->slot);
    problem_report(&c->check->problems, PROBLEM_QUOTA_LENT, c->block,
                   "%s %u says %llu blocks, %llu inodes, the shares are %llu, %llu",
                   kind_text(c->is.kind), c->is.id, (ull)c->is.block_lent, (ull)c->is.inode_lent,
                   (ull)c->wanted.block_lent, (ull)c->wanted.inode_lent);
}

static void compare_holders(const struct comparison *c)
{
    if (c->is.holders == c->wanted.holders)
        return;
    mark_wrong(c->check, c->slot);
    problem_report(&c->check->problems, PROBLEM_QUOTA_HOLDERS, c->block,
                   "%s %u says %llx, a bit a slot, it is %llx", kind_text(c->is.kind), c->is.id,
                   (ull)c->is.holders, (ull)c->wanted.holders);
}

static void compare(struct check *check, const struct quota_sum *sum, uint64_t unknown)
{
    struct comparison c = {.check = check, .sum = sum};
    quota_sum_wanted(sum, &c.wanted);
    c.is = (struct format_quota){.kind = c.wanted.kind, .id = c.wanted.id};
    if (sum->record != NULL)
        c.is = *sum->record;
    c.slot = geometry_quota_bucket_of(&check->geometry, c.is.kind, c.is.id);
    c.block = geometry_quota_bucket_block(&check->geometry, c.slot);
    if (unknown >> c.slot & 1)
        return;
    compare_used(&c);
    compare_lent(&c);
    compare_holders(&c);
}

// Sums are right only if all that they are made of is: else that is put right first, and the round
// after it compares. Records that are written anew get the right numbers in any case.
void pass6_quotas(struct check *check)
{
    uint64_t unknown = check->quotas.wrong_buckets;
    if (!quota_blocks_count(check) || problem_stage_first(&check->problems) < PROBLEM_STAGE_ORPHANS)
        return;
    progress_begin(&check->progress, "quotas", NULL);
    quota_sums_sort(&check->quotas);
    for (const struct quota_sum *sum = check->quotas.first; sum != NULL; sum = sum->hh.next)
        compare(check, sum, unknown);
}
