// SPDX-License-Identifier: Apache-2.0
// Assumes replayed journals. Reads the map of initialised groups, and for each of those the header
// and its trees; a group that the map does not name is all free and never read (rule 16). Leaves in
// `space` what is free, reserved, or a node of the groups' own trees.
#include <stdlib.h>

#include "fs/base/check.h"
#include "fs/base/cleanup.h"
#include "fs/base/error.h"
#include "fsck/block_reader.h"
#include "fsck/check.h"
#include "fsck/tree_walk.h"

typedef unsigned long long ull;

// --- the map ---------------------------------------------------------------------------------

static void take_map_bits(struct check *check, const struct ag_map_disk *disk, uint32_t index)
{
    uint64_t first = (uint64_t)index * AG_MAP_BITS_PER_BLOCK;
    for (uint64_t i = 0; i < AG_MAP_BITS_PER_BLOCK && first + i < check->geometry.ag_count; i++)
        check->space.groups[first + i].is_initialised = disk->bits[i / 8] >> (i % 8) & 1;
}

// Which groups of a lost map block are initialised nobody knows: they count as initialised and
// unreadable, so that their blocks are not called leaked.
static void give_up_map_bits(struct check *check, uint32_t index)
{
    uint64_t first = (uint64_t)index * AG_MAP_BITS_PER_BLOCK;
    for (uint64_t i = 0; i < AG_MAP_BITS_PER_BLOCK && first + i < check->geometry.ag_count; i++)
        check->space.groups[first + i].is_unreadable = true;
}

static void read_map_block(struct check *check, uint32_t index)
{
    CLEANUP_FREE struct ag_map_disk *disk = malloc(sizeof(*disk));
    CHECK(disk != NULL);
    const char *reason = NULL;
    uint64_t block = FORMAT_AG_MAP_BLOCK + index;
    int result = block_reader_read_verified(check->reader, BLOCK_TYPE_AG_MAP, block, 0, disk);
    if (result < 0)
        reason = error_text(result);
    else
        format_ag_map_check(disk, &check->geometry, index, &reason);
    if (reason != NULL)
        problem_report(&check->problems, PROBLEM_AG_MAP, block, "%s", reason);
    if (result < 0)
        give_up_map_bits(check, index);
    else
        take_map_bits(check, disk, index);
}

// --- the free tree ---------------------------------------------------------------------------

struct free_walk {
    uint32_t ag;
    uint64_t end_of_last; // of the free extent before
    uint64_t found;
};

static bool take_node(struct tree_walk *walk, uint64_t block)
{
    const struct free_walk *free_walk = walk->context;
    uint32_t ag;
    bool is_ours = geometry_ag_of_block(&walk->check->geometry, block, &ag) && ag == free_walk->ag;
    if (is_ours)
        space_add(&walk->check->space, block, 1, SPACE_FREE_TREE, ag);
    else
        problem_report(&walk->check->problems, walk->problem, block,
                       "a node of group %u's tree stands outside of the group", free_walk->ag);
    return true;
}

static const char *free_extent_broken(const struct check *check, const struct free_walk *walk,
                                      uint64_t block, uint64_t count)
{
    uint32_t ag;
    if (!geometry_is_data_range(&check->geometry, block, count) ||
        !geometry_ag_of_block(&check->geometry, block, &ag) || ag != walk->ag)
        return "it lies outside of the group";
    if (walk->end_of_last != 0 && block < walk->end_of_last)
        return "it overlaps the one before";
    if (block == walk->end_of_last)
        return "it should be one with the one before";
    return NULL;
}

static bool take_free_item(struct tree_walk *walk, uint64_t block, const struct format_item *item)
{
    struct free_walk *free_walk = walk->context;
    struct check *check = walk->check;
    const char *reason = NULL;
    uint64_t count = 0, first = item->key.major;
    if (item->key.kind != ITEM_FREE)
        reason = "an item of another kind stands in the tree";
    else
        format_free_decode(item, &count, &reason);
    if (reason == NULL)
        reason = free_extent_broken(check, free_walk, first, count);
    if (reason != NULL) {
        walk->is_damaged = true;
        problem_report(&check->problems, PROBLEM_FREE_EXTENT, block,
                       "group %u, free extent at %llu: %s", free_walk->ag, (ull)first, reason);
        return true;
    }
    space_add(&check->space, first, count, SPACE_FREE, free_walk->ag);
    free_walk->end_of_last = first + count;
    free_walk->found += count;
    return true;
}

