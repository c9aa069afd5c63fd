// SPDX-License-Identifier: Apache-2.0
#include "fsck/quota_sums.h"

#include <stdlib.h>

#include "fs/base/check.h"

void quota_sums_deinit(struct quota_sums *sums)
{
    struct quota_sum *sum, *next;
    HASH_ITER (hh, sums->first, sum, next) {
        HASH_DEL(sums->first, sum);
        free(sum->record);
        free(sum);
    }
    *sums = (struct quota_sums){.first = NULL};
}

struct quota_sum *quota_sums_get(struct quota_sums *sums, enum quota_kind kind, uint32_t id)
{
    struct quota_sum *sum;
    uint64_t key = quota_key(kind, id);
    HASH_FIND(hh, sums->first, &key, sizeof(key), sum);
    if (sum != NULL)
        return sum;
    sum = calloc(1, sizeof(*sum));
    CHECK(sum != NULL);
    sum->key = key;
    HASH_ADD(hh, sums->first, key, sizeof(sum->key), sum);
    return sum;
}

static int compare_keys(const struct quota_sum *a, const struct quota_sum *b)
{
    return a->key < b->key ? -1 : a->key > b->key;
}

void quota_sums_sort(struct quota_sums *sums)
{
    HASH_SORT(sums->first, compare_keys);
}

// --- what tells of them ------------------------------------------------------------------------

static void add_blocks(struct quota_sum *sum, uint64_t block_count)
{
    sum->blocks += block_count;
    sum->inodes++;
}

void quota_sums_add_inode(struct quota_sums *sums, const struct format_inode *inode)
{
    add_blocks(quota_sums_get(sums, QUOTA_USER, inode->uid), inode->block_count);
    add_blocks(quota_sums_get(sums, QUOTA_GROUP, inode->gid), inode->block_count);
    add_blocks(quota_sums_get(sums, QUOTA_PROJECT, inode->project_id), inode->block_count);
}

static uint64_t lent_by(uint64_t share)
{
    return share == QUOTA_SHARE_ENDLESS ? 0 : share;
}

void quota_sums_add_entry(struct quota_sums *sums, uint32_t slot,
                          const struct format_quota_entry *entry)
{
    struct quota_sum *sum = quota_sums_get(sums, entry->kind, entry->id);
    sum->block_spent += (uint64_t)entry->block_spent;
    sum->inode_spent += (uint64_t)entry->inode_spent;
    sum->block_lent += lent_by(entry->block_share);
    sum->inode_lent += lent_by(entry->inode_share);
    sum->holders |= (uint64_t)1 << slot;
}

void quota_sums_put_record(struct quota_sums *sums, const struct format_quota *record)
{
    struct quota_sum *sum = quota_sums_get(sums, record->kind, record->id);
    if (sum->record == NULL)
        sum->record = malloc(sizeof(*sum->record));
    CHECK(sum->record != NULL);
    *sum->record = *record;
}

// --- what a record should say ------------------------------------------------------------------

static bool has_limits(const struct format_quota *record)
{
    return record->block_hard != 0 || record->block_soft != 0 || record->inode_hard != 0 ||
           record->inode_soft != 0 || record->block_grace_s != 0 || record->inode_grace_s != 0;
}

// A grace that runs for what is no longer exceeded would refuse somebody who has kept to the limit.
static uint64_t since_wanted(uint64_t since_s, uint64_t soft, int64_t used)
{
    return soft != 0 && used > (int64_t)soft ? since_s : 0;
}

bool quota_sum_wanted(const struct quota_sum *sum, struct format_quota *wanted)
{
    *wanted = (struct format_quota){.kind = quota_sum_kind(sum), .id = quota_sum_id(sum)};
    if (sum->record != NULL)
        *wanted = *sum->record;
    wanted->block_used = (int64_t)(sum->blocks - sum->block_spent);
    wanted->inode_used = (int64_t)(sum->inodes - sum->inode_spent);
    wanted->block_lent = sum->block_lent;
    wanted->inode_lent = sum->inode_lent;
    wanted->holders = sum->holders;
    wanted->block_since_s =
        since_wanted(wanted->block_since_s, wanted->block_soft, (int64_t)sum->blocks);
    wanted->inode_since_s =
        since_wanted(wanted->inode_since_s, wanted->inode_soft, (int64_t)sum->inodes);
    return has_limits(wanted) || wanted->block_used != 0 || wanted->inode_used != 0 ||
           wanted->holders != 0;
}
