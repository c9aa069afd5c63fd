// SPDX-License-Identifier: Apache-2.0
#include "fsck/block_reader.h"

#include <stdlib.h>
#include <string.h>

#include "fs/base/check.h"
#include "fs/base/error.h"
#include "fs/base/memory.h"
#include "fsck/check.h"
#include "fsck/chunk_cache.h"
#include "fsck/flipped_bit.h"

enum { ONLINE_TRIES = 3 }; // a heartbeat may be written while it is read (protocols, rule 36)

struct block_reader {
    struct check *check;
    struct chunk_cache *chunks;
};

struct block_reader *block_reader_new(struct check *check)
{
    struct block_reader *reader = calloc(1, sizeof(*reader));
    CHECK(reader != NULL);
    reader->check = check;
    reader->chunks =
        chunk_cache_new(check->device, check->environment->scheduler, check->reads_ahead);
    return reader;
}

void block_reader_free(struct block_reader *reader)
{
    if (reader == NULL)
        return;
    chunk_cache_free(reader->chunks);
    free(reader);
}

void block_reader_expect(struct block_reader *reader, uint64_t block)
{
    chunk_cache_expect(reader->chunks, block);
}

static int read_device(const struct block_reader *reader, uint64_t block, uint64_t count,
                       void *buffer)
{
    const struct check *check = reader->check;
    return block_device_read(check->device, check->environment->scheduler, block * BLOCK_BYTES,
                             buffer, count * BLOCK_BYTES);
}

static const struct journal_image *find_image(const struct check *check, uint64_t block)
{
    size_t low = 0, high = check->has_overlay ? check->overlay.image_count : 0;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (check->overlay.images[middle].address < block)
            low = middle + 1;
        else
            high = middle;
    }
    bool is_there = check->has_overlay && low < check->overlay.image_count &&
                    check->overlay.images[low].address == block;
    return is_there ? &check->overlay.images[low] : NULL;
}

// Alone, so that a bad sector costs one block and not its neighbours.
static int read_alone(struct block_reader *reader, uint64_t block, void *buffer)
{
    void *aligned = block_buffer_new(BLOCK_BYTES);
    const struct journal_image *image = find_image(reader->check, block);
    int result = image != NULL ? journal_scan_read(reader->check->journals, image, aligned)
                               : read_device(reader, block, 1, aligned);
    memcpy(buffer, aligned, BLOCK_BYTES);
    free(aligned);
    return result;
}

int block_reader_read(struct block_reader *reader, uint64_t block, void *buffer)
{
    check_breathe(reader->check);
    if (reader->check->online != NULL)
        reader->check->online->blocks_read++;
    if (block >= reader->check->device->size_bytes / BLOCK_BYTES)
        return -ERROR_BLOCK_RANGE;
    const uint8_t *kept = change_log_find(&reader->check->changes, block);
    if (kept == NULL && find_image(reader->check, block) == NULL && reader->check->online == NULL)
        kept = chunk_cache_find(reader->chunks, block);
    if (kept == NULL)
        return read_alone(reader, block, buffer);
    memcpy(buffer, kept, BLOCK_BYTES);
    return 0;
}

// --- verified --------------------------------------------------------------------------------

static bool is_known(const struct block_numbers *numbers, uint64_t block)
{
    for (size_t i = 0; i < numbers->count; i++) {
        if (numbers->numbers[i] == block)
            return true;
    }
    return false;
}

static void remember(struct block_numbers *numbers, uint64_t block)
{
    numbers->numbers =
        memory_resize(numbers->numbers, numbers->count + 1, sizeof(*numbers->numbers));
    numbers->numbers[numbers->count++] = block;
}

// Told once a round, however often it is read.
static void report_flipped(struct check *check, uint64_t block)
{
    if (is_known(&check->flipped, block))
        return;
    remember(&check->flipped, block);
    problem_report(&check->problems, PROBLEM_FLIPPED_BIT, block, "its checksum says which");
}

// Blocks that do not look like ours at all are not worth the search.
static bool put_back(const struct check *check, void *buffer)
{
    const struct block_header_disk *header = buffer;
    bool is_ours = memcmp(header->format_id, check->geometry.format_id, 16) == 0 ||
                   le32_get(header->magic) == BLOCK_MAGIC;
    return is_ours && flipped_bit_put_back(buffer);
}

static int read_and_verify(struct block_reader *reader, const struct block_expectation *expected,
                           void *buffer)
{
    int tries = reader->check->online != NULL ? ONLINE_TRIES : 1;
    int result = 0;
    do {
        result = block_reader_read(reader, expected->address, buffer);
        if (result < 0)
            return result;
        result = format_block_verify(buffer, expected);
    } while (result < 0 && --tries > 0);
    return result;
}

int block_reader_read_verified(struct block_reader *reader, enum block_type type, uint64_t block,
                               uint64_t owner, void *buffer)
{
    struct check *check = reader->check;
    struct block_expectation expected = {
        .format_id = check->geometry.format_id,
        .address = block,
        .owner = owner,
        .type = type,
    };
    int result = read_and_verify(reader, &expected, buffer);
    if (result < 0 && error_is_check(result) && put_back(check, buffer) &&
        format_block_verify(buffer, &expected) == 0) {
        report_flipped(check, block);
        result = 0;
    }
    if (result == 0) // what a repair writes must be newer (rule 30)
        lamport_observe(&check->clock, format_block_version(buffer));
    return result;
}
