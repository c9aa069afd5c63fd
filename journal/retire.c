// SPDX-License-Identifier: Apache-2.0
// Giving up locks (rules 5 and 6):
//
//   below PW   commit what is uncommitted ─► write in place ─► flush      readers may come
//   below PR   retire record ─► flush                                     writers may come
//
// Why the retire hangs on the images in the log and not on the lock being dirty:
//
//   A: EX, writes b (v1) ─ commit ─ in place ─ PR            B: PR, reads v1
//   A: PR to NL: clean, no retire?                           B: EX, writes b (v2), in place
//   A dies, replay finds v1 live in A's log                  and puts it over v2
#include "fs/base/check.h"
#include "fs/base/error.h"
#include "fs/base/sabotage.h"
#include "journal/state.h"

enum { BLOCKS_PER_FLUSH_MAX = 4096 }; // what is sorted and settled in one slice (rule P4)

// --- below PW ------------------------------------------------------------------------------------

static bool is_any_uncommitted(struct journal *journal, const struct lock_name *names, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const struct journal_lock *lock = journal_lock_find(journal, names[i]);
        if (lock != NULL && lock->uncommitted_count > 0)
            return true;
    }
    return false;
}

static bool is_any_dirty(struct journal *journal, const struct lock_name *names, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const struct journal_lock *lock = journal_lock_find(journal, names[i]);
        if (lock != NULL && !TAILQ_EMPTY(&lock->dirty))
            return true;
    }
    return false;
}

static void collect_dirty(struct journal *journal, const struct lock_name *names, size_t count,
                          struct journal_write_back *write_back)
{
    for (size_t i = 0; i < count; i++) {
        struct journal_lock *lock = journal_lock_find(journal, names[i]);
        struct journal_block *block;
        if (lock == NULL)
            continue;
        TAILQ_FOREACH (block, &lock->dirty, lock_link) {
            if (write_back->count == BLOCKS_PER_FLUSH_MAX)
                return;
            if (journal_block_can_write_back(block))
                journal_write_back_add(write_back, block);
            else
                CHECK(block->is_in_write_back); // by the checkpoint
        }
    }
}

static int write_dirty_in_place(struct journal *journal, const struct lock_name *names,
                                size_t count)
{
    while (is_any_dirty(journal, names, count)) {
        struct journal_write_back *write_back = journal_write_back_new(journal);
        collect_dirty(journal, names, count, write_back);
        bool has_written = write_back->count > 0;
        int result = journal_write_back_run(journal, write_back);
        if (result < 0)
            return result;
        if (!has_written)
            wait_queue_wait(journal->scheduler, &journal->write_back_done);
        if (journal->is_failed)
            return -ERROR_JOURNAL_FAILED;
    }
    return 0;
}

static bool is_freed_in_write_back(const struct journal *journal, uint64_t ticket)
{
    const struct journal_transaction *record;
    if (journal->freed_in_write_back_count == 0)
        return false;
    TAILQ_FOREACH (record, &journal->log, link) {
        if (record->is_durable && record->ticket <= ticket && !TAILQ_EMPTY(&record->freed))
            return true;
    }
    return false;
}

// One of the locks may be that of the free space: the next holder may give out every block whose
// revoke is durable, so no old write of ours may still be on its way to one (rule 4).
static int wait_for_freed(struct journal *journal)
{
    uint64_t ticket = journal->ticket_durable;
    if (SABOTAGE(journal_give_up_in_write_back))
        return 0;
    while (!journal->is_failed && is_freed_in_write_back(journal, ticket))
        wait_queue_wait(journal->scheduler, &journal->write_back_done);
    return journal->is_failed ? -ERROR_JOURNAL_FAILED : 0;
}

static int write_back_locks(struct journal *journal, const struct lock_name *names, size_t count)
{
    if (is_any_uncommitted(journal, names, count)) {
        int result = journal_commit_reach(journal, UINT64_MAX);
        if (result < 0)
            return result;
        CHECK(!is_any_uncommitted(journal, names, count));
    }
    if (!SABOTAGE(journal_skip_write_back)) {
        int result = write_dirty_in_place(journal, names, count);
        if (result < 0)
            return result;
    }
    return wait_for_freed(journal);
}

int journal_lock_write_back(struct journal *journal, const struct lock_name *names, size_t count)
{
    journal_call_enter(journal);
    int result = write_back_locks(journal, names, count);
    journal_call_leave(journal);
    return result;
}

// --- below PR ------------------------------------------------------------------------------------

static void want_retire(struct journal *journal, struct journal_lock *lock)
{
    CHECK(lock->uncommitted_count == 0);
    CHECK(TAILQ_EMPTY(&lock->dirty) || SABOTAGE(journal_skip_write_back));
    if (lock->is_retire_wanted || lock->is_retire_in_flight)
        return;
    lock->is_retire_wanted = true;
    TAILQ_INSERT_TAIL(&journal->retires_wanted, lock, retires);
    journal->retire_wanted_count++;
}

// Puts all names on the list that need a retire; false if none does.
static bool want_retires(struct journal *journal, const struct lock_name *names, size_t count)
{
    bool is_any = false;
    for (size_t i = 0; i < count; i++) {
        struct journal_lock *lock = journal_lock_find(journal, names[i]);
        if (lock == NULL || !lock->has_images)
            continue;
        want_retire(journal, lock);
        is_any = true;
    }
    return is_any;
}

int journal_lock_retire(struct journal *journal, const struct lock_name *names, size_t count)
{
    if (SABOTAGE(journal_skip_retire))
        return 0;
    journal_call_enter(journal);
    while (!journal->is_failed && want_retires(journal, names, count)) {
        wait_queue_wake_all(journal->scheduler, &journal->committer_wake);
        if (SABOTAGE(journal_release_before_retire))
            break;
        wait_queue_wait(journal->scheduler, &journal->durable);
    }
    journal_call_leave(journal);
    return journal->is_failed ? -ERROR_JOURNAL_FAILED : 0;
}

int journal_lock_give_up(struct journal *journal, const struct lock_name *names, size_t count)
{
    bool is_dirty =
        is_any_uncommitted(journal, names, count) || is_any_dirty(journal, names, count);
    int result = journal_lock_write_back(journal, names, count);
    if (result < 0)
        return result;
    if (SABOTAGE(journal_retire_by_dirty_list) && !is_dirty)
        return 0;
    return journal_lock_retire(journal, names, count);
}
