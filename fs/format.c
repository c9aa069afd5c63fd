// SPDX-License-Identifier: Apache-2.0
// Headers of blocks, the superblock, the arithmetic of groups, and the blocks that both mkfs and
// the allocator make. Pure. What other structures mean is decoded in format_decode.c.
#include "fs/format.h"

#include <string.h>

#include "fs/base/check.h"
#include "fs/base/crc32c.h"
#include "fs/base/error.h"

// --- the header of a block -------------------------------------------------------------------

static uint32_t block_checksum(const void *block)
{
    static const uint8_t zeros[sizeof(le32_t)];
    const uint8_t *bytes = block;
    size_t after = offsetof(struct block_header_disk, type);
    uint32_t sum = crc32c(0, bytes, offsetof(struct block_header_disk, checksum));
    sum = crc32c(sum, zeros, sizeof(zeros));
    return crc32c(sum, bytes + after, BLOCK_BYTES - after);
}

void format_block_init(void *block, const struct block_expectation *is)
{
    struct block_header_disk *header = block;
    memset(header, 0, sizeof(*header));
    header->magic = le32_make(BLOCK_MAGIC);
    header->type = le16_make((uint16_t)is->type);
    header->format_version = le16_make(FORMAT_VERSION);
    memcpy(header->format_id, is->format_id, sizeof(header->format_id));
    header->address = le64_make(is->address);
    header->owner = le64_make(is->owner);
}

void format_block_seal(void *block, uint64_t version)
{
    struct block_header_disk *header = block;
    CHECK(le32_get(header->magic) == BLOCK_MAGIC);
    header->version = le64_make(version);
    header->checksum = le32_make(block_checksum(block));
}

int format_block_verify(const void *block, const struct block_expectation *expected)
{
    const struct block_header_disk *header = block;
    if (le32_get(header->magic) != BLOCK_MAGIC)
        return -ERROR_BLOCK_MAGIC;
    if (le32_get(header->checksum) != block_checksum(block))
        return -ERROR_BLOCK_CHECKSUM;
    if (le16_get(header->format_version) != FORMAT_VERSION)
        return -ERROR_BLOCK_FORMAT_VERSION;
    if (memcmp(header->format_id, expected->format_id, sizeof(header->format_id)) != 0)
        return -ERROR_BLOCK_FORMAT_ID;
    if (le16_get(header->type) != expected->type)
        return -ERROR_BLOCK_TYPE;
    if (le64_get(header->address) != expected->address)
        return -ERROR_BLOCK_ADDRESS;
    if (le64_get(header->owner) != expected->owner)
        return -ERROR_BLOCK_OWNER;
    if (le32_get(header->reserved0) != 0 || le64_get(header->reserved1) != 0)
        return -ERROR_BLOCK_CONTENT;
    return 0;
}

uint64_t format_block_version(const void *block)
{
    return le64_get(((const struct block_header_disk *)block)->version);
}

// --- allocation groups -----------------------------------------------------------------------

uint64_t geometry_ag_block_count(const struct geometry *g, uint32_t ag)
{
    uint64_t whole = (uint64_t)1 << g->ag_block_shift;
    uint64_t rest = g->block_count - 1 - geometry_ag_first_block(g, ag);
    return rest < whole ? rest : whole;
}

bool geometry_ag_of_block(const struct geometry *g, uint64_t block, uint32_t *ag)
{
    if (block < g->ag_base_block || block >= g->block_count - 1)
        return false;
    uint64_t number = (block - g->ag_base_block) >> g->ag_block_shift;
    if (number >= g->ag_count)
        return false;
    *ag = (uint32_t)number;
    return true;
}

bool geometry_is_data_range(const struct geometry *g, uint64_t block, uint64_t count)
{
    uint32_t ag;
    if (count == 0 || !geometry_ag_of_block(g, block, &ag))
        return false;
    uint64_t inside = block - geometry_ag_first_block(g, ag);
    return inside > 0 && count <= geometry_ag_block_count(g, ag) - inside;
}

uint32_t geometry_ag_map_block_count(uint32_t ag_count)
{
    return (uint32_t)(((uint64_t)ag_count + AG_MAP_BITS_PER_BLOCK - 1) / AG_MAP_BITS_PER_BLOCK);
}

