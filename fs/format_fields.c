// SPDX-License-Identifier: Apache-2.0
#include "fs/format_fields.h"

#include <string.h>

#include "fs/base/check.h"
#include "fs/format_quota.h"

#define WIDTH(type, member) sizeof(((struct type *)0)->member)
#define NAMED(type, member, name, kind)                                                            \
    {                                                                                              \
        name, offsetof(struct type, member), WIDTH(type, member), kind, 1, 0                       \
    }
#define FIELD(type, member, kind) NAMED(type, member, #member, kind)
// An array of numbers, one element `type.member[0]` wide.
#define ARRAY(type, member, kind)                                                                  \
    {                                                                                              \
#member, offsetof(struct type, member), WIDTH(type, member[0]), kind,                      \
            WIDTH(type, member) / WIDTH(type, member[0]), WIDTH(type, member[0])                   \
    }
// One member of an array of structures.
#define COLUMN(type, array, row, member, name, kind)                                               \
    {                                                                                              \
        name, offsetof(struct type, array) + offsetof(struct row, member), WIDTH(row, member),     \
            kind, WIDTH(type, array) / sizeof(struct row), sizeof(struct row)                      \
    }
#define TIME(type, member)                                                                         \
    NAMED(type, member.seconds, #member "_seconds", FIELD_SIGNED),                                 \
        NAMED(type, member.nanoseconds, #member "_nanoseconds", FIELD_UNSIGNED)

static const struct format_field header_fields[] = {
    FIELD(block_header_disk, magic, FIELD_HEX),
    FIELD(block_header_disk, checksum, FIELD_HEX),
    FIELD(block_header_disk, type, FIELD_UNSIGNED),
    FIELD(block_header_disk, format_version, FIELD_UNSIGNED),
    FIELD(block_header_disk, reserved0, FIELD_RESERVED),
    FIELD(block_header_disk, format_id, FIELD_UUID),
    FIELD(block_header_disk, address, FIELD_UNSIGNED),
    FIELD(block_header_disk, owner, FIELD_UNSIGNED),
    FIELD(block_header_disk, version, FIELD_UNSIGNED),
    FIELD(block_header_disk, reserved1, FIELD_RESERVED),
};

static const struct format_field superblock_fields[] = {
    FIELD(superblock_disk, uuid, FIELD_UUID),
    FIELD(superblock_disk, label, FIELD_TEXT),
    FIELD(superblock_disk, feature_compat, FIELD_HEX),
    FIELD(superblock_disk, feature_ro_compat, FIELD_HEX),
    FIELD(superblock_disk, feature_incompat, FIELD_HEX),
    FIELD(superblock_disk, block_count, FIELD_UNSIGNED),
    FIELD(superblock_disk, slot_table_block, FIELD_UNSIGNED),
    FIELD(superblock_disk, journal_block, FIELD_UNSIGNED),
    FIELD(superblock_disk, ag_base_block, FIELD_UNSIGNED),
    FIELD(superblock_disk, root_inode, FIELD_UNSIGNED),
    FIELD(superblock_disk, created_ns, FIELD_UNSIGNED),
    FIELD(superblock_disk, slot_count, FIELD_UNSIGNED),
    FIELD(superblock_disk, journal_block_count, FIELD_UNSIGNED),
    FIELD(superblock_disk, ag_block_shift, FIELD_UNSIGNED),
    FIELD(superblock_disk, ag_count, FIELD_UNSIGNED),
    FIELD(superblock_disk, ag_map_block_count, FIELD_UNSIGNED),
    FIELD(superblock_disk, device_count, FIELD_UNSIGNED),
    FIELD(superblock_disk, protocol_version, FIELD_UNSIGNED),
    FIELD(superblock_disk, state, FIELD_HEX),
    FIELD(superblock_disk, hash_key, FIELD_BYTES),
    COLUMN(superblock_disk, devices, device_entry_disk, device_id, "devices.device_id", FIELD_UUID),
    COLUMN(superblock_disk, devices, device_entry_disk, start_block, "devices.start_block",
           FIELD_UNSIGNED),
    COLUMN(superblock_disk, devices, device_entry_disk, block_count, "devices.block_count",
           FIELD_UNSIGNED),
    COLUMN(superblock_disk, devices, device_entry_disk, reserved, "devices.reserved",
           FIELD_RESERVED),
    FIELD(superblock_disk, reserved, FIELD_RESERVED),
};

static const struct format_field claim_fields[] = {
    FIELD(claim_disk, holder, FIELD_UUID),      FIELD(claim_disk, cluster_id, FIELD_UUID),
    FIELD(claim_disk, purpose, FIELD_UNSIGNED), FIELD(claim_disk, beat_ms, FIELD_UNSIGNED),
    FIELD(claim_disk, beat, FIELD_UNSIGNED),    FIELD(claim_disk, wall_ns, FIELD_UNSIGNED),
    FIELD(claim_disk, host_name, FIELD_TEXT),   FIELD(claim_disk, reserved, FIELD_RESERVED),
};

static const struct format_field ag_map_fields[] = {
    FIELD(ag_map_disk, bits, FIELD_BITS),
};

static const struct format_field heartbeat_fields[] = {
    FIELD(heartbeat_disk, incarnation, FIELD_UNSIGNED),
    FIELD(heartbeat_disk, beat, FIELD_UNSIGNED),
    FIELD(heartbeat_disk, lamport, FIELD_UNSIGNED),
    FIELD(heartbeat_disk, boot_ns, FIELD_UNSIGNED),
    FIELD(heartbeat_disk, wall_ns, FIELD_UNSIGNED),
    FIELD(heartbeat_disk, state, FIELD_UNSIGNED),
    FIELD(heartbeat_disk, node_id, FIELD_UNSIGNED),
    FIELD(heartbeat_disk, lease_ms, FIELD_UNSIGNED),
    FIELD(heartbeat_disk, beat_ms, FIELD_UNSIGNED),
    FIELD(heartbeat_disk, node_name, FIELD_TEXT),
    FIELD(heartbeat_disk, cluster_id, FIELD_UUID),
    FIELD(heartbeat_disk, recovered_incarnation, FIELD_UNSIGNED),
    FIELD(heartbeat_disk, reserved, FIELD_RESERVED),
};

static const struct format_field mailbox_fields[] = {
    FIELD(mailbox_disk, victim_incarnation, FIELD_UNSIGNED),
    FIELD(mailbox_disk, writer_incarnation, FIELD_UNSIGNED),
    FIELD(mailbox_disk, writer_slot, FIELD_UNSIGNED),
    FIELD(mailbox_disk, writer_node_id, FIELD_UNSIGNED),
    FIELD(mailbox_disk, wall_ns, FIELD_UNSIGNED),
    FIELD(mailbox_disk, reason, FIELD_TEXT),
    FIELD(mailbox_disk, reserved, FIELD_RESERVED),
};

static const struct format_field slot_state_fields[] = {
    ARRAY(slot_state_disk, reserved0, FIELD_RESERVED),
    ARRAY(slot_state_disk, reserved1, FIELD_RESERVED),
    FIELD(slot_state_disk, orphan_root, FIELD_NODE),
};

static const struct format_field ag_header_fields[] = {
    FIELD(ag_header_disk, block_count, FIELD_UNSIGNED),
    FIELD(ag_header_disk, free_block_count, FIELD_UNSIGNED),
    FIELD(ag_header_disk, reserve_count, FIELD_UNSIGNED),
    FIELD(ag_header_disk, reserved0, FIELD_RESERVED),
    ARRAY(ag_header_disk, reserved1, FIELD_RESERVED),
    ARRAY(ag_header_disk, reserve, FIELD_UNSIGNED),
    FIELD(ag_header_disk, free_root, FIELD_NODE),
    FIELD(ag_header_disk, reference_root, FIELD_NODE),
};

static const struct format_field inode_fields[] = {
    FIELD(inode_disk, generation, FIELD_UNSIGNED),
    FIELD(inode_disk, size, FIELD_UNSIGNED),
    FIELD(inode_disk, block_count, FIELD_UNSIGNED),
    FIELD(inode_disk, mode, FIELD_OCTAL),
    FIELD(inode_disk, link_count, FIELD_UNSIGNED),
    FIELD(inode_disk, uid, FIELD_UNSIGNED),
    FIELD(inode_disk, gid, FIELD_UNSIGNED),
    FIELD(inode_disk, project_id, FIELD_UNSIGNED),
    FIELD(inode_disk, flags, FIELD_HEX),
    FIELD(inode_disk, rdev, FIELD_HEX),
    FIELD(inode_disk, parent, FIELD_UNSIGNED),
    TIME(inode_disk, accessed),
    TIME(inode_disk, modified),
    TIME(inode_disk, changed),
    TIME(inode_disk, created),
    FIELD(inode_disk, orphan_slot, FIELD_UNSIGNED),
    FIELD(inode_disk, xattr_count, FIELD_UNSIGNED),
    FIELD(inode_disk, truncate_size, FIELD_UNSIGNED),
    FIELD(inode_disk, claim_export, FIELD_UUID),
    FIELD(inode_disk, claim_generation, FIELD_UNSIGNED),
    FIELD(inode_disk, claim_node_id, FIELD_UNSIGNED),
    FIELD(inode_disk, reserved0, FIELD_RESERVED),
    FIELD(inode_disk, reserved1, FIELD_RESERVED),
    FIELD(inode_disk, root, FIELD_NODE),
};

static const struct format_field quota_bucket_fields[] = {
    ARRAY(quota_bucket_disk, reserved0, FIELD_RESERVED),
    FIELD(quota_bucket_disk, record_root, FIELD_NODE),
};

#define ENTRY(member, kind)                                                                        \
    COLUMN(quota_ledger_disk, entries, quota_entry_disk, member, "entries." #member, kind)

static const struct format_field quota_ledger_fields[] = {
    ENTRY(id, FIELD_UNSIGNED),
    ENTRY(kind, FIELD_UNSIGNED),
    ENTRY(is_used, FIELD_UNSIGNED),
    ENTRY(reserved, FIELD_RESERVED),
    ENTRY(block_share, FIELD_UNSIGNED),
    ENTRY(block_spent, FIELD_SIGNED),
    ENTRY(inode_share, FIELD_UNSIGNED),
    ENTRY(inode_spent, FIELD_SIGNED),
    FIELD(quota_ledger_disk, reserved, FIELD_RESERVED),
};

static const struct format_field tree_block_fields[] = {
    FIELD(tree_block_disk, area, FIELD_NODE),
};

static const struct format_field tree_node_fields[] = {
    FIELD(tree_node_disk, item_count, FIELD_UNSIGNED),
    FIELD(tree_node_disk, heap_start, FIELD_UNSIGNED),
    FIELD(tree_node_disk, heap_free, FIELD_UNSIGNED),
    FIELD(tree_node_disk, level, FIELD_UNSIGNED),
    FIELD(tree_node_disk, reserved0, FIELD_RESERVED),
    FIELD(tree_node_disk, reserved1, FIELD_RESERVED),
};

static const struct format_field tree_slot_fields[] = {
    NAMED(tree_slot_disk, key.kind, "kind", FIELD_UNSIGNED),
    NAMED(tree_slot_disk, key.reserved, "key_reserved", FIELD_RESERVED),
    NAMED(tree_slot_disk, key.minor, "minor", FIELD_UNSIGNED),
    NAMED(tree_slot_disk, key.major, "major", FIELD_UNSIGNED),
    FIELD(tree_slot_disk, offset, FIELD_UNSIGNED),
    FIELD(tree_slot_disk, length, FIELD_UNSIGNED),
    FIELD(tree_slot_disk, reserved, FIELD_RESERVED),
};

static const struct format_field extent_fields[] = {
    FIELD(extent_disk, start_block, FIELD_UNSIGNED),
    FIELD(extent_disk, block_count, FIELD_UNSIGNED),
    FIELD(extent_disk, flags, FIELD_HEX),
};

static const struct format_field dirent_fields[] = {
    FIELD(dirent_disk, inode, FIELD_UNSIGNED),
    FIELD(dirent_disk, generation, FIELD_UNSIGNED),
    FIELD(dirent_disk, type, FIELD_UNSIGNED),
    FIELD(dirent_disk, name_length, FIELD_UNSIGNED),
};

static const struct format_field xattr_fields[] = {
    FIELD(xattr_disk, value_length, FIELD_UNSIGNED),
    FIELD(xattr_disk, name_length, FIELD_UNSIGNED),
    FIELD(xattr_disk, reserved, FIELD_RESERVED),
};

static const struct format_field free_fields[] = {
    FIELD(free_disk, block_count, FIELD_UNSIGNED),
};

static const struct format_field orphan_fields[] = {
    FIELD(orphan_disk, generation, FIELD_UNSIGNED),
};

static const struct format_field reference_fields[] = {
    FIELD(reference_disk, block_count, FIELD_UNSIGNED),
    FIELD(reference_disk, count, FIELD_UNSIGNED),
};

static const struct format_field quota_fields[] = {
    FIELD(quota_disk, block_hard, FIELD_UNSIGNED),
    FIELD(quota_disk, block_soft, FIELD_UNSIGNED),
    FIELD(quota_disk, inode_hard, FIELD_UNSIGNED),
    FIELD(quota_disk, inode_soft, FIELD_UNSIGNED),
    FIELD(quota_disk, block_used, FIELD_SIGNED),
    FIELD(quota_disk, inode_used, FIELD_SIGNED),
    FIELD(quota_disk, block_lent, FIELD_UNSIGNED),
    FIELD(quota_disk, inode_lent, FIELD_UNSIGNED),
    FIELD(quota_disk, block_since_s, FIELD_UNSIGNED),
    FIELD(quota_disk, inode_since_s, FIELD_UNSIGNED),
    FIELD(quota_disk, block_grace_s, FIELD_UNSIGNED),
    FIELD(quota_disk, inode_grace_s, FIELD_UNSIGNED),
    FIELD(quota_disk, holders, FIELD_HEX),
};

#define STRUCTURE(structure_name, block_type)                                                      \
    {                                                                                              \
#structure_name, block_type, sizeof(struct structure_name##_disk),                         \
            sizeof(structure_name##_fields) / sizeof(struct format_field), structure_name##_fields \
    }

static const struct format_structure structures[] = {
    STRUCTURE(superblock, BLOCK_TYPE_SUPERBLOCK),
    STRUCTURE(claim, BLOCK_TYPE_CLAIM),
    STRUCTURE(ag_map, BLOCK_TYPE_AG_MAP),
    STRUCTURE(heartbeat, BLOCK_TYPE_HEARTBEAT),
    STRUCTURE(mailbox, BLOCK_TYPE_MAILBOX),
    STRUCTURE(slot_state, BLOCK_TYPE_SLOT_STATE),
    STRUCTURE(ag_header, BLOCK_TYPE_AG_HEADER),
    STRUCTURE(inode, BLOCK_TYPE_INODE),
    STRUCTURE(tree_block, BLOCK_TYPE_TREE_NODE),
    STRUCTURE(quota_bucket, BLOCK_TYPE_QUOTA_BUCKET),
    STRUCTURE(quota_ledger, BLOCK_TYPE_QUOTA_LEDGER),
    STRUCTURE(tree_node, 0),
    STRUCTURE(tree_slot, 0),
    STRUCTURE(extent, 0),
    STRUCTURE(dirent, 0),
    STRUCTURE(xattr, 0),
    STRUCTURE(free, 0),
    STRUCTURE(orphan, 0),
    STRUCTURE(reference, 0),
    STRUCTURE(quota, 0),
};

static const struct format_structure header_structure = {
    "block_header", 0, sizeof(struct block_header_disk),
    sizeof(header_fields) / sizeof(header_fields[0]), header_fields};

const struct format_structure *format_structure_header(void)
{
    return &header_structure;
}

const struct format_structure *format_structure_at(size_t number)
{
    return number < sizeof(structures) / sizeof(structures[0]) ? &structures[number] : NULL;
}

const struct format_structure *format_structure_of(enum block_type type)
{
    const struct format_structure *structure;
    for (size_t i = 0; (structure = format_structure_at(i)) != NULL; i++) {
        if (structure->type != 0 && structure->type == type)
            return structure;
    }
    return NULL;
}

const struct format_structure *format_structure_by_name(const char *name)
{
    const struct format_structure *structure;
    for (size_t i = 0; (structure = format_structure_at(i)) != NULL; i++) {
        if (strcmp(structure->name, name) == 0)
            return structure;
    }
    return strcmp(name, header_structure.name) == 0 ? &header_structure : NULL;
}

static const struct format_field *find_own(const struct format_structure *structure,
                                           const char *name)
{
    for (size_t i = 0; i < structure->field_count; i++) {
        if (strcmp(structure->fields[i].name, name) == 0)
            return &structure->fields[i];
    }
    return NULL;
}

const struct format_field *format_field_find(const struct format_structure *structure,
                                             const char *name)
{
    const struct format_field *field = find_own(structure, name);
    if (field == NULL && structure->type != 0)
        field = find_own(&header_structure, name);
    return field;
}

bool format_field_is_number(const struct format_field *field)
{
    return field->kind == FIELD_UNSIGNED || field->kind == FIELD_SIGNED ||
           field->kind == FIELD_HEX || field->kind == FIELD_OCTAL;
}

static size_t element_offset(const struct format_field *field, unsigned index)
{
    CHECK(format_field_is_number(field) && field->width <= 8 && index < field->count);
    return field->offset + (size_t)index * field->stride;
}

uint64_t format_field_get(const struct format_field *field, const void *bytes, unsigned index)
{
    const uint8_t *p = (const uint8_t *)bytes + element_offset(field, index);
    uint64_t value = 0;
    for (unsigned i = field->width; i-- > 0;)
        value = value << 8 | p[i];
    return value;
}

void format_field_set(const struct format_field *field, void *bytes, unsigned index, uint64_t value)
{
    uint8_t *p = (uint8_t *)bytes + element_offset(field, index);
    for (unsigned i = 0; i < field->width; i++)
        p[i] = (uint8_t)(value >> (8 * i));
}

static bool field_is_zero(const struct format_field *field, const uint8_t *bytes)
{
    for (unsigned i = 0; i < field->count; i++) {
        const uint8_t *p = bytes + field->offset + (size_t)i * field->stride;
        for (unsigned k = 0; k < field->width; k++) {
            if (p[k] != 0)
                return false;
        }
    }
    return true;
}

bool format_reserved_is_zero(const struct format_structure *structure, const void *bytes)
{
    for (size_t i = 0; i < structure->field_count; i++) {
        const struct format_field *field = &structure->fields[i];
        if (field->kind == FIELD_RESERVED && !field_is_zero(field, bytes))
            return false;
    }
    return true;
}
