// SPDX-License-Identifier: Apache-2.0
#include "tests/wreck/wreck_parts.h"

#include <string.h>

uint64_t wreck_spoil(struct image *image, uint64_t block)
{
    uint8_t *bytes = image_block(image, block);
    bytes[1000] ^= 0x42; // not sealed: the checksum is wrong now
    return block;
}

uint64_t wreck_flip(struct image *image, uint64_t block, unsigned bit)
{
    uint8_t *bytes = image_block(image, block);
    bytes[bit / 8] ^= (uint8_t)(1u << (bit % 8));
    return block;
}

struct image_node wreck_root_of(const struct image *image, uint64_t inode)
{
    return image_node_of(image, inode, "root");
}

struct image_node wreck_child_of(const struct image *image, const struct image_node *node,
                                 unsigned index)
{
    le64_t block;
    memcpy(&block, image_value(node, index), sizeof(block));
    return image_node_of(image, le64_get(block), "area");
}

uint64_t wreck_group_header(const struct image *image)
{
    return geometry_ag_first_block(&image->g, 0);
}

// A leaf of group 0's free tree.
struct image_node wreck_free_leaf(const struct image *image)
{
    struct image_node root = image_node_of(image, wreck_group_header(image), "free_root");
    return wreck_child_of(image, &root, 0);
}

void wreck_put_item(struct image *image, const struct image_node *node, uint8_t kind,
                    uint64_t major, const void *value, uint16_t length)
{
    struct tree_slot_disk slot = {
        .key.kind = kind,
        .key.major = le64_make(major),
        .offset = le16_make((uint16_t)(node->area_bytes - length)),
        .length = le16_make(length),
    };
    format_node_init(node->area, node->area_bytes, 0);
    memcpy(node->area + sizeof(struct tree_node_disk), &slot, sizeof(slot));
    memcpy(node->area + node->area_bytes - length, value, length);
    struct tree_node_disk *head = (struct tree_node_disk *)node->area;
    head->item_count = le16_make(1);
    head->heap_start = slot.offset;
    image_seal(image, node->block);
}
