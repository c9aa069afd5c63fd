// SPDX-License-Identifier: Apache-2.0
// What the lock core keeps its objects in: an intrusive hash table and a pool of equal objects.
// Both take memory only to grow, so a core in its steady state allocates nothing (uthash frees its
// buckets with the last element, which an idle lock core reaches all the time). The table grows by
// one bucket an insertion (linear hashing), so no insertion is long, however many elements there
// are.
#pragma once

#include <stddef.h>
#include <stdint.h>

#define CONTAINER_OF(pointer, type, member) ((type *)((char *)(pointer)-offsetof(type, member)))

struct table_link {
    struct table_link *next;
    uint64_t hash;
};

// Zeroed is empty. Of `capacity` buckets, a power of two, the first `bucket_count` are in use: a
// hash that falls behind them belongs where one bit less would put it.
struct table {
    struct table_link **buckets;
    size_t bucket_count;
    size_t capacity;
    size_t count;
};

void table_deinit(struct table *table);
void table_insert(struct table *table, struct table_link *link, uint64_t hash);
void table_remove(struct table *table, struct table_link *link);

static inline size_t table_index(const struct table *table, uint64_t hash)
{
    size_t index = hash & (table->capacity - 1);

    return index < table->bucket_count ? index : index & (table->capacity / 2 - 1);
}

// The first element of the chain that `hash` falls into; go on with `next` and compare both hash
// and key. NULL: none.
static inline struct table_link *table_chain(const struct table *table, uint64_t hash)
{
    return table->bucket_count ? table->buckets[table_index(table, hash)] : NULL;
}

// Walks all elements. The one last returned may be removed, nothing else, and nothing inserted.
struct table_cursor {
    const struct table *table;
    size_t bucket;
    struct table_link *next;
};

struct table_cursor table_begin(const struct table *table);
struct table_link *table_next(struct table_cursor *cursor);

// Zeroed but for `object_bytes` is empty.
struct pool {
    size_t object_bytes;
    void *free_list;
    void *slabs;
};

// Zeroed memory; the process stops when there is none.
void *pool_get(struct pool *pool);
void pool_put(struct pool *pool, void *object);
// Gives all memory back, of objects still in use too.
void pool_deinit(struct pool *pool);

// A full avalanche of 64 bits (the finaliser of splitmix64).
static inline uint64_t hash_u64(uint64_t x)
{
    x += 0x9e3779b97f4a7c15U;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9U;
    x = (x ^ x >> 27) * 0x94d049bb133111ebU;
    return x ^ x >> 31;
}
