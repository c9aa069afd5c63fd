// SPDX-License-Identifier: Apache-2.0
#include "fs/journal_format.h"

#include "fs/format.h"

static void seal(void *context, uint8_t *bytes, uint64_t version)
{
    (void)context;
    format_block_seal(bytes, version);
}

static uint64_t version_of(void *context, const uint8_t *bytes)
{
    (void)context;
    return format_block_version(bytes);
}

// The journal does not know what a block is, so the block's own word is taken for type and owner.
static bool inspect(void *context, const uint8_t *bytes, uint64_t address, uint64_t *owner,
                    uint64_t *version)
{
    const struct journal_format_context *format = context;
    const struct block_header_disk *header = (const struct block_header_disk *)bytes;
    struct block_expectation expected = {
        .format_id = format->format_id,
        .address = address,
        .owner = le64_get(header->owner),
        .type = (enum block_type)le16_get(header->type),
    };
    if (format_block_verify(bytes, &expected) != 0)
        return false;
    *owner = expected.owner;
    *version = format_block_version(bytes);
    return true;
}

static struct block_expectation header_identity(const struct journal_format_context *format,
                                                uint64_t address, uint32_t slot)
{
    return (struct block_expectation){
        .format_id = format->format_id,
        .address = address,
        .owner = slot,
        .type = BLOCK_TYPE_JOURNAL_HEADER,
    };
}

static void header_init(void *context, uint8_t *bytes, uint64_t address, uint32_t slot)
{
    struct block_expectation is = header_identity(context, address, slot);
    format_block_init(bytes, &is);
}

static int header_verify(void *context, const uint8_t *bytes, uint64_t address, uint32_t slot)
{
    struct block_expectation expected = header_identity(context, address, slot);
    return format_block_verify(bytes, &expected);
}

static void failed(void *context, int error)
{
    const struct journal_format_context *format = context;
    if (format->failed != NULL)
        format->failed(format->user, error);
}

static void progress(void *context, uint64_t done, uint64_t total)
{
    const struct journal_format_context *format = context;
    if (format->progress != NULL)
        format->progress(format->user, done, total);
}

const struct journal_callbacks journal_format_callbacks = {
    .seal = seal,
    .version = version_of,
    .inspect = inspect,
    .header_init = header_init,
    .header_verify = header_verify,
    .failed = failed,
    .progress = progress,
};
