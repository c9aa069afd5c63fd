// SPDX-License-Identifier: Apache-2.0
#include "fs/freeze.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>

#include "fs/base/check.h"
#include "fs/base/environment.h"
#include "fs/base/error.h"
#include "fs/cluster_lock.h"
#include "fs/freeze_gate.h"
#include "fs/inode_table.h"
#include "fs/lock_types.h"
#include "fs/quota.h"
#include "fs/volume.h"
#include "journal/journal.h"

struct freeze {
    struct volume *volume;
    struct cluster_lock *lock, *thaw_lock; // referenced for good
    struct freeze_gate gate;
    LIST_HEAD(, freeze_filler) fillers;
    enum freeze_state state; // of this node's own: not FREEZE_OTHER
    uint64_t since_ns;       // of the state
    uint64_t until_ns;
    int ended;
    struct environment_timer limit;
    struct coroutine *freezer; // waits for LOCK_FREEZE
    struct coroutine *watcher; // of another node's freeze: waits for its end
    struct coroutine *asker;   // of another node for a thaw
    uint64_t other_since_ns;
    unsigned coroutine_count;
    bool is_stopping;
    struct wait_queue moved;
};

static void limit_reached(struct environment_timer *timer);

struct freeze *freeze_new(struct volume *volume)
{
    struct freeze *freeze = calloc(1, sizeof(*freeze));
    CHECK(freeze != NULL);
    freeze->volume = volume;
    freeze->lock = cluster_lock_get(volume->locks, lock_name_freeze());
    freeze->thaw_lock = cluster_lock_get(volume->locks, lock_name_thaw());
    freeze_gate_init(&freeze->gate, volume->environment, freeze->lock);
    volume->freeze_gate = &freeze->gate;
    freeze->ended = -ENODATA;
    freeze->limit.fire = limit_reached;
    wait_queue_init(&freeze->moved);
    return freeze;
}

void freeze_free(struct freeze *freeze)
{
    CHECK(freeze->coroutine_count == 0 && freeze->state == FREEZE_NONE);
    CHECK(freeze->gate.kernel_writes == 0);
    freeze->volume->freeze_gate = NULL;
    cluster_lock_put(freeze->lock);
    cluster_lock_put(freeze->thaw_lock);
    free(freeze);
}

static uint64_t now_ns(const struct freeze *freeze)
{
    return environment_boot_ns(freeze->volume->environment);
}

static void start(struct freeze *freeze, const char *name, void (*body)(void *argument))
{
    freeze->coroutine_count++;
    coroutine_start(freeze->volume->scheduler, name, body, freeze);
}

static void moved(struct freeze *freeze)
{
    wait_queue_wake_all(freeze->volume->scheduler, &freeze->moved);
}

static void coroutine_ended(struct freeze *freeze)
{
    freeze->coroutine_count--;
    moved(freeze);
}

// --- nothing of this node changes any more -------------------------------------------------------

// Until nothing was let in meanwhile, and no page that processes could change is in the kernel.
static void settle_inodes(struct freeze *freeze)
{
    struct volume *volume = freeze->volume;
    struct freeze_gate *gate = &freeze->gate;
    uint64_t seen;
    bool was_mapped;
    do {
        was_mapped = inode_table_call_mapped_in(volume->inodes);
        while (gate->kernel_writes > 0 && volume_check(volume) == 0)
            wait_queue_wait(volume->scheduler, &gate->quiet);
        seen = gate->let_in_count;
        inode_table_settle(volume->inodes);
    } while ((was_mapped || gate->kernel_writes > 0 || seen != gate->let_in_count) &&
             volume_check(volume) == 0);
}

// Changes of the core have ended and none begins, but those that the kernel waits for. An error has
// ended the mount and is logged where it arose.
static void settle(struct freeze *freeze)
{
    struct volume *volume = freeze->volume;
    if (volume->journal == NULL || volume_check(volume) != 0)
        return;
    settle_inodes(freeze);
    freeze->gate.is_shut = true;
    if (volume_check(volume) == 0)
        journal_rest(volume->journal);
}

bool freeze_lets_write(const struct freeze *freeze)
{
    return freeze_gate_is_open(&freeze->gate);
}

bool freeze_has_right(const struct freeze *freeze)
{
    return cluster_lock_is_cached(freeze->lock, LOCK_SHARED);
}

int freeze_enter(struct freeze *freeze)
{
    return cluster_lock_acquire(freeze->lock, LOCK_SHARED, 0);
}

