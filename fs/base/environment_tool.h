// SPDX-License-Identifier: Apache-2.0
// The world of a tool (mkfs, fsck, the verbs of lunfs): the system's clocks and random numbers, and
// timers that fire while the tool waits. With a device that completes at once (block_device_file.h)
// the core's coroutines run in it unchanged, and no event loop is needed.
//
//   environment = environment_tool_new();
//   status = environment_tool_run(environment, work, argument);   work runs as a coroutine
//   environment_tool_free(environment);
#pragma once

#include "fs/base/environment.h"

struct environment *environment_tool_new(void);
// No timer is armed, no coroutine alive.
void environment_tool_free(struct environment *environment);

// Runs `function(argument)` as a coroutine until it has returned and returns its result. Others
// that it started go on meanwhile; they must have ended by then (CHECKed).
int environment_tool_run(struct environment *environment, int (*function)(void *argument),
                         void *argument);

// From a coroutine with long work of its own: fires timers that are due and lets others run. Costs
// a look at the clock.
void environment_tool_poll(struct environment *environment);
