// SPDX-License-Identifier: Apache-2.0
#include "fs/live_inode.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/block_device.h"
#include "fs/base/error.h"
#include "fs/cache.h"
#include "fs/inode_table.h"
#include "fs/lock_types.h"
#include "fs/orphans.h"
#include "fs/volume.h"

static struct cache_identity identity_of(uint64_t number)
{
    return (struct cache_identity){
        .address = number,
        .owner = number,
        .type = BLOCK_TYPE_INODE,
        .lock = lock_name_inode(number),
    };
}

// What stands there now, of an inode. -ESTALE if it is none. A living one stays in the cache:
// whoever looks is about to use it.
static int peek_on_device(struct volume *volume, const struct cache_identity *identity,
                          struct inode_disk *disk)
{
    struct inode_disk *buffer = block_buffer_new(BLOCK_BYTES);
    int result = cache_read_unlocked(volume->cache, identity, buffer);
    if (result == 0)
        *disk = *buffer;
    if (result == 0 && le32_get(disk->link_count) > 0)
        cache_offer(volume->cache, identity, buffer);
    free(buffer);
    // A wrong checksum alone means that it was this inode.
    if (result == 0 || !error_is_check(result) || result == -ERROR_BLOCK_CHECKSUM)
        return result;
    return -ESTALE;
}

static int peek(struct volume *volume, uint64_t number, struct inode_disk *disk)
{
    struct cache_identity identity = identity_of(number);
    if (!geometry_is_data_range(&volume->geometry, number, 1))
        return -ESTALE;
    struct cache_block *block = cache_find(volume->cache, &identity);
    if (block == NULL)
        return cache_contradicts(volume->cache, &identity)
                   ? -ESTALE
                   : peek_on_device(volume, &identity, disk);
    memcpy(disk, block->bytes, sizeof(*disk));
    cache_put(block);
    return 0;
}

// Whether the running coroutine's caller meant this life of the number, or any.
static bool is_meant(const struct inode *inode)
{
    const struct live_inodes_meant *meant = coroutine_local(inode->volume->scheduler);
    for (uint32_t i = 0; meant != NULL && i < meant->count; i++) {
        if (meant->of[i].number == inode->number &&
            ((meant->of[i].generation ^ inode_generation(inode)) & meant->generation_mask) != 0)
            return false;
    }
    return true;
}

static int load_meant(struct inode *inode, struct volume *volume, uint64_t number)
{
    int result = inode_load(inode, volume, number);
    if (result != 0 || is_meant(inode))
        return result;
    inode_unload(inode);
    return -ESTALE;
}

int live_inode_load(struct inode *inode, struct volume *volume, uint64_t number)
{
    struct inode_disk disk;
    if (open_inode_find(volume, number) != NULL)
        return load_meant(inode, volume, number);
    int result = peek(volume, number, &disk);
    if (result == -ERROR_BLOCK_CHECKSUM)
        return load_meant(inode, volume, number); // which says so
    if (result != 0)
        return result;
    return le32_get(disk.link_count) > 0 ? load_meant(inode, volume, number) : -ESTALE;
}

int live_inode_next_orphan(struct volume *volume, uint32_t slot, uint64_t after, uint64_t *number,
                           uint64_t *generation)
{
    struct orphan_list list;
    LOCK_SET(set);
    lock_set_add(&set, lock_name_orphans(slot), LOCK_SHARED);
    int result = lock_set_acquire(&set, volume);
    if (result != 0)
        return result;
    result = orphan_list_load(&list, volume, slot);
    if (result == 0) {
        result = orphan_list_next(&list, after, number, generation);
        orphan_list_unload(&list);
    }
    lock_set_release(&set);
    return result;
}

static int check_on_list(struct volume *volume, uint32_t slot, uint64_t number, uint64_t generation)
{
    uint64_t found = 0, found_generation = 0;
    int result = live_inode_next_orphan(volume, slot, number - 1, &found, &found_generation);
    if (result == 0 && (found != number || found_generation != generation))
        result = -ENOENT;
    return result == -ENOENT ? -ESTALE : result;
}

int live_inode_load_orphan(struct inode *inode, struct volume *volume, uint64_t number,
                           uint64_t generation)
{
    struct inode_disk disk;
    int result = peek(volume, number, &disk);
    if (result != 0)
        return result;
    if (le64_get(disk.generation) != generation ||
        (le32_get(disk.flags) & INODE_FLAG_ORPHAN) == 0 ||
        le32_get(disk.orphan_slot) >= volume->geometry.slot_count)
        return -ESTALE;
    result = check_on_list(volume, le32_get(disk.orphan_slot), number, generation);
    return result != 0 ? result : inode_load(inode, volume, number);
}

int live_inode_acquire(struct inode *inode, struct lock_set *set, struct volume *volume,
                       uint64_t number, enum lock_mode mode)
{
    set->count = 0;
    lock_set_add(set, lock_name_inode(number), mode);
    int result = lock_set_acquire(set, volume);
    if (result != 0)
        return result;
    result = live_inode_load(inode, volume, number);
    if (result != 0)
        lock_set_release(set);
    return result;
}

void live_inode_release(struct inode *inode, struct lock_set *set)
{
    inode_unload(inode);
    lock_set_release(set);
}
