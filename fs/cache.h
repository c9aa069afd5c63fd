// SPDX-License-Identifier: Apache-2.0
// The cache of metadata blocks: 4 KiB each, found by address, owned by the lock that protects them.
// A block comes in verified (it is what the reader expects, or it does not come in), is changed
// only inside a journal handle, and leaves when its lock goes, when it is freed, or as the least
// recently used one that nobody refers to and the journal does not need.
//
//   cache_read ──► [block, referenced] ──► cache_put          kept, the oldest go first
//   cache_create / cache_change (in a handle) ──► busy in the journal until written in place
//   cache_revoke (in a handle) ──► out of sight, memory kept while the journal needs it
//   cache_drop_lock ──► all blocks of a lock that goes; they are clean by then (CHECKed)
//
// Coherence is the lock's: while it is cached here no other node changes the blocks, and when it
// goes the blocks go. All functions run on the core; those marked "waits" from a coroutine.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>
#include <uthash.h>

#include "fs/base/coroutine.h"
#include "fs/base/lock_name.h"
#include "fs/base/log.h"
#include "fs/format.h"
#include "journal/journal.h"

struct cache;

enum { CACHE_BYTES_DEFAULT = 64 << 20 };

// What the cache needs of its volume. What it points to outlives the cache.
struct cache_config {
    struct block_device *device; // address a stands at offset a * 4096
    struct scheduler *scheduler;
    struct log *log;
    struct lamport_clock *clock; // takes note of the version of every block read (rule 30)
    uint8_t format_id[16];
    uint64_t block_count; // of the volume: addresses from there on are -ERROR_BLOCK_RANGE
    size_t bytes_max;     // 0: CACHE_BYTES_DEFAULT; exceeded while blocks are referenced or busy
    void (*damaged)(void *context); // after each cache_report_damage; does not wait; may be NULL
    void *context;
};

// Which block, and what it must say of itself.
struct cache_identity {
    uint64_t address;
    uint64_t owner;
    enum block_type type;
    struct lock_name lock; // what protects it
};

// Fields are read-only for users of the cache, but for the bytes of a block in a handle.
struct cache_block {
    uint8_t *bytes; // 4096, aligned for I/O
    uint64_t address;
    uint64_t owner;
    enum block_type type;

    // The cache's.
    struct cache *cache;
    struct journal_block journal;
    struct journal_handle
        *revoked_in;   // means something only while the journal block's handle is it
    uint32_t verified; // whoever checks the content whole notes here that it did
    unsigned references;
    int load_result;
    bool is_loading;
    bool is_detached; // no longer found by its address
    struct wait_queue loaded;
    UT_hash_handle by_address;
    struct cache_lock *lock;
    TAILQ_ENTRY(cache_block) lru_link; // oldest first, unreferenced ones only
    LIST_ENTRY(cache_block) lock_link;
};

struct cache *cache_new(const struct cache_config *config);
// Nothing may be referenced; the journal is closed.
void cache_free(struct cache *cache);

// The block, verified, with a reference that cache_put ends. Concurrent readers of one block share
// the read. 0; -ERROR_BLOCK_* (logged once, with expected and found); -errno of the device. Waits.
// The caller holds `identity->lock`, SHARED at least.
int cache_read(struct cache *cache, const struct cache_identity *identity,
               struct cache_block **block);
// The block if it is in memory and is what `identity` says, with a reference; else NULL.
struct cache_block *cache_find(struct cache *cache, const struct cache_identity *identity);
// Whether the cache knows that the block is not what `identity` says: freed, or something else by
// now. For readers whose address may be out of date, and who want no complaint then.
bool cache_contradicts(struct cache *cache, const struct cache_identity *identity);
// Reads and verifies past the cache, into `buffer` (4096 bytes, aligned), for readers that hold
// no lock or do not know what stands there: a torn read is tried once more and then answered with
// its error, not logged (rule 36). Waits.
int cache_read_unlocked(struct cache *cache, const struct cache_identity *identity, void *buffer);

// What the caller just read with cache_read_unlocked, having held `identity->lock` since before:
// kept as if the cache had read it, without reading it again. `bytes` stays the caller's. Does not
// wait.
void cache_offer(struct cache *cache, const struct cache_identity *identity, const void *bytes);
// Whoever finds that a block, or what stands in several, is not as it must be says so here: one
// error line, and the volume is told (fs/damage.h). Answers `error`, a failed check (-ERROR_x).
int cache_report_damage(struct cache *cache, int error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

struct cache_block *cache_get(struct cache_block *block);
void cache_put(struct cache_block *block);

// A newly allocated block: zeroed behind an initialised header, changed by `handle`, with a
// reference. What the cache knew at the address before is forgotten. If the handle is aborted the
// block is worthless and leaves the cache with its last reference. -ERROR_CORRUPT_FREE_SPACE
// (logged) if the block that stands there is in use: then it was not free. Does not wait.
int cache_create(struct cache *cache, struct journal_handle *handle,
                 const struct cache_identity *identity, struct cache_block **block);
// Before the first change of the block's bytes in `handle`; further calls cost next to nothing. The
// caller holds the block's lock EXCLUSIVE.
void cache_change(struct cache_block *block, struct journal_handle *handle);
// The metadata block at `address` is freed by `handle`: revoked in the journal; reading it is
// -ERROR_BLOCK_OWNER from now on, until the handle is aborted. -ERROR_CORRUPT_FREE_SPACE (logged)
// if it was freed before and that is not durable yet.
int cache_revoke(struct cache *cache, struct journal_handle *handle, uint64_t address);

// The lock goes to another node (or down to nothing): its blocks leave. None is busy (CHECKed). One
// that is still referenced is not found any more and lives until its last cache_put.
void cache_drop_lock(struct cache *cache, struct lock_name lock);

struct cache_status {
    size_t block_count;
    size_t referenced_count;
    size_t bytes_max;
    uint64_t hit_count;
    uint64_t miss_count;
    uint64_t eviction_count;
    uint64_t verify_failure_count;
};
void cache_status_get(const struct cache *cache, struct cache_status *status);
