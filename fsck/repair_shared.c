// SPDX-License-Identifier: Apache-2.0
// Blocks with two owners get one. A block of metadata says itself whose it is, so it wins over
// data. Of two files the one whose inode was written last wins: versions are a Lamport clock, so
// whoever was given the blocks later has the higher one. The other file gets a hole there, never
// the bytes of the winner.
#include <stdlib.h>

#include "fs/base/check.h"
#include "fs/base/cleanup.h"
#include "fs/base/error.h"
#include "fs/base/memory.h"
#include "fsck/block_reader.h"
#include "fsck/check.h"
#include "fsck/rebuild.h"
#include "fsck/repair.h"

// --- who loses -------------------------------------------------------------------------------

static uint64_t version_of(struct check *check, uint64_t inode)
{
    CLEANUP_FREE struct inode_disk *disk = malloc(sizeof(*disk));
    CHECK(disk != NULL);
    int result = block_reader_read_verified(check->reader, BLOCK_TYPE_INODE, inode, inode, disk);
    return result == 0 ? format_block_version(disk) : 0;
}

static uint64_t loser_of(struct check *check, const struct overlap *overlap)
{
    for (int i = 0; i < 2; i++) {
        if (overlap->uses[1 - i] != SPACE_DATA)
            return overlap->owners[i];
    }
    uint64_t versions[2] = {version_of(check, overlap->owners[0]),
                            version_of(check, overlap->owners[1])};
    return versions[0] < versions[1] ? overlap->owners[0] : overlap->owners[1];
}

// --- the losers' extents -----------------------------------------------------------------------

struct losers {
    struct rebuild_forbidden *ranges;
    size_t count;
};

static void add_loser(struct losers *losers, const struct overlap *overlap, uint64_t owner)
{
    bool is_own = overlap->owners[0] == overlap->owners[1] && overlap->uses[0] == overlap->uses[1];
    struct rebuild_forbidden *range = &losers->ranges[losers->count++];
    *range = (struct rebuild_forbidden){
        .owner = owner, .block = overlap->block, .count = overlap->count};
    if (is_own) // a file that has a block twice keeps it once
        range->is_taken = memory_new(overlap->count / 8 + 1);
}

static int compare_losers(const void *a, const void *b)
{
    const struct rebuild_forbidden *x = a, *y = b;
    if (x->owner != y->owner)
        return x->owner < y->owner ? -1 : 1;
    return x->block < y->block ? -1 : x->block > y->block;
}

static int rebuild_losers(struct check *check, struct losers *losers)
{
    int result = 0;
    if (losers->count > 1)
        qsort(losers->ranges, losers->count, sizeof(*losers->ranges), compare_losers);
    for (size_t i = 0, end; i < losers->count && result == 0; i = end) {
        for (end = i; end < losers->count && losers->ranges[end].owner == losers->ranges[i].owner;)
            end++;
        struct rebuild_request request = {
            .check = check,
            .number = losers->ranges[i].owner,
            .forbidden = &losers->ranges[i],
            .forbidden_count = end - i,
        };
        result = rebuild_inode(&request);
    }
    return result;
}

// --- the stage -------------------------------------------------------------------------------

// An orphan list is emptied at the end anyway, a quota bucket is written to other blocks; what is
// no data and neither of these cannot be shared, since each block says whose it is.
static int settle(struct check *check, const struct overlap *overlap, struct losers *losers)
{
    for (int i = 0; i < 2; i++) {
        if (overlap->uses[i] == SPACE_ORPHAN_TREE)
            return repair_orphan_list(check, (uint32_t)overlap->owners[i]);
    }
    for (int i = 0; i < 2; i++) {
        if (overlap->uses[i] == SPACE_QUOTA_TREE && overlap->uses[1 - i] != SPACE_DATA)
            return repair_quota_records(check, (uint32_t)overlap->owners[i]);
    }
    if (overlap->uses[0] != SPACE_DATA && overlap->uses[1] != SPACE_DATA)
        return -ERROR_BLOCK_OWNER;
    add_loser(losers, overlap, loser_of(check, overlap));
    return 0;
}

static int initialise_groups(struct check *check)
{
    int result = 0;
    for (uint32_t ag = 0; ag < check->geometry.ag_count && result == 0; ag++) {
        const struct space_group *group = &check->space.groups[ag];
        if (!group->is_initialised && group->run_count > 0)
            result = repair_group_initialise(check, ag);
    }
    return result;
}

int repair_shared(struct check *check)
{
    const struct overlaps *overlaps = &check->overlaps;
    struct losers losers = {.ranges = calloc(overlaps->count + 1, sizeof(*losers.ranges))};
    CHECK(losers.ranges != NULL);
    int result = initialise_groups(check);
    for (size_t i = 0; i < overlaps->count && result == 0; i++)
        result = settle(check, &overlaps->overlaps[i], &losers);
    if (result == 0)
        result = rebuild_losers(check, &losers);
    for (size_t i = 0; i < losers.count; i++)
        free(losers.ranges[i].is_taken);
    free(losers.ranges);
    return result;
}
