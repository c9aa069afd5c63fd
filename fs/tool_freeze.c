// SPDX-License-Identifier: Apache-2.0
// lunfs freeze, lunfs thaw: around a copy of the LUN that is taken below us. The daemon does not
// let anybody wait, so both ask again until it is done.
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fs/base/text.h"
#include "fs/status_volume.h"
#include "fs/tool.h"

enum { TIMEOUT_S_DEFAULT = 60, TIMEOUT_S_MAX = 3600, POLL_MS = 20 };

static void pause_briefly(void)
{
    const struct timespec wait = {0, POLL_MS * 1000000};
    nanosleep(&wait, NULL);
}

static bool is_live(const struct tool_target *target)
{
    if (!target->is_mounted)
        tool_fail(0, "%s is not mounted on this node", target->name);
    return target->is_mounted;
}

// Asks until the volume is in none of the two states: what it is in then, in `state`; in `ended`
// why it is not frozen. False, and the error was printed, if nobody answers.
static bool wait_out(const struct tool_target *target, const char *first, const char *second,
                     struct text *state, struct text *ended)
{
    for (;;) {
        struct json_object *freeze, *result = tool_target_ask(target, "freeze-state", NULL);
        if (result == NULL)
            return false;
        json_object_object_get_ex(result, "freeze", &freeze);
        const char *now = tool_text(freeze, "state");
        bool is_waiting = strcmp(now, first) == 0 || strcmp(now, second) == 0;
        if (!is_waiting) {
            text_add(state, "%s", now);
            text_add(ended, "%s", tool_text(freeze, "ended"));
        }
        json_object_put(result);
        if (!is_waiting)
            return true;
        pause_briefly();
    }
}

static bool parse_seconds(const char *text, unsigned *seconds)
{
    char *end;
    unsigned long value = strtoul(text, &end, 10);
    *seconds = (unsigned)value;
    return *text >= '0' && *text <= '9' && *end == '\0' && value > 0 && value <= TIMEOUT_S_MAX;
}

int tool_freeze(const struct tool_verb *verb, int argc, char **argv)
{
    struct tool_options options;
    struct tool_target target;
    unsigned seconds = TIMEOUT_S_DEFAULT;
    TEXT(state, 64);
    TEXT(ended, 256);
    int exit_code = tool_begin(verb, argc, argv, &options, &target);
    if (exit_code >= 0)
        return exit_code;
    if (options.timeout != NULL && !parse_seconds(options.timeout, &seconds))
        return tool_usage(verb, false);
    if (!is_live(&target))
        return TOOL_EXIT_FAILURE;
    struct json_object *arguments = json_object_new_object();
    status_add_number(arguments, "timeout_ms", (uint64_t)seconds * 1000);
    struct json_object *result = tool_target_ask(&target, "freeze", arguments);
    json_object_put(arguments);
    if (result == NULL)
        return TOOL_EXIT_FAILURE;
    json_object_put(result);
    if (!wait_out(&target, "begins", "begins", &state, &ended))
        return TOOL_EXIT_FAILURE;
    if (strcmp(state.bytes, "holds") != 0)
        return tool_fail(TOOL_EXIT_FAILURE, "%s: not frozen: %s", target.name, ended.bytes);
    printf("%s is frozen for at most %u s: copy the LUN now, then lunfs thaw %s\n", target.name,
           seconds, target.name);
    return TOOL_EXIT_OK;
}

int tool_thaw(const struct tool_verb *verb, int argc, char **argv)
{
    struct tool_options options;
    struct tool_target target;
    TEXT(state, 64);
    TEXT(ended, 256);
    int exit_code = tool_begin(verb, argc, argv, &options, &target);
    if (exit_code >= 0)
        return exit_code;
    if (!is_live(&target))
        return TOOL_EXIT_FAILURE;
    struct json_object *result = tool_target_ask(&target, "thaw", NULL);
    if (result == NULL)
        return TOOL_EXIT_FAILURE;
    bool is_own = tool_flag(result, "held");
    unsigned long long for_ms = tool_number(result, "for_ms");
    json_object_put(result);
    if (is_own) {
        printf("%s was frozen for %llu.%llu s: what was copied meanwhile is whole\n", target.name,
               for_ms / 1000, for_ms % 1000 / 100);
        return TOOL_EXIT_OK;
    }
    if (!wait_out(&target, "other", "other", &state, &ended))
        return TOOL_EXIT_FAILURE;
    printf("%s is thawed. It was another node that had frozen it: a copy is whole only if\n"
           "lunfs thaw there said so\n",
           target.name);
    return TOOL_EXIT_OK;
}
