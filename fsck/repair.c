// SPDX-License-Identifier: Apache-2.0
// New tree nodes go to blocks that nothing on the disk refers to, and an object's own block, which
// then points to them, is written behind a barrier: so at each moment of the writing every object
// is as it was or as it will be. What a repair that was cut off has done by then shows as leaked or
// as both used and free, as a count of links, or as an inode without a name: all of that is put
// right by the next run.
#include "fsck/repair.h"

#include "fs/base/check.h"
#include "fsck/block_reader.h"
#include "fsck/check.h"

void repair_write(struct check *check, uint64_t block, void *bytes)
{
    CHECK(!check->options->no_changes);
    format_block_seal(bytes, lamport_tick(&check->clock));
    change_log_add(&check->changes, block, bytes);
}

// --- slots -----------------------------------------------------------------------------------

static int free_slot(struct check *check, uint32_t slot)
{
    struct heartbeat_disk disk;
    uint64_t block = geometry_heartbeat_block(&check->geometry, slot);
    int result =
        block_reader_read_verified(check->reader, BLOCK_TYPE_HEARTBEAT, block, slot, &disk);
    if (result < 0)
        return result;
    disk.state = le32_make(HEARTBEAT_FREE);
    disk.recovered_incarnation = disk.incarnation;
    disk.lamport = le64_make(check->clock.now + 1); // the version that this block gets
    repair_write(check, block, &disk);
    return 0;
}

// Those of dead nodes, whose journals are replayed before this is on the disk.
static int free_slots(struct check *check)
{
    int result = 0;
    for (uint32_t slot = 0; slot < check->geometry.slot_count && result == 0; slot++) {
        if (check->heartbeats[slot].state != HEARTBEAT_FREE)
            result = free_slot(check, slot);
    }
    return result;
}

// --- the stages ------------------------------------------------------------------------------

static int repair_orphans(struct check *check)
{
    int result = repair_orphan_inodes(check);
    change_log_barrier(&check->changes);
    return result == 0 ? repair_orphan_lists(check) : result;
}

static int repair_space(struct check *check)
{
    int result = repair_groups(check);
    return result == 0 ? free_slots(check) : result;
}

int repair_stage(struct check *check, enum problem_stage stage)
{
    static int (*const stages[])(struct check * check) = {
        [PROBLEM_STAGE_VOLUME] = repair_volume_blocks, [PROBLEM_STAGE_INODES] = repair_inode_fields,
        [PROBLEM_STAGE_TREES] = repair_trees,          [PROBLEM_STAGE_SHARED] = repair_shared,
        [PROBLEM_STAGE_NAMES] = repair_names,          [PROBLEM_STAGE_LINKS] = repair_links,
        [PROBLEM_STAGE_ORPHANS] = repair_orphans,      [PROBLEM_STAGE_QUOTAS] = repair_quotas,
        [PROBLEM_STAGE_SPACE] = repair_space,
    };
    CHECK(stage < PROBLEM_STAGE_COMMIT);
    progress_begin(&check->progress, "repair", NULL);
    int result = stages[stage](check);
    change_log_barrier(&check->changes);
    return result;
}
