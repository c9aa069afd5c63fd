// SPDX-License-Identifier: Apache-2.0
#include "fs/orphans.h"

#include <errno.h>
#include <stddef.h>

#include "fs/allocator.h"
#include "fs/base/check.h"
#include "fs/base/error.h"
#include "fs/format_decode.h"
#include "fs/lock_types.h"
#include "fs/volume.h"

static struct orphan_list *list_of_nodes(struct tree_nodes *nodes)
{
    return (struct orphan_list *)((char *)nodes - offsetof(struct orphan_list, nodes));
}

static int node_allocate(struct tree_nodes *nodes, struct journal_handle *handle, uint64_t *block)
{
    struct orphan_list *list = list_of_nodes(nodes);
    CHECK(list->space != NULL);
    return allocator_allocate_node(list->space, handle, block);
}

static int node_release(struct tree_nodes *nodes, struct journal_handle *handle, uint64_t block)
{
    struct orphan_list *list = list_of_nodes(nodes);
    CHECK(list->space != NULL);
    return allocator_free_node(list->space, handle, block);
}

int orphan_list_load(struct orphan_list *list, struct volume *volume, uint32_t slot)
{
    struct cache_identity identity = {
        .address = geometry_slot_state_block(&volume->geometry, slot),
        .owner = slot,
        .type = BLOCK_TYPE_SLOT_STATE,
        .lock = lock_name_orphans(slot),
    };
    struct cache_block *block;
    int result = cache_read(volume->cache, &identity, &block);
    if (result != 0)
        return result;
    *list = (struct orphan_list){
        .volume = volume,
        .slot = slot,
        .block = block,
        .tree = {.cache = volume->cache,
                 .root = block,
                 .area_offset = offsetof(struct slot_state_disk, orphan_root),
                 .area_bytes = sizeof(((struct slot_state_disk *)0)->orphan_root),
                 .owner = slot,
                 .lock = identity.lock,
                 .nodes = &list->nodes,
                 .log = volume->log},
        .nodes = {.allocate = node_allocate, .release = node_release},
    };
    return 0;
}

void orphan_list_unload(struct orphan_list *list)
{
    cache_put(list->block);
    list->block = NULL;
}

static int report(const struct orphan_list *list, uint64_t inode, const char *reason)
{
    return cache_report_damage(list->volume->cache, -ERROR_CORRUPT_ORPHANS,
                               "orphan list of slot %u, inode %llu: %s", list->slot,
                               (unsigned long long)inode, reason);
}

static struct tree_key key_of(uint64_t inode)
{
    return TREE_KEY(ITEM_ORPHAN, inode, 0);
}

int orphan_list_insert(struct orphan_list *list, struct journal_handle *handle, uint64_t inode,
                       uint64_t generation)
{
    struct orphan_disk disk = {le64_make(generation)};
    return tree_insert(&list->tree, handle, key_of(inode), &disk, sizeof(disk));
}

int orphan_list_remove(struct orphan_list *list, struct journal_handle *handle, uint64_t inode)
{
    int result = tree_delete(&list->tree, handle, key_of(inode));
    return result == -ENOENT ? report(list, inode, "it does not stand there") : result;
}

static int decode(const struct orphan_list *list, const struct tree_cursor *cursor,
                  uint64_t *generation)
{
    struct format_item item = {
        .key = {cursor->key.kind, cursor->key.minor, cursor->key.major},
        .value = cursor->value,
        .length = (uint16_t)cursor->length,
    };
    const char *reason = "an item of another kind";
    if (item.key.kind == ITEM_ORPHAN && format_orphan_decode(&item, generation, &reason) == 0)
        return 0;
    return report(list, item.key.major, reason);
}

int orphan_list_next(struct orphan_list *list, uint64_t after, uint64_t *inode,
                     uint64_t *generation)
{
    if (after == UINT64_MAX)
        return -ENOENT;
    TREE_CURSOR(cursor, &list->tree);
    int result = tree_cursor_seek(&cursor, key_of(after + 1), TREE_CEILING);
    if (result == 0)
        result = decode(list, &cursor, generation);
    if (result == 0)
        *inode = cursor.key.major;
    return result;
}

struct tree_cost orphan_list_cost(const struct orphan_list *list)
{
    return tree_change_cost(&list->tree, 1);
}
