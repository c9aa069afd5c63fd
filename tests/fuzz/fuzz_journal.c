// SPDX-License-Identifier: Apache-2.0
// A dead node's journal: scan and replay of a log that the script writes and then spoils, over a
// LUN in memory.
//
//   script: header · number of records · records · spoilt bytes (place, value) to the end
//
// Checksums and the chain are put right after the damage if the header's flag says so, or only the
// first check of each record would ever be reached. What must hold: a scan plans each address once
// and from inside the ring; a replay that reports success leaves a clean journal, and a second one
// changes nothing; one that refuses has written nothing.
#include <stdlib.h>
#include <string.h>

#include "fs/base/check.h"
#include "fs/base/crc32c.h"
#include "fs/base/environment_tool.h"
#include "fs/format.h"
#include "fs/journal_format.h"
#include "journal/header.h"
#include "journal/record.h"
#include "journal/ring.h"
#include "tests/fuzz/fuzz.h"

enum {
    LUN_BLOCKS = 96,
    JOURNAL_START = 8,
    RECORDS_MAX = 8,
    ENTRIES_MAX = 4,
    FIRST_HOME = JOURNAL_START + JOURNAL_BLOCKS_MIN,
    LOCK_TYPE = 2,
};

enum header_flags { IS_RESEALED = 1, IS_CLEAN = 2, HAS_SECOND_COPY = 4 };

enum { MARK_CLEAN, MARK_REPLAYED, MARK_REFUSED, MARK_DEAD, MARK_WRITTEN };
static const char *const marks[] = {
    "a clean journal",  "a replay", "a refusal", "an image that a later record ends",
    "a block in place", NULL,
};

struct lun {
    struct block_device device; // first
    uint8_t *bytes;
};

struct log_world {
    struct lun lun;
    struct environment *environment;
    struct log log;
    struct lamport_clock clock;
    struct journal_format_context context;
    struct journal_config config;
    struct journal_identity identity;
    struct journal_header header;
    struct journal_ring ring;
    uint64_t reached;
};

// --- the LUN ---------------------------------------------------------------------------------

static void lun_submit(struct block_device *device, struct block_request *request)
{
    struct lun *lun = (struct lun *)device;
    if (request->operation == BLOCK_READ)
        memcpy(request->buffer, lun->bytes + request->offset, request->length);
    else if (request->operation == BLOCK_WRITE)
        memcpy(lun->bytes + request->offset, request->buffer, request->length);
    request->complete(request, 0);
}

static void lun_close(struct block_device *device)
{
    (void)device;
}

static const struct block_device_operations lun_operations = {lun_submit, lun_close};

static uint8_t *block_at(struct log_world *world, uint64_t block)
{
    return world->lun.bytes + block * BLOCK_BYTES;
}

static uint8_t *ring_block(struct log_world *world, uint64_t position)
{
    return block_at(world, journal_ring_block(&world->ring, position));
}

// --- writing the log -------------------------------------------------------------------------

static void write_header(struct log_world *world, struct fuzz_script *script)
{
    uint8_t flags = fuzz_take_byte(script);
    world->header = (struct journal_header){
        .state = (flags & IS_CLEAN) != 0 ? JOURNAL_STATE_CLEAN : JOURNAL_STATE_IN_USE,
        .block_count = JOURNAL_BLOCKS_MIN,
        .generation = 2,
        .tail_position = fuzz_take_u16(script),
        .tail_sequence = 1 + (uint64_t)fuzz_take_byte(script),
        .tail_chain = fuzz_take_u16(script),
        .version_max = fuzz_take_byte(script),
    };
    memcpy(world->header.salt, "salt of this life", JOURNAL_SALT_BYTES);
    for (unsigned copy = 0; copy < JOURNAL_HEADER_COPIES; copy++) {
        uint8_t *block = block_at(world, JOURNAL_START + copy);
        if (copy == 1 && (flags & HAS_SECOND_COPY) == 0)
            break;
        world->header.generation = 2 + copy;
        journal_header_encode((struct journal_header_disk *)block, &world->header);
        world->config.callbacks->header_init(&world->context, block, JOURNAL_START + copy, 0);
        format_block_seal(block, 1);
    }
    world->ring = (struct journal_ring){
        .start_block = JOURNAL_START + JOURNAL_HEADER_COPIES,
        .block_count = JOURNAL_BLOCKS_MIN - JOURNAL_HEADER_COPIES,
        .tail = world->header.tail_position,
        .head = world->header.tail_position,
    };
    memcpy(world->identity.salt, world->header.salt, sizeof(world->identity.salt));
}

static void write_image(struct log_world *world, uint64_t position, uint64_t address,
                        uint64_t version)
{
    struct block_expectation is = {.format_id = world->context.format_id,
                                   .address = address,
                                   .owner = address,
                                   .type = BLOCK_TYPE_INODE};
    uint8_t *block = ring_block(world, position);
    memset(block, 0, BLOCK_BYTES);
    format_block_init(block, &is);
    format_block_seal(block, version);
}

