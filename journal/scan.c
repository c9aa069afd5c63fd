// SPDX-License-Identifier: Apache-2.0
// Reading dead logs: from each header's tail along the chain of records to its end, into one plan.
// Where the chain ends the log ends; but a record whose header continues the chain and whose image
// is damaged, with a valid record behind it, is not the end: the next record was submitted only
// when this one was durable, so the medium has lost something.
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/check.h"
#include "fs/base/cleanup.h"
#include "fs/base/crc32c.h"
#include "fs/base/error.h"
#include "journal/plan.h"
#include "journal/state.h"

enum { IMAGES_BEFORE_PAUSE = 256, FIRST_WINDOW_BLOCKS = 4 };

// Reads one log through a window of one chunk, with more read ahead the longer the log is: most
// logs are short.
struct log_reader {
    const struct journal_config *config;
    struct journal_ring ring;
    struct journal_identity identity;
    struct journal_chunk *window;
    uint64_t window_start;
    uint32_t window_count;     // blocks; 0: nothing is loaded
    uint32_t window_count_max; // of the next one
};

// A record whose header blocks were verified; `header` is malloc'ed.
struct found_record {
    struct journal_record head;
    uint8_t *header;
    uint32_t chain_after;
    uint32_t block_count;
};

static void found_record_deinit(struct found_record *found)
{
    free(found->header);
}

// --- the window ----------------------------------------------------------------------------------

static uint64_t log_end(const struct log_reader *reader)
{
    return reader->ring.tail + reader->ring.block_count;
}

static int load_window(struct log_reader *reader, uint64_t position)
{
    uint64_t left = log_end(reader) - position;
    uint32_t count = left < reader->window_count_max ? (uint32_t)left : reader->window_count_max;
    if (reader->window_count_max < JOURNAL_CHUNK_BLOCKS)
        reader->window_count_max *= 2;
    struct journal_span spans[2];
    uint32_t span_count = journal_ring_spans(&reader->ring, position, count, spans);
    struct journal_io_group group;
    journal_io_init(&group, reader->config->device, reader->config->environment->scheduler);
    uint8_t *bytes = reader->window->bytes;
    for (uint32_t i = 0; i < span_count; i++) {
        journal_io_submit(&group, &reader->window->requests[i], BLOCK_READ, spans[i].block,
                          spans[i].block_count, bytes);
        bytes += (size_t)spans[i].block_count * BLOCK_BYTES;
    }
    int result = journal_io_wait(&group);
    reader->window_start = position;
    reader->window_count = result == 0 ? count : 0;
    if (result < 0)
        log_error(reader->config->log, -result,
                  "journal %u: reading the log at block %" PRIu64 " failed: %s",
                  reader->config->slot, spans[0].block, error_text(result));
    return result;
}

// The block at `position`, valid until the next call; NULL with `result` set if it cannot be read.
static const uint8_t *read_block(struct log_reader *reader, uint64_t position, int *result)
{
    CHECK(position < log_end(reader));
    if (position < reader->window_start ||
        position >= reader->window_start + reader->window_count) {
        *result = load_window(reader, position);
        if (*result < 0)
            return NULL;
    }
    return reader->window->bytes + (size_t)(position - reader->window_start) * BLOCK_BYTES;
}

// --- records -------------------------------------------------------------------------------------

static int copy_header(struct log_reader *reader, uint64_t position, struct found_record *found)
{
    uint32_t count = found->head.header_block_count;
    int result = 0;
    found->header = malloc((size_t)count * BLOCK_BYTES);
    CHECK(found->header != NULL);
    for (uint32_t i = 0; i < count; i++) {
        const uint8_t *block = read_block(reader, position + i, &result);
        if (block == NULL)
            return result;
        memcpy(found->header + (size_t)i * BLOCK_BYTES, block, BLOCK_BYTES);
    }
    return 0;
}

