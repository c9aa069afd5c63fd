// SPDX-License-Identifier: Apache-2.0
// Who may open a handle, and when: in order of arrival, as soon as the running transaction and the
// log have room for all that it may change. Whoever is let in cannot fail for lack of room.
#include "fs/base/check.h"
#include "fs/base/error.h"
#include "journal/state.h"

// A credit may become an image or a revoke: counted as both, which costs a header block at most.
uint64_t journal_running_blocks(const struct journal *journal, uint32_t credits)
{
    const struct journal_transaction *running = journal->running;
    uint64_t reserved = (uint64_t)running->credits_reserved + credits;
    return journal_record_blocks(running->block_count + reserved, 0,
                                 running->revoke_count + reserved);
}

// Room that handles leave to retires (rule 32). Where it does not suffice, a retire waits for the
// checkpoint, which needs no room in the log but that of the running transaction, reserved anyway.
static uint32_t retire_reserve(const struct journal *journal)
{
    uint32_t most = journal->ring.block_count / 16;
    uint32_t locks = journal->lock_with_images_count;
    return 2 + (locks < most ? locks : most);
}

static bool is_room_in_transaction(const struct journal *journal, uint32_t credits)
{
    const struct journal_transaction *running = journal->running;
    return (uint64_t)running->block_count + running->revoke_count + running->credits_reserved +
               credits <=
           journal->transaction_blocks_max;
}

static bool is_room_in_log(const struct journal *journal, uint32_t credits)
{
    return journal_running_blocks(journal, credits) + retire_reserve(journal) <=
           journal_ring_free(&journal->ring);
}

// Whether a handle may open; if not, asks for what stands in its way. There is always progress: a
// full transaction commits into room of its own, and the checkpoint then frees all of the log.
static bool can_admit(struct journal *journal, uint32_t credits)
{
    if (journal->is_draining)
        return false;
    if (!is_room_in_transaction(journal, credits)) {
        journal_commit_request(journal);
        return false;
    }
    if (is_room_in_log(journal, credits))
        return true;
    uint64_t quarter = journal->ring.tail + journal->ring.block_count / 4;
    journal_checkpoint_request(journal, quarter);
    if (journal_ring_used(&journal->ring) == 0)
        journal_commit_request(journal);
    return false;
}

static void open_handle(struct journal *journal, struct journal_handle *handle)
{
    handle->transaction = journal->running;
    journal->running->open_handles++;
    journal->running->credits_reserved += handle->credits;
}

static void take_from_queue(struct journal *journal, struct journal_handle *handle)
{
    TAILQ_REMOVE(&journal->waiting, handle, link);
    journal->waiting_count--;
    coroutine_wake(journal->scheduler, handle->coroutine);
}

void journal_admit(struct journal *journal)
{
    struct journal_handle *handle;
    while ((handle = TAILQ_FIRST(&journal->waiting)) != NULL &&
           can_admit(journal, handle->credits)) {
        open_handle(journal, handle);
        take_from_queue(journal, handle);
    }
}

static void wait_for_room(struct journal *journal, struct journal_handle *handle)
{
    journal_call_enter(journal);
    handle->coroutine = coroutine_current(journal->scheduler);
    TAILQ_INSERT_TAIL(&journal->waiting, handle, link);
    journal->waiting_count++;
    coroutine_wait(journal->scheduler);
    journal_call_leave(journal);
}

bool journal_admit_handle(struct journal *journal, struct journal_handle *handle)
{
    if (TAILQ_EMPTY(&journal->waiting) && can_admit(journal, handle->credits))
        open_handle(journal, handle);
    else
        wait_for_room(journal, handle);
    return handle->transaction != NULL;
}

void journal_admit_nobody(struct journal *journal)
{
    struct journal_handle *handle;
    while ((handle = TAILQ_FIRST(&journal->waiting)) != NULL)
        take_from_queue(journal, handle);
}
