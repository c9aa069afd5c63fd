// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "fs/base/text.h"
#include "fs/status_volume.h"
#include "fs/tool.h"

static void print_extents(struct json_object *result)
{
    unsigned count = tool_count(result, "extents");
    if (count > 0)
        printf("%16s %16s %16s\n", "file offset", "LUN offset", "bytes");
    for (unsigned i = 0; i < count; i++) {
        struct json_object *extent = tool_element(result, "extents", i);
        printf("%16llu %16llu %16llu%s\n", tool_number(extent, "file_offset"),
               tool_number(extent, "volume_offset"), tool_number(extent, "length"),
               tool_flag(extent, "unwritten") ? "  unwritten" : "");
    }
    if (tool_number(result, "extent_count") > count)
        printf("... %llu extents in all\n", tool_number(result, "extent_count"));
}

static void print_stat(const char *file, struct json_object *result)
{
    printf("%s: inode %llu generation %llu, mode %llo, %llu links, %llu bytes, %llu allocated, "
           "%llu extents\n",
           file, tool_number(result, "inode"), tool_number(result, "generation"),
           tool_number(result, "mode"), tool_number(result, "links"), tool_number(result, "size"),
           tool_number(result, "allocated_bytes"), tool_number(result, "extent_count"));
    print_extents(result);
}

int tool_stat(const struct tool_verb *verb, int argc, char **argv)
{
    struct tool_options options;
    struct tool_target target;
    struct stat found;
    TEXT(why, 512);
    int exit_code = tool_parse(verb, argc, argv, 1, 1, &options);
    if (exit_code >= 0)
        return exit_code;
    const char *file = options.arguments[0];
    if (!tool_target_find(file, &target, &why))
        return tool_fail(TOOL_EXIT_FAILURE, "%s", why.bytes);
    if (!target.is_mounted)
        return tool_fail(TOOL_EXIT_FAILURE, "stat works on a file of a mount of this node");
    if (lstat(file, &found) != 0)
        return tool_fail(TOOL_EXIT_FAILURE, "%s: %s", file, strerror(errno));
    struct json_object *arguments = json_object_new_object();
    status_add_number(arguments, "inode", found.st_ino);
    struct json_object *result = tool_target_ask(&target, "stat", arguments);
    json_object_put(arguments);
    if (result == NULL)
        return TOOL_EXIT_FAILURE;
    if (options.json)
        return tool_print_json(result);
    print_stat(file, result);
    json_object_put(result);
    return TOOL_EXIT_OK;
}
