// SPDX-License-Identifier: Apache-2.0
// The checkpoint: one coroutine that writes the oldest dirty blocks in place and moves the tail, so
// that the ring has room and a replay little to do. The order is rule 5's:
//
//   blocks written in place ─► flushed ─► header with the new tail written ─► flushed ─► space free
//
// What holds the tail is the oldest record that has the newest durable image of a block which is
// not in place. If that block is being changed, its commit moves the hold to a newer record; room
// for that commit is always reserved, so the checkpoint always gets on.
#include <stddef.h>

#include "fs/base/check.h"
#include "fs/base/error.h"
#include "fs/base/sabotage.h"
#include "journal/state.h"

enum { BLOCKS_PER_ROUND_MAX = 1024 };

// --- requests ------------------------------------------------------------------------------------

void journal_checkpoint_request(struct journal *journal, uint64_t position)
{
    if (position > journal->ring.head)
        position = journal->ring.head;
    if (position <= journal->checkpoint_target)
        return;
    journal->checkpoint_target = position;
    wait_queue_wake_all(journal->scheduler, &journal->checkpointer_wake);
}

int journal_checkpoint_reach(struct journal *journal, uint64_t position)
{
    journal_checkpoint_request(journal, position);
    while (!journal->is_failed && journal->ring.tail < position)
        wait_queue_wait(journal->scheduler, &journal->tail_moved);
    return journal->is_failed ? -ERROR_JOURNAL_FAILED : 0;
}

int journal_checkpoint(struct journal *journal)
{
    journal_call_enter(journal);
    int result = journal_commit_reach(journal, UINT64_MAX);
    if (result == 0)
        result = journal_checkpoint_reach(journal, journal->ring.head);
    journal_call_leave(journal);
    return result;
}

void journal_checkpoint_timer_arm(struct journal *journal)
{
    if (journal->is_checkpoint_timer_armed || journal_is_ending(journal) ||
        journal_ring_used(&journal->ring) == 0)
        return;
    journal->is_checkpoint_timer_armed = true;
    uint64_t now = environment_boot_ns(journal->config.environment);
    environment_timer_arm(journal->config.environment, &journal->checkpoint_timer,
                          now + journal->config.checkpoint_interval_ns);
}

void journal_checkpoint_timer_fire(struct environment_timer *timer)
{
    struct journal *journal =
        (struct journal *)((char *)timer - offsetof(struct journal, checkpoint_timer));
    journal->is_checkpoint_timer_armed = false;
    if (!journal_is_ending(journal))
        journal_checkpoint_request(journal, journal->ring.head);
}

// --- the tail ------------------------------------------------------------------------------------

static bool holds_tail(const struct journal_transaction *record)
{
    return !record->is_durable || !TAILQ_EMPTY(&record->dirty) || !TAILQ_EMPTY(&record->freed);
}

// The oldest record that must stay; NULL if none must.
static struct journal_transaction *oldest_held(struct journal *journal)
{
    struct journal_transaction *record;
    TAILQ_FOREACH (record, &journal->log, link) {
        if (holds_tail(record))
            return record;
    }
    return NULL;
}

static void set_tail_to(struct journal_header *header, const struct journal *journal,
                        const struct journal_transaction *record)
{
    header->tail_position = record != NULL ? record->position : journal->ring.head;
    header->tail_sequence = record != NULL ? record->sequence : journal->next_sequence;
    header->tail_chain = record != NULL ? record->chain_before : journal->next_chain;
}

static void drop_records_before(struct journal *journal, uint64_t position)
{
    struct journal_transaction *record;
    while ((record = TAILQ_FIRST(&journal->log)) != NULL && record->position < position) {
        TAILQ_REMOVE(&journal->log, record, link);
        journal_transaction_free(journal, record);
    }
}

