// SPDX-License-Identifier: Apache-2.0
// Blocks that two owners have, as the sweep over the space finds them.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "fsck/space.h"

struct overlap {
    uint64_t block, count;
    enum space_use uses[2];
    uint64_t owners[2];
};

struct overlaps {
    struct overlap *overlaps;
    size_t count, capacity;
};

void overlaps_deinit(struct overlaps *overlaps);
void overlaps_add(struct overlaps *overlaps, uint64_t block, uint64_t count,
                  const struct space_run *first, const struct space_run *second);
