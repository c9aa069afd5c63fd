// SPDX-License-Identifier: Apache-2.0
#include "fs/format_text.h"

#include <ctype.h>
#include <string.h>

#include "fs/format_fields.h"

typedef unsigned long long ull;

static const char *name_in(const char *const *names, size_t count, unsigned number)
{
    const char *name = number < count ? names[number] : NULL;
    return name != NULL ? name : "unknown";
}

#define NAME_IN(names, number) name_in(names, sizeof(names) / sizeof((names)[0]), number)

const char *format_block_type_name(unsigned type)
{
    static const char *const names[] = {
        [BLOCK_TYPE_SUPERBLOCK] = "superblock",
        [BLOCK_TYPE_CLAIM] = "claim",
        [BLOCK_TYPE_AG_MAP] = "group map",
        [BLOCK_TYPE_HEARTBEAT] = "heartbeat",
        [BLOCK_TYPE_MAILBOX] = "mailbox",
        [BLOCK_TYPE_SLOT_STATE] = "slot state",
        [BLOCK_TYPE_JOURNAL_HEADER] = "journal header",
        [BLOCK_TYPE_AG_HEADER] = "group header",
        [BLOCK_TYPE_INODE] = "inode",
        [BLOCK_TYPE_TREE_NODE] = "tree node",
        [BLOCK_TYPE_QUOTA_BUCKET] = "quota bucket",
        [BLOCK_TYPE_QUOTA_LEDGER] = "quota ledger",
    };
    return NAME_IN(names, type);
}

const char *format_heartbeat_state_name(unsigned state)
{
    static const char *const names[] = {
        [HEARTBEAT_FREE] = "free",       [HEARTBEAT_JOINING] = "joining",
        [HEARTBEAT_RUNNING] = "running", [HEARTBEAT_SUSPENDED] = "suspended",
        [HEARTBEAT_STOPPED] = "stopped",
    };
    return NAME_IN(names, state);
}

const char *format_claim_purpose_name(unsigned purpose)
{
    static const char *const names[] = {
        [CLAIM_IDLE] = "idle",       [CLAIM_CLUSTER] = "cluster", [CLAIM_LOCAL] = "local mount",
        [CLAIM_FSCK] = "fsck.lunfs", [CLAIM_MKFS] = "mkfs.lunfs",
    };
    return NAME_IN(names, purpose);
}

const char *format_item_kind_name(unsigned kind)
{
    static const char *const names[] = {
        [ITEM_INLINE] = "inline",       [ITEM_XATTR] = "xattr", [ITEM_EXTENT] = "extent",
        [ITEM_DIRENT] = "dirent",       [ITEM_FREE] = "free",   [ITEM_ORPHAN] = "orphan",
        [ITEM_REFERENCE] = "reference", [ITEM_QUOTA] = "quota",
    };
    return NAME_IN(names, kind);
}

// --- fields ----------------------------------------------------------------------------------

static void add_hex(struct text *text, const uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        text_add(text, "%02x", bytes[i]);
}

// What is no plain ASCII shows as \xnn, so that no name on the disk can steer a terminal.
static void add_quoted(struct text *text, const uint8_t *bytes, size_t size)
{
    text_add(text, "\"");
    for (size_t i = 0; i < size && bytes[i] != 0; i++) {
        bool is_plain =
            isascii(bytes[i]) && isprint(bytes[i]) && bytes[i] != '"' && bytes[i] != '\\';
        text_add(text, is_plain ? "%c" : "\\x%02x", bytes[i]);
    }
    text_add(text, "\"");
}

void format_name_to_text(const uint8_t *name, size_t length, struct text *text)
{
    add_quoted(text, name, length);
}

