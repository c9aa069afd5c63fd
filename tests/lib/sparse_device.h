// SPDX-License-Identifier: Apache-2.0
// A block device in memory that holds only what was written, so it may be of any size, and that can
// be cut off after a number of writes.
#pragma once

#include "fs/base/block_device.h"

struct sparse_block;

struct sparse_device {
    struct block_device device; // first: a device is its sparse device
    struct sparse_block *blocks;
    uint64_t written_bytes;
    uint64_t write_count;  // so far
    uint64_t writes_until; // writes from this number on give -EIO and change nothing
};

void sparse_device_init(struct sparse_device *sparse, uint64_t size_bytes);
// Frees what was written.
void sparse_device_deinit(struct sparse_device *sparse);
