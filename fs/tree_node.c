// SPDX-License-Identifier: Apache-2.0
#include "fs/tree_node.h"

#include <string.h>

#include "fs/base/check.h"

uint64_t tree_node_child(struct tree_node node, unsigned index)
{
    le64_t child;
    memcpy(&child, tree_node_value(node, index), sizeof(child));
    return le64_get(child);
}

int tree_node_floor(struct tree_node node, struct tree_key key)
{
    int low = 0;
    int high = (int)tree_node_count(node); // the first item above `key` lies in [low, high]
    while (low < high) {
        int middle = (low + high) / 2;
        if (tree_key_compare(tree_node_key(node, (unsigned)middle), key) <= 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low - 1;
}

// --- room ------------------------------------------------------------------------------------

static unsigned heap_start(struct tree_node node)
{
    return le16_get(tree_node_head(node)->heap_start);
}

static unsigned heap_free(struct tree_node node)
{
    return le16_get(tree_node_head(node)->heap_free);
}

static void set_heap(struct tree_node node, unsigned start, unsigned free_bytes)
{
    tree_node_head(node)->heap_start = le16_make((uint16_t)start);
    tree_node_head(node)->heap_free = le16_make((uint16_t)free_bytes);
}

static unsigned slots_end(struct tree_node node)
{
    return (unsigned)(sizeof(struct tree_node_disk) +
                      tree_node_count(node) * sizeof(struct tree_slot_disk));
}

unsigned tree_node_used(struct tree_node node)
{
    unsigned values = node.area_bytes - heap_start(node) - heap_free(node);
    return tree_node_count(node) * (unsigned)sizeof(struct tree_slot_disk) + values;
}

bool tree_node_has_room(struct tree_node node, unsigned length)
{
    return tree_node_used(node) + tree_item_bytes(length) <= tree_node_capacity(node);
}

// Lays the values against the end of the area again, without holes.
static void compact(struct tree_node node)
{
    uint8_t values[BLOCK_BYTES];
    struct tree_slot_disk *slots = tree_node_slots(node);
    unsigned start = heap_start(node);
    memcpy(values + start, node.area + start, node.area_bytes - start);
    unsigned at = node.area_bytes;
    for (unsigned i = 0; i < tree_node_count(node); i++) {
        unsigned length = le16_get(slots[i].length);
        if (length == 0)
            continue;
        at -= length;
        memcpy(node.area + at, values + le16_get(slots[i].offset), length);
        slots[i].offset = le16_make((uint16_t)at);
    }
    set_heap(node, at, 0);
}

// Takes `length` bytes for a value when `slot_bytes` more will be used by slots. They fit. An empty
// value stands at the end of the area, where the heap's start never passes it.
static unsigned take_bytes(struct tree_node node, unsigned length, unsigned slot_bytes)
{
    if (heap_start(node) - slots_end(node) < length + slot_bytes)
        compact(node);
    CHECK(heap_start(node) - slots_end(node) >= length + slot_bytes);
    unsigned start = heap_start(node) - length;
    set_heap(node, start, heap_free(node));
    return length > 0 ? start : node.area_bytes;
}

static void give_bytes(struct tree_node node, unsigned offset, unsigned length)
{
    if (offset == heap_start(node))
        set_heap(node, offset + length, heap_free(node));
    else if (length > 0)
        set_heap(node, heap_start(node), heap_free(node) + length);
}

// --- items -----------------------------------------------------------------------------------

static struct tree_key_disk key_encode(struct tree_key key)
{
    return (struct tree_key_disk){
        .kind = key.kind, .minor = le32_make(key.minor), .major = le64_make(key.major)};
}

static void set_count(struct tree_node node, unsigned count)
{
    tree_node_head(node)->item_count = le16_make((uint16_t)count);
}

void tree_node_insert(struct tree_node node, unsigned index, struct tree_key key, const void *value,
                      unsigned length)
{
    unsigned count = tree_node_count(node);
    CHECK(index <= count && tree_node_has_room(node, length));
    unsigned offset = take_bytes(node, length, sizeof(struct tree_slot_disk));
    struct tree_slot_disk *slots = tree_node_slots(node);
    memmove(&slots[index + 1], &slots[index], (count - index) * sizeof(*slots));
    slots[index] = (struct tree_slot_disk){
        .key = key_encode(key),
        .offset = le16_make((uint16_t)offset),
        .length = le16_make((uint16_t)length),
    };
    memcpy(node.area + offset, value, length);
    set_count(node, count + 1);
}

void tree_node_remove(struct tree_node node, unsigned index)
{
    unsigned count = tree_node_count(node);
    CHECK(index < count);
    struct tree_slot_disk *slots = tree_node_slots(node);
    give_bytes(node, le16_get(slots[index].offset), le16_get(slots[index].length));
    memmove(&slots[index], &slots[index + 1], (count - index - 1) * sizeof(*slots));
    set_count(node, count - 1);
    if (count == 1)
        set_heap(node, node.area_bytes, 0);
}

void tree_node_set_value(struct tree_node node, unsigned index, const void *value, unsigned length)
{
    struct tree_slot_disk *slot = &tree_node_slots(node)[index];
    if (length != le16_get(slot->length)) {
        give_bytes(node, le16_get(slot->offset), le16_get(slot->length));
        slot->length = le16_make(0);
        slot->offset = le16_make((uint16_t)node.area_bytes);
        unsigned offset = take_bytes(node, length, 0);
        slot->offset = le16_make((uint16_t)offset);
        slot->length = le16_make((uint16_t)length);
    }
    memcpy(tree_node_value(node, index), value, length);
}

void tree_node_set_key(struct tree_node node, unsigned index, struct tree_key key)
{
    tree_node_slots(node)[index].key = key_encode(key);
}

void tree_node_set_child(struct tree_node node, unsigned index, uint64_t child)
{
    le64_t disk = le64_make(child);
    memcpy(tree_node_value(node, index), &disk, sizeof(disk));
}

void tree_node_clear(struct tree_node node, unsigned level)
{
    format_node_init(node.area, node.area_bytes, (uint8_t)level);
}

void tree_node_append(struct tree_node to, struct tree_node from, unsigned first)
{
    for (unsigned i = first; i < tree_node_count(from); i++)
        tree_node_insert(to, tree_node_count(to), tree_node_key(from, i), tree_node_value(from, i),
                         tree_node_length(from, i));
}

void tree_node_cut(struct tree_node node, unsigned first)
{
    while (tree_node_count(node) > first)
        tree_node_remove(node, tree_node_count(node) - 1);
}

// --- splitting -------------------------------------------------------------------------------

// Walks the items with the new one among them until half of all bytes are passed: with items of a
// third of a node at most, both halves fit.
unsigned tree_node_split_point(struct tree_node node, unsigned index, unsigned length,
                               bool *item_goes_right)
{
    unsigned count = tree_node_count(node);
    CHECK(count > 0);
    *item_goes_right = true;
    if (index == count)
        return count;
    unsigned half = (tree_node_used(node) + tree_item_bytes(length)) / 2;
    unsigned passed = 0;
    for (unsigned i = 0; i < count; i++) {
        if (i == index) {
            passed += tree_item_bytes(length);
            *item_goes_right = false;
            if (passed >= half)
                return i;
        }
        passed += tree_item_bytes(tree_node_length(node, i));
        if (passed >= half)
            return i + 1;
    }
    return count;
}
