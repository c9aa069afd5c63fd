// SPDX-License-Identifier: Apache-2.0
#include "mkfs/write_layout.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fs/base/check.h"
#include "fs/base/cleanup.h"
#include "fs/base/lamport.h"
#include "fs/journal_format.h"
#include "journal/journal.h"

enum { FIRST_VERSION = 1, PROTOCOL_VERSION = 1 };

// --- identity --------------------------------------------------------------------------------

static void fill_random(struct environment *environment, uint8_t bytes[16])
{
    for (size_t i = 0; i < 2; i++) {
        uint64_t value = environment_random_u64(environment);
        memcpy(bytes + 8 * i, &value, sizeof(value));
    }
}

static void fill_uuid(struct environment *environment, uint8_t uuid[16])
{
    fill_random(environment, uuid);
    uuid[6] = (uint8_t)((uuid[6] & 0x0f) | 0x40); // RFC 4122, version 4: random
    uuid[8] = (uint8_t)((uuid[8] & 0x3f) | 0x80);
}

void mkfs_layout_identify(struct mkfs_layout *layout)
{
    static const uint8_t no_uuid[16];
    struct geometry *g = &layout->geometry;
    fill_random(layout->environment, g->format_id);
    fill_random(layout->environment, g->hash_key);
    fill_uuid(layout->environment, g->device_id);
    if (memcmp(g->uuid, no_uuid, sizeof(no_uuid)) == 0)
        fill_uuid(layout->environment, g->uuid);
    g->created_ns = (uint64_t)environment_wall_ns(layout->environment);
    g->feature_incompat = FEATURE_INCOMPAT_PROTECTION | FEATURE_INCOMPAT_PROJECTS;
    g->protocol_version = PROTOCOL_VERSION;
}

// --- writing ---------------------------------------------------------------------------------

static int write_blocks(struct mkfs_layout *layout, uint64_t block, const void *buffer,
                        uint64_t count)
{
    return block_device_write(layout->device, layout->environment->scheduler, block * BLOCK_BYTES,
                              buffer, count * BLOCK_BYTES);
}

static int flush(struct mkfs_layout *layout)
{
    return block_device_flush(layout->device, layout->environment->scheduler);
}

static void init_block(const struct mkfs_layout *layout, void *block, enum block_type type,
                       uint64_t address, uint64_t owner)
{
    struct block_expectation is = {
        .format_id = layout->geometry.format_id,
        .address = address,
        .owner = owner,
        .type = type,
    };
    format_block_init(block, &is);
}

static int write_superblock(struct mkfs_layout *layout, uint64_t address, uint64_t feature_incompat,
                            uint64_t version)
{
    CLEANUP_FREE struct superblock_disk *disk = block_buffer_new(BLOCK_BYTES);
    struct geometry g = layout->geometry;
    g.feature_incompat |= feature_incompat;
    format_superblock_encode(disk, &g, address);
    format_block_seal(disk, version);
    return write_blocks(layout, address, disk, 1);
}

// The copies, durable, and then block 16.
static int write_superblocks(struct mkfs_layout *layout, uint64_t feature_incompat,
                             uint64_t version)
{
    uint64_t blocks[FORMAT_SUPERBLOCK_COUNT];
    int result = 0;
    geometry_superblock_blocks(&layout->geometry, blocks);
    for (unsigned i = 1; i < FORMAT_SUPERBLOCK_COUNT && result == 0; i++)
        result = write_superblock(layout, blocks[i], feature_incompat, version);
    if (result == 0)
        result = flush(layout);
    if (result == 0)
        result = write_superblock(layout, blocks[0], feature_incompat, version);
    return result < 0 ? result : flush(layout);
}

static int write_claim(struct mkfs_layout *layout)
{
    CLEANUP_FREE struct claim_disk *claim = block_buffer_new(BLOCK_BYTES);
    init_block(layout, claim, BLOCK_TYPE_CLAIM, FORMAT_CLAIM_BLOCK, 0);
    format_block_seal(claim, FIRST_VERSION);
    return write_blocks(layout, FORMAT_CLAIM_BLOCK, claim, 1);
}

static int write_ag_map(struct mkfs_layout *layout)
{
    uint32_t count = layout->geometry.ag_map_block_count;
    CLEANUP_FREE struct ag_map_disk *map = block_buffer_new((size_t)count * BLOCK_BYTES);
    for (uint32_t i = 0; i < count; i++) {
        init_block(layout, &map[i], BLOCK_TYPE_AG_MAP, FORMAT_AG_MAP_BLOCK + i, 0);
        if (i == 0)
            map[i].bits[0] = 1; // group 0
        format_block_seal(&map[i], FIRST_VERSION);
    }
    return write_blocks(layout, FORMAT_AG_MAP_BLOCK, map, count);
}

