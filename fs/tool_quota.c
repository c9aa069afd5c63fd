// SPDX-License-Identifier: Apache-2.0
// lunfs quota: limits of users, groups and projects, and what they use. The daemon answers at once
// or says that it is busy, and what was asked for goes on: so it is asked again.
#include <errno.h>
#include <grp.h>
#include <json-c/json.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fs/base/cleanup.h"
#include "fs/base/error.h"
#include "fs/base/text.h"
#include "fs/control_client.h"
#include "fs/status_volume.h"
#include "fs/tool.h"
#include "fs/tool_quota_request.h"

enum { PATIENCE_S = 60, POLL_MS = 50 };

static const char projects_path[] = "/etc/projid"; // lines of NAME:NUMBER

struct asking {
    struct tool_target target;
    struct tool_quota_request request;
};

// --- names and numbers ---------------------------------------------------------------------------

// Calls `take` with the lines of /etc/projid until it is content.
static bool find_project(bool (*take)(void *context, const char *name, uint32_t id), void *context)
{
    CLEANUP_FREE char *line = NULL;
    size_t capacity = 0;
    bool is_found = false;
    FILE *file = fopen(projects_path, "re");
    while (file != NULL && !is_found && getline(&line, &capacity, file) > 0) {
        char *colon = strchr(line, ':'), *end;
        if (line[0] == '#' || colon == NULL || colon[1] < '0' || colon[1] > '9')
            continue;
        *colon = '\0';
        unsigned long id = strtoul(colon + 1, &end, 10);
        is_found = id <= UINT32_MAX && strspn(end, " \t\n") == strlen(end) &&
                   take(context, line, (uint32_t)id);
    }
    if (file != NULL)
        fclose(file);
    return is_found;
}

struct project_search {
    const char *name; // looked for; NULL: `id` is
    uint32_t id;
    struct text *found;
};

static bool take_project(void *context, const char *name, uint32_t id)
{
    struct project_search *search = context;
    if (search->name != NULL ? strcmp(search->name, name) != 0 : search->id != id)
        return false;
    search->id = id;
    if (search->found != NULL)
        text_add(search->found, "%s", name);
    return true;
}

static bool look_up(enum quota_kind kind, const char *name, uint32_t *id)
{
    struct project_search search = {.name = name};
    const struct passwd *user = kind == QUOTA_USER ? getpwnam(name) : NULL;
    const struct group *group = kind == QUOTA_GROUP ? getgrnam(name) : NULL;
    if (user != NULL)
        *id = user->pw_uid;
    else if (group != NULL)
        *id = group->gr_gid;
    else if (kind == QUOTA_PROJECT && find_project(take_project, &search))
        *id = search.id;
    else
        return false;
    return true;
}

static bool id_of(enum quota_kind kind, const char *owner, uint32_t *id)
{
    char *end;
    unsigned long number = strtoul(owner, &end, 10);
    *id = (uint32_t)number;
    bool is_number = owner[0] >= '0' && owner[0] <= '9' && *end == '\0';
    if (is_number ? number < UINT32_MAX : look_up(kind, owner, id))
        return true;
    tool_fail(0, "there is no %s %s", tool_quota_kind_word(kind), owner);
    return false;
}

// Its name, or its number if it has none here.
static void name_of(enum quota_kind kind, uint32_t id, struct text *name)
{
    struct project_search search = {.id = id, .found = name};
    const struct passwd *user = kind == QUOTA_USER ? getpwuid(id) : NULL;
    const struct group *group = kind == QUOTA_GROUP ? getgrgid(id) : NULL;
    if (user != NULL)
        text_add(name, "%s", user->pw_name);
    else if (group != NULL)
        text_add(name, "%s", group->gr_name);
    else if (kind != QUOTA_PROJECT || !find_project(take_project, &search))
        text_add(name, "%u", id);
}

// --- asking --------------------------------------------------------------------------------------

static void pause_briefly(void)
{
    const struct timespec wait = {0, POLL_MS * 1000000};
    nanosleep(&wait, NULL);
}

static uint64_t monotonic_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec;
}

// Takes the arguments. A node that dies meanwhile is waited for: what it spent decides. 0, or the
// error, which was printed but for -EALREADY.
static int ask(const struct asking *asking, const char *verb, struct json_object *arguments,
               struct json_object **result)
{
    uint64_t end_s = monotonic_s() + PATIENCE_S;
    int error;
    *result = NULL;
    for (;;) {
        TEXT(why, 512);
        error = control_client_call(asking->target.socket, verb, arguments, result, &why);
        if (error == -EBUSY && monotonic_s() < end_s) {
            pause_briefly();
            continue;
        }
        if (error != 0 && error != -EALREADY)
            tool_fail(0, error_is_check(error) ? "%s: %s (LUNFS-%04d)" : "%s: %s",
                      asking->target.name, why.bytes, -error);
        break;
    }
    json_object_put(arguments);
    return error;
}

