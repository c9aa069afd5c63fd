// SPDX-License-Identifier: Apache-2.0
// Printers of disk structures, for the log, the tools and the tests alike. Pure; any bytes may be
// given.
#pragma once

#include "fs/base/text.h"
#include "fs/format.h"
#include "fs/format_decode.h"

// A constant word: "superblock", "inode"; "unknown" else.
const char *format_block_type_name(unsigned type);
// "free", "running" ...; "unknown" else.
const char *format_heartbeat_state_name(unsigned state);
// "idle", "cluster" ...; "unknown" else.
const char *format_claim_purpose_name(unsigned purpose);
// "inline", "extent" ...; "unknown" else.
const char *format_item_kind_name(unsigned kind);

// "inode 8241 v17": what a block says of itself, on one line.
void format_block_header_to_text(const void *block, struct text *text);
// The whole block, one "name: value" a line, by its field table; tree nodes with their items.
void format_block_to_text(const void *block, struct text *text);
// The plan of a volume, one "name: value" a line.
void geometry_to_text(const struct geometry *g, struct text *text);
// One line each.
void format_heartbeat_to_text(const struct format_heartbeat *heartbeat, struct text *text);
void format_claim_to_text(const struct format_claim *claim, struct text *text);
void format_key_to_text(const struct format_key *key, struct text *text);
// A file's name in quotes; what is no plain ASCII as \xnn.
void format_name_to_text(const uint8_t *name, size_t length, struct text *text);
