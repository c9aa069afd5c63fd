// SPDX-License-Identifier: Apache-2.0
// Quotas on disk (docs/quotas.md): the records of all owners, and what each slot's node may use of
// their limits. Pure, and proof against any bytes, as fs/format_decode.h.
//
//   slot table, block +3      quota bucket: a tree of records; each owner's in the bucket of one
//   slot
//               block +4, +5  quota ledger: what the slot's node took from records, and spent
//
// They exist with FEATURE_RO_COMPAT_QUOTA_BLOCKS. Their sums are right and count with
// FEATURE_RO_COMPAT_QUOTAS; without it they are left-overs of quotas that were turned off.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "fs/format.h"
#include "fs/format_decode.h"

enum quota_kind {
    QUOTA_USER = 0,
    QUOTA_GROUP = 1,
    QUOTA_PROJECT = 2,
    QUOTA_KIND_COUNT = 3,
};

enum {
    QUOTA_GRACE_S_DEFAULT = 7 * 24 * 3600,
    QUOTA_LEDGER_ENTRIES = 100, // of a block
    QUOTA_LEDGER_BLOCKS = 2,    // of a slot
};

#define QUOTA_SHARE_ENDLESS UINT64_MAX          // there was no limit: it lends nothing
#define FORMAT_QUOTA_MAX    ((uint64_t)1 << 62) // above all limits and sums, of either sign

struct quota_disk {       // ITEM_QUOTA: the record of an owner
    le64_t block_hard;    // 0   limits; 0: none
    le64_t block_soft;    // 8
    le64_t inode_hard;    // 16
    le64_t inode_soft;    // 24
    le64_t block_used;    // 32  signed: settled; what ledgers have spent comes on top
    le64_t inode_used;    // 40
    le64_t block_lent;    // 48  the sum of the ledgers' shares, but for those without end
    le64_t inode_lent;    // 56
    le64_t block_since_s; // 64  wall clock: over the soft limit since then; 0: it is not
    le64_t inode_since_s; // 72
    le32_t block_grace_s; // 80  how long it may be; 0: QUOTA_GRACE_S_DEFAULT
    le32_t inode_grace_s; // 84
    le64_t holders;       // 88  bit s: slot s has an entry in its ledger
};
_Static_assert(sizeof(struct quota_disk) == 96, "quota");
_Static_assert(FORMAT_SLOT_COUNT_MAX <= 64, "quota holders");

struct quota_bucket_disk {
    struct block_header_disk header; // 0    owner: the slot
    le64_t reserved0[8];             // 64
    uint8_t record_root[3968];       // 128  embedded root: ITEM_QUOTA
};
_Static_assert(sizeof(struct quota_bucket_disk) == 4096, "quota bucket");

struct quota_entry_disk {
    le32_t id;           // 0
    uint8_t kind;        // 4   enum quota_kind
    uint8_t is_used;     // 5   0: all of the entry is 0
    uint8_t reserved[2]; // 6
    le64_t block_share;  // 8   taken from the record; or QUOTA_SHARE_ENDLESS
    le64_t block_spent;  // 16  signed; above the share only by what could not be refused
    le64_t inode_share;  // 24
    le64_t inode_spent;  // 32
};
_Static_assert(sizeof(struct quota_entry_disk) == 40, "quota entry");

struct quota_ledger_disk {
    struct block_header_disk header;                       // 0   owner: the slot
    struct quota_entry_disk entries[QUOTA_LEDGER_ENTRIES]; // 64
    uint8_t reserved[32];                                  // 4064
};
_Static_assert(sizeof(struct quota_ledger_disk) == 4096, "quota ledger");

// --- places ------------------------------------------------------------------------------------

static inline uint64_t geometry_quota_bucket_block(const struct geometry *g, uint32_t slot)
{
    return geometry_heartbeat_block(g, slot) + 3;
}
// `index` below QUOTA_LEDGER_BLOCKS.
static inline uint64_t geometry_quota_ledger_block(const struct geometry *g, uint32_t slot,
                                                   unsigned index)
{
    return geometry_heartbeat_block(g, slot) + 4 + index;
}
// The slot whose bucket holds the owner's record.
uint32_t geometry_quota_bucket_of(const struct geometry *g, enum quota_kind kind, uint32_t id);
// The major of the record's key; kind 0, number 0 is 0.
static inline uint64_t quota_key(enum quota_kind kind, uint32_t id)
{
    return (uint64_t)kind << 32 | id;
}

// --- host forms --------------------------------------------------------------------------------

struct format_quota {
    enum quota_kind kind;
    uint32_t id;
    uint64_t block_hard, block_soft, inode_hard, inode_soft;
    int64_t block_used, inode_used;
    uint64_t block_lent, inode_lent;
    uint64_t block_since_s, inode_since_s;
    uint32_t block_grace_s, inode_grace_s;
    uint64_t holders;
};

struct format_quota_entry {
    bool is_used;
    enum quota_kind kind;
    uint32_t id;
    uint64_t block_share, inode_share;
    int64_t block_spent, inode_spent;
};

// The item's shape, a known kind, slots of the volume alone, all numbers below FORMAT_QUOTA_MAX.
// -ERROR_CORRUPT_TREE.
int format_quota_decode(const struct format_item *item, const struct geometry *g,
                        struct format_quota *quota, const char **reason);
void format_quota_encode(const struct format_quota *quota, struct quota_disk *disk);

// -ERROR_BLOCK_CONTENT. The records are read with format_node_open.
int format_quota_bucket_check(const struct quota_bucket_disk *disk, const char **reason);
// All of one block: kinds are known, no owner stands twice, numbers are below FORMAT_QUOTA_MAX,
// what is not used is 0. -ERROR_BLOCK_CONTENT.
int format_quota_ledger_check(const struct quota_ledger_disk *disk, const char **reason);
// Of a block that was checked; `index` below QUOTA_LEDGER_ENTRIES.
void format_quota_entry_decode(const struct quota_ledger_disk *disk, unsigned index,
                               struct format_quota_entry *entry);
// What is not used becomes 0.
void format_quota_entry_encode(struct quota_ledger_disk *disk, unsigned index,
                               const struct format_quota_entry *entry);

// --- making them -------------------------------------------------------------------------------

// Empty ones, not sealed.
void format_quota_bucket_init(struct quota_bucket_disk *disk, const struct geometry *g,
                              uint32_t slot);
void format_quota_ledger_init(struct quota_ledger_disk *disk, const struct geometry *g,
                              uint32_t slot, unsigned index);