// 1 and `found` if the chain goes on at `position`, 0 if not, or -errno.
static int find_record(struct log_reader *reader, uint64_t position, uint64_t sequence,
                       uint32_t chain_before, struct found_record *found)
{
    int result = 0;
    *found = (struct found_record){0};
    if (position == log_end(reader))
        return 0;
    const uint8_t *block = read_block(reader, position, &result);
    if (block == NULL)
        return result;
    uint32_t left = (uint32_t)(log_end(reader) - position);
    if (!journal_record_decode(block, &reader->identity, sequence, position, left, &found->head))
        return 0;
    result = copy_header(reader, position, found);
    if (result < 0)
        return result;
    found->block_count = found->head.header_block_count + found->head.image_count;
    return journal_record_verify(found->header, &found->head, &reader->identity, chain_before,
                                 &found->chain_after);
}

// 1 if all images of the record are whole, 0 if not, or -errno.
static int check_images(struct log_reader *reader, const struct found_record *found)
{
    uint64_t first = found->head.position + found->head.header_block_count;
    int result = 0;
    for (uint32_t i = 0; i < found->head.image_count; i++) {
        struct journal_tag tag = journal_record_tag(found->header, &found->head, i);
        const uint8_t *block = read_block(reader, first + i, &result);
        if (block == NULL)
            return result;
        if (crc32c(0, block, BLOCK_BYTES) != tag.checksum)
            return 0;
        if (i % IMAGES_BEFORE_PAUSE == IMAGES_BEFORE_PAUSE - 1)
            journal_pause(reader->config->environment->scheduler);
    }
    return 1;
}

// An image is damaged: 0 if the log ends with this record, which was torn, else the error.
static int expect_end(struct log_reader *reader, const struct found_record *found)
{
    struct found_record next __attribute__((cleanup(found_record_deinit)));
    int result = find_record(reader, found->head.position + found->block_count,
                             found->head.sequence + 1, found->chain_after, &next);
    if (result <= 0)
        return result;
    log_error(reader->config->log, ERROR_JOURNAL_RECORD,
              "journal %u: record %" PRIu64 " at block %" PRIu64 " is damaged, but record %" PRIu64
              " behind it is valid",
              reader->config->slot, found->head.sequence,
              journal_ring_block(&reader->ring, found->head.position), next.head.sequence);
    return -ERROR_JOURNAL_RECORD;
}

// --- into the plan -------------------------------------------------------------------------------

static int refuse_address(const struct log_reader *reader, const struct found_record *found,
                          uint64_t address)
{
    log_error(reader->config->log, ERROR_JOURNAL_RECORD,
              "journal %u: record %" PRIu64 " at block %" PRIu64 " has an image of block %" PRIu64
              ", which is outside of the volume",
              reader->config->slot, found->head.sequence,
              journal_ring_block(&reader->ring, found->head.position), address);
    return -ERROR_JOURNAL_RECORD;
}

static int add_images(const struct log_reader *reader, const struct found_record *found,
                      uint32_t journal, struct journal_plan *plan, struct journal_scan *scan)
{
    uint64_t volume_blocks = reader->config->device->size_bytes / BLOCK_BYTES;
    uint64_t first = found->head.position + found->head.header_block_count;
    for (uint32_t i = 0; i < found->head.image_count; i++) {
        struct journal_tag tag = journal_record_tag(found->header, &found->head, i);
        if (tag.address >= volume_blocks)
            return refuse_address(reader, found, tag.address);
        struct journal_image image = {
            .address = tag.address,
            .version = tag.version,
            .lock = tag.lock,
            .journal = journal,
            .checksum = tag.checksum,
            .block = journal_ring_block(&reader->ring, first + i),
        };
        journal_plan_add_image(plan, &image, found->head.sequence);
        if (tag.version > scan->version_max)
            scan->version_max = tag.version;
    }
    scan->scanned_count += found->head.image_count;
    return 0;
}

