// SPDX-License-Identifier: Apache-2.0
#include "fsck/check.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/error.h"
#include "fsck/block_reader.h"
#include "fsck/commit.h"
#include "fsck/repair.h"
#include "fsck/undo.h"

typedef unsigned long long ull;

static void clear_progress(void *context)
{
    struct check *check = context;
    progress_clear(&check->progress);
}

// --- one round -------------------------------------------------------------------------------

static void forget_round(struct check *check)
{
    space_pool_deinit(&check->pool);
    space_deinit(&check->space);
    overlaps_deinit(&check->overlaps);
    inode_table_deinit(&check->inodes);
    quota_sums_deinit(&check->quotas);
    free(check->groups);
    free(check->flipped.numbers);
    free(check->strays.leaves);
    check->strays = (struct stray_leaves){.count = 0};
    check->groups = NULL;
    check->flipped = (struct block_numbers){.count = 0};
    check->file_count = check->directory_count = check->orphan_count = 0;
}

static int run_passes(struct check *check)
{
    int result = pass2_groups(check);
    if (result == 0) {
        pass6_quota_blocks(check);
        result = pass3_inodes(check);
    }
    if (result < 0)
        return result;
    pass4_directories(check);
    pass5_space(check);
    pass6_quotas(check);
    space_pool_init(&check->pool, &check->space);
    return check_cancelled(check);
}

// What belongs to no round is done when all is written: it is not found again.
static int run_round(struct check *check)
{
    forget_round(check);
    memset(check->problems.counts, 0, sizeof(check->problems.counts));
    check->problems.is_silent = !check->options->is_verbose;
    check->round++;
    check_note(check, "round %u", check->round + 1);
    int result = pass1_slots_again(check);
    return result == 0 ? run_passes(check) : result;
}

// --- the rounds ------------------------------------------------------------------------------

// Each stage once is enough for most, a circle of directories needs some twice.
enum { ROUNDS_MAX = 32 };

static int put_right(struct check *check)
{
    check->found = check->problems;
    while (problem_stage_first(&check->problems) != PROBLEM_STAGE_COMMIT) {
        int result = check->round < ROUNDS_MAX
                         ? repair_stage(check, problem_stage_first(&check->problems))
                         : -ERROR_BLOCK_CONTENT;
        if (result < 0 && error_is_check(result))
            check->is_beyond_repair = true;
        if (result < 0)
            return check_fail(check, result, "this cannot be put right (%s); nothing was written",
                              error_text(result));
        result = run_round(check);
        if (result < 0)
            return result;
    }
    return commit(check);
}

static int check_volume(struct check *check)
{
    int result = pass1_slots(check);
    if (result == 0)
        result = pass1_slots_again(check);
    if (result < 0)
        return result;
    if (check->options->is_preen && !check->options->is_forced &&
        problem_count(&check->problems) == 0) {
        check_note(check, "left cleanly, not looked at further (-f does)");
        return 0;
    }
    result = run_passes(check);
    check->found = check->problems;
    if (result == 0 && problem_count(&check->problems) > 0 && check_may_repair(check))
        result = put_right(check);
    return result;
}

// --- the end ---------------------------------------------------------------------------------

static void print_counts(struct check *check)
{
    check_note(check, "%llu files, %llu directories, %llu orphans, %llu blocks used",
               (ull)check->file_count, (ull)check->directory_count, (ull)check->orphan_count,
               (ull)check->space.used_block_count);
}

static const char *why_nothing_was_done(const struct check *check)
{
    if (check->options->no_changes)
        return "nothing was written (-n)";
    if (check->options->is_yes)
        return "nothing was repaired";
    return "nothing was repaired; read fsck.lunfs(8) on -y before you use it";
}

static int sum_up(struct check *check)
{
    uint64_t errors = problem_error_count(&check->found);
    progress_clear(&check->progress);
    problem_report_end(&check->found);
    print_counts(check);
    const char *path = check->options->path;
    if (errors > 0 && !check->was_changed) {
        fprintf(check->out, "%s: %llu problems, %s\n", path, (ull)errors,
                why_nothing_was_done(check));
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
    forget_round(check);
    change_log_deinit(&check->changes);
}

static int status_of(struct check *check, int result)
{
    if (result == 0)
        return sum_up(check);
    if (result == -ECANCELED)
        return say_cancelled(check);
    return check->is_beyond_repair ? FSCK_EXIT_UNCORRECTED : FSCK_EXIT_OPERATIONAL;
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
    change_log_init(&check->changes);
    check->reader = block_reader_new(check);
    int result = pass0_superblock(check);
    if (result == 0)
        result = check->options->restore_path != NULL ? undo_restore(check) : check_volume(check);
    int status = release_claim(check, status_of(check, result));
    deinit(check);
    return status;
}
