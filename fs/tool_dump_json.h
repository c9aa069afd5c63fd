// SPDX-License-Identifier: Apache-2.0
// A block of metadata as JSON, by the field tables: so that a new field shows by itself.
#pragma once

struct json_object;

// The common header's fields and those of the block's type; tree nodes with their items. Any bytes
// may be given. Numbers are numbers, names are text with \xnn for what is no plain ASCII, opaque
// bytes are hexadecimal. Reserved fields show only if they are not 0.
struct json_object *tool_dump_json(const void *block);
// The journal's own header, which no field table has; NULL if it is none.
struct json_object *tool_dump_journal_json(const void *block, unsigned journal_block_count);
