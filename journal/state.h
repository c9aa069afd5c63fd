// SPDX-License-Identifier: Apache-2.0
// The open journal as its own files share it. Nothing outside of journal/ includes this.
//
// A transaction goes through these states; a block can stand in three transactions at once, with
// older content in the later states (dirty in 5, committing in 6, running in 7):
//
//   running ──► draining ──► committing ──► durable ──────────────► gone
//   handles     no new       images are     its blocks are dirty    no dirty block left,
//   come, go    handles      copied, the    until written in place  the tail has passed it
//                            record written
//
// One transaction is running (or draining), one at most is committing. Records are written one
// after the other, the next only when the last is durable.
#pragma once

#include <bsd/sys/tree.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "journal/header.h"
#include "journal/io.h"
#include "journal/journal.h"
#include "journal/record.h"
#include "journal/ring.h"

TAILQ_HEAD(journal_block_list, journal_block);
TAILQ_HEAD(journal_transaction_list, journal_transaction);
TAILQ_HEAD(journal_on_durable_list, journal_on_durable);
TAILQ_HEAD(journal_lock_list, journal_lock);
TAILQ_HEAD(journal_handle_list, journal_handle);

struct journal_transaction {
    TAILQ_ENTRY(journal_transaction) link; // in journal->log, from when it commits
    uint64_t ticket;
    uint32_t open_handles;
    uint32_t credits_reserved; // of open handles, not spent yet
    bool is_wanted;            // somebody waits for its commit
    uint64_t data_flush;       // barrier ticket: data that it shows is durable after it; 0: none
    bool is_durable;

    struct journal_block_list blocks; // changed in it
    uint32_t block_count;
    struct journal_block_list committing; // those of them whose images are copied
    struct journal_block_list dirty;      // durable, not in place
    struct journal_block_list freed;      // revoked in it; gone when durable and out of write-back
    uint64_t *revokes;                    // their addresses, also those that were not in memory
    uint32_t revoke_count, revoke_capacity;
    struct journal_on_durable_list on_durable;

    // Its record: sequence 0 if it has none.
    uint64_t position;
    uint32_t block_length;
    uint64_t sequence;
    uint32_t chain_before;
};

// What a handle did to one block, so that abort can take it back.
struct journal_change {
    TAILQ_ENTRY(journal_change) link;
    struct journal_block *block;
    uint8_t *before; // the block's bytes before the handle's first change
    bool is_first_in_transaction;
};
TAILQ_HEAD(journal_change_list, journal_change);

struct journal_free {
    TAILQ_ENTRY(journal_free) link;
    uint64_t address;
    struct journal_block *block; // may be NULL
};
TAILQ_HEAD(journal_free_list, journal_free);

struct journal_handle {
    TAILQ_ENTRY(journal_handle) link; // waiting, open or pooled
    struct journal *journal;
    struct journal_transaction *transaction; // NULL while it waits for room
    struct coroutine *coroutine;             // that waits
    uint32_t credits;                        // left
    bool needs_data_flush;
    struct journal_change_list changes;
    struct journal_free_list frees;
    struct journal_on_durable_list on_durable;
};

// A lock that the journal has something of.
struct journal_lock {
    RB_ENTRY(journal_lock) by_name;
    TAILQ_ENTRY(journal_lock) by_age;  // in journal->locks_with_images, by last_image_position
    TAILQ_ENTRY(journal_lock) retires; // in journal->retires_wanted or retires_in_flight
    struct lock_name name;
    uint32_t block_count;       // blocks whose lock_state this is
    uint32_t uncommitted_count; // changes and revokes of them that are not durable
    struct journal_block_list dirty;
    bool has_images; // an image lies between tail and head, and no retire since (rule 6)
    bool is_retire_wanted, is_retire_in_flight;
    uint64_t last_image_position; // of the newest record with an image under the lock
};
RB_HEAD(journal_lock_table, journal_lock);

// Entries of a write-back: what was found dirty, and in which transaction.
struct journal_write_back_entry {
    struct journal_block *block;
    struct journal_transaction *dirty; // NULL once the entry was skipped
};
struct journal_write_back {
    TAILQ_ENTRY(journal_write_back) link; // pooled
    struct journal_write_back_entry *entries;
    size_t count, capacity;
};
TAILQ_HEAD(journal_write_back_list, journal_write_back);

