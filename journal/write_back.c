// SPDX-License-Identifier: Apache-2.0
// Writing committed blocks in place. A block is copied when its write is submitted, so handles may
// change it meanwhile; it stays dirty until the flush behind the writes is done, and after that,
// too, if a newer image of it was committed in between.
//
//   block dirty in T1 ──added──copied──written──────flushed──► clean
//                                  └ changed, committed in T2 ──► dirty in T2, which holds the tail
//
// What is not committed content any more when its turn to be copied comes is skipped.
#include <stdlib.h>
#include <string.h>

#include "fs/base/check.h"
#include "fs/base/error.h"
#include "fs/base/memory.h"
#include "fs/base/sabotage.h"
#include "journal/state.h"

enum { CHUNKS_IN_FLIGHT = 4 };

struct journal_write_back *journal_write_back_new(struct journal *journal)
{
    struct journal_write_back *write_back = TAILQ_FIRST(&journal->free_write_backs);
    if (write_back != NULL) {
        TAILQ_REMOVE(&journal->free_write_backs, write_back, link);
        CHECK(write_back->count == 0);
        return write_back;
    }
    write_back = calloc(1, sizeof(*write_back));
    CHECK(write_back != NULL);
    return write_back;
}

void journal_write_back_add(struct journal_write_back *write_back, struct journal_block *block)
{
    CHECK(journal_block_can_write_back(block));
    if (write_back->count == write_back->capacity) {
        write_back->capacity = write_back->capacity == 0 ? 64 : write_back->capacity * 2;
        write_back->entries =
            memory_resize(write_back->entries, write_back->capacity, sizeof(*write_back->entries));
    }
    journal_block_start_write_back(block);
    write_back->entries[write_back->count++] =
        (struct journal_write_back_entry){.block = block, .dirty = block->dirty};
}

static int compare_addresses(const void *left, const void *right)
{
    uint64_t a = ((const struct journal_write_back_entry *)left)->block->address;
    uint64_t b = ((const struct journal_write_back_entry *)right)->block->address;
    return (a > b) - (a < b);
}

// --- copying and submitting ----------------------------------------------------------------------

// Changed, committed again or freed since it was added.
static bool must_skip(const struct journal_write_back_entry *entry)
{
    const struct journal_block *block = entry->block;
    if (SABOTAGE(journal_write_back_uncommitted))
        return block->freed_by != NULL;
    return block->dirty != entry->dirty || block->running != NULL || block->committing != NULL ||
           block->freed_by != NULL;
}

// One chunk being filled: runs of neighbouring blocks become one request each.
struct chunk_filler {
    struct journal_io_group *group;
    struct journal_chunk *chunk;
    uint32_t request_count;
    uint32_t block_count; // copied
    uint32_t run_start;   // index of the first block of the open run
    uint64_t run_address;
};

static void submit_run(struct chunk_filler *filler)
{
    uint32_t count = filler->block_count - filler->run_start;
    if (count == 0)
        return;
    journal_io_submit(filler->group, &filler->chunk->requests[filler->request_count++], BLOCK_WRITE,
                      filler->run_address, count,
                      filler->chunk->bytes + (size_t)filler->run_start * BLOCK_BYTES);
    filler->run_start = filler->block_count;
}

static void copy_block(struct chunk_filler *filler, const struct journal_block *block)
{
    uint32_t length = filler->block_count - filler->run_start;
    if (length > 0 && block->address != filler->run_address + length)
        submit_run(filler);
    if (filler->block_count == filler->run_start)
        filler->run_address = block->address;
    memcpy(filler->chunk->bytes + (size_t)filler->block_count * BLOCK_BYTES, block->bytes,
           BLOCK_BYTES);
    filler->block_count++;
}

// Fills and submits one chunk from entry `next` on; returns the entry behind.
static size_t submit_chunk(struct journal_write_back *write_back, size_t next,
                           struct journal_io_group *group, struct journal_chunk *chunk)
{
    struct chunk_filler filler = {.group = group, .chunk = chunk};
    for (; next < write_back->count && filler.block_count < JOURNAL_CHUNK_BLOCKS; next++) {
        struct journal_write_back_entry *entry = &write_back->entries[next];
        if (must_skip(entry))
            entry->dirty = NULL;
        else
            copy_block(&filler, entry->block);
    }
    submit_run(&filler);
    return next;
}

// Writes a few chunks and waits for them.
static int write_some(struct journal *journal, struct journal_write_back *write_back, size_t *next)
{
    struct journal_chunk *chunks[CHUNKS_IN_FLIGHT];
    struct journal_io_group group;
    uint32_t count = 0;
    journal_io_init(&group, journal->config.device, journal->scheduler);
    while (count < CHUNKS_IN_FLIGHT && *next < write_back->count) {
        chunks[count] = journal_pool_get_chunk(&journal->pool);
        *next = submit_chunk(write_back, *next, &group, chunks[count++]);
    }
    int result = journal_io_wait(&group);
    for (uint32_t i = 0; i < count; i++)
        journal_pool_put_chunk(&journal->pool, chunks[i]);
    return result;
}

static int write_all(struct journal *journal, struct journal_write_back *write_back)
{
    int result = 0;
    for (size_t next = 0; next < write_back->count && result == 0;) {
        if (journal->is_failed)
            return -ERROR_JOURNAL_FAILED;
        result = write_some(journal, write_back, &next);
    }
    return result;
}

// --- the end -------------------------------------------------------------------------------------

// `is_in_place`: all writes are flushed.
static void settle(struct journal *journal, struct journal_write_back *write_back, bool is_in_place)
{
    for (size_t i = 0; i < write_back->count; i++) {
        struct journal_write_back_entry *entry = &write_back->entries[i];
        struct journal_block *block = entry->block;
        bool is_written = is_in_place && entry->dirty != NULL;
        if (is_written)
            journal->counts.write_back_count++;
        if (is_written && block->dirty == entry->dirty)
            journal_block_become_clean(journal, block);
        journal_block_end_write_back(journal, block);
    }
    write_back->count = 0;
    TAILQ_INSERT_HEAD(&journal->free_write_backs, write_back, link);
    wait_queue_wake_all(journal->scheduler, &journal->write_back_done);
}

int journal_write_back_run(struct journal *journal, struct journal_write_back *write_back)
{
    if (write_back->count == 0) {
        TAILQ_INSERT_HEAD(&journal->free_write_backs, write_back, link);
        return journal->is_failed ? -ERROR_JOURNAL_FAILED : 0;
    }
    if (write_back->count > 1)
        qsort(write_back->entries, write_back->count, sizeof(*write_back->entries),
              compare_addresses);
    int result = write_all(journal, write_back);
    if (result == 0 && !journal->is_failed && !SABOTAGE(journal_tail_before_flush))
        result = journal_barrier_flush(&journal->barrier);
    settle(journal, write_back, result == 0 && !journal->is_failed);
    if (result < 0)
        journal_fail(journal, result, "a block in place");
    return journal->is_failed ? -ERROR_JOURNAL_FAILED : 0;
}
