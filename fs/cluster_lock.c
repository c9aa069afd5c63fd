// SPDX-License-Identifier: Apache-2.0
// One pump a lock: after each event (a waiter came, a holder went, an answer, a callback) it looks
// at the lock's state and takes the one step that is possible now.
//
//   two nodes upgrade SHARED to EXCLUSIVE at the same time:
//     A  convert ->            callback (B wants EX): cancel -> denied -> demote to none -> request
//     B  convert ->            callback (A wants EX): cancel -> denied -> demote to none -> request
//   each gives up what blocks the other; the master's queue decides who is first.
#include "fs/cluster_lock.h"

#include <stdlib.h>
#include <sys/queue.h>
#include <uthash.h>

#include "fs/base/check.h"
#include "fs/base/coroutine.h"
#include "fs/base/error.h"
#include "fs/base/text.h"
#include "fs/cache.h"
#include "fs/lock_service.h"
#include "fs/lock_types.h"
#include "fs/volume.h"
#include "journal/journal.h"

// Idle rights kept before the oldest are given back.
enum { IDLE_LOCKS_MAX = 65536 };

struct lock_waiter {
    TAILQ_ENTRY(lock_waiter) link;
    TAILQ_ENTRY(lock_waiter) interruptible_link;
    struct cluster_lock *lock;
    struct coroutine *coroutine;
    enum lock_mode mode;
    int result;
    bool is_try; // another node's or coroutine's hold fails it
    bool is_interruptible;
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
    struct wait_queue demoted; // somebody waits for demotions to end
    int failure;
};

static void pump(struct cluster_lock *lock);

static enum lock_right right_for(enum lock_mode mode)
{
    return mode == LOCK_SHARED ? RIGHT_SHARED : RIGHT_EXCLUSIVE;
}

static struct scheduler *scheduler_of(const struct cluster_lock *lock)
{
    return lock->table->volume->scheduler;
}

static bool has_holders(const struct cluster_lock *lock)
{
    return lock->shared_holders > 0 || lock->has_exclusive_holder;
}

// --- the table -------------------------------------------------------------------------------

static void on_granted(struct lock_service_client *client, uint64_t cookie, enum lock_right right);
static void on_denied(struct lock_service_client *client, uint64_t cookie, int error);
static void on_blocking(struct lock_service_client *client, uint64_t cookie, enum lock_right keep);

struct lock_table *lock_table_new(struct volume *volume, struct lock_service *service)
{
    struct lock_table *table = calloc(1, sizeof(*table));
    CHECK(table != NULL);
    table->client = (struct lock_service_client){on_granted, on_denied, on_blocking};
    table->service = service;
    table->volume = volume;
    table->next_cookie = 1;
    TAILQ_INIT(&table->idle);
    TAILQ_INIT(&table->interruptible);
    wait_queue_init(&table->demoted);
    service->client = &table->client;
    return table;
}

static void lock_free(struct cluster_lock *lock)
{
    struct lock_table *table = lock->table;
    if (lock->is_idle_linked) {
        TAILQ_REMOVE(&table->idle, lock, idle_link);
        table->idle_count--;
    }
    if (lock->cookie != 0)
        HASH_DELETE(by_cookie, table->by_cookie, lock);
    HASH_DELETE(by_key, table->by_key, lock);
    free(lock);
}

void lock_table_free(struct lock_table *table)
{
    struct cluster_lock *lock, *next;
    HASH_ITER (by_key, table->by_key, lock, next) {
        CHECK(TAILQ_EMPTY(&lock->waiters) && !lock->is_demoting);
        if (lock->object != NULL) {
            const struct lock_type *type = lock_type_of((uint32_t)lock->key.type);
            if (type->forget != NULL)
                type->forget(table->volume, lock);
        }
        lock_free(lock);
    }
    free(table);
}

// A lock that nobody uses or refers to: dropped if it carries no right, else kept as idle.
static void settle(struct cluster_lock *lock)
{
    struct lock_table *table = lock->table;
    bool is_idle = lock->references == 0 && !has_holders(lock) && TAILQ_EMPTY(&lock->waiters) &&
                   lock->wanted == RIGHT_NONE && !lock->is_demoting;
    if (is_idle && lock->right == RIGHT_NONE) {
        lock_free(lock);
        return;
    }
    if (is_idle == lock->is_idle_linked)
        return;
    lock->is_idle_linked = is_idle;
    if (is_idle) {
        TAILQ_INSERT_TAIL(&table->idle, lock, idle_link);
        table->idle_count++;
    } else {
        TAILQ_REMOVE(&table->idle, lock, idle_link);
        table->idle_count--;
    }
}

