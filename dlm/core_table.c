// SPDX-License-Identifier: Apache-2.0
#include "dlm/core_table.h"

#include "fs/base/check.h"
#include "fs/base/memory.h"

#include <stdlib.h>
#include <string.h>

enum { BUCKETS_FIRST = 64, SLAB_OBJECTS = 64 };

void table_deinit(struct table *table)
{
    free(table->buckets);
    *table = (struct table){0};
}

static void table_reserve(struct table *table)
{
    size_t capacity = table->capacity ? table->capacity * 2 : BUCKETS_FIRST;

    table->buckets = memory_resize(table->buckets, capacity, sizeof(*table->buckets));
    memset(table->buckets + table->capacity, 0,
           (capacity - table->capacity) * sizeof(*table->buckets));
    if (!table->capacity)
        table->bucket_count = capacity;
    table->capacity = capacity;
}

// One bucket more: it takes its share of the one that had its elements.
static void table_grow(struct table *table)
{
    if (table->bucket_count == table->capacity)
        table_reserve(table);
    if (table->bucket_count == table->capacity)
        return; // the first
    size_t added = table->bucket_count++;
    struct table_link **from = &table->buckets[added & (table->capacity / 2 - 1)];
    struct table_link **to = &table->buckets[added];
    while (*from) {
        struct table_link *link = *from;
        if (table_index(table, link->hash) != added) {
            from = &link->next;
            continue;
        }
        *from = link->next;
        link->next = *to;
        *to = link;
    }
}

void table_insert(struct table *table, struct table_link *link, uint64_t hash)
{
    if (table->count >= table->bucket_count)
        table_grow(table);
    struct table_link **bucket = &table->buckets[table_index(table, hash)];
    link->hash = hash;
    link->next = *bucket;
    *bucket = link;
    table->count++;
}

void table_remove(struct table *table, struct table_link *link)
{
    CHECK(table->count > 0);
    struct table_link **at = &table->buckets[table_index(table, link->hash)];
    while (*at != link) {
        CHECK(*at != NULL);
        at = &(*at)->next;
    }
    *at = link->next;
    table->count--;
}

struct table_cursor table_begin(const struct table *table)
{
    return (struct table_cursor){.table = table};
}

struct table_link *table_next(struct table_cursor *cursor)
{
    struct table_link *link = cursor->next;

    while (!link && cursor->bucket < cursor->table->bucket_count)
        link = cursor->table->buckets[cursor->bucket++];
    cursor->next = link ? link->next : NULL;
    return link;
}

// A slab begins with the pointer to the next slab; objects on the free list with the pointer to
// the next free one.
static void pool_grow(struct pool *pool)
{
    char *slab = malloc(sizeof(max_align_t) + SLAB_OBJECTS * pool->object_bytes);

    CHECK(slab != NULL && pool->object_bytes >= sizeof(void *));
    *(void **)slab = pool->slabs;
    pool->slabs = slab;
    for (int i = SLAB_OBJECTS - 1; i >= 0; i--)
        pool_put(pool, slab + sizeof(max_align_t) + (size_t)i * pool->object_bytes);
}

void *pool_get(struct pool *pool)
{
    if (!pool->free_list)
        pool_grow(pool);
    void *object = pool->free_list;
    pool->free_list = *(void **)object;
    return memset(object, 0, pool->object_bytes);
}

void pool_put(struct pool *pool, void *object)
{
    *(void **)object = pool->free_list;
    pool->free_list = object;
}

void pool_deinit(struct pool *pool)
{
    while (pool->slabs) {
        void *slab = pool->slabs;
        pool->slabs = *(void **)slab;
        free(slab);
    }
    pool->free_list = NULL;
}
