// SPDX-License-Identifier: Apache-2.0
// A journal at rest: marked clean while its node lives on, so that a copy of the volume made
// meanwhile has nothing to replay. The log is not begun anew: salt, tail and chain stay, and what
// the next record follows is what it would have followed anyway.
//
//   rest    all in place ─► tail at the head ─► header: clean          any crash: nothing to replay
//   wake    header: in use, durable ─► the first handle opens          any crash: replays nothing
#include "fs/base/check.h"
#include "fs/base/error.h"
#include "fs/base/sabotage.h"
#include "journal/state.h"

static bool is_empty(const struct journal *journal)
{
    return journal_ring_used(&journal->ring) == 0 && journal->committing == NULL &&
           !journal_transaction_has_content(journal->running);
}

// What the handles before the call, and retires that were wanted, leave in the log.
static int empty_log(struct journal *journal)
{
    while (!journal->is_failed && (journal->running->open_handles > 0 || !is_empty(journal))) {
        if (journal->running->open_handles > 0) {
            wait_queue_wait(journal->scheduler, &journal->quiet);
            continue;
        }
        int result = journal_commit_reach(journal, UINT64_MAX);
        if (result == 0)
            result = journal_checkpoint_reach(journal, journal->ring.head);
        if (result != 0)
            return result;
    }
    return journal->is_failed ? -ERROR_JOURNAL_FAILED : 0;
}

static int write_state(struct journal *journal, enum journal_state state)
{
    journal->header.state = state;
    journal->header.version_max = journal->config.clock->now;
    journal->counts.header_write_count += JOURNAL_HEADER_COPIES;
    int result = journal_header_write_both(&journal->config, &journal->header);
    if (result < 0)
        journal_fail(journal, result, "the header");
    return journal->is_failed ? -ERROR_JOURNAL_FAILED : 0;
}

// One at a time writes the header.
static void turn_begin(struct journal *journal)
{
    while (journal->is_turning)
        wait_queue_wait(journal->scheduler, &journal->quiet);
    journal->is_turning = true;
}

static void turn_end(struct journal *journal)
{
    journal->is_turning = false;
    wait_queue_wake_all(journal->scheduler, &journal->quiet);
}

int journal_rest(struct journal *journal)
{
    int result = 0;
    if (SABOTAGE(freeze_skip_rest))
        return 0;
    journal_call_enter(journal);
    turn_begin(journal);
    if (!journal->is_resting)
        result = empty_log(journal);
    if (result == 0 && !journal->is_resting) {
        journal->is_resting = true;
        result = write_state(journal, JOURNAL_STATE_CLEAN);
    }
    turn_end(journal);
    journal_call_leave(journal);
    return result;
}

int journal_wake(struct journal *journal)
{
    journal_call_enter(journal);
    turn_begin(journal);
    int result = journal->is_failed ? -ERROR_JOURNAL_FAILED : 0;
    if (result == 0 && journal->is_resting) {
        result = write_state(journal, JOURNAL_STATE_IN_USE);
        journal->is_resting = false;
    }
    turn_end(journal);
    journal_call_leave(journal);
    return result;
}
