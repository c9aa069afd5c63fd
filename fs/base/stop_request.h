// SPDX-License-Identifier: Apache-2.0
// Ctrl-C for tools that have something to put back before they end: SIGINT, SIGTERM and SIGHUP wait
// until the tool looks, at places where it can stop. The next one ends the process at once, as
// usual; it was asked twice. One that the caller's shell ignores stays ignored.
#pragma once

#include <stdbool.h>

struct stop_request {
    bool has_come;
};

// From now on the signals wait. Before any thread is started.
void stop_request_init(struct stop_request *request);
// Whether one has come; costs a system call. NULL: nobody can ask.
bool stop_request_has_come(struct stop_request *request);