static int write_tail(struct journal *journal)
{
    journal->header.version_max = journal->config.clock->now;
    journal->counts.header_write_count++;
    int result = journal_header_write(&journal->config, &journal->header, journal->header_buffer);
    if (result == 0 && !journal->is_failed)
        result = journal_barrier_flush(&journal->barrier);
    if (result < 0)
        journal_fail(journal, result, "the header");
    return journal->is_failed ? -ERROR_JOURNAL_FAILED : 0;
}

// The space before `tail` is free, and the images there are gone.
static void pass_tail(struct journal *journal, uint64_t tail)
{
    if (tail == journal->ring.tail)
        return;
    journal_ring_move_tail(&journal->ring, tail);
    drop_records_before(journal, tail);
    journal_lock_table_pass_tail(journal);
    wait_queue_wake_all(journal->scheduler, &journal->tail_moved);
    wait_queue_wake_all(journal->scheduler, &journal->committer_wake); // retires wait for room
    wait_queue_wake_all(journal->scheduler, &journal->durable);        // or need none any more
    journal_admit(journal);
}

// Moves the tail as far as it goes. While the header is being written records may come at the
// head, and older ones may be let go: neither makes the new tail wrong.
static void move_tail(struct journal *journal)
{
    set_tail_to(&journal->header, journal, oldest_held(journal));
    uint64_t tail = journal->header.tail_position;
    if (tail == journal->ring.tail)
        return;
    if (SABOTAGE(journal_reuse_before_tail))
        pass_tail(journal, tail);
    if (write_tail(journal) == 0)
        pass_tail(journal, tail);
}

// --- rounds --------------------------------------------------------------------------------------

// Collects dirty blocks of records before the target, oldest records first. `held` becomes the
// first block there that cannot be written now.
static void collect(struct journal *journal, struct journal_write_back *write_back,
                    struct journal_block **held)
{
    struct journal_transaction *record;
    struct journal_block *block;
    TAILQ_FOREACH (record, &journal->log, link) {
        if (record->position >= journal->checkpoint_target)
            return;
        TAILQ_FOREACH (block, &record->dirty, dirty_link) {
            if (write_back->count == BLOCKS_PER_ROUND_MAX)
                return;
            if (journal_block_can_write_back(block))
                journal_write_back_add(write_back, block);
            else if (*held == NULL)
                *held = block;
        }
    }
}

// Nothing can be written: waits for what would change that.
static void wait_for_held(struct journal *journal, const struct journal_block *held)
{
    if (held == NULL || held->is_in_write_back) {
        wait_queue_wait(journal->scheduler, &journal->write_back_done);
        return;
    }
    bool is_in_running =
        held->running != NULL || (held->freed_by != NULL && held->freed_by == journal->running);
    if (is_in_running)
        journal_commit_request(journal);
    wait_queue_wait(journal->scheduler, &journal->durable);
}

static bool is_wanted(const struct journal *journal)
{
    return journal->ring.tail < journal->checkpoint_target;
}

// Whether the tail can move on, or needs nothing but that the record be durable.
static bool is_tail_free(struct journal *journal)
{
    const struct journal_transaction *record = oldest_held(journal);
    return record == NULL || record->position > journal->ring.tail;
}

static void checkpoint_round(struct journal *journal)
{
    struct journal_write_back *write_back = journal_write_back_new(journal);
    struct journal_block *held = NULL;
    collect(journal, write_back, &held);
    bool has_written = write_back->count > 0;
    if (journal_write_back_run(journal, write_back) < 0)
        return;
    if (is_tail_free(journal)) {
        move_tail(journal);
        return;
    }
    if (has_written)
        return;
    if (held == NULL && !oldest_held(journal)->is_durable)
        wait_queue_wait(journal->scheduler, &journal->durable);
    else
        wait_for_held(journal, held);
}

void journal_checkpointer_run(void *argument)
{
    struct journal *journal = argument;
    while (!journal_is_ending(journal)) {
        if (is_wanted(journal))
            checkpoint_round(journal);
        else
            wait_queue_wait(journal->scheduler, &journal->checkpointer_wake);
    }
    journal->background_count--;
    wait_queue_wake_all(journal->scheduler, &journal->quiet);
}
