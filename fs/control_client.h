// SPDX-License-Identifier: Apache-2.0
// The tool's side of the control protocol.
#pragma once

#include <stdint.h>

#include "fs/control_protocol.h"

struct json_object;
struct text;

// One request on a connection of its own. 0 with *result, the caller's to put; else a negative
// error, the daemon's or our own, and a sentence in `why`. -ENOENT, -ECONNREFUSED: no daemon.
// `arguments` may be NULL and stays the caller's.
int control_client_call(const char *path, const char *verb, struct json_object *arguments,
                        struct json_object **result, struct text *why);
