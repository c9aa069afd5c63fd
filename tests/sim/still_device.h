// SPDX-License-Identifier: Apache-2.0
// A block device over a simulated disk outside of time: what is asked of it is done at once. For
// checkers that look at a copy of the LUN while its history stands still.
#pragma once

#include "fs/base/block_device.h"

struct sim_disk;

struct still_device {
    struct block_device device; // first
    struct sim_disk *disk;
    uint64_t
        writes_left; // the write after them fails with -EIO, and all that follow; UINT64_MAX: none
};

// The disk is the caller's. block_device_close does nothing.
void still_device_init(struct still_device *still, struct sim_disk *disk, uint64_t size_bytes,
                       uint32_t sector_bytes);