void freeze_leave(struct freeze *freeze)
{
    cluster_lock_release(freeze->lock, LOCK_SHARED);
}

bool freeze_try_enter(struct freeze *freeze)
{
    return freeze_lets_write(freeze) &&
           cluster_lock_acquire(freeze->lock, LOCK_SHARED, LOCK_TRY) == 0;
}

void freeze_fill_begin(struct freeze *freeze, struct freeze_filler *filler, uint64_t inode)
{
    *filler = (struct freeze_filler){.inode = inode,
                                     .coroutine = coroutine_current(freeze->volume->scheduler)};
    LIST_INSERT_HEAD(&freeze->fillers, filler, link);
}

int freeze_fill_wait(struct freeze *freeze, struct freeze_filler *filler)
{
    int result = filler->is_let_go ? -EAGAIN : freeze_enter(freeze);
    if (result == 0)
        freeze_leave(freeze);
    LIST_REMOVE(filler, link);
    return filler->is_let_go ? 0 : result;
}

void freeze_let_fills_go(struct freeze *freeze, uint64_t inode)
{
    struct freeze_filler *filler;
    LIST_FOREACH (filler, &freeze->fillers, link) {
        if (filler->inode != inode || filler->is_let_go)
            continue;
        filler->is_let_go = true;
        cluster_lock_interrupt(freeze->lock, filler->coroutine, -EAGAIN);
    }
}

// --- another node's freeze -----------------------------------------------------------------------

void freeze_quiesce(struct volume *volume, struct cluster_lock *lock, enum lock_right keep)
{
    (void)lock;
    if (keep == RIGHT_NONE && volume->freeze != NULL)
        settle(volume->freeze);
}

// Asks for the right again at once, so that the end is known here as soon as it comes.
static void watch(void *argument)
{
    struct freeze *freeze = argument;
    struct volume *volume = freeze->volume;
    freeze->other_since_ns = now_ns(freeze);
    freeze->watcher = coroutine_current(volume->scheduler);
    int result = freeze->is_stopping ? -ECANCELED : freeze_enter(freeze);
    freeze->watcher = NULL;
    if (result == 0) {
        freeze_leave(freeze);
        log_notice(volume->log, "%s: thawed after %llu ms: changes go on", volume->device->name,
                   (unsigned long long)(now_ns(freeze) - freeze->other_since_ns) / 1000000);
    }
    coroutine_ended(freeze);
}

void freeze_forget(struct volume *volume, struct cluster_lock *lock)
{
    struct freeze *freeze = volume->freeze;
    (void)lock;
    if (volume->quota != NULL)
        quota_look_again(volume->quota);
    // Without the right nothing is let in; with the next one all begins anew.
    if (freeze != NULL)
        freeze->gate.is_shut = false;
    if (freeze == NULL || freeze->is_stopping || freeze->watcher != NULL ||
        freeze->state != FREEZE_NONE || volume_check(volume) != 0)
        return;
    log_notice(volume->log, "%s: frozen by another node: changes wait", volume->device->name);
    start(freeze, "thaw watch", watch);
}

int freeze_enter_to_mount(struct freeze *freeze)
{
    struct volume *volume = freeze->volume;
    int result = cluster_lock_acquire(freeze->lock, LOCK_SHARED, LOCK_TRY);
    if (result != -EAGAIN)
        return result;
    log_notice(
        volume->log,
        "%s: another node has frozen the volume, or is about to: the mount waits for the thaw",
        volume->device->name);
    freeze->other_since_ns = now_ns(freeze);
    freeze->watcher = coroutine_current(volume->scheduler);
    result = freeze_enter(freeze);
    freeze->watcher = NULL;
    return result;
}

// --- this node's freeze --------------------------------------------------------------------------

static void set_state(struct freeze *freeze, enum freeze_state state)
{
    freeze->state = state;
    freeze->since_ns = now_ns(freeze);
    moved(freeze);
}

// The freeze is over because of `why`.
static void thaw(struct freeze *freeze, int why)
{
    struct volume *volume = freeze->volume;
    uint64_t held_ns = now_ns(freeze) - freeze->since_ns;
    CHECK(freeze->state == FREEZE_HOLDS);
    environment_timer_disarm(volume->environment, &freeze->limit);
    freeze->ended = why;
    freeze->gate.is_shut = false;
    set_state(freeze, FREEZE_NONE);
    cluster_lock_release(freeze->lock, LOCK_EXCLUSIVE);
    cluster_lock_give_back(freeze->thaw_lock);
    log_line(volume->log, why == 0 ? LOG_LEVEL_NOTICE : LOG_LEVEL_WARNING, 0,
             "%s: the freeze of this node is over after %llu ms: %s", volume->device->name,
             (unsigned long long)held_ns / 1000000,
             why == 0            ? "as asked for"
             : why == -ETIMEDOUT ? "its time limit: a copy that was under way is not whole"
             : why == -ECANCELED ? "another node asked for it"
                                 : error_text(why));
}

