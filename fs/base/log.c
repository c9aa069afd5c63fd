// SPDX-License-Identifier: Apache-2.0
#include "fs/base/log.h"

#include <stdio.h>

enum { LINE_BYTES = 1024 };

void log_line(struct log *log, enum log_level level, int code, const char *format, ...)
{
    if (level > log->level_max)
        return;
    char line[LINE_BYTES];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof(line), format, arguments);
    va_end(arguments);
    log->write(log, level, code, line);
}

static void write_stderr(struct log *log, enum log_level level, int code, const char *line)
{
    static const char *const words[] = {"error", "warning", "notice", "debug"};
    (void)log;
    if (code != 0)
        fprintf(stderr, "lunfs: %s LUNFS-%04d: %s\n", words[level], code, line);
    else
        fprintf(stderr, "lunfs: %s: %s\n", words[level], line);
}

void log_init_stderr(struct log *log, enum log_level level_max)
{
    *log = (struct log){.level_max = level_max, .write = write_stderr};
}

static void write_nothing(struct log *log, enum log_level level, int code, const char *line)
{
    (void)log, (void)level, (void)code, (void)line;
}

void log_init_null(struct log *log)
{
    *log = (struct log){.level_max = LOG_LEVEL_ERROR, .write = write_nothing};
}
