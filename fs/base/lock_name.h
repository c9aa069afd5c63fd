// SPDX-License-Identifier: Apache-2.0
// The name of a lock as the journal, the lock manager and the file system share it: what the type
// means stands in fs/lock_types.h alone.
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct lock_name {
    uint32_t type;
    uint64_t id;
};

static inline bool lock_name_equal(struct lock_name a, struct lock_name b)
{
    return a.type == b.type && a.id == b.id;
}
