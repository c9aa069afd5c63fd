// SPDX-License-Identifier: Apache-2.0
// One node of a tree, in memory: slots that grow up, values that grow down, as drawn in
// fs/format.h. Pure. The area was verified when it came in (format_node_open) and is changed by
// these functions only, so they trust it; what they are asked to do is CHECKed.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "fs/format.h"
#include "fs/tree.h"

struct tree_node {
    uint8_t *area;
    uint16_t area_bytes;
};

static inline struct tree_node_disk *tree_node_head(struct tree_node node)
{
    return (struct tree_node_disk *)node.area;
}
static inline struct tree_slot_disk *tree_node_slots(struct tree_node node)
{
    return (struct tree_slot_disk *)(node.area + sizeof(struct tree_node_disk));
}
static inline unsigned tree_node_count(struct tree_node node)
{
    return le16_get(tree_node_head(node)->item_count);
}
static inline unsigned tree_node_level(struct tree_node node)
{
    return tree_node_head(node)->level;
}
static inline struct tree_key tree_node_key(struct tree_node node, unsigned index)
{
    const struct tree_key_disk *disk = &tree_node_slots(node)[index].key;
    return TREE_KEY(disk->kind, le64_get(disk->major), le32_get(disk->minor));
}
static inline unsigned tree_node_length(struct tree_node node, unsigned index)
{
    return le16_get(tree_node_slots(node)[index].length);
}
static inline uint8_t *tree_node_value(struct tree_node node, unsigned index)
{
    return node.area + le16_get(tree_node_slots(node)[index].offset);
}
// Of an inner node.
uint64_t tree_node_child(struct tree_node node, unsigned index);

// The last item whose key is not above `key`; -1 if there is none.
int tree_node_floor(struct tree_node node, struct tree_key key);

// Bytes for slots and values, and how many of them are in use.
static inline unsigned tree_node_capacity(struct tree_node node)
{
    return node.area_bytes - (unsigned)sizeof(struct tree_node_disk);
}
unsigned tree_node_used(struct tree_node node);
static inline unsigned tree_item_bytes(unsigned length)
{
    return (unsigned)sizeof(struct tree_slot_disk) + length;
}
bool tree_node_has_room(struct tree_node node, unsigned length);

// The item must fit (tree_node_has_room), its key belong at `index`. `value` is not in the node.
void tree_node_insert(struct tree_node node, unsigned index, struct tree_key key, const void *value,
                      unsigned length);
void tree_node_remove(struct tree_node node, unsigned index);
// A value of another length must fit in the place of the old one and what is free.
void tree_node_set_value(struct tree_node node, unsigned index, const void *value, unsigned length);
void tree_node_set_key(struct tree_node node, unsigned index, struct tree_key key);
void tree_node_set_child(struct tree_node node, unsigned index, uint64_t child);
// Empties the node.
void tree_node_clear(struct tree_node node, unsigned level);
// Adds copies of items [first, end) of `from` behind those of `to`; they fit.
void tree_node_append(struct tree_node to, struct tree_node from, unsigned first);
// Takes items [first, end) out.
void tree_node_cut(struct tree_node node, unsigned first);

// How many items of `node` stay when it is split to make room for one of `length` at `index`. Both
// halves then have room for it. An item at the end goes to the right alone: keys that come in
// ascending order fill nodes to the brim.
unsigned tree_node_split_point(struct tree_node node, unsigned index, unsigned length,
                               bool *item_goes_right);