static bool refuse_reference(struct tree_walk *walk, uint64_t block, const struct format_item *item)
{
    walk->is_damaged = true;
    problem_report(&walk->check->problems, PROBLEM_REFERENCE, block, "at %llu",
                   (ull)item->key.major);
    return true;
}

static void walk_trees(struct check *check, const struct ag_header_disk *disk, uint32_t ag,
                       struct free_walk *context)
{
    uint64_t header = geometry_ag_first_block(&check->geometry, ag);
    struct tree_walk free_tree = {
        .check = check,
        .root_block = header,
        .area = disk->free_root,
        .area_bytes = sizeof(disk->free_root),
        .owner = ag,
        .problem = PROBLEM_FREE_TREE,
        .node = take_node,
        .item = take_free_item,
        .context = context,
    };
    struct tree_walk references = free_tree;
    references.area = disk->reference_root;
    references.area_bytes = sizeof(disk->reference_root);
    references.problem = PROBLEM_REFERENCE_TREE;
    references.item = refuse_reference;
    tree_walk_run(&free_tree);
    tree_walk_run(&references);
    check->space.groups[ag].is_unreadable = free_tree.is_damaged;
    check->space.groups[ag].needs_rebuild = free_tree.is_damaged || references.is_damaged;
}

// --- a group ---------------------------------------------------------------------------------

static void take_header(struct check *check, uint32_t ag, const struct format_ag *header)
{
    uint64_t first = geometry_ag_first_block(&check->geometry, ag);
    space_add(&check->space, first, 1, SPACE_HEADER, ag);
    for (uint32_t i = 0; i < header->reserve_count; i++)
        space_add(&check->space, header->reserve[i], 1, SPACE_RESERVE, ag);
}

static void compare_free_count(struct check *check, uint32_t ag)
{
    const struct check_group *group = &check->groups[ag];
    if (group->free_block_count == group->free_found)
        return;
    check->space.groups[ag].needs_rebuild = true;
    problem_report(&check->problems, PROBLEM_FREE_COUNT,
                   geometry_ag_first_block(&check->geometry, ag),
                   "group %u says %llu, its tree has %llu", ag, (ull)group->free_block_count,
                   (ull)group->free_found);
}

void pass2_group(struct check *check, uint32_t ag)
{
    CLEANUP_FREE struct ag_header_disk *disk = malloc(sizeof(*disk));
    CHECK(disk != NULL);
    struct format_ag header;
    const char *reason = NULL;
    uint64_t block = geometry_ag_first_block(&check->geometry, ag);
    check->space.groups[ag].is_unreadable = check->space.groups[ag].needs_rebuild = true;
    int result = block_reader_read_verified(check->reader, BLOCK_TYPE_AG_HEADER, block, ag, disk);
    if (result < 0) {
        problem_report(&check->problems, PROBLEM_AG_HEADER, block, "%s (group %u)",
                       error_text(result), ag);
        return;
    }
    if (format_ag_decode(disk, &check->geometry, ag, &header, &reason) < 0) {
        problem_report(&check->problems, PROBLEM_AG_FIELDS, block, "%s (group %u)", reason, ag);
        return;
    }
    struct free_walk context = {.ag = ag};
    take_header(check, ag, &header);
    walk_trees(check, disk, ag, &context);
    check->groups[ag] = (struct check_group){
        .free_block_count = header.free_block_count,
        .free_found = context.found,
    };
    if (!check->space.groups[ag].is_unreadable)
        compare_free_count(check, ag);
}

void pass2_map(struct check *check)
{
    for (uint32_t i = 0; i < check->geometry.ag_map_block_count; i++)
        read_map_block(check, i);
}

int pass2_groups(struct check *check)
{
    uint32_t ag_count = check->geometry.ag_count;
    space_init(&check->space, &check->geometry);
    check->groups = calloc(ag_count, sizeof(*check->groups));
    CHECK(check->groups != NULL);
    progress_begin(&check->progress, "allocation groups", "groups");
    pass2_map(check);
    for (uint32_t ag = 0; ag < ag_count; ag++) {
        if (check_cancelled(check) != 0)
            return -ECANCELED;
        progress_update(&check->progress, environment_boot_ns(check->environment), ag, ag_count);
        if (check->space.groups[ag].is_initialised)
            pass2_group(check, ag);
    }
    return 0;
}