// Where LOCK_FREEZE is waited for, the wait ends; later the freezer finds out by itself.
static void cancel(struct freeze *freeze, int why)
{
    freeze->ended = why;
    if (freeze->freezer != NULL)
        cluster_lock_interrupt(freeze->lock, freeze->freezer, why);
}

static void limit_reached(struct environment_timer *timer)
{
    struct freeze *freeze =
        (struct freeze *)(void *)((char *)timer - offsetof(struct freeze, limit));
    if (freeze->state == FREEZE_HOLDS)
        thaw(freeze, -ETIMEDOUT);
    else if (freeze->state == FREEZE_BEGINS)
        cancel(freeze, -ETIMEDOUT);
}

void freeze_thaw_asked(struct volume *volume, struct cluster_lock *lock, enum lock_right keep)
{
    struct freeze *freeze = volume->freeze;
    (void)lock, (void)keep;
    if (freeze != NULL && freeze->state == FREEZE_HOLDS)
        thaw(freeze, -ECANCELED);
}

static int acquire(struct freeze *freeze)
{
    freeze->freezer = coroutine_current(freeze->volume->scheduler);
    int result =
        freeze->ended != 0 ? freeze->ended : cluster_lock_acquire(freeze->lock, LOCK_EXCLUSIVE, 0);
    freeze->freezer = NULL;
    if (result != 0)
        return result;
    settle(freeze);
    result = volume_check(freeze->volume);
    if (result == 0)
        result = freeze->ended; // meanwhile
    if (result != 0) {
        freeze->gate.is_shut = false;
        cluster_lock_release(freeze->lock, LOCK_EXCLUSIVE);
    }
    return result;
}

// LOCK_THAW is held until the freeze holds, so that whoever wants it to end waits for that; and a
// second freeze is refused. The right of this node's freeze before may still be on its way back.
static int take_thaw_lock(struct freeze *freeze)
{
    struct lock_table *locks = freeze->volume->locks;
    int result = 0;
    while (result == 0 && cluster_lock_is_going(freeze->thaw_lock))
        result = lock_table_wait_change(locks, lock_table_changes(locks), 0, 0);
    if (result == 0)
        result = cluster_lock_acquire(freeze->thaw_lock, LOCK_EXCLUSIVE, LOCK_TRY);
    return result == -EAGAIN ? -EBUSY : result;
}

static void not_frozen(struct freeze *freeze, int why)
{
    struct volume *volume = freeze->volume;
    environment_timer_disarm(volume->environment, &freeze->limit);
    freeze->ended = why;
    set_state(freeze, FREEZE_NONE);
    log_line(volume->log, LOG_LEVEL_WARNING, 0, "%s: not frozen: %s", volume->device->name,
             error_text(why));
}

static void frozen(struct freeze *freeze)
{
    struct volume *volume = freeze->volume;
    set_state(freeze, FREEZE_HOLDS);
    log_notice(volume->log, "%s: frozen: nothing changes until the thaw, for at most %llu s",
               volume->device->name,
               (unsigned long long)(freeze->until_ns - now_ns(freeze)) / 1000000000);
}

static void begin(void *argument)
{
    struct freeze *freeze = argument;
    int taken = take_thaw_lock(freeze);
    int result = taken == 0 ? acquire(freeze) : taken;
    if (result == 0)
        frozen(freeze);
    else
        not_frozen(freeze, result);
    if (taken == 0)
        cluster_lock_release(freeze->thaw_lock, LOCK_EXCLUSIVE);
    if (taken == 0 && result != 0)
        cluster_lock_give_back(freeze->thaw_lock);
    coroutine_ended(freeze);
}

