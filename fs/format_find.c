// SPDX-License-Identifier: Apache-2.0
#include "fs/format_find.h"

#include <stdlib.h>
#include <string.h>

#include "fs/base/cleanup.h"
#include "fs/base/error.h"

static void look_at(struct block_device *device, struct scheduler *scheduler, uint64_t block,
                    struct format_superblock_place *place)
{
    uint64_t device_blocks = device->size_bytes / BLOCK_BYTES;
    *place = (struct format_superblock_place){.block = block, .verified = -ERROR_BLOCK_RANGE};
    if (block >= device_blocks)
        return;
    CLEANUP_FREE struct superblock_disk *disk = block_buffer_new(BLOCK_BYTES);
    place->verified = block_device_read(device, scheduler, block * BLOCK_BYTES, disk, BLOCK_BYTES);
    if (place->verified == 0)
        place->verified = format_superblock_verify(disk, block);
    if (place->verified != 0)
        return;
    place->version = format_block_version(disk);
    place->decoded = format_superblock_decode(disk, device_blocks, &place->geometry);
}

static int choose(const struct format_superblock_place *places)
{
    int chosen = -1;
    if (places[0].verified == 0)
        return 0;
    for (int i = 1; i < FORMAT_SUPERBLOCK_COUNT; i++) {
        if (places[i].verified == 0 && (chosen < 0 || places[i].version > places[chosen].version))
            chosen = i;
    }
    return chosen;
}

// The device may have grown since mkfs: then the last copy is not in its last block.
static void look_at_own_end(struct block_device *device, struct scheduler *scheduler,
                            struct format_superblock_finding *finding)
{
    const struct format_superblock_place *chosen = &finding->places[finding->chosen];
    struct format_superblock_place *last = &finding->places[FORMAT_SUPERBLOCK_COUNT - 1];
    uint64_t block = chosen->geometry.block_count - 1;
    if (chosen->decoded == 0 && block != last->block)
        look_at(device, scheduler, block, last);
}

// What the device itself answered, if it let none of the places be read.
static int read_error(const struct format_superblock_finding *finding)
{
    for (unsigned i = 0; i < FORMAT_SUPERBLOCK_COUNT; i++) {
        if (error_is_check(finding->places[i].verified))
            return 0;
    }
    return finding->places[0].verified;
}

int format_superblock_find(struct block_device *device, struct scheduler *scheduler,
                           struct format_superblock_finding *finding)
{
    uint64_t device_blocks = device->size_bytes / BLOCK_BYTES;
    uint64_t blocks[FORMAT_SUPERBLOCK_COUNT] = {FORMAT_SUPERBLOCK_BLOCK,
                                                FORMAT_SUPERBLOCK_COPY_BLOCK, device_blocks - 1};
    for (unsigned i = 0; i < FORMAT_SUPERBLOCK_COUNT; i++)
        look_at(device, scheduler, blocks[i], &finding->places[i]);
    finding->chosen = choose(finding->places);
    if (finding->chosen < 0) {
        int error = read_error(finding);
        return error != 0 ? error : -ERROR_SUPERBLOCK_NONE;
    }
    look_at_own_end(device, scheduler, finding);
    return finding->places[finding->chosen].decoded;
}
