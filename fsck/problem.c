// SPDX-License-Identifier: Apache-2.0
#include "fsck/problem.h"

#include <stdarg.h>

#include "fs/base/text.h"

enum { SHOWN_MAX = 50, LINE_BYTES = 2048 };

struct problem_row {
    const char *name;
    enum problem_severity severity;
    enum problem_repair repair;
    enum problem_stage stage;
    const char *sentence;
};

static const struct problem_row rows[PROBLEM_COUNT] = {
#define PROBLEM(name, number, severity, repair, stage, sentence, remedy)                           \
    {#name, PROBLEM_SEVERITY_##severity, PROBLEM_REPAIR_##repair, PROBLEM_STAGE_##stage, sentence},
#include "fsck/problems.def"
#undef PROBLEM
};

// Two problems with one number would not compile.
static inline void numbers_are_unique(int number)
{
    switch (number) {
#define PROBLEM(name, number, severity, repair, stage, sentence, remedy) case number:
#include "fsck/problems.def"
#undef PROBLEM
    default:
        break;
    }
}

void problem_report(struct problems *problems, enum problem problem, uint64_t block,
                    const char *format, ...)
{
    numbers_are_unique(0);
    if (problems->is_off)
        return;
    problems->counts[problem]++;
    if (problems->is_silent || (problems->counts[problem] > SHOWN_MAX && !problems->is_verbose))
        return;
    if (problems->before_line != NULL)
        problems->before_line(problems->context);
    TEXT(line, LINE_BYTES);
    va_list arguments;
    text_add(&line, "block %llu: %s: %s: ", (unsigned long long)block, rows[problem].name,
             rows[problem].sentence);
    va_start(arguments, format);
    text_add_arguments(&line, format, arguments);
    va_end(arguments);
    if (problems->line != NULL)
        problems->line(problems->context, line.bytes);
    else
        fprintf(problems->out, "%s\n", line.bytes);
}

void problem_report_end(const struct problems *problems)
{
    if (problems->is_verbose)
        return;
    for (int i = 0; i < PROBLEM_COUNT; i++) {
        if (problems->counts[i] > SHOWN_MAX)
            fprintf(problems->out, "%s: %llu more (-v shows them)\n", rows[i].name,
                    (unsigned long long)problems->counts[i] - SHOWN_MAX);
    }
}

uint64_t problem_count(const struct problems *problems)
{
    uint64_t count = 0;
    for (int i = 0; i < PROBLEM_COUNT; i++)
        count += problems->counts[i];
    return count;
}

uint64_t problem_error_count(const struct problems *problems)
{
    uint64_t count = 0;
    for (int i = 0; i < PROBLEM_COUNT; i++) {
        if (rows[i].severity == PROBLEM_SEVERITY_ERROR)
            count += problems->counts[i];
    }
    return count;
}

uint64_t problem_unsafe_count(const struct problems *problems)
{
    uint64_t count = 0;
    for (int i = 0; i < PROBLEM_COUNT; i++) {
        if (rows[i].repair == PROBLEM_REPAIR_YES)
            count += problems->counts[i];
    }
    return count;
}

enum problem_stage problem_stage_first(const struct problems *problems)
{
    enum problem_stage first = PROBLEM_STAGE_COMMIT;
    for (int i = 0; i < PROBLEM_COUNT; i++) {
        if (problems->counts[i] > 0 && rows[i].stage < first)
            first = rows[i].stage;
    }
    return first;
}
