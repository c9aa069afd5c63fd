// SPDX-License-Identifier: Apache-2.0
#include "fs/quota_private.h"

#include <errno.h>
#include <stddef.h>

#include "fs/allocator.h"
#include "fs/base/check.h"
#include "fs/base/error.h"
#include "fs/cache.h"
#include "fs/lock_types.h"
#include "fs/volume.h"

static struct quota_bucket *bucket_of_nodes(struct tree_nodes *nodes)
{
    return (struct quota_bucket *)((char *)nodes - offsetof(struct quota_bucket, nodes));
}

static int node_allocate(struct tree_nodes *nodes, struct journal_handle *handle, uint64_t *block)
{
    struct quota_bucket *bucket = bucket_of_nodes(nodes);
    CHECK(bucket->space != NULL);
    return allocator_allocate_node(bucket->space, handle, block);
}

static int node_release(struct tree_nodes *nodes, struct journal_handle *handle, uint64_t block)
{
    struct quota_bucket *bucket = bucket_of_nodes(nodes);
    CHECK(bucket->space != NULL);
    return allocator_free_node(bucket->space, handle, block);
}

static int check_block(struct volume *volume, const struct cache_block *block)
{
    const char *reason = NULL;
    int result = format_quota_bucket_check((const struct quota_bucket_disk *)block->bytes, &reason);
    if (result != 0)
        cache_report_damage(volume->cache, result, "quota bucket, block %llu: %s",
                            (unsigned long long)block->address, reason);
    return result;
}

int quota_bucket_load(struct quota_bucket *bucket, struct volume *volume, uint32_t slot)
{
    struct cache_identity identity = {
        .address = geometry_quota_bucket_block(&volume->geometry, slot),
        .owner = slot,
        .type = BLOCK_TYPE_QUOTA_BUCKET,
        .lock = lock_name_quota(slot),
    };
    struct cache_block *block;
    int result = cache_read(volume->cache, &identity, &block);
    if (result != 0)
        return result;
    result = check_block(volume, block);
    if (result != 0) {
        cache_put(block);
        return result;
    }
    *bucket = (struct quota_bucket){
        .volume = volume,
        .slot = slot,
        .block = block,
        .tree = {.cache = volume->cache,
                 .root = block,
                 .area_offset = offsetof(struct quota_bucket_disk, record_root),
                 .area_bytes = sizeof(((struct quota_bucket_disk *)0)->record_root),
                 .owner = slot,
                 .lock = identity.lock,
                 .nodes = &bucket->nodes,
                 .log = volume->log},
        .nodes = {.allocate = node_allocate, .release = node_release},
    };
    return 0;
}

void quota_bucket_unload(struct quota_bucket *bucket)
{
    cache_put(bucket->block);
    bucket->block = NULL;
}

// --- records -------------------------------------------------------------------------------------

static struct tree_key key_of(enum quota_kind kind, uint32_t id)
{
    return TREE_KEY(ITEM_QUOTA, quota_key(kind, id), 0);
}

static int decode(const struct quota_bucket *bucket, const struct tree_cursor *cursor,
                  struct format_quota *record)
{
    struct format_item item = {
        .key = {cursor->key.kind, cursor->key.minor, cursor->key.major},
        .value = cursor->value,
        .length = (uint16_t)cursor->length,
    };
    const char *reason = NULL;
    int result = format_quota_decode(&item, &bucket->volume->geometry, record, &reason);
    if (result != 0)
        cache_report_damage(bucket->volume->cache, result, "quota bucket of slot %u, key %llu: %s",
                            bucket->slot, (unsigned long long)item.key.major, reason);
    return result;
}

static int seek(struct quota_bucket *bucket, struct tree_key key, enum tree_seek how,
                struct format_quota *record)
{
    TREE_CURSOR(cursor, &bucket->tree);
    int result = tree_cursor_seek(&cursor, key, how);
    return result != 0 ? result : decode(bucket, &cursor, record);
}

int quota_record_get(struct quota_bucket *bucket, struct quota_owner owner,
                     struct format_quota *record)
{
    int result = seek(bucket, key_of(owner.kind, owner.id), TREE_EXACT, record);
    if (result == -ENOENT)
        *record = (struct format_quota){.kind = owner.kind, .id = owner.id};
    return result;
}

int quota_record_next(struct quota_bucket *bucket, enum quota_kind kind, uint32_t id,
                      struct format_quota *record)
{
    int result = seek(bucket, key_of(kind, id), TREE_CEILING, record);
    return result == 0 && record->kind != kind ? -ENOENT : result;
}

int quota_record_put(struct quota_bucket *bucket, struct transaction *t,
                     const struct format_quota *record)
{
    struct quota_disk disk;
    struct tree_key key = key_of(record->kind, record->id);
    format_quota_encode(record, &disk);
    bucket->space = &t->space;
    int result = tree_replace(&bucket->tree, t->handle, key, &disk, sizeof(disk));
    if (result == -ENOENT)
        result = tree_insert(&bucket->tree, t->handle, key, &disk, sizeof(disk));
    return result;
}

// --- changes -------------------------------------------------------------------------------------

static int change_both(struct transaction *t, void *context)
{
    struct quota_change *change = context;
    int result = quota_record_put(change->bucket, t, change->record);
    if (result == 0 && change->ledger != NULL)
        quota_entry_write(change->ledger, t->handle, change->index, &change->entry);
    return result;
}

int quota_change_run(struct quota_change *change)
{
    struct volume *volume = change->bucket->volume;
    struct transaction t;
    transaction_init(&t, volume, 0);
    t.charge.is_exempt = true;
    if (change->uses_margin)
        allocator_allow_margin(&t.space);
    transaction_add_cost(&t, tree_change_cost(&change->bucket->tree, 1));
    transaction_add_credits(&t, 1);
    int result = transaction_run(&t, change_both, change);
    change->bucket->space = NULL;
    if (result == 0 && change->ledger != NULL)
        quota_entry_note(change->ledger, change->index, &change->entry);
    return result;
}
