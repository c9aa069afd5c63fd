// SPDX-License-Identifier: Apache-2.0
#include "fsck/chunk_cache.h"

#include <pthread.h>
#include <stdlib.h>

#include "fs/base/check.h"

enum {
    CHUNK_COUNT = 4 * CHUNK_CACHE_AHEAD, // 16 MiB
    THREADS = 16,                        // reads on their way
    THREAD_STACK_BYTES = 128 << 10,
};

enum chunk_state { CHUNK_EMPTY, CHUNK_QUEUED, CHUNK_READING, CHUNK_READY };

struct chunk {
    enum chunk_state state;
    uint64_t number;
    uint64_t used_at; // or expected; 0: never
    uint8_t *bytes;
    uint32_t next; // in the queue: index + 1
};

struct chunk_cache {
    struct block_device *device;
    struct scheduler *scheduler;
    uint64_t numbers[CHUNK_COUNT]; // of the chunks, and one more; 0: none. The checker's
    struct chunk chunks[CHUNK_COUNT];
    uint64_t uses;
    bool has_threads, is_ending;
    pthread_t threads[THREADS];
    unsigned thread_count; // that could be started
    pthread_mutex_t mutex; // of states and queue
    pthread_cond_t queued, read;
    uint32_t first, last; // of the queue: index + 1; 0: none
};

static int read_chunk(const struct chunk_cache *cache, struct scheduler *scheduler,
                      const struct chunk *chunk)
{
    uint64_t first = chunk->number * CHUNK_CACHE_BLOCKS;
    uint64_t rest = cache->device->size_bytes / BLOCK_BYTES - first;
    uint64_t count = rest < CHUNK_CACHE_BLOCKS ? rest : CHUNK_CACHE_BLOCKS;
    return block_device_read(cache->device, scheduler, first * BLOCK_BYTES, chunk->bytes,
                             count * BLOCK_BYTES);
}

// --- threads: the mutex is held, but while one reads ---------------------------------------------

static struct chunk *take_queued(struct chunk_cache *cache)
{
    while (cache->first == 0 && !cache->is_ending)
        pthread_cond_wait(&cache->queued, &cache->mutex);
    if (cache->is_ending)
        return NULL;
    struct chunk *chunk = &cache->chunks[cache->first - 1];
    cache->first = chunk->next;
    if (cache->first == 0)
        cache->last = 0;
    chunk->state = CHUNK_READING;
    return chunk;
}

// What cannot be read is read once more by the checker, who says so.
static void *read_ahead(void *argument)
{
    struct chunk_cache *cache = argument;
    struct chunk *chunk;
    pthread_mutex_lock(&cache->mutex);
    while ((chunk = take_queued(cache)) != NULL) {
        pthread_mutex_unlock(&cache->mutex);
        int result = read_chunk(cache, NULL, chunk);
        pthread_mutex_lock(&cache->mutex);
        chunk->state = result == 0 ? CHUNK_READY : CHUNK_EMPTY;
        pthread_cond_broadcast(&cache->read);
    }
    pthread_mutex_unlock(&cache->mutex);
    return NULL;
}

// Fewer than wanted serve as well, and none too.
static void start_threads(struct chunk_cache *cache)
{
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, THREAD_STACK_BYTES);
    while (cache->thread_count < THREADS && pthread_create(&cache->threads[cache->thread_count],
                                                           &attributes, read_ahead, cache) == 0)
        cache->thread_count++;
    pthread_attr_destroy(&attributes);
    cache->has_threads = cache->thread_count > 0;
}

static void end_threads(struct chunk_cache *cache)
{
    pthread_mutex_lock(&cache->mutex);
    cache->is_ending = true;
    pthread_cond_broadcast(&cache->queued);
    pthread_mutex_unlock(&cache->mutex);
    for (unsigned i = 0; i < cache->thread_count; i++)
        pthread_join(cache->threads[i], NULL);
}

// --- the checker's -------------------------------------------------------------------------------

struct chunk_cache *chunk_cache_new(struct block_device *device, struct scheduler *scheduler,
                                    bool has_threads)
{
    struct chunk_cache *cache = calloc(1, sizeof(*cache));
    CHECK(cache != NULL);
    cache->device = device;
    cache->scheduler = scheduler;
    pthread_mutex_init(&cache->mutex, NULL);
    pthread_cond_init(&cache->queued, NULL);
    pthread_cond_init(&cache->read, NULL);
    if (has_threads)
        start_threads(cache);
    return cache;
}

