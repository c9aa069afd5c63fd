// SPDX-License-Identifier: Apache-2.0
#include "fsck/check.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/error.h"
#include "fsck/block_reader.h"

typedef unsigned long long ull;

static const uint64_t claim_beat_ns = 1000000000;

// --- what the passes call --------------------------------------------------------------------

void check_breathe(struct check *check)
{
    if (!check->claim.is_held ||
        environment_boot_ns(check->environment) - check->claim.beaten_ns < claim_beat_ns)
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

void check_note(struct check *check, const char *format, ...)
{
    if (!check->options->is_verbose)
        return;
    va_list arguments;
    progress_clear(&check->progress);
    va_start(arguments, format);
    vfprintf(check->out, format, arguments);
    va_end(arguments);
    fputc('\n', check->out);
}

static void clear_progress(void *context)
{
    struct check *check = context;
    progress_clear(&check->progress);
}

// --- the check -------------------------------------------------------------------------------

static int run_passes(struct check *check)
{
    int result = pass2_groups(check);
    if (result == 0)
        result = pass3_inodes(check);
    if (result < 0)
        return result;
    pass4_directories(check);
    pass5_space(check);
    return check_cancelled(check);
}

static bool may_repair(const struct check *check)
{
    return !check->options->no_changes && check->claim.is_held && check->claim_error == 0 &&
           problem_unrepairable_count(&check->problems) == 0;
}

static bool was_left_cleanly(const struct check *check)
{
    for (int i = 0; i < PROBLEM_COUNT; i++) {
        if (check->problems.counts[i] > 0)
            return false;
    }
    return true;
}

static int check_volume(struct check *check)
{
    int result = pass1_slots(check);
    if (result < 0)
        return result;
    if (check->options->is_preen && !check->options->is_forced && was_left_cleanly(check)) {
        check_note(check, "left cleanly, not looked at further (-f does)");
        return 0;
    }
    result = run_passes(check);
    if (result == 0 && may_repair(check))
        result = repair_volume(check);
    return result;
}

// --- the end ---------------------------------------------------------------------------------

static void print_counts(struct check *check)
{
    check_note(check, "%llu files, %llu directories, %llu orphans, %llu blocks used",
               (ull)check->file_count, (ull)check->directory_count, (ull)check->orphan_count,
               (ull)check->space.used_block_count);
}

static int sum_up(struct check *check)
{
    uint64_t errors = problem_error_count(&check->problems);
    progress_clear(&check->progress);
    problem_report_end(&check->problems);
    print_counts(check);
    const char *path = check->options->path;
    if (errors > 0 && !may_repair(check)) {
        fprintf(check->out, "%s: %llu problems, %s\n", path, (ull)errors,
                check->options->no_changes ? "nothing was written (-n)" : "nothing was repaired");
        return FSCK_EXIT_UNCORRECTED;
    }
    bool is_dirty = check->problems.counts[PROBLEM_JOURNAL_DIRTY] > 0 || check->orphan_count > 0;
    fprintf(check->out, "%s: clean%s\n", path,
            check->was_changed ? " now, put right"
            : is_dirty         ? " but for what the next mount puts right by itself"
                               : "");
    return check->was_changed ? FSCK_EXIT_CORRECTED : FSCK_EXIT_CLEAN;
}

static int say_cancelled(struct check *check)
{
    check_fail(check, -ECANCELED, "interrupted, not all was looked at");
    return FSCK_EXIT_CANCELLED;
}

static int release_claim(struct check *check, int status)
{
    if (check->claim_error < 0) {
        check_fail(check, check->claim_error, "the claim on the volume was lost: %s",
                   error_text(check->claim_error));
        return FSCK_EXIT_OPERATIONAL;
    }
    if (!check->claim.is_held)
        return status;
    int result = block_device_flush(check->device, check->environment->scheduler);
    if (result == 0)
        result = claim_release(&check->claim);
    if (result == 0)
        return status;
    check_fail(check, result, "the device cannot be written: %s", error_text(result));
    return FSCK_EXIT_OPERATIONAL;
}

static void deinit(struct check *check)
{
    if (check->has_overlay)
        journal_scan_deinit(&check->overlay);
    block_reader_free(check->reader);
    space_deinit(&check->space);
    inode_table_deinit(&check->inodes);
    free(check->groups);
}

int check_run(struct check *check)
{
    check->problems = (struct problems){
        .out = check->out,
        .is_verbose = check->options->is_verbose,
        .before_line = clear_progress,
        .context = check,
    };
    progress_init(&check->progress);
    check->reader = block_reader_new(check);
    int result = pass0_superblock(check);
    if (result == 0)
        result = check_volume(check);
    int status = result == 0            ? sum_up(check)
                 : result == -ECANCELED ? say_cancelled(check)
                                        : FSCK_EXIT_OPERATIONAL;
    status = release_claim(check, status);
    deinit(check);
    return status;
}
