// SPDX-License-Identifier: Apache-2.0
// What is where: every block that can be found is in `by_address` and in the list of its lock; an
// unreferenced one is in the LRU list, too. A detached block is in none of them and dies with its
// last reference, or once the journal is done with it (then `detached` keeps it until somebody
// looks).
#include "fs/cache.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/block_device.h"
#include "fs/base/check.h"
#include "fs/base/error.h"
#include "fs/base/lamport.h"
#include "fs/base/memory.h"
#include "fs/block_pool.h"

// A version that no clock reaches: whoever wrote it did not mean well, and taking note of it would
// leave no higher one to give out.
#define VERSION_MAX ((uint64_t)1 << 62)

enum {
    EVICTION_TRIES = 16, // of the oldest blocks, to find one that can go
    LINE_BYTES = 512,    // of a line about damage
};

TAILQ_HEAD(cache_list, cache_block);

struct cache_lock_key {
    uint64_t id;
    uint64_t type;
};

// The blocks of one lock; exists while it has any.
struct cache_lock {
    struct cache_lock_key key;
    LIST_HEAD(, cache_block) blocks;
    UT_hash_handle hash;
};

struct cache {
    struct cache_config config;
    struct block_pool pool; // the blocks' bytes
    struct cache_block *by_address;
    struct cache_lock *locks;
    struct cache_list lru;      // oldest first
    struct cache_list detached; // unreferenced, but the journal still needs them
    size_t block_count;         // that can be found
    size_t block_count_max;
    size_t referenced_count;
    uint64_t hit_count, miss_count, eviction_count, verify_failure_count;
};

struct cache *cache_new(const struct cache_config *config)
{
    struct cache *cache = memory_new(sizeof(*cache));
    cache->config = *config;
    size_t bytes = config->bytes_max != 0 ? config->bytes_max : CACHE_BYTES_DEFAULT;
    cache->block_count_max = bytes / BLOCK_BYTES;
    block_pool_init(&cache->pool);
    TAILQ_INIT(&cache->lru);
    TAILQ_INIT(&cache->detached);
    return cache;
}

// --- a block's memory ------------------------------------------------------------------------

static struct cache_block *block_new(struct cache *cache, const struct cache_identity *identity)
{
    struct cache_block *block = memory_new(sizeof(*block));
    block->bytes = block_pool_take(&cache->pool);
    block->address = identity->address;
    block->owner = identity->owner;
    block->type = identity->type;
    block->cache = cache;
    wait_queue_init(&block->loaded);
    journal_block_init(&block->journal, identity->address, identity->lock, block->bytes);
    return block;
}

static void block_free(struct cache_block *block)
{
    CHECK(block->references == 0 && block->is_detached);
    CHECK(wait_queue_is_empty(&block->loaded) && !journal_block_is_busy(&block->journal));
    block_pool_give(&block->cache->pool, block->bytes);
    free(block);
}

static struct cache_lock_key lock_key(struct lock_name name)
{
    return (struct cache_lock_key){.id = name.id, .type = name.type};
}

static struct cache_lock *lock_find(struct cache *cache, struct lock_name name)
{
    struct cache_lock_key key = lock_key(name);
    struct cache_lock *lock;
    HASH_FIND(hash, cache->locks, &key, sizeof(key), lock);
    return lock;
}

static struct cache_lock *lock_find_or_make(struct cache *cache, struct lock_name name)
{
    struct cache_lock *lock = lock_find(cache, name);
    if (lock != NULL)
        return lock;
    lock = memory_new(sizeof(*lock));
    lock->key = lock_key(name);
    LIST_INIT(&lock->blocks);
    HASH_ADD(hash, cache->locks, key, sizeof(lock->key), lock);
    return lock;
}

// Makes a new, referenced block findable.
static void block_attach(struct cache_block *block)
{
    struct cache *cache = block->cache;
    HASH_ADD(by_address, cache->by_address, address, sizeof(block->address), block);
    block->lock = lock_find_or_make(cache, block->journal.lock);
    LIST_INSERT_HEAD(&block->lock->blocks, block, lock_link);
    block->references = 1;
    cache->referenced_count++;
    cache->block_count++;
}

