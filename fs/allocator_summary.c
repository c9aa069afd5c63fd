// SPDX-License-Identifier: Apache-2.0
// How much is free, for statfs: exact where this node holds a group, else what the group's header
// said within the last second, read without its lock.
#include <stdlib.h>

#include "fs/allocator_group.h"
#include "fs/base/block_device.h"
#include "fs/lock_types.h"
#include "fs/volume.h"

#define SUMMARY_INTERVAL_NS UINT64_C(1000000000)

// Takes note of which groups one block of the map says are initialised. A set bit is never wrong:
// it is in place only after the commit that made the header, too.
static void learn_from_map(struct allocator *allocator, uint32_t first, void *buffer)
{
    struct volume *volume = allocator->volume;
    struct cache_identity identity = {
        .address = FORMAT_AG_MAP_BLOCK + first / AG_MAP_BITS_PER_BLOCK,
        .owner = 0,
        .type = BLOCK_TYPE_AG_MAP,
        .lock = lock_name_ag_map(),
    };
    if (cache_read_unlocked(volume->cache, &identity, buffer) != 0)
        return;
    const struct ag_map_disk *map = buffer;
    uint32_t end = volume->geometry.ag_count - first;
    if (end > AG_MAP_BITS_PER_BLOCK)
        end = AG_MAP_BITS_PER_BLOCK;
    for (uint32_t bit = 0; bit < end; bit++) {
        if (map->bits[bit / 8] & (1u << (bit % 8)))
            allocator->states[first + bit] |= GROUP_KNOWN;
    }
}

static void read_hint(struct allocator *allocator, uint32_t number, void *buffer)
{
    const struct geometry *g = &allocator->volume->geometry;
    struct cache_identity identity = {
        .address = geometry_ag_first_block(g, number),
        .owner = number,
        .type = BLOCK_TYPE_AG_HEADER,
        .lock = lock_name_ag(number),
    };
    if (cache_read_unlocked(allocator->volume->cache, &identity, buffer) != 0)
        return;
    const struct ag_header_disk *header = buffer;
    uint64_t count = le64_get(header->free_block_count);
    if (count < geometry_ag_block_count(g, number))
        allocator->free_hints[number] = count;
}

static void refresh(struct allocator *allocator)
{
    uint64_t now = environment_boot_ns(allocator->volume->environment);
    if (allocator->has_summary && now - allocator->summary_at_ns < SUMMARY_INTERVAL_NS)
        return;
    allocator->has_summary = true;
    allocator->summary_at_ns = now;
    void *buffer = block_buffer_new(BLOCK_BYTES);
    for (uint32_t number = 0; number < allocator->volume->geometry.ag_count; number++) {
        if (number % AG_MAP_BITS_PER_BLOCK == 0)
            learn_from_map(allocator, number, buffer);
        if (allocator->states[number] == GROUP_KNOWN && allocator->groups[number] == NULL)
            read_hint(allocator, number, buffer);
    }
    free(buffer);
}

static uint64_t free_count(const struct allocator *allocator, uint32_t number)
{
    if (allocator->groups[number] != NULL)
        return free_extents_count(&allocator->groups[number]->extents);
    if (!allocator_is_known(allocator, number))
        return geometry_ag_block_count(&allocator->volume->geometry, number) - 1 - AG_RESERVE_MAX;
    uint64_t hint = allocator->free_hints[number];
    return hint != HINT_UNKNOWN ? hint : 0;
}

void allocator_summary_get(struct volume *volume, struct allocator_summary *summary)
{
    struct allocator *allocator = volume->allocator;
    *summary = (struct allocator_summary){0, 0, 0};
    refresh(allocator);
    for (uint32_t number = 0; number < volume->geometry.ag_count; number++) {
        uint64_t count = free_count(allocator, number);
        summary->block_count += geometry_ag_block_count(&volume->geometry, number) - 1;
        summary->free_block_count += count;
        if (count > ALLOCATOR_MARGIN_BLOCKS)
            summary->available_block_count += count - ALLOCATOR_MARGIN_BLOCKS;
    }
}
