// SPDX-License-Identifier: Apache-2.0
// A record of the log: what one commit writes. Encoding and decoding; pure.
//
//   ┌────────┬────────────────────────────────────┬─────────┬─────────┬────
//   │ head   │ tags │ retires │ revokes │ zeros   │ image 0 │ image 1 │ ...
//   │ 128 B  │ 32 B │ 16 B    │ 8 B     │         │ 4096 B  │         │
//   └────────┴────────────────────────────────────┴─────────┴─────────┴────
//   ◄──── header_block_count blocks of 4096 ─────►◄──── image_count ───────
//
// The checksum covers the header blocks, and each tag carries its image's checksum, so a record is
// wholly there or not at all. It is a link of a chain: its seed is made of the checksum of the
// record before and the salt of this life of the log, so a record of another life, or one that
// follows a torn record, can never continue the chain (rule 7). The next record is submitted only
// when this one is durable: where the chain ends, the log ends.
//
//   checksum(n) = crc32c(header blocks with the field 0, seed crc32c(salt, seed checksum(n - 1)))
//
// Order within a record: retires and revokes end images of records before it; the images of the
// record itself are newer than its retires, and none of them is of a block that it revokes.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fs/base/endian.h"
#include "fs/base/lock_name.h"

#define JOURNAL_RECORD_MAGIC 0x43524a4cu // bytes "LJRC"

struct journal_record_disk {
    le32_t magic;              // 0   JOURNAL_RECORD_MAGIC
    le32_t checksum;           // 4   of the header blocks with this field 0; see above
    le32_t format_version;     // 8   JOURNAL_FORMAT_VERSION
    le32_t slot;               // 12  whose journal
    uint8_t format_id[16];     // 16  of the volume
    le64_t sequence;           // 32  1 for the first record of a life, then one more each
    le64_t position;           // 40  in the ring, blocks since this life began
    le64_t version_max;        // 48  the node's Lamport clock when this was written
    le32_t header_block_count; // 56
    le32_t image_count;        // 60
    le32_t retire_count;       // 64
    le32_t revoke_count;       // 68
    uint8_t reserved[56];      // 72  zero
};
_Static_assert(sizeof(struct journal_record_disk) == 128, "record head");
_Static_assert(offsetof(struct journal_record_disk, image_count) == 60, "record head");

struct journal_tag_disk {
    le64_t address;   // 0   where the image belongs on the volume
    le64_t version;   // 8   as in the image's header
    le64_t lock_id;   // 16  the lock that protects the block
    le32_t lock_type; // 24
    le32_t checksum;  // 28  crc32c of the image's 4096 bytes
};
_Static_assert(sizeof(struct journal_tag_disk) == 32, "image tag");

struct journal_retire_disk {
    le64_t lock_id;   // 0   images under this lock in earlier records are dead
    le32_t lock_type; // 8
    le32_t reserved;  // 12  zero
};
_Static_assert(sizeof(struct journal_retire_disk) == 16, "retire entry");

struct journal_revoke_disk {
    le64_t address; // 0  images of this block in earlier records are dead
};
_Static_assert(sizeof(struct journal_revoke_disk) == 8, "revoke entry");

// A record's head in host form.
struct journal_record {
    uint64_t sequence;
    uint64_t position;
    uint64_t version_max;
    uint32_t header_block_count;
    uint32_t image_count;
    uint32_t retire_count;
    uint32_t revoke_count;
};

struct journal_tag {
    uint64_t address;
    uint64_t version;
    struct lock_name lock;
    uint32_t checksum;
};

// Whose log it is, the same for all records of a life.
struct journal_identity {
    uint8_t format_id[16];
    uint8_t salt[16];
    uint32_t slot;
};

// Blocks that a record with so many entries takes, its header blocks included.
uint64_t journal_record_blocks(uint64_t image_count, uint64_t retire_count, uint64_t revoke_count);

// --- encode: `bytes` are the header blocks ------------------------------------------------------

// Clears the header blocks and writes the head; `record->header_block_count` is set from the
// counts.
void journal_record_begin(uint8_t *bytes, struct journal_record *record,
                          const struct journal_identity *identity);
void journal_record_set_tag(uint8_t *bytes, const struct journal_record *record, uint32_t index,
                            const struct journal_tag *tag);
void journal_record_set_retire(uint8_t *bytes, const struct journal_record *record, uint32_t index,
                               struct lock_name lock);
void journal_record_set_revoke(uint8_t *bytes, const struct journal_record *record, uint32_t index,
                               uint64_t address);
// The clock as the last thing before the seal, once all images have their versions.
void journal_record_set_version_max(uint8_t *bytes, uint64_t version_max);
// Writes the checksum and returns it: the chain's next link.
uint32_t journal_record_seal(uint8_t *bytes, const struct journal_record *record,
                             const struct journal_identity *identity, uint32_t chain_before);

// --- decode: any bytes are safe input -----------------------------------------------------------

// Reads the head in the first header block; false if it is not the record `sequence` at `position`
// of this log, or would be longer than `blocks_max`.
bool journal_record_decode(const uint8_t *block, const struct journal_identity *identity,
                           uint64_t sequence, uint64_t position, uint32_t blocks_max,
                           struct journal_record *record);
// Whether the header blocks continue the chain; if so its next link. `record` was decoded from
// them.
bool journal_record_verify(const uint8_t *bytes, const struct journal_record *record,
                           const struct journal_identity *identity, uint32_t chain_before,
                           uint32_t *chain_after);
struct journal_tag journal_record_tag(const uint8_t *bytes, const struct journal_record *record,
                                      uint32_t index);
struct lock_name journal_record_retire(const uint8_t *bytes, const struct journal_record *record,
                                       uint32_t index);
uint64_t journal_record_revoke(const uint8_t *bytes, const struct journal_record *record,
                               uint32_t index);
