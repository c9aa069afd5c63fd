// SPDX-License-Identifier: Apache-2.0
// Rule 24: nothing but beats, notes and the claim lands while the volume is frozen.
#include "tests/sim/disk.h"
#include "tests/sim/ring3_check.h"

// Heartbeats, mailboxes and the claim: what a copy of the LUN may show as of any moment.
static bool is_presence(const struct geometry *geometry, uint64_t block)
{
    uint64_t slot = (block - geometry->slot_table_block) / FORMAT_SLOT_BLOCKS;
    if (block == FORMAT_CLAIM_BLOCK)
        return true;
    return block >= geometry->slot_table_block && slot < geometry->slot_count &&
           (block == geometry_heartbeat_block(geometry, (uint32_t)slot) ||
            block == geometry_mailbox_block(geometry, (uint32_t)slot));
}

void ring3_check_frozen(struct ring3 *ring3, const struct ring3_life *writer,
                        const struct sim_disk_write *write)
{
    uint64_t block = write->offset / BLOCK_BYTES;
    if (is_presence(&writer->geometry, block) || !ring3_freeze_holds(ring3))
        return;
    ring3_fail(ring3, "a write of life %u to block %llu landed while the volume was frozen",
               writer->number, (unsigned long long)block);
}
