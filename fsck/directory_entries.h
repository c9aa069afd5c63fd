// SPDX-License-Identifier: Apache-2.0
// Directory entries as they are met in pass 3: each is checked, and the inode that it points to
// goes into the inode table.
#pragma once

#include <stdint.h>

#include "fs/format_decode.h"

struct inode_items;

// `block`: where the item stands. `items` belongs to the directory.
void directory_entries_take(struct inode_items *items, uint64_t block,
                            const struct format_item *item);
