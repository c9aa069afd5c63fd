// SPDX-License-Identifier: Apache-2.0
// Half of the changes are made by the field tables of fs/format_fields.h: a number of the block, of
// a slot or of an item's value becomes one that is nearly right. The other half are bytes.
#include "tests/fuzz/image_change.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/check.h"
#include "fs/format_decode.h"
#include "fs/format_fields.h"
#include "fs/format_text.h"

enum { BLOCKS_MAX = 3, CHANGES_MAX = 4 };

struct change {
    const struct image_blocks *blocks;
    struct random *random;
    uint8_t bytes[BLOCK_BYTES];
    bool prints;
};

void image_blocks_find(struct image_blocks *blocks, const struct sim_disk *disk, uint64_t bytes)
{
    uint64_t count = bytes / BLOCK_BYTES;
    blocks->blocks = calloc(count, sizeof(*blocks->blocks));
    CHECK(blocks->blocks != NULL);
    for (uint64_t block = 0; block < count; block++) {
        le32_t magic;
        sim_disk_peek(disk, block * BLOCK_BYTES, &magic, sizeof(magic));
        if (le32_get(magic) == BLOCK_MAGIC)
            blocks->blocks[blocks->count++] = block;
    }
    CHECK(blocks->count > 0);
}

void image_blocks_deinit(struct image_blocks *blocks)
{
    free(blocks->blocks);
}

// --- numbers ---------------------------------------------------------------------------------

static uint64_t other_number(struct change *change, uint64_t number)
{
    struct random *random = change->random;
    switch (random_below(random, 8)) {
    case 0:
        return 0;
    case 1:
        return number + 1;
    case 2:
        return number - 1;
    case 3:
        return UINT64_MAX >> random_below(random, 64);
    case 4:
        return UINT64_C(1) << random_below(random, 64);
    case 5:
        return random_below(random, 16);
    case 6:
        return change->blocks->blocks[random_below(random, change->blocks->count)];
    default:
        return number ^ UINT64_C(1) << random_below(random, 16);
    }
}

static void change_field(struct change *change, const struct format_structure *structure,
                         uint8_t *bytes)
{
    const struct format_field *field =
        &structure->fields[random_below(change->random, structure->field_count)];
    if (!format_field_is_number(field))
        return;
    unsigned index = (unsigned)random_below(change->random, field->count);
    uint64_t number = other_number(change, format_field_get(field, bytes, index));
    format_field_set(field, bytes, index, number);
    if (change->prints)
        printf("  %s.%s[%u] = %" PRIu64 "\n", structure->name, field->name, index, number);
}

// --- trees -----------------------------------------------------------------------------------

static const char *structure_of_item(uint8_t kind)
{
    static const char *const names[] = {
        [ITEM_XATTR] = "xattr", [ITEM_EXTENT] = "extent", [ITEM_DIRENT] = "dirent",
        [ITEM_FREE] = "free",   [ITEM_ORPHAN] = "orphan", [ITEM_REFERENCE] = "reference",
    };
    return kind < sizeof(names) / sizeof(names[0]) ? names[kind] : NULL;
}

// Head, a slot, or what stands behind a slot.
static void change_node(struct change *change, uint8_t *area, size_t area_bytes)
{
    struct format_node node;
    const struct format_structure *structure = format_structure_by_name("tree_node");
    if (format_node_open(&node, area, area_bytes, NULL) != 0 || node.item_count == 0 ||
        random_one_in(change->random, 6)) {
        change_field(change, structure, area);
        return;
    }
    unsigned index = (unsigned)random_below(change->random, node.item_count);
    struct format_item item = format_node_item(&node, index);
    const char *name = structure_of_item(item.key.kind);
    if (random_one_in(change->random, 2)) {
        change_field(change, format_structure_by_name("tree_slot"),
                     area + sizeof(struct tree_node_disk) + index * sizeof(struct tree_slot_disk));
    } else if (node.level == 0 && name != NULL && format_structure_by_name(name) != NULL &&
               item.length >= format_structure_by_name(name)->bytes) {
        change_field(change, format_structure_by_name(name), area + (item.value - area));
    } else if (node.level > 0 && item.length == sizeof(le64_t)) {
        le64_t child = le64_make(other_number(change, format_node_child(&node, index)));
        memcpy(area + (item.value - area), &child, sizeof(child));
    }
}

static void change_structure(struct change *change)
{
    const struct block_header_disk *header = (const struct block_header_disk *)change->bytes;
    const struct format_structure *structure =
        format_structure_of((enum block_type)le16_get(header->type));
    if (structure == NULL)
        return;
    for (unsigned i = 0; i < structure->field_count; i++) {
        const struct format_field *field = &structure->fields[i];
        if (field->kind != FIELD_NODE || random_one_in(change->random, 3))
            continue;
        change_node(change, change->bytes + field->offset, field->width);
        return;
    }
    change_field(change, structure, change->bytes);
}

// --- bytes -----------------------------------------------------------------------------------

// Near the front, where heads and slots are, they hurt most.
static void change_byte(struct change *change)
{
    struct random *random = change->random;
    size_t at = sizeof(struct block_header_disk) +
                random_below(random, random_one_in(random, 2) ? 600 : BLOCK_BYTES - 64);
    change->bytes[at] = random_one_in(random, 3) ? 0xff : (uint8_t)random_u64(random);
    if (change->prints)
        printf("  byte %zu = %u\n", at, change->bytes[at]);
}

static void change_block(struct change *change, struct sim_disk *disk, uint64_t block)
{
    char room[128];
    struct text text;
    sim_disk_peek(disk, block * BLOCK_BYTES, change->bytes, BLOCK_BYTES);
    text_init(&text, room, sizeof(room));
    format_block_header_to_text(change->bytes, &text);
    if (change->prints)
        printf("block %" PRIu64 ": %s\n", block, text.bytes);
    for (uint64_t i = 1 + random_below(change->random, CHANGES_MAX); i > 0; i--) {
        if (random_one_in(change->random, 2))
            change_structure(change);
        else
            change_byte(change);
    }
    uint64_t version = format_block_version(change->bytes);
    format_block_seal(change->bytes, version > 0 ? version : 1);
    sim_disk_poke(disk, block * BLOCK_BYTES, change->bytes, BLOCK_BYTES);
}

void image_change(const struct image_blocks *blocks, struct sim_disk *disk, struct random *random,
                  bool prints)
{
    struct change change = {.blocks = blocks, .random = random, .prints = prints};
    for (uint64_t i = 1 + random_below(random, BLOCKS_MAX); i > 0; i--)
        change_block(&change, disk, blocks->blocks[random_below(random, blocks->count)]);
}
