// SPDX-License-Identifier: Apache-2.0
#include "fsck/flipped_bit.h"

#include <stddef.h>

#include "fs/base/crc32c.h"
#include "fs/format.h"

static const uint32_t reversed_polynomial = 0x82f63b78;

// What a change behind which one more byte stands does to the checksum.
static uint32_t shift_by_byte(uint32_t change)
{
    for (int i = 0; i < 8; i++)
        change = (change >> 1) ^ (change & 1 ? reversed_polynomial : 0);
    return change;
}

static uint32_t checksum_of(struct block_header_disk *header)
{
    le32_t kept = header->checksum;
    header->checksum = le32_make(0);
    uint32_t checksum = crc32c(0, header, BLOCK_BYTES);
    header->checksum = kept;
    return checksum;
}

static bool is_checksum(size_t at)
{
    size_t begin = offsetof(struct block_header_disk, checksum);
    return at >= begin && at < begin + sizeof(le32_t);
}

bool flipped_bit_put_back(void *block)
{
    uint8_t *bytes = block;
    struct block_header_disk *header = block;
    uint32_t checksum = checksum_of(header);
    uint32_t change = checksum ^ le32_get(header->checksum), changes[8];
    if (change != 0 && (change & (change - 1)) == 0) {
        header->checksum = le32_make(checksum);
        return true;
    }
    for (unsigned bit = 0; bit < 8; bit++)
        changes[bit] = shift_by_byte(1u << bit);
    for (size_t at = BLOCK_BYTES; at-- > 0;) {
        for (unsigned bit = 0; bit < 8; bit++) {
            if (changes[bit] == change && !is_checksum(at)) {
                bytes[at] ^= (uint8_t)(1u << bit);
                return true;
            }
            changes[bit] = shift_by_byte(changes[bit]);
        }
    }
    return false;
}
