// SPDX-License-Identifier: Apache-2.0
// Assumes that all that uses or frees blocks was gathered. Sorts each group's runs and sweeps over
// them: every block belongs to exactly one. What belongs to nobody may hold an inode that was lost,
// so those blocks are looked at. Leaves the runs sorted, for the repair.
#include <stdlib.h>

#include "fs/base/check.h"
#include "fs/base/cleanup.h"
#include "fsck/block_reader.h"
#include "fsck/check.h"

typedef unsigned long long ull;

// Blocks of lost space that are read in search of inodes: enough for any real case, and a volume
// that lost terabytes is not read to its end.
enum { SEARCHED_BLOCKS_MAX = 1 << 18 };

struct sweep {
    struct check *check;
    uint32_t ag;
    uint64_t first_block; // of the group
    uint64_t searched;
};

// The reserve is free space too, only that it stands in the group's header.
static bool is_unused(const struct space_run *run)
{
    return space_run_use(run) == SPACE_FREE || space_run_use(run) == SPACE_RESERVE;
}

static void report_overlap(const struct sweep *sweep, const struct space_run *before,
                           const struct space_run *run, uint64_t count)
{
    bool is_free = is_unused(before) || is_unused(run);
    sweep->check->space.groups[sweep->ag].needs_rebuild = true;
    problem_report(&sweep->check->problems, is_free ? PROBLEM_USED_AND_FREE : PROBLEM_USED_TWICE,
                   sweep->first_block + run->start, "%llu blocks: %s %llu, and %s %llu", (ull)count,
                   space_use_name(space_run_use(before)), (ull)space_run_owner(before),
                   space_use_name(space_run_use(run)), (ull)space_run_owner(run));
}

// --- what belongs to nobody ------------------------------------------------------------------

static void search_inode(struct sweep *sweep, uint64_t block)
{
    struct inode_disk disk;
    struct check *check = sweep->check;
    sweep->searched++;
    int result = block_reader_read_verified(check->reader, BLOCK_TYPE_INODE, block, block, &disk);
    if (result == 0 && le32_get(disk.link_count) > 0)
        problem_report(&check->problems, PROBLEM_INODE_LOST, block, "inode %llu, with %llu bytes",
                       (ull)block, (ull)le64_get(disk.size));
}

static void report_leak(struct sweep *sweep, uint64_t start, uint64_t count)
{
    uint64_t block = sweep->first_block + start;
    sweep->check->space.groups[sweep->ag].needs_rebuild = true;
    problem_report(&sweep->check->problems, PROBLEM_LEAKED, block, "%llu blocks in group %u",
                   (ull)count, sweep->ag);
    for (uint64_t i = 0; i < count && sweep->searched < SEARCHED_BLOCKS_MAX; i++)
        search_inode(sweep, block + i);
}

// --- a group ---------------------------------------------------------------------------------

static void sweep_runs(struct sweep *sweep, const struct space_group *group)
{
    uint64_t covered = 0; // everything below is accounted for
    const struct space_run *furthest = NULL;
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
    progress_begin(&check->progress, "space");
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
