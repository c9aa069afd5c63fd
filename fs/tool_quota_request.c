// SPDX-License-Identifier: Apache-2.0
#include "fs/tool_quota_request.h"

#include <stdlib.h>
#include <string.h>

#include "fs/base/text.h"

static const char *const actions[TOOL_QUOTA_ACTION_COUNT] = {"report", "show", "set", "on", "off"};

enum limit_unit { UNIT_BYTES, UNIT_INODES, UNIT_TIME };

static const struct {
    const char *option, *word;
    enum limit_unit unit;
} limits[TOOL_QUOTA_LIMIT_COUNT] = {
    [TOOL_QUOTA_HARD] = {"--hard", "bytes_hard", UNIT_BYTES},
    [TOOL_QUOTA_SOFT] = {"--soft", "bytes_soft", UNIT_BYTES},
    [TOOL_QUOTA_INODES_HARD] = {"--inodes-hard", "inodes_hard", UNIT_INODES},
    [TOOL_QUOTA_INODES_SOFT] = {"--inodes-soft", "inodes_soft", UNIT_INODES},
    [TOOL_QUOTA_GRACE] = {"--grace", "bytes_grace_s", UNIT_TIME},
    [TOOL_QUOTA_INODES_GRACE] = {"--inodes-grace", "inodes_grace_s", UNIT_TIME},
};

static const char *const kinds[QUOTA_KIND_COUNT] = {"user", "group", "project"};

const char *tool_quota_kind_word(enum quota_kind kind)
{
    return kinds[kind];
}

const char *tool_quota_limit_word(enum tool_quota_limit limit)
{
    return limits[limit].word;
}

// --- values --------------------------------------------------------------------------------------

bool tool_quota_parse_time(const char *string, uint64_t *seconds)
{
    static const struct {
        char letter;
        uint32_t seconds;
    } units[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 24 * 3600}, {'w', 7 * 24 * 3600}};
    char *end;
    if (*string < '0' || *string > '9' || strlen(string) > 11) // no number that wraps
        return false;
    *seconds = strtoull(string, &end, 10);
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        if (*end == units[i].letter && end[1] == '\0') {
            *seconds *= units[i].seconds;
            end++;
        }
    }
    return *end == '\0' && *seconds <= UINT32_MAX;
}

// More than 64 bits of bytes hold cannot be said, so no limit of bytes is out of range.
static bool parse_limit(enum limit_unit unit, const char *value, uint64_t *number)
{
    if (strcmp(value, "none") == 0 && unit != UNIT_TIME) {
        *number = 0;
        return true;
    }
    if (unit == UNIT_TIME)
        return tool_quota_parse_time(value, number);
    if (unit == UNIT_BYTES)
        return text_parse_size(value, number);
    return strspn(value, "0123456789") == strlen(value) && text_parse_size(value, number) &&
           *number < FORMAT_QUOTA_MAX;
}

static const char *form_of(enum limit_unit unit)
{
    static const char *const forms[] = {
        [UNIT_BYTES] = "a size as 500M, 20G or 1T, or none",
        [UNIT_INODES] = "a number of files, or none",
        [UNIT_TIME] = "a time as 90s, 30m, 12h, 7d or 2w",
    };
    return forms[unit];
}

// --- options -------------------------------------------------------------------------------------

// True if it was one; then the number of arguments that it took is in `taken`, 0: its value is bad.
static bool take_limit(const char *option, const char *value, struct tool_quota_request *request,
                       struct text *why, int *taken)
{
    for (int i = 0; i < TOOL_QUOTA_LIMIT_COUNT; i++) {
        if (strcmp(option, limits[i].option) != 0)
            continue;
        *taken = value != NULL && parse_limit(limits[i].unit, value, &request->limits[i]) ? 2 : 0;
        request->is_given[i] = true;
        if (*taken == 0)
            text_add(why, "%s needs %s, not '%s'", option, form_of(limits[i].unit),
                     value != NULL ? value : "");
        return true;
    }
    return false;
}

static bool take_owner(const char *option, const char *value, struct tool_quota_request *request,
                       struct text *why, int *taken)
{
    for (int i = 0; i < QUOTA_KIND_COUNT && strncmp(option, "--", 2) == 0; i++) {
        if (strcmp(option + 2, kinds[i]) != 0)
            continue;
        *taken = 0;
        if (value == NULL || *value == '\0')
            text_add(why, "%s needs a name or a number", option);
        else if (request->owner != NULL)
            text_add(why, "one owner at a time: %s is one too many", option);
        else
            *taken = 2;
        request->kind = (enum quota_kind)i;
        request->owner = value;
        return true;
    }
    return false;
}

