// SPDX-License-Identifier: Apache-2.0
#include "fsck/commit.h"

#include "fs/base/error.h"
#include "fsck/check.h"
#include "fsck/superblocks.h"
#include "fsck/undo.h"

typedef unsigned long long ull;

static int flush(struct check *check)
{
    return block_device_flush(check->device, check->environment->scheduler);
}

// --- journals --------------------------------------------------------------------------------

static int replay(struct check *check)
{
    struct journal_replay_report report = {0};
    if (check->overlay.dirty_count == 0)
        return 0;
    int result = journal_replay(check->journals, check->journal_count, &report);
    if (result == 0)
        check_note(check, "replayed %u journals: %llu records, %llu blocks written",
                   report.dirty_count, (ull)report.record_count, (ull)report.written_count);
    return result;
}

static int empty_bad_journals(struct check *check)
{
    int result = 0;
    for (uint32_t slot = 0; slot < check->geometry.slot_count && result == 0; slot++) {
        struct journal_config config;
        check_configure_journal(check, slot, &config);
        if (check->bad_journals >> slot & 1)
            result = journal_format(&config);
    }
    return result;
}

// Those that were replayed or emptied have two good copies, and get them once more.
static int renew_worn_journals(struct check *check)
{
    int result = 0;
    for (uint32_t slot = 0; slot < check->geometry.slot_count && result == 0; slot++) {
        struct journal_config config;
        check_configure_journal(check, slot, &config);
        if (check->worn_journals >> slot & 1)
            result = journal_renew_headers(&config);
    }
    return result;
}

// --- changes ---------------------------------------------------------------------------------

static int write_change(struct check *check, const struct change *change)
{
    check_breathe(check);
    return block_device_write(check->device, check->environment->scheduler,
                              change->block * BLOCK_BYTES, change->bytes, BLOCK_BYTES);
}

static int write_changes(struct check *check)
{
    const struct change_log *log = &check->changes;
    int result = 0;
    progress_begin(&check->progress, "writing", "blocks");
    for (size_t i = 0; i < log->count && result == 0; i++) {
        if (i > 0 && log->changes[i].epoch != log->changes[i - 1].epoch)
            result = flush(check);
        if (result == 0)
            result = write_change(check, &log->changes[i]);
        progress_update(&check->progress, environment_boot_ns(check->environment), i, log->count);
    }
    return result == 0 ? flush(check) : result;
}

// --- all of it -------------------------------------------------------------------------------

static bool mark_is_needed(const struct check *check)
{
    return check->changes.count > 0 || check->bad_journals != 0;
}

static bool superblocks_are_bad(const struct check *check)
{
    const uint64_t *counts = check->found.counts;
    return counts[PROBLEM_SUPERBLOCK_COPY] + counts[PROBLEM_SUPERBLOCK_DIFFERS] +
               counts[PROBLEM_SUPERBLOCK_BEHIND] + counts[PROBLEM_NEEDS_FSCK] +
               counts[PROBLEM_DAMAGE_MET] >
           0;
}

static int write_all(struct check *check)
{
    uint32_t state = check->geometry.state & ~(uint32_t)SUPERBLOCK_STATES;
    int result = 0;
    if (mark_is_needed(check))
        result = superblocks_write(check, state | SUPERBLOCK_STATE_NEEDS_FSCK);
    if (result == 0)
        result = replay(check);
    if (result == 0)
        result = empty_bad_journals(check);
    if (result == 0)
        result = renew_worn_journals(check);
    if (result == 0)
        result = write_changes(check);
    if (result == 0 && (mark_is_needed(check) || superblocks_are_bad(check)))
        result = superblocks_write(check, state);
    return result;
}

int commit(struct check *check)
{
    int result = undo_save(check);
    if (result < 0)
        return check_fail(check, result, "the undo file %s cannot be written: %s",
                          check->options->undo_path, error_text(result));
    result = write_all(check);
    if (result < 0)
        return check_fail(check, result, "the repair failed: %s; run fsck.lunfs again",
                          error_text(result));
    check->was_changed = true;
    result = undo_finish(check);
    if (result < 0)
        return check_fail(check, result, "the undo file %s cannot be written: %s",
                          check->options->undo_path, error_text(result));
    return 0;
}
