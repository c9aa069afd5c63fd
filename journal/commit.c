// SPDX-License-Identifier: Apache-2.0
// Group commit. One coroutine, the committer, writes all records, one after the other:
//
//   handles      ──a──┤├─b─┤   ├──c──┤           ├──d──┤      b and c come too late for the first
//   committer         [drain][copy][data flush][write][flush]  commit and share the second
//   transaction  1 ───────────┘└ 2 ──────────────────────────┘[drain][copy]...
//
// Handles wait only while the old ones end and the images are copied. A retire that is wanted while
// handles drain gets a record of its own; else it rides along.
#include "fs/base/check.h"
#include "fs/base/error.h"
#include "journal/state.h"

// --- the committer ---------------------------------------------------------------------------

static void images_are_sealed(struct journal *journal)
{
    journal->is_draining = false;
    journal_admit(journal);
}

// Everything of the transaction is durable in the log.
static void become_durable(struct journal *journal, struct journal_transaction *transaction)
{
    struct journal_block *block, *next;
    transaction->is_durable = true;
    while ((block = TAILQ_FIRST(&transaction->committing)) != NULL)
        journal_block_become_dirty(journal, block);
    for (block = TAILQ_FIRST(&transaction->freed); block != NULL; block = next) {
        next = TAILQ_NEXT(block, freed_link);
        journal_block_free_durable(journal, block);
    }
    journal->ticket_durable = transaction->ticket;
    journal->committing = NULL;
    journal_transaction_try_finish(journal, transaction);
    wait_queue_wake_all(journal->scheduler, &journal->durable);
    wait_queue_wake_all(journal->scheduler, &journal->checkpointer_wake);
}

static void start_next_transaction(struct journal *journal)
{
    journal->committing = journal->running;
    journal->running = journal_transaction_new(journal, journal->committing->ticket + 1);
    environment_timer_disarm(journal->config.environment, &journal->commit_timer);
    journal->is_commit_timer_armed = false;
}

static void keep_log_half_empty(struct journal *journal)
{
    const struct journal_ring *ring = &journal->ring;
    if (journal_ring_used(ring) > ring->block_count / 2)
        journal_checkpoint_request(journal, ring->head - ring->block_count / 4);
    journal_checkpoint_timer_arm(journal);
}

static void commit_running(struct journal *journal)
{
    start_next_transaction(journal);
    struct journal_transaction *transaction = journal->committing;
    bool has_record = transaction->block_count > 0 || transaction->revoke_count > 0;
    if (!has_record) { // all before it is durable already
        images_are_sealed(journal);
        become_durable(journal, transaction);
        journal_transaction_free(journal, transaction);
        return;
    }
    journal->counts.commit_count++;
    int result = journal_record_write(journal, transaction, images_are_sealed);
    if (result < 0) {
        journal_fail(journal, result, "a commit record");
        return;
    }
    become_durable(journal, transaction);
    keep_log_half_empty(journal);
}

static bool is_room_for_retire(const struct journal *journal)
{
    return journal_running_blocks(journal, 0) + 1 <= journal_ring_free(&journal->ring);
}

static void write_retires(struct journal *journal)
{
    struct journal_transaction *record = journal_transaction_new(journal, 0);
    journal->counts.retire_record_count++;
    int result = journal_record_write(journal, record, NULL);
    if (result < 0) {
        journal_fail(journal, result, "a retire record");
        return;
    }
    record->is_durable = true;
    wait_queue_wake_all(journal->scheduler, &journal->durable);
    keep_log_half_empty(journal);
}

// True if it did something.
static bool commit_step(struct journal *journal)
{
    struct journal_transaction *running = journal->running;
    if (running->is_wanted && running->open_handles == 0) {
        if (journal_transaction_has_content(running)) {
            journal->is_draining = true;
            commit_running(journal);
            return true;
        }
        running->is_wanted = false;
        images_are_sealed(journal);
        return true;
    }
    journal->is_draining = running->is_wanted;
    if (journal->retire_wanted_count == 0)
        return false;
    if (!is_room_for_retire(journal)) {
        journal_checkpoint_request(journal, journal->ring.head);
        return false;
    }
    write_retires(journal);
    return true;
}

bool journal_is_ending(const struct journal *journal)
{
    return journal->is_failed || journal->is_closing;
}

void journal_committer_run(void *argument)
{
    struct journal *journal = argument;
    while (!journal_is_ending(journal)) {
        if (!commit_step(journal))
            wait_queue_wait(journal->scheduler, &journal->committer_wake);
    }
    journal->background_count--;
    wait_queue_wake_all(journal->scheduler, &journal->quiet);
}

// --- who wants a commit ------------------------------------------------------------------------

void journal_commit_request(struct journal *journal)
{
    if (journal->running->is_wanted)
        return;
    journal->running->is_wanted = true;
    wait_queue_wake_all(journal->scheduler, &journal->committer_wake);
}

void journal_commit_timer_fire(struct environment_timer *timer)
{
    struct journal *journal =
        (struct journal *)((char *)timer - offsetof(struct journal, commit_timer));
    journal->is_commit_timer_armed = false;
    if (!journal_is_ending(journal) && journal_transaction_has_content(journal->running))
        journal_commit_request(journal);
}

// The newest transaction up to `ticket` that has anything to make durable.
static uint64_t last_with_content(const struct journal *journal, uint64_t ticket)
{
    const struct journal_transaction *running = journal->running;
    if (running->ticket <= ticket && journal_transaction_has_content(running))
        return running->ticket;
    if (journal->committing != NULL)
        return journal->committing->ticket < ticket ? journal->committing->ticket : ticket;
    return journal->ticket_durable;
}

int journal_commit_reach(struct journal *journal, uint64_t ticket)
{
    uint64_t target = last_with_content(journal, ticket);
    while (!journal->is_failed && journal->ticket_durable < target) {
        if (journal->running->ticket <= target)
            journal_commit_request(journal);
        wait_queue_wait(journal->scheduler, &journal->durable);
    }
    return journal->is_failed ? -ERROR_JOURNAL_FAILED : 0;
}

static int commit_and_flush(struct journal *journal, uint64_t ticket)
{
    uint64_t flush = journal_barrier_ticket(&journal->barrier);
    int result = journal_commit_reach(journal, ticket);
    if (result < 0)
        return result;
    result = journal_barrier_reach(&journal->barrier, flush);
    if (result < 0)
        journal_fail(journal, result, "the barrier of a sync");
    return journal->is_failed ? -ERROR_JOURNAL_FAILED : 0;
}

int journal_sync_ticket(struct journal *journal, uint64_t ticket)
{
    journal_call_enter(journal);
    int result = commit_and_flush(journal, ticket);
    journal_call_leave(journal);
    return result;
}

int journal_sync(struct journal *journal)
{
    return journal_sync_ticket(journal, UINT64_MAX);
}
