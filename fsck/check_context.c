// SPDX-License-Identifier: Apache-2.0
// What every pass calls: the clock, the claim's beat, cancelling, lines for people.
#include <errno.h>
#include <stdarg.h>

#include "fsck/check.h"

static const uint64_t claim_beat_ns = 1000000000;

uint64_t check_boot_ns(const struct check *check)
{
    const struct claim_clock *clock = check->watch_clock;
    return clock != NULL ? clock->boot_ns(clock->context) : environment_boot_ns(check->environment);
}

void check_breathe(struct check *check)
{
    if (!check->claim.is_held || check_boot_ns(check) - check->claim.beaten_ns < claim_beat_ns)
        return;
    check->claim_error = claim_beat(&check->claim);
    stop_request_has_come(check->stop); // the second time ends even a repair
}

int check_cancelled(const struct check *check)
{
    return stop_request_has_come(check->stop) ? -ECANCELED : 0;
}

int check_fail(struct check *check, int error, const char *format, ...)
{
    va_list arguments;
    progress_clear(&check->progress);
    fprintf(stderr, "fsck.lunfs: %s: ", check->options->path);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    return error;
}

static void print_line(struct check *check, const char *format, va_list arguments)
{
    progress_clear(&check->progress);
    vfprintf(check->out, format, arguments);
    fputc('\n', check->out);
}

void check_note(struct check *check, const char *format, ...)
{
    if (!check->options->is_verbose)
        return;
    va_list arguments;
    va_start(arguments, format);
    print_line(check, format, arguments);
    va_end(arguments);
}

void check_tell(struct check *check, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    print_line(check, format, arguments);
    va_end(arguments);
}

bool check_may_repair(const struct check *check)
{
    return !check->options->no_changes && check->claim.is_held && check->claim_error == 0 &&
           (check->options->is_yes || problem_unsafe_count(&check->problems) == 0);
}