void geometry_superblock_blocks(const struct geometry *g, uint64_t blocks[FORMAT_SUPERBLOCK_COUNT])
{
    blocks[0] = FORMAT_SUPERBLOCK_BLOCK;
    blocks[1] = FORMAT_SUPERBLOCK_COPY_BLOCK;
    blocks[2] = g->block_count - 1;
}

// --- geometry --------------------------------------------------------------------------------

static bool is_zero(const void *bytes, size_t size)
{
    const uint8_t *p = bytes;
    for (size_t i = 0; i < size; i++) {
        if (p[i] != 0)
            return false;
    }
    return true;
}

static bool is_padded_text(const char *text, size_t size)
{
    size_t length = strnlen(text, size);
    return length < size && is_zero(text + length, size - length);
}

// Each number within its own limits, so that the sums below cannot overflow.
static const char *limits_broken(const struct geometry *g)
{
    if (g->block_count > FORMAT_BLOCK_COUNT_MAX)
        return "the volume is larger than 1 EiB";
    if (g->block_count <= FORMAT_SUPERBLOCK_COPY_BLOCK + 1)
        return "the volume ends before its own superblock copy";
    if (g->slot_count == 0 || g->slot_count > FORMAT_SLOT_COUNT_MAX)
        return "the number of node slots is out of range";
    if (g->journal_block_count < FORMAT_JOURNAL_BLOCKS_MIN ||
        g->journal_block_count > FORMAT_JOURNAL_BLOCKS_MAX)
        return "the journal size is out of range";
    if (g->ag_block_shift < FORMAT_AG_BLOCK_SHIFT_MIN ||
        g->ag_block_shift > FORMAT_AG_BLOCK_SHIFT_MAX)
        return "the size of the allocation groups is out of range";
    if (g->slot_table_block >= g->block_count || g->journal_block >= g->block_count ||
        g->ag_base_block >= g->block_count)
        return "an area begins behind the end of the volume";
    if (g->ag_count == 0 || g->ag_count > (g->block_count >> FORMAT_AG_BLOCK_SHIFT_MIN) + 1)
        return "the number of allocation groups is out of range";
    return NULL;
}

// Areas in order and apart: map, slots, journals, groups, last copy.
static const char *areas_broken(const struct geometry *g)
{
    uint64_t map_end = (uint64_t)FORMAT_AG_MAP_BLOCK + g->ag_map_block_count;
    uint64_t slots_end = geometry_heartbeat_block(g, g->slot_count);
    uint64_t journals_end = geometry_journal_block(g, g->slot_count);
    if (g->ag_map_block_count != geometry_ag_map_block_count(g->ag_count))
        return "the map of initialised groups has the wrong size";
    if (map_end > FORMAT_SUPERBLOCK_COPY_BLOCK || map_end > g->slot_table_block)
        return "the map of initialised groups runs into another area";
    if (g->slot_table_block <= FORMAT_SUPERBLOCK_COPY_BLOCK &&
        slots_end > FORMAT_SUPERBLOCK_COPY_BLOCK)
        return "the slot table covers the superblock copy";
    if (slots_end > g->journal_block || g->journal_block <= FORMAT_SUPERBLOCK_COPY_BLOCK)
        return "the journals begin inside another area";
    if (journals_end > g->ag_base_block)
        return "the journals run into the allocation groups";
    uint64_t last_group = geometry_ag_first_block(g, g->ag_count - 1);
    if (last_group + FORMAT_AG_BLOCKS_MIN > g->block_count - 1)
        return "the allocation groups run over the end of the volume";
    return NULL;
}

int geometry_check(const struct geometry *g, const char **reason)
{
    const char *broken = limits_broken(g);
    if (broken == NULL)
        broken = areas_broken(g);
    if (broken == NULL && !geometry_is_data_range(g, g->root_inode, 1))
        broken = "the root directory stands outside of the allocation groups";
    if (broken == NULL && !is_padded_text(g->label, sizeof(g->label)))
        broken = "the label is not terminated";
    if (broken == NULL && (g->state & ~(uint32_t)SUPERBLOCK_STATES) != 0)
        broken = "the volume state has unknown bits";
    if (reason != NULL)
        *reason = broken;
    return broken == NULL ? 0 : -ERROR_SUPERBLOCK_GEOMETRY;
}

