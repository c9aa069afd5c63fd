// SPDX-License-Identifier: Apache-2.0
#include "fs/lock_set.h"

#include "fs/base/check.h"
#include "fs/freeze_gate.h"
#include "fs/lock_types.h"
#include "fs/volume.h"

static int name_compare(struct lock_name a, struct lock_name b)
{
    int rank_a = lock_type_of(a.type)->rank;
    int rank_b = lock_type_of(b.type)->rank;
    if (rank_a != rank_b)
        return rank_a < rank_b ? -1 : 1;
    return a.id < b.id ? -1 : a.id > b.id;
}

void lock_set_add(struct lock_set *set, struct lock_name name, enum lock_mode mode)
{
    size_t at = 0;
    while (at < set->count && name_compare(set->entries[at].name, name) < 0)
        at++;
    if (at < set->count && lock_name_equal(set->entries[at].name, name)) {
        CHECK(set->entries[at].lock == NULL || mode == LOCK_SHARED ||
              set->entries[at].mode == LOCK_EXCLUSIVE);
        if (mode == LOCK_EXCLUSIVE)
            set->entries[at].mode = LOCK_EXCLUSIVE;
        return;
    }
    CHECK(set->count < LOCK_SET_MAX);
    for (size_t i = set->count; i > at; i--)
        set->entries[i] = set->entries[i - 1];
    set->entries[at].name = name;
    set->entries[at].mode = mode;
    set->entries[at].lock = NULL;
    set->count++;
}

// What is held must be a prefix: else a lock would be taken below one that is held.
static size_t held_prefix(const struct lock_set *set)
{
    size_t held = 0;
    while (held < set->count && set->entries[held].lock != NULL)
        held++;
    for (size_t i = held; i < set->count; i++)
        CHECK(set->entries[i].lock == NULL);
    return held;
}

static void release_from(struct lock_set *set, size_t first)
{
    for (size_t i = set->count; i > first; i--) {
        struct cluster_lock *lock = set->entries[i - 1].lock;
        if (lock == NULL)
            continue;
        cluster_lock_release(lock, set->entries[i - 1].mode);
        cluster_lock_put(lock);
        set->entries[i - 1].lock = NULL;
    }
}

static bool may_change(const struct lock_set *set)
{
    for (size_t i = 0; i < set->count; i++) {
        if (set->entries[i].mode == LOCK_EXCLUSIVE)
            return true;
    }
    return false;
}

// An operation begins with an inode's lock, or, where that is only shared and yet something will be
// changed, with LOCK_FREEZE.
static bool begins_operation(const struct lock_set *set)
{
    uint32_t type = set->count > 0 ? set->entries[0].name.type : 0;
    return type == LOCK_INODE || type == LOCK_FREEZE;
}

static void leave_freeze(struct lock_set *set)
{
    if (set->freeze != NULL)
        freeze_gate_leave(set->freeze, set->is_let_in);
    set->freeze = NULL;
}

// Who changes something takes LOCK_FREEZE first, as another entry; but for the kernel.
static int enter_freeze(struct lock_set *set, struct volume *volume, unsigned flags)
{
    if (volume->journal == NULL || !may_change(set))
        return 0;
    if ((set->flags & LOCK_FOR_KERNEL_WRITE) == 0) {
        lock_set_add(set, lock_name_freeze(), LOCK_SHARED);
        return 0;
    }
    int result = freeze_gate_enter(volume->freeze_gate, flags, &set->is_let_in);
    if (result == 0)
        set->freeze = volume->freeze_gate;
    return result;
}

static int acquire_from(struct lock_set *set, struct volume *volume, size_t held, unsigned flags)
{
    for (size_t i = held; i < set->count; i++) {
        struct cluster_lock *lock = cluster_lock_get(volume->locks, set->entries[i].name);
        int result = cluster_lock_acquire(lock, set->entries[i].mode, flags);
        if (result != 0) {
            cluster_lock_put(lock);
            release_from(set, held);
            return result;
        }
        set->entries[i].lock = lock;
    }
    return 0;
}

int lock_set_acquire(struct lock_set *set, struct volume *volume)
{
    size_t held = held_prefix(set);
    bool is_first_step = held == 0 && begins_operation(set);
    unsigned flags = set->flags | (is_first_step ? LOCK_INTERRUPTIBLE : 0);
    int result = is_first_step ? enter_freeze(set, volume, flags) : 0;
    if (result == 0)
        result = acquire_from(set, volume, held, flags);
    if (result != 0 && is_first_step)
        leave_freeze(set);
    return result;
}

void lock_set_release(struct lock_set *set)
{
    release_from(set, 0);
    set->count = 0;
    leave_freeze(set);
}

struct cluster_lock *lock_set_find(const struct lock_set *set, struct lock_name name)
{
    for (size_t i = 0; i < set->count; i++) {
        if (lock_name_equal(set->entries[i].name, name))
            return set->entries[i].lock;
    }
    return NULL;
}
