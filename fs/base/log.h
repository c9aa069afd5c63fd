// SPDX-License-Identifier: Apache-2.0
// One log sink a program. The core never waits for it: the daemon's sink is a ring that a thread of
// its own empties (drop and count); tools write to standard error; the simulator keeps the lines.
#pragma once

#include <stdarg.h>

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_NOTICE, LOG_LEVEL_DEBUG };

struct log {
    enum log_level level_max; // lines above it are dropped before they are formatted
    // Takes one line without newline; must not block. `code` is 0 or a number from errors.def.
    void (*write)(struct log *log, enum log_level level, int code, const char *line);
};

void log_line(struct log *log, enum log_level level, int code, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

#define log_error(log, code, ...) log_line((log), LOG_LEVEL_ERROR, (code), __VA_ARGS__)
#define log_warning(log, ...)     log_line((log), LOG_LEVEL_WARNING, 0, __VA_ARGS__)
#define log_notice(log, ...)      log_line((log), LOG_LEVEL_NOTICE, 0, __VA_ARGS__)
#define log_debug(log, ...)       log_line((log), LOG_LEVEL_DEBUG, 0, __VA_ARGS__)

// A sink that writes to standard error: "lunfs: error LUNFS-1001: text".
void log_init_stderr(struct log *log, enum log_level level_max);
// A sink that swallows everything.
void log_init_null(struct log *log);
