// SPDX-License-Identifier: Apache-2.0
#include "fs/status_quota.h"

#include <errno.h>
#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/check.h"
#include "fs/base/cleanup.h"
#include "fs/base/error.h"
#include "fs/format.h"
#include "fs/quota.h"
#include "fs/status_volume.h"
#include "fs/volume.h"

enum { ROWS_MAX = 500 }; // in one answer: the core must not be held up

static const char *const kind_words[QUOTA_KIND_COUNT] = {"user", "group", "project"};

// --- errors --------------------------------------------------------------------------------------

static int explain(int error, const char **why)
{
    if (error == -ENODATA)
        *why = "quotas are off: lunfs quota on turns them on";
    else if (error == -EALREADY)
        *why = "they are already";
    else if (error == -EBUSY)
        *why =
            "the volume is frozen or about to be, or quotas are being turned on or off: try again";
    else if (error == -EROFS)
        *why = "the mount is read-only";
    return error;
}

// --- arguments -----------------------------------------------------------------------------------

static bool take_kind(struct json_object *arguments, enum quota_kind *kind)
{
    struct json_object *word;
    if (!json_object_object_get_ex(arguments, "kind", &word) ||
        !json_object_is_type(word, json_type_string))
        return false;
    for (int i = 0; i < QUOTA_KIND_COUNT; i++) {
        if (strcmp(json_object_get_string(word), kind_words[i]) == 0) {
            *kind = (enum quota_kind)i;
            return true;
        }
    }
    return false;
}

// 1: it is there; 0: it is not; -EINVAL: it is no such number.
static int take_number(struct json_object *arguments, const char *name, uint64_t max,
                       uint64_t *number)
{
    struct json_object *value;
    if (!json_object_object_get_ex(arguments, name, &value))
        return 0;
    if (!json_object_is_type(value, json_type_int) ||
        (json_object_get_int64(value) < 0 && json_object_get_uint64(value) == 0))
        return -EINVAL;
    *number = json_object_get_uint64(value);
    return *number <= max ? 1 : -EINVAL;
}

static int take_owner(struct json_object *arguments, struct quota_owner *owner, const char **why)
{
    uint64_t id = 0;
    if (!take_kind(arguments, &owner->kind) || take_number(arguments, "id", UINT32_MAX, &id) != 1) {
        *why = "the arguments kind (user, group, project) and id are needed";
        return -EINVAL;
    }
    owner->id = (uint32_t)id;
    return 0;
}

// Whole blocks, and no limit becomes none.
static uint64_t blocks_of(uint64_t bytes)
{
    return bytes / BLOCK_BYTES + (bytes % BLOCK_BYTES != 0);
}

static int take_limits(struct json_object *arguments, struct quota_limits *limits, unsigned *fields,
                       const char **why)
{
    const struct {
        const char *name;
        unsigned field;
        uint64_t max;
        bool is_bytes;
        uint64_t *to;
    } numbers[] = {
        {"bytes_hard", QUOTA_SET_BLOCK_HARD, UINT64_MAX, true, &limits->block_hard},
        {"bytes_soft", QUOTA_SET_BLOCK_SOFT, UINT64_MAX, true, &limits->block_soft},
        {"inodes_hard", QUOTA_SET_INODE_HARD, FORMAT_QUOTA_MAX - 1, false, &limits->inode_hard},
        {"inodes_soft", QUOTA_SET_INODE_SOFT, FORMAT_QUOTA_MAX - 1, false, &limits->inode_soft},
    };
    const struct {
        const char *name;
        unsigned field;
        uint32_t *to;
    } graces[] = {
        {"bytes_grace_s", QUOTA_SET_BLOCK_GRACE, &limits->block_grace_s},
        {"inodes_grace_s", QUOTA_SET_INODE_GRACE, &limits->inode_grace_s},
    };
    int result = 0;
    *fields = 0;
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]) && result >= 0; i++) {
        uint64_t number = 0;
        result = take_number(arguments, numbers[i].name, numbers[i].max, &number);
        *numbers[i].to = numbers[i].is_bytes ? blocks_of(number) : number;
        *fields |= result == 1 ? numbers[i].field : 0;
    }
    for (size_t i = 0; i < sizeof(graces) / sizeof(graces[0]) && result >= 0; i++) {
        uint64_t number = 0;
        result = take_number(arguments, graces[i].name, UINT32_MAX, &number);
        *graces[i].to = (uint32_t)number;
        *fields |= result == 1 ? graces[i].field : 0;
    }
    if (result >= 0 && *fields != 0)
        return 0;
    *why = result < 0 ? "a limit is no number, or too large" : "there is no limit to set";
    return -EINVAL;
}

// --- rows ----------------------------------------------------------------------------------------

