// SPDX-License-Identifier: Apache-2.0
// What a superblock says, as members of an answer: the same whether the daemon or the tool read it.
#pragma once

#include <stdint.h>

#include "fs/format.h"

struct json_object;

// uuid, label, format_id, size_bytes, slot_count ...
void status_volume_add(struct json_object *result, const struct geometry *geometry);

// Adders with little words: texts are copied.
void status_add_text(struct json_object *object, const char *name, const char *text);
void status_add_number(struct json_object *object, const char *name, uint64_t number);
void status_add_flag(struct json_object *object, const char *name, int flag);
