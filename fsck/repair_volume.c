// SPDX-License-Identifier: Apache-2.0
// Single wrong bits in any block; and what stands outside of the groups: slots' blocks and the map
// of groups. The claim was written anew when it was taken; damaged journals are emptied when all is
// written (fsck/commit.h).
#include <stdlib.h>
#include <string.h>

#include "fs/base/check.h"
#include "fs/base/cleanup.h"
#include "fsck/block_reader.h"
#include "fsck/check.h"
#include "fsck/flipped_bit.h"
#include "fsck/repair.h"

static void init_block(const struct check *check, void *bytes, enum block_type type, uint64_t block,
                       uint64_t owner)
{
    struct block_expectation is = {
        .format_id = check->geometry.format_id, .address = block, .owner = owner, .type = type};
    memset(bytes, 0, BLOCK_BYTES);
    format_block_init(bytes, &is);
}

// --- slots -----------------------------------------------------------------------------------

static bool is_sound(struct check *check, enum block_type type, uint64_t block, uint32_t slot,
                     void *disk)
{
    struct format_heartbeat heartbeat;
    struct format_mailbox mailbox;
    if (block_reader_read_verified(check->reader, type, block, slot, disk) < 0)
        return false;
    if (type == BLOCK_TYPE_HEARTBEAT)
        return format_heartbeat_decode(disk, &heartbeat, NULL) == 0;
    if (type == BLOCK_TYPE_MAILBOX)
        return format_mailbox_decode(disk, &mailbox, NULL) == 0;
    return format_slot_state_check(disk, NULL) == 0;
}

// Notes for former users of the slot go with its heartbeat: its incarnations begin again.
static void empty_mailbox(struct check *check, uint32_t slot)
{
    struct mailbox_disk disk;
    uint64_t block = geometry_mailbox_block(&check->geometry, slot);
    init_block(check, &disk, BLOCK_TYPE_MAILBOX, block, slot);
    repair_write(check, block, &disk);
}

static void make_heartbeat(struct check *check, uint32_t slot)
{
    struct heartbeat_disk disk;
    uint64_t block = geometry_heartbeat_block(&check->geometry, slot);
    init_block(check, &disk, BLOCK_TYPE_HEARTBEAT, block, slot);
    disk.lamport = le64_make(check->clock.now + 1); // the version that this block gets
    repair_write(check, block, &disk);
    empty_mailbox(check, slot);
}

static void make_slot_state(struct check *check, uint32_t slot)
{
    struct slot_state_disk disk;
    uint64_t block = geometry_slot_state_block(&check->geometry, slot);
    init_block(check, &disk, BLOCK_TYPE_SLOT_STATE, block, slot);
    format_node_init(disk.orphan_root, sizeof(disk.orphan_root), 0);
    repair_write(check, block, &disk);
}

static int repair_slot(struct check *check, uint32_t slot)
{
    const struct geometry *g = &check->geometry;
    uint8_t block[BLOCK_BYTES] __attribute__((aligned(8)));
    if (!is_sound(check, BLOCK_TYPE_MAILBOX, geometry_mailbox_block(g, slot), slot, block))
        empty_mailbox(check, slot);
    if (!is_sound(check, BLOCK_TYPE_HEARTBEAT, geometry_heartbeat_block(g, slot), slot, block))
        make_heartbeat(check, slot);
    if (!is_sound(check, BLOCK_TYPE_SLOT_STATE, geometry_slot_state_block(g, slot), slot, block))
        make_slot_state(check, slot);
    return repair_quota_blocks(check, slot);
}

// --- the map of groups -----------------------------------------------------------------------

static bool has_header(struct check *check, uint32_t ag)
{
    uint8_t block[BLOCK_BYTES] __attribute__((aligned(8)));
    uint64_t address = geometry_ag_first_block(&check->geometry, ag);
    return block_reader_read_verified(check->reader, BLOCK_TYPE_AG_HEADER, address, ag, block) == 0;
}

// A sound map keeps its bits; for a lost one each group's header says whether it was ever written.
// (One that is used and has lost its header too is found as used and not initialised.)
static void repair_map_block(struct check *check, uint32_t index)
{
    CLEANUP_FREE struct ag_map_disk *old = malloc(sizeof(*old));
    CLEANUP_FREE struct ag_map_disk *map = malloc(sizeof(*map));
    CHECK(old != NULL && map != NULL);
    uint64_t block = FORMAT_AG_MAP_BLOCK + index;
    bool is_read = block_reader_read_verified(check->reader, BLOCK_TYPE_AG_MAP, block, 0, old) == 0;
    if (is_read && format_ag_map_check(old, &check->geometry, index, NULL) == 0)
        return;
    init_block(check, map, BLOCK_TYPE_AG_MAP, block, 0);
    uint64_t first = (uint64_t)index * AG_MAP_BITS_PER_BLOCK;
    for (uint64_t i = 0; i < AG_MAP_BITS_PER_BLOCK && first + i < check->geometry.ag_count; i++) {
        bool is_set =
            is_read ? old->bits[i / 8] >> (i % 8) & 1 : has_header(check, (uint32_t)(first + i));
        if (is_set)
            map->bits[i / 8] |= (uint8_t)(1u << (i % 8));
    }
    repair_write(check, block, map);
}

// --- flipped bits ------------------------------------------------------------------------------

// The block as it was, version and all: the same read as before puts the bit back. Not the claim,
// which was written anew when it was taken, and is ours now.
static int repair_flipped(struct check *check, uint64_t block)
{
    if (block == FORMAT_CLAIM_BLOCK)
        return 0;
    uint8_t bytes[BLOCK_BYTES] __attribute__((aligned(8)));
    int result = block_reader_read(check->reader, block, bytes);
    if (result == 0 && flipped_bit_put_back(bytes))
        change_log_add(&check->changes, block, bytes);
    return result;
}

int repair_volume_blocks(struct check *check)
{
    int result = 0;
    for (size_t i = 0; i < check->flipped.count && result == 0; i++)
        result = repair_flipped(check, check->flipped.numbers[i]);
    for (uint32_t slot = 0; slot < check->geometry.slot_count && result == 0; slot++)
        result = repair_slot(check, slot);
    for (uint32_t i = 0; i < check->geometry.ag_map_block_count && result == 0; i++)
        repair_map_block(check, i);
    return result;
}