void chunk_cache_free(struct chunk_cache *cache)
{
    end_threads(cache);
    for (unsigned i = 0; i < CHUNK_COUNT; i++)
        free(cache->chunks[i].bytes);
    pthread_cond_destroy(&cache->read);
    pthread_cond_destroy(&cache->queued);
    pthread_mutex_destroy(&cache->mutex);
    free(cache);
}

static struct chunk *place_of(struct chunk_cache *cache, uint64_t number)
{
    for (unsigned i = 0; i < CHUNK_COUNT; i++) {
        if (cache->numbers[i] == number + 1)
            return &cache->chunks[i];
    }
    return NULL;
}

// The place that was not used for the longest time; what is expected is younger than what was used
// before it, and fewer than all places are on their way. The mutex is held if there are threads.
static struct chunk *set_aside(struct chunk_cache *cache, uint64_t number)
{
    struct chunk *oldest = NULL;
    for (unsigned i = 0; i < CHUNK_COUNT; i++) {
        struct chunk *chunk = &cache->chunks[i];
        bool is_free = chunk->state == CHUNK_EMPTY || chunk->state == CHUNK_READY;
        if (is_free && (oldest == NULL || chunk->used_at < oldest->used_at))
            oldest = chunk;
    }
    if (oldest == NULL)
        return NULL;
    if (oldest->bytes == NULL)
        oldest->bytes = block_buffer_new((size_t)CHUNK_CACHE_BLOCKS * BLOCK_BYTES);
    oldest->state = CHUNK_EMPTY;
    oldest->number = number;
    oldest->used_at = ++cache->uses;
    cache->numbers[oldest - cache->chunks] = number + 1;
    return oldest;
}

// The place of a chunk, when no thread is at it; one that may be filled if it had none.
static struct chunk *wait_for(struct chunk_cache *cache, uint64_t number)
{
    struct chunk *chunk = place_of(cache, number);
    pthread_mutex_lock(&cache->mutex);
    while (chunk == NULL && (chunk = set_aside(cache, number)) == NULL)
        pthread_cond_wait(&cache->read, &cache->mutex);
    while (chunk->state == CHUNK_QUEUED || chunk->state == CHUNK_READING)
        pthread_cond_wait(&cache->read, &cache->mutex);
    pthread_mutex_unlock(&cache->mutex);
    chunk->used_at = ++cache->uses;
    return chunk;
}

const uint8_t *chunk_cache_find(struct chunk_cache *cache, uint64_t block)
{
    struct chunk *chunk = wait_for(cache, block / CHUNK_CACHE_BLOCKS);
    if (chunk->state == CHUNK_EMPTY) { // no thread looks at a place that is not queued
        if (read_chunk(cache, cache->scheduler, chunk) < 0)
            return NULL;
        chunk->state = CHUNK_READY;
    }
    return chunk->bytes + (block % CHUNK_CACHE_BLOCKS) * BLOCK_BYTES;
}

static void enqueue(struct chunk_cache *cache, struct chunk *chunk)
{
    uint32_t index = (uint32_t)(chunk - cache->chunks) + 1;
    chunk->state = CHUNK_QUEUED;
    chunk->next = 0;
    if (cache->last != 0)
        cache->chunks[cache->last - 1].next = index;
    else
        cache->first = index;
    cache->last = index;
    pthread_cond_signal(&cache->queued);
}

void chunk_cache_expect(struct chunk_cache *cache, uint64_t block)
{
    uint64_t number = block / CHUNK_CACHE_BLOCKS;
    if (!cache->has_threads || block >= cache->device->size_bytes / BLOCK_BYTES)
        return;
    struct chunk *chunk = place_of(cache, number);
    if (chunk != NULL) {
        chunk->used_at = ++cache->uses;
        return;
    }
    pthread_mutex_lock(&cache->mutex);
    chunk = set_aside(cache, number);
    if (chunk != NULL)
        enqueue(cache, chunk);
    pthread_mutex_unlock(&cache->mutex);
}