static void make_slot(const struct mkfs_layout *layout, uint32_t slot, uint8_t *blocks)
{
    const struct geometry *g = &layout->geometry;
    struct slot_state_disk *state = (struct slot_state_disk *)(blocks + 2 * BLOCK_BYTES);
    init_block(layout, blocks, BLOCK_TYPE_HEARTBEAT, geometry_heartbeat_block(g, slot), slot);
    init_block(layout, blocks + BLOCK_BYTES, BLOCK_TYPE_MAILBOX, geometry_mailbox_block(g, slot),
               slot);
    init_block(layout, state, BLOCK_TYPE_SLOT_STATE, geometry_slot_state_block(g, slot), slot);
    format_node_init(state->orphan_root, sizeof(state->orphan_root), 0);
    for (unsigned i = 0; i < 3; i++)
        format_block_seal(blocks + (size_t)i * BLOCK_BYTES, FIRST_VERSION);
}

// All slots in one write, the spare blocks of each as zeros.
static int write_slots(struct mkfs_layout *layout)
{
    const struct geometry *g = &layout->geometry;
    uint64_t count = (uint64_t)g->slot_count * FORMAT_SLOT_BLOCKS;
    CLEANUP_FREE uint8_t *blocks = block_buffer_new(count * BLOCK_BYTES);
    for (uint32_t slot = 0; slot < g->slot_count; slot++)
        make_slot(layout, slot, blocks + (size_t)slot * FORMAT_SLOT_BLOCKS * BLOCK_BYTES);
    return write_blocks(layout, g->slot_table_block, blocks, count);
}

static int write_journals(struct mkfs_layout *layout)
{
    const struct geometry *g = &layout->geometry;
    struct lamport_clock clock = {.now = FIRST_VERSION};
    struct journal_format_context context = {.user = NULL};
    memcpy(context.format_id, g->format_id, sizeof(context.format_id));
    int result = 0;
    for (uint32_t slot = 0; slot < g->slot_count && result == 0; slot++) {
        struct journal_config config = {
            .device = layout->device,
            .environment = layout->environment,
            .log = layout->log,
            .clock = &clock,
            .callbacks = &journal_format_callbacks,
            .context = &context,
            .start_block = geometry_journal_block(g, slot),
            .block_count = g->journal_block_count,
            .slot = slot,
        };
        memcpy(config.format_id, g->format_id, sizeof(config.format_id));
        result = journal_format(&config);
    }
    return result;
}

static int write_first_group(struct mkfs_layout *layout)
{
    CLEANUP_FREE struct ag_header_disk *header = block_buffer_new(BLOCK_BYTES);
    format_ag_header_init(header, &layout->geometry, 0, 1);
    format_block_seal(header, FIRST_VERSION);
    return write_blocks(layout, geometry_ag_first_block(&layout->geometry, 0), header, 1);
}

static struct time_disk time_of_ns(uint64_t ns)
{
    return (struct time_disk){
        .seconds = le64_make(ns / 1000000000u),
        .nanoseconds = le32_make((uint32_t)(ns % 1000000000u)),
    };
}

static int write_root_directory(struct mkfs_layout *layout)
{
    const struct geometry *g = &layout->geometry;
    CLEANUP_FREE struct inode_disk *inode = block_buffer_new(BLOCK_BYTES);
    struct time_disk now = time_of_ns(g->created_ns);
    init_block(layout, inode, BLOCK_TYPE_INODE, g->root_inode, g->root_inode);
    inode->generation = le64_make(environment_random_u64(layout->environment) | 1); // never 0
    inode->mode = le32_make(S_IFDIR | 0755);
    inode->link_count = le32_make(2);
    inode->parent = le64_make(g->root_inode);
    inode->accessed = inode->modified = inode->changed = inode->created = now;
    format_node_init(inode->root, sizeof(inode->root), 0);
    format_block_seal(inode, FIRST_VERSION);
    return write_blocks(layout, g->root_inode, inode, 1);
}

int mkfs_layout_write(struct mkfs_layout *layout)
{
    static int (*const steps[])(struct mkfs_layout *) = {
        write_claim,       write_ag_map,         write_slots, write_journals,
        write_first_group, write_root_directory, flush,
    };
    CHECK(geometry_check(&layout->geometry, NULL) == 0);
    int result = write_superblocks(layout, FEATURE_INCOMPAT_IN_PROGRESS, FIRST_VERSION);
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]) && result == 0; i++)
        result = steps[i](layout);
    return result < 0 ? result : write_superblocks(layout, 0, FIRST_VERSION + 1);
}
