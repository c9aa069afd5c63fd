// SPDX-License-Identifier: Apache-2.0
#include <json-c/json.h>
#include <stdint.h>
#include <stdio.h>

#include "fs/base/text.h"
#include "fs/status_volume.h"
#include "fs/tool.h"

static void print_range(struct json_object *lock, struct text *text)
{
    if (tool_text(lock, "kind")[0] == '\0')
        return;
    text_add(text, "%s %llu-", tool_text(lock, "kind"), tool_number(lock, "start"));
    if (tool_number(lock, "end") != UINT64_MAX)
        text_add(text, "%llu", tool_number(lock, "end"));
    text_add(text, " pid %llu", tool_number(lock, "pid"));
}

static void print_lock(struct json_object *lock)
{
    TEXT(detail, 128);
    print_range(lock, &detail);
    if (tool_text(lock, "held_for")[0] != '\0')
        text_add(&detail, "held for a %s", tool_text(lock, "held_for"));
    printf("%-10s %12llu  %7llu  %-6s %-7s %s\n", tool_text(lock, "type"), tool_number(lock, "id"),
           tool_number(lock, "node_id"), tool_text(lock, "granted"),
           tool_flag(lock, "waiting") ? tool_text(lock, "requested") : "-", detail.bytes);
}

int tool_locks(const struct tool_verb *verb, int argc, char **argv)
{
    struct tool_options options;
    struct tool_target target;
    int exit_code = tool_begin(verb, argc, argv, &options, &target);
    if (exit_code >= 0)
        return exit_code;
    if (!target.is_mounted)
        return tool_fail(TOOL_EXIT_FAILURE,
                         "%s is not mounted on this node: locks live in the daemons", target.name);
    struct json_object *arguments = json_object_new_object();
    status_add_flag(arguments, "all", options.all);
    struct json_object *result = tool_target_ask(&target, "locks", arguments);
    json_object_put(arguments);
    if (result == NULL)
        return TOOL_EXIT_FAILURE;
    if (options.json)
        return tool_print_json(result);
    printf("%-10s %12s  %7s  %-6s %-7s\n", "lock", "id", "node id", "holds", "wants");
    for (unsigned i = 0; i < tool_count(result, "locks"); i++)
        print_lock(tool_element(result, "locks", i));
    if (tool_flag(result, "truncated"))
        printf("... %llu in all\n", tool_number(result, "count"));
    json_object_put(result);
    return TOOL_EXIT_OK;
}
