// SPDX-License-Identifier: Apache-2.0
// From mkfs to the clean mark: format, open, fail or stop, close.
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/check.h"
#include "fs/base/error.h"
#include "journal/state.h"

#define SECOND_NS UINT64_C(1000000000)

enum { TRANSACTION_BLOCKS_MAX = 4096 };

// --- format --------------------------------------------------------------------------------------

static void draw_salt(const struct journal_config *config, uint8_t salt[JOURNAL_SALT_BYTES])
{
    for (size_t i = 0; i < JOURNAL_SALT_BYTES; i += sizeof(uint64_t)) {
        uint64_t bits = environment_random_u64(config->environment);
        memcpy(salt + i, &bits, sizeof(bits));
    }
}

int journal_format(const struct journal_config *config)
{
    CHECK(config->block_count >= JOURNAL_BLOCKS_MIN);
    struct journal_header header = {
        .state = JOURNAL_STATE_CLEAN,
        .block_count = config->block_count,
        .tail_sequence = 1,
    };
    draw_salt(config, header.salt);
    return journal_header_write_both(config, &header);
}

// --- open ----------------------------------------------------------------------------------------

// A new life of the log: position 0, record 1, and a salt that no record in the ring was made with.
static void start_life(const struct journal_config *config, struct journal_header *header)
{
    header->state = JOURNAL_STATE_IN_USE;
    header->tail_position = 0;
    header->tail_sequence = 1;
    header->tail_chain = 0;
    if (config->clock->now > header->version_max)
        header->version_max = config->clock->now;
    draw_salt(config, header->salt);
}

