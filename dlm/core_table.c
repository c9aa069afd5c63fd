// SPDX-License-Identifier: Apache-2.0
#include "dlm/core_table.h"

#include "fs/base/check.h"

#include <stdlib.h>
#include <string.h>

enum { BUCKETS_FIRST = 64, SLAB_OBJECTS = 64 };

void table_deinit(struct table *table)
{
    free(table->buckets);
    *table = (struct table){0};
}

static void table_grow(struct table *table)
{
    size_t count = table->bucket_count ? table->bucket_count * 2 : BUCKETS_FIRST;
    struct table_link **buckets = calloc(count, sizeof(struct table_link *));

    CHECK(buckets != NULL);
    for (size_t i = 0; i < table->bucket_count; i++) {
        while (table->buckets[i]) {
            struct table_link *link = table->buckets[i];
            table->buckets[i] = link->next;
            link->next = buckets[link->hash & (count - 1)];
            buckets[link->hash & (count - 1)] = link;
        }
    }
    free(table->buckets);
    table->buckets = buckets;
    table->bucket_count = count;
}

void table_insert(struct table *table, struct table_link *link, uint64_t hash)
{
    if (table->count == table->bucket_count)
        table_grow(table);
    struct table_link **bucket = &table->buckets[hash & (table->bucket_count - 1)];
    link->hash = hash;
    link->next = *bucket;
    *bucket = link;
    table->count++;
}

void table_remove(struct table *table, struct table_link *link)
{
    CHECK(table->count > 0);
    struct table_link **at = &table->buckets[link->hash & (table->bucket_count - 1)];
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