static struct cluster_lock *find_or_make(struct lock_table *table, struct lock_name name)
{
    struct lock_key key = {.id = name.id, .type = name.type};
    struct cluster_lock *lock;
    HASH_FIND(by_key, table->by_key, &key, sizeof(key), lock);
    if (lock != NULL)
        return lock;
    lock = calloc(1, sizeof(*lock));
    CHECK(lock != NULL);
    lock->table = table;
    lock->key = key;
    TAILQ_INIT(&lock->waiters);
    HASH_ADD(by_key, table->by_key, key, sizeof(lock->key), lock);
    return lock;
}

struct cluster_lock *cluster_lock_get(struct lock_table *table, struct lock_name name)
{
    struct cluster_lock *lock = find_or_make(table, name);
    lock->references++;
    settle(lock);
    return lock;
}

static void give_back_oldest(struct lock_table *table);

void cluster_lock_put(struct cluster_lock *lock)
{
    struct lock_table *table = lock->table;
    CHECK(lock->references > 0);
    lock->references--;
    settle(lock);
    if (table->idle_count > IDLE_LOCKS_MAX)
        give_back_oldest(table);
}

// --- asking the cluster ----------------------------------------------------------------------

static void set_cookie(struct cluster_lock *lock, uint64_t cookie)
{
    struct lock_table *table = lock->table;
    if (lock->cookie != 0)
        HASH_DELETE(by_cookie, table->by_cookie, lock);
    lock->cookie = cookie;
    if (cookie != 0)
        HASH_ADD(by_cookie, table->by_cookie, cookie, sizeof(lock->cookie), lock);
}

static void ask(struct cluster_lock *lock, enum lock_right right, bool no_wait)
{
    struct lock_table *table = lock->table;
    struct lock_service *service = table->service;
    CHECK(lock->wanted == RIGHT_NONE && lock->right < right);
    lock->wanted = right;
    lock->is_cancelled = false;
    if (lock->right != RIGHT_NONE) {
        service->operations->convert(service, lock->cookie, right, no_wait);
        return;
    }
    set_cookie(lock, table->next_cookie++);
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
    pump(lock);
}

static void fail_tries(struct cluster_lock *lock);

static void on_denied(struct lock_service_client *client, uint64_t cookie, int error)
{
    struct cluster_lock *lock = by_cookie(client, cookie);
    CHECK(lock != NULL && lock->wanted != RIGHT_NONE);
    lock->wanted = RIGHT_NONE;
    if (lock->right == RIGHT_NONE)
        set_cookie(lock, 0);
    if (error == -EAGAIN)
        fail_tries(lock);
    else if (error == -EDEADLK && !lock->is_blocking && lock->right == RIGHT_SHARED) {
        lock->is_blocking = true; // the other upgrader waits for what we keep
        lock->keep = RIGHT_NONE;
    }
    pump(lock);
}

static void on_blocking(struct lock_service_client *client, uint64_t cookie, enum lock_right keep)
{
    struct cluster_lock *lock = by_cookie(client, cookie);
    if (lock == NULL || lock->right <= keep)
        return; // it crossed our release or downward conversion
    if (!lock_type_of((uint32_t)lock->key.type)->yields)
        return;
    lock->keep = lock->is_blocking && lock->keep < keep ? lock->keep : keep;
    lock->is_blocking = true;
    if (lock->wanted != RIGHT_NONE && !lock->is_cancelled) {
        lock->is_cancelled = true;
        lock->table->service->operations->cancel(lock->table->service, lock->cookie);
    }
    pump(lock);
}

// --- giving up -------------------------------------------------------------------------------

// What the coherence table and the replay rule (rules 5 and 6) ask for before a right goes.
static int make_ready_to_go(struct cluster_lock *lock, enum lock_right keep)
{
    struct volume *volume = lock->table->volume;
    const struct lock_type *type = lock_type_of((uint32_t)lock->key.type);
    struct lock_name name = cluster_lock_name(lock);
    int result = 0;
    if (type->quiesce != NULL)
        type->quiesce(volume, lock, keep == RIGHT_SHARED);
    if (volume->journal != NULL && lock->right == RIGHT_EXCLUSIVE)
        result = journal_lock_write_back(volume->journal, &name, 1);
    if (result != 0 || keep != RIGHT_NONE)
        return result;
    if (volume->journal != NULL)
        result = journal_lock_retire(volume->journal, &name, 1);
    if (result != 0)
        return result;
    cache_drop_lock(volume->cache, name);
    if (type->forget != NULL)
        type->forget(volume, lock);
    return 0;
}

static void let_go(struct cluster_lock *lock, enum lock_right keep)
{
    struct lock_service *service = lock->table->service;
    lock->right = keep;
    if (keep != RIGHT_NONE) {
        service->operations->convert(service, lock->cookie, keep, false);
        return;
    }
    uint64_t cookie = lock->cookie;
    set_cookie(lock, 0);
    service->operations->release(service, cookie);
}

