// SPDX-License-Identifier: Apache-2.0
// Reading and writing the two copies of a journal's header.
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/check.h"
#include "fs/base/cleanup.h"
#include "fs/base/error.h"
#include "journal/state.h"

// Whether the copy is valid; logged if it is not: after a torn write that is to be expected.
static bool verify_copy(const struct journal_config *config, uint32_t copy, const uint8_t *bytes,
                        struct journal_header *header)
{
    uint64_t address = config->start_block + copy;
    int result = config->callbacks->header_verify(config->context, bytes, address, config->slot);
    if (result == 0 && !journal_header_decode((const struct journal_header_disk *)bytes,
                                              config->block_count, header))
        result = -ERROR_JOURNAL_HEADER;
    if (result < 0)
        log_notice(config->log, "journal %u: header copy at block %" PRIu64 " is not valid: %s",
                   config->slot, address, error_text(result));
    return result == 0;
}

int journal_header_read(const struct journal_config *config, struct journal_header *header)
{
    CLEANUP_FREE uint8_t *bytes = block_buffer_new((size_t)JOURNAL_HEADER_COPIES * BLOCK_BYTES);
    int result = block_device_read(config->device, config->environment->scheduler,
                                   config->start_block * BLOCK_BYTES, bytes,
                                   (size_t)JOURNAL_HEADER_COPIES * BLOCK_BYTES);
    if (result < 0) {
        log_error(config->log, -result, "journal %u: header at block %" PRIu64 ": read failed: %s",
                  config->slot, config->start_block, error_text(result));
        return result;
    }
    bool is_found = false;
    for (uint32_t copy = 0; copy < JOURNAL_HEADER_COPIES; copy++) {
        struct journal_header found;
        if (!verify_copy(config, copy, bytes + (size_t)copy * BLOCK_BYTES, &found))
            continue;
        if (!is_found || found.generation > header->generation)
            *header = found;
        is_found = true;
    }
    if (is_found)
        return 0;
    log_error(config->log, ERROR_JOURNAL_HEADER,
              "journal %u: neither header copy (blocks %" PRIu64 ", %" PRIu64 ") is valid",
              config->slot, config->start_block, config->start_block + 1);
    return -ERROR_JOURNAL_HEADER;
}

int journal_header_write(const struct journal_config *config, struct journal_header *header,
                         uint8_t *buffer)
{
    header->generation++;
    uint64_t address = config->start_block + header->generation % JOURNAL_HEADER_COPIES;
    journal_header_encode((struct journal_header_disk *)buffer, header);
    config->callbacks->header_init(config->context, buffer, address, config->slot);
    config->callbacks->seal(config->context, buffer, header->generation);
    return block_device_write(config->device, config->environment->scheduler, address * BLOCK_BYTES,
                              buffer, BLOCK_BYTES);
}

int journal_header_write_both(const struct journal_config *config, struct journal_header *header)
{
    CLEANUP_FREE uint8_t *buffer = block_buffer_new(BLOCK_BYTES);
    for (uint32_t copy = 0; copy < JOURNAL_HEADER_COPIES; copy++) {
        int result = journal_header_write(config, header, buffer);
        if (result == 0)
            result = block_device_flush(config->device, config->environment->scheduler);
        if (result < 0) {
            log_error(config->log, -result, "journal %u: header at block %" PRIu64 ": write failed",
                      config->slot, config->start_block);
            return result;
        }
    }
    return 0;
}

int journal_renew_headers(const struct journal_config *config)
{
    struct journal_header header;
    int result = journal_header_read(config, &header);
    return result == 0 ? journal_header_write_both(config, &header) : result;
}

struct journal_ring journal_ring_of(const struct journal_config *config,
                                    const struct journal_header *header)
{
    return (struct journal_ring){
        .start_block = config->start_block + JOURNAL_HEADER_COPIES,
        .block_count = config->block_count - JOURNAL_HEADER_COPIES,
        .tail = header->tail_position,
        .head = header->tail_position,
    };
}

struct journal_identity journal_identity_of(const struct journal_config *config,
                                            const struct journal_header *header)
{
    struct journal_identity identity = {.slot = config->slot};
    memcpy(identity.format_id, config->format_id, sizeof(identity.format_id));
    memcpy(identity.salt, header->salt, sizeof(identity.salt));
    return identity;
}
