// SPDX-License-Identifier: Apache-2.0
// One line of the control protocol as the daemon takes it; any bytes are safe input.
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct json_object;

struct control_request {
    char *verb;                    // malloc'ed
    struct json_object *arguments; // an object, perhaps empty; a reference of the request's own
};

// Reads `length` bytes, a line without its newline. False, with *why a constant sentence and
// nothing to release, if they are no well-formed request.
bool control_request_parse(const char *line, size_t length, struct control_request *request,
                           const char **why);
void control_request_deinit(struct control_request *request);