// The block is not found any more; frees it if nobody needs it.
static void block_detach(struct cache_block *block)
{
    struct cache *cache = block->cache;
    CHECK(!block->is_detached);
    block->is_detached = true;
    HASH_DELETE(by_address, cache->by_address, block);
    LIST_REMOVE(block, lock_link);
    if (LIST_EMPTY(&block->lock->blocks)) {
        HASH_DELETE(hash, cache->locks, block->lock);
        free(block->lock);
    }
    block->lock = NULL;
    cache->block_count--;
    if (block->references > 0)
        return;
    TAILQ_REMOVE(&cache->lru, block, lru_link);
    if (journal_block_is_busy(&block->journal))
        TAILQ_INSERT_TAIL(&cache->detached, block, lru_link);
    else
        block_free(block);
}

static void free_detached(struct cache *cache)
{
    struct cache_block *block, *next;
    for (block = TAILQ_FIRST(&cache->detached); block != NULL; block = next) {
        next = TAILQ_NEXT(block, lru_link);
        if (journal_block_is_busy(&block->journal))
            continue;
        TAILQ_REMOVE(&cache->detached, block, lru_link);
        block_free(block);
    }
}

void cache_free(struct cache *cache)
{
    CHECK(cache->referenced_count == 0);
    struct cache_block *block, *next;
    HASH_ITER (by_address, cache->by_address, block, next) {
        block_detach(block);
    }
    free_detached(cache);
    CHECK(TAILQ_EMPTY(&cache->detached));
    block_pool_end(&cache->pool);
    free(cache);
}

// --- references ------------------------------------------------------------------------------

// Created in a handle that was aborted: the bytes went back to zeros.
static bool block_is_void(const struct cache_block *block)
{
    const struct block_header_disk *header = (const struct block_header_disk *)block->bytes;
    return !block->is_loading && le32_get(header->magic) == 0;
}

static bool block_is_revoked(const struct cache_block *block)
{
    return block->journal.freed_by != NULL || block->journal.is_freed_by_handle;
}

static void reference_first(struct cache_block *block)
{
    TAILQ_REMOVE(&block->cache->lru, block, lru_link);
    block->cache->referenced_count++;
}

struct cache_block *cache_get(struct cache_block *block)
{
    if (block->references == 0)
        reference_first(block);
    block->references++;
    return block;
}

static bool evict_one(struct cache *cache)
{
    for (int i = 0; i < EVICTION_TRIES; i++) {
        struct cache_block *block = TAILQ_FIRST(&cache->lru);
        if (block == NULL)
            return false;
        if (!journal_block_is_busy(&block->journal)) {
            block_detach(block);
            cache->eviction_count++;
            return true;
        }
        TAILQ_REMOVE(&cache->lru, block, lru_link);
        TAILQ_INSERT_TAIL(&cache->lru, block, lru_link);
    }
    return false;
}

void cache_put(struct cache_block *block)
{
    struct cache *cache = block->cache;
    CHECK(block->references > 0);
    if (--block->references > 0)
        return;
    cache->referenced_count--;
    if (block->is_detached) {
        if (journal_block_is_busy(&block->journal))
            TAILQ_INSERT_TAIL(&cache->detached, block, lru_link);
        else
            block_free(block);
        return;
    }
    TAILQ_INSERT_TAIL(&cache->lru, block, lru_link);
    if (block_is_void(block) && !journal_block_is_busy(&block->journal))
        block_detach(block);
    while (cache->block_count > cache->block_count_max && evict_one(cache))
        ;
    if (!TAILQ_EMPTY(&cache->detached))
        free_detached(cache);
}

// --- reading ---------------------------------------------------------------------------------

int cache_report_damage(struct cache *cache, int error, const char *format, ...)
{
    CHECK(error_is_check(error));
    char line[LINE_BYTES];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof(line), format, arguments);
    va_end(arguments);
    log_error(cache->config.log, -error, "%s", line);
    if (cache->config.damaged != NULL)
        cache->config.damaged(cache->config.context);
    return error;
}

static void report_mismatch(struct cache *cache, const struct cache_identity *expected,
                            const void *bytes, int result)
{
    const struct block_header_disk *found = bytes;
    cache_report_damage(
        cache, result,
        "block %llu: %s: expected type %d of owner %llu, found magic %#x, type %u, owner %llu, "
        "address %llu",
        (unsigned long long)expected->address, error_text(result), (int)expected->type,
        (unsigned long long)expected->owner, le32_get(found->magic), le16_get(found->type),
        (unsigned long long)le64_get(found->owner), (unsigned long long)le64_get(found->address));
}

