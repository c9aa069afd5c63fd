// SPDX-License-Identifier: Apache-2.0
// The tool `lunfs`: one verb a file, tool_VERB.c, found through the table in tool.c.
#pragma once

#include <stdbool.h>

#include "fs/tool_target.h"

// Exit codes of all verbs.
enum tool_exit {
    TOOL_EXIT_OK = 0,
    TOOL_EXIT_FAILURE = 1, // said why on standard error
    TOOL_EXIT_USAGE = 2,
    TOOL_EXIT_NOTHING = 3, // `probe`: no lunfs volume; quiet
    TOOL_EXIT_DAMAGED = 4, // `scrub` has found something, as fsck.lunfs -n
};

// A verb is called with argv[0] its own name ("info"). Each knows --help.
struct tool_verb {
    const char *name;
    const char *arguments; // as the usage line shows them
    const char *summary;
    const char *examples; // lines, each beginning with two blanks
    int (*run)(const struct tool_verb *verb, int argc, char **argv);
};

int tool_info(const struct tool_verb *verb, int argc, char **argv);
int tool_nodes(const struct tool_verb *verb, int argc, char **argv);
int tool_locks(const struct tool_verb *verb, int argc, char **argv);
int tool_df(const struct tool_verb *verb, int argc, char **argv);
int tool_stat(const struct tool_verb *verb, int argc, char **argv);
int tool_fence(const struct tool_verb *verb, int argc, char **argv);
int tool_freeze(const struct tool_verb *verb, int argc, char **argv);
int tool_thaw(const struct tool_verb *verb, int argc, char **argv);
int tool_image(const struct tool_verb *verb, int argc, char **argv);
int tool_dump(const struct tool_verb *verb, int argc, char **argv);
int tool_scrub(const struct tool_verb *verb, int argc, char **argv);
int tool_quota(const struct tool_verb *verb, int argc, char **argv);
int tool_probe(const struct tool_verb *verb, int argc, char **argv);

// "lunfs: ..." on standard error; returns `exit_code`.
int tool_fail(int exit_code, const char *format, ...) __attribute__((format(printf, 2, 3)));
// The verb's usage: on standard output for --help (TOOL_EXIT_OK), else on standard error.
int tool_usage(const struct tool_verb *verb, bool was_asked);

// --- shared by verbs that show something -----------------------------------------------------

struct json_object;

struct tool_options {
    bool json, all, yes, scramble;
    const char *timeout; // of --timeout; NULL: not given
    const char *rate;    // of --rate; likewise
    int argument_count;
    char **arguments;
};

// Takes --json, --all, --yes, --scramble, --timeout VALUE, --rate VALUE and --help in any place;
// the rest are arguments, of which there must be `least` to `most`. -1 to go on, else the exit
// code.
int tool_parse(const struct tool_verb *verb, int argc, char **argv, int least, int most,
               struct tool_options *options);
// The same for a verb whose one argument is a mount or a device: finds it too.
int tool_begin(const struct tool_verb *verb, int argc, char **argv, struct tool_options *options,
               struct tool_target *target);
// Prints an answer as JSON and releases it.
int tool_print_json(struct json_object *result);

// A line about the answer's member "freeze", if there is anything to say.
void tool_print_freeze(struct json_object *result);
// A line if the answer says that the volume needs fsck.lunfs.
void tool_print_needs_fsck(struct json_object *result);

// Members of an answer; "" or 0 if they are not there.
const char *tool_text(struct json_object *object, const char *name);
unsigned long long tool_number(struct json_object *object, const char *name);
bool tool_flag(struct json_object *object, const char *name);
// An array's length; 0 if it is not there.
unsigned tool_count(struct json_object *object, const char *name);
struct json_object *tool_element(struct json_object *object, const char *name, unsigned index);
