// SPDX-License-Identifier: Apache-2.0
// The daemon's log: lines go into a ring and a thread of its own writes them to standard error or
// to the system's log, so that neither the core nor a lane ever waits for a log (rule P35). A full
// ring drops lines and counts them. Each line carries its stable code (LUNFS-nnnn) if it has one.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "fs/base/log.h"

struct log_daemon;

// In systemd's journal each code is a MESSAGE_ID: this, and the code's four digits.
#define LOG_MESSAGE_ID_PREFIX "5b1f0a7c9d3e4862a4c76e0f8d21"

// Lines begin with `prefix` (the mount point), which is copied. They go to `descriptor`, which is
// the log's from now on; -1: to systemd's journal, else to the system's log at /dev/log, else
// nowhere. The thread is started later: until then, and in a process that never does, lines are
// written at once. NULL when memory is out.
struct log_daemon *log_daemon_new(const char *prefix, int descriptor, bool with_debug);
// Starts the writing thread. To be called in the worker, after the fork. 0 or -errno.
int log_daemon_start(struct log_daemon *daemon);
// Writes what is in the ring and ends the thread.
void log_daemon_free(struct log_daemon *daemon);

struct log *log_daemon_log(struct log_daemon *daemon);
// Lines lost so far.
uint64_t log_daemon_dropped(const struct log_daemon *daemon);
