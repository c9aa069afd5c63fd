// SPDX-License-Identifier: Apache-2.0
// One pump a lock: after each event (a waiter came, a holder went, an answer, a callback) it looks
// at the lock's state and takes the one step that is possible now.
//
//   two nodes upgrade SHARED to EXCLUSIVE at the same time:
//     A  convert ->            callback (B wants EX): cancel -> denied -> demote to none -> request
//     B  convert ->            callback (A wants EX): cancel -> denied -> demote to none -> request
//   each gives up what blocks the other; the master's queue decides who is first.
#include <errno.h>

#include "fs/base/check.h"
#include "fs/base/sabotage.h"
#include "fs/cluster_lock_private.h"
#include "fs/lock_types.h"

// Pages that the kernel keeps are read where nobody else writes.
static bool suffices(const struct cluster_lock *lock, const struct lock_waiter *waiter)
{
    bool others_write = lock->right == RIGHT_TOGETHER && !SABOTAGE(together_fills_pages);
    return lock->right >= waiter->right && !(waiter->is_kernel_read && others_write);
}

// --- asking the cluster ----------------------------------------------------------------------

void cluster_lock_ask(struct cluster_lock *lock, enum lock_right right, bool no_wait)
{
    struct lock_table *table = lock->table;
    struct lock_service *service = table->service;
    CHECK(lock->wanted == RIGHT_NONE && lock->right < right);
    CHECK(lock_right_kept(lock->right, right) == lock->right);
    lock->wanted = right;
    lock->is_cancelled = false;
    if (lock->right != RIGHT_NONE) {
        service->operations->convert(service, lock->cookie, right, no_wait);
        return;
    }
    cluster_lock_set_cookie(lock, table->next_cookie++);
    struct lock_name name = {(uint32_t)lock->key.type, lock->key.id};
    service->operations->request(service, lock->cookie, name, right, no_wait);
}

static struct cluster_lock *by_cookie(struct lock_service_client *client, uint64_t cookie)
{
    struct lock_table *table = (struct lock_table *)client;
    struct cluster_lock *lock;
    HASH_FIND(by_cookie, table->by_cookie, &cookie, sizeof(cookie), lock);
    return lock;
}

static void on_granted(struct lock_service_client *client, uint64_t cookie, enum lock_right right)
{
    struct cluster_lock *lock = by_cookie(client, cookie);
    CHECK(lock != NULL && lock->wanted == right);
    lock->right = right;
    lock->wanted = RIGHT_NONE;
    lock->served_before_yield = lock->waiter_count;
    lock_table_note_change(lock->table);
    cluster_lock_pump(lock);
}

static void fail_tries(struct cluster_lock *lock);

static void on_denied(struct lock_service_client *client, uint64_t cookie, int error)
{
    struct cluster_lock *lock = by_cookie(client, cookie);
    CHECK(lock != NULL && lock->wanted != RIGHT_NONE);
    lock->wanted = RIGHT_NONE;
    lock_table_note_change(lock->table);
    if (lock->right == RIGHT_NONE)
        cluster_lock_set_cookie(lock, 0);
    if (error == -EAGAIN)
        fail_tries(lock);
    else if (error == -EDEADLK && !lock->is_blocking && lock->right != RIGHT_NONE) {
        lock->is_blocking = true; // the other upgrader waits for what we keep
        lock->keep = RIGHT_NONE;
    }
    cluster_lock_pump(lock);
}

static void on_blocking(struct lock_service_client *client, uint64_t cookie, enum lock_right keep)
{
    struct cluster_lock *lock = by_cookie(client, cookie);
    if (lock == NULL || lock_right_kept(lock->right, keep) == lock->right)
        return; // it crossed our release or downward conversion
    if (!lock_type_of((uint32_t)lock->key.type)->yields)
        return;
    lock->keep = lock_right_kept(lock->is_blocking ? lock->keep : lock->right, keep);
    lock->is_blocking = true;
    if (lock->wanted != RIGHT_NONE && !lock->is_cancelled) {
        lock->is_cancelled = true;
        lock->table->service->operations->cancel(lock->table->service, lock->cookie);
    }
    cluster_lock_pump(lock);
}

const struct lock_service_client cluster_lock_client = {on_granted, on_denied, on_blocking};

// --- the pump --------------------------------------------------------------------------------

static void hold(struct cluster_lock *lock, enum lock_mode mode)
{
    if (mode == LOCK_SHARED)
        lock->shared_holders++;
    else
        lock->has_exclusive_holder = true;
    if (lock->served_before_yield > 0)
        lock->served_before_yield--;
}

static bool is_compatible_locally(const struct cluster_lock *lock, enum lock_mode mode)
{
    return mode == LOCK_SHARED ? !lock->has_exclusive_holder : !has_holders(lock);
}

static bool must_yield(const struct cluster_lock *lock)
{
    return lock->is_blocking && lock->served_before_yield == 0;
}

// Shared by somebody who will not let go soon: one more of them changes nothing for who waits.
static bool is_held_on(const struct cluster_lock *lock)
{
    return lock->shared_holders > 0 && lock_type_of((uint32_t)lock->key.type)->is_held_long;
}

// Also whether a new hold would keep the lock from going where the callback wants it.
bool cluster_lock_take(struct cluster_lock *lock, const struct lock_waiter *waiter)
{
    enum lock_mode mode = waiter->mode;
    bool is_in_the_way = must_yield(lock) && !(mode == LOCK_SHARED && is_held_on(lock));
    if (!suffices(lock, waiter) || lock->is_demoting || lock->wanted != RIGHT_NONE ||
        is_in_the_way || !is_compatible_locally(lock, mode))
        return false;
    hold(lock, mode);
    return true;
}

