// SPDX-License-Identifier: Apache-2.0
// Superblock, claim, slots, journals, groups, space.
#include <string.h>

#include "fs/format_decode.h"
#include "tests/wreck/crash.h"
#include "tests/wreck/wreck_parts.h"
#include "tests/wreck/wrecks.h"

// --- superblock and claim --------------------------------------------------------------------

static uint64_t superblock_copy(struct image *image, const struct places *places)
{
    (void)places;
    return wreck_spoil(image, FORMAT_SUPERBLOCK_COPY_BLOCK);
}

static uint64_t superblock_differs(struct image *image, const struct places *places)
{
    (void)places;
    image_set(image, image->g.block_count - 1, "created_ns", 12345);
    return image->g.block_count - 1;
}

static uint64_t superblock_behind(struct image *image, const struct places *places)
{
    (void)places;
    image_set(image, image->g.block_count - 1, "feature_ro_compat",
              image->g.feature_ro_compat ^ FEATURE_RO_COMPAT_QUOTAS);
    return image->g.block_count - 1;
}

static uint64_t set_state(struct image *image, uint32_t state)
{
    uint64_t blocks[FORMAT_SUPERBLOCK_COUNT];
    geometry_superblock_blocks(&image->g, blocks);
    for (unsigned i = 0; i < FORMAT_SUPERBLOCK_COUNT; i++)
        image_set(image, blocks[i], "state", state);
    return FORMAT_SUPERBLOCK_BLOCK;
}

static uint64_t needs_fsck(struct image *image, const struct places *places)
{
    (void)places;
    return set_state(image, SUPERBLOCK_STATE_NEEDS_FSCK);
}

static uint64_t damage_met(struct image *image, const struct places *places)
{
    (void)places;
    return set_state(image, SUPERBLOCK_STATE_DAMAGED);
}

static uint64_t claim(struct image *image, const struct places *places)
{
    (void)places;
    image_set(image, FORMAT_CLAIM_BLOCK, "purpose", 77);
    return FORMAT_CLAIM_BLOCK;
}

// In the claim, in an inode, in a directory's tree, in the map of groups.
static uint64_t flipped_claim(struct image *image, const struct places *places)
{
    (void)places;
    return wreck_flip(image, FORMAT_CLAIM_BLOCK, 800);
}

static uint64_t flipped_inode(struct image *image, const struct places *places)
{
    return wreck_flip(image, places->fragmented, 5000);
}

static uint64_t flipped_node(struct image *image, const struct places *places)
{
    struct image_node root = wreck_root_of(image, places->many);
    return wreck_flip(image, wreck_child_of(image, &root, 1).block, 3);
}

static uint64_t flipped_map(struct image *image, const struct places *places)
{
    (void)places;
    return wreck_flip(image, FORMAT_AG_MAP_BLOCK, 32767);
}

// --- slots and journals ----------------------------------------------------------------------

static uint64_t heartbeat(struct image *image, const struct places *places)
{
    (void)places;
    return wreck_spoil(image, geometry_heartbeat_block(&image->g, 1));
}

static uint64_t mailbox(struct image *image, const struct places *places)
{
    (void)places;
    uint64_t block = geometry_mailbox_block(&image->g, 0);
    image_set(image, block, "owner", 1);
    return block;
}

static uint64_t slot_state(struct image *image, const struct places *places)
{
    (void)places;
    uint64_t block = geometry_slot_state_block(&image->g, 1);
    image_set(image, block, "type", BLOCK_TYPE_MAILBOX);
    return block;
}

static uint64_t slot_not_left(struct image *image, const struct places *places)
{
    (void)places;
    uint64_t block = geometry_heartbeat_block(&image->g, 0);
    image_set(image, block, "incarnation", 3);
    image_set(image, block, "beat_ms", 50);
    image_set(image, block, "state", HEARTBEAT_RUNNING);
    return block;
}

static uint64_t journal_dirty(struct image *image, const struct places *places)
{
    crash_with_dirty_journal(image, places->root, "accessed_seconds", 1800000000);
    return image->g.journal_block;
}

// Both copies of the header: one alone is what a torn write leaves.
static uint64_t journal_copy(struct image *image, const struct places *places)
{
    (void)places;
    return wreck_spoil(image, geometry_journal_block(&image->g, 1) + 1);
}

static uint64_t journal(struct image *image, const struct places *places)
{
    (void)places;
    uint64_t block = geometry_journal_block(&image->g, 1);
    wreck_spoil(image, block);
    wreck_spoil(image, block + 1);
    return block;
}

// --- groups ----------------------------------------------------------------------------------

static uint64_t ag_map(struct image *image, const struct places *places)
{
    (void)places;
    struct ag_map_disk *map = image_block(image, FORMAT_AG_MAP_BLOCK);
    map->bits[sizeof(map->bits) - 1] = 0x80; // a group far behind the last one
    image_seal(image, FORMAT_AG_MAP_BLOCK);
    return FORMAT_AG_MAP_BLOCK;
}

