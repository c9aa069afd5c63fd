// SPDX-License-Identifier: Apache-2.0
// What other nodes' statfs reads: totals of groups whose locks this node keeps are written in place
// soon after the last change, so that when all are idle all answer the same.
//
//   group changes ─► timer, 1 s ─┬─ changed since the last time: busy, look again in 1 s
//                                └─ else: write back under its lock, nobody waits for it ─► told
//
// A busy group is left alone: each write-back costs a commit and holds the lock for some writes;
// the journal's own checkpoint tells its totals now and then.
#include <errno.h>

#include "fs/allocator_group.h"
#include "fs/base/check.h"
#include "fs/base/environment.h"
#include "fs/cluster_lock.h"
#include "fs/lock_types.h"
#include "fs/volume.h"

static const uint64_t interval_ns = UINT64_C(1000000000);

static void fire(struct environment_timer *timer);

static void arm(struct allocator *allocator)
{
    struct allocator_settler *settler = &allocator->settler;
    struct environment *environment = allocator->volume->environment;
    if (settler->is_armed || settler->is_running || settler->is_stopped)
        return;
    settler->is_armed = true;
    settler->timer.fire = fire;
    environment_timer_arm(environment, &settler->timer,
                          environment_boot_ns(environment) + interval_ns);
}

void allocator_settle_later(struct allocator *allocator)
{
    if (!allocator->volume->options.is_local)
        arm(allocator);
}

void allocator_settle_map(struct allocator *allocator)
{
    allocator->settler.is_map_changed = true;
    allocator_settle_later(allocator);
}

// False if somebody here is at what the lock protects; else it is in place now.
static bool write_back(struct volume *volume, struct lock_name name)
{
    struct cluster_lock *lock = cluster_lock_get(volume->locks, name);
    bool is_done = true; // what has gone was written back before
    if (cluster_lock_is_cached(lock, LOCK_EXCLUSIVE)) {
        is_done = cluster_lock_acquire(lock, LOCK_EXCLUSIVE, LOCK_TRY) == 0;
        if (is_done) {
            // An error has ended the mount, and is logged where it does.
            journal_lock_write_back(volume->journal, &name, 1);
            cluster_lock_release(lock, LOCK_EXCLUSIVE);
        }
    }
    cluster_lock_put(lock);
    return is_done;
}

// True if the group is to be looked at again.
static bool settle_group(struct volume *volume, uint32_t number)
{
    struct allocator_group *group = volume->allocator->groups[number];
    if (group == NULL)
        return false;
    uint64_t count = free_extents_count(&group->extents);
    if (count == group->told_count)
        return false;
    if (group->user != NULL || count != group->seen_count) {
        group->seen_count = count;
        return true;
    }
    if (!write_back(volume, lock_name_ag(number)))
        return true;
    group = volume->allocator->groups[number]; // it may have gone, right after
    if (group != NULL)
        group->told_count = count;
    return false;
}

static void settle(void *argument)
{
    struct allocator *allocator = argument;
    struct allocator_settler *settler = &allocator->settler;
    struct volume *volume = allocator->volume;
    bool is_again = false;
    if (settler->is_map_changed)
        settler->is_map_changed = !write_back(volume, lock_name_ag_map());
    for (uint32_t i = 0; i < volume->geometry.ag_count && !settler->is_stopped; i++) {
        is_again = settle_group(volume, i) || is_again;
        if (i % 1024 == 1023)
            coroutine_pause(volume->scheduler);
    }
    settler->is_running = false;
    wait_queue_wake_all(volume->scheduler, &allocator->released);
    if ((is_again || settler->is_map_changed) && volume_check(volume) == 0)
        arm(allocator);
}

static void fire(struct environment_timer *timer)
{
    struct allocator_settler *settler = (struct allocator_settler *)timer;
    settler->is_armed = false;
    settler->is_running = true;
    coroutine_start(settler->allocator->volume->scheduler, "settle free space", settle,
                    settler->allocator);
}

void allocator_stop(struct allocator *allocator)
{
    struct allocator_settler *settler = &allocator->settler;
    settler->is_stopped = true;
    if (settler->is_armed)
        environment_timer_disarm(allocator->volume->environment, &settler->timer);
    settler->is_armed = false;
    while (settler->is_running)
        wait_queue_wait(allocator->volume->scheduler, &allocator->released);
}