void cluster_lock_finish_waiter(struct cluster_lock *lock, struct lock_waiter *waiter, int result)
{
    TAILQ_REMOVE(&lock->waiters, waiter, link);
    if (waiter->is_interruptible)
        TAILQ_REMOVE(&lock->table->interruptible, waiter, interruptible_link);
    lock->waiter_count--;
    waiter->result = result;
    waiter->is_done = true;
    if (waiter->is_asleep)
        coroutine_wake(scheduler_of(lock), waiter->coroutine);
}

void cluster_lock_fail_waiters(struct cluster_lock *lock, int error)
{
    struct lock_waiter *waiter;
    while ((waiter = TAILQ_FIRST(&lock->waiters)) != NULL)
        cluster_lock_finish_waiter(lock, waiter, error);
}

static void fail_tries(struct cluster_lock *lock)
{
    struct lock_waiter *waiter = TAILQ_FIRST(&lock->waiters);
    while (waiter != NULL) {
        struct lock_waiter *next = TAILQ_NEXT(waiter, link);
        if (waiter->is_try)
            cluster_lock_finish_waiter(lock, waiter, -EAGAIN);
        waiter = next;
    }
}

// The kernel cannot drop what it keeps before this is done. Whoever calls in on top of a hold of
// his own waits for just that, and changes nothing meanwhile. A page that is filled under less than
// it needs must be called in before any process can change it: while pages are, who opens the file
// to do so waits.
static bool may_let_in(const struct cluster_lock *lock, const struct lock_waiter *waiter)
{
    if (lock->right == RIGHT_NONE || lock->has_exclusive_holder || SABOTAGE(recall_shuts_reads_out))
        return false;
    if (waiter->is_kernel_read && waiter->mode == LOCK_SHARED)
        return lock->lets_reads_in && (lock->right >= waiter->right || lock->is_recalling_pages);
    return waiter->is_kernel_write && lock->right == RIGHT_EXCLUSIVE &&
           lock->shared_holders == lock->recall_holds && !SABOTAGE(recall_shuts_writes_out);
}

void cluster_lock_let_in(struct cluster_lock *lock)
{
    struct lock_waiter *waiter, *next;
    for (waiter = TAILQ_FIRST(&lock->waiters); waiter != NULL; waiter = next) {
        next = TAILQ_NEXT(waiter, link);
        if (!may_let_in(lock, waiter))
            continue;
        if (waiter->is_kernel_read)
            lock->was_read_behind = lock->is_recalling_pages = true;
        hold(lock, waiter->mode);
        cluster_lock_finish_waiter(lock, waiter, 0);
    }
}

void cluster_lock_raise_reads(struct cluster_lock *lock)
{
    struct lock_waiter *waiter;
    TAILQ_FOREACH (waiter, &lock->waiters, link) {
        if (waiter->is_kernel_read)
            waiter->right = RIGHT_EXCLUSIVE;
    }
}

static void serve_waiters(struct cluster_lock *lock)
{
    struct lock_waiter *waiter;
    while ((waiter = TAILQ_FIRST(&lock->waiters)) != NULL && cluster_lock_take(lock, waiter))
        cluster_lock_finish_waiter(lock, waiter, 0);
}

// Open files keep their hold for good: the exclusive right, left over from the life of an inode
// that had the number before, must go from under them. Also if all was asked for: whoever did may
// have died since, and who comes then to share it is told to us as less than that, which is no
// news.
static void go_down_under_holders(struct cluster_lock *lock)
{
    if (!is_held_on(lock) || !lock->is_blocking || lock->right != RIGHT_EXCLUSIVE ||
        lock->has_exclusive_holder)
        return;
    if (lock->keep == RIGHT_SHARED)
        lock->is_blocking = false;
    cluster_lock_let_go(lock, RIGHT_SHARED);
}

// For the first waiter, with nobody left who holds. A right that excludes what is asked for goes
// first.
static void ask_for(struct cluster_lock *lock, const struct lock_waiter *first)
{
    if (lock->right < first->right && lock_right_kept(lock->right, first->right) == lock->right)
        cluster_lock_ask(lock, first->right, first->is_try);
    else {
        cluster_lock_start_demotion(lock, RIGHT_NONE);
        cluster_lock_settle(lock);
    }
}

// Readers may stay while only the exclusive right goes, but their passes and dirty blocks change
// under them in the demotion; so it waits for all holders alike.
void cluster_lock_pump(struct cluster_lock *lock)
{
    if (lock->is_recalling)
        cluster_lock_let_in(lock);
    if (lock->is_demoting || lock->wanted != RIGHT_NONE) {
        cluster_lock_settle(lock);
        return;
    }
    if (lock->table->failure != 0) {
        cluster_lock_fail_waiters(lock, lock->table->failure);
        cluster_lock_settle(lock);
        return;
    }
    go_down_under_holders(lock);
    serve_waiters(lock);
    struct lock_waiter *first = TAILQ_FIRST(&lock->waiters);
    enum lock_right kept = lock_right_kept(lock->right, lock->keep);
    if (lock->is_blocking && lock->right != kept) {
        // The first waiter may need more than we have: that, too, must go through the queue.
        bool is_stuck = first != NULL && !suffices(lock, first);
        if (is_stuck)
            lock->served_before_yield = 0;
        if (must_yield(lock) || (first == NULL && !has_holders(lock))) {
            if (!has_holders(lock))
                cluster_lock_start_demotion(lock, kept);
            cluster_lock_settle(lock);
            return;
        }
    }
    if (first != NULL && !suffices(lock, first) && !has_holders(lock))
        ask_for(lock, first);
    else
        cluster_lock_settle(lock);
}