// One record at the head, sealed behind `chain`; false if the ring is full.
static bool write_record(struct log_world *world, struct fuzz_script *script, uint64_t sequence,
                         uint32_t *chain)
{
    struct journal_record record = {.sequence = sequence,
                                    .position = world->ring.head,
                                    .image_count = fuzz_take_byte(script) % ENTRIES_MAX,
                                    .retire_count = fuzz_take_byte(script) % ENTRIES_MAX,
                                    .revoke_count = fuzz_take_byte(script) % ENTRIES_MAX};
    uint64_t blocks =
        journal_record_blocks(record.image_count, record.retire_count, record.revoke_count);
    if (blocks > journal_ring_free(&world->ring))
        return false;
    uint8_t *bytes = ring_block(world, record.position);
    journal_record_begin(bytes, &record, &world->identity);
    for (uint32_t i = 0; i < record.image_count; i++) {
        uint64_t position = record.position + record.header_block_count + i;
        struct journal_tag tag = {.address = FIRST_HOME + fuzz_take_byte(script) % 16,
                                  .version = 1 + (uint64_t)fuzz_take_byte(script),
                                  .lock = {LOCK_TYPE, fuzz_take_byte(script) % 4}};
        write_image(world, position, tag.address, tag.version);
        tag.checksum = crc32c(0, ring_block(world, position), BLOCK_BYTES);
        journal_record_set_tag(bytes, &record, i, &tag);
    }
    for (uint32_t i = 0; i < record.retire_count; i++)
        journal_record_set_retire(bytes, &record, i,
                                  (struct lock_name){LOCK_TYPE, fuzz_take_byte(script) % 4});
    for (uint32_t i = 0; i < record.revoke_count; i++)
        journal_record_set_revoke(bytes, &record, i, FIRST_HOME + fuzz_take_byte(script) % 16);
    *chain = journal_record_seal(bytes, &record, &world->identity, *chain);
    journal_ring_append(&world->ring, (uint32_t)blocks);
    return true;
}

static void spoil(struct log_world *world, struct fuzz_script *script)
{
    while (script->left > 0) {
        uint32_t block = fuzz_take_byte(script) % JOURNAL_BLOCKS_MIN;
        uint32_t offset = fuzz_take_u16(script) % BLOCK_BYTES;
        block_at(world, JOURNAL_START + block)[offset] = fuzz_take_byte(script);
    }
}

// Blocks that were spoilt into something else stay so.
static void reseal_block(uint8_t *block, uint64_t version)
{
    if (le32_get(((const struct block_header_disk *)block)->magic) == BLOCK_MAGIC)
        format_block_seal(block, version);
}

static void reseal_image(struct log_world *world, uint8_t *header, struct journal_record *record,
                         uint32_t index)
{
    uint8_t *image = ring_block(world, record->position + record->header_block_count + index);
    struct journal_tag tag = journal_record_tag(header, record, index);
    struct block_header_disk *disk = (struct block_header_disk *)image;
    disk->address = le64_make(tag.address);
    reseal_block(image, tag.version);
    tag.checksum = crc32c(0, image, BLOCK_BYTES);
    journal_record_set_tag(header, record, index, &tag);
}

static void reseal_headers(struct log_world *world)
{
    for (unsigned copy = 0; copy < JOURNAL_HEADER_COPIES; copy++)
        reseal_block(block_at(world, JOURNAL_START + copy), 1);
}

// Along the records as a reader takes them, with whatever counts they have now. A header of more
// than one block may wrap in the ring, so it is put together before it is sealed.
static void reseal(struct log_world *world)
{
    struct journal_ring *ring = &world->ring;
    uint64_t position = ring->tail, sequence = world->header.tail_sequence;
    uint32_t chain = world->header.tail_chain;
    uint8_t *header = malloc((size_t)ring->block_count * BLOCK_BYTES);
    CHECK(header != NULL);
    while (position < ring->tail + ring->block_count) {
        struct journal_record record;
        uint32_t left = (uint32_t)(ring->tail + ring->block_count - position);
        if (!journal_record_decode(ring_block(world, position), &world->identity, sequence,
                                   position, left, &record))
            break;
        for (uint32_t i = 0; i < record.header_block_count; i++)
            memcpy(header + (size_t)i * BLOCK_BYTES, ring_block(world, position + i), BLOCK_BYTES);
        for (uint32_t i = 0; i < record.image_count; i++)
            reseal_image(world, header, &record, i);
        chain = journal_record_seal(header, &record, &world->identity, chain);
        for (uint32_t i = 0; i < record.header_block_count; i++)
            memcpy(ring_block(world, position + i), header + (size_t)i * BLOCK_BYTES, BLOCK_BYTES);
        position += record.header_block_count + record.image_count;
        sequence++;
    }
    free(header);
}

static void write_log(struct log_world *world, const uint8_t *bytes, size_t length)
{
    struct fuzz_script script = {bytes, length};
    uint8_t flags = length > 0 ? bytes[0] : 0;
    write_header(world, &script);
    uint32_t chain = world->header.tail_chain;
    unsigned count = fuzz_take_byte(&script) % (RECORDS_MAX + 1);
    for (unsigned i = 0; i < count; i++) {
        if (!write_record(world, &script, world->header.tail_sequence + i, &chain))
            break;
    }
    spoil(world, &script);
    if ((flags & IS_RESEALED) != 0) {
        reseal_headers(world);
        reseal(world);
    }
}