static uint32_t lesser(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

static void init_sizes(struct journal *journal)
{
    uint32_t blocks = journal->ring.block_count;
    journal->credits_max = lesser(blocks / 8, TRANSACTION_BLOCKS_MAX / 2);
    journal->transaction_blocks_max = lesser(blocks / 4, TRANSACTION_BLOCKS_MAX);
}

static void init_lists(struct journal *journal)
{
    TAILQ_INIT(&journal->log);
    RB_INIT(&journal->locks);
    TAILQ_INIT(&journal->locks_with_images);
    TAILQ_INIT(&journal->retires_wanted);
    TAILQ_INIT(&journal->retires_in_flight);
    TAILQ_INIT(&journal->waiting);
    TAILQ_INIT(&journal->free_handles);
    TAILQ_INIT(&journal->free_changes);
    TAILQ_INIT(&journal->free_frees);
    TAILQ_INIT(&journal->free_transactions);
    TAILQ_INIT(&journal->free_locks);
    TAILQ_INIT(&journal->free_write_backs);
    journal_pool_init(&journal->pool);
}

static void init_waiting(struct journal *journal)
{
    wait_queue_init(&journal->committer_wake);
    wait_queue_init(&journal->checkpointer_wake);
    wait_queue_init(&journal->durable);
    wait_queue_init(&journal->write_back_done);
    wait_queue_init(&journal->tail_moved);
    wait_queue_init(&journal->quiet);
    journal_barrier_init(&journal->barrier, journal->config.device, journal->scheduler);
    journal->commit_timer.fire = journal_commit_timer_fire;
    journal->checkpoint_timer.fire = journal_checkpoint_timer_fire;
}

static struct journal *journal_new(const struct journal_config *config,
                                   const struct journal_header *header)
{
    struct journal *journal = calloc(1, sizeof(*journal));
    CHECK(journal != NULL);
    journal->config = *config;
    if (journal->config.commit_interval_ns == 0)
        journal->config.commit_interval_ns = 5 * SECOND_NS;
    if (journal->config.checkpoint_interval_ns == 0)
        journal->config.checkpoint_interval_ns = 10 * SECOND_NS;
    journal->scheduler = config->environment->scheduler;
    journal->header = *header;
    journal->header_buffer = block_buffer_new(BLOCK_BYTES);
    journal->identity = journal_identity_of(config, header);
    journal->ring = journal_ring_of(config, header);
    journal->next_sequence = header->tail_sequence;
    journal->next_chain = header->tail_chain;
    init_sizes(journal);
    init_lists(journal);
    init_waiting(journal);
    journal->running = journal_transaction_new(journal, 1);
    return journal;
}

int journal_open(const struct journal_config *config, struct journal **journal_out)
{
    CHECK(config->block_count >= JOURNAL_BLOCKS_MIN);
    *journal_out = NULL;
    struct journal_header header;
    int result = journal_header_read(config, &header);
    if (result < 0)
        return result;
    if (header.state != JOURNAL_STATE_CLEAN)
        return -EBUSY;
    lamport_observe(config->clock, header.version_max);
    start_life(config, &header);
    result = journal_header_write_both(config, &header);
    if (result < 0)
        return result;
    struct journal *journal = journal_new(config, &header);
    journal->background_count = 2;
    coroutine_start(journal->scheduler, "journal committer", journal_committer_run, journal);
    coroutine_start(journal->scheduler, "journal checkpointer", journal_checkpointer_run, journal);
    *journal_out = journal;
    return 0;
}

// --- failure -------------------------------------------------------------------------------------

static void wake_everybody(struct journal *journal)
{
    wait_queue_wake_all(journal->scheduler, &journal->committer_wake);
    wait_queue_wake_all(journal->scheduler, &journal->checkpointer_wake);
    wait_queue_wake_all(journal->scheduler, &journal->durable);
    wait_queue_wake_all(journal->scheduler, &journal->write_back_done);
    wait_queue_wake_all(journal->scheduler, &journal->tail_moved);
    wait_queue_wake_all(journal->scheduler, &journal->quiet);
}

static void disarm_timers(struct journal *journal)
{
    environment_timer_disarm(journal->config.environment, &journal->commit_timer);
    environment_timer_disarm(journal->config.environment, &journal->checkpoint_timer);
    journal->is_commit_timer_armed = false;
    journal->is_checkpoint_timer_armed = false;
}

static void end_for_good(struct journal *journal)
{
    journal->is_failed = true;
    disarm_timers(journal);
    journal_admit_nobody(journal);
    journal_transaction_fail_all(journal);
    wake_everybody(journal);
}

void journal_fail(struct journal *journal, int error, const char *what)
{
    if (journal->is_failed)
        return;
    log_error(journal->config.log, ERROR_JOURNAL_FAILED, "journal %u: writing %s failed: %s",
              journal->config.slot, what, error_text(error));
    end_for_good(journal);
    if (journal->config.callbacks->failed != NULL)
        journal->config.callbacks->failed(journal->config.context, error);
}

void journal_stop(struct journal *journal, int error)
{
    if (journal->is_failed)
        return;
    log_notice(journal->config.log, "journal %u: stopped: %s", journal->config.slot,
               error_text(error));
    end_for_good(journal);
}

// --- close ---------------------------------------------------------------------------------------

void journal_call_enter(struct journal *journal)
{
    journal->call_count++;
}

void journal_call_leave(struct journal *journal)
{
    CHECK(journal->call_count > 0);
    journal->call_count--;
    wait_queue_wake_all(journal->scheduler, &journal->quiet);
}

static void wait_until_quiet(struct journal *journal)
{
    while (journal->background_count > 0 || journal->call_count > 0 ||
           journal->running->open_handles > 0)
        wait_queue_wait(journal->scheduler, &journal->quiet);
}

static int make_clean(struct journal *journal)
{
    int result = journal_checkpoint(journal);
    journal->is_closing = true;
    wake_everybody(journal);
    wait_until_quiet(journal);
    if (result < 0 || journal->is_failed)
        return -ERROR_JOURNAL_FAILED;
    CHECK(journal_ring_used(&journal->ring) == 0 && journal->dirty_count == 0);
    CHECK(!journal_transaction_has_content(journal->running));
    if (journal->is_resting)
        return 0; // it is marked so already
    journal->header.state = JOURNAL_STATE_CLEAN;
    journal->header.version_max = journal->config.clock->now;
    return journal_header_write_both(&journal->config, &journal->header);
}

// Forgets blocks of a failed journal: their owner may free them now.
static void forget_blocks(struct journal_transaction *transaction)
{
    struct journal_block *block;
    while ((block = TAILQ_FIRST(&transaction->blocks)) != NULL) {
        TAILQ_REMOVE(&transaction->blocks, block, running_link);
        block->running = NULL;
        block->lock_state = NULL;
    }
    while ((block = TAILQ_FIRST(&transaction->committing)) != NULL) {
        TAILQ_REMOVE(&transaction->committing, block, committing_link);
        block->committing = NULL;
        block->lock_state = NULL;
    }
    while ((block = TAILQ_FIRST(&transaction->dirty)) != NULL) {
        TAILQ_REMOVE(&transaction->dirty, block, dirty_link);
        block->dirty = NULL;
        block->lock_state = NULL;
    }
    while ((block = TAILQ_FIRST(&transaction->freed)) != NULL) {
        TAILQ_REMOVE(&transaction->freed, block, freed_link);
        block->freed_by = NULL;
        block->lock_state = NULL;
    }
}

static void free_transactions(struct journal *journal)
{
    struct journal_transaction *transaction;
    TAILQ_INSERT_TAIL(&journal->log, journal->running, link);
    while ((transaction = TAILQ_FIRST(&journal->log)) != NULL) {
        TAILQ_REMOVE(&journal->log, transaction, link);
        forget_blocks(transaction);
        journal_transaction_free(journal, transaction);
    }
    while ((transaction = TAILQ_FIRST(&journal->free_transactions)) != NULL) {
        TAILQ_REMOVE(&journal->free_transactions, transaction, link);
        free(transaction->revokes);
        free(transaction);
    }
}

static void free_locks(struct journal *journal)
{
    struct journal_lock *lock;
    while ((lock = RB_ROOT(&journal->locks)) != NULL) {
        RB_REMOVE(journal_lock_table, &journal->locks, lock);
        free(lock);
    }
    while ((lock = TAILQ_FIRST(&journal->free_locks)) != NULL) {
        TAILQ_REMOVE(&journal->free_locks, lock, by_age);
        free(lock);
    }
}

static void free_pools(struct journal *journal)
{
    struct journal_handle *handle;
    while ((handle = TAILQ_FIRST(&journal->free_handles)) != NULL) {
        TAILQ_REMOVE(&journal->free_handles, handle, link);
        free(handle);
    }
    struct journal_change *change;
    while ((change = TAILQ_FIRST(&journal->free_changes)) != NULL) {
        TAILQ_REMOVE(&journal->free_changes, change, link);
        free(change);
    }
    struct journal_free *freed;
    while ((freed = TAILQ_FIRST(&journal->free_frees)) != NULL) {
        TAILQ_REMOVE(&journal->free_frees, freed, link);
        free(freed);
    }
    struct journal_write_back *write_back;
    while ((write_back = TAILQ_FIRST(&journal->free_write_backs)) != NULL) {
        TAILQ_REMOVE(&journal->free_write_backs, write_back, link);
        free(write_back->entries);
        free(write_back);
    }
    journal_pool_deinit(&journal->pool);
}

int journal_close(struct journal *journal)
{
    int result = -ERROR_JOURNAL_FAILED;
    if (!journal->is_failed)
        result = make_clean(journal);
    journal->is_closing = true;
    wait_until_quiet(journal);
    disarm_timers(journal);
    free_transactions(journal);
    free_locks(journal);
    free_pools(journal);
    free(journal->header_buffer);
    free(journal);
    return result;
}
