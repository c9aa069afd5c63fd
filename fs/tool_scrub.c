// SPDX-License-Identifier: Apache-2.0
// The scrub runs in the daemon; this verb begins it, shows how far it is, and ends it on Ctrl-C.
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fs/base/block_device.h"
#include "fs/base/stop_request.h"
#include "fs/base/text.h"
#include "fs/format.h"
#include "fs/status_volume.h"
#include "fs/tool.h"
#include "fsck/progress.h"

enum {
    LOOK_EVERY_MS = 250,
    RATE_MIB_DEFAULT = 20,
    RATE_MIB_MAX = 1 << 20,
    MIB_BLOCKS = (1 << 20) / BLOCK_BYTES,
};

struct scrubbing {
    struct tool_target target;
    struct tool_options options;
    uint64_t rate_mib;
    struct stop_request stop;
    struct progress progress;
    char what[64];             // is looked at
    unsigned long long seen;   // lines that were shown
    struct json_object *lines; // all of them, for --json
};

static struct json_object *ask(struct scrubbing *scrubbing, const char *action)
{
    struct json_object *arguments = json_object_new_object();
    status_add_text(arguments, "action", action);
    status_add_number(arguments, "from", scrubbing->seen);
    status_add_number(arguments, "blocks_per_second", scrubbing->rate_mib * MIB_BLOCKS);
    struct json_object *answer = tool_target_ask(&scrubbing->target, "scrub", arguments);
    json_object_put(arguments);
    return answer;
}

static void show_lines(struct scrubbing *scrubbing, struct json_object *answer)
{
    unsigned count = tool_count(answer, "lines");
    if (count > 0)
        progress_clear(&scrubbing->progress);
    for (unsigned i = 0; i < count; i++) {
        struct json_object *line = tool_element(answer, "lines", i);
        json_object_array_add(scrubbing->lines, json_object_get(line));
        if (!scrubbing->options.json)
            puts(json_object_get_string(line));
    }
    scrubbing->seen += count;
}

static void show_progress(struct scrubbing *scrubbing, struct json_object *answer)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    if (strcmp(scrubbing->what, tool_text(answer, "what")) != 0) {
        text_copy(scrubbing->what, sizeof(scrubbing->what), tool_text(answer, "what"));
        progress_begin(&scrubbing->progress, scrubbing->what, NULL);
    }
    progress_update(&scrubbing->progress, (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec,
                    tool_number(answer, "done"), tool_number(answer, "total"));
}

// One that runs already is watched. NULL: the reason was printed.
static struct json_object *begin(struct scrubbing *scrubbing)
{
    struct json_object *answer = ask(scrubbing, "look");
    if (answer == NULL || tool_flag(answer, "running"))
        return answer;
    json_object_put(answer);
    return ask(scrubbing, "start");
}

static struct json_object *watch(struct scrubbing *scrubbing)
{
    const struct timespec pause = {0, LOOK_EVERY_MS * 1000000L};
    struct json_object *answer = begin(scrubbing);
    while (answer != NULL) {
        show_lines(scrubbing, answer);
        if (!tool_flag(answer, "running"))
            break;
        show_progress(scrubbing, answer);
        json_object_put(answer);
        nanosleep(&pause, NULL);
        answer = ask(scrubbing, stop_request_has_come(&scrubbing->stop) ? "stop" : "look");
    }
    progress_clear(&scrubbing->progress);
    return answer;
}

static void print_end(const struct scrubbing *scrubbing, struct json_object *answer)
{
    unsigned long long problems = tool_number(answer, "problems");
    unsigned long long blocks = tool_number(answer, "blocks_read");
    unsigned long long ms = tool_number(answer, "elapsed_ms");
    if (problems > scrubbing->seen)
        printf("%llu more are in the log\n", problems - scrubbing->seen);
    printf("%s: ", scrubbing->target.name);
    if (problems == 0)
        printf("nothing wrong in %llu blocks", blocks);
    else
        printf("%llu problems in %llu blocks", problems, blocks);
    printf(", %llu.%llu s\n", ms / 1000, ms % 1000 / 100);
    tool_print_needs_fsck(answer);
}

static int end(struct scrubbing *scrubbing, struct json_object *answer)
{
    bool is_whole = tool_text(answer, "ended_by")[0] == '\0';
    bool has_problems = tool_number(answer, "problems") > 0;
    if (!is_whole)
        tool_fail(0, "%s: not all was looked at: %s", scrubbing->target.name,
                  tool_text(answer, "ended_by"));
    if (scrubbing->options.json) {
        json_object_object_add(answer, "lines", json_object_get(scrubbing->lines));
        tool_print_json(json_object_get(answer));
    } else {
        print_end(scrubbing, answer);
    }
    return has_problems ? TOOL_EXIT_DAMAGED : is_whole ? TOOL_EXIT_OK : TOOL_EXIT_FAILURE;
}

static bool take_rate(const char *value, uint64_t *rate_mib)
{
    char *end;
    *rate_mib = RATE_MIB_DEFAULT;
    if (value == NULL)
        return true;
    *rate_mib = strtoul(value, &end, 10);
    return value[0] >= '0' && value[0] <= '9' && *end == '\0' && *rate_mib <= RATE_MIB_MAX;
}

int tool_scrub(const struct tool_verb *verb, int argc, char **argv)
{
    struct scrubbing scrubbing = {.what = ""};
    int exit_code = tool_begin(verb, argc, argv, &scrubbing.options, &scrubbing.target);
    if (exit_code >= 0)
        return exit_code;
    if (!take_rate(scrubbing.options.rate, &scrubbing.rate_mib))
        return tool_usage(verb, false);
    if (!scrubbing.target.is_mounted)
        return tool_fail(TOOL_EXIT_FAILURE,
                         "%s is not mounted on this node: fsck.lunfs -n checks a volume that is "
                         "not in use",
                         scrubbing.target.name);
    stop_request_init(&scrubbing.stop);
    progress_init(&scrubbing.progress);
    scrubbing.lines = json_object_new_array();
    struct json_object *answer = watch(&scrubbing);
    exit_code = answer != NULL ? end(&scrubbing, answer) : (int)TOOL_EXIT_FAILURE;
    json_object_put(answer);
    json_object_put(scrubbing.lines);
    return exit_code;
}