static void add_number(struct text *text, const struct format_field *field, const void *bytes,
                       unsigned index)
{
    uint64_t value = format_field_get(field, bytes, index);
    if (field->kind == FIELD_HEX)
        text_add(text, "0x%llx", (ull)value);
    else if (field->kind == FIELD_OCTAL)
        text_add(text, "0%llo", (ull)value);
    else if (field->kind == FIELD_SIGNED && field->width == 8)
        text_add(text, "%lld", (long long)value);
    else
        text_add(text, "%llu", (ull)value);
}

static void add_bits(struct text *text, const uint8_t *bits, size_t size)
{
    const char *separator = "";
    size_t end = size * 8;
    for (size_t i = 0; i < end; i++) {
        size_t first = i;
        while (i < end && (bits[i / 8] >> (i % 8) & 1))
            i++;
        if (i == first)
            continue;
        text_add(text, i - first == 1 ? "%s%zu" : "%s%zu-%zu", separator, first, i - 1);
        separator = ",";
    }
}

static void add_node(struct text *text, const uint8_t *area, size_t area_bytes);

static void add_element(struct text *text, const struct format_field *field, const uint8_t *bytes,
                        unsigned index)
{
    const uint8_t *element = bytes + field->offset + (size_t)index * field->stride;
    if (format_field_is_number(field))
        add_number(text, field, bytes, index);
    else if (field->kind == FIELD_UUID)
        text_add_uuid(text, element);
    else if (field->kind == FIELD_TEXT)
        add_quoted(text, element, field->width);
    else if (field->kind == FIELD_BITS)
        add_bits(text, element, field->width);
    else if (field->kind == FIELD_NODE)
        add_node(text, element, field->width);
    else
        add_hex(text, element, field->width);
}

static bool element_is_zero(const struct format_field *field, const uint8_t *bytes, unsigned index)
{
    const uint8_t *element = bytes + field->offset + (size_t)index * field->stride;
    for (unsigned i = 0; i < field->width; i++) {
        if (element[i] != 0)
            return false;
    }
    return true;
}

static void add_field(struct text *text, const struct format_field *field, const uint8_t *bytes)
{
    for (unsigned i = 0; i < field->count; i++) {
        bool is_zero = element_is_zero(field, bytes, i);
        if (is_zero && (field->kind == FIELD_RESERVED || field->count > 1))
            continue;
        text_add(text, "%s", field->name);
        if (field->count > 1)
            text_add(text, "[%u]", i);
        text_add(text, ": ");
        add_element(text, field, bytes, i);
        text_add(text, "\n");
    }
}

static void add_structure(struct text *text, const struct format_structure *structure,
                          const uint8_t *bytes)
{
    for (size_t i = 0; i < structure->field_count; i++)
        add_field(text, &structure->fields[i], bytes);
}

// --- trees -----------------------------------------------------------------------------------

void format_key_to_text(const struct format_key *key, struct text *text)
{
    text_add(text, "%s %llu", format_item_kind_name(key->kind), (ull)key->major);
    if (key->minor != 0)
        text_add(text, ".%u", key->minor);
}

static const struct format_structure *structure_of_item(uint8_t kind)
{
    switch (kind) {
    case ITEM_XATTR:
        return format_structure_by_name("xattr");
    case ITEM_EXTENT:
        return format_structure_by_name("extent");
    case ITEM_DIRENT:
        return format_structure_by_name("dirent");
    case ITEM_FREE:
        return format_structure_by_name("free");
    case ITEM_ORPHAN:
        return format_structure_by_name("orphan");
    case ITEM_REFERENCE:
        return format_structure_by_name("reference");
    case ITEM_QUOTA:
        return format_structure_by_name("quota");
    default:
        return NULL;
    }
}

static void add_value(struct text *text, const struct format_item *item)
{
    const struct format_structure *structure = structure_of_item(item->key.kind);
    if (structure == NULL || item->length < structure->bytes) {
        text_add(text, " %u bytes", item->length);
        return;
    }
    for (size_t i = 0; i < structure->field_count; i++) {
        if (structure->fields[i].kind == FIELD_RESERVED)
            continue;
        text_add(text, " %s ", structure->fields[i].name);
        add_element(text, &structure->fields[i], item->value, 0);
    }
    if (item->key.kind == ITEM_DIRENT) {
        text_add(text, " ");
        add_quoted(text, item->value + structure->bytes, item->length - structure->bytes);
    }
}

