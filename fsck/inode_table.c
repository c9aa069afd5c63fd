// SPDX-License-Identifier: Apache-2.0
#include "fsck/inode_table.h"

#include <stdlib.h>
#include <string.h>

#include "fs/base/check.h"
#include "fs/base/memory.h"

enum { BUCKETS_FIRST = 1024 };

void inode_table_init(struct inode_table *table)
{
    *table = (struct inode_table){.bucket_count = BUCKETS_FIRST};
    table->buckets = calloc(table->bucket_count, sizeof(*table->buckets));
    CHECK(table->buckets != NULL);
}

void inode_table_deinit(struct inode_table *table)
{
    free(table->records);
    free(table->buckets);
    *table = (struct inode_table){0};
}

// The bucket that holds `number`, or the empty one where it would go. The table is never full.
static size_t bucket_of(const struct inode_table *table, uint64_t number)
{
    size_t bucket = (size_t)(number * 0x9e3779b97f4a7c15u >> 20) & (table->bucket_count - 1);
    while (table->buckets[bucket] != 0 &&
           table->records[table->buckets[bucket] - 1].number != number)
        bucket = (bucket + 1) & (table->bucket_count - 1);
    return bucket;
}

struct inode_record *inode_table_find(const struct inode_table *table, uint64_t number)
{
    CHECK(table->buckets != NULL);
    uint32_t index = table->buckets[bucket_of(table, number)];
    return index == 0 ? NULL : &table->records[index - 1];
}

static void grow_buckets(struct inode_table *table)
{
    free(table->buckets);
    table->bucket_count *= 2;
    table->buckets = calloc(table->bucket_count, sizeof(*table->buckets));
    CHECK(table->buckets != NULL);
    for (size_t i = 0; i < table->count; i++)
        table->buckets[bucket_of(table, table->records[i].number)] = (uint32_t)i + 1;
}

static void make_room(struct inode_table *table)
{
    CHECK(table->count < UINT32_MAX - 1);
    if (table->count * 2 >= table->bucket_count)
        grow_buckets(table);
    if (table->count < table->capacity)
        return;
    table->capacity = table->capacity == 0 ? BUCKETS_FIRST : table->capacity * 2;
    table->records = memory_resize(table->records, table->capacity, sizeof(*table->records));
}

struct inode_record *inode_table_add(struct inode_table *table, uint64_t number)
{
    struct inode_record *known = inode_table_find(table, number);
    if (known != NULL)
        return known;
    make_room(table);
    struct inode_record *record = &table->records[table->count++];
    *record = (struct inode_record){.number = number};
    table->buckets[bucket_of(table, number)] = (uint32_t)table->count;
    return record;
}

// A directory has one name, "." and the ".." of each of its own; the root has its own "..".
uint32_t inode_record_links_wanted(const struct inode_record *record)
{
    if (!(record->seen & INODE_SEEN_DIRECTORY))
        return record->links_found;
    bool is_linked = record->seen & INODE_SEEN_ROOT || record->links_found > 0;
    return is_linked ? 2 + record->subdirectories_found : 0;
}

uint64_t inode_record_parent_wanted(const struct inode_record *record)
{
    if (!(record->seen & INODE_SEEN_DIRECTORY))
        return 0;
    if (record->seen & INODE_SEEN_ROOT)
        return record->number;
    return record->links_found > 0 ? record->linked_from : record->parent;
}
