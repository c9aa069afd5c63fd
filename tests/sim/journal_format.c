// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/journal_format.h"

#include <string.h>

#include "fs/base/crc32c.h"
#include "fs/base/error.h"

#define TEST_BLOCK_MAGIC  0x4b4c4254u
#define TEST_HEADER_MAGIC 0x44484254u

enum { BLOCK = 4096 };

static uint32_t checksum_of(const uint8_t *bytes)
{
    static const uint8_t zero[4];
    uint32_t crc = crc32c(0, bytes, 4);
    crc = crc32c(crc, zero, 4);
    return crc32c(crc, bytes + 8, BLOCK - 8);
}

void test_block_fill(struct test_block *block, uint64_t address, uint64_t owner, uint64_t serial)
{
    block->magic = TEST_BLOCK_MAGIC;
    block->address = address;
    block->owner = owner;
    block->serial = serial;
    memset(block->unused, 0, sizeof(block->unused));
    memset(block->content, (int)((address * 31 + serial * 7) & 0xff), sizeof(block->content));
}

void test_block_seal(struct test_block *block, uint64_t version)
{
    block->version = version;
    block->checksum = checksum_of((const uint8_t *)block);
}

bool test_block_is_valid(const struct test_block *block, uint64_t address)
{
    return block->magic == TEST_BLOCK_MAGIC && block->address == address &&
           block->checksum == checksum_of((const uint8_t *)block);
}

static void seal(void *context, uint8_t *bytes, uint64_t version)
{
    (void)context;
    test_block_seal((struct test_block *)bytes, version);
}

static uint64_t version_of(void *context, const uint8_t *bytes)
{
    (void)context;
    return ((const struct test_block *)bytes)->version;
}

static bool inspect(void *context, const uint8_t *bytes, uint64_t address, uint64_t *owner,
                    uint64_t *version)
{
    (void)context;
    const struct test_block *block = (const struct test_block *)bytes;
    if (!test_block_is_valid(block, address))
        return false;
    *owner = block->owner;
    *version = block->version;
    return true;
}

// The journal's header uses the first 64 bytes like any other block.
static void header_init(void *context, uint8_t *bytes, uint64_t address, uint32_t slot)
{
    (void)context;
    struct test_block *block = (struct test_block *)bytes;
    block->magic = TEST_HEADER_MAGIC;
    block->address = address;
    block->owner = slot;
}

static int header_verify(void *context, const uint8_t *bytes, uint64_t address, uint32_t slot)
{
    (void)context;
    const struct test_block *block = (const struct test_block *)bytes;
    if (block->magic != TEST_HEADER_MAGIC)
        return -ERROR_BLOCK_MAGIC;
    if (block->checksum != checksum_of(bytes))
        return -ERROR_BLOCK_CHECKSUM;
    return block->address == address && block->owner == slot ? 0 : -ERROR_BLOCK_ADDRESS;
}

const struct journal_callbacks test_block_callbacks = {
    .seal = seal,
    .version = version_of,
    .inspect = inspect,
    .header_init = header_init,
    .header_verify = header_verify,
};