static int add_record(const struct log_reader *reader, const struct found_record *found,
                      uint32_t journal, struct journal_plan *plan, struct journal_scan *scan)
{
    const struct journal_record *head = &found->head;
    for (uint32_t i = 0; i < head->retire_count; i++)
        journal_plan_add_retire(plan, journal, journal_record_retire(found->header, head, i),
                                head->sequence);
    for (uint32_t i = 0; i < head->revoke_count; i++)
        journal_plan_add_revoke(plan, journal, journal_record_revoke(found->header, head, i));
    if (head->version_max > scan->version_max)
        scan->version_max = head->version_max;
    scan->record_count++;
    return add_images(reader, found, journal, plan, scan);
}

// Follows the chain to its end.
static int scan_records(struct log_reader *reader, const struct journal_header *header,
                        uint32_t journal, struct journal_plan *plan, struct journal_scan *scan)
{
    uint64_t position = header->tail_position;
    uint32_t chain = header->tail_chain;
    for (uint64_t sequence = header->tail_sequence;; sequence++) {
        struct found_record found __attribute__((cleanup(found_record_deinit)));
        int result = find_record(reader, position, sequence, chain, &found);
        if (result <= 0)
            return result;
        result = check_images(reader, &found);
        if (result == 0)
            return expect_end(reader, &found);
        if (result > 0)
            result = add_record(reader, &found, journal, plan, scan);
        if (result < 0)
            return result;
        position += found.block_count;
        chain = found.chain_after;
    }
}

static int scan_log(const struct journal_config *config, const struct journal_header *header,
                    uint32_t journal, struct journal_plan *plan, struct journal_scan *scan)
{
    struct journal_pool pool;
    journal_pool_init(&pool);
    struct log_reader reader = {
        .config = config,
        .ring = journal_ring_of(config, header),
        .identity = journal_identity_of(config, header),
        .window = journal_pool_get_chunk(&pool),
        .window_count_max = FIRST_WINDOW_BLOCKS,
    };
    int result = scan_records(&reader, header, journal, plan, scan);
    journal_pool_put_chunk(&pool, reader.window);
    journal_pool_deinit(&pool);
    return result;
}

static int scan_journal(const struct journal_config *config, uint32_t journal,
                        struct journal_plan *plan, struct journal_scan *scan)
{
    struct journal_header header;
    int result = journal_header_read(config, &header);
    if (result < 0)
        return result;
    scan->journal_count++;
    if (header.version_max > scan->version_max)
        scan->version_max = header.version_max;
    if (header.state == JOURNAL_STATE_CLEAN)
        return 0;
    scan->dirty_count++;
    return scan_log(config, &header, journal, plan, scan);
}

static void take_images(struct journal_plan *plan, struct scheduler *scheduler,
                        struct journal_scan *scan)
{
    size_t size = journal_plan_size(plan);
    if (size == 0)
        return;
    scan->images = calloc(size, sizeof(*scan->images));
    CHECK(scan->images != NULL);
    while (journal_plan_size(plan) > 0) {
        scan->image_count +=
            journal_plan_take(plan, scan->images + scan->image_count, IMAGES_BEFORE_PAUSE);
        journal_pause(scheduler);
    }
}

int journal_scan(const struct journal_config *configs, size_t count, struct journal_scan *scan)
{
    *scan = (struct journal_scan){0};
    struct journal_plan *plan = journal_plan_new();
    int result = 0;
    for (uint32_t i = 0; i < count && result == 0; i++)
        result = scan_journal(&configs[i], i, plan, scan);
    if (result == 0 && count > 0)
        take_images(plan, configs[0].environment->scheduler, scan);
    journal_plan_free(plan);
    return result;
}

int journal_scan_read(const struct journal_config *configs, const struct journal_image *image,
                      uint8_t *buffer)
{
    const struct journal_config *config = &configs[image->journal];
    int result = block_device_read(config->device, config->environment->scheduler,
                                   image->block * BLOCK_BYTES, buffer, BLOCK_BYTES);
    if (result < 0)
        return result;
    return crc32c(0, buffer, BLOCK_BYTES) == image->checksum ? 0 : -ERROR_JOURNAL_RECORD;
}

void journal_scan_deinit(struct journal_scan *scan)
{
    free(scan->images);
    *scan = (struct journal_scan){0};
}
