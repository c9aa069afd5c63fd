// SPDX-License-Identifier: Apache-2.0
// The table of a mount's locks: which there are, those that nobody uses and that are kept all the
// same, waiting until any of them changes, and the end of all. Who may hold a lock is in
// lock_pump.c.
#include <errno.h>
#include <stdlib.h>

#include "fs/base/check.h"
#include "fs/base/environment.h"
#include "fs/base/text.h"
#include "fs/cluster_lock_private.h"
#include "fs/interruptible.h"
#include "fs/lock_types.h"

// Idle rights kept before the oldest are given back: at least as many as the cache has blocks, for
// a right that goes takes its blocks along.
enum { IDLE_LOCKS_MIN = 65536 };

static unsigned idle_max(const struct lock_table *table)
{
    uint64_t blocks = table->volume->options.cache_bytes / BLOCK_BYTES;
    return blocks < IDLE_LOCKS_MIN ? IDLE_LOCKS_MIN : (unsigned)blocks;
}

// --- the table -------------------------------------------------------------------------------

struct lock_table *lock_table_new(struct volume *volume, struct lock_service *service)
{
    struct lock_table *table = calloc(1, sizeof(*table));
    CHECK(table != NULL);
    table->client = cluster_lock_client;
    table->service = service;
    table->volume = volume;
    table->next_cookie = 1;
    TAILQ_INIT(&table->idle);
    TAILQ_INIT(&table->interruptible);
    wait_queue_init(&table->demoted);
    wait_queue_init(&table->let_in);
    wait_queue_init(&table->changed);
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
    table->service->client = NULL; // of a mount that failed, the cluster holds rights for longer
    free(table);
}

void lock_table_note_change(struct lock_table *table)
{
    table->change_count++;
    wait_queue_wake_all(table->volume->scheduler, &table->changed);
}

// A lock that nobody uses or refers to: dropped if it carries no right, else kept as idle.
void cluster_lock_settle(struct cluster_lock *lock)
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
        if (lock->is_missed)
            lock_table_note_change(table);
        lock->is_missed = false;
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
    cluster_lock_settle(lock);
    return lock;
}

void cluster_lock_give_back(struct cluster_lock *lock)
{
    bool is_used = has_holders(lock) || !TAILQ_EMPTY(&lock->waiters) ||
                   lock->wanted != RIGHT_NONE || lock->is_demoting;
    if (is_used || lock->right == RIGHT_NONE || lock->table->failure != 0)
        return;
    cluster_lock_start_demotion(lock, RIGHT_NONE);
    cluster_lock_settle(lock);
}

static void give_back_oldest(struct lock_table *table)
{
    struct cluster_lock *lock = TAILQ_FIRST(&table->idle);
    if (lock == NULL || table->failure != 0)
        return;
    cluster_lock_start_demotion(lock, RIGHT_NONE);
    cluster_lock_settle(lock);
}

void cluster_lock_put(struct cluster_lock *lock)
{
    struct lock_table *table = lock->table;
    CHECK(lock->references > 0);
    lock->references--;
    cluster_lock_settle(lock);
    if (table->idle_count > idle_max(table))
        give_back_oldest(table);
}

void cluster_lock_set_cookie(struct cluster_lock *lock, uint64_t cookie)
{
    struct lock_table *table = lock->table;
    if (lock->cookie != 0)
        HASH_DELETE(by_cookie, table->by_cookie, lock);
    lock->cookie = cookie;
    if (cookie != 0)
        HASH_ADD(by_cookie, table->by_cookie, cookie, sizeof(lock->cookie), lock);
}

// --- waiting for any change --------------------------------------------------------------------

uint64_t lock_table_changes(const struct lock_table *table)
{
    return table->change_count;
}

struct change_timer {
    struct environment_timer timer; // first
    struct lock_table *table;
    bool is_over;
};

static void change_timer_fire(struct environment_timer *timer)
{
    struct change_timer *self = (struct change_timer *)timer;
    self->is_over = true;
    wait_queue_wake_all(self->table->volume->scheduler, &self->table->changed);
}

static int wait_for_change(struct lock_table *table, unsigned flags)
{
    if ((flags & LOCK_INTERRUPTIBLE) != 0)
        return interruptible_wait(table->volume, &table->changed);
    wait_queue_wait(table->volume->scheduler, &table->changed);
    return 0;
}

int lock_table_wait_change(struct lock_table *table, uint64_t seen, uint64_t ns, unsigned flags)
{
    struct environment *environment = table->volume->environment;
    int result = 0;
    struct change_timer limit = {.timer.fire = change_timer_fire, .table = table};
    if (ns > 0)
        environment_timer_arm(environment, &limit.timer, environment_boot_ns(environment) + ns);
    while (table->change_count == seen && table->failure == 0 && !limit.is_over && result == 0)
        result = wait_for_change(table, flags);
    if (ns > 0)
        environment_timer_disarm(environment, &limit.timer);
    if (table->failure != 0)
        return table->failure;
    if (result != 0)
        return result;
    return table->change_count == seen ? -ETIMEDOUT : 0;
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
        cluster_lock_start_demotion(lock, RIGHT_NONE);
        cluster_lock_settle(lock);
        if (++started == DEMOTIONS_AT_ONCE)
            break;
    }
    return started > 0;
}

// What was asked for ahead and not answered yet: the table must not be gone when the answer comes.
static bool is_asking(struct lock_table *table)
{
    struct lock_service *service = table->service;
    struct cluster_lock *lock, *next;
    bool is_any = false;
    HASH_ITER (by_key, table->by_key, lock, next) {
        if (lock->wanted == RIGHT_NONE)
            continue;
        is_any = true;
        if (lock->is_cancelled)
            continue;
        lock->is_cancelled = true;
        service->operations->cancel(service, lock->cookie); // may answer, and free the lock
    }
    return is_any;
}

static int take_back_requests(struct lock_table *table)
{
    uint64_t seen = table->change_count;
    while (table->failure == 0 && is_asking(table)) {
        lock_table_wait_change(table, seen, 0, 0);
        seen = table->change_count;
    }
    return table->failure;
}

int lock_table_release_all(struct lock_table *table)
{
    take_back_requests(table);
    while (table->failure == 0 && start_some_demotions(table))
        lock_table_wait_demotions(table);
    return table->failure;
}

void lock_table_wait_demotions(struct lock_table *table)
{
    while (table->demoting_count > 0)
        wait_queue_wait(table->volume->scheduler, &table->demoted);
}

void lock_table_fail(struct lock_table *table, int error)
{
    struct cluster_lock *lock, *next;
    table->failure = error;
    HASH_ITER (by_key, table->by_key, lock, next) {
        cluster_lock_fail_waiters(lock, error);
    }
    lock_table_note_change(table);
}

void lock_table_to_text(const struct lock_table *table, struct text *text)
{
    static const char *const rights[] = {"none", "shared", "together", "exclusive"};
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