static uint64_t bytes_of(uint64_t blocks)
{
    return blocks > UINT64_MAX / BLOCK_BYTES ? UINT64_MAX : blocks * BLOCK_BYTES;
}

static void add_signed(struct json_object *object, const char *name, int64_t number)
{
    json_object_object_add(object, name, json_object_new_int64(number));
}

static void fill_row(struct json_object *object, const struct quota_row *row)
{
    const struct quota_limits *limits = &row->limits;
    status_add_text(object, "kind", kind_words[row->owner.kind]);
    status_add_number(object, "id", row->owner.id);
    add_signed(object, "bytes", row->blocks * BLOCK_BYTES);
    status_add_number(object, "bytes_soft", bytes_of(limits->block_soft));
    status_add_number(object, "bytes_hard", bytes_of(limits->block_hard));
    status_add_number(object, "bytes_grace_s", limits->block_grace_s);
    status_add_number(object, "bytes_until_s", row->block_until_s);
    add_signed(object, "inodes", row->inodes);
    status_add_number(object, "inodes_soft", limits->inode_soft);
    status_add_number(object, "inodes_hard", limits->inode_hard);
    status_add_number(object, "inodes_grace_s", limits->inode_grace_s);
    status_add_number(object, "inodes_until_s", row->inode_until_s);
}

int status_quota_report(struct volume *volume, struct json_object *arguments,
                        struct json_object *result, const char **why)
{
    CLEANUP_FREE struct quota_row *rows = calloc(ROWS_MAX, sizeof(*rows));
    CHECK(rows != NULL);
    enum quota_kind kind;
    uint64_t first = 0;
    size_t count;
    if (!take_kind(arguments, &kind) || take_number(arguments, "first", UINT32_MAX, &first) < 0) {
        *why = "the arguments kind (user, group, project) and first are needed";
        return -EINVAL;
    }
    int error = quota_report(volume->quota, kind, (uint32_t)first, rows, ROWS_MAX, &count);
    if (error != 0)
        return explain(error, why);
    struct json_object *list = json_object_new_array();
    for (size_t i = 0; i < count; i++) {
        struct json_object *row = json_object_new_object();
        fill_row(row, &rows[i]);
        json_object_array_add(list, row);
    }
    json_object_object_add(result, "rows", list);
    status_add_flag(result, "more", count == ROWS_MAX && rows[count - 1].owner.id != UINT32_MAX);
    return 0;
}

int status_quota_show(struct volume *volume, struct json_object *arguments,
                      struct json_object *result, const char **why)
{
    struct quota_owner owner;
    struct quota_row row;
    int error = take_owner(arguments, &owner, why);
    if (error != 0)
        return error;
    error = quota_get(volume->quota, owner, &row);
    if (error == 0)
        fill_row(result, &row);
    return explain(error, why);
}

int status_quota_set(struct volume *volume, struct json_object *arguments,
                     struct json_object *result, const char **why)
{
    struct quota_owner owner;
    struct quota_limits limits = {.block_hard = 0};
    unsigned fields;
    (void)result;
    int error = take_owner(arguments, &owner, why);
    if (error == 0)
        error = take_limits(arguments, &limits, &fields, why);
    if (error != 0)
        return error;
    error = quota_set(volume->quota, owner, fields, &limits);
    if (error == -EINVAL)
        *why = owner.id == 0 ? "number 0 is never refused anything: it can have no limits"
                             : "a soft limit would lie above its hard limit";
    return explain(error, why);
}

// --- on and off ----------------------------------------------------------------------------------

int status_quota_state(struct volume *volume, struct json_object *arguments,
                       struct json_object *result, const char **why)
{
    static const char *const phases[] = {
        [QUOTA_OFF] = "off",
        [QUOTA_TURNS_ON] = "turns on",
        [QUOTA_ON] = "on",
        [QUOTA_TURNS_OFF] = "turns off",
    };
    struct quota_status status;
    (void)arguments;
    int error = quota_get_status(volume->quota, &status);
    if (error != 0)
        return explain(error, why);
    status_add_text(result, "phase", phases[status.phase]);
    status_add_number(result, "counted", status.counted);
    if (status.ended != 0 && status.ended != -ENODATA)
        status_add_text(result, "ended", error_text(status.ended));
    return 0;
}

int status_quota_switch(struct volume *volume, struct json_object *arguments,
                        struct json_object *result, const char **why)
{
    struct json_object *on;
    (void)result;
    if (!json_object_object_get_ex(arguments, "on", &on) ||
        !json_object_is_type(on, json_type_boolean)) {
        *why = "the argument on is needed, true or false";
        return -EINVAL;
    }
    return explain(quota_switch(volume->quota, json_object_get_boolean(on)), why);
}
