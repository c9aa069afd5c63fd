// SPDX-License-Identifier: Apache-2.0
// Assumes a volume that is wrong in nothing but what a crash, or a repair that was cut off, leaves.
//
//   mark NEEDS_FSCK ──► inodes ──► free trees ──► orphan lists ──► slots ──► unmark
//
// Between the marks the volume cannot be mounted, and each step rests only on what the checks
// derive anew from inodes and directories: so a repair that is cut off anywhere is simply run
// again. What it had done by then shows as leaked or as both used and free, which the mark allows
// to be put right. New tree nodes are written to blocks that nothing on the disk refers to.
#include "fsck/repair.h"

#include <stdlib.h>
#include <string.h>

#include "fs/base/cleanup.h"
#include "fs/base/error.h"
#include "fsck/block_reader.h"
#include "fsck/check.h"

static int flush(struct check *check)
{
    return block_device_flush(check->device, check->environment->scheduler);
}

// --- superblock ------------------------------------------------------------------------------

int repair_superblocks(struct check *check, uint32_t state)
{
    struct superblock_disk disk;
    uint64_t blocks[FORMAT_SUPERBLOCK_COUNT];
    int result = 0;
    check->geometry.state = state;
    for (int i = 0; i < FORMAT_SUPERBLOCK_COUNT; i++)
        lamport_observe(&check->clock, check->finding.places[i].version);
    uint64_t version = lamport_tick(&check->clock);
    geometry_superblock_blocks(&check->geometry, blocks);
    for (unsigned i = 0; i < FORMAT_SUPERBLOCK_COUNT && result == 0; i++) {
        format_superblock_encode(&disk, &check->geometry, blocks[i]);
        format_block_seal(&disk, version);
        result = block_reader_write(check->reader, blocks[i], &disk);
        if (result == 0)
            result = flush(check); // one at a time: never two torn ones
    }
    return result;
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
    disk.lamport = le64_make(check->clock.now);
    format_block_seal(&disk, lamport_tick(&check->clock));
    return block_reader_write(check->reader, block, &disk);
}

int repair_slots(struct check *check)
{
    int result = 0;
    for (uint32_t slot = 0; slot < check->geometry.slot_count && result == 0; slot++) {
        if (check->heartbeats[slot].state != HEARTBEAT_FREE)
            result = free_slot(check, slot);
    }
    return result;
}

// --- the spine -------------------------------------------------------------------------------

static bool any_group_needs_rebuild(const struct check *check)
{
    for (uint32_t ag = 0; ag < check->geometry.ag_count; ag++) {
        if (check->space.groups[ag].needs_rebuild)
            return true;
    }
    return false;
}

static int repair_structures(struct check *check)
{
    int result = repair_superblocks(check, check->geometry.state | SUPERBLOCK_STATE_NEEDS_FSCK);
    if (result == 0)
        result = repair_orphan_inodes(check);
    if (result == 0)
        result = flush(check);
    if (result == 0)
        result = repair_groups(check);
    if (result == 0)
        result = flush(check);
    return result == 0 ? repair_orphan_lists(check) : result;
}

static bool superblocks_need_repair(const struct check *check)
{
    const uint64_t *counts = check->problems.counts;
    return counts[PROBLEM_SUPERBLOCK_COPY] + counts[PROBLEM_SUPERBLOCK_DIFFERS] > 0 ||
           check->geometry.state & SUPERBLOCK_STATE_NEEDS_FSCK;
}

int repair_volume(struct check *check)
{
    int result = 0;
    progress_begin(&check->progress, "repair");
    if (check->orphan_count > 0 || any_group_needs_rebuild(check))
        result = repair_structures(check);
    if (result == 0)
        result = repair_slots(check);
    if (result == 0)
        result = flush(check);
    if (result == 0 && superblocks_need_repair(check))
        result = repair_superblocks(check,
                                    check->geometry.state & ~(uint32_t)SUPERBLOCK_STATE_NEEDS_FSCK);
    if (result < 0)
        return check_fail(check, result, "the repair failed: %s; run fsck.lunfs again",
                          error_text(result));
    return 0;
}
