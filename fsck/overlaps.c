// SPDX-License-Identifier: Apache-2.0
#include "fsck/overlaps.h"

#include <stdlib.h>

#include "fs/base/check.h"
#include "fs/base/memory.h"

void overlaps_deinit(struct overlaps *overlaps)
{
    free(overlaps->overlaps);
    *overlaps = (struct overlaps){.count = 0};
}

void overlaps_add(struct overlaps *overlaps, uint64_t block, uint64_t count,
                  const struct space_run *first, const struct space_run *second)
{
    if (overlaps->count == overlaps->capacity) {
        overlaps->capacity = overlaps->capacity == 0 ? 16 : overlaps->capacity * 2;
        overlaps->overlaps =
            memory_resize(overlaps->overlaps, overlaps->capacity, sizeof(*overlaps->overlaps));
    }
    overlaps->overlaps[overlaps->count++] = (struct overlap){
        .block = block,
        .count = count,
        .uses = {space_run_use(first), space_run_use(second)},
        .owners = {space_run_owner(first), space_run_owner(second)},
    };
}
