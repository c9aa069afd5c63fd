// SPDX-License-Identifier: Apache-2.0
// Builds a tree bottom up from its items: how a repair writes one, since it knows all of them. New
// nodes go to blocks that nothing refers to, so the old tree stays whole until its root, in the
// object's block, is replaced.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "fs/format_decode.h"

struct tree_build_item {
    struct format_key key;
    uint32_t value; // offset in the heap
    uint16_t length;
};

// Items in ascending order.
struct tree_build_items {
    struct tree_build_item *items;
    size_t count, capacity;
    uint8_t *heap;
    size_t heap_bytes, heap_capacity;
};

void tree_build_items_init(struct tree_build_items *items);
void tree_build_items_deinit(struct tree_build_items *items);
void tree_build_items_add(struct tree_build_items *items, const struct format_key *key,
                          const void *value, uint16_t length);
// Forgets all behind the first `count` items.
void tree_build_items_truncate(struct tree_build_items *items, size_t count);

// How many blocks the tree takes below a root of `root_bytes`.
size_t tree_build_node_count(const struct tree_build_items *items, size_t root_bytes);

struct tree_build {
    void *root; // the area of the embedded root, filled in
    size_t root_bytes;
    // Writes one node whose area is at `area` of a tree block whose header is still to be filled
    // in; sets the address that it was given. 0 or a negative error, which ends the build.
    int (*write_node)(struct tree_build *build, struct tree_block_disk *disk, uint64_t *block);
    void *context;
};

// 0 or what write_node answered; the root is then undefined.
int tree_build_run(struct tree_build *build, const struct tree_build_items *items);
