// SPDX-License-Identifier: Apache-2.0
// A block device over a mapped volume, which can lose its power: from some write on nothing reaches
// the medium any more.
#pragma once

#include "fs/base/block_device.h"
#include "tests/wreck/image.h"

struct image_device {
    struct block_device device; // first: a device is its image
    struct image *image;
    uint64_t write_count;  // so far
    uint64_t writes_until; // this write and all behind it give -EIO and change nothing
    // Called before each write that reaches the medium; may be NULL.
    void (*before_write)(void *context, uint64_t offset, size_t length);
    void *context;
};

void image_device_init(struct image_device *device, struct image *image);
