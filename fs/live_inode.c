// SPDX-License-Identifier: Apache-2.0
#include "fs/live_inode.h"

#include <errno.h>
#include <stdlib.h>

#include "fs/base/block_device.h"
#include "fs/base/error.h"
#include "fs/cache.h"
#include "fs/inode_table.h"
#include "fs/lock_types.h"
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

// Whether the block on the device, which is not in the cache, is an inode's at all. A first read
// that does not complain: what stands there may be anything.
static int check_on_device(struct volume *volume, uint64_t number)
{
    struct cache_identity identity = identity_of(number);
    if (!geometry_is_data_range(&volume->geometry, number, 1))
        return -ESTALE;
    void *buffer = block_buffer_new(BLOCK_BYTES);
    int result = cache_read_unlocked(volume->cache, &identity, buffer);
    free(buffer);
    return result != 0 && error_is_check(result) ? -ESTALE : result;
}

int live_inode_load_dying(struct inode *inode, struct volume *volume, uint64_t number)
{
    struct cache_identity identity = identity_of(number);
    struct cache_block *block = cache_find(volume->cache, &identity);
    if (block != NULL) {
        cache_put(block);
        return inode_load(inode, volume, number);
    }
    if (cache_contradicts(volume->cache, &identity))
        return -ESTALE;
    int result = check_on_device(volume, number);
    return result != 0 ? result : inode_load(inode, volume, number);
}

int live_inode_load(struct inode *inode, struct volume *volume, uint64_t number)
{
    int result = live_inode_load_dying(inode, volume, number);
    if (result != 0)
        return result;
    if (inode_link_count(inode) > 0 || open_inode_find(volume, number) != NULL)
        return 0;
    inode_unload(inode);
    return -ESTALE;
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
