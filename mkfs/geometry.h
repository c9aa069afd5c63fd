// SPDX-License-Identifier: Apache-2.0
// Where everything goes on a new volume. Pure: a size and what the user asked for give a plan.
//
//   0       16 17 18        S            J                    A                          last
//   ├─ boot ─┼──┼──┼─ map ───┼─ slots ─────┼─ journals ──────────┼─ group 0 ─ group 1 ─ ... ─┤
//             sb claim                                                                    sb copy
//
// The slot table stands before the superblock copy at block 272 if it fits there, else behind it.
// Groups begin at a multiple of 1 MiB and are as large as four of them a slot allow, so that every
// node can have groups of its own.
#pragma once

#include <stdint.h>

#include "fs/base/text.h"
#include "fs/format.h"

enum { MKFS_GROUPS_PER_SLOT = 4, MKFS_GROUPS_MIN = 4 };

struct mkfs_request {
    uint64_t device_bytes;
    uint32_t slot_count;    // 0: by size, 32 from 1 GiB on
    uint64_t journal_bytes; // of each slot, rounded up to blocks; 0: by size, 4 to 128 MiB
};

// Fills the fields of `geometry` that are places and counts; all else is 0. 0; -EINVAL for a number
// out of range, -ERROR_VOLUME_TOO_SMALL, and then `why` holds a sentence with the limits.
int mkfs_geometry_plan(const struct mkfs_request *request, struct geometry *geometry,
                       struct text *why);