static int verify(struct cache *cache, const struct cache_identity *identity, const void *bytes)
{
    struct block_expectation expected = {
        .format_id = cache->config.format_id,
        .address = identity->address,
        .owner = identity->owner,
        .type = identity->type,
    };
    int result = format_block_verify(bytes, &expected);
    if (result == 0 && format_block_version(bytes) > VERSION_MAX)
        result = -ERROR_BLOCK_CONTENT;
    if (result == 0)
        lamport_observe(cache->config.clock, format_block_version(bytes));
    return result;
}

static int read_bytes(struct cache *cache, const struct cache_identity *identity, void *bytes)
{
    if (identity->address >= cache->config.block_count)
        return -ERROR_BLOCK_RANGE;
    int result = block_device_read(cache->config.device, cache->config.scheduler,
                                   identity->address * BLOCK_BYTES, bytes, BLOCK_BYTES);
    return result != 0 ? result : verify(cache, identity, bytes);
}

static void log_failure(struct cache *cache, const struct cache_identity *identity,
                        const void *bytes, int result)
{
    cache->verify_failure_count++;
    if (!error_is_check(result))
        log_error(cache->config.log, 0, "block %llu of owner %llu: %s",
                  (unsigned long long)identity->address, (unsigned long long)identity->owner,
                  error_text(result));
    else if (result == -ERROR_BLOCK_RANGE)
        cache_report_damage(cache, result, "block %llu of owner %llu: %s",
                            (unsigned long long)identity->address,
                            (unsigned long long)identity->owner, error_text(result));
    else
        report_mismatch(cache, identity, bytes, result);
}

// Others that want the block meanwhile wait for it and share the result.
static int load(struct cache *cache, const struct cache_identity *identity,
                struct cache_block **out)
{
    cache->miss_count++;
    struct cache_block *block = block_new(cache, identity);
    block_attach(block);
    block->is_loading = true;
    int result = read_bytes(cache, identity, block->bytes);
    block->is_loading = false;
    block->load_result = result;
    wait_queue_wake_all(cache->config.scheduler, &block->loaded);
    if (result == 0) {
        *out = block;
        return 0;
    }
    log_failure(cache, identity, block->bytes, result);
    if (!block->is_detached)
        block_detach(block);
    cache_put(block);
    return result;
}

static struct cache_block *find(struct cache *cache, uint64_t address)
{
    struct cache_block *block;
    HASH_FIND(by_address, cache->by_address, &address, sizeof(address), block);
    return block;
}

static bool block_is(const struct cache_block *block, const struct cache_identity *identity)
{
    return block->owner == identity->owner && block->type == identity->type &&
           lock_name_equal(block->journal.lock, identity->lock);
}

static int mismatch(struct cache *cache, const struct cache_identity *identity,
                    struct cache_block *block)
{
    int result = block->type != identity->type ? -ERROR_BLOCK_TYPE : -ERROR_BLOCK_OWNER;
    cache->verify_failure_count++;
    report_mismatch(cache, identity, block->bytes, result);
    return result;
}

// A block freed here, and perhaps given out by another node since, may linger under its old name:
// what the disk says counts then. One in use cannot be two things at once.
static bool block_is_stale(const struct cache_block *block, const struct cache_identity *identity)
{
    if (block->references > 0 || journal_block_is_busy(&block->journal))
        return false;
    return block_is_void(block) || !block_is(block, identity);
}

static int share_load(struct cache_block *block)
{
    cache_get(block);
    while (block->is_loading)
        wait_queue_wait(block->cache->config.scheduler, &block->loaded);
    int result = block->load_result;
    if (result != 0)
        cache_put(block);
    return result;
}

int cache_read(struct cache *cache, const struct cache_identity *identity, struct cache_block **out)
{
    struct cache_block *block = find(cache, identity->address);
    if (block != NULL && !block->is_loading && block_is_stale(block, identity)) {
        block_detach(block);
        block = NULL;
    }
    if (block == NULL)
        return load(cache, identity, out);
    if (!block_is(block, identity) || block_is_revoked(block))
        return mismatch(cache, identity, block);
    cache->hit_count++;
    *out = block;
    if (block->is_loading)
        return share_load(block);
    cache_get(block);
    return 0;
}

