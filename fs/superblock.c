// SPDX-License-Identifier: Apache-2.0
#include "fs/superblock.h"

#include <stdlib.h>
#include <string.h>

#include "fs/base/block_device.h"
#include "fs/base/error.h"
#include "fs/base/lamport.h"
#include "fs/volume.h"

bool superblock_is_ours(const struct volume *volume, const struct format_superblock_place *place)
{
    return place->verified == 0 && place->decoded == 0 &&
           memcmp(place->geometry.format_id, volume->geometry.format_id, 16) == 0;
}

int superblock_write(struct volume *volume, const struct format_superblock_place *place,
                     const struct geometry *geometry)
{
    struct superblock_disk *disk = block_buffer_new(BLOCK_BYTES);
    format_superblock_encode(disk, geometry, place->block);
    lamport_observe(&volume->clock, place->version);
    format_block_seal(disk, lamport_tick(&volume->clock));
    int result = block_device_write(volume->device, volume->scheduler, place->block * BLOCK_BYTES,
                                    disk, BLOCK_BYTES);
    free(disk);
    return result != 0 ? result : block_device_flush(volume->device, volume->scheduler);
}

static int change_place(struct volume *volume, const struct format_superblock_place *place,
                        uint64_t set, uint64_t clear)
{
    struct geometry geometry = place->geometry;
    geometry.feature_ro_compat = (geometry.feature_ro_compat | set) & ~clear;
    if (geometry.feature_ro_compat == place->geometry.feature_ro_compat)
        return 0;
    return superblock_write(volume, place, &geometry);
}

int superblock_change_ro_compat(struct volume *volume, uint64_t set, uint64_t clear)
{
    struct format_superblock_finding found;
    int result = format_superblock_find(volume->device, volume->scheduler, &found);
    if (result != 0)
        return result;
    if (!superblock_is_ours(volume, &found.places[found.chosen]))
        return -ERROR_BLOCK_FORMAT_ID;
    for (int i = FORMAT_SUPERBLOCK_COUNT - 1; i >= 0 && result == 0; i--) {
        if (superblock_is_ours(volume, &found.places[i]))
            result = change_place(volume, &found.places[i], set, clear);
    }
    return result;
}
