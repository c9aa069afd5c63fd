// SPDX-License-Identifier: Apache-2.0
// Handles and the running transaction: changes with their undo, revokes, the end. What a handle
// does becomes part of the transaction when the handle ends; until then abort takes all of it back.
#include <stdlib.h>
#include <string.h>

#include "fs/base/check.h"
#include "fs/base/error.h"
#include "fs/base/memory.h"
#include "fs/base/sabotage.h"
#include "journal/state.h"

// --- transactions ----------------------------------------------------------------------------

static struct journal_transaction *take_pooled(struct journal *journal)
{
    struct journal_transaction *transaction = TAILQ_FIRST(&journal->free_transactions);
    if (transaction != NULL) {
        TAILQ_REMOVE(&journal->free_transactions, transaction, link);
        return transaction;
    }
    transaction = calloc(1, sizeof(*transaction));
    CHECK(transaction != NULL);
    return transaction;
}

struct journal_transaction *journal_transaction_new(struct journal *journal, uint64_t ticket)
{
    struct journal_transaction *transaction = take_pooled(journal);
    uint64_t *revokes = transaction->revokes;
    uint32_t revoke_capacity = transaction->revoke_capacity;
    *transaction = (struct journal_transaction){
        .ticket = ticket, .revokes = revokes, .revoke_capacity = revoke_capacity};
    TAILQ_INIT(&transaction->blocks);
    TAILQ_INIT(&transaction->committing);
    TAILQ_INIT(&transaction->dirty);
    TAILQ_INIT(&transaction->freed);
    TAILQ_INIT(&transaction->on_durable);
    return transaction;
}

void journal_transaction_free(struct journal *journal, struct journal_transaction *transaction)
{
    CHECK(TAILQ_EMPTY(&transaction->blocks) && TAILQ_EMPTY(&transaction->committing));
    CHECK(TAILQ_EMPTY(&transaction->dirty) && TAILQ_EMPTY(&transaction->freed));
    CHECK(TAILQ_EMPTY(&transaction->on_durable));
    TAILQ_INSERT_HEAD(&journal->free_transactions, transaction, link);
}

bool journal_transaction_has_content(const struct journal_transaction *transaction)
{
    return transaction->block_count > 0 || transaction->revoke_count > 0 ||
           !TAILQ_EMPTY(&transaction->on_durable);
}

static void run_on_durable(struct journal_on_durable_list *list, int result)
{
    struct journal_on_durable *on_durable;
    while ((on_durable = TAILQ_FIRST(list)) != NULL) {
        TAILQ_REMOVE(list, on_durable, link);
        on_durable->run(on_durable, result);
    }
}

void journal_transaction_try_finish(struct journal *journal,
                                    struct journal_transaction *transaction)
{
    if (transaction->is_durable && TAILQ_EMPTY(&transaction->freed) && !journal->is_failed)
        run_on_durable(&transaction->on_durable, 0);
}

// --- begin -----------------------------------------------------------------------------------

uint32_t journal_credits_max(const struct journal *journal)
{
    return journal->credits_max;
}

static struct journal_handle *handle_new(struct journal *journal, uint32_t credits)
{
    struct journal_handle *handle = TAILQ_FIRST(&journal->free_handles);
    if (handle != NULL)
        TAILQ_REMOVE(&journal->free_handles, handle, link);
    else
        handle = malloc(sizeof(*handle));
    CHECK(handle != NULL);
    *handle = (struct journal_handle){.journal = journal, .credits = credits};
    TAILQ_INIT(&handle->changes);
    TAILQ_INIT(&handle->frees);
    TAILQ_INIT(&handle->on_durable);
    return handle;
}

static void handle_free(struct journal_handle *handle)
{
    TAILQ_INSERT_HEAD(&handle->journal->free_handles, handle, link);
}

