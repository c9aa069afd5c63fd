// SPDX-License-Identifier: Apache-2.0
#include "fs/status_scrub.h"

#include <errno.h>
#include <json-c/json.h>
#include <string.h>

#include "fs/base/error.h"
#include "fs/scrubber.h"
#include "fs/status_volume.h"

static uint64_t number_of(struct json_object *arguments, const char *name)
{
    struct json_object *number;
    if (!json_object_object_get_ex(arguments, name, &number))
        return 0;
    return json_object_get_uint64(number);
}

static void add_lines(const struct scrubber *scrubber, uint64_t from, uint64_t count,
                      struct json_object *result)
{
    struct json_object *lines = json_object_new_array();
    for (uint64_t i = from; i < count; i++)
        json_object_array_add(lines, json_object_new_string(scrubber_line(scrubber, i)));
    json_object_object_add(result, "lines", lines);
}

static void look(const struct scrubber *scrubber, uint64_t from, struct json_object *result)
{
    struct scrubber_status status;
    scrubber_status_get(scrubber, &status);
    status_add_flag(result, "running", status.is_running);
    if (!status.is_running && status.result != 0)
        status_add_text(result, "ended_by", error_text(status.result));
    status_add_flag(result, "cancelled", !status.is_running && status.result == -ECANCELED);
    status_add_text(result, "what", status.scrub.what != NULL ? status.scrub.what : "");
    status_add_number(result, "done", status.scrub.done);
    status_add_number(result, "total", status.scrub.total);
    status_add_number(result, "blocks_read", status.scrub.blocks_read);
    status_add_number(result, "problems", status.scrub.problem_count);
    status_add_number(result, "elapsed_ms", status.elapsed_ns / 1000000);
    add_lines(scrubber, from, status.line_count, result);
}

int status_scrub(struct scrubber *scrubber, struct json_object *arguments,
                 struct json_object *result, const char **why)
{
    struct json_object *word;
    const char *action = "look";
    int error = 0;
    if (json_object_object_get_ex(arguments, "action", &word))
        action = json_object_get_string(word);
    if (strcmp(action, "start") == 0)
        error = scrubber_start(scrubber, number_of(arguments, "blocks_per_second"));
    else if (strcmp(action, "stop") == 0)
        scrubber_cancel(scrubber);
    else if (strcmp(action, "look") != 0)
        error = -EINVAL;
    if (error == -EALREADY)
        *why = "a scrub is under way already";
    else if (error == -EINVAL)
        *why = "scrub knows the actions start, look and stop";
    if (error == 0)
        look(scrubber, number_of(arguments, "from"), result);
    return error;
}
