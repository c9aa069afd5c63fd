// SPDX-License-Identifier: Apache-2.0
#include "fsck/quota_blocks.h"

#include <stdlib.h>

#include "fs/base/check.h"
#include "fs/base/cleanup.h"
#include "fs/base/error.h"
#include "fsck/block_reader.h"
#include "fsck/check.h"

bool quota_blocks_exist(const struct check *check)
{
    return (check->geometry.feature_ro_compat & FEATURE_RO_COMPAT_QUOTA_BLOCKS) != 0;
}

bool quota_blocks_count(const struct check *check)
{
    return quota_blocks_exist(check) &&
           (check->geometry.feature_ro_compat & FEATURE_RO_COMPAT_QUOTAS) != 0;
}

const char *quota_blocks_read_bucket(struct check *check, uint32_t slot,
                                     struct quota_bucket_disk *disk)
{
    const char *reason = NULL;
    int result =
        block_reader_read_verified(check->reader, BLOCK_TYPE_QUOTA_BUCKET,
                                   geometry_quota_bucket_block(&check->geometry, slot), slot, disk);
    if (result < 0)
        return error_text(result);
    return format_quota_bucket_check(disk, &reason) < 0 ? reason : NULL;
}

// --- ledgers -------------------------------------------------------------------------------------

// More than any volume holds, and so little that the entries of all slots add up to less than
// FORMAT_QUOTA_MAX.
static const int64_t entry_max = (int64_t)(FORMAT_QUOTA_MAX / 256);

static bool is_share(uint64_t share)
{
    return share == QUOTA_SHARE_ENDLESS || share < (uint64_t)entry_max;
}

static bool is_spent(int64_t spent)
{
    return spent > -entry_max && spent < entry_max;
}

static bool has_owner(const struct quota_ledger_disk *disk, const struct format_quota_entry *owner)
{
    for (unsigned i = 0; i < QUOTA_LEDGER_ENTRIES; i++) {
        struct format_quota_entry entry;
        format_quota_entry_decode(disk, i, &entry);
        if (entry.is_used && entry.kind == owner->kind && entry.id == owner->id)
            return true;
    }
    return false;
}

// `earlier`: the slot's block before this one; NULL: there is none that is sound.
static const char *entries_broken(const struct quota_ledger_disk *disk,
                                  const struct quota_ledger_disk *earlier)
{
    for (unsigned i = 0; i < QUOTA_LEDGER_ENTRIES; i++) {
        struct format_quota_entry entry;
        format_quota_entry_decode(disk, i, &entry);
        if (!is_share(entry.block_share) || !is_share(entry.inode_share) ||
            !is_spent(entry.block_spent) || !is_spent(entry.inode_spent))
            return "an entry counts more than a volume can hold";
        if (entry.is_used && earlier != NULL && has_owner(earlier, &entry))
            return "an owner has an entry in both blocks";
    }
    return NULL;
}

static const char *read_alone(struct check *check, uint32_t slot, unsigned index,
                              struct quota_ledger_disk *disk)
{
    const char *reason = NULL;
    uint64_t block = geometry_quota_ledger_block(&check->geometry, slot, index);
    int result =
        block_reader_read_verified(check->reader, BLOCK_TYPE_QUOTA_LEDGER, block, slot, disk);
    if (result < 0)
        return error_text(result);
    return format_quota_ledger_check(disk, &reason) < 0 ? reason : entries_broken(disk, NULL);
}

const char *quota_blocks_read_ledger(struct check *check, uint32_t slot, unsigned index,
                                     struct quota_ledger_disk *disk)
{
    CLEANUP_FREE struct quota_ledger_disk *earlier = malloc(sizeof(*earlier));
    CHECK(earlier != NULL);
    const char *broken = read_alone(check, slot, index, disk);
    for (unsigned i = 0; i < index && broken == NULL; i++) {
        if (read_alone(check, slot, i, earlier) == NULL)
            broken = entries_broken(disk, earlier);
    }
    return broken;
}