int journal_transaction_begin(struct journal *journal, uint32_t credits,
                              struct journal_handle **handle_out)
{
    CHECK(credits > 0 && credits <= journal->credits_max);
    CHECK(!journal->is_closing);
    *handle_out = NULL;
    if (journal->is_failed)
        return -ERROR_JOURNAL_FAILED;
    if ((journal->is_resting || journal->is_turning) && journal_wake(journal) != 0)
        return -ERROR_JOURNAL_FAILED;
    if (credits > journal->counts.handle_credits_most)
        journal->counts.handle_credits_most = credits;
    struct journal_handle *handle = handle_new(journal, credits);
    if (!journal_admit_handle(journal, handle)) {
        handle_free(handle);
        return -ERROR_JOURNAL_FAILED;
    }
    *handle_out = handle;
    return 0;
}

// --- what a handle does ------------------------------------------------------------------------

static void spend_credit(struct journal_handle *handle)
{
    CHECK(handle->credits > 0);
    handle->credits--;
    handle->transaction->credits_reserved--;
}

// The same block changed and then revoked costs one credit.
static void take_block(struct journal_handle *handle, struct journal_block *block)
{
    CHECK(block->handle == NULL || block->handle == handle);
    if (block->handle == NULL)
        spend_credit(handle);
    block->handle = handle;
}

static struct journal_change *change_new(struct journal *journal)
{
    struct journal_change *change = TAILQ_FIRST(&journal->free_changes);
    if (change != NULL) {
        TAILQ_REMOVE(&journal->free_changes, change, link);
        return change;
    }
    change = malloc(sizeof(*change));
    CHECK(change != NULL);
    return change;
}

void journal_transaction_change(struct journal_handle *handle, struct journal_block *block)
{
    struct journal *journal = handle->journal;
    if (block->handle == handle) {
        CHECK(!block->is_freed_by_handle);
        return;
    }
    CHECK(block->freed_by == NULL);
    take_block(handle, block);
    struct journal_change *change = change_new(journal);
    *change = (struct journal_change){.block = block,
                                      .before = journal_pool_get_block(&journal->pool),
                                      .is_first_in_transaction = block->running == NULL};
    memcpy(change->before, block->bytes, BLOCK_BYTES);
    TAILQ_INSERT_TAIL(&handle->changes, change, link);
    if (change->is_first_in_transaction)
        journal_block_join_running(journal, block);
}

static struct journal_free *free_new(struct journal *journal)
{
    struct journal_free *freed = TAILQ_FIRST(&journal->free_frees);
    if (freed != NULL) {
        TAILQ_REMOVE(&journal->free_frees, freed, link);
        return freed;
    }
    freed = malloc(sizeof(*freed));
    CHECK(freed != NULL);
    return freed;
}

void journal_transaction_revoke(struct journal_handle *handle, uint64_t address,
                                struct journal_block *block)
{
    struct journal *journal = handle->journal;
    if (block == NULL) {
        spend_credit(handle);
    } else {
        CHECK(block->address == address && block->freed_by == NULL);
        CHECK(!block->is_freed_by_handle);
        take_block(handle, block);
        block->is_freed_by_handle = true;
    }
    struct journal_free *freed = free_new(journal);
    *freed = (struct journal_free){.address = address, .block = block};
    TAILQ_INSERT_TAIL(&handle->frees, freed, link);
}

void journal_transaction_on_durable(struct journal_handle *handle,
                                    struct journal_on_durable *on_durable)
{
    TAILQ_INSERT_TAIL(&handle->on_durable, on_durable, link);
}

void journal_transaction_needs_data_flush(struct journal_handle *handle)
{
    handle->needs_data_flush = true;
}

uint64_t journal_transaction_ticket(const struct journal_handle *handle)
{
    return handle->transaction->ticket;
}

// --- end, abort --------------------------------------------------------------------------------

static void drop_changes(struct journal_handle *handle)
{
    struct journal *journal = handle->journal;
    struct journal_change *change;
    while ((change = TAILQ_FIRST(&handle->changes)) != NULL) {
        TAILQ_REMOVE(&handle->changes, change, link);
        change->block->handle = NULL;
        journal_pool_put_block(&journal->pool, change->before);
        TAILQ_INSERT_HEAD(&journal->free_changes, change, link);
    }
}

