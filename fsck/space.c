// SPDX-License-Identifier: Apache-2.0
#include "fsck/space.h"

#include <stdlib.h>

#include "fs/base/check.h"
#include "fs/base/memory.h"

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
        [SPACE_QUOTA_TREE] = "quota bucket of slot",
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
    group->runs = memory_resize(group->runs, group->capacity, sizeof(*group->runs));
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
    if (space->is_only_counted)
        return;
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
    return use != SPACE_FREE && use != SPACE_RESERVE && use != SPACE_FREE_TREE;
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

// --- handing out blocks ------------------------------------------------------------------------

void space_pool_init(struct space_pool *pool, const struct space *space)
{
    *pool = (struct space_pool){.space = space};
}

void space_pool_deinit(struct space_pool *pool)
{
    space_gaps_deinit(&pool->gaps);
}

static bool run_is_listed(const struct space_run *run)
{
    return space_run_use(run) == SPACE_FREE || space_run_use(run) == SPACE_RESERVE;
}

// Of the gaps, what the group lists as free. Both are ascending.
static void keep_listed(const struct space_group *group, struct space_gaps *gaps)
{
    struct space_gaps listed = {.count = 0};
    uint32_t gap = 0;
    listed.gaps = calloc((size_t)gaps->count + group->run_count + 1, sizeof(*listed.gaps));
    CHECK(listed.gaps != NULL);
    for (uint32_t i = 0; i < group->run_count; i++) {
        const struct space_run *run = &group->runs[i];
        uint64_t run_end = (uint64_t)run->start + run->count;
        if (!run_is_listed(run))
            continue;
        while (gap < gaps->count && gaps->gaps[gap].start + gaps->gaps[gap].count <= run->start)
            gap++;
        for (uint32_t k = gap; k < gaps->count && gaps->gaps[k].start < run_end; k++) {
            uint64_t start = gaps->gaps[k].start, end = start + gaps->gaps[k].count;
            if (listed.count < gaps->count + group->run_count)
                add_gap(&listed, start > run->start ? start : run->start,
                        end < run_end ? end : run_end);
        }
    }
    space_gaps_deinit(gaps);
    *gaps = listed;
}

static bool run_is_any(const struct space_run *run)
{
    (void)run;
    return true;
}

// The next group's gaps; false if all were used up.
static bool open_next_group(struct space_pool *pool)
{
    const struct space *space = pool->space;
    uint32_t ag_count = space->geometry->ag_count;
    for (; pool->group_next < 2 * (uint64_t)ag_count; pool->group_next++) {
        bool is_listed = pool->group_next < ag_count;
        uint32_t ag = (uint32_t)(pool->group_next % ag_count);
        const struct space_group *group = &space->groups[ag];
        if (!group->is_initialised || (is_listed && group->is_unreadable))
            continue;
        space_gaps_deinit(&pool->gaps);
        space_gaps_find(space, ag,
                        is_listed || group->is_unreadable ? space_run_is_referenced : run_is_any,
                        &pool->gaps);
        if (is_listed)
            keep_listed(group, &pool->gaps);
        pool->gap = 0;
        pool->gap_first_block = geometry_ag_first_block(space->geometry, ag);
        pool->group_next++;
        return true;
    }
    return false;
}

uint64_t space_pool_take(struct space_pool *pool)
{
    for (;;) {
        for (; pool->gap < pool->gaps.count; pool->gap++) {
            struct space_run *gap = &pool->gaps.gaps[pool->gap];
            if (gap->count == 0)
                continue;
            gap->count--;
            return pool->gap_first_block + gap->start++;
        }
        if (!open_next_group(pool))
            return 0;
    }
}