// --- reading it ------------------------------------------------------------------------------

static void check_scan(struct log_world *world)
{
    struct journal_scan scan;
    if (journal_scan(&world->config, 1, &scan) != 0)
        return;
    for (size_t i = 0; i < scan.image_count; i++) {
        const struct journal_image *image = &scan.images[i];
        CHECK(i == 0 || image->address > scan.images[i - 1].address);
        CHECK(image->block >= world->ring.start_block &&
              image->block < world->ring.start_block + world->ring.block_count);
    }
    if (scan.dirty_count > 0 && scan.image_count < scan.scanned_count)
        world->reached |= 1u << MARK_DEAD;
    journal_scan_deinit(&scan);
}

static void check_replay(struct log_world *world)
{
    const size_t size = (size_t)LUN_BLOCKS * BLOCK_BYTES;
    struct journal_replay_report report = {0}, second = {0};
    uint8_t *before = malloc(size);
    CHECK(before != NULL);
    memcpy(before, world->lun.bytes, size);
    if (journal_replay(&world->config, 1, &report) != 0) {
        world->reached |= 1u << MARK_REFUSED;
        CHECK(memcmp(before, world->lun.bytes, size) == 0);
    } else {
        world->reached |= report.dirty_count == 0 ? 1u << MARK_CLEAN : 1u << MARK_REPLAYED;
        world->reached |= report.written_count > 0 ? 1u << MARK_WRITTEN : 0;
        memcpy(before, world->lun.bytes, size);
        CHECK(journal_replay(&world->config, 1, &second) == 0 && second.dirty_count == 0);
        CHECK(memcmp(before, world->lun.bytes, size) == 0);
    }
    free(before);
}

static uint64_t run(const uint8_t *bytes, size_t length)
{
    struct log_world world = {
        .lun = {.device = {.operations = &lun_operations,
                           .size_bytes = (uint64_t)LUN_BLOCKS * BLOCK_BYTES,
                           .sector_bytes = BLOCK_BYTES,
                           .name = "memory"},
                .bytes = block_buffer_new((size_t)LUN_BLOCKS * BLOCK_BYTES)},
        .environment = environment_tool_new(),
    };
    log_init_null(&world.log);
    memcpy(world.context.format_id, "a volume to fuzz", 16);
    memcpy(world.identity.format_id, "a volume to fuzz", 16);
    world.config = (struct journal_config){
        .device = &world.lun.device,
        .environment = world.environment,
        .log = &world.log,
        .clock = &world.clock,
        .callbacks = &journal_format_callbacks,
        .context = &world.context,
        .start_block = JOURNAL_START,
        .block_count = JOURNAL_BLOCKS_MIN,
    };
    memcpy(world.config.format_id, "a volume to fuzz", 16);
    write_log(&world, bytes, length);
    check_scan(&world);
    check_replay(&world);
    environment_tool_free(world.environment);
    free(world.lun.bytes);
    return world.reached;
}

// --- seeds -----------------------------------------------------------------------------------

static size_t seed(unsigned number, uint8_t *bytes)
{
    // header: flags, tail, sequence, chain, version · records: images, retires, revokes, entries
    static const uint8_t scripts[][32] = {
        {IS_CLEAN, 0, 0, 0, 0, 0, 0, 0},
        {0, 5, 0, 7, 1, 2, 3, 1, 1, 0, 0, 3, 9, 1},
        // An image, then a revoke of it, then another one under a lock that is retired.
        {HAS_SECOND_COPY, 28, 0, 1, 0, 0, 0, 3, 1, 0, 0, 3, 9, 1, 1, 0, 1, 4, 9, 2, 3, 0, 1, 0, 2},
        // The second image of two is spoilt and another record follows: the medium has lost it.
        {0, 0, 0, 0, 0, 0, 0, 2, 2, 0, 0, 1, 2, 1, 2, 2, 1, 1, 0, 0, 3, 3, 3, 4, 100, 0, 77},
        {IS_RESEALED, 0, 0, 0, 0, 0, 0, 1, 1, 0, 0, 1, 2, 1, 3, 100, 0, 77},
        // The address of an image's tag: behind the end of the LUN; so far that it overflows.
        {IS_RESEALED, 0, 0, 0, 0, 0, 0, 1, 1, 0, 0, 1, 2, 1, 2, 129, 0, 1},
        {IS_RESEALED, 0, 0, 0, 0, 0, 0, 1, 1, 0, 0, 1, 2, 1, 2, 135, 0, 255},
    };
    static const uint8_t lengths[] = {8, 14, 25, 27, 18, 18, 18};
    if (number >= sizeof(lengths))
        return 0;
    memcpy(bytes, scripts[number], lengths[number]);
    return lengths[number];
}

const struct fuzz_target fuzz_target = {"journal", run, seed, marks};
