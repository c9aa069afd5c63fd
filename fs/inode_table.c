// SPDX-License-Identifier: Apache-2.0
#include "fs/inode_table.h"

#include <stdlib.h>

#include "fs/base/check.h"
#include "fs/base/coroutine.h"
#include "fs/base/environment.h"
#include "fs/base/error.h"
#include "fs/base/log.h"
#include "fs/base/sabotage.h"
#include "fs/cluster_lock.h"
#include "fs/freeze.h"
#include "fs/inode.h"
#include "fs/inode_table_private.h"
#include "fs/lock_types.h"
#include "fs/open_inode.h"
#include "fs/reaper.h"
#include "fs/volume.h"

// What was written but not synced is lost by a crash if it is younger than this.
static const uint64_t flush_interval_ns = 5000000000;

struct inode_table {
    struct volume *volume;
    struct open_inode *by_number;
    struct reaper *reaper;
    struct wait_queue drained; // passes, and writes of the core
    void (*wake)(void *context);
    void *wake_context;
    struct environment_timer flush_timer;
    bool flush_is_armed;
    bool flush_is_running;
    bool is_stopping;
    struct wait_queue flush_ended;
};

// --- life --------------------------------------------------------------------------------------

static void on_flush_timer(struct environment_timer *timer);

struct inode_table *inode_table_new(struct volume *volume)
{
    struct inode_table *table = calloc(1, sizeof(*table));
    CHECK(table != NULL);
    table->volume = volume;
    table->reaper = reaper_new(volume);
    table->flush_timer.fire = on_flush_timer;
    wait_queue_init(&table->drained);
    wait_queue_init(&table->flush_ended);
    return table;
}

void inode_table_stop(struct inode_table *table)
{
    table->is_stopping = true;
    if (table->flush_is_armed)
        environment_timer_disarm(table->volume->environment, &table->flush_timer);
    table->flush_is_armed = false;
    while (table->flush_is_running)
        wait_queue_wait(table->volume->scheduler, &table->flush_ended);
    reaper_stop(table->reaper);
}

void inode_table_free(struct inode_table *table)
{
    CHECK(table->by_number == NULL && !table->flush_is_running);
    if (table->flush_is_armed)
        environment_timer_disarm(table->volume->environment, &table->flush_timer);
    reaper_free(table->reaper);
    free(table);
}

// --- the table ---------------------------------------------------------------------------------

struct open_inode *open_inode_find(struct volume *volume, uint64_t number)
{
    struct open_inode *open;
    HASH_FIND(by_number, volume->inodes->by_number, &number, sizeof(number), open);
    return open;
}

void inode_table_enter(struct inode_table *table, struct open_inode *open)
{
    HASH_ADD(by_number, table->by_number, number, sizeof(open->number), open);
}

void inode_table_leave(struct inode_table *table, struct open_inode *open)
{
    HASH_DELETE(by_number, table->by_number, open);
}

struct reaper *inode_table_reaper(struct volume *volume)
{
    return volume->inodes->reaper;
}

void inode_table_note_change(struct volume *volume, uint64_t number, uint64_t ticket)
{
    struct open_inode *open = open_inode_find(volume, number);
    if (open != NULL && open->ticket < ticket)
        open->ticket = ticket;
}

// --- draining ----------------------------------------------------------------------------------

void inode_table_set_waker(struct inode_table *table, void (*wake)(void *context), void *context)
{
    table->wake = wake;
    table->wake_context = context;
}

void inode_table_drained(struct inode_table *table)
{
    wait_queue_wake_all(table->volume->scheduler, &table->drained);
}

void inode_table_wake(struct inode_table *table)
{
    if (table->wake != NULL)
        table->wake(table->wake_context);
    else
        inode_table_drained(table);
}

bool inode_table_is_drained(const struct inode_table *table)
{
    for (const struct open_inode *open = table->by_number; open != NULL;
         open = open->by_number.next) {
        if (!pass_is_idle(&open->pass))
            return false;
    }
    return true;
}

void inode_table_wait_drained(struct inode_table *table)
{
    wait_queue_wait(table->volume->scheduler, &table->drained);
}

// --- before the lock goes ----------------------------------------------------------------------

// Nobody can be told any more but the next fsync: the lock must go.
static void flush_or_discard(struct open_inode *open)
{
    struct inode inode;
    struct volume *volume = open->volume;
    int result = inode_load(&inode, volume, open->number);
    if (result == 0) {
        result = open_inode_flush(open, &inode);
        inode_unload(&inode);
    }
    if (result == 0 || volume_check(volume) != 0)
        return;
    log_error(volume->log, error_is_check(result) ? -result : 0,
              "inode %llu: what was written last could not be kept: %s",
              (unsigned long long)open->number, error_text(result));
    open_inode_discard(open, result);
}

static void publish_what_is_kept(struct open_inode *open, enum lock_right keep)
{
    struct inode inode;
    if (inode_load(&inode, open->volume, open->number) != 0)
        return;
    open_inode_publish_under(open, &inode, keep);
    inode_unload(&inode);
}