// --- superblock ------------------------------------------------------------------------------

int format_superblock_verify(const struct superblock_disk *disk, uint64_t address)
{
    struct block_expectation expected = {
        .format_id = disk->header.format_id,
        .address = address,
        .owner = 0,
        .type = BLOCK_TYPE_SUPERBLOCK,
    };
    return format_block_verify(disk, &expected);
}

static void geometry_from_disk(const struct superblock_disk *disk, struct geometry *g)
{
    memset(g, 0, sizeof(*g));
    memcpy(g->format_id, disk->header.format_id, sizeof(g->format_id));
    memcpy(g->uuid, disk->uuid, sizeof(g->uuid));
    memcpy(g->hash_key, disk->hash_key, sizeof(g->hash_key));
    memcpy(g->device_id, disk->devices[0].device_id, sizeof(g->device_id));
    memcpy(g->label, disk->label, sizeof(g->label));
    g->block_count = le64_get(disk->block_count);
    g->slot_table_block = le64_get(disk->slot_table_block);
    g->journal_block = le64_get(disk->journal_block);
    g->ag_base_block = le64_get(disk->ag_base_block);
    g->root_inode = le64_get(disk->root_inode);
    g->created_ns = le64_get(disk->created_ns);
    g->feature_compat = le64_get(disk->feature_compat);
    g->feature_ro_compat = le64_get(disk->feature_ro_compat);
    g->feature_incompat = le64_get(disk->feature_incompat);
    g->slot_count = le32_get(disk->slot_count);
    g->journal_block_count = le32_get(disk->journal_block_count);
    g->ag_block_shift = le32_get(disk->ag_block_shift);
    g->ag_count = le32_get(disk->ag_count);
    g->ag_map_block_count = le32_get(disk->ag_map_block_count);
    g->protocol_version = le32_get(disk->protocol_version);
    g->state = le32_get(disk->state);
}

// Version 1 knows one LUN a volume, and it holds all of it; more come with an incompatible feature.
static bool device_table_is_sound(const struct superblock_disk *disk)
{
    const struct device_entry_disk *first = &disk->devices[0];
    size_t unused = sizeof(disk->devices) - sizeof(*first);
    return le32_get(disk->device_count) == 1 && le64_get(first->start_block) == 0 &&
           le64_get(first->block_count) == le64_get(disk->block_count) &&
           le64_get(first->reserved) == 0 && is_zero(&disk->devices[1], unused);
}

int format_superblock_decode(const struct superblock_disk *disk, uint64_t device_block_count,
                             struct geometry *geometry)
{
    geometry_from_disk(disk, geometry);
    uint64_t unknown = geometry->feature_incompat & ~FEATURE_INCOMPAT_KNOWN;
    if (unknown == FEATURE_INCOMPAT_IN_PROGRESS)
        return -ERROR_SUPERBLOCK_IN_PROGRESS;
    if (unknown != 0)
        return -ERROR_SUPERBLOCK_FEATURE;
    if (!device_table_is_sound(disk) || !is_zero(disk->reserved, sizeof(disk->reserved)))
        return -ERROR_SUPERBLOCK_GEOMETRY;
    int result = geometry_check(geometry, NULL);
    if (result < 0)
        return result;
    return geometry->block_count > device_block_count ? -ERROR_VOLUME_SHRUNK : 0;
}

