// SPDX-License-Identifier: Apache-2.0
#include "fsck/superblocks.h"

#include <stdlib.h>

#include "fs/base/cleanup.h"
#include "fsck/check.h"

static int write_superblock(struct check *check, uint64_t block, uint64_t version)
{
    CLEANUP_FREE struct superblock_disk *disk = block_buffer_new(BLOCK_BYTES);
    format_superblock_encode(disk, &check->geometry, block);
    format_block_seal(disk, version);
    return block_device_write(check->device, check->environment->scheduler, block * BLOCK_BYTES,
                              disk, BLOCK_BYTES);
}

int superblocks_write(struct check *check, uint32_t state)
{
    uint64_t blocks[FORMAT_SUPERBLOCK_COUNT];
    int result = 0;
    check->geometry.state = state;
    for (int i = 0; i < FORMAT_SUPERBLOCK_COUNT; i++)
        lamport_observe(&check->clock, check->finding.places[i].version);
    uint64_t version = lamport_tick(&check->clock);
    geometry_superblock_blocks(&check->geometry, blocks);
    for (unsigned i = 0; i < FORMAT_SUPERBLOCK_COUNT && result == 0; i++) {
        result = write_superblock(check, blocks[i], version);
        if (result == 0) // one at a time: never two torn ones
            result = block_device_flush(check->device, check->environment->scheduler);
    }
    return result;
}
