// SPDX-License-Identifier: Apache-2.0
#include "fsck/change_log.h"

#include <stdlib.h>
#include <string.h>

#include "fs/base/block_device.h"
#include "fs/base/check.h"
#include "fs/base/memory.h"

enum { BUCKETS_FIRST = 256 };

static void make_buckets(struct change_log *log, size_t count)
{
    free(log->buckets);
    log->bucket_count = count;
    log->buckets = calloc(count, sizeof(*log->buckets));
    CHECK(log->buckets != NULL);
}

void change_log_init(struct change_log *log)
{
    *log = (struct change_log){.count = 0};
    make_buckets(log, BUCKETS_FIRST);
}

void change_log_deinit(struct change_log *log)
{
    for (size_t i = 0; i < log->count; i++)
        free(log->changes[i].bytes);
    free(log->changes);
    free(log->buckets);
    *log = (struct change_log){.count = 0};
}

// The bucket of `block`, or the empty one where it would go. The table is never full.
static size_t bucket_of(const struct change_log *log, uint64_t block)
{
    size_t bucket = (size_t)(block * 0x9e3779b97f4a7c15u >> 20) & (log->bucket_count - 1);
    while (log->buckets[bucket] != 0 && log->changes[log->buckets[bucket] - 1].block != block)
        bucket = (bucket + 1) & (log->bucket_count - 1);
    return bucket;
}

static void make_room(struct change_log *log)
{
    CHECK(log->count < UINT32_MAX - 1);
    if (log->count == log->capacity) {
        log->capacity = log->capacity == 0 ? BUCKETS_FIRST : log->capacity * 2;
        log->changes = memory_resize(log->changes, log->capacity, sizeof(*log->changes));
    }
    if (log->count * 2 < log->bucket_count)
        return;
    make_buckets(log, log->bucket_count * 2);
    for (size_t i = 0; i < log->count; i++)
        log->buckets[bucket_of(log, log->changes[i].block)] = (uint32_t)i + 1;
}

void change_log_add(struct change_log *log, uint64_t block, const void *bytes)
{
    make_room(log);
    struct change *change = &log->changes[log->count++];
    *change = (struct change){
        .block = block, .epoch = log->epoch, .bytes = block_buffer_new(BLOCK_BYTES)};
    memcpy(change->bytes, bytes, BLOCK_BYTES);
    log->buckets[bucket_of(log, block)] = (uint32_t)log->count;
}

void change_log_barrier(struct change_log *log)
{
    if (log->count > 0 && log->changes[log->count - 1].epoch == log->epoch)
        log->epoch++;
}

const uint8_t *change_log_find(const struct change_log *log, uint64_t block)
{
    uint32_t index = log->count == 0 ? 0 : log->buckets[bucket_of(log, block)];
    return index == 0 ? NULL : log->changes[index - 1].bytes;
}
