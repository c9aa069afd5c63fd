// SPDX-License-Identifier: Apache-2.0
// Memory that is there: a node that has none left stops, before it can write. Both are given back
// by free().
#pragma once

#include <stddef.h>

// Zeroed. Never NULL.
void *memory_new(size_t bytes);

// Moves `items` (NULL: there are none yet) to where `count` of them, `item_bytes` each, have room;
// what was added is not initialised. Never NULL.
void *memory_resize(void *items, size_t count, size_t item_bytes);