static struct json_object *owner_arguments(enum quota_kind kind, uint32_t id)
{
    struct json_object *arguments = json_object_new_object();
    status_add_text(arguments, "kind", tool_quota_kind_word(kind));
    status_add_number(arguments, "id", id);
    return arguments;
}

// --- rows ----------------------------------------------------------------------------------------

static int64_t signed_of(struct json_object *object, const char *name)
{
    struct json_object *member;
    return json_object_object_get_ex(object, name, &member) ? json_object_get_int64(member) : 0;
}

static void add_name(struct json_object *object, enum quota_kind kind)
{
    TEXT(name, 256);
    name_of(kind, (uint32_t)tool_number(object, "id"), &name);
    status_add_text(object, "name", name.bytes);
}

static void print_row(struct json_object *object)
{
    const struct tool_quota_row row = {
        .owner = tool_text(object, "name"),
        .bytes = signed_of(object, "bytes"),
        .bytes_soft = tool_number(object, "bytes_soft"),
        .bytes_hard = tool_number(object, "bytes_hard"),
        .bytes_until_s = tool_number(object, "bytes_until_s"),
        .inodes = signed_of(object, "inodes"),
        .inodes_soft = tool_number(object, "inodes_soft"),
        .inodes_hard = tool_number(object, "inodes_hard"),
        .inodes_until_s = tool_number(object, "inodes_until_s"),
    };
    TEXT(line, 512);
    tool_quota_row_to_text(&row, (uint64_t)time(NULL), &line);
    puts(line.bytes);
}

static void print_head(enum quota_kind kind)
{
    TEXT(head, 256);
    tool_quota_head_to_text(kind, &head);
    puts(head.bytes);
}

// --- report and show -----------------------------------------------------------------------------

// Adds a page of rows; the first number of the next one in `first`.
static int add_page(const struct asking *asking, enum quota_kind kind, uint64_t *first,
                    struct json_object *rows, bool *has_more)
{
    struct json_object *answer, *arguments = owner_arguments(kind, 0);
    status_add_number(arguments, "first", *first);
    int error = ask(asking, "quota-report", arguments, &answer);
    if (error != 0)
        return error;
    unsigned count = tool_count(answer, "rows");
    for (unsigned i = 0; i < count; i++) {
        struct json_object *row = tool_element(answer, "rows", i);
        add_name(row, kind);
        json_object_array_add(rows, json_object_get(row));
        *first = tool_number(row, "id") + 1;
    }
    *has_more = count > 0 && tool_flag(answer, "more");
    json_object_put(answer);
    return 0;
}

static struct json_object *rows_of(const struct asking *asking, enum quota_kind kind)
{
    struct json_object *rows = json_object_new_array();
    uint64_t first = 0;
    bool has_more = true;
    while (has_more) {
        if (add_page(asking, kind, &first, rows, &has_more) != 0) {
            json_object_put(rows);
            return NULL;
        }
    }
    return rows;
}

static void print_rows(enum quota_kind kind, struct json_object *rows, bool is_first)
{
    if (!is_first)
        puts("");
    print_head(kind);
    for (size_t i = 0; i < json_object_array_length(rows); i++)
        print_row(json_object_array_get_idx(rows, i));
}

static int report(const struct asking *asking)
{
    static const char *const members[QUOTA_KIND_COUNT] = {"users", "groups", "projects"};
    struct json_object *all = json_object_new_object();
    bool is_first = true;
    for (enum quota_kind kind = QUOTA_USER; kind < QUOTA_KIND_COUNT; kind++) {
        struct json_object *rows;
        if (!asking->request.kinds[kind])
            continue;
        rows = rows_of(asking, kind);
        if (rows == NULL) {
            json_object_put(all);
            return TOOL_EXIT_FAILURE;
        }
        if (!asking->request.json)
            print_rows(kind, rows, is_first);
        is_first = false;
        json_object_object_add(all, members[kind], rows);
    }
    if (asking->request.json)
        return tool_print_json(all);
    json_object_put(all);
    return TOOL_EXIT_OK;
}

