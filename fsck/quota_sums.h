// SPDX-License-Identifier: Apache-2.0
// What is known of the owners of quotas, added up from all that tells of them: inodes, records,
// ledgers. Memory goes with the number of owners that have anything, never with that of files.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <uthash.h>

#include "fs/format_quota.h"

// Sums wrap rather than overflow: what they are made of may be anything.
struct quota_sum {
    uint64_t key;                      // quota_key
    uint64_t blocks, inodes;           // as the inodes say
    uint64_t block_spent, inode_spent; // as all ledgers say
    uint64_t block_lent, inode_lent;   // likewise
    uint64_t holders;                  // a bit a slot: its ledger has an entry
    struct format_quota *record;       // NULL: there is none
    UT_hash_handle hh;
};

struct quota_sums {
    struct quota_sum *first;
    uint64_t wrong_buckets; // a bit a slot: its records are to be written anew
};

void quota_sums_deinit(struct quota_sums *sums);
// The owner's, all zeros if it was unknown. Valid until deinit.
struct quota_sum *quota_sums_get(struct quota_sums *sums, enum quota_kind kind, uint32_t id);
// Ascending by key.
void quota_sums_sort(struct quota_sums *sums);
static inline enum quota_kind quota_sum_kind(const struct quota_sum *sum)
{
    return (enum quota_kind)(sum->key >> 32);
}
static inline uint32_t quota_sum_id(const struct quota_sum *sum)
{
    return (uint32_t)sum->key;
}

// What user, group and project of one inode have by it.
void quota_sums_add_inode(struct quota_sums *sums, const struct format_inode *inode);
void quota_sums_add_entry(struct quota_sums *sums, uint32_t slot,
                          const struct format_quota_entry *entry);
// A record takes the place of one that is known already.
void quota_sums_put_record(struct quota_sums *sums, const struct format_quota *record);

// The record as the sums want it, with the limits of the one that there is. False if none is
// needed.
bool quota_sum_wanted(const struct quota_sum *sum, struct format_quota *wanted);
