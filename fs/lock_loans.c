// SPDX-License-Identifier: Apache-2.0
// Loans: what the kernel may keep of what a lock protects without asking again. docs/caching.md has
// the whole; this is the part that a lock has in it.
//
//   lend      the right is here and stays: noted at the lock
//   callback  is_demoting: nothing more is lent ─► recall ─► reads that were let in end ─► quiesce
//
// A loan outlives the answer that carries it: the answer may still be on its way to the process
// that asked when the recall has already ended. That is harmless only where the kernel dates
// what it is told by the moment of the question, which decides what may be lent in which answer.
#include "fs/base/check.h"
#include "fs/base/sabotage.h"
#include "fs/cluster_lock_private.h"
#include "fs/lock_types.h"

static struct cluster_lock *find(struct lock_table *table, struct lock_name name)
{
    struct lock_key key = {.id = name.id, .type = name.type};
    struct cluster_lock *lock;
    HASH_FIND(by_key, table->by_key, &key, sizeof(key), lock);
    return lock;
}

bool cluster_lock_lend(struct lock_table *table, struct lock_name name, uint64_t node,
                       unsigned loans)
{
    struct cluster_lock *lock = find(table, name);
    if (table->volume->borrower == NULL || table->failure != 0 || lock == NULL ||
        lock->right == RIGHT_NONE || lock->is_demoting || lock->is_blocking)
        return false;
    // A number's earlier life has nothing lent any more that anybody could ask for.
    lock->loans = lock->loan_node == node ? lock->loans | loans : loans;
    lock->loan_node = node;
    return true;
}

bool cluster_lock_lend_pages(struct cluster_lock *lock, uint64_t node, unsigned loans)
{
    bool others_write = lock->right == RIGHT_TOGETHER && !SABOTAGE(together_fills_pages);
    if (lock->table->volume->borrower == NULL || lock->is_demoting || others_write)
        return false;
    lock->loans = lock->loan_node == node ? lock->loans | loans : loans;
    lock->loan_node = node;
    return true;
}

// What is being called in may still be there.
unsigned cluster_lock_loans(const struct cluster_lock *lock)
{
    return lock->loans | (lock->is_recalling_pages ? LOAN_PAGES : 0);
}

bool cluster_lock_is_recalling_pages(const struct cluster_lock *lock)
{
    return lock->is_recalling_pages;
}

// A read that came before the kernel is told holds a page that the kernel waits for, and drops. One
// that comes later may be of a page that it has been past: then it is told again. Neither was lent.
static void tell(struct cluster_lock *lock, struct loan_recall *what)
{
    struct borrower *borrower = lock->table->volume->borrower;
    do {
        lock->lets_reads_in = !SABOTAGE(recall_leaves_reads_waiting);
        cluster_lock_let_in(lock);
        if (lock->is_recalling_pages)
            what->loans |= LOAN_PAGES;
        lock->lets_reads_in = lock->was_read_behind = false;
        borrower->recall(borrower, what);
        lock->lets_reads_in = false;
    } while (lock->was_read_behind && !SABOTAGE(recall_pages_once));
}

static void stop_filling(struct cluster_lock *lock)
{
    const struct lock_type *type = lock_type_of((uint32_t)lock->key.type);
    if (type->stop_filling != NULL)
        type->stop_filling(lock->table->volume, lock);
}

void cluster_lock_recall_is_stuck(struct cluster_lock *lock)
{
    lock->lets_reads_in = !SABOTAGE(recall_leaves_reads_waiting);
    stop_filling(lock);
    cluster_lock_let_in(lock);
}

bool cluster_lock_recall_needs_fills(const struct cluster_lock *lock)
{
    return lock->is_demoting || (lock->is_recalling && lock->lets_reads_in);
}

void cluster_lock_call_in(struct cluster_lock *lock, unsigned loans, uint64_t offset,
                          uint64_t length)
{
    struct wait_queue *ended = &lock->table->let_in;
    // What others call in is not lent any more either, but the kernel may not have dropped it yet.
    while (lock->is_recalling && !SABOTAGE(recall_once_begun_is_done))
        wait_queue_wait(scheduler_of(lock), ended);
    struct loan_recall what = {lock, lock->loan_node, lock->loans & loans, offset, length};
    if (what.loans == 0 || lock->table->volume->borrower == NULL)
        return;
    if (length == 0) {
        lock->loans &= ~loans;
        stop_filling(lock);
    }
    lock->is_recalling = true;
    lock->is_recalling_pages = (what.loans & LOAN_PAGES) != 0;
    if (!SABOTAGE(lend_skip_recall))
        tell(lock, &what);
    lock->is_recalling = lock->is_recalling_pages = false;
    wait_queue_wake_all(scheduler_of(lock), ended);
}

void lock_table_recall(struct lock_table *table, struct lock_name name)
{
    struct cluster_lock *lock = cluster_lock_get(table, name);
    cluster_lock_call_in(lock, LOAN_ATTRIBUTES | LOAN_NAMES, 0, 0);
    cluster_lock_put(lock);
}

void cluster_lock_recall_pages(struct cluster_lock *lock, uint64_t offset, uint64_t length)
{
    CHECK(lock->shared_holders > lock->recall_holds);
    lock->recall_holds++;
    cluster_lock_call_in(lock, LOAN_PAGES | LOAN_WRITABLE, offset, length);
    lock->recall_holds--;
}
