// SPDX-License-Identifier: Apache-2.0
#include "fs/tool_dump_json.h"

#include <json-c/json.h>
#include <stdio.h>
#include <string.h>

#include "fs/base/text.h"
#include "fs/format_decode.h"
#include "fs/format_fields.h"
#include "fs/format_text.h"
#include "journal/header.h"

enum { TEXT_BYTES_MAX = 8 * BLOCK_BYTES };

static void add(struct json_object *object, const char *name, struct json_object *value)
{
    json_object_object_add(object, name, value);
}

static struct json_object *number_of(uint64_t number)
{
    return json_object_new_uint64(number);
}

static struct json_object *hex_of(const uint8_t *bytes, size_t size)
{
    TEXT(text, TEXT_BYTES_MAX);
    for (size_t i = 0; i < size; i++)
        text_add(&text, "%02x", bytes[i]);
    return json_object_new_string(text.bytes);
}

// format_name_to_text puts quotes around it, which are JSON's here.
static struct json_object *name_of(const uint8_t *bytes, size_t size)
{
    TEXT(text, TEXT_BYTES_MAX);
    format_name_to_text(bytes, size, &text);
    return json_object_new_string_len(text.bytes + 1, (int)text.length - 2);
}

static struct json_object *uuid_of(const uint8_t *bytes)
{
    TEXT(text, 64);
    text_add_uuid(&text, bytes);
    return json_object_new_string(text.bytes);
}

static struct json_object *bits_of(const uint8_t *bits, size_t size)
{
    struct json_object *set = json_object_new_array();
    for (size_t i = 0; i < size * 8; i++) {
        if (bits[i / 8] >> (i % 8) & 1)
            json_object_array_add(set, number_of(i));
    }
    return set;
}

// --- fields ----------------------------------------------------------------------------------

static struct json_object *node_of(const uint8_t *area, size_t area_bytes);

static struct json_object *element_of(const struct format_field *field, const uint8_t *bytes,
                                      unsigned index)
{
    const uint8_t *element = bytes + field->offset + (size_t)index * field->stride;
    if (format_field_is_number(field) && field->kind == FIELD_SIGNED && field->width == 8)
        return json_object_new_int64((int64_t)format_field_get(field, bytes, index));
    if (format_field_is_number(field))
        return number_of(format_field_get(field, bytes, index));
    if (field->kind == FIELD_UUID)
        return uuid_of(element);
    if (field->kind == FIELD_TEXT)
        return name_of(element, field->width);
    if (field->kind == FIELD_BITS)
        return bits_of(element, field->width);
    if (field->kind == FIELD_NODE)
        return node_of(element, field->width);
    return hex_of(element, field->width);
}

static bool field_is_zero(const struct format_field *field, const uint8_t *bytes)
{
    for (unsigned i = 0; i < field->count; i++) {
        const uint8_t *element = bytes + field->offset + (size_t)i * field->stride;
        for (unsigned k = 0; k < field->width; k++) {
            if (element[k] != 0)
                return false;
        }
    }
    return true;
}

static void add_field(struct json_object *object, const struct format_field *field,
                      const uint8_t *bytes)
{
    if (field->kind == FIELD_RESERVED && field_is_zero(field, bytes))
        return;
    if (field->count == 1) {
        add(object, field->name, element_of(field, bytes, 0));
        return;
    }
    struct json_object *array = json_object_new_array();
    for (unsigned i = 0; i < field->count; i++)
        json_object_array_add(array, element_of(field, bytes, i));
    add(object, field->name, array);
}

static void add_structure(struct json_object *object, const struct format_structure *structure,
                          const uint8_t *bytes)
{
    for (size_t i = 0; i < structure->field_count; i++)
        add_field(object, &structure->fields[i], bytes);
}

// --- trees -----------------------------------------------------------------------------------

static void add_value(struct json_object *object, const struct format_item *item)
{
    const char *kind = format_item_kind_name(item->key.kind);
    const struct format_structure *structure = format_structure_by_name(kind);
    size_t head = structure != NULL ? structure->bytes : 0;
    if (item->length < head)
        structure = NULL;
    if (structure != NULL)
        add_structure(object, structure, item->value);
    if (structure != NULL && item->key.kind == ITEM_DIRENT)
        add(object, "name", name_of(item->value + head, item->length - head));
    else if (structure == NULL || item->length > head)
        add(object, "bytes", hex_of(item->value, item->length));
}

static struct json_object *item_of(const struct format_node *node, unsigned index)
{
    struct format_item item = format_node_item(node, index);
    struct json_object *object = json_object_new_object();
    add(object, "kind", json_object_new_string(format_item_kind_name(item.key.kind)));
    add(object, "major", number_of(item.key.major));
    add(object, "minor", number_of(item.key.minor));
    if (node->level > 0)
        add(object, "child", number_of(format_node_child(node, index)));
    else
        add_value(object, &item);
    return object;
}

static struct json_object *node_of(const uint8_t *area, size_t area_bytes)
{
    struct json_object *object = json_object_new_object();
    struct format_node node;
    const char *reason = "";
    if (format_node_open(&node, area, area_bytes, &reason) < 0) {
        add(object, "error", json_object_new_string(reason));
        return object;
    }
    struct json_object *items = json_object_new_array();
    for (unsigned i = 0; i < node.item_count; i++)
        json_object_array_add(items, item_of(&node, i));
    add(object, "level", number_of(node.level));
    add(object, "items", items);
    return object;
}

// --- whole blocks ----------------------------------------------------------------------------

struct json_object *tool_dump_json(const void *block)
{
    const struct block_header_disk *header = block;
    struct json_object *object = json_object_new_object();
    const struct format_structure *structure =
        le32_get(header->magic) == BLOCK_MAGIC
            ? format_structure_of((enum block_type)le16_get(header->type))
            : NULL;
    add_structure(object, format_structure_header(), block);
    add(object, "type_name",
        json_object_new_string(format_block_type_name(le16_get(header->type))));
    if (structure != NULL)
        add_structure(object, structure, block);
    return object;
}

struct json_object *tool_dump_journal_json(const void *block, unsigned journal_block_count)
{
    struct journal_header header;
    if (!journal_header_decode(block, journal_block_count, &header))
        return NULL;
    struct json_object *object = json_object_new_object();
    add(object, "state",
        json_object_new_string(header.state == JOURNAL_STATE_CLEAN ? "clean" : "in use"));
    add(object, "block_count", number_of(header.block_count));
    add(object, "generation", number_of(header.generation));
    add(object, "salt", hex_of(header.salt, sizeof(header.salt)));
    add(object, "tail_position", number_of(header.tail_position));
    add(object, "tail_sequence", number_of(header.tail_sequence));
    add(object, "tail_chain", number_of(header.tail_chain));
    add(object, "version_max", number_of(header.version_max));
    return object;
}
