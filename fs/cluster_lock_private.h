// SPDX-License-Identifier: Apache-2.0
// A lock and the table of them, for cluster_lock.c (what users call), lock_pump.c (who may hold,
// what is asked for), cluster_lock_table.c (which locks there are) and lock_demotion.c (giving up)
// alone.
#pragma once

#include "fs/cluster_lock.h"

#include <sys/queue.h>
#include <uthash.h>

#include "fs/base/coroutine.h"
#include "fs/lock_service.h"
#include "fs/volume.h"

struct demotion_round;

struct lock_waiter {
    TAILQ_ENTRY(lock_waiter) link;
    TAILQ_ENTRY(lock_waiter) interruptible_link;
    struct cluster_lock *lock;
    struct coroutine *coroutine;
    enum lock_mode mode;
    enum lock_right right; // that the node must have for it
    int result;
    bool is_try; // another node's or coroutine's hold fails it
    bool is_interruptible;
    bool is_kernel_read, is_kernel_write;
    bool is_asleep; // else it is still on its way into the wait
    bool is_done;
};

struct lock_key {
    uint64_t id;
    uint64_t type;
};

struct cluster_lock {
    UT_hash_handle by_key;
    UT_hash_handle by_cookie;
    TAILQ_ENTRY(cluster_lock) idle_link;
    TAILQ_HEAD(waiter_list, lock_waiter) waiters;
    struct lock_table *table;
    struct lock_key key;
    uint64_t cookie; // 0: nothing asked for or held
    unsigned references;
    unsigned shared_holders;
    unsigned waiter_count;
    unsigned served_before_yield; // how many waiters may still be served though others wait
    enum lock_right right;        // what the cluster granted
    enum lock_right wanted;       // RIGHT_NONE: no request in flight
    enum lock_right keep;         // while is_blocking: what we may keep
    bool has_exclusive_holder;
    bool is_blocking;  // another node waits for us
    bool is_demoting;  // a coroutine gives the right up
    bool is_cancelled; // the request in flight was taken back
    bool is_idle_linked;
    bool is_missed;     // a try or prefetch found it in use here
    unsigned loans;     // what the kernel keeps of what the lock protects
    uint64_t loan_node; // whose it is, as the kernel calls it
    // While loans are called in, what the kernel may have to finish first is let in.
    bool is_recalling, is_recalling_pages;
    bool lets_reads_in;    // the kernel's reads, too, that come now
    bool was_read_behind;  // some did: what they read may be kept by the kernel after all
    unsigned recall_holds; // shared holds of those who call in, or wait to
    void *object;
};

struct lock_table {
    struct lock_service_client client; // first: the service's view of the table
    struct lock_service *service;
    struct volume *volume;
    struct cluster_lock *by_key;
    struct cluster_lock *by_cookie;
    TAILQ_HEAD(idle_list, cluster_lock) idle; // oldest first
    TAILQ_HEAD(interruptible_list, lock_waiter) interruptible;
    unsigned idle_count;
    uint64_t next_cookie;
    unsigned demoting_count;
    struct demotion_round *round; // still takes locks (lock_demotion.c)
    struct wait_queue demoted;    // somebody waits for demotions to end
    struct wait_queue let_in; // demotions wait for what they let in, recalls for those of others
    uint64_t change_count;
    struct wait_queue changed; // lock_table_wait_change
    int failure;
};

static inline struct scheduler *scheduler_of(const struct cluster_lock *lock)
{
    return lock->table->volume->scheduler;
}

static inline bool has_holders(const struct cluster_lock *lock)
{
    return lock->shared_holders > 0 || lock->has_exclusive_holder;
}

// What a table hears of its service.
extern const struct lock_service_client cluster_lock_client;
// Takes the one step that is possible now; may free the lock.
void cluster_lock_pump(struct cluster_lock *lock);
// The lock may have become idle, or be so no more; may free it.
void cluster_lock_settle(struct cluster_lock *lock);
// Holds the lock for the waiter, queued or not, if it may have it now.
bool cluster_lock_take(struct cluster_lock *lock, const struct lock_waiter *waiter);
// Takes it out of the queue with its result; it runs on.
void cluster_lock_finish_waiter(struct cluster_lock *lock, struct lock_waiter *waiter, int result);
// Asks the cluster for more than the lock has. May free the lock.
void cluster_lock_ask(struct cluster_lock *lock, enum lock_right right, bool no_wait);
void cluster_lock_fail_waiters(struct cluster_lock *lock, int error);
// Something changed that lock_table_wait_change waits for.
void lock_table_note_change(struct lock_table *table);
// 0: the lock has none any more.
void cluster_lock_set_cookie(struct cluster_lock *lock, uint64_t cookie);

// Starts a coroutine that gives the right up down to `keep`, which is less. No exclusive holder, no
// request in flight.
void cluster_lock_start_demotion(struct cluster_lock *lock, enum lock_right keep);
// While loans are called in: lets in the waiters that the kernel may have to finish first.
void cluster_lock_let_in(struct cluster_lock *lock);
// Calls in those of `loans` that were lent, of pages those of the range (length 0: to the end), and
// waits until the kernel has dropped them, and what others call in, too.
void cluster_lock_call_in(struct cluster_lock *lock, unsigned loans, uint64_t offset,
                          uint64_t length);
// Tells the service that the right is down to `keep`.
void cluster_lock_let_go(struct cluster_lock *lock, enum lock_right keep);
