// SPDX-License-Identifier: Apache-2.0
// Every disk structure as a table of fields: name, offset, width, kind. One table drives the
// printers, editing by name and the corruption tests, so that a new field reaches all of them. The
// fields of a block's table cover its 4096 bytes exactly once. Pure.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fs/format.h"

enum format_field_kind {
    FIELD_UNSIGNED, // little-endian, width 1, 2, 4 or 8
    FIELD_SIGNED,   // the same, two's complement
    FIELD_HEX,      // as FIELD_UNSIGNED, printed in hexadecimal
    FIELD_OCTAL,
    FIELD_BYTES,    // opaque
    FIELD_UUID,     // 16 bytes
    FIELD_TEXT,     // padded with 0
    FIELD_BITS,     // a bit map
    FIELD_NODE,     // the area of a tree node
    FIELD_RESERVED, // must be 0
};

struct format_field {
    const char *name;
    uint16_t offset; // bytes in the structure, of the first element
    uint16_t width;  // bytes of one element
    enum format_field_kind kind;
    uint16_t count;  // elements; 1: no array
    uint16_t stride; // bytes from one element to the next
};

struct format_structure {
    const char *name;
    uint16_t type; // enum block_type; 0: stands inside a block
    uint16_t bytes;
    uint16_t field_count;
    const struct format_field *fields; // the block header's are not among them
};

// The header that all blocks share.
const struct format_structure *format_structure_header(void);
// Of a block type that format.h defines; NULL for an unknown type and the journal's own.
const struct format_structure *format_structure_of(enum block_type type);
// By name, also of those inside blocks: "superblock", "extent", "tree_slot"; NULL if unknown.
const struct format_structure *format_structure_by_name(const char *name);
// The number-th of all structures, NULL behind the last one.
const struct format_structure *format_structure_at(size_t number);

// NULL if the structure has no such field. In blocks the header's fields are found too.
const struct format_field *format_field_find(const struct format_structure *structure,
                                             const char *name);
// A number field's value; `bytes` is the start of the structure, `index` an array's element.
uint64_t format_field_get(const struct format_field *field, const void *bytes, unsigned index);
void format_field_set(const struct format_field *field, void *bytes, unsigned index,
                      uint64_t value);
bool format_field_is_number(const struct format_field *field);

// Whether all reserved fields of the structure are 0.
bool format_reserved_is_zero(const struct format_structure *structure, const void *bytes);
