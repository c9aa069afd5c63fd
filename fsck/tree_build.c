// SPDX-License-Identifier: Apache-2.0
#include "fsck/tree_build.h"

#include <stdlib.h>
#include <string.h>

#include "fs/base/check.h"
#include "fs/base/memory.h"

// --- items -----------------------------------------------------------------------------------

void tree_build_items_init(struct tree_build_items *items)
{
    *items = (struct tree_build_items){.count = 0};
}

void tree_build_items_deinit(struct tree_build_items *items)
{
    free(items->items);
    free(items->heap);
    tree_build_items_init(items);
}

static void make_room(struct tree_build_items *items, uint16_t length)
{
    if (items->count == items->capacity) {
        items->capacity = items->capacity == 0 ? 64 : items->capacity * 2;
        items->items = memory_resize(items->items, items->capacity, sizeof(*items->items));
    }
    if (items->heap_bytes + length > items->heap_capacity) {
        items->heap_capacity = (items->heap_capacity + length) * 2;
        CHECK(items->heap_capacity <= UINT32_MAX);
        items->heap = memory_resize(items->heap, items->heap_capacity, 1);
    }
}

void tree_build_items_add(struct tree_build_items *items, const struct format_key *key,
                          const void *value, uint16_t length)
{
    make_room(items, length);
    items->items[items->count++] = (struct tree_build_item){
        .key = *key, .value = (uint32_t)items->heap_bytes, .length = length};
    if (length > 0)
        memcpy(items->heap + items->heap_bytes, value, length);
    items->heap_bytes += length;
}

void tree_build_items_truncate(struct tree_build_items *items, size_t count)
{
    if (count >= items->count)
        return;
    items->heap_bytes = items->items[count].value;
    items->count = count;
}

// --- packing ---------------------------------------------------------------------------------

// How many items from `first` on fit into an area.
static size_t fit(const struct tree_build_items *items, size_t first, size_t area_bytes)
{
    size_t used = sizeof(struct tree_node_disk), count = 0;
    while (first + count < items->count) {
        used += sizeof(struct tree_slot_disk) + items->items[first + count].length;
        if (used > area_bytes)
            break;
        count++;
    }
    return count;
}

static void fill(void *area, size_t area_bytes, uint8_t level, const struct tree_build_items *items,
                 size_t first, size_t count)
{
    struct tree_node_disk *node = area;
    uint8_t *bytes = area;
    size_t heap = area_bytes;
    format_node_init(area, area_bytes, level);
    for (size_t i = 0; i < count; i++) {
        const struct tree_build_item *item = &items->items[first + i];
        heap -= item->length;
        struct tree_slot_disk slot = {
            .key.kind = item->key.kind,
            .key.minor = le32_make(item->key.minor),
            .key.major = le64_make(item->key.major),
            .offset = le16_make((uint16_t)heap),
            .length = le16_make(item->length),
        };
        memcpy(bytes + sizeof(*node) + i * sizeof(slot), &slot, sizeof(slot));
        if (item->length > 0)
            memcpy(bytes + heap, items->heap + item->value, item->length);
    }
    node->item_count = le16_make((uint16_t)count);
    node->heap_start = le16_make((uint16_t)heap);
}

// --- levels ----------------------------------------------------------------------------------

// Writes all items as nodes of one level; their first keys and blocks are the items of the level
// above.
static int build_level(struct tree_build *build, uint8_t level,
                       const struct tree_build_items *items, struct tree_build_items *above)
{
    struct tree_block_disk *disk = calloc(1, sizeof(*disk));
    CHECK(disk != NULL);
    int result = 0;
    for (size_t first = 0; first < items->count && result == 0;) {
        uint64_t block = 0;
        size_t count = fit(items, first, sizeof(disk->area));
        CHECK(count > 0); // a value is far smaller than a node
        fill(disk->area, sizeof(disk->area), level, items, first, count);
        result = build->write_node(build, disk, &block);
        le64_t child = le64_make(block);
        tree_build_items_add(above, &items->items[first].key, &child, sizeof(child));
        first += count;
    }
    free(disk);
    return result;
}

static int build_above(struct tree_build *build, const struct tree_build_items *items,
                       uint8_t level)
{
    if (fit(items, 0, build->root_bytes) == items->count) {
        fill(build->root, build->root_bytes, level, items, 0, items->count);
        return 0;
    }
    CHECK(level < FORMAT_TREE_LEVEL_MAX);
    struct tree_build_items above;
    tree_build_items_init(&above);
    int result = build_level(build, level, items, &above);
    if (result == 0)
        result = build_above(build, &above, (uint8_t)(level + 1));
    tree_build_items_deinit(&above);
    return result;
}

int tree_build_run(struct tree_build *build, const struct tree_build_items *items)
{
    return build_above(build, items, 0);
}

static int count_node(struct tree_build *build, struct tree_block_disk *disk, uint64_t *block)
{
    (void)disk;
    *block = 0;
    ++*(size_t *)build->context;
    return 0;
}

size_t tree_build_node_count(const struct tree_build_items *items, size_t root_bytes)
{
    size_t count = 0;
    uint8_t root[BLOCK_BYTES] __attribute__((aligned(8)));
    struct tree_build build = {
        .root = root,
        .root_bytes = root_bytes,
        .write_node = count_node,
        .context = &count,
    };
    tree_build_run(&build, items);
    return count;
}
