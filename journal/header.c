// SPDX-License-Identifier: Apache-2.0
#include "journal/header.h"

#include <string.h>

void journal_header_encode(struct journal_header_disk *disk, const struct journal_header *header)
{
    memset(disk, 0, sizeof(*disk));
    disk->magic = le32_make(JOURNAL_HEADER_MAGIC);
    disk->format_version = le32_make(JOURNAL_FORMAT_VERSION);
    disk->state = le32_make(header->state);
    disk->block_count = le32_make(header->block_count);
    disk->generation = le64_make(header->generation);
    memcpy(disk->salt, header->salt, JOURNAL_SALT_BYTES);
    disk->tail_position = le64_make(header->tail_position);
    disk->tail_sequence = le64_make(header->tail_sequence);
    disk->tail_chain = le32_make(header->tail_chain);
    disk->version_max = le64_make(header->version_max);
}

static bool is_zero(const uint8_t *bytes, size_t size)
{
    return bytes[0] == 0 && memcmp(bytes, bytes + 1, size - 1) == 0;
}

static bool is_ours(const struct journal_header_disk *disk, uint32_t block_count)
{
    uint32_t state = le32_get(disk->state);
    return le32_get(disk->magic) == JOURNAL_HEADER_MAGIC &&
           le32_get(disk->format_version) == JOURNAL_FORMAT_VERSION &&
           (state == JOURNAL_STATE_CLEAN || state == JOURNAL_STATE_IN_USE) &&
           le32_get(disk->block_count) == block_count && le32_get(disk->reserved0) == 0 &&
           is_zero(disk->reserved1, sizeof(disk->reserved1));
}

bool journal_header_decode(const struct journal_header_disk *disk, uint32_t block_count,
                           struct journal_header *header)
{
    if (!is_ours(disk, block_count))
        return false;
    *header = (struct journal_header){
        .state = (enum journal_state)le32_get(disk->state),
        .block_count = block_count,
        .generation = le64_get(disk->generation),
        .tail_position = le64_get(disk->tail_position),
        .tail_sequence = le64_get(disk->tail_sequence),
        .tail_chain = le32_get(disk->tail_chain),
        .version_max = le64_get(disk->version_max),
    };
    memcpy(header->salt, disk->salt, JOURNAL_SALT_BYTES);
    // A position or sequence near the end of its range would overflow in the scan.
    return header->tail_position < UINT64_MAX / 2 && header->tail_sequence < UINT64_MAX / 2;
}
