// SPDX-License-Identifier: Apache-2.0
// Writing one record: the images are sealed and copied, the chain continued, the record submitted
// as one group, and the device flushed. Nothing of it needs memory that is not pooled.
//
//   copy images ─► [data of new extents flushed] ─► record submitted ─► completed ─► flushed
//        └ from here handles go on                                                    └ durable
#include <string.h>

#include "fs/base/check.h"
#include "fs/base/crc32c.h"
#include "fs/base/error.h"
#include "fs/base/sabotage.h"
#include "journal/state.h"

enum {
    RETIRES_PER_RECORD_MAX = 1024,
    CHUNKS_MAX = 128,        // 8192 blocks: the largest transaction and its header blocks
    BLOCKS_BEFORE_PAUSE = 64 // sealing and copying so many takes a tenth of a millisecond
};

struct record_writer {
    struct journal *journal;
    struct journal_transaction *transaction;
    struct journal_record record;
    uint32_t block_count;
    struct journal_chunk *chunks[CHUNKS_MAX];
    uint32_t chunk_count;
};

static uint8_t *block_bytes(const struct record_writer *writer, uint32_t index)
{
    struct journal_chunk *chunk = writer->chunks[index / JOURNAL_CHUNK_BLOCKS];
    return chunk->bytes + (size_t)(index % JOURNAL_CHUNK_BLOCKS) * BLOCK_BYTES;
}

// The header blocks lie in one piece: they always fit in the first chunk.
static uint8_t *header_bytes(const struct record_writer *writer)
{
    return writer->chunks[0]->bytes;
}

// --- building ----------------------------------------------------------------------------------

// As many wanted retires as there is room for beside the images and revokes.
static uint32_t count_retires(const struct journal *journal, const struct record_writer *writer)
{
    const struct journal_record *record = &writer->record;
    uint64_t room = journal_ring_free(&journal->ring);
    uint64_t running = journal_running_blocks(journal, 0);
    uint32_t count = journal->retire_wanted_count;
    if (count > RETIRES_PER_RECORD_MAX)
        count = RETIRES_PER_RECORD_MAX;
    while (count > 0 &&
           journal_record_blocks(record->image_count, count, record->revoke_count) + running > room)
        count--;
    return count;
}

static void start(struct record_writer *writer, struct journal *journal,
                  struct journal_transaction *transaction)
{
    *writer = (struct record_writer){.journal = journal, .transaction = transaction};
    struct journal_record *record = &writer->record;
    record->sequence = journal->next_sequence++;
    record->position = journal->ring.head;
    record->image_count = transaction->block_count;
    record->revoke_count = SABOTAGE(journal_skip_revoke) ? 0 : transaction->revoke_count;
    record->retire_count = count_retires(journal, writer);
    writer->block_count = (uint32_t)journal_record_blocks(record->image_count, record->retire_count,
                                                          record->revoke_count);
    journal_ring_append(&journal->ring, writer->block_count);

    transaction->sequence = record->sequence;
    transaction->position = record->position;
    transaction->block_length = writer->block_count;
    transaction->chain_before = journal->next_chain;
    TAILQ_INSERT_TAIL(&journal->log, transaction, link);
}

static void take_chunks(struct record_writer *writer)
{
    writer->chunk_count = (writer->block_count + JOURNAL_CHUNK_BLOCKS - 1) / JOURNAL_CHUNK_BLOCKS;
    CHECK(writer->chunk_count <= CHUNKS_MAX);
    for (uint32_t i = 0; i < writer->chunk_count; i++)
        writer->chunks[i] = journal_pool_get_chunk(&writer->journal->pool);
}

static void give_chunks_back(struct record_writer *writer)
{
    for (uint32_t i = 0; i < writer->chunk_count; i++)
        journal_pool_put_chunk(&writer->journal->pool, writer->chunks[i]);
}

static void put_retires(struct record_writer *writer)
{
    struct journal *journal = writer->journal;
    for (uint32_t i = 0; i < writer->record.retire_count; i++) {
        struct journal_lock *lock = TAILQ_FIRST(&journal->retires_wanted);
        TAILQ_REMOVE(&journal->retires_wanted, lock, retires);
        journal->retire_wanted_count--;
        TAILQ_INSERT_TAIL(&journal->retires_in_flight, lock, retires);
        lock->is_retire_wanted = false;
        lock->is_retire_in_flight = true;
        journal_record_set_retire(header_bytes(writer), &writer->record, i, lock->name);
    }
}

static void put_revokes(struct record_writer *writer)
{
    for (uint32_t i = 0; i < writer->record.revoke_count; i++)
        journal_record_set_revoke(header_bytes(writer), &writer->record, i,
                                  writer->transaction->revokes[i]);
}

// The live block gets the version too, so that what is written in place later is the same.
static uint64_t seal_block(struct journal *journal, struct journal_block *block)
{
    const struct journal_config *config = &journal->config;
    lamport_observe(config->clock, config->callbacks->version(config->context, block->bytes));
    uint64_t version = lamport_tick(config->clock);
    config->callbacks->seal(config->context, block->bytes, version);
    return version;
}

