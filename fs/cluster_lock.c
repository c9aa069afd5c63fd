// SPDX-License-Identifier: Apache-2.0
// What users of a lock call. The steps that a lock takes by itself are lock_pump.c.
#include "fs/cluster_lock.h"

#include <errno.h>

#include "fs/base/check.h"
#include "fs/cluster_lock_private.h"
#include "fs/interruptible.h"

static enum lock_right right_for(enum lock_mode mode)
{
    return mode == LOCK_SHARED ? RIGHT_SHARED : RIGHT_EXCLUSIVE;
}

static enum lock_right right_needed(enum lock_mode mode, unsigned flags)
{
    if ((flags & LOCK_WITH_EXCLUSIVE_RIGHT) != 0 || mode == LOCK_EXCLUSIVE)
        return RIGHT_EXCLUSIVE;
    return (flags & LOCK_TO_WRITE_TOGETHER) != 0 ? RIGHT_TOGETHER : RIGHT_SHARED;
}

// --- acquire, release ------------------------------------------------------------------------

static int wait_for_turn(struct cluster_lock *lock, struct lock_waiter *waiter)
{
    waiter->coroutine = coroutine_current(scheduler_of(lock));
    CHECK(waiter->coroutine != NULL);
    TAILQ_INSERT_TAIL(&lock->waiters, waiter, link);
    if (waiter->is_interruptible)
        TAILQ_INSERT_TAIL(&lock->table->interruptible, waiter, interruptible_link);
    lock->waiter_count++;
    cluster_lock_pump(lock); // may serve us at once
    if (!waiter->is_done) {
        waiter->is_asleep = true;
        coroutine_wait(scheduler_of(lock));
        CHECK(waiter->is_done);
    }
    return waiter->result;
}

int cluster_lock_acquire(struct cluster_lock *lock, enum lock_mode mode, unsigned flags)
{
    struct lock_waiter waiter = {
        .lock = lock,
        .mode = mode,
        .right = right_needed(mode, flags),
        .is_try = (flags & LOCK_TRY) != 0,
        .is_interruptible = (flags & LOCK_INTERRUPTIBLE) != 0,
        .is_kernel_read = (flags & LOCK_FOR_KERNEL_READ) != 0,
        .is_kernel_write = (flags & LOCK_FOR_KERNEL_WRITE) != 0,
    };
    CHECK(lock->references > 0);
    if (lock->table->failure != 0)
        return lock->table->failure;
    if (TAILQ_EMPTY(&lock->waiters) && cluster_lock_take(lock, &waiter))
        return 0;
    bool is_busy_here = has_holders(lock) || lock->is_demoting || lock->wanted != RIGHT_NONE ||
                        !TAILQ_EMPTY(&lock->waiters);
    if (waiter.is_try && is_busy_here) {
        lock->is_missed = true;
        return -EAGAIN;
    }
    return wait_for_turn(lock, &waiter);
}

// A request that nobody waits for any more is taken back.
bool cluster_lock_interrupt(struct cluster_lock *lock, const struct coroutine *coroutine, int error)
{
    struct lock_service *service = lock->table->service;
    struct lock_waiter *waiter;
    TAILQ_FOREACH (waiter, &lock->waiters, link) {
        if (waiter->coroutine == coroutine)
            break;
    }
    if (waiter == NULL)
        return false;
    cluster_lock_finish_waiter(lock, waiter, error);
    if (TAILQ_EMPTY(&lock->waiters) && lock->wanted != RIGHT_NONE && !lock->is_cancelled) {
        lock->is_cancelled = true;
        service->operations->cancel(service, lock->cookie);
    }
    return true;
}

bool lock_table_interrupt(struct lock_table *table, const struct coroutine *coroutine, int error)
{
    struct lock_waiter *waiter;
    TAILQ_FOREACH (waiter, &table->interruptible, interruptible_link) {
        if (waiter->coroutine == coroutine)
            return cluster_lock_interrupt(waiter->lock, coroutine, error);
    }
    return interruptible_end(table->volume, coroutine, error);
}

void cluster_lock_release(struct cluster_lock *lock, enum lock_mode mode)
{
    if (mode == LOCK_SHARED) {
        CHECK(lock->shared_holders > 0);
        lock->shared_holders--;
    } else {
        CHECK(lock->has_exclusive_holder);
        lock->has_exclusive_holder = false;
    }
    if (has_holders(lock)) {
        if (lock->is_recalling)
            cluster_lock_let_in(lock);
        return;
    }
    if (lock->is_demoting)
        wait_queue_wake_all(scheduler_of(lock), &lock->table->let_in);
    cluster_lock_pump(lock);
}

static void batch_begin(struct lock_service *service)
{
    if (service->operations->batch_begin != NULL)
        service->operations->batch_begin(service);
}

static void batch_end(struct lock_service *service)
{
    if (service->operations->batch_end != NULL)
        service->operations->batch_end(service);
}

// The answer may come at once, and a lock that was denied has nothing to live for.
void cluster_lock_prefetch(struct lock_table *table, const struct lock_name *names, size_t count,
                           enum lock_mode mode, unsigned flags)
{
    batch_begin(table->service);
    for (size_t i = 0; i < count && table->failure == 0; i++) {
        struct cluster_lock *lock = cluster_lock_get(table, names[i]);
        bool is_quiet = lock->wanted == RIGHT_NONE && !lock->is_demoting && !has_holders(lock) &&
                        TAILQ_EMPTY(&lock->waiters);
        bool is_beside = lock_right_kept(lock->right, right_for(mode)) == lock->right;
        if (is_quiet && is_beside && lock->right < right_for(mode))
            cluster_lock_ask(lock, right_for(mode), (flags & LOCK_TRY) != 0);
        else if (!is_quiet)
            lock->is_missed = true;
        cluster_lock_put(lock);
    }
    batch_end(table->service);
}

// --- looking ---------------------------------------------------------------------------------

struct lock_name cluster_lock_name(const struct cluster_lock *lock)
{
    return (struct lock_name){(uint32_t)lock->key.type, lock->key.id};
}

bool cluster_lock_is_cached(const struct cluster_lock *lock, enum lock_mode mode)
{
    return lock->right >= right_for(mode);
}

bool cluster_lock_may_write_data(const struct cluster_lock *lock)
{
    return lock->right >= RIGHT_TOGETHER;
}

bool cluster_lock_is_held(const struct cluster_lock *lock, enum lock_mode mode)
{
    return lock->has_exclusive_holder || (mode == LOCK_SHARED && lock->shared_holders > 0);
}

bool cluster_lock_is_going(const struct cluster_lock *lock)
{
    return lock->is_demoting;
}

void *cluster_lock_object(const struct cluster_lock *lock)
{
    return lock->object;
}

void cluster_lock_set_object(struct cluster_lock *lock, void *object)
{
    lock->object = object;
}
