// SPDX-License-Identifier: Apache-2.0
// What the wrecks share: finding nodes, spoiling blocks.
#pragma once

#include "tests/wreck/image.h"

// Flips two bits and does not seal: the checksum is wrong then. Returns `block`.
uint64_t wreck_spoil(struct image *image, uint64_t block);
// The same with one bit, which can be found again.
uint64_t wreck_flip(struct image *image, uint64_t block, unsigned bit);
// The root of an inode's tree.
struct image_node wreck_root_of(const struct image *image, uint64_t inode);
// The node that item `index` of an inner node points to.
struct image_node wreck_child_of(const struct image *image, const struct image_node *node,
                                 unsigned index);
uint64_t wreck_group_header(const struct image *image);
// A leaf of group 0's free tree.
struct image_node wreck_free_leaf(const struct image *image);
// Makes `node` a leaf with this one item.
void wreck_put_item(struct image *image, const struct image_node *node, uint8_t kind,
                    uint64_t major, const void *value, uint16_t length);