static void restore_changes(struct journal_handle *handle)
{
    struct journal_change *change;
    TAILQ_FOREACH (change, &handle->changes, link) {
        memcpy(change->block->bytes, change->before, BLOCK_BYTES);
        if (change->is_first_in_transaction)
            journal_block_leave_running(handle->journal, change->block);
    }
}

static void add_revoke(struct journal_transaction *transaction, uint64_t address)
{
    if (transaction->revoke_count == transaction->revoke_capacity) {
        uint32_t capacity =
            transaction->revoke_capacity == 0 ? 64 : 2 * transaction->revoke_capacity;
        transaction->revokes = memory_resize(transaction->revokes, capacity, sizeof(uint64_t));
        transaction->revoke_capacity = capacity;
    }
    transaction->revokes[transaction->revoke_count++] = address;
}

// Takes the frees off the handle; `is_for_good` if it ends, else it is aborted.
static void settle_frees(struct journal_handle *handle, bool is_for_good)
{
    struct journal *journal = handle->journal;
    struct journal_free *freed;
    while ((freed = TAILQ_FIRST(&handle->frees)) != NULL) {
        TAILQ_REMOVE(&handle->frees, freed, link);
        if (freed->block != NULL) {
            freed->block->handle = NULL;
            freed->block->is_freed_by_handle = false;
        }
        if (is_for_good) {
            add_revoke(handle->transaction, freed->address);
            if (freed->block != NULL)
                journal_block_become_freed(journal, freed->block);
        }
        TAILQ_INSERT_HEAD(&journal->free_frees, freed, link);
    }
}

static void arm_commit_timer(struct journal *journal)
{
    if (journal->is_commit_timer_armed || journal->is_failed)
        return;
    if (!journal_transaction_has_content(journal->running))
        return;
    journal->is_commit_timer_armed = true;
    uint64_t now = environment_boot_ns(journal->config.environment);
    environment_timer_arm(journal->config.environment, &journal->commit_timer,
                          now + journal->config.commit_interval_ns);
}

static void close_handle(struct journal_handle *handle)
{
    struct journal *journal = handle->journal;
    struct journal_transaction *transaction = handle->transaction;
    CHECK(transaction == journal->running && transaction->open_handles > 0);
    transaction->credits_reserved -= handle->credits;
    transaction->open_handles--;
    handle_free(handle);
    if (transaction->open_handles == 0) {
        wait_queue_wake_all(journal->scheduler, &journal->committer_wake);
        wait_queue_wake_all(journal->scheduler, &journal->quiet);
    }
    if (!journal->is_failed)
        journal_admit(journal); // the credits that were not used are room
}

void journal_transaction_end(struct journal_handle *handle)
{
    struct journal *journal = handle->journal;
    struct journal_transaction *transaction = handle->transaction;
    drop_changes(handle);
    settle_frees(handle, true);
    if (journal->is_failed)
        run_on_durable(&handle->on_durable, -ERROR_JOURNAL_FAILED);
    if (SABOTAGE(journal_reuse_before_commit))
        run_on_durable(&handle->on_durable, 0);
    TAILQ_CONCAT(&transaction->on_durable, &handle->on_durable, link);
    if (handle->needs_data_flush)
        transaction->data_flush = journal_barrier_ticket(&journal->barrier);
    arm_commit_timer(journal);
    if (transaction->block_count + transaction->revoke_count >= journal->transaction_blocks_max / 2)
        journal_commit_request(journal);
    close_handle(handle);
}

void journal_transaction_abort(struct journal_handle *handle)
{
    settle_frees(handle, false);
    restore_changes(handle);
    drop_changes(handle);
    close_handle(handle);
}

// --- failure -----------------------------------------------------------------------------------

void journal_transaction_fail_all(struct journal *journal)
{
    struct journal_transaction *transaction;
    TAILQ_FOREACH (transaction, &journal->log, link)
        run_on_durable(&transaction->on_durable, -ERROR_JOURNAL_FAILED);
    run_on_durable(&journal->running->on_durable, -ERROR_JOURNAL_FAILED);
}
