// SPDX-License-Identifier: Apache-2.0
// One way to break a populated volume for each problem that fsck.lunfs can find.
#pragma once

#include "tests/wreck/populate.h"

struct wreck {
    const char *problem; // as in fsck/problems.def
    // Breaks it; returns the block that fsck.lunfs must name.
    uint64_t (*break_it)(struct image *image, const struct places *places);
};

// The tables, each closed by a NULL problem.
extern const struct wreck wrecks_volume[];
extern const struct wreck wrecks_files[];
extern const struct wreck wrecks_quotas[];

// The number-th; NULL behind the last one.
const struct wreck *wreck_at(size_t number);
