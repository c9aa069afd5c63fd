// SPDX-License-Identifier: Apache-2.0
#include "fsck/space.h"

#include <stdlib.h>

#include "fs/base/check.h"

_Static_assert(sizeof(struct space_run) == 16, "memory goes with this");

const char *space_use_name(enum space_use use)
{
    static const char *const names[] = {
        [SPACE_FREE] = "free",
        [SPACE_HEADER] = "header of group",
        [SPACE_RESERVE] = "reserve of group",
        [SPACE_FREE_TREE] = "free tree of group",
        [SPACE_INODE] = "inode",
        [SPACE_TREE] = "tree of inode",
        [SPACE_DATA] = "data of inode",
        [SPACE_ORPHAN_TREE] = "orphan list of slot",
    };
    return names[use];
}

void space_init(struct space *space, const struct geometry *geometry)
{
    *space = (struct space){.geometry = geometry};
    space->groups = calloc(geometry->ag_count, sizeof(*space->groups));
    CHECK(space->groups != NULL);
}

void space_deinit(struct space *space)
{
    if (space->groups == NULL)
        return;
    for (uint32_t ag = 0; ag < space->geometry->ag_count; ag++)
        free(space->groups[ag].runs);
    free(space->groups);
    space->groups = NULL;
}

static void make_room(struct space_group *group)
{
    if (group->run_count < group->capacity)
        return;
    CHECK(group->capacity < UINT32_MAX / 2);
    group->capacity = group->capacity == 0 ? 16 : group->capacity * 2;
    group->runs = realloc(group->runs, group->capacity * sizeof(*group->runs));
    CHECK(group->runs != NULL);
}

void space_add(struct space *space, uint64_t block, uint64_t count, enum space_use use,
               uint64_t owner)
{
    uint32_t ag;
    CHECK(count > 0 && geometry_ag_of_block(space->geometry, block, &ag));
    uint64_t start = block - geometry_ag_first_block(space->geometry, ag);
    CHECK(count <= geometry_ag_block_count(space->geometry, ag) - start);
    struct space_group *group = &space->groups[ag];
    uint64_t owner_and_use = owner << 8 | use;
    if (use != SPACE_FREE)
        space->used_block_count += count;
    struct space_run *last = group->run_count > 0 ? &group->runs[group->run_count - 1] : NULL;
    if (last != NULL && last->owner_and_use == owner_and_use &&
        last->start + last->count == start) {
        last->count += (uint32_t)count;
        return;
    }
    make_room(group);
    group->runs[group->run_count++] = (struct space_run){
        .start = (uint32_t)start, .count = (uint32_t)count, .owner_and_use = owner_and_use};
}

static int compare_runs(const void *a, const void *b)
{
    const struct space_run *x = a, *y = b;
    if (x->start != y->start)
        return x->start < y->start ? -1 : 1;
    return x->owner_and_use < y->owner_and_use ? -1 : x->owner_and_use > y->owner_and_use;
}

void space_group_sort(struct space_group *group)
{
    if (group->run_count > 1)
        qsort(group->runs, group->run_count, sizeof(*group->runs), compare_runs);
}

// --- for the repair --------------------------------------------------------------------------

bool space_run_is_referenced(const struct space_run *run)
{
    enum space_use use = space_run_use(run);
    return use != SPACE_FREE && use != SPACE_RESERVE;
}

bool space_run_stays(const struct space_run *run)
{
    enum space_use use = space_run_use(run);
    return !space_run_is_dropped(run) && use != SPACE_FREE && use != SPACE_RESERVE &&
           use != SPACE_FREE_TREE;
}

static void add_gap(struct space_gaps *gaps, uint64_t start, uint64_t end)
{
    if (start < end)
        gaps->gaps[gaps->count++] =
            (struct space_run){.start = (uint32_t)start, .count = (uint32_t)(end - start)};
}

void space_gaps_find(const struct space *space, uint32_t ag,
                     bool (*keeps)(const struct space_run *run), struct space_gaps *gaps)
{
    const struct space_group *group = &space->groups[ag];
    uint64_t covered = 1; // the header, also where its run is missing
    *gaps = (struct space_gaps){.count = 0};
    gaps->gaps = calloc((size_t)group->run_count + 1, sizeof(*gaps->gaps));
    CHECK(gaps->gaps != NULL);
    for (uint32_t i = 0; i < group->run_count; i++) {
        const struct space_run *run = &group->runs[i];
        uint64_t end = (uint64_t)run->start + run->count;
        if (!keeps(run))
            continue;
        add_gap(gaps, covered, run->start);
        covered = end > covered ? end : covered;
    }
    add_gap(gaps, covered, geometry_ag_block_count(space->geometry, ag));
}

void space_gaps_deinit(struct space_gaps *gaps)
{
    free(gaps->gaps);
    *gaps = (struct space_gaps){.count = 0};
}

static bool take_block_of(struct space *space, uint32_t ag, enum space_use use, uint64_t owner,
                          uint64_t *block)
{
    struct space_group *group = &space->groups[ag];
    struct space_gaps gaps;
    if (!group->is_initialised)
        return false;
    space_gaps_find(space, ag, space_run_is_referenced, &gaps);
    bool is_found = gaps.count > 0;
    if (is_found) {
        *block = geometry_ag_first_block(space->geometry, ag) + gaps.gaps[0].start;
        space_add(space, *block, 1, use, owner);
        space_group_sort(group);
        group->needs_rebuild = true;
    }
    space_gaps_deinit(&gaps);
    return is_found;
}

uint64_t space_take_block(struct space *space, uint32_t ag, enum space_use use, uint64_t owner)
{
    uint32_t ag_count = space->geometry->ag_count;
    uint64_t block;
    for (uint32_t i = 0; i < ag_count; i++) {
        if (take_block_of(space, (uint32_t)(((uint64_t)ag + i) % ag_count), use, owner, &block))
            return block;
    }
    return 0;
}
