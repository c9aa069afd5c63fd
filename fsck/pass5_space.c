// SPDX-License-Identifier: Apache-2.0
// Assumes that all that uses or frees blocks was gathered. Sorts each group's runs and sweeps over
// them: every block belongs to exactly one. Leaves the runs sorted, for the repair.
#include "fsck/check.h"

typedef unsigned long long ull;

struct sweep {
    struct check *check;
    uint32_t ag;
    uint64_t first_block; // of the group
};

// What the group itself writes anew: its reserve is free space too, only that it stands in the
// header, and its tree goes to other blocks.
static bool is_the_groups(const struct space_run *run)
{
    enum space_use use = space_run_use(run);
    return use == SPACE_FREE || use == SPACE_RESERVE || use == SPACE_FREE_TREE;
}

static void report_overlap(const struct sweep *sweep, const struct space_run *before,
                           const struct space_run *run, uint64_t count)
{
    struct check *check = sweep->check;
    bool is_free = is_the_groups(before) || is_the_groups(run);
    uint64_t block = sweep->first_block + run->start;
    check->space.groups[sweep->ag].needs_rebuild = true;
    if (!is_free)
        overlaps_add(&check->overlaps, block, count, before, run);
    problem_report(&check->problems, is_free ? PROBLEM_USED_AND_FREE : PROBLEM_USED_TWICE, block,
                   "%llu blocks: %s %llu, and %s %llu", (ull)count,
                   space_use_name(space_run_use(before)), (ull)space_run_owner(before),
                   space_use_name(space_run_use(run)), (ull)space_run_owner(run));
}

static void report_leak(struct sweep *sweep, uint64_t start, uint64_t count)
{
    sweep->check->space.groups[sweep->ag].needs_rebuild = true;
    problem_report(&sweep->check->problems, PROBLEM_LEAKED, sweep->first_block + start,
                   "%llu blocks in group %u", (ull)count, sweep->ag);
}

// --- a group ---------------------------------------------------------------------------------

static void sweep_runs(struct sweep *sweep, const struct space_group *group)
{
    uint64_t covered = 0;                           // everything below is accounted for
    const struct space_run *furthest = group->runs; // up to there
    for (uint32_t i = 0; i < group->run_count; i++) {
        const struct space_run *run = &group->runs[i];
        uint64_t end = (uint64_t)run->start + run->count;
        if (run->start < covered)
            report_overlap(sweep, furthest, run, (end < covered ? end : covered) - run->start);
        else if (run->start > covered && !group->is_unreadable)
            report_leak(sweep, covered, run->start - covered);
        if (end > covered) {
            covered = end;
            furthest = run;
        }
    }
    uint64_t block_count = geometry_ag_block_count(&sweep->check->geometry, sweep->ag);
    if (covered < block_count && !group->is_unreadable)
        report_leak(sweep, covered, block_count - covered);
}

static void report_uninitialised(const struct sweep *sweep, const struct space_group *group)
{
    const struct space_run *run = &group->runs[0];
    problem_report(&sweep->check->problems, PROBLEM_USED_UNINITIALISED,
                   sweep->first_block + run->start, "group %u: %s %llu", sweep->ag,
                   space_use_name(space_run_use(run)), (ull)space_run_owner(run));
}

void pass5_space(struct check *check)
{
    struct sweep sweep = {.check = check};
    progress_begin(&check->progress, "space", "groups");
    for (uint32_t ag = 0; ag < check->geometry.ag_count; ag++) {
        struct space_group *group = &check->space.groups[ag];
        progress_update(&check->progress, environment_boot_ns(check->environment), ag,
                        check->geometry.ag_count);
        sweep.ag = ag;
        sweep.first_block = geometry_ag_first_block(&check->geometry, ag);
        space_group_sort(group);
        if (group->is_initialised || group->is_unreadable)
            sweep_runs(&sweep, group);
        else if (group->run_count > 0)
            report_uninitialised(&sweep, group);
    }
}
