// SPDX-License-Identifier: Apache-2.0
// Two nodes close an unlinked file at the same time; A unlinked it:
//
//   A  close: drops its hold ── LOCK_OPEN EX? at once: no (B has it) ── waits ──── EX: dead, goes
//   B           close: drops its hold ── the callback made A's right go ── LOCK_OPEN EX: frees it
//
// "At once" is a short way for the many files that nobody else ever opened; who is refused waits in
// the queue, because a right may be cached where no handle is open, and only a request that waits
// makes it go.
#include "fs/reaper.h"

#include <stdlib.h>
#include <sys/queue.h>

#include "fs/base/check.h"
#include "fs/base/coroutine.h"
#include "fs/base/error.h"
#include "fs/base/log.h"
#include "fs/base/sabotage.h"
#include "fs/cluster_lock.h"
#include "fs/inode_free.h"
#include "fs/inode_table.h"
#include "fs/interruptible.h"
#include "fs/live_inode.h"
#include "fs/lock_set.h"
#include "fs/lock_types.h"
#include "fs/volume.h"
#include "journal/journal.h"

enum {
    WORKERS_MAX = 2,
    BATCH_MAX = 8, // inodes made dead on disk together
};

// An inode to be freed; in the queue, in a batch, or with a coroutine that waits for LOCK_OPEN.
struct doomed {
    TAILQ_ENTRY(doomed) link;
    struct reaper *reaper;
    uint64_t number, generation;
    struct cluster_lock *open_lock; // held EXCLUSIVE while in a batch
    struct coroutine *waiter;
};

TAILQ_HEAD(doomed_list, doomed);

struct reaper {
    struct volume *volume;
    struct doomed_list queue;
    struct doomed_list waiting;
    unsigned worker_count, waiter_count;
    uint64_t added_count, handled_count; // ever in the queue; freed, given up or left to a waiter
    bool is_stopping;
    struct wait_queue ended;
    struct wait_queue progressed;
};

struct reaper *reaper_new(struct volume *volume)
{
    struct reaper *reaper = calloc(1, sizeof(*reaper));
    CHECK(reaper != NULL);
    reaper->volume = volume;
    TAILQ_INIT(&reaper->queue);
    TAILQ_INIT(&reaper->waiting);
    wait_queue_init(&reaper->ended);
    wait_queue_init(&reaper->progressed);
    return reaper;
}

void reaper_free(struct reaper *reaper)
{
    CHECK(reaper->worker_count == 0 && reaper->waiter_count == 0);
    CHECK(TAILQ_EMPTY(&reaper->queue));
    free(reaper);
}

// --- a batch: LOCK_OPEN of each is held EXCLUSIVE --------------------------------------------

static void let_go(struct doomed *doomed)
{
    cluster_lock_release(doomed->open_lock, LOCK_EXCLUSIVE);
    cluster_lock_put(doomed->open_lock);
    free(doomed);
}

// Whether it is still there and still has no links.
static bool load_doomed(struct volume *volume, const struct doomed *doomed, struct inode *inode)
{
    if (live_inode_load_orphan(inode, volume, doomed->number, doomed->generation) != 0)
        return false;
    if (inode_link_count(inode) == 0)
        return true;
    inode_unload(inode);
    return false;
}

static void free_loaded(struct volume *volume, struct inode *inode)
{
    uint64_t number = inode->number;
    int result = inode_free(inode);
    if (result != 0 && volume_check(volume) == 0)
        log_error(volume->log, error_is_check(result) ? -result : 0,
                  "unlinked inode %llu stays on its orphan list: %s", (unsigned long long)number,
                  error_text(result));
}

static int make_dead_on_disk(struct volume *volume, const struct inode *inodes, size_t count)
{
    struct lock_name names[BATCH_MAX];
    for (size_t i = 0; i < count; i++)
        names[i] = lock_name_inode(inodes[i].number);
    return count > 0 ? journal_lock_write_back(volume->journal, names, count) : 0;
}

static void free_locked(struct volume *volume, struct doomed *const *batch, size_t count)
{
    struct inode inodes[BATCH_MAX];
    size_t loaded = 0;
    for (size_t i = 0; i < count; i++)
        loaded += load_doomed(volume, batch[i], &inodes[loaded]);
    int result = make_dead_on_disk(volume, inodes, loaded);
    for (size_t i = 0; i < loaded; i++) {
        if (result == 0)
            free_loaded(volume, &inodes[i]);
        else
            inode_unload(&inodes[i]);
    }
}

static void reap(struct volume *volume, struct doomed *const *batch, size_t count)
{
    LOCK_SET(set);
    for (size_t i = 0; i < count; i++)
        lock_set_add(&set, lock_name_inode(batch[i]->number), LOCK_EXCLUSIVE);
    if (lock_set_acquire(&set, volume) == 0) {
        free_locked(volume, batch, count);
        lock_set_release(&set);
    }
    for (size_t i = 0; i < count; i++)
        let_go(batch[i]);
}