struct journal {
    struct journal_config config;
    struct scheduler *scheduler;
    struct journal_header header; // as last written
    uint8_t *header_buffer;       // of the checkpointer
    struct journal_identity identity;
    struct journal_ring ring;
    struct journal_barrier barrier;
    uint32_t credits_max;
    uint32_t transaction_blocks_max;

    // The log. `next_*` belong to the next record.
    struct journal_transaction_list log; // records between tail and head, oldest first
    uint64_t next_sequence;
    uint32_t next_chain;
    struct journal_transaction *running;
    struct journal_transaction *committing; // NULL if none
    bool is_draining; // the running one takes no more handles until its images are copied
    uint64_t ticket_durable;

    struct journal_lock_table locks;
    struct journal_lock_list locks_with_images;
    uint32_t lock_with_images_count;
    struct journal_lock_list retires_wanted;
    struct journal_lock_list retires_in_flight;
    uint32_t retire_wanted_count;

    struct journal_handle_list waiting; // for room, in order of arrival
    uint32_t waiting_count;
    uint64_t checkpoint_target; // the tail is wanted here
    uint32_t dirty_count;
    uint32_t freed_in_write_back_count; // revoked for good, but an old write is still in flight

    struct wait_queue committer_wake;
    struct wait_queue checkpointer_wake;
    struct wait_queue durable;         // ticket_durable or a lock's retire moved on
    struct wait_queue write_back_done; // blocks left write-back
    struct wait_queue tail_moved;
    struct wait_queue quiet;   // one of what journal_close waits for is gone
    uint32_t background_count; // coroutines of the journal that are alive
    uint32_t call_count;       // calls of others that wait
    struct environment_timer commit_timer, checkpoint_timer;
    bool is_commit_timer_armed, is_checkpoint_timer_armed;

    bool is_failed;
    bool is_closing;
    bool is_resting; // marked clean, with nothing in the log: the next handle wakes it
    bool is_turning; // on the way into rest or out of it

    struct journal_pool pool;
    struct journal_handle_list free_handles;
    struct journal_change_list free_changes;
    struct journal_free_list free_frees;
    struct journal_transaction_list free_transactions;
    struct journal_lock_list free_locks;
    struct journal_write_back_list free_write_backs;
    struct journal_status counts; // the counters of it
};

// --- block.c: where a block stands -----------------------------------------------------------

void journal_block_join_running(struct journal *journal, struct journal_block *block);
// An abort takes the only change back.
void journal_block_leave_running(struct journal *journal, struct journal_block *block);
// Its image is copied for the record.
void journal_block_start_commit(struct journal_block *block);
// Its record is durable.
void journal_block_become_dirty(struct journal *journal, struct journal_block *block);
// In place, or freed for good.
void journal_block_become_clean(struct journal *journal, struct journal_block *block);
// The end of the handle that revokes it.
void journal_block_become_freed(struct journal *journal, struct journal_block *block);
// The revoke is durable; the block is forgotten once it is out of write-back, too.
void journal_block_free_durable(struct journal *journal, struct journal_block *block);
void journal_block_start_write_back(struct journal_block *block);
void journal_block_end_write_back(struct journal *journal, struct journal_block *block);
// Whether its live bytes are committed content that may go to its place.
bool journal_block_can_write_back(const struct journal_block *block);

// --- lock_table.c ----------------------------------------------------------------------------

RB_PROTOTYPE(journal_lock_table, journal_lock, by_name, journal_lock_compare)
int journal_lock_compare(const struct journal_lock *a, const struct journal_lock *b);
// NULL if the journal has nothing of it.
struct journal_lock *journal_lock_find(struct journal *journal, struct lock_name name);
struct journal_lock *journal_lock_find_or_add(struct journal *journal, struct lock_name name);
// Forgets a lock of which nothing is left.
void journal_lock_release_if_idle(struct journal *journal, struct journal_lock *lock);
// A record at `position` holds an image under it.
void journal_lock_note_image(struct journal *journal, struct journal_lock *lock, uint64_t position);
// No image under it is live any more.
void journal_lock_clear_images(struct journal *journal, struct journal_lock *lock);
// The tail has moved: images before it are gone.
void journal_lock_table_pass_tail(struct journal *journal);

