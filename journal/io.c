// SPDX-License-Identifier: Apache-2.0
#include "journal/io.h"

#include <stdlib.h>

#include "fs/base/check.h"

// --- groups of requests ------------------------------------------------------------------------

void journal_io_init(struct journal_io_group *group, struct block_device *device,
                     struct scheduler *scheduler)
{
    *group = (struct journal_io_group){.device = device, .scheduler = scheduler};
}

static void request_complete(struct block_request *request, int result)
{
    struct journal_io_group *group = request->context;
    CHECK(group->pending > 0);
    group->pending--;
    if (result < 0 && group->result == 0)
        group->result = result;
    if (group->pending == 0 && group->waiting != NULL)
        coroutine_wake(group->scheduler, group->waiting);
}

void journal_io_submit(struct journal_io_group *group, struct block_request *request,
                       enum block_operation operation, uint64_t block, uint32_t block_count,
                       void *bytes)
{
    *request = (struct block_request){
        .operation = operation,
        .offset = block * BLOCK_BYTES,
        .length = (size_t)block_count * BLOCK_BYTES,
        .buffer = bytes,
        .complete = request_complete,
        .context = group,
    };
    group->pending++;
    block_device_submit(group->device, request);
}

int journal_io_wait(struct journal_io_group *group)
{
    if (group->pending > 0) {
        group->waiting = coroutine_current(group->scheduler);
        CHECK(group->waiting != NULL);
        coroutine_wait(group->scheduler);
        group->waiting = NULL;
    }
    CHECK(group->pending == 0);
    return group->result;
}

void journal_pause(struct scheduler *scheduler)
{
    if (coroutine_current(scheduler) != NULL)
        coroutine_pause(scheduler);
}

// --- the durability barrier ----------------------------------------------------------------------

void journal_barrier_init(struct journal_barrier *barrier, struct block_device *device,
                          struct scheduler *scheduler)
{
    *barrier = (struct journal_barrier){.device = device, .scheduler = scheduler};
    wait_queue_init(&barrier->done);
}

uint64_t journal_barrier_ticket(const struct journal_barrier *barrier)
{
    return barrier->submitted + 1;
}

static void flush_once(struct journal_barrier *barrier)
{
    barrier->submitted++;
    int result = block_device_flush(barrier->device, barrier->scheduler);
    if (result < 0 && barrier->result == 0)
        barrier->result = result;
    barrier->completed = barrier->submitted;
    wait_queue_wake_all(barrier->scheduler, &barrier->done);
}

int journal_barrier_reach(struct journal_barrier *barrier, uint64_t ticket)
{
    CHECK(ticket <= journal_barrier_ticket(barrier));
    while (barrier->completed < ticket && barrier->result == 0) {
        if (barrier->submitted == barrier->completed)
            flush_once(barrier);
        else
            wait_queue_wait(barrier->scheduler, &barrier->done);
    }
    return barrier->result;
}

int journal_barrier_flush(struct journal_barrier *barrier)
{
    return journal_barrier_reach(barrier, journal_barrier_ticket(barrier));
}

// --- pools ---------------------------------------------------------------------------------------

void journal_pool_init(struct journal_pool *pool)
{
    TAILQ_INIT(&pool->chunks);
    SLIST_INIT(&pool->blocks);
}

void journal_pool_deinit(struct journal_pool *pool)
{
    struct journal_chunk *chunk;
    while ((chunk = TAILQ_FIRST(&pool->chunks)) != NULL) {
        TAILQ_REMOVE(&pool->chunks, chunk, link);
        free(chunk->bytes);
        free(chunk);
    }
    struct journal_free_block *block;
    while ((block = SLIST_FIRST(&pool->blocks)) != NULL) {
        SLIST_REMOVE_HEAD(&pool->blocks, link);
        free(block);
    }
}

struct journal_chunk *journal_pool_get_chunk(struct journal_pool *pool)
{
    struct journal_chunk *chunk = TAILQ_FIRST(&pool->chunks);
    if (chunk != NULL) {
        TAILQ_REMOVE(&pool->chunks, chunk, link);
        return chunk;
    }
    chunk = calloc(1, sizeof(*chunk));
    CHECK(chunk != NULL);
    chunk->bytes = aligned_alloc(BUFFER_ALIGNMENT, (size_t)JOURNAL_CHUNK_BLOCKS * BLOCK_BYTES);
    CHECK(chunk->bytes != NULL);
    return chunk;
}

void journal_pool_put_chunk(struct journal_pool *pool, struct journal_chunk *chunk)
{
    TAILQ_INSERT_HEAD(&pool->chunks, chunk, link);
}

uint8_t *journal_pool_get_block(struct journal_pool *pool)
{
    struct journal_free_block *block = SLIST_FIRST(&pool->blocks);
    if (block != NULL) {
        SLIST_REMOVE_HEAD(&pool->blocks, link);
        return (uint8_t *)block;
    }
    uint8_t *bytes = malloc(BLOCK_BYTES);
    CHECK(bytes != NULL);
    return bytes;
}

void journal_pool_put_block(struct journal_pool *pool, uint8_t *bytes)
{
    struct journal_free_block *block = (struct journal_free_block *)bytes;
    SLIST_INSERT_HEAD(&pool->blocks, block, link);
}
