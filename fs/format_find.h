// SPDX-License-Identifier: Apache-2.0
// Finds the superblock of a device without hints: at block 16, at block 272 and in the device's
// last whole block. Used by tools, which want to know of every copy.
//
// Block 16 decides if it verifies. mkfs writes it last, so if the copies say in-progress and block
// 16 does not, nothing but the copies was touched; and the other way round, the volume is whole but
// for that block. Else the copy of the highest version decides.
#pragma once

#include "fs/base/block_device.h"
#include "fs/format.h"

struct format_superblock_place {
    uint64_t block;
    int verified; // 0, -ERROR_BLOCK_* or what the device answered
    int decoded;  // 0, -ERROR_SUPERBLOCK_*, -ERROR_VOLUME_SHRUNK; meaningful if verified is 0
    uint64_t version;
    struct geometry geometry; // filled in if verified is 0
};

struct format_superblock_finding {
    struct format_superblock_place places[FORMAT_SUPERBLOCK_COUNT];
    int chosen; // index of the one that decides; -1: none verified
};

// 0 if the one that decides decodes; -ERROR_SUPERBLOCK_NONE if none verified; else its error, or
// the device's if no place could be read. Waits.
int format_superblock_find(struct block_device *device, struct scheduler *scheduler,
                           struct format_superblock_finding *finding);
