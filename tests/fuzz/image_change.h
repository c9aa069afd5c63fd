// SPDX-License-Identifier: Apache-2.0
// Changes to the metadata of a volume on a simulated disk, under right checksums.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fs/base/random.h"
#include "tests/sim/disk.h"

// The blocks of a volume that say they are metadata.
struct image_blocks {
    uint64_t *blocks;
    size_t count;
};

void image_blocks_find(struct image_blocks *blocks, const struct sim_disk *disk, uint64_t bytes);
void image_blocks_deinit(struct image_blocks *blocks);

// Changes some of them; `prints`: says which.
void image_change(const struct image_blocks *blocks, struct sim_disk *disk, struct random *random,
                  bool prints);
