// SPDX-License-Identifier: Apache-2.0
// Data I/O of the core: the pieces of one read or write, each on its own place of the volume, all
// on their way at once. The device in front of which this stands keeps requests back while the gate
// is shut and refuses them once the mount has ended (fs/gated_device.h).
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "fs/base/block_device.h"

struct volume;

struct data_piece {
    uint64_t volume_block;
    uint64_t block_count;
    void *buffer; // aligned, whole blocks
};

// 0 or the first error; waits for all of them in either case.
int data_io_read(struct volume *volume, const struct data_piece *pieces, size_t count);
int data_io_write(struct volume *volume, const struct data_piece *pieces, size_t count);
