// SPDX-License-Identifier: Apache-2.0
// Where a block stands: the only code that changes a block's memberships. A block counts as one
// uncommitted change of its lock for each of running, committing and freed (until durable).
#include "fs/base/check.h"
#include "fs/base/sabotage.h"
#include "journal/state.h"

void journal_block_init(struct journal_block *block, uint64_t address, struct lock_name lock,
                        uint8_t *bytes)
{
    *block = (struct journal_block){.address = address, .lock = lock, .bytes = bytes};
}

static bool has_state(const struct journal_block *block)
{
    return block->running != NULL || block->committing != NULL || block->dirty != NULL ||
           block->freed_by != NULL || block->is_in_write_back;
}

bool journal_block_is_busy(const struct journal_block *block)
{
    return block->handle != NULL || has_state(block);
}

static struct journal_lock *attach_lock(struct journal *journal, struct journal_block *block)
{
    if (block->lock_state == NULL) {
        block->lock_state = journal_lock_find_or_add(journal, block->lock);
        block->lock_state->block_count++;
    }
    CHECK(lock_name_equal(block->lock_state->name, block->lock));
    return block->lock_state;
}

static void detach_lock_if_idle(struct journal *journal, struct journal_block *block)
{
    struct journal_lock *lock = block->lock_state;
    if (has_state(block) || lock == NULL)
        return;
    block->lock_state = NULL;
    CHECK(lock->block_count > 0);
    lock->block_count--;
    journal_lock_release_if_idle(journal, lock);
}

static void count_committed(struct journal_block *block)
{
    CHECK(block->lock_state->uncommitted_count > 0);
    block->lock_state->uncommitted_count--;
}

// --- running, committing ---------------------------------------------------------------------

void journal_block_join_running(struct journal *journal, struct journal_block *block)
{
    struct journal_transaction *running = journal->running;
    CHECK(block->running == NULL && block->freed_by == NULL);
    attach_lock(journal, block)->uncommitted_count++;
    block->running = running;
    TAILQ_INSERT_TAIL(&running->blocks, block, running_link);
    running->block_count++;
}

void journal_block_leave_running(struct journal *journal, struct journal_block *block)
{
    struct journal_transaction *running = block->running;
    CHECK(running == journal->running);
    TAILQ_REMOVE(&running->blocks, block, running_link);
    CHECK(running->block_count > 0);
    running->block_count--;
    block->running = NULL;
    count_committed(block);
    detach_lock_if_idle(journal, block);
}

void journal_block_start_commit(struct journal_block *block)
{
    struct journal_transaction *transaction = block->running;
    CHECK(transaction != NULL && block->committing == NULL);
    TAILQ_REMOVE(&transaction->blocks, block, running_link);
    TAILQ_INSERT_TAIL(&transaction->committing, block, committing_link);
    block->committing = transaction;
    block->running = NULL;
}

// --- dirty, clean ----------------------------------------------------------------------------

static void unlink_dirty(struct journal *journal, struct journal_block *block)
{
    TAILQ_REMOVE(&block->dirty->dirty, block, dirty_link);
    TAILQ_REMOVE(&block->lock_state->dirty, block, lock_link);
    block->dirty = NULL;
    CHECK(journal->dirty_count > 0);
    journal->dirty_count--;
}

void journal_block_become_dirty(struct journal *journal, struct journal_block *block)
{
    struct journal_transaction *transaction = block->committing;
    CHECK(transaction != NULL);
    if (block->dirty != NULL)
        unlink_dirty(journal, block);
    TAILQ_REMOVE(&transaction->committing, block, committing_link);
    block->committing = NULL;
    block->dirty = transaction;
    TAILQ_INSERT_TAIL(&transaction->dirty, block, dirty_link);
    TAILQ_INSERT_TAIL(&block->lock_state->dirty, block, lock_link);
    journal->dirty_count++;
    count_committed(block);
}

void journal_block_become_clean(struct journal *journal, struct journal_block *block)
{
    CHECK(block->dirty != NULL);
    unlink_dirty(journal, block);
    detach_lock_if_idle(journal, block);
}

// --- freed -----------------------------------------------------------------------------------

// The newest image stays what it was, and keeps the tail from passing it, until the revoke is
// durable: if it never gets durable, replay brings the block back.
void journal_block_become_freed(struct journal *journal, struct journal_block *block)
{
    struct journal_transaction *running = journal->running;
    CHECK(block->freed_by == NULL);
    attach_lock(journal, block)->uncommitted_count++;
    block->freed_by = running;
    TAILQ_INSERT_TAIL(&running->freed, block, freed_link);
    if (block->running != NULL)
        journal_block_leave_running(journal, block);
    if (SABOTAGE(journal_free_unpins) && block->dirty != NULL && !block->is_in_write_back)
        journal_block_become_clean(journal, block);
}

static void forget_freed(struct journal *journal, struct journal_block *block)
{
    TAILQ_REMOVE(&block->freed_by->freed, block, freed_link);
    block->freed_by = NULL;
    detach_lock_if_idle(journal, block);
}

void journal_block_free_durable(struct journal *journal, struct journal_block *block)
{
    CHECK(block->freed_by != NULL && block->freed_by->is_durable);
    CHECK(block->running == NULL && block->committing == NULL);
    count_committed(block);
    if (block->dirty != NULL)
        journal_block_become_clean(journal, block);
    if (!block->is_in_write_back || SABOTAGE(journal_reuse_in_write_back))
        forget_freed(journal, block);
    else
        journal->freed_in_write_back_count++;
}

// --- write-back ------------------------------------------------------------------------------

bool journal_block_can_write_back(const struct journal_block *block)
{
    if (block->dirty == NULL || block->is_in_write_back || block->freed_by != NULL)
        return false;
    if (SABOTAGE(journal_write_back_uncommitted))
        return true;
    return block->running == NULL && block->committing == NULL;
}

void journal_block_start_write_back(struct journal_block *block)
{
    CHECK(!block->is_in_write_back);
    block->is_in_write_back = true;
}

void journal_block_end_write_back(struct journal *journal, struct journal_block *block)
{
    CHECK(block->is_in_write_back);
    block->is_in_write_back = false;
    struct journal_transaction *freed_by = block->freed_by;
    if (freed_by != NULL && freed_by->is_durable) {
        journal->freed_in_write_back_count--;
        forget_freed(journal, block);
        journal_transaction_try_finish(journal, freed_by);
        return;
    }
    detach_lock_if_idle(journal, block);
}