static bool take_kind(const char *option, struct tool_quota_request *request)
{
    size_t length = strlen(option);
    for (int i = 0; i < QUOTA_KIND_COUNT; i++) {
        if (length == strlen(kinds[i]) + 3 && strncmp(option, "--", 2) == 0 &&
            strncmp(option + 2, kinds[i], length - 3) == 0 && option[length - 1] == 's') {
            request->kinds[i] = true;
            return true;
        }
    }
    return false;
}

// How many arguments it took; 0: it is wrong.
static int take_argument(const char *argument, const char *value,
                         struct tool_quota_request *request, struct text *why)
{
    int taken = 1;
    if (take_limit(argument, value, request, why, &taken) ||
        take_owner(argument, value, request, why, &taken) || take_kind(argument, request))
        return taken;
    if (strcmp(argument, "--json") == 0) {
        request->json = true;
    } else if (argument[0] == '-') {
        text_add(why, "there is no option %s", argument);
        return 0;
    } else if (request->mount != NULL) {
        text_add(why, "one mount at a time: '%s' is one too many", argument);
        return 0;
    } else {
        request->mount = argument;
    }
    return 1;
}

// --- what goes together --------------------------------------------------------------------------

static bool any(const bool *flags, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (flags[i])
            return true;
    }
    return false;
}

static bool pair_fits(const struct tool_quota_request *request, enum tool_quota_limit hard,
                      enum tool_quota_limit soft)
{
    return request->limits[hard] == 0 || !request->is_given[soft] ||
           request->limits[soft] <= request->limits[hard];
}

static const char *misfit(const struct tool_quota_request *request)
{
    bool has_limits = any(request->is_given, TOOL_QUOTA_LIMIT_COUNT);
    if (request->mount == NULL)
        return "the mount is missing";
    if (has_limits && request->action != TOOL_QUOTA_SET)
        return "limits go with set alone";
    if (any(request->kinds, QUOTA_KIND_COUNT) && request->action != TOOL_QUOTA_REPORT)
        return "--users, --groups and --projects go with report alone";
    if (request->owner != NULL && request->action != TOOL_QUOTA_SET &&
        request->action != TOOL_QUOTA_SHOW)
        return "an owner goes with show and set alone";
    if (request->json && request->action > TOOL_QUOTA_SHOW)
        return "--json goes with report and show alone";
    if (request->action == TOOL_QUOTA_SET && request->owner == NULL)
        return "set needs --user, --group or --project";
    if (request->action == TOOL_QUOTA_SET && !has_limits)
        return "set needs a limit: --hard, --soft, --inodes-hard, --inodes-soft or a grace";
    if (!pair_fits(request, TOOL_QUOTA_HARD, TOOL_QUOTA_SOFT) ||
        !pair_fits(request, TOOL_QUOTA_INODES_HARD, TOOL_QUOTA_INODES_SOFT))
        return "a soft limit lies above its hard limit";
    return NULL;
}

static bool find_action(const char *word, enum tool_quota_action *action)
{
    for (int i = 0; i < TOOL_QUOTA_ACTION_COUNT; i++) {
        if (strcmp(word, actions[i]) == 0) {
            *action = (enum tool_quota_action)i;
            return true;
        }
    }
    return false;
}

static bool asks_for_help(int count, char **arguments)
{
    for (int i = 0; i < count; i++) {
        if (strcmp(arguments[i], "--help") == 0 || strcmp(arguments[i], "-h") == 0)
            return true;
    }
    return false;
}

bool tool_quota_parse(int count, char **arguments, struct tool_quota_request *request,
                      struct text *why)
{
    *request = (struct tool_quota_request){.is_help = asks_for_help(count, arguments)};
    if (request->is_help)
        return true;
    if (count == 0 || !find_action(arguments[0], &request->action)) {
        text_add(why, "quota knows report, show, set, on and off");
        return false;
    }
    for (int i = 1, taken; i < count; i += taken) {
        const char *value = i + 1 < count ? arguments[i + 1] : NULL;
        taken = take_argument(arguments[i], value, request, why);
        if (taken == 0)
            return false;
    }
    const char *wrong = misfit(request);
    if (wrong != NULL)
        text_add(why, "%s", wrong);
    if (!any(request->kinds, QUOTA_KIND_COUNT))
        request->kinds[QUOTA_USER] = request->kinds[QUOTA_GROUP] = request->kinds[QUOTA_PROJECT] =
            true;
    return wrong == NULL;
}
