// SPDX-License-Identifier: Apache-2.0
#include "fs/base/memory.h"

#include <stdlib.h>

#include "fs/base/check.h"

void *memory_new(size_t bytes)
{
    void *memory = calloc(1, bytes);
    CHECK(memory != NULL);
    return memory;
}

void *memory_resize(void *items, size_t count, size_t item_bytes)
{
    size_t bytes;
    CHECK(count > 0 && item_bytes > 0 && !__builtin_mul_overflow(count, item_bytes, &bytes));
    void *resized = realloc(items, bytes);
    CHECK(resized != NULL);
    return resized;
}
