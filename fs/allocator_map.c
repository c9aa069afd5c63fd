// SPDX-License-Identifier: Apache-2.0
// The map of initialised groups (rule 16). It alone says whether a group's header means anything:
// one bit a group, set in the transaction that writes the header, under LOCK_AG_MAP. A bit never
// goes back, so what this node has once seen it need not ask for again.
#include <errno.h>
#include <stdlib.h>

#include "fs/allocator_group.h"
#include "fs/base/block_device.h"
#include "fs/base/sabotage.h"
#include "fs/cluster_lock.h"
#include "fs/lock_types.h"
#include "fs/volume.h"

bool allocator_is_own(const struct volume *volume, uint32_t number)
{
    return number % volume->geometry.slot_count == volume->slot;
}

bool allocator_is_known(const struct allocator *allocator, uint32_t number)
{
    return (allocator->states[number] & GROUP_KNOWN) != 0;
}

static int read_map(struct volume *volume, uint32_t number, struct cache_block **block)
{
    struct cache_identity identity = {
        .address = FORMAT_AG_MAP_BLOCK + number / AG_MAP_BITS_PER_BLOCK,
        .owner = 0,
        .type = BLOCK_TYPE_AG_MAP,
        .lock = lock_name_ag_map(),
    };
    return cache_read(volume->cache, &identity, block);
}

static uint8_t *map_byte(struct cache_block *block, uint32_t number)
{
    struct ag_map_disk *map = (struct ag_map_disk *)block->bytes;
    return &map->bits[number % AG_MAP_BITS_PER_BLOCK / 8];
}

static uint8_t map_mask(uint32_t number)
{
    return (uint8_t)(1u << (number % 8));
}

// Whether the block of the header holds one; the map alone should say so.
static bool has_header(struct volume *volume, uint32_t number)
{
    uint64_t address = geometry_ag_first_block(&volume->geometry, number);
    struct block_expectation expected = {.format_id = volume->geometry.format_id,
                                         .address = address,
                                         .owner = number,
                                         .type = BLOCK_TYPE_AG_HEADER};
    uint8_t *bytes = block_buffer_new(BLOCK_BYTES);
    bool is_one = block_device_read(volume->device, volume->scheduler, address * BLOCK_BYTES, bytes,
                                    BLOCK_BYTES) == 0 &&
                  format_block_verify(bytes, &expected) == 0;
    free(bytes);
    return is_one;
}

// Takes note of one group's bit; the map's lock is held.
static int learn(struct volume *volume, uint32_t number, unsigned flags)
{
    struct cache_block *block;
    (void)flags; // it waits for no lock
    if (SABOTAGE(allocator_trust_header) && !has_header(volume, number))
        return 0;
    int result = read_map(volume, number, &block);
    if (result != 0)
        return result;
    if (*map_byte(block, number) & map_mask(number))
        volume->allocator->states[number] |= GROUP_KNOWN;
    cache_put(block);
    return 0;
}

static int write_new_group(struct volume *volume, uint32_t number, struct journal_handle *handle)
{
    struct cache_identity identity = {
        .address = geometry_ag_first_block(&volume->geometry, number),
        .owner = number,
        .type = BLOCK_TYPE_AG_HEADER,
        .lock = lock_name_ag(number),
    };
    struct cache_block *map, *header;
    int result = read_map(volume, number, &map);
    if (result != 0)
        return result;
    result = cache_create(volume->cache, handle, &identity, &header);
    if (result == 0) {
        format_ag_header_init((struct ag_header_disk *)header->bytes, &volume->geometry, number, 0);
        cache_put(header);
        cache_change(map, handle);
        *map_byte(map, number) |= map_mask(number);
    }
    cache_put(map);
    return result;
}

// Header and bit in one transaction. Both locks are held.
static int initialise_locked(struct volume *volume, uint32_t number)
{
    struct journal_handle *handle;
    int result = journal_transaction_begin(volume->journal, 2, &handle);
    if (result != 0)
        return result;
    result = write_new_group(volume, number, handle);
    if (result != 0) {
        journal_transaction_abort(handle);
        return result;
    }
    journal_transaction_end(handle);
    volume->allocator->states[number] |= GROUP_KNOWN;
    allocator_settle_map(volume->allocator);
    return 0;
}

static int initialise(struct volume *volume, uint32_t number, unsigned flags)
{
    struct cluster_lock *lock = cluster_lock_get(volume->locks, lock_name_ag(number));
    int result = cluster_lock_acquire(lock, LOCK_EXCLUSIVE, flags);
    if (result == 0) {
        result = initialise_locked(volume, number);
        cluster_lock_release(lock, LOCK_EXCLUSIVE);
    }
    cluster_lock_put(lock);
    return result;
}

static int with_map(struct volume *volume, uint32_t number, enum lock_mode mode, unsigned flags,
                    int (*run)(struct volume *volume, uint32_t number, unsigned flags))
{
    struct cluster_lock *lock = cluster_lock_get(volume->locks, lock_name_ag_map());
    int result = cluster_lock_acquire(lock, mode, flags);
    if (result == 0) {
        result = run(volume, number, flags);
        cluster_lock_release(lock, mode);
    }
    cluster_lock_put(lock);
    return result;
}

static int learn_or_initialise(struct volume *volume, uint32_t number, unsigned flags)
{
    int result = learn(volume, number, flags);
    if (result != 0 || allocator_is_known(volume->allocator, number))
        return result;
    return initialise(volume, number, flags);
}

int allocator_map_learn(struct volume *volume, uint32_t number, unsigned flags)
{
    return with_map(volume, number, LOCK_SHARED, flags, learn);
}

int allocator_map_add_group(struct volume *volume, bool own, unsigned flags)
{
    uint32_t count = volume->geometry.ag_count;
    uint32_t start = volume->allocator->own_current;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t number = (uint32_t)(((uint64_t)start + i) % count);
        if (allocator_is_known(volume->allocator, number) ||
            allocator_is_own(volume, number) != own)
            continue;
        int result = allocator_map_learn(volume, number, flags);
        if (result == 0 && !allocator_is_known(volume->allocator, number))
            result = with_map(volume, number, LOCK_EXCLUSIVE, flags, learn_or_initialise);
        return result;
    }
    return -ENOENT;
}
