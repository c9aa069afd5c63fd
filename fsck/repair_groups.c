// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/check.h"
#include "fs/base/cleanup.h"
#include "fsck/block_reader.h"
#include "fsck/check.h"
#include "fsck/repair.h"
#include "fsck/tree_build.h"

// Blocks held back for the growth of the group's trees; room for a few more that turn out not to be
// needed as nodes.
enum { RESERVE_WANTED = 24 };

// --- blocks for the new tree -----------------------------------------------------------------

struct node_blocks {
    uint64_t *blocks; // single blocks that nothing refers to, ascending
    size_t count, used;
};

static void deinit_node_blocks(struct node_blocks *nodes)
{
    free(nodes->blocks);
}

// At most `wanted`; fewer if the group is that full.
static void find_node_blocks(const struct check *check, uint32_t ag, size_t wanted,
                             struct node_blocks *nodes)
{
    struct space_gaps gaps;
    uint64_t first = geometry_ag_first_block(&check->geometry, ag);
    *nodes = (struct node_blocks){.blocks = calloc(wanted + 1, sizeof(uint64_t))};
    CHECK(nodes->blocks != NULL);
    space_gaps_find(&check->space, ag, space_run_is_referenced, &gaps);
    for (uint32_t i = 0; i < gaps.count; i++) {
        for (uint32_t k = 0; k < gaps.gaps[i].count && nodes->count < wanted; k++)
            nodes->blocks[nodes->count++] = first + gaps.gaps[i].start + k;
    }
    space_gaps_deinit(&gaps);
}

// --- free extents ----------------------------------------------------------------------------

static void add_free(struct tree_build_items *items, uint64_t block, uint64_t count)
{
    struct format_key key = {.kind = ITEM_FREE, .major = block};
    struct free_disk value = {.block_count = le64_make(count)};
    if (count > 0)
        tree_build_items_add(items, &key, &value, sizeof(value));
}

// All that is free when the repair is done, without `taken`; returns how many blocks.
static uint64_t list_free(const struct check *check, uint32_t ag, const struct node_blocks *taken,
                          struct tree_build_items *items)
{
    struct space_gaps gaps;
    uint64_t first = geometry_ag_first_block(&check->geometry, ag), total = 0;
    size_t next = 0;
    tree_build_items_init(items);
    space_gaps_find(&check->space, ag, space_run_stays, &gaps);
    for (uint32_t i = 0; i < gaps.count; i++) {
        uint64_t start = first + gaps.gaps[i].start, end = start + gaps.gaps[i].count;
        for (; next < taken->count && taken->blocks[next] < end; next++) {
            add_free(items, start, taken->blocks[next] - start);
            total += taken->blocks[next] - start;
            start = taken->blocks[next] + 1;
        }
        add_free(items, start, end - start);
        total += end - start;
    }
    space_gaps_deinit(&gaps);
    return total;
}

// --- writing ---------------------------------------------------------------------------------

struct group_build {
    struct check *check;
    uint32_t ag;
    struct node_blocks nodes;
};

static int write_node(struct tree_build *build, struct tree_block_disk *disk, uint64_t *block)
{
    struct group_build *group = build->context;
    struct check *check = group->check;
    if (group->nodes.used == group->nodes.count)
        return -ENOSPC;
    *block = group->nodes.blocks[group->nodes.used++];
    struct block_expectation is = {
        .format_id = check->geometry.format_id,
        .address = *block,
        .owner = group->ag,
        .type = BLOCK_TYPE_TREE_NODE,
    };
    format_block_init(disk, &is);
    repair_write(check, *block, disk);
    return 0;
}

static void fill_header(const struct group_build *group, struct ag_header_disk *disk,
                        uint64_t free_count)
{
    const struct node_blocks *nodes = &group->nodes;
    size_t reserve_count = nodes->count - nodes->used;
    CHECK(reserve_count <= AG_RESERVE_MAX);
    disk->free_block_count = le64_make(free_count);
    disk->reserve_count = le32_make((uint32_t)reserve_count);
    memset(disk->reserve, 0, sizeof(disk->reserve));
    for (size_t i = 0; i < reserve_count; i++)
        disk->reserve[i] = le64_make(nodes->blocks[nodes->used + i]);
}

static int build_tree(struct group_build *group, struct ag_header_disk *disk)
{
    struct tree_build_items items;
    struct tree_build build = {
        .root = disk->free_root,
        .root_bytes = sizeof(disk->free_root),
        .write_node = write_node,
        .context = group,
    };
    uint64_t free_count = list_free(group->check, group->ag, &group->nodes, &items);
    int result = tree_build_run(&build, &items);
    tree_build_items_deinit(&items);
    if (result == 0)
        fill_header(group, disk, free_count);
    return result;
}

// How many blocks to take out of the free ones: nodes for the tree as it is before they are taken
// (taking them makes it smaller, if anything), and the reserve.
static size_t blocks_wanted(const struct check *check, uint32_t ag)
{
    struct tree_build_items items;
    struct node_blocks none = {.count = 0};
    list_free(check, ag, &none, &items);
    size_t nodes = tree_build_node_count(&items, sizeof(((struct ag_header_disk *)0)->free_root));
    tree_build_items_deinit(&items);
    return nodes + RESERVE_WANTED;
}

static int rebuild_group(struct check *check, uint32_t ag)
{
    CLEANUP_FREE struct ag_header_disk *disk = malloc(sizeof(*disk));
    CHECK(disk != NULL);
    struct group_build group = {.check = check, .ag = ag};
    format_ag_header_init(disk, &check->geometry, ag, 0);
    find_node_blocks(check, ag, blocks_wanted(check, ag), &group.nodes);
    int result = build_tree(&group, disk);
    deinit_node_blocks(&group.nodes);
    if (result < 0)
        return result;
    change_log_barrier(&check->changes);
    repair_write(check, geometry_ag_first_block(&check->geometry, ag), disk);
    return 0;
}

int repair_group_initialise(struct check *check, uint32_t ag)
{
    CLEANUP_FREE struct ag_header_disk *header = malloc(sizeof(*header));
    CLEANUP_FREE struct ag_map_disk *map = malloc(sizeof(*map));
    uint64_t map_block = FORMAT_AG_MAP_BLOCK + ag / AG_MAP_BITS_PER_BLOCK;
    uint32_t bit = ag % AG_MAP_BITS_PER_BLOCK;
    CHECK(header != NULL && map != NULL);
    int result = block_reader_read_verified(check->reader, BLOCK_TYPE_AG_MAP, map_block, 0, map);
    if (result < 0)
        return result;
    format_ag_header_init(header, &check->geometry, ag, 0);
    repair_write(check, geometry_ag_first_block(&check->geometry, ag), header);
    change_log_barrier(&check->changes);
    map->bits[bit / 8] |= (uint8_t)(1u << (bit % 8));
    repair_write(check, map_block, map);
    return 0;
}

int repair_groups(struct check *check)
{
    int result = 0;
    for (uint32_t ag = 0; ag < check->geometry.ag_count && result == 0; ag++) {
        if (check->space.groups[ag].needs_rebuild && check->space.groups[ag].is_initialised)
            result = rebuild_group(check, ag);
    }
    return result;
}
