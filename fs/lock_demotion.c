// SPDX-License-Identifier: Apache-2.0
// Giving up rights. What the coherence table and the replay rule (rules 5 and 6) ask for before a
// right goes is done for many locks at once: the callbacks that came together share one commit, one
// flush and one retire (protocols, P3).
//
//   callbacks   A ─► quiesce ─┐ joins the open round, or opens one
//               B ─► quiesce ─┤
//               C ─► quiesce ─┼───────────┐ its passes drained late: the next round
//                             ▼           ▼
//   round       closed ─► write back A, B ─► A keeps SHARED: goes ─► retire B ─► B goes
//   next round                            closed ─► write back C ...
//
// A round is open until all coroutines that were ready when it was opened have run. Rounds overlap;
// a lock is in one of them at most (is_demoting), and nobody changes what it protects meanwhile.
#include "fs/base/check.h"
#include "fs/base/sabotage.h"
#include "fs/cache.h"
#include "fs/cluster_lock_private.h"
#include "fs/lock_types.h"
#include "journal/journal.h"

enum { ROUND_LOCKS_MAX = 64 };

struct going {
    struct cluster_lock *lock;
    enum lock_right keep; // as it was when the lock was quiesced
};

struct demotion_round {
    struct going locks[ROUND_LOCKS_MAX];
    size_t count;
};

void cluster_lock_let_go(struct cluster_lock *lock, enum lock_right keep)
{
    struct lock_service *service = lock->table->service;
    lock->right = keep;
    if (keep != RIGHT_NONE) {
        service->operations->convert(service, lock->cookie, keep, false);
        return;
    }
    uint64_t cookie = lock->cookie;
    cluster_lock_set_cookie(lock, 0);
    service->operations->release(service, cookie);
}

// --- one lock of a round -------------------------------------------------------------------------

static void forget_blocks(struct cluster_lock *lock)
{
    struct volume *volume = lock->table->volume;
    const struct lock_type *type = lock_type_of((uint32_t)lock->key.type);
    cache_drop_lock(volume->cache, cluster_lock_name(lock));
    if (type->forget != NULL)
        type->forget(volume, lock);
}

static void finish(struct going *going, int result)
{
    struct cluster_lock *lock = going->lock;
    struct lock_table *table = lock->table;
    if (result == 0 && going->keep == RIGHT_NONE)
        forget_blocks(lock);
    if (result == 0)
        cluster_lock_let_go(lock, going->keep);
    lock->is_demoting = false;
    // A callback for less may have come while we were at it; then the pump starts over.
    if (lock_right_kept(lock->right, lock->keep) == lock->right)
        lock->is_blocking = false;
    table->demoting_count--;
    lock_table_note_change(table);
    wait_queue_wake_all(scheduler_of(lock), &table->demoted);
    cluster_lock_pump(lock);
}

static void finish_those(struct demotion_round *round, bool keep_something, int result)
{
    for (size_t i = 0; i < round->count; i++) {
        if ((round->locks[i].keep != RIGHT_NONE) == keep_something)
            finish(&round->locks[i], result);
    }
}

// --- the journal's part for all of them ----------------------------------------------------------

static int write_back(struct volume *volume, const struct demotion_round *round)
{
    struct lock_name names[ROUND_LOCKS_MAX];
    size_t count = 0;
    for (size_t i = 0; i < round->count; i++) {
        if (round->locks[i].lock->right == RIGHT_EXCLUSIVE)
            names[count++] = cluster_lock_name(round->locks[i].lock);
    }
    return count > 0 ? journal_lock_write_back(volume->journal, names, count) : 0;
}

static int retire(struct volume *volume, const struct demotion_round *round)
{
    struct lock_name names[ROUND_LOCKS_MAX];
    size_t count = 0;
    for (size_t i = 0; i < round->count; i++) {
        if (round->locks[i].keep == RIGHT_NONE)
            names[count++] = cluster_lock_name(round->locks[i].lock);
    }
    return count > 0 ? journal_lock_retire(volume->journal, names, count) : 0;
}

static void run_round(struct lock_table *table, struct demotion_round *round)
{
    struct volume *volume = table->volume;
    int result = volume->journal != NULL ? write_back(volume, round) : 0;
    if (result != 0)
        volume_fail(volume, result, "giving up a lock");
    finish_those(round, true, result);
    if (result == 0 && volume->journal != NULL) {
        result = retire(volume, round);
        if (result != 0)
            volume_fail(volume, result, "giving up a lock");
    }
    finish_those(round, false, result);
}

// --- rounds --------------------------------------------------------------------------------------

static void quiesce(struct cluster_lock *lock, enum lock_right keep)
{
    const struct lock_type *type = lock_type_of((uint32_t)lock->key.type);
    if (type->quiesce != NULL)
        type->quiesce(lock->table->volume, lock, keep);
}

// Going down to SHARED takes back only what this node's processes may have changed in the kernel;
// where others may write, all pages go. What was let in meanwhile ends before what follows.
static void recall(struct cluster_lock *lock, enum lock_right keep)
{
    unsigned loans = ~0u;
    bool has_writable = (lock->loans & LOAN_WRITABLE) != 0 || lock->is_recalling_pages;
    if (keep == RIGHT_TOGETHER)
        loans = LOAN_PAGES | LOAN_WRITABLE;
    if (keep == RIGHT_SHARED)
        loans = has_writable ? LOAN_PAGES | LOAN_WRITABLE : 0;
    if (loans == 0 || (keep == RIGHT_SHARED && SABOTAGE(recall_not_for_sharing)))
        return;
    cluster_lock_call_in(lock, loans, 0, 0);
    while (has_holders(lock))
        wait_queue_wait(scheduler_of(lock), &lock->table->let_in);
}

static void open_round(struct lock_table *table, const struct going *first)
{
    struct demotion_round round = {.locks = {*first}, .count = 1};
    table->round = &round;
    coroutine_pause(table->volume->scheduler);
    if (table->round == &round)
        table->round = NULL;
    run_round(table, &round);
}

static void demote(void *argument)
{
    struct cluster_lock *lock = argument;
    struct lock_table *table = lock->table;
    struct going going = {lock, lock->keep};
    recall(lock, going.keep);
    quiesce(lock, going.keep);
    if (table->round != NULL && table->round->count < ROUND_LOCKS_MAX)
        table->round->locks[table->round->count++] = going; // whoever opened it does the rest
    else
        open_round(table, &going);
}

void cluster_lock_start_demotion(struct cluster_lock *lock, enum lock_right keep)
{
    CHECK(!lock->is_demoting && lock->wanted == RIGHT_NONE && !lock->has_exclusive_holder);
    CHECK(keep < lock->right && lock_right_kept(lock->right, keep) == keep);
    lock->keep = keep;
    lock->is_blocking = true;
    lock->is_demoting = true;
    lock->table->demoting_count++;
    coroutine_start(scheduler_of(lock), "lock demotion", demote, lock);
}
