// SPDX-License-Identifier: Apache-2.0
// What a verb works on: a mount of this node, asked through its daemon, or a device, read directly.
// A mount is never touched to find its daemon: it may be suspended, and would not answer.
#pragma once

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "fs/format.h"

struct block_device;
struct json_object;
struct text;

struct tool_target {
    char name[PATH_MAX]; // as it was given, or the mount point that holds the file that was given
    bool is_mounted;     // on this node: `socket` answers
    char socket[128];
    struct geometry geometry; // not mounted: of the device `name`
};

// A mount point, a file below one, a device, UUID= or LABEL=. False with a sentence in `why`.
bool tool_target_find(const char *what, struct tool_target *target, struct text *why);
// The one lunfs mount of this node; false with a sentence if there is none or more than one.
bool tool_target_only(struct tool_target *target, struct text *why);

// Asks the daemon; prints the error. NULL then.
struct json_object *tool_target_ask(const struct tool_target *target, const char *verb,
                                    struct json_object *arguments);
// Opens the device of a target that is not mounted; prints the error. NULL then.
struct block_device *tool_target_open(const struct tool_target *target);
// A device or file as it was named, mounted or not; else UUID= or LABEL= of one that is not
// mounted. False, and the reason was printed.
bool tool_target_device(const char *what, char path[PATH_MAX]);