static void demote(void *argument)
{
    struct cluster_lock *lock = argument;
    struct lock_table *table = lock->table;
    enum lock_right keep = lock->keep;
    int result = make_ready_to_go(lock, keep);
    if (result != 0)
        volume_fail(table->volume, result, "giving up a lock");
    else
        let_go(lock, keep);
    lock->is_demoting = false;
    // A callback for less may have come while we were at it; then the pump starts over.
    if (lock->right <= lock->keep)
        lock->is_blocking = false;
    table->demoting_count--;
    wait_queue_wake_all(scheduler_of(lock), &table->demoted);
    pump(lock);
}

static void start_demotion(struct cluster_lock *lock, enum lock_right keep)
{
    CHECK(!lock->is_demoting && lock->wanted == RIGHT_NONE && !lock->has_exclusive_holder);
    CHECK(keep < lock->right);
    lock->keep = keep;
    lock->is_blocking = true;
    lock->is_demoting = true;
    lock->table->demoting_count++;
    coroutine_start(scheduler_of(lock), "lock demotion", demote, lock);
}

static void give_back_oldest(struct lock_table *table)
{
    struct cluster_lock *lock = TAILQ_FIRST(&table->idle);
    if (lock == NULL || table->failure != 0)
        return;
    start_demotion(lock, RIGHT_NONE);
    settle(lock);
}

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

// Whether a new hold of `mode` would keep the lock from going where the callback wants it.
static bool may_hold(const struct cluster_lock *lock, enum lock_mode mode)
{
    return !lock->is_demoting && lock->wanted == RIGHT_NONE && lock->right >= right_for(mode) &&
           !must_yield(lock) && is_compatible_locally(lock, mode);
}

static void finish_waiter(struct cluster_lock *lock, struct lock_waiter *waiter, int result)
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

static void fail_waiters(struct cluster_lock *lock, int error)
{
    struct lock_waiter *waiter;
    while ((waiter = TAILQ_FIRST(&lock->waiters)) != NULL)
        finish_waiter(lock, waiter, error);
}

static void fail_tries(struct cluster_lock *lock)
{
    struct lock_waiter *waiter = TAILQ_FIRST(&lock->waiters);
    while (waiter != NULL) {
        struct lock_waiter *next = TAILQ_NEXT(waiter, link);
        if (waiter->is_try)
            finish_waiter(lock, waiter, -EAGAIN);
        waiter = next;
    }
}

static void serve_waiters(struct cluster_lock *lock)
{
    struct lock_waiter *waiter;
    while ((waiter = TAILQ_FIRST(&lock->waiters)) != NULL && may_hold(lock, waiter->mode)) {
        hold(lock, waiter->mode);
        finish_waiter(lock, waiter, 0);
    }
}

// Open files keep their hold for good: the exclusive right, left over from the life of an inode
// that had the number before, must go from under them.
static void go_down_under_holders(struct cluster_lock *lock)
{
    if (!lock_type_of((uint32_t)lock->key.type)->is_held_long || !lock->is_blocking ||
        lock->keep != RIGHT_SHARED || lock->right != RIGHT_EXCLUSIVE ||
        lock->has_exclusive_holder || lock->shared_holders == 0)
        return;
    lock->is_blocking = false;
    let_go(lock, RIGHT_SHARED);
}

// Readers may stay while only the exclusive right goes, but their passes and dirty blocks change
// under them in the demotion; so it waits for all holders alike.
static void pump(struct cluster_lock *lock)
{
    if (lock->is_demoting || lock->wanted != RIGHT_NONE) {
        settle(lock);
        return;
    }
    if (lock->table->failure != 0) {
        fail_waiters(lock, lock->table->failure);
        settle(lock);
        return;
    }
    go_down_under_holders(lock);
    serve_waiters(lock);
    struct lock_waiter *first = TAILQ_FIRST(&lock->waiters);
    if (lock->is_blocking && lock->right > lock->keep) {
        // The first waiter may need more than we have: that, too, must go through the queue.
        bool is_stuck = first != NULL && lock->right < right_for(first->mode);
        if (is_stuck)
            lock->served_before_yield = 0;
        if (must_yield(lock) || (first == NULL && !has_holders(lock))) {
            if (!has_holders(lock))
                start_demotion(lock, lock->keep);
            settle(lock);
            return;
        }
    }
    if (first != NULL && lock->right < right_for(first->mode) && !has_holders(lock))
        ask(lock, right_for(first->mode), first->is_try);
    else
        settle(lock);
}

// --- acquire, release ------------------------------------------------------------------------

