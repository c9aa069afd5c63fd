// SPDX-License-Identifier: Apache-2.0
// What the verbs share: their options, and looking into answers.
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>

#include "fs/base/text.h"
#include "fs/tool.h"

int tool_parse(const struct tool_verb *verb, int argc, char **argv, int least, int most,
               struct tool_options *options)
{
    *options = (struct tool_options){.arguments = argv + 1};
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            return tool_usage(verb, true);
        if (strcmp(argv[i], "--json") == 0)
            options->json = true;
        else if (strcmp(argv[i], "--all") == 0)
            options->all = true;
        else if (strcmp(argv[i], "--yes") == 0)
            options->yes = true;
        else if (strcmp(argv[i], "--scramble") == 0)
            options->scramble = true;
        else if (strcmp(argv[i], "--timeout") == 0 && i + 1 < argc)
            options->timeout = argv[++i];
        else if (strcmp(argv[i], "--rate") == 0 && i + 1 < argc)
            options->rate = argv[++i];
        else if (argv[i][0] == '-')
            return tool_usage(verb, false);
        else
            options->arguments[options->argument_count++] = argv[i];
    }
    if (options->argument_count < least || options->argument_count > most)
        return tool_usage(verb, false);
    return -1;
}

int tool_begin(const struct tool_verb *verb, int argc, char **argv, struct tool_options *options,
               struct tool_target *target)
{
    TEXT(why, 512);
    int exit_code = tool_parse(verb, argc, argv, 1, 1, options);
    if (exit_code >= 0)
        return exit_code;
    if (!tool_target_find(options->arguments[0], target, &why))
        return tool_fail(TOOL_EXIT_FAILURE, "%s", why.bytes);
    return -1;
}

int tool_print_json(struct json_object *result)
{
    puts(json_object_to_json_string_ext(result,
                                        JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE));
    json_object_put(result);
    return TOOL_EXIT_OK;
}

void tool_print_freeze(struct json_object *result)
{
    struct json_object *freeze;
    if (!json_object_object_get_ex(result, "freeze", &freeze))
        return;
    const char *state = tool_text(freeze, "state");
    unsigned long long for_s = tool_number(freeze, "for_ms") / 1000;
    if (strcmp(state, "begins") == 0)
        puts("this node is about to freeze the volume");
    else if (strcmp(state, "holds") == 0)
        printf("frozen by this node since %llu s, for %llu s more at most: lunfs thaw ends it\n",
               for_s, tool_number(freeze, "left_ms") / 1000);
    else if (strcmp(state, "other") == 0)
        printf("frozen by another node since %llu s: changes wait; lunfs thaw ends it\n", for_s);
}

const char *tool_text(struct json_object *object, const char *name)
{
    struct json_object *member;
    return json_object_object_get_ex(object, name, &member) && member != NULL
               ? json_object_get_string(member)
               : "";
}

unsigned long long tool_number(struct json_object *object, const char *name)
{
    struct json_object *member;
    return json_object_object_get_ex(object, name, &member) ? json_object_get_uint64(member) : 0;
}

bool tool_flag(struct json_object *object, const char *name)
{
    struct json_object *member;
    return json_object_object_get_ex(object, name, &member) && json_object_get_boolean(member);
}

void tool_print_needs_fsck(struct json_object *result)
{
    if (tool_flag(result, "needs_fsck"))
        puts("this volume is damaged: run fsck.lunfs when it is mounted nowhere");
}

unsigned tool_count(struct json_object *object, const char *name)
{
    struct json_object *member;
    if (!json_object_object_get_ex(object, name, &member) ||
        !json_object_is_type(member, json_type_array))
        return 0;
    return (unsigned)json_object_array_length(member);
}

struct json_object *tool_element(struct json_object *object, const char *name, unsigned index)
{
    struct json_object *member;
    json_object_object_get_ex(object, name, &member);
    return json_object_array_get_idx(member, index);
}