// --- transaction.c ---------------------------------------------------------------------------

struct journal_transaction *journal_transaction_new(struct journal *journal, uint64_t ticket);
void journal_transaction_free(struct journal *journal, struct journal_transaction *transaction);
bool journal_transaction_has_content(const struct journal_transaction *transaction);
// Runs the on_durable list if all is fulfilled.
void journal_transaction_try_finish(struct journal *journal,
                                    struct journal_transaction *transaction);
// Gives the on_durable lists back with an error.
void journal_transaction_fail_all(struct journal *journal);
// --- admission.c -----------------------------------------------------------------------------

// The most blocks that the running transaction's record may take, were `credits` added.
uint64_t journal_running_blocks(const struct journal *journal, uint32_t credits);
// Lets waiting handles in, as far as there is room; asks for what room needs.
void journal_admit(struct journal *journal);
// Waits until the handle belongs to the running transaction; false if the journal failed.
bool journal_admit_handle(struct journal *journal, struct journal_handle *handle);
// Wakes all that wait for room; they fail.
void journal_admit_nobody(struct journal *journal);

// --- commit.c, record_write.c ----------------------------------------------------------------

void journal_committer_run(void *journal);
// The running transaction shall commit soon.
void journal_commit_request(struct journal *journal);
// Waits until all that ended in transactions up to `ticket` is durable (not: flushed, if there is
// nothing to commit).
int journal_commit_reach(struct journal *journal, uint64_t ticket);
void journal_commit_timer_fire(struct environment_timer *timer);

// Writes the transaction's record, with as many wanted retires as fit, and makes it durable; calls
// `sealed` when all images are copied. 0, or the error of the device.
int journal_record_write(struct journal *journal, struct journal_transaction *transaction,
                         void (*sealed)(struct journal *journal));

// --- write_back.c, checkpoint.c --------------------------------------------------------------

struct journal_write_back *journal_write_back_new(struct journal *journal);
void journal_write_back_add(struct journal_write_back *write_back, struct journal_block *block);
// Writes what was added in place, in order of address, flushes, and gives the write-back back.
int journal_write_back_run(struct journal *journal, struct journal_write_back *write_back);

void journal_checkpointer_run(void *journal);
// The tail shall get to `position`.
void journal_checkpoint_request(struct journal *journal, uint64_t position);
// Waits until it did.
int journal_checkpoint_reach(struct journal *journal, uint64_t position);
void journal_checkpoint_timer_arm(struct journal *journal);
void journal_checkpoint_timer_fire(struct environment_timer *timer);

// --- rest.c ------------------------------------------------------------------------------------

// Ends a rest before a handle opens. 0 or -ERROR_JOURNAL_FAILED.
int journal_wake(struct journal *journal);

// --- header_store.c --------------------------------------------------------------------------

// The newest valid copy: 0, -ERROR_JOURNAL_HEADER, -errno.
int journal_header_read(const struct journal_config *config, struct journal_header *header);
// Writes the copy that is next in turn; not flushed. `header->generation` grows. `buffer` has 4096
// bytes, aligned.
int journal_header_write(const struct journal_config *config, struct journal_header *header,
                         uint8_t *buffer);
// Writes both copies, one after the other, each made durable.
int journal_header_write_both(const struct journal_config *config, struct journal_header *header);
struct journal_ring journal_ring_of(const struct journal_config *config,
                                    const struct journal_header *header);
struct journal_identity journal_identity_of(const struct journal_config *config,
                                            const struct journal_header *header);

// --- life.c ----------------------------------------------------------------------------------

// The device failed: the journal is at its end, the node is told.
void journal_fail(struct journal *journal, int error, const char *what);
bool journal_is_ending(const struct journal *journal);
// Around what others wait in: journal_close lets them leave first.
void journal_call_enter(struct journal *journal);
void journal_call_leave(struct journal *journal);
