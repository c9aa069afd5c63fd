// SPDX-License-Identifier: Apache-2.0
#include "mkfs/geometry.h"

#include <errno.h>
#include <string.h>

#include "fs/base/check.h"
#include "fs/base/error.h"

#define MIB ((uint64_t)1 << 20)

enum {
    SLOT_COUNT_SMALL = 4, // of the smallest volumes
    AG_BASE_ALIGNMENT = 256,
};

static const uint64_t journal_bytes_small = (uint64_t)FORMAT_JOURNAL_BLOCKS_MIN * BLOCK_BYTES;
static const uint64_t journal_bytes_large = 128 * MIB;

static uint64_t clamp(uint64_t value, uint64_t low, uint64_t high)
{
    return value < low ? low : value > high ? high : value;
}

static uint64_t round_up(uint64_t value, uint64_t unit)
{
    return (value + unit - 1) / unit * unit;
}

// --- what the user did not say ---------------------------------------------------------------

// Small journals of all slots may take an eighth of the volume.
static uint32_t default_slot_count(uint64_t device_bytes)
{
    uint32_t count = FORMAT_SLOT_COUNT_DEFAULT;
    while (count > SLOT_COUNT_SMALL && count * journal_bytes_small > device_bytes / 8)
        count /= 2;
    return count;
}

// All journals together: a 64th of the volume within the limits.
static uint64_t default_journal_bytes(uint64_t device_bytes, uint32_t slot_count)
{
    uint64_t share = device_bytes / slot_count;
    return clamp(share / 64, journal_bytes_small, journal_bytes_large) / MIB * MIB;
}

// --- places ----------------------------------------------------------------------------------

static void place_slots(struct geometry *g)
{
    uint64_t first = (uint64_t)FORMAT_AG_MAP_BLOCK + g->ag_map_block_count;
    uint64_t count = (uint64_t)g->slot_count * FORMAT_SLOT_BLOCKS;
    uint64_t behind_copy = FORMAT_SUPERBLOCK_COPY_BLOCK + 1;
    g->slot_table_block = first + count <= FORMAT_SUPERBLOCK_COPY_BLOCK ? first : behind_copy;
    g->journal_block = g->slot_table_block + count;
    if (g->journal_block < behind_copy)
        g->journal_block = behind_copy;
}

// Lays the volume out with groups of 2^shift blocks; how many fit stands in ag_count, perhaps 0.
static void lay_out(struct geometry *g, uint32_t shift)
{
    g->ag_block_shift = shift;
    g->ag_map_block_count = geometry_ag_map_block_count((uint32_t)(g->block_count >> shift) + 1);
    place_slots(g);
    g->ag_base_block = round_up(geometry_journal_block(g, g->slot_count), AG_BASE_ALIGNMENT);
    g->ag_count = 0;
    if (g->ag_base_block >= g->block_count - 1)
        return;
    uint64_t area = g->block_count - 1 - g->ag_base_block;
    uint64_t rest = area & (((uint64_t)1 << shift) - 1);
    g->ag_count = (uint32_t)(area >> shift) + (rest >= FORMAT_AG_BLOCKS_MIN ? 1 : 0);
    g->ag_map_block_count = geometry_ag_map_block_count(g->ag_count);
}

static void choose_groups(struct geometry *g)
{
    uint32_t wanted = g->slot_count * MKFS_GROUPS_PER_SLOT;
    for (uint32_t shift = FORMAT_AG_BLOCK_SHIFT_MAX; shift >= FORMAT_AG_BLOCK_SHIFT_MIN; shift--) {
        lay_out(g, shift);
        if (g->ag_count >= wanted)
            return;
    }
}

// --- limits ----------------------------------------------------------------------------------

static int check_request(const struct mkfs_request *request, struct text *why)
{
    uint64_t journal_min = (uint64_t)FORMAT_JOURNAL_BLOCKS_MIN * BLOCK_BYTES;
    uint64_t journal_max = (uint64_t)FORMAT_JOURNAL_BLOCKS_MAX * BLOCK_BYTES;
    if (request->slot_count > FORMAT_SLOT_COUNT_MAX) {
        text_add(why, "%u node slots are too many: at most %d", request->slot_count,
                 FORMAT_SLOT_COUNT_MAX);
        return -EINVAL;
    }
    if (request->journal_bytes != 0 &&
        (request->journal_bytes < journal_min || request->journal_bytes > journal_max)) {
        text_add(why, "a journal of ");
        text_add_size(why, request->journal_bytes);
        text_add(why, request->journal_bytes < journal_min
                          ? " has no room for the largest operations: at least 8 MiB"
                          : " is too large: at most 4 GiB");
        return -EINVAL;
    }
    if (request->device_bytes / BLOCK_BYTES > FORMAT_BLOCK_COUNT_MAX) {
        text_add(why, "the device is larger than 1 EiB, the largest lunfs volume");
        return -EINVAL;
    }
    return 0;
}

static int refuse_small(const struct geometry *g, uint64_t device_bytes, struct text *why)
{
    struct geometry least = *g;
    least.block_count = FORMAT_SUPERBLOCK_COPY_BLOCK + 2;
    lay_out(&least, FORMAT_AG_BLOCK_SHIFT_MIN);
    uint64_t groups = (uint64_t)MKFS_GROUPS_MIN << FORMAT_AG_BLOCK_SHIFT_MIN;
    text_add(why, "the device has ");
    text_add_size(why, device_bytes);
    text_add(why, "; with %u node slots and journals of ", g->slot_count);
    text_add_size(why, (uint64_t)g->journal_block_count * BLOCK_BYTES);
    uint64_t needed = (least.ag_base_block + groups + 1) * BLOCK_BYTES;
    text_add(why, " a volume needs at least ");
    text_add_size(why, needed);
    text_add(why, " (%llu bytes)", (unsigned long long)needed);
    return -ERROR_VOLUME_TOO_SMALL;
}

int mkfs_geometry_plan(const struct mkfs_request *request, struct geometry *geometry,
                       struct text *why)
{
    memset(geometry, 0, sizeof(*geometry));
    int result = check_request(request, why);
    if (result < 0)
        return result;
    struct geometry *g = geometry;
    g->block_count = request->device_bytes / BLOCK_BYTES;
    g->slot_count =
        request->slot_count != 0 ? request->slot_count : default_slot_count(request->device_bytes);
    uint64_t journal_bytes = request->journal_bytes != 0
                                 ? request->journal_bytes
                                 : default_journal_bytes(request->device_bytes, g->slot_count);
    g->journal_block_count = (uint32_t)(round_up(journal_bytes, BLOCK_BYTES) / BLOCK_BYTES);
    if (g->block_count <= FORMAT_SUPERBLOCK_COPY_BLOCK + 1)
        return refuse_small(g, request->device_bytes, why);
    choose_groups(g);
    if (g->ag_count < MKFS_GROUPS_MIN)
        return refuse_small(g, request->device_bytes, why);
    g->root_inode = format_ag_first_data_block(g, 0);
    CHECK(geometry_check(g, NULL) == 0);
    return 0;
}