static void put_image(struct record_writer *writer, struct journal_block *block, uint32_t index)
{
    struct journal *journal = writer->journal;
    uint8_t *copy = block_bytes(writer, writer->record.header_block_count + index);
    struct journal_tag tag = {
        .address = block->address,
        .version = seal_block(journal, block),
        .lock = block->lock,
    };
    memcpy(copy, block->bytes, BLOCK_BYTES);
    tag.checksum = crc32c(0, copy, BLOCK_BYTES);
    journal_record_set_tag(header_bytes(writer), &writer->record, index, &tag);
    journal_lock_note_image(journal, block->lock_state, writer->record.position);
    journal_block_start_commit(block);
}

static void put_images(struct record_writer *writer)
{
    struct journal_block *block;
    uint32_t index = 0;
    while ((block = TAILQ_FIRST(&writer->transaction->blocks)) != NULL) {
        put_image(writer, block, index++);
        if (index % BLOCKS_BEFORE_PAUSE == 0)
            coroutine_pause(writer->journal->scheduler);
    }
    CHECK(index == writer->record.image_count);
    writer->journal->counts.image_count += index;
}

static void seal(struct record_writer *writer)
{
    struct journal *journal = writer->journal;
    uint8_t *header = header_bytes(writer);
    journal_record_set_version_max(header, journal->config.clock->now);
    journal->next_chain = journal_record_seal(header, &writer->record, &journal->identity,
                                              writer->transaction->chain_before);
}

// --- writing -----------------------------------------------------------------------------------

static void submit_chunk(struct record_writer *writer, struct journal_io_group *group,
                         uint32_t index)
{
    struct journal_chunk *chunk = writer->chunks[index];
    uint32_t first = index * JOURNAL_CHUNK_BLOCKS;
    uint32_t left = writer->block_count - first;
    uint32_t count = left < JOURNAL_CHUNK_BLOCKS ? left : JOURNAL_CHUNK_BLOCKS;
    struct journal_span spans[2];
    uint32_t span_count =
        journal_ring_spans(&writer->journal->ring, writer->record.position + first, count, spans);
    uint8_t *bytes = chunk->bytes;
    for (uint32_t i = 0; i < span_count; i++) {
        journal_io_submit(group, &chunk->requests[i], BLOCK_WRITE, spans[i].block,
                          spans[i].block_count, bytes);
        bytes += (size_t)spans[i].block_count * BLOCK_BYTES;
    }
}

static int submit_and_wait(struct record_writer *writer)
{
    struct journal *journal = writer->journal;
    struct journal_io_group group;
    journal_io_init(&group, journal->config.device, journal->scheduler);
    for (uint32_t i = 0; i < writer->chunk_count; i++)
        submit_chunk(writer, &group, i);
    return journal_io_wait(&group);
}

// Rule 5, in three steps; a stopped journal takes none of them. Somebody else's flush since the
// data was written will do for the first.
static int make_durable(struct record_writer *writer)
{
    struct journal *journal = writer->journal;
    uint64_t data_flush = writer->transaction->data_flush;
    int result = 0;
    if (data_flush > 0 && !journal->is_failed && !SABOTAGE(journal_skip_data_flush))
        result = journal_barrier_reach(&journal->barrier, data_flush);
    if (result == 0 && !journal->is_failed)
        result = submit_and_wait(writer);
    if (result == 0 && !journal->is_failed && !SABOTAGE(journal_ack_before_flush))
        result = journal_barrier_flush(&journal->barrier);
    return journal->is_failed ? -ERROR_JOURNAL_FAILED : result;
}

// What the record says of locks is durable: no image before it is live under them.
static void finish_retires(struct journal *journal, uint64_t position)
{
    struct journal_lock *lock;
    while ((lock = TAILQ_FIRST(&journal->retires_in_flight)) != NULL) {
        TAILQ_REMOVE(&journal->retires_in_flight, lock, retires);
        lock->is_retire_in_flight = false;
        CHECK(lock->last_image_position < position);
        if (lock->has_images)
            journal_lock_clear_images(journal, lock);
        else
            journal_lock_release_if_idle(journal, lock);
    }
}

int journal_record_write(struct journal *journal, struct journal_transaction *transaction,
                         void (*sealed)(struct journal *journal))
{
    struct record_writer writer;
    start(&writer, journal, transaction);
    take_chunks(&writer);
    journal_record_begin(header_bytes(&writer), &writer.record, &journal->identity);
    put_retires(&writer);
    put_revokes(&writer);
    put_images(&writer);
    seal(&writer);
    if (sealed != NULL)
        sealed(journal);

    int result = make_durable(&writer);
    give_chunks_back(&writer);
    if (result == 0)
        finish_retires(journal, writer.record.position);
    return result;
}