static uint64_t ag_header(struct image *image, const struct places *places)
{
    (void)places;
    return wreck_spoil(image, wreck_group_header(image));
}

static uint64_t ag_fields(struct image *image, const struct places *places)
{
    (void)places;
    image_set(image, wreck_group_header(image), "reserve_count", AG_RESERVE_MAX + 1);
    return wreck_group_header(image);
}

static uint64_t free_tree(struct image *image, const struct places *places)
{
    (void)places;
    struct image_node leaf = wreck_free_leaf(image);
    image_node_set(image, &leaf, "heap_free", 5);
    return leaf.block;
}

static uint64_t free_extent(struct image *image, const struct places *places)
{
    (void)places;
    struct image_node leaf = wreck_free_leaf(image);
    image_value_set(image, &leaf, 0, "free", "block_count", (uint64_t)1 << 40);
    return leaf.block;
}

static uint64_t free_count(struct image *image, const struct places *places)
{
    (void)places;
    uint64_t block = wreck_group_header(image);
    image_set(image, block, "free_block_count", image_get(image, block, "free_block_count") - 7);
    return block;
}

static uint64_t reference_tree(struct image *image, const struct places *places)
{
    (void)places;
    struct image_node root = image_node_of(image, wreck_group_header(image), "reference_root");
    image_node_set(image, &root, "level", 200);
    return root.block;
}

static uint64_t reference(struct image *image, const struct places *places)
{
    (void)places;
    struct image_node root = image_node_of(image, wreck_group_header(image), "reference_root");
    struct reference_disk value = {.block_count = le64_make(1), .count = le64_make(2)};
    wreck_put_item(image, &root, ITEM_REFERENCE, root.block + 100, &value, sizeof(value));
    return root.block;
}

// --- space -----------------------------------------------------------------------------------

static uint64_t used_uninitialised(struct image *image, const struct places *places)
{
    struct image_node root_node = wreck_root_of(image, places->large);
    uint64_t block = geometry_ag_first_block(&image->g, 3) + 50;
    image_value_set(image, &root_node, 2, "extent", "start_block", block);
    return block;
}

static uint64_t used_twice(struct image *image, const struct places *places)
{
    struct image_node node = wreck_root_of(image, places->large);
    uint64_t start = 0;
    memcpy(&start, image_value(&node, 0), sizeof(start));
    image_value_set(image, &node, 2, "extent", "start_block", le64toh(start) + 3);
    return le64toh(start) + 3;
}

// The last extent of the group's tree is the long one behind all files.
static uint64_t used_and_free(struct image *image, const struct places *places)
{
    struct image_node node = wreck_root_of(image, places->large);
    uint64_t block = wreck_group_header(image) + geometry_ag_block_count(&image->g, 0) - 20;
    image_value_set(image, &node, 2, "extent", "start_block", block);
    return block;
}

static uint64_t leaked(struct image *image, const struct places *places)
{
    (void)places;
    struct image_node leaf = wreck_free_leaf(image);
    struct free_disk value;
    uint64_t block = image_slot_get(&leaf, 0, "major");
    uint64_t header = wreck_group_header(image);
    memcpy(&value, image_value(&leaf, 0), sizeof(value));
    image_slot_delete(image, &leaf, 0);
    image_set(image, header, "free_block_count",
              image_get(image, header, "free_block_count") - le64_get(value.block_count));
    return block;
}

static uint64_t inode_lost(struct image *image, const struct places *places)
{
    (void)places;
    return populate_nameless(image, 1, 3);
}

// --- the table -------------------------------------------------------------------------------

const struct wreck wrecks_volume[] = {
    {"SUPERBLOCK_COPY", superblock_copy},
    {"SUPERBLOCK_DIFFERS", superblock_differs},
    {"SUPERBLOCK_BEHIND", superblock_behind},
    {"NEEDS_FSCK", needs_fsck},
    {"DAMAGE_MET", damage_met},
    {"CLAIM", claim},
    {"FLIPPED_BIT", flipped_claim},
    {"FLIPPED_BIT", flipped_inode},
    {"FLIPPED_BIT", flipped_node},
    {"FLIPPED_BIT", flipped_map},
    {"HEARTBEAT", heartbeat},
    {"MAILBOX", mailbox},
    {"SLOT_STATE", slot_state},
    {"SLOT_NOT_LEFT", slot_not_left},
    {"JOURNAL_DIRTY", journal_dirty},
    {"JOURNAL", journal},
    {"JOURNAL_COPY", journal_copy},
    {"AG_MAP", ag_map},
    {"AG_HEADER", ag_header},
    {"AG_FIELDS", ag_fields},
    {"FREE_TREE", free_tree},
    {"FREE_EXTENT", free_extent},
    {"FREE_COUNT", free_count},
    {"REFERENCE_TREE", reference_tree},
    {"REFERENCE", reference},
    {"USED_UNINITIALISED", used_uninitialised},
    {"USED_TWICE", used_twice},
    {"USED_AND_FREE", used_and_free},
    {"LEAKED", leaked},
    {"INODE_LOST", inode_lost},
    {NULL, NULL},
};
