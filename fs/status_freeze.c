// SPDX-License-Identifier: Apache-2.0
#include "fs/status_freeze.h"

#include <errno.h>
#include <json-c/json.h>

#include "fs/base/error.h"
#include "fs/freeze.h"
#include "fs/status_volume.h"
#include "fs/volume.h"

enum { LIMIT_MS_MAX = 3600 * 1000 };

static const uint64_t ms = 1000000;

int status_freeze_begin(struct volume *volume, struct json_object *arguments,
                        struct json_object *result, const char **why)
{
    struct json_object *limit;
    int64_t limit_ms = 0;
    (void)result;
    if (json_object_object_get_ex(arguments, "timeout_ms", &limit))
        limit_ms = json_object_get_int64(limit);
    if (limit_ms <= 0 || limit_ms > LIMIT_MS_MAX) {
        *why = "freeze needs the argument timeout_ms, of at most an hour";
        return -EINVAL;
    }
    int error = freeze_begin(volume->freeze, (uint64_t)limit_ms * ms);
    if (error == -EBUSY)
        *why = "the volume is frozen already: lunfs nodes says by whom";
    return error;
}

static const char *ended_text(int ended)
{
    switch (ended) {
    case -ENODATA:
        return "this node froze nothing";
    case -ETIMEDOUT:
        return "it reached its time limit";
    case -ECANCELED:
        return "a thaw was asked for before";
    case -EBUSY:
        return "another node has frozen the volume";
    default:
        return error_text(ended);
    }
}

int status_freeze_end(struct volume *volume, struct json_object *arguments,
                      struct json_object *result, const char **why)
{
    struct freeze_status status;
    (void)arguments;
    freeze_status_get(volume->freeze, &status);
    if (status.state == FREEZE_OTHER) {
        freeze_ask_end(volume->freeze);
        status_add_flag(result, "asked", true);
        return 0;
    }
    int error = freeze_end(volume->freeze);
    status_add_flag(result, "held", error == 0);
    status_add_number(result, "for_ms", status.for_ns / ms);
    if (error != 0)
        *why = ended_text(error);
    return error;
}

void status_freeze_add(struct json_object *result, struct volume *volume)
{
    static const char *const states[] = {
        [FREEZE_NONE] = "none",
        [FREEZE_BEGINS] = "begins",
        [FREEZE_HOLDS] = "holds",
        [FREEZE_OTHER] = "other",
    };
    struct freeze_status status;
    if (volume->freeze == NULL)
        return;
    freeze_status_get(volume->freeze, &status);
    struct json_object *freeze = json_object_new_object();
    status_add_text(freeze, "state", states[status.state]);
    status_add_number(freeze, "for_ms", status.for_ns / ms);
    status_add_number(freeze, "left_ms", status.left_ns / ms);
    if (status.state == FREEZE_NONE && status.ended != 0 && status.ended != -ENODATA)
        status_add_text(freeze, "ended", ended_text(status.ended));
    json_object_object_add(result, "freeze", freeze);
}