struct cache_block *cache_find(struct cache *cache, const struct cache_identity *identity)
{
    struct cache_block *block = find(cache, identity->address);
    if (block == NULL || block->is_loading || block_is_void(block) || block_is_revoked(block) ||
        !block_is(block, identity))
        return NULL;
    return cache_get(block);
}

bool cache_contradicts(struct cache *cache, const struct cache_identity *identity)
{
    const struct cache_block *block = find(cache, identity->address);
    if (block == NULL || block->is_loading || block_is_stale(block, identity))
        return false;
    return block_is_revoked(block) || !block_is(block, identity);
}

int cache_read_unlocked(struct cache *cache, const struct cache_identity *identity, void *buffer)
{
    int result = read_bytes(cache, identity, buffer);
    if (error_is_check(result))
        result = read_bytes(cache, identity, buffer);
    return result;
}

void cache_offer(struct cache *cache, const struct cache_identity *identity, const void *bytes)
{
    struct cache_block *block = find(cache, identity->address);
    if (block != NULL && !block->is_loading && block_is_stale(block, identity)) {
        block_detach(block);
        block = NULL;
    }
    if (block != NULL)
        return;
    cache->miss_count++;
    block = block_new(cache, identity);
    memcpy(block->bytes, bytes, BLOCK_BYTES);
    block_attach(block);
    cache_put(block);
}

// --- changing --------------------------------------------------------------------------------

void cache_change(struct cache_block *block, struct journal_handle *handle)
{
    CHECK(!block->is_detached && !block->is_loading);
    journal_transaction_change(handle, &block->journal);
}

static int refuse_block_in_use(struct cache *cache, uint64_t address, const char *what)
{
    int result = -ERROR_CORRUPT_FREE_SPACE;
    return cache_report_damage(cache, result, "block %llu: %s: %s", (unsigned long long)address,
                               what, error_text(result));
}

int cache_create(struct cache *cache, struct journal_handle *handle,
                 const struct cache_identity *identity, struct cache_block **out)
{
    struct cache_block *block = find(cache, identity->address);
    if (block != NULL) {
        if (block->references > 0 || journal_block_is_busy(&block->journal))
            return refuse_block_in_use(cache, identity->address, "given out while in use");
        block_detach(block);
    }
    block = block_new(cache, identity);
    block_attach(block);
    // In the handle before the first byte: an abort takes the block back to zeros.
    journal_transaction_change(handle, &block->journal);
    struct block_expectation is = {
        .format_id = cache->config.format_id,
        .address = identity->address,
        .owner = identity->owner,
        .type = identity->type,
    };
    format_block_init(block->bytes, &is);
    *out = block;
    return 0;
}

int cache_revoke(struct cache *cache, struct journal_handle *handle, uint64_t address)
{
    struct cache_block *block = find(cache, address);
    if (block == NULL) {
        journal_transaction_revoke(handle, address, NULL);
        return 0;
    }
    if (block_is_revoked(block) || block->is_loading)
        return refuse_block_in_use(cache, address, "freed twice or while it is read");
    journal_transaction_revoke(handle, address, &block->journal);
    return 0;
}

// --- the lock goes ---------------------------------------------------------------------------

void cache_drop_lock(struct cache *cache, struct lock_name name)
{
    struct cache_lock *lock;
    while ((lock = lock_find(cache, name)) != NULL) {
        struct cache_block *block = LIST_FIRST(&lock->blocks);
        CHECK(!journal_block_is_busy(&block->journal));
        block_detach(block);
    }
}

void cache_status_get(const struct cache *cache, struct cache_status *status)
{
    *status = (struct cache_status){
        .block_count = cache->block_count,
        .referenced_count = cache->referenced_count,
        .bytes_max = cache->block_count_max * BLOCK_BYTES,
        .hit_count = cache->hit_count,
        .miss_count = cache->miss_count,
        .eviction_count = cache->eviction_count,
        .verify_failure_count = cache->verify_failure_count,
    };
}
