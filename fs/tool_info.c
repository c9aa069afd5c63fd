// SPDX-License-Identifier: Apache-2.0
#include <json-c/json.h>
#include <stdio.h>

#include "fs/base/text.h"
#include "fs/status_volume.h"
#include "fs/tool.h"

static void print_line(const char *name, const char *value)
{
    if (value[0] != '\0')
        printf("%-14s %s\n", name, value);
}

static void print_size(const char *name, unsigned long long bytes)
{
    TEXT(size, 32);
    text_add_size(&size, bytes);
    printf("%-14s %s (%llu bytes)\n", name, size.bytes, bytes);
}

static void print_volume(struct json_object *info)
{
    print_line("device", tool_text(info, "device"));
    print_line("uuid", tool_text(info, "uuid"));
    print_line("label", tool_text(info, "label"));
    print_size("size", tool_number(info, "size_bytes"));
    printf("%-14s %llu, journals of %llu MiB\n", "node slots", tool_number(info, "slot_count"),
           tool_number(info, "journal_bytes") >> 20);
    printf("%-14s %llu of %llu MiB\n", "groups", tool_number(info, "group_count"),
           tool_number(info, "group_bytes") >> 20);
}

static void print_mount(struct json_object *info)
{
    struct json_object *counters;
    print_line("mounted at", tool_text(info, "mount"));
    print_line("options", tool_text(info, "options"));
    print_line("state", tool_text(info, "state"));
    print_line("failure", tool_text(info, "failure"));
    printf("%-14s %llu, incarnation %llu, lease for %llu ms\n", "slot", tool_number(info, "slot"),
           tool_number(info, "incarnation"), tool_number(info, "lease_left_ms"));
    print_line("LUN cache", tool_flag(info, "has_volatile_cache") ? "volatile" : "none or durable");
    if (!json_object_object_get_ex(info, "counters", &counters))
        return;
    printf("%-14s %llu reads, %llu writes without the core; %llu and %llu through it\n", "I/O",
           tool_number(counters, "lane_reads"), tool_number(counters, "lane_writes"),
           tool_number(counters, "core_reads"), tool_number(counters, "core_writes"));
    printf("%-14s %llu served, %llu under way, %llu open files, longest slice %llu us\n", "core",
           tool_number(counters, "core_requests"), tool_number(counters, "requests_alive"),
           tool_number(counters, "handles"), tool_number(counters, "core_slice_us_max"));
}

int tool_info(const struct tool_verb *verb, int argc, char **argv)
{
    struct tool_options options;
    struct tool_target target;
    struct json_object *info;
    int exit_code = tool_begin(verb, argc, argv, &options, &target);
    if (exit_code >= 0)
        return exit_code;
    if (target.is_mounted) {
        info = tool_target_ask(&target, "info", NULL);
    } else {
        info = json_object_new_object();
        status_add_text(info, "device", target.name);
        status_volume_add(info, &target.geometry);
    }
    if (info == NULL)
        return TOOL_EXIT_FAILURE;
    if (options.json)
        return tool_print_json(info);
    print_volume(info);
    if (target.is_mounted)
        print_mount(info);
    else
        print_line("mounted at", "not on this node");
    tool_print_needs_fsck(info);
    json_object_put(info);
    return TOOL_EXIT_OK;
}