static int show_state(const struct asking *asking)
{
    struct json_object *answer;
    if (ask(asking, "quota-state", NULL, &answer) != 0)
        return TOOL_EXIT_FAILURE;
    if (asking->request.json)
        return tool_print_json(answer);
    const char *phase = tool_text(answer, "phase");
    if (strncmp(phase, "turns", 5) == 0)
        printf("quotas of %s are being turned %s: %llu files counted\n", asking->target.name,
               phase + 6, tool_number(answer, "counted"));
    else
        printf("quotas of %s are %s\n", asking->target.name, phase);
    json_object_put(answer);
    return TOOL_EXIT_OK;
}

static int show(const struct asking *asking)
{
    const struct tool_quota_request *request = &asking->request;
    struct json_object *answer;
    uint32_t id;
    if (request->owner == NULL)
        return show_state(asking);
    if (!id_of(request->kind, request->owner, &id) ||
        ask(asking, "quota-show", owner_arguments(request->kind, id), &answer) != 0)
        return TOOL_EXIT_FAILURE;
    add_name(answer, request->kind);
    if (request->json)
        return tool_print_json(answer);
    print_head(request->kind);
    print_row(answer);
    json_object_put(answer);
    return TOOL_EXIT_OK;
}

// --- set, on, off --------------------------------------------------------------------------------

static int set(const struct asking *asking)
{
    const struct tool_quota_request *request = &asking->request;
    struct json_object *answer;
    uint32_t id;
    if (!id_of(request->kind, request->owner, &id))
        return TOOL_EXIT_FAILURE;
    struct json_object *arguments = owner_arguments(request->kind, id);
    for (int i = 0; i < TOOL_QUOTA_LIMIT_COUNT; i++) {
        if (request->is_given[i])
            status_add_number(arguments, tool_quota_limit_word((enum tool_quota_limit)i),
                              request->limits[i]);
    }
    int error = ask(asking, "quota-set", arguments, &answer);
    json_object_put(answer);
    return error == 0 ? TOOL_EXIT_OK : TOOL_EXIT_FAILURE;
}

// Until it is neither being turned on nor off; NULL: nobody answers.
static struct json_object *wait_for_end(const struct asking *asking)
{
    for (;;) {
        struct json_object *answer;
        if (ask(asking, "quota-state", NULL, &answer) != 0)
            return NULL;
        if (strncmp(tool_text(answer, "phase"), "turns", 5) != 0)
            return answer;
        json_object_put(answer);
        pause_briefly();
    }
}

static int turn(const struct asking *asking, bool on)
{
    const char *wanted = on ? "on" : "off";
    struct json_object *answer, *arguments = json_object_new_object();
    status_add_flag(arguments, "on", on);
    int error = ask(asking, "quota-switch", arguments, &answer);
    json_object_put(answer);
    if (error == -EALREADY) {
        printf("quotas of %s are %s already\n", asking->target.name, wanted);
        return TOOL_EXIT_OK;
    }
    answer = error == 0 ? wait_for_end(asking) : NULL;
    if (answer == NULL)
        return TOOL_EXIT_FAILURE;
    bool is_done = strcmp(tool_text(answer, "phase"), wanted) == 0;
    if (!is_done)
        tool_fail(0, "quotas of %s could not be turned %s: %s", asking->target.name, wanted,
                  tool_text(answer, "ended"));
    else if (on)
        printf("quotas of %s are on: %llu files counted\n", asking->target.name,
               tool_number(answer, "counted"));
    else
        printf("quotas of %s are off; limits are kept\n", asking->target.name);
    json_object_put(answer);
    return is_done ? TOOL_EXIT_OK : TOOL_EXIT_FAILURE;
}

// --- the verb ------------------------------------------------------------------------------------

static int run(const struct asking *asking)
{
    switch (asking->request.action) {
    case TOOL_QUOTA_REPORT:
        return report(asking);
    case TOOL_QUOTA_SHOW:
        return show(asking);
    case TOOL_QUOTA_SET:
        return set(asking);
    default:
        return turn(asking, asking->request.action == TOOL_QUOTA_ON);
    }
}

int tool_quota(const struct tool_verb *verb, int argc, char **argv)
{
    struct asking asking;
    TEXT(why, 512);
    if (!tool_quota_parse(argc - 1, argv + 1, &asking.request, &why)) {
        tool_fail(0, "quota: %s", why.bytes);
        return tool_usage(verb, false);
    }
    if (asking.request.is_help)
        return tool_usage(verb, true);
    if (!tool_target_find(asking.request.mount, &asking.target, &why))
        return tool_fail(TOOL_EXIT_FAILURE, "%s", why.bytes);
    if (!asking.target.is_mounted)
        return tool_fail(TOOL_EXIT_FAILURE, "%s is not mounted on this node", asking.target.name);
    return run(&asking);
}