// --- waiting for who has it open -------------------------------------------------------------

static void ended(struct reaper *reaper, unsigned *count)
{
    --*count;
    wait_queue_wake_all(reaper->volume->scheduler, &reaper->ended);
}

static void wait_and_reap(void *argument)
{
    struct doomed *doomed = argument;
    struct reaper *reaper = doomed->reaper;
    int result = -ECANCELED;
    doomed->waiter = coroutine_current(reaper->volume->scheduler);
    if (!reaper->is_stopping)
        result = cluster_lock_acquire(doomed->open_lock, LOCK_EXCLUSIVE, 0);
    doomed->waiter = NULL;
    TAILQ_REMOVE(&reaper->waiting, doomed, link);
    if (result == 0) {
        reap(reaper->volume, &doomed, 1);
    } else {
        cluster_lock_put(doomed->open_lock);
        free(doomed);
    }
    ended(reaper, &reaper->waiter_count);
}

static bool is_waiting(const struct reaper *reaper, uint64_t number)
{
    const struct doomed *doomed;
    TAILQ_FOREACH (doomed, &reaper->waiting, link) {
        if (doomed->number == number)
            return true;
    }
    return false;
}

static void start_waiting(struct doomed *doomed)
{
    struct reaper *reaper = doomed->reaper;
    TAILQ_INSERT_TAIL(&reaper->waiting, doomed, link);
    reaper->waiter_count++;
    coroutine_start(reaper->volume->scheduler, "wait to free an inode", wait_and_reap, doomed);
}

// --- the queue -------------------------------------------------------------------------------

static void handled(struct reaper *reaper, size_t count)
{
    reaper->handled_count += count;
    wait_queue_wake_all(reaper->volume->scheduler, &reaper->progressed);
}

// The next one whose LOCK_OPEN is ours; NULL when the queue is empty.
static struct doomed *take_one(struct reaper *reaper)
{
    struct volume *volume = reaper->volume;
    struct doomed *doomed;
    while ((doomed = TAILQ_FIRST(&reaper->queue)) != NULL) {
        TAILQ_REMOVE(&reaper->queue, doomed, link);
        // Whoever closes it here adds it again.
        if (open_inode_find(volume, doomed->number) != NULL || is_waiting(reaper, doomed->number)) {
            free(doomed);
            handled(reaper, 1);
            continue;
        }
        doomed->open_lock = cluster_lock_get(volume->locks, lock_name_open(doomed->number));
        int result = cluster_lock_acquire(doomed->open_lock, LOCK_EXCLUSIVE, LOCK_TRY);
        if (result == 0)
            return doomed;
        handled(reaper, 1);
        if (result == -EAGAIN && !reaper->is_stopping) {
            start_waiting(doomed);
            continue;
        }
        cluster_lock_put(doomed->open_lock);
        free(doomed);
    }
    return NULL;
}

static void work(void *argument)
{
    struct reaper *reaper = argument;
    struct doomed *batch[BATCH_MAX];
    size_t count;
    do {
        count = 0;
        while (count < BATCH_MAX && (batch[count] = take_one(reaper)) != NULL)
            count++;
        if (count > 0)
            reap(reaper->volume, batch, count);
        handled(reaper, count);
    } while (count > 0);
    ended(reaper, &reaper->worker_count);
}

void reaper_add(struct reaper *reaper, uint64_t number, uint64_t generation)
{
    if (reaper->volume->journal == NULL || volume_check(reaper->volume) != 0)
        return;
    struct doomed *doomed = calloc(1, sizeof(*doomed));
    CHECK(doomed != NULL);
    doomed->reaper = reaper;
    doomed->number = number;
    doomed->generation = generation;
    TAILQ_INSERT_TAIL(&reaper->queue, doomed, link);
    reaper->added_count++;
    if (reaper->worker_count >= WORKERS_MAX)
        return;
    reaper->worker_count++;
    coroutine_start(reaper->volume->scheduler, "free unlinked inodes", work, reaper);
}

// Workers end batches out of order, so a batch of each is waited for beyond; or they run dry.
bool reaper_catch_up(struct reaper *reaper)
{
    uint64_t enough = reaper->added_count + (uint64_t)WORKERS_MAX * BATCH_MAX;
    if (reaper->handled_count == reaper->added_count)
        return false;
    while (reaper->handled_count < reaper->added_count && reaper->handled_count < enough) {
        if (interruptible_wait(reaper->volume, &reaper->progressed) != 0)
            return false;
    }
    return true;
}

void reaper_stop(struct reaper *reaper)
{
    struct doomed *doomed;
    reaper->is_stopping = true;
    TAILQ_FOREACH (doomed, &reaper->waiting, link) {
        if (doomed->waiter != NULL)
            cluster_lock_interrupt(doomed->open_lock, doomed->waiter, -ECANCELED);
    }
    while (reaper->worker_count > 0 || reaper->waiter_count > 0)
        wait_queue_wait(reaper->volume->scheduler, &reaper->ended);
}
