// SPDX-License-Identifier: Apache-2.0
// Puts a plan on the device. The superblock and its copies are written first with the in-progress
// feature, which every program refuses, and again without it when all else is durable; the one at
// block 16 last. So a volume whose mkfs was cut off is never mistaken for a whole one, and nothing
// of what stood there before is either.
//
// Groups but the first stay as they are (rule 16): a volume of any size costs a few MiB.
#pragma once

#include "fs/base/block_device.h"
#include "fs/base/environment.h"
#include "fs/base/log.h"
#include "fs/format.h"

struct mkfs_layout {
    struct block_device *device;
    struct environment *environment;
    struct log *log;
    struct geometry geometry; // complete: identities, label and time included
};

// Fills in what is random or new of a geometry: format_id, uuid (if it is all 0), hash_key,
// device_id, root generation's source, time, protocol version.
void mkfs_layout_identify(struct mkfs_layout *layout);

// Called from a coroutine, or outside of one with a device that completes at once. 0 or -errno;
// then the device holds no volume.
int mkfs_layout_write(struct mkfs_layout *layout);
