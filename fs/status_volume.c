// SPDX-License-Identifier: Apache-2.0
#include "fs/status_volume.h"

#include <json-c/json.h>

#include "fs/base/text.h"

void status_add_text(struct json_object *object, const char *name, const char *text)
{
    json_object_object_add(object, name, json_object_new_string(text));
}

void status_add_number(struct json_object *object, const char *name, uint64_t number)
{
    json_object_object_add(object, name, json_object_new_uint64(number));
}

void status_add_flag(struct json_object *object, const char *name, int flag)
{
    json_object_object_add(object, name, json_object_new_boolean(flag));
}

void status_volume_add(struct json_object *result, const struct geometry *geometry)
{
    TEXT(uuid, 40);
    TEXT(format_id, 40);
    text_add_uuid(&uuid, geometry->uuid);
    for (int i = 0; i < 16; i++)
        text_add(&format_id, "%02x", geometry->format_id[i]);
    status_add_text(result, "uuid", uuid.bytes);
    status_add_text(result, "label", geometry->label);
    status_add_text(result, "format_id", format_id.bytes);
    status_add_number(result, "size_bytes", geometry->block_count * BLOCK_BYTES);
    status_add_number(result, "slot_count", geometry->slot_count);
    status_add_number(result, "journal_bytes",
                      (uint64_t)geometry->journal_block_count * BLOCK_BYTES);
    status_add_number(result, "group_count", geometry->ag_count);
    status_add_number(result, "group_bytes", (uint64_t)BLOCK_BYTES << geometry->ag_block_shift);
    status_add_number(result, "protocol_version", geometry->protocol_version);
    status_add_number(result, "created_ns", geometry->created_ns);
    status_add_flag(result, "needs_fsck", geometry->state != 0);
}
