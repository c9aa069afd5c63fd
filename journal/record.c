// SPDX-License-Identifier: Apache-2.0
#include "journal/record.h"

#include <string.h>

#include "fs/base/check.h"
#include "fs/base/crc32c.h"
#include "fs/base/sabotage.h"
#include "journal/header.h"

enum { BLOCK = 4096, CHECKSUM_OFFSET = offsetof(struct journal_record_disk, checksum) };

static uint64_t entry_bytes(uint64_t image_count, uint64_t retire_count, uint64_t revoke_count)
{
    return image_count * sizeof(struct journal_tag_disk) +
           retire_count * sizeof(struct journal_retire_disk) +
           revoke_count * sizeof(struct journal_revoke_disk);
}

static uint64_t header_blocks(uint64_t image_count, uint64_t retire_count, uint64_t revoke_count)
{
    uint64_t bytes =
        sizeof(struct journal_record_disk) + entry_bytes(image_count, retire_count, revoke_count);
    return (bytes + BLOCK - 1) / BLOCK;
}

uint64_t journal_record_blocks(uint64_t image_count, uint64_t retire_count, uint64_t revoke_count)
{
    return header_blocks(image_count, retire_count, revoke_count) + image_count;
}

static size_t tag_offset(const struct journal_record *record, uint32_t index)
{
    CHECK(index < record->image_count);
    return sizeof(struct journal_record_disk) + index * sizeof(struct journal_tag_disk);
}

static size_t retire_offset(const struct journal_record *record, uint32_t index)
{
    CHECK(index < record->retire_count);
    return sizeof(struct journal_record_disk) + entry_bytes(record->image_count, index, 0);
}

static size_t revoke_offset(const struct journal_record *record, uint32_t index)
{
    CHECK(index < record->revoke_count);
    return sizeof(struct journal_record_disk) +
           entry_bytes(record->image_count, record->retire_count, index);
}

// --- encode ----------------------------------------------------------------------------------

void journal_record_begin(uint8_t *bytes, struct journal_record *record,
                          const struct journal_identity *identity)
{
    record->header_block_count =
        (uint32_t)header_blocks(record->image_count, record->retire_count, record->revoke_count);
    memset(bytes, 0, (size_t)record->header_block_count * BLOCK);
    struct journal_record_disk *disk = (struct journal_record_disk *)bytes;
    disk->magic = le32_make(JOURNAL_RECORD_MAGIC);
    disk->format_version = le32_make(JOURNAL_FORMAT_VERSION);
    disk->slot = le32_make(identity->slot);
    memcpy(disk->format_id, identity->format_id, sizeof(disk->format_id));
    disk->sequence = le64_make(record->sequence);
    disk->position = le64_make(record->position);
    disk->version_max = le64_make(record->version_max);
    disk->header_block_count = le32_make(record->header_block_count);
    disk->image_count = le32_make(record->image_count);
    disk->retire_count = le32_make(record->retire_count);
    disk->revoke_count = le32_make(record->revoke_count);
}

void journal_record_set_tag(uint8_t *bytes, const struct journal_record *record, uint32_t index,
                            const struct journal_tag *tag)
{
    struct journal_tag_disk disk = {
        .address = le64_make(tag->address),
        .version = le64_make(tag->version),
        .lock_id = le64_make(tag->lock.id),
        .lock_type = le32_make(tag->lock.type),
        .checksum = le32_make(tag->checksum),
    };
    memcpy(bytes + tag_offset(record, index), &disk, sizeof(disk));
}

void journal_record_set_retire(uint8_t *bytes, const struct journal_record *record, uint32_t index,
                               struct lock_name lock)
{
    struct journal_retire_disk disk = {
        .lock_id = le64_make(lock.id),
        .lock_type = le32_make(lock.type),
    };
    memcpy(bytes + retire_offset(record, index), &disk, sizeof(disk));
}

void journal_record_set_revoke(uint8_t *bytes, const struct journal_record *record, uint32_t index,
                               uint64_t address)
{
    struct journal_revoke_disk disk = {.address = le64_make(address)};
    memcpy(bytes + revoke_offset(record, index), &disk, sizeof(disk));
}

