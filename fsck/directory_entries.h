// SPDX-License-Identifier: Apache-2.0
// Directory entries as they are met in pass 3: each is checked, and the inode that it points to
// goes into the inode table.
#pragma once

#include <stdint.h>

#include "fs/format_decode.h"

struct check;
struct inode_items;

// `block`: where the item stands. `items` belongs to the directory.
void directory_entries_take(struct inode_items *items, uint64_t block,
                            const struct format_item *item);

// What an entry says of its inode, against what is known of it.
struct directory_promise {
    uint8_t type;
    uint64_t generation;
    uint64_t block; // where the entry stands
    uint64_t directory;
};
void directory_promise_compare(struct check *check, const struct directory_promise *promise,
                               uint64_t inode, uint8_t type, uint64_t generation);