static void superblock_fill(struct superblock_disk *disk, const struct geometry *g)
{
    memcpy(disk->uuid, g->uuid, sizeof(disk->uuid));
    memcpy(disk->label, g->label, sizeof(disk->label));
    memcpy(disk->hash_key, g->hash_key, sizeof(disk->hash_key));
    disk->feature_compat = le64_make(g->feature_compat);
    disk->feature_ro_compat = le64_make(g->feature_ro_compat);
    disk->feature_incompat = le64_make(g->feature_incompat);
    disk->block_count = le64_make(g->block_count);
    disk->slot_table_block = le64_make(g->slot_table_block);
    disk->journal_block = le64_make(g->journal_block);
    disk->ag_base_block = le64_make(g->ag_base_block);
    disk->root_inode = le64_make(g->root_inode);
    disk->created_ns = le64_make(g->created_ns);
    disk->slot_count = le32_make(g->slot_count);
    disk->journal_block_count = le32_make(g->journal_block_count);
    disk->ag_block_shift = le32_make(g->ag_block_shift);
    disk->ag_count = le32_make(g->ag_count);
    disk->ag_map_block_count = le32_make(g->ag_map_block_count);
    disk->protocol_version = le32_make(g->protocol_version);
    disk->state = le32_make(g->state);
}

void format_superblock_encode(struct superblock_disk *disk, const struct geometry *geometry,
                              uint64_t address)
{
    struct block_expectation is = {
        .format_id = geometry->format_id,
        .address = address,
        .type = BLOCK_TYPE_SUPERBLOCK,
    };
    memset(disk, 0, sizeof(*disk));
    format_block_init(disk, &is);
    superblock_fill(disk, geometry);
    disk->device_count = le32_make(1);
    memcpy(disk->devices[0].device_id, geometry->device_id, sizeof(geometry->device_id));
    disk->devices[0].block_count = le64_make(geometry->block_count);
}

// --- making objects --------------------------------------------------------------------------

void format_node_init(void *area, size_t area_bytes, uint8_t level)
{
    CHECK(area_bytes >= sizeof(struct tree_node_disk) && area_bytes < BLOCK_BYTES);
    struct tree_node_disk *node = area;
    memset(area, 0, area_bytes);
    node->heap_start = le16_make((uint16_t)area_bytes);
    node->level = level;
}

static void node_put_free(void *area, size_t area_bytes, uint64_t block, uint64_t count)
{
    struct tree_node_disk *node = area;
    uint16_t offset = (uint16_t)(area_bytes - sizeof(struct free_disk));
    struct tree_slot_disk slot = {
        .key.kind = ITEM_FREE,
        .key.major = le64_make(block),
        .offset = le16_make(offset),
        .length = le16_make(sizeof(struct free_disk)),
    };
    struct free_disk value = {.block_count = le64_make(count)};
    node->item_count = le16_make(1);
    node->heap_start = le16_make(offset);
    memcpy((uint8_t *)area + sizeof(*node), &slot, sizeof(slot));
    memcpy((uint8_t *)area + offset, &value, sizeof(value));
}

static uint32_t new_ag_reserve_count(const struct geometry *g, uint32_t ag)
{
    uint64_t half = geometry_ag_block_count(g, ag) / 2;
    return half < AG_RESERVE_MAX ? (uint32_t)half : AG_RESERVE_MAX;
}

uint64_t format_ag_first_data_block(const struct geometry *g, uint32_t ag)
{
    return geometry_ag_first_block(g, ag) + 1 + new_ag_reserve_count(g, ag);
}

void format_ag_header_init(struct ag_header_disk *disk, const struct geometry *g, uint32_t ag,
                           uint64_t used_count)
{
    uint64_t first = geometry_ag_first_block(g, ag);
    uint64_t block_count = geometry_ag_block_count(g, ag);
    uint32_t reserve_count = new_ag_reserve_count(g, ag);
    uint64_t taken = 1 + reserve_count + used_count;
    CHECK(taken <= block_count);
    struct block_expectation is = {
        .format_id = g->format_id,
        .address = first,
        .owner = ag,
        .type = BLOCK_TYPE_AG_HEADER,
    };
    memset(disk, 0, sizeof(*disk));
    format_block_init(disk, &is);
    disk->block_count = le64_make(block_count);
    disk->free_block_count = le64_make(block_count - taken);
    disk->reserve_count = le32_make(reserve_count);
    for (uint32_t i = 0; i < reserve_count; i++)
        disk->reserve[i] = le64_make(first + 1 + i);
    format_node_init(disk->free_root, sizeof(disk->free_root), 0);
    format_node_init(disk->reference_root, sizeof(disk->reference_root), 0);
    if (taken < block_count)
        node_put_free(disk->free_root, sizeof(disk->free_root), first + taken, block_count - taken);
}
