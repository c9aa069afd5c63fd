// SPDX-License-Identifier: Apache-2.0
// The block device of tools: each request is done, and completed, inside of submit. So the waiting
// calls of block_device.h may be made outside of coroutines.
#pragma once

#include "fs/base/block_device.h"
#include "fs/base/block_device_open.h"

// `flags`: BLOCK_DEVICE_*. As block_device_open_path; release with block_device_close.
int block_device_file_open(const char *path, unsigned flags, struct block_device **device);

// Its descriptor, for probing; stays the device's.
int block_device_file_descriptor(const struct block_device *device);
bool block_device_file_is_block_device(const struct block_device *device);
// How many bytes were written since it was opened.
uint64_t block_device_file_written_bytes(const struct block_device *device);