void inode_table_quiesce(struct volume *volume, struct cluster_lock *lock, enum lock_right keep)
{
    struct open_inode *open = open_inode_find(volume, cluster_lock_name(lock).id);
    if (open == NULL)
        return;
    bool was_published = pass_is_published(&open->pass);
    open_inode_get(open);
    open_inode_drain(open);
    if (cluster_lock_is_cached(lock, LOCK_EXCLUSIVE)) {
        flush_or_discard(open);
        open->ahead_first = open->ahead_end = 0; // others may allocate there
    }
    open->has_late_time = atomic_load(&open->pass.modified_ns) != 0;
    open_inode_note_rivals(open);
    if (keep != RIGHT_NONE && was_published)
        publish_what_is_kept(open, keep);
    open_inode_put(open);
}

void inode_table_stop_filling(struct volume *volume, struct cluster_lock *lock)
{
    uint64_t number = cluster_lock_name(lock).id;
    struct open_inode *open = open_inode_find(volume, number);
    if (open != NULL)
        pass_withdraw(&open->pass, PASS_FILL);
    if (volume->freeze != NULL)
        freeze_let_fills_go(volume->freeze, number);
}

void inode_table_forget(struct volume *volume, struct cluster_lock *lock)
{
    struct open_inode *open = open_inode_find(volume, cluster_lock_name(lock).id);
    CHECK(open == NULL || !pass_is_published(&open->pass) || volume_check(volume) != 0);
}

// --- flushing ----------------------------------------------------------------------------------

// In the order of the table: what is added meanwhile is the next round's.
int inode_table_flush_all(struct inode_table *table)
{
    struct open_inode *open, *next;
    int first_error = 0;
    if (table->volume->journal == NULL)
        return 0;
    for (open = table->by_number; open != NULL; open = next) {
        int result = 0;
        open_inode_get(open);
        if (open_inode_is_dirty(open))
            result = open_inode_flush_unlocked(open);
        if (first_error == 0)
            first_error = result;
        next = open->by_number.next;
        open_inode_put(open);
    }
    return first_error;
}

static void settle_locked(struct open_inode *open)
{
    if (!SABOTAGE(freeze_lanes_go_on))
        open_inode_drain(open);
    flush_or_discard(open);
    open_inode_trim_ahead(open);
}

// Without the exclusive right there is nothing that was not flushed, but times of writes together
// with other nodes: these stay behind. A right on its way down is waited for: what its demotion
// flushes is then in the journal.
static void settle_one(struct open_inode *open)
{
    struct lock_table *locks = open->volume->locks;
    struct cluster_lock *lock = cluster_lock_get(locks, lock_name_inode(open->number));
    if (cluster_lock_may_write_data(lock) && !SABOTAGE(freeze_lanes_go_on))
        open_inode_drain(open);
    if (cluster_lock_is_cached(lock, LOCK_EXCLUSIVE) &&
        cluster_lock_acquire(lock, LOCK_EXCLUSIVE, 0) == 0) {
        settle_locked(open);
        cluster_lock_release(lock, LOCK_EXCLUSIVE);
    }
    cluster_lock_put(lock);
}

bool inode_table_call_mapped_in(struct inode_table *table)
{
    struct open_inode *open, *next;
    bool was_any = false;
    for (open = table->by_number; open != NULL; open = next) {
        struct volume *volume = open->volume;
        open_inode_get(open);
        if (page_loans_may_be_changed(&open->pages, volume->locks, open->number)) {
            was_any = true;
            page_loans_drop(&open->pages, volume->locks, open->number);
        }
        next = open->by_number.next;
        open_inode_put(open);
    }
    return was_any && volume_check(table->volume) == 0;
}

void inode_table_settle(struct inode_table *table)
{
    struct open_inode *open, *next;
    for (open = table->by_number; open != NULL; open = next) {
        open_inode_get(open);
        settle_one(open);
        next = open->by_number.next;
        open_inode_put(open);
    }
}

static void flush_in_background(void *argument)
{
    struct inode_table *table = argument;
    inode_table_flush_all(table);
    table->flush_is_running = false;
    wait_queue_wake_all(table->volume->scheduler, &table->flush_ended);
}

static void on_flush_timer(struct environment_timer *timer)
{
    struct inode_table *table =
        (struct inode_table *)((char *)timer - offsetof(struct inode_table, flush_timer));
    table->flush_is_armed = false;
    if (table->is_stopping || volume_check(table->volume) != 0)
        return;
    if (table->flush_is_running) {
        inode_table_note_dirty(table);
        return;
    }
    table->flush_is_running = true;
    coroutine_start(table->volume->scheduler, "flush of open inodes", flush_in_background, table);
}

void inode_table_note_dirty(struct inode_table *table)
{
    struct environment *environment = table->volume->environment;
    if (table->flush_is_armed || table->is_stopping)
        return;
    table->flush_is_armed = true;
    environment_timer_arm(environment, &table->flush_timer,
                          environment_boot_ns(environment) + flush_interval_ns);
}