// LOCK_THAW stays held, so nobody is heard who asks for a thaw.
int freeze_hold(struct freeze *freeze)
{
    if (freeze->state != FREEZE_NONE || freeze->watcher != NULL || freeze->is_stopping)
        return -EBUSY;
    freeze->ended = 0;
    freeze->coroutine_count++;
    set_state(freeze, FREEZE_BEGINS);
    int result = take_thaw_lock(freeze);
    if (result == 0) {
        result = acquire(freeze);
        if (result == 0)
            return 0;
        cluster_lock_release(freeze->thaw_lock, LOCK_EXCLUSIVE);
        cluster_lock_give_back(freeze->thaw_lock);
    }
    freeze->ended = result;
    set_state(freeze, FREEZE_NONE);
    coroutine_ended(freeze);
    return result;
}

bool freeze_hold_is_cancelled(const struct freeze *freeze)
{
    return freeze->ended != 0;
}

void freeze_let_go(struct freeze *freeze)
{
    CHECK(freeze->state == FREEZE_BEGINS);
    freeze->gate.is_shut = false;
    cluster_lock_release(freeze->lock, LOCK_EXCLUSIVE);
    cluster_lock_release(freeze->thaw_lock, LOCK_EXCLUSIVE);
    cluster_lock_give_back(freeze->thaw_lock);
    set_state(freeze, FREEZE_NONE);
    coroutine_ended(freeze);
}

int freeze_begin(struct freeze *freeze, uint64_t limit_ns)
{
    struct volume *volume = freeze->volume;
    if (volume->options.no_recovery)
        return -EROFS;
    if (freeze->state != FREEZE_NONE || freeze->watcher != NULL || freeze->is_stopping)
        return -EBUSY;
    freeze->ended = 0;
    set_state(freeze, FREEZE_BEGINS);
    freeze->until_ns = now_ns(freeze) + limit_ns;
    environment_timer_arm(volume->environment, &freeze->limit, freeze->until_ns);
    start(freeze, "freeze", begin);
    return 0;
}

// A node whose lease has run out may be recovered by now, and its freeze over for all others.
static int check_hold(const struct volume *volume)
{
    if (volume_check(volume) != 0)
        return volume_check(volume);
    uint64_t now = environment_boot_ns(volume->environment);
    return gate_is_open_to_recovery(volume->gate, now) ? 0 : -ERROR_LEASE_LOST;
}

int freeze_end(struct freeze *freeze)
{
    if (freeze->state == FREEZE_NONE)
        return freeze->ended != 0 ? freeze->ended : -ENODATA;
    if (freeze->state == FREEZE_HOLDS) {
        int result = check_hold(freeze->volume);
        thaw(freeze, result);
        return result;
    }
    cancel(freeze, -ECANCELED);
    return -ECANCELED;
}

static void ask_end(void *argument)
{
    struct freeze *freeze = argument;
    freeze->asker = coroutine_current(freeze->volume->scheduler);
    int result = freeze->is_stopping ? -ECANCELED
                                     : cluster_lock_acquire(freeze->thaw_lock, LOCK_EXCLUSIVE, 0);
    freeze->asker = NULL;
    if (result == 0) {
        cluster_lock_release(freeze->thaw_lock, LOCK_EXCLUSIVE);
        cluster_lock_give_back(freeze->thaw_lock);
    }
    coroutine_ended(freeze);
}

void freeze_ask_end(struct freeze *freeze)
{
    if (freeze->asker == NULL && !freeze->is_stopping)
        start(freeze, "ask for a thaw", ask_end);
}

void freeze_status_get(const struct freeze *freeze, struct freeze_status *status)
{
    uint64_t now = now_ns(freeze);
    bool is_own = freeze->state != FREEZE_NONE;
    *status = (struct freeze_status){.state = freeze->state, .ended = freeze->ended};
    if (is_own) {
        status->for_ns = now - freeze->since_ns;
        status->left_ns = freeze->until_ns > now ? freeze->until_ns - now : 0;
    } else if (freeze->watcher != NULL) {
        status->state = FREEZE_OTHER;
        status->for_ns = now - freeze->other_since_ns;
    }
}

// --- the end of the mount ------------------------------------------------------------------------

void freeze_stop(struct freeze *freeze)
{
    freeze->is_stopping = true;
    if (freeze->state != FREEZE_NONE)
        freeze_end(freeze);
    if (freeze->watcher != NULL)
        cluster_lock_interrupt(freeze->lock, freeze->watcher, -ECANCELED);
    if (freeze->asker != NULL)
        cluster_lock_interrupt(freeze->thaw_lock, freeze->asker, -ECANCELED);
    while (freeze->coroutine_count > 0)
        wait_queue_wait(freeze->volume->scheduler, &freeze->moved);
}
