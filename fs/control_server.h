// SPDX-License-Identifier: Apache-2.0
// The daemon's side of the control protocol. A thread of its own reads, parses and writes, so that
// a slow or hostile client costs the core nothing; the core sees well-formed queries only, each in
// a coroutine, and a query that the core does not answer in time is answered for it.
//
//   client ─line─► control thread ─post─► core: handler in a coroutine
//          ◄line──       ◄──────eventfd────────┘ (or "busy" after CONTROL_PATIENCE_MS)
#pragma once

#include <stdint.h>

#include "fs/control_protocol.h"

struct control_server;
struct environment;
struct json_object;
struct log;

struct control_server_config {
    struct environment *environment; // a real one
    struct log *log;
    const char *path; // of the socket; what stands there is removed
    // On the core, in a coroutine: fills `result` and returns 0, or a negative error. `arguments`
    // is an object, perhaps empty. -ENOSYS: unknown verb. *why may be set to a sentence for the
    // error.
    int (*handle)(void *context, const char *verb, struct json_object *arguments,
                  struct json_object *result, const char **why);
    void *context;
};

// Makes the socket and starts the thread: 0 or -errno. Core thread.
int control_server_start(const struct control_server_config *config, struct control_server **out);

// Takes the socket away, ends the thread and waits for the handlers that run. From a coroutine of
// the core. NULL is ignored.
void control_server_free(struct control_server *server);
