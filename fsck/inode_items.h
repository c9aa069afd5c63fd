// SPDX-License-Identifier: Apache-2.0
// The items of one inode's tree, in their order: extents, inline content, attributes, directory
// entries. Each is checked alone and against the ones before it; what they add up to is compared
// with the inode's fields at the end.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "fs/format_decode.h"

struct check;
struct tree_walk;

enum { SAME_HASH_NAMES_MAX = 256 };

struct inode_items {
    struct check *check;
    struct format_inode inode;
    uint64_t number;

    uint64_t node_count; // blocks of the tree
    uint64_t extent_blocks;
    uint64_t extents_end; // file block behind the last extent
    uint64_t inline_bytes;
    uint32_t inline_chunks;
    bool inline_is_broken;

    uint32_t xattr_count;
    uint64_t xattr_major; // of the attribute whose chunks come
    uint32_t xattr_minor; // of the next chunk
    uint32_t xattr_left;  // bytes of its value that are still to come

    uint64_t entry_count;
    uint64_t entry_major; // of the names below
    uint32_t name_count;
    struct {
        uint8_t length;
        uint8_t bytes[FORMAT_NAME_BYTES_MAX];
    } names[SAME_HASH_NAMES_MAX];
};

// Callbacks of a tree_walk whose context is a struct inode_items.
bool inode_items_node(struct tree_walk *walk, uint64_t block);
bool inode_items_item(struct tree_walk *walk, uint64_t block, const struct format_item *item);
// Whether the item can stay: its kind, and what inline content and attributes say. Extents and
// entries are the caller's.
bool inode_items_judge(struct inode_items *items, uint64_t block, const struct format_item *item);
// After the walk: compares the sums. Not called if the tree is damaged.
void inode_items_end(struct inode_items *items);
