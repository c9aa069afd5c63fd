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
#include "fs/base/sabotage.h"
#include "fs/cluster_lock_private.h"

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

void cluster_lock_call_in(struct cluster_lock *lock)
{
    struct borrower *borrower = lock->table->volume->borrower;
    unsigned loans = lock->loans;
    lock->loans = 0;
    lock->recalls++;
    if (loans != 0 && borrower != NULL && !SABOTAGE(lend_skip_recall))
        borrower->recall(borrower, lock->loan_node, loans);
    lock->recalls--;
    wait_queue_wake_all(scheduler_of(lock), &lock->table->let_in);
    // What others call in is not lent any more either, but the kernel may not have dropped it yet.
    while (lock->recalls > 0 && !SABOTAGE(recall_once_begun_is_done))
        wait_queue_wait(scheduler_of(lock), &lock->table->let_in);
}

void lock_table_recall(struct lock_table *table, struct lock_name name)
{
    struct cluster_lock *lock = cluster_lock_get(table, name);
    cluster_lock_call_in(lock);
    cluster_lock_put(lock);
}