void journal_record_set_version_max(uint8_t *bytes, uint64_t version_max)
{
    ((struct journal_record_disk *)bytes)->version_max = le64_make(version_max);
}

static uint32_t chain_link(const uint8_t *bytes, const struct journal_record *record,
                           const struct journal_identity *identity, uint32_t chain_before)
{
    static const uint8_t zero[sizeof(le32_t)];
    const size_t behind = CHECKSUM_OFFSET + sizeof(zero);
    uint32_t crc = chain_before;
    if (!SABOTAGE(journal_chain_unsalted))
        crc = crc32c(crc, identity->salt, sizeof(identity->salt));
    crc = crc32c(crc, bytes, CHECKSUM_OFFSET);
    crc = crc32c(crc, zero, sizeof(zero));
    return crc32c(crc, bytes + behind, (size_t)record->header_block_count * BLOCK - behind);
}

uint32_t journal_record_seal(uint8_t *bytes, const struct journal_record *record,
                             const struct journal_identity *identity, uint32_t chain_before)
{
    uint32_t chain = chain_link(bytes, record, identity, chain_before);
    ((struct journal_record_disk *)bytes)->checksum = le32_make(chain);
    return chain;
}

// --- decode ----------------------------------------------------------------------------------

static bool is_expected(const struct journal_record_disk *disk,
                        const struct journal_identity *identity, uint64_t sequence,
                        uint64_t position)
{
    return le32_get(disk->magic) == JOURNAL_RECORD_MAGIC &&
           le32_get(disk->format_version) == JOURNAL_FORMAT_VERSION &&
           le32_get(disk->slot) == identity->slot &&
           memcmp(disk->format_id, identity->format_id, sizeof(disk->format_id)) == 0 &&
           le64_get(disk->sequence) == sequence && le64_get(disk->position) == position;
}

bool journal_record_decode(const uint8_t *block, const struct journal_identity *identity,
                           uint64_t sequence, uint64_t position, uint32_t blocks_max,
                           struct journal_record *record)
{
    const struct journal_record_disk *disk = (const struct journal_record_disk *)block;
    if (!is_expected(disk, identity, sequence, position))
        return false;
    *record = (struct journal_record){
        .sequence = sequence,
        .position = position,
        .version_max = le64_get(disk->version_max),
        .header_block_count = le32_get(disk->header_block_count),
        .image_count = le32_get(disk->image_count),
        .retire_count = le32_get(disk->retire_count),
        .revoke_count = le32_get(disk->revoke_count),
    };
    // 32-bit counts in 64-bit sums: nothing overflows.
    uint64_t blocks =
        journal_record_blocks(record->image_count, record->retire_count, record->revoke_count);
    return blocks <= blocks_max && record->header_block_count == blocks - record->image_count;
}

bool journal_record_verify(const uint8_t *bytes, const struct journal_record *record,
                           const struct journal_identity *identity, uint32_t chain_before,
                           uint32_t *chain_after)
{
    uint32_t chain = chain_link(bytes, record, identity, chain_before);
    if (le32_get(((const struct journal_record_disk *)bytes)->checksum) != chain)
        return false;
    *chain_after = chain;
    return true;
}

struct journal_tag journal_record_tag(const uint8_t *bytes, const struct journal_record *record,
                                      uint32_t index)
{
    struct journal_tag_disk disk;
    memcpy(&disk, bytes + tag_offset(record, index), sizeof(disk));
    return (struct journal_tag){
        .address = le64_get(disk.address),
        .version = le64_get(disk.version),
        .lock = {.type = le32_get(disk.lock_type), .id = le64_get(disk.lock_id)},
        .checksum = le32_get(disk.checksum),
    };
}

struct lock_name journal_record_retire(const uint8_t *bytes, const struct journal_record *record,
                                       uint32_t index)
{
    struct journal_retire_disk disk;
    memcpy(&disk, bytes + retire_offset(record, index), sizeof(disk));
    return (struct lock_name){.type = le32_get(disk.lock_type), .id = le64_get(disk.lock_id)};
}

uint64_t journal_record_revoke(const uint8_t *bytes, const struct journal_record *record,
                               uint32_t index)
{
    struct journal_revoke_disk disk;
    memcpy(&disk, bytes + revoke_offset(record, index), sizeof(disk));
    return le64_get(disk.address);
}