static int wait_for_turn(struct cluster_lock *lock, enum lock_mode mode, unsigned flags)
{
    struct lock_waiter waiter = {
        .lock = lock,
        .coroutine = coroutine_current(scheduler_of(lock)),
        .mode = mode,
        .is_try = (flags & LOCK_TRY) != 0,
        .is_interruptible = (flags & LOCK_INTERRUPTIBLE) != 0,
    };
    CHECK(waiter.coroutine != NULL);
    TAILQ_INSERT_TAIL(&lock->waiters, &waiter, link);
    if (waiter.is_interruptible)
        TAILQ_INSERT_TAIL(&lock->table->interruptible, &waiter, interruptible_link);
    lock->waiter_count++;
    pump(lock); // may serve us at once
    if (!waiter.is_done) {
        waiter.is_asleep = true;
        coroutine_wait(scheduler_of(lock));
        CHECK(waiter.is_done);
    }
    return waiter.result;
}

int cluster_lock_acquire(struct cluster_lock *lock, enum lock_mode mode, unsigned flags)
{
    bool is_try = (flags & LOCK_TRY) != 0;
    CHECK(lock->references > 0);
    if (lock->table->failure != 0)
        return lock->table->failure;
    if (TAILQ_EMPTY(&lock->waiters) && may_hold(lock, mode)) {
        hold(lock, mode);
        return 0;
    }
    bool is_busy_here = has_holders(lock) || lock->is_demoting || lock->wanted != RIGHT_NONE ||
                        !TAILQ_EMPTY(&lock->waiters);
    if (is_try && is_busy_here)
        return -EAGAIN;
    return wait_for_turn(lock, mode, flags);
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
    finish_waiter(lock, waiter, error);
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
    return false;
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
    if (!has_holders(lock))
        pump(lock);
}

// The answer may come at once, and a lock that was denied has nothing to live for.
void cluster_lock_prefetch(struct lock_table *table, const struct lock_name *names, size_t count,
                           enum lock_mode mode)
{
    for (size_t i = 0; i < count && table->failure == 0; i++) {
        struct cluster_lock *lock = cluster_lock_get(table, names[i]);
        bool is_quiet = lock->wanted == RIGHT_NONE && !lock->is_demoting && !has_holders(lock) &&
                        TAILQ_EMPTY(&lock->waiters);
        if (is_quiet && lock->right < right_for(mode))
            ask(lock, right_for(mode), true);
        cluster_lock_put(lock);
    }
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

bool cluster_lock_is_held(const struct cluster_lock *lock, enum lock_mode mode)
{
    return lock->has_exclusive_holder || (mode == LOCK_SHARED && lock->shared_holders > 0);
}

void *cluster_lock_object(const struct cluster_lock *lock)
{
    return lock->object;
}

void cluster_lock_set_object(struct cluster_lock *lock, void *object)
{
    lock->object = object;
}

// --- the end of a mount ----------------------------------------------------------------------

enum { DEMOTIONS_AT_ONCE = 64 };

// Starts giving up some rights; false when none is left.
static bool start_some_demotions(struct lock_table *table)
{
    struct cluster_lock *lock, *next;
    unsigned started = 0;
    HASH_ITER (by_key, table->by_key, lock, next) {
        if (lock->right == RIGHT_NONE || lock->is_demoting || lock->wanted != RIGHT_NONE)
            continue;
        CHECK(!has_holders(lock));
        start_demotion(lock, RIGHT_NONE);
        settle(lock);
        if (++started == DEMOTIONS_AT_ONCE)
            break;
    }
    return started > 0;
}

int lock_table_release_all(struct lock_table *table)
{
    while (table->failure == 0 && start_some_demotions(table)) {
        while (table->demoting_count > 0)
            wait_queue_wait(table->volume->scheduler, &table->demoted);
    }
    return table->failure;
}

void lock_table_fail(struct lock_table *table, int error)
{
    struct cluster_lock *lock, *next;
    table->failure = error;
    HASH_ITER (by_key, table->by_key, lock, next) {
        fail_waiters(lock, error);
    }
}

void lock_table_to_text(const struct lock_table *table, struct text *text)
{
    static const char *const rights[] = {"none", "shared", "exclusive"};
    struct cluster_lock *lock, *next;
    HASH_ITER (by_key, table->by_key, lock, next) {
        text_add(text, "%s %llu %s", lock_type_of((uint32_t)lock->key.type)->name,
                 (unsigned long long)lock->key.id, rights[lock->right]);
        if (lock->wanted != RIGHT_NONE)
            text_add(text, " wants %s", rights[lock->wanted]);
        if (has_holders(lock))
            text_add(text, " held by %u", lock->shared_holders + lock->has_exclusive_holder);
        if (lock->waiter_count > 0)
            text_add(text, " waited for by %u", lock->waiter_count);
        text_add(text, "%s\n", lock->is_blocking ? " going" : "");
    }
}
