// SPDX-License-Identifier: Apache-2.0
// Both verbs decide over somebody's data, so both ask; `confirm` is the one that can destroy it.
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "fs/base/text.h"
#include "fs/status_volume.h"
#include "fs/tool.h"

static void warn(bool is_confirm, const char *node)
{
    if (is_confirm)
        fprintf(
            stderr,
            "You are about to vouch that node %s is down and can write no more.\n"
            "If it still runs, or its storage path comes back, it WILL DESTROY DATA: its files\n"
            "are given to other nodes at once. Make sure first that its power is off or its\n"
            "access to the LUN is cut.\n",
            node);
    else
        fprintf(
            stderr,
            "Node %s will be put out of the cluster: its mount ends with errors, and what runs\n"
            "on it loses its disks.\n",
            node);
}

// The name typed again, not just a key: it is too easily the wrong node.
static bool is_sure(bool is_confirm, const char *node)
{
    char line[256];
    warn(is_confirm, node);
    if (!isatty(STDIN_FILENO)) {
        fputs("Not on a terminal: use --yes if you are sure.\n", stderr);
        return false;
    }
    fputs("Type the node's name to go on: ", stderr);
    if (fgets(line, sizeof(line), stdin) == NULL)
        return false;
    line[strcspn(line, "\n")] = '\0';
    return strcmp(line, node) == 0;
}

static bool find_target(const struct tool_options *options, int mount_index,
                        struct tool_target *target, struct text *why)
{
    if (options->argument_count <= mount_index)
        return tool_target_only(target, why);
    if (!tool_target_find(options->arguments[mount_index], target, why))
        return false;
    if (!target->is_mounted)
        text_add(why, "%s is not mounted on this node: fence from one that has it mounted",
                 target->name);
    return target->is_mounted;
}

// Whether the cluster knows a node of that name or id; says so if not.
static bool is_known(const struct tool_target *target, const char *node)
{
    struct json_object *result = tool_target_ask(target, "nodes", NULL);
    bool is_there = false;
    if (result == NULL)
        return false;
    for (unsigned i = 0; i < tool_count(result, "nodes") && !is_there; i++) {
        struct json_object *row = tool_element(result, "nodes", i);
        char id[24];
        snprintf(id, sizeof(id), "%llu", tool_number(row, "node_id"));
        is_there = strcmp(tool_text(row, "name"), node) == 0 || strcmp(id, node) == 0;
    }
    json_object_put(result);
    if (!is_there)
        tool_fail(0, "%s: there is no node %s (lunfs nodes shows them)", target->name, node);
    return is_there;
}

int tool_fence(const struct tool_verb *verb, int argc, char **argv)
{
    struct tool_options options;
    struct tool_target target;
    TEXT(why, 512);
    int exit_code = tool_parse(verb, argc, argv, 1, 3, &options);
    if (exit_code >= 0)
        return exit_code;
    bool is_confirm = strcmp(options.arguments[0], "confirm") == 0;
    if (options.argument_count < 1 + is_confirm || options.argument_count > 2 + is_confirm)
        return tool_usage(verb, false);
    const char *node = options.arguments[is_confirm];
    if (!find_target(&options, 1 + is_confirm, &target, &why))
        return tool_fail(TOOL_EXIT_FAILURE, "%s", why.bytes);
    if (!is_known(&target, node))
        return TOOL_EXIT_FAILURE;
    if (!options.yes && !is_sure(is_confirm, node))
        return tool_fail(TOOL_EXIT_FAILURE, "not done");
    struct json_object *arguments = json_object_new_object();
    status_add_text(arguments, "node", node);
    struct json_object *result =
        tool_target_ask(&target, is_confirm ? "fence-confirm" : "fence", arguments);
    json_object_put(arguments);
    if (result == NULL)
        return TOOL_EXIT_FAILURE;
    json_object_put(result);
    printf(is_confirm ? "%s counts as fenced\n" : "%s is being fenced: see lunfs nodes\n", node);
    return TOOL_EXIT_OK;
}