static void add_node(struct text *text, const uint8_t *area, size_t area_bytes)
{
    struct format_node node;
    const char *reason;
    if (format_node_open(&node, area, area_bytes, &reason) < 0) {
        text_add(text, "bad node: %s", reason);
        return;
    }
    text_add(text, "level %u, %u items", node.level, node.item_count);
    for (unsigned i = 0; i < node.item_count; i++) {
        struct format_item item = format_node_item(&node, i);
        text_add(text, "\n  ");
        format_key_to_text(&item.key, text);
        if (node.level > 0)
            text_add(text, " -> block %llu", (ull)format_node_child(&node, i));
        else
            add_value(text, &item);
    }
}

// --- whole blocks ----------------------------------------------------------------------------

void format_block_header_to_text(const void *block, struct text *text)
{
    const struct block_header_disk *header = block;
    if (le32_get(header->magic) != BLOCK_MAGIC) {
        text_add(text, "no lunfs block");
        return;
    }
    text_add(text, "%s %llu at %llu v%llu", format_block_type_name(le16_get(header->type)),
             (ull)le64_get(header->owner), (ull)le64_get(header->address),
             (ull)le64_get(header->version));
}

void format_block_to_text(const void *block, struct text *text)
{
    const struct block_header_disk *header = block;
    const struct format_structure *structure = NULL;
    add_structure(text, format_structure_header(), block);
    if (le32_get(header->magic) == BLOCK_MAGIC)
        structure = format_structure_of((enum block_type)le16_get(header->type));
    if (structure != NULL)
        add_structure(text, structure, block);
}

void geometry_to_text(const struct geometry *g, struct text *text)
{
    text_add(text, "uuid: ");
    text_add_uuid(text, g->uuid);
    text_add(text, "\nlabel: ");
    add_quoted(text, (const uint8_t *)g->label, sizeof(g->label));
    text_add(text, "\nsize: ");
    text_add_size(text, g->block_count * BLOCK_BYTES);
    text_add(text, " (%llu blocks of %d bytes)\n", (ull)g->block_count, BLOCK_BYTES);
    text_add(text, "node slots: %u, at block %llu\n", g->slot_count, (ull)g->slot_table_block);
    text_add(text, "journals: ");
    text_add_size(text, (uint64_t)g->journal_block_count * BLOCK_BYTES);
    text_add(text, " a slot, at block %llu\n", (ull)g->journal_block);
    text_add(text, "allocation groups: %u of ", g->ag_count);
    text_add_size(text, (uint64_t)BLOCK_BYTES << g->ag_block_shift);
    text_add(text, ", at block %llu\n", (ull)g->ag_base_block);
    text_add(text, "root directory: inode %llu\n", (ull)g->root_inode);
}

void format_heartbeat_to_text(const struct format_heartbeat *heartbeat, struct text *text)
{
    text_add(text, "slot %u %s incarnation %llu beat %llu", heartbeat->slot,
             format_heartbeat_state_name(heartbeat->state), (ull)heartbeat->incarnation,
             (ull)heartbeat->beat);
    if (heartbeat->node_name[0] != '\0') {
        text_add(text, " node ");
        add_quoted(text, (const uint8_t *)heartbeat->node_name, sizeof(heartbeat->node_name));
    }
}

void format_claim_to_text(const struct format_claim *claim, struct text *text)
{
    text_add(text, "%s", format_claim_purpose_name(claim->purpose));
    if (claim->purpose == CLAIM_IDLE)
        return;
    text_add(text, " on ");
    add_quoted(text, (const uint8_t *)claim->host_name, sizeof(claim->host_name));
    text_add(text, " beat %llu", (ull)claim->beat);
}
