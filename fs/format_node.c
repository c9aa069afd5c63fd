// SPDX-License-Identifier: Apache-2.0
// Reads a tree node out of hostile bytes. A node is checked whole when it is opened, so that the
// accessors need not check again.
#include <string.h>

#include "fs/base/check.h"
#include "fs/base/error.h"
#include "fs/format_decode.h"

int format_key_compare(const struct format_key *a, const struct format_key *b)
{
    if (a->kind != b->kind)
        return a->kind < b->kind ? -1 : 1;
    if (a->major != b->major)
        return a->major < b->major ? -1 : 1;
    if (a->minor != b->minor)
        return a->minor < b->minor ? -1 : 1;
    return 0;
}

static struct tree_slot_disk slot_at(const struct format_node *node, unsigned index)
{
    struct tree_slot_disk slot;
    memcpy(&slot, node->area + sizeof(struct tree_node_disk) + index * sizeof(slot), sizeof(slot));
    return slot;
}

static struct format_key key_decode(const struct tree_key_disk *disk)
{
    return (struct format_key){
        .kind = disk->kind,
        .minor = le32_get(disk->minor),
        .major = le64_get(disk->major),
    };
}

struct format_item format_node_item(const struct format_node *node, unsigned index)
{
    CHECK(index < node->item_count);
    struct tree_slot_disk slot = slot_at(node, index);
    return (struct format_item){
        .key = key_decode(&slot.key),
        .value = node->area + le16_get(slot.offset),
        .length = le16_get(slot.length),
    };
}

uint64_t format_node_child(const struct format_node *node, unsigned index)
{
    CHECK(node->level > 0);
    struct format_item item = format_node_item(node, index);
    le64_t child;
    memcpy(&child, item.value, sizeof(child));
    return le64_get(child);
}

static const char *head_broken(const struct tree_node_disk *head, size_t area_bytes)
{
    size_t slots_end = sizeof(*head) + le16_get(head->item_count) * sizeof(struct tree_slot_disk);
    size_t heap_start = le16_get(head->heap_start);
    if (head->reserved0 != 0 || le64_get(head->reserved1) != 0)
        return "reserved bytes of a tree node are not 0";
    if (head->level > FORMAT_TREE_LEVEL_MAX)
        return "a tree node's level is out of range";
    if (slots_end > area_bytes || heap_start < slots_end || heap_start > area_bytes)
        return "a tree node's slots and values overlap";
    if (head->level > 0 && le16_get(head->item_count) == 0)
        return "an inner tree node is empty";
    return NULL;
}

static const char *slot_broken(const struct tree_slot_disk *slot, const struct format_node *node,
                               size_t heap_start)
{
    size_t offset = le16_get(slot->offset);
    size_t length = le16_get(slot->length);
    const uint8_t *reserved = slot->key.reserved;
    if (reserved[0] != 0 || reserved[1] != 0 || reserved[2] != 0 || le32_get(slot->reserved) != 0)
        return "reserved bytes of a tree item are not 0";
    if (slot->key.kind < ITEM_INLINE || slot->key.kind > ITEM_KIND_LAST)
        return "a tree item is of unknown kind";
    if (length > TREE_VALUE_BYTES_MAX || (node->level > 0 && length != sizeof(le64_t)))
        return "a tree item's value has the wrong length";
    if (offset < heap_start || offset > node->area_bytes || length > node->area_bytes - offset)
        return "a tree item's value lies outside of its node";
    return NULL;
}

// One bit a byte of the area: shows two values that share one.
struct coverage {
    uint64_t words[BLOCK_BYTES / 64];
};

static bool coverage_add(struct coverage *coverage, size_t offset, size_t length)
{
    bool is_new = true;
    for (size_t i = offset; i < offset + length; i++) {
        uint64_t bit = (uint64_t)1 << (i % 64);
        is_new = is_new && !(coverage->words[i / 64] & bit);
        coverage->words[i / 64] |= bit;
    }
    return is_new;
}

static const char *items_broken(const struct format_node *node, const struct tree_node_disk *head)
{
    struct coverage coverage = {{0}};
    struct format_key before = {0};
    size_t heap_start = le16_get(head->heap_start);
    size_t used = 0;
    for (unsigned i = 0; i < node->item_count; i++) {
        struct tree_slot_disk slot = slot_at(node, i);
        struct format_key key = key_decode(&slot.key);
        const char *broken = slot_broken(&slot, node, heap_start);
        if (broken != NULL)
            return broken;
        if (i > 0 && format_key_compare(&before, &key) >= 0)
            return "a tree node's keys are out of order";
        if (!coverage_add(&coverage, le16_get(slot.offset), le16_get(slot.length)))
            return "two tree items share bytes";
        used += le16_get(slot.length);
        before = key;
    }
    if (used + le16_get(head->heap_free) != node->area_bytes - heap_start)
        return "a tree node's count of free bytes is wrong";
    return NULL;
}

int format_node_open(struct format_node *node, const void *area, size_t area_bytes,
                     const char **reason)
{
    CHECK(area_bytes >= sizeof(struct tree_node_disk) && area_bytes < BLOCK_BYTES);
    struct tree_node_disk head;
    memcpy(&head, area, sizeof(head));
    *node = (struct format_node){
        .area = area,
        .area_bytes = (uint16_t)area_bytes,
        .item_count = le16_get(head.item_count),
        .level = head.level,
    };
    const char *broken = head_broken(&head, area_bytes);
    if (broken == NULL)
        broken = items_broken(node, &head);
    if (broken == NULL)
        return 0;
    if (reason != NULL)
        *reason = broken;
    return -ERROR_CORRUPT_TREE;
}
