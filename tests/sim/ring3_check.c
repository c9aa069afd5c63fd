// SPDX-License-Identifier: Apache-2.0
// What is looked at with each write that lands: nothing of a life lands once a living node takes it
// for fenced (I1, I4), and nothing but beats, notes and the claim while the volume is frozen (rule
// 24).
#include "tests/sim/disk.h"
#include "tests/sim/ring3.h"

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

static void check_frozen(struct ring3 *ring3, const struct ring3_life *writer,
                         const struct sim_disk_write *write)
{
    uint64_t block = write->offset / BLOCK_BYTES;
    if (is_presence(&writer->geometry, block) || !ring3_freeze_holds(ring3))
        return;
    ring3_fail(ring3, "a write of life %u to block %llu landed while the volume was frozen",
               writer->number, (unsigned long long)block);
}

static void landed(void *context, const struct sim_disk_write *write)
{
    struct ring3 *ring3 = context;
    const struct ring3_life *life, *other;
    ring3->result.writes++;
    LIST_FOREACH (life, &ring3->lives, link) {
        if (life->path == write->path || life->beat_path == write->path)
            break;
    }
    if (life == NULL || life->incarnation == 0)
        return;
    ring3->result.late_writes += life->is_killed;
    check_frozen(ring3, life, write);
    LIST_FOREACH (other, &ring3->lives, link) {
        if (other != life && ring3_life_has_fenced(other, life))
            ring3_fail(ring3, "a write of life %u to %llu landed; life %u takes it for fenced",
                       life->number, (unsigned long long)write->offset, other->number);
    }
}

void ring3_check_start(struct ring3 *ring3)
{
    sim_disk_set_hook(ring3->disk, landed, ring3);
}
