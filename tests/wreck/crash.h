// SPDX-License-Identifier: Apache-2.0
// What a node leaves that dies between a commit and the write in place.
#pragma once

#include "tests/wreck/image.h"

// Changes a field of `block` in a transaction of slot 0's journal, makes it durable there, and
// dies.
void crash_with_dirty_journal(struct image *image, uint64_t block, const char *field,
                              uint64_t value);
