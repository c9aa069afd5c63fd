// SPDX-License-Identifier: Apache-2.0
// Which groups a reservation holds. In this order, until what is wanted is there:
//
//   1 own groups (and the goal's, if its lock is here)    waits for the lock, if the order allows
//   2 an own group that nobody has used yet                written now (rule 16)
//   3 other groups whose lock can be had at once
//   4 another group that nobody has used yet
//   5 all groups, in ascending order                       waits for each lock
//   6 the same, after what is busy was committed
//
// Hints (what a group had when it was last seen) spare the locks of full groups in 1 and 3; they
// decide nothing: 5 and 6 look at every group.
#include "fs/allocator_group.h"
#include "fs/base/check.h"
#include "fs/base/error.h"
#include "fs/base/sabotage.h"
#include "fs/cluster_lock.h"
#include "fs/lock_types.h"
#include "fs/volume.h"

// Foreign groups that step 3 asks for.
enum { TRIES_MAX = 32 };

static const struct geometry *geometry_of(const struct allocator_reservation *space)
{
    return &space->volume->geometry;
}

static bool is_good(const struct allocator *allocator, uint32_t number)
{
    return allocator->states[number] == GROUP_KNOWN;
}

// --- holding ---------------------------------------------------------------------------------

struct allocator_group *allocator_held_group(const struct allocator_reservation *space,
                                             uint32_t number)
{
    for (uint32_t i = 0; i < space->group_count; i++) {
        if (space->groups[i]->number == number)
            return space->groups[i];
    }
    return NULL;
}

bool allocator_is_passed(const struct allocator_reservation *space, uint32_t number)
{
    for (uint32_t i = 0; i < space->passed_count; i++) {
        if (space->passed_groups[i] == number)
            return true;
    }
    return false;
}

uint64_t allocator_held_usable(const struct allocator_reservation *space)
{
    uint64_t usable = 0;
    for (uint32_t i = 0; i < space->group_count; i++)
        usable += allocator_group_usable(space->groups[i], space->uses_margin);
    return usable;
}

static void add_held(struct allocator_reservation *space, struct allocator_group *group)
{
    uint32_t at = space->group_count++;
    while (at > 0 && space->groups[at - 1]->number > group->number) {
        space->groups[at] = space->groups[at - 1];
        at--;
    }
    space->groups[at] = group;
    group->user = space;
    group->is_balanced = false;
}

static unsigned wait_flags(const struct allocator_reservation *space)
{
    return space->is_interruptible ? LOCK_INTERRUPTIBLE : 0;
}

// Takes a group's lock and loads it. -EAGAIN if the lock cannot be had at once and must not (or
// shall not) be waited for. The group must be known to be initialised.
static int hold(struct allocator_reservation *space, uint32_t number, bool may_wait)
{
    struct allocator *allocator = space->volume->allocator;
    CHECK(allocator_is_known(allocator, number) && space->group_count < ALLOCATOR_GROUPS_MAX);
    uint32_t held = space->group_count;
    bool is_in_order = held == 0 || space->groups[held - 1]->number < number;
    struct cluster_lock *lock = cluster_lock_get(space->volume->locks, lock_name_ag(number));
    unsigned flags = may_wait && is_in_order ? wait_flags(space) : LOCK_TRY;
    int result = cluster_lock_acquire(lock, LOCK_EXCLUSIVE, flags);
    if (result == 0) {
        struct allocator_group *group;
        result = allocator_group_load(allocator, number, lock, &group);
        if (result == 0) {
            group->lock = lock;
            add_held(space, group);
            return 0;
        }
        cluster_lock_release(lock, LOCK_EXCLUSIVE);
    }
    cluster_lock_put(lock);
    return result;
}

void allocator_drop_group(struct allocator_reservation *space, uint32_t index)
{
    struct allocator *allocator = space->volume->allocator;
    struct allocator_group *group = space->groups[index];
    struct cluster_lock *lock = group->lock;
    allocator->free_hints[group->number] = free_extents_count(&group->extents);
    if (allocator->free_hints[group->number] != group->told_count)
        allocator_settle_later(allocator);
    for (uint32_t i = index + 1; i < space->group_count; i++)
        space->groups[i - 1] = space->groups[i];
    space->group_count--;
    group->user = NULL;
    group->lock = NULL;
    cluster_lock_release(lock, LOCK_EXCLUSIVE);
    cluster_lock_put(lock);
}

static void drop_number(struct allocator_reservation *space, uint32_t number)
{
    for (uint32_t i = 0; i < space->group_count; i++) {
        if (space->groups[i]->number == number) {
            allocator_drop_group(space, i);
            return;
        }
    }
}

bool allocator_is_bad(const struct allocator *allocator, uint32_t number)
{
    return (allocator->states[number] & GROUP_BAD) != 0 && !SABOTAGE(allocator_use_bad_group);
}

bool allocator_note_bad(struct allocator *allocator, uint32_t number, int result)
{
    struct volume *volume = allocator->volume;
    if (!error_is_check(result) || volume_check(volume) != 0 || SABOTAGE(allocator_use_bad_group))
        return false;
    if (!allocator_is_bad(allocator, number))
        log_line(volume->log, LOG_LEVEL_WARNING, -result,
                 "group %u is damaged and left alone from now on: what is freed there comes back "
                 "with fsck.lunfs",
                 number);
    allocator->states[number] |= GROUP_BAD;
    return true;
}

static int skip_if_bad(struct allocator_reservation *space, uint32_t number, int result)
{
    return allocator_note_bad(space->volume->allocator, number, result) ? -EAGAIN : result;
}

static uint64_t need(const struct allocator_reservation *space, bool at_best)
{
    return space->node_blocks + (at_best ? space->data_blocks_wanted : space->data_blocks_min);
}

static bool is_served(const struct allocator_reservation *space, bool at_best)
{
    return allocator_held_usable(space) >= need(space, at_best);
}

// --- steps -----------------------------------------------------------------------------------

// The groups that will be freed into, but for damaged ones. On an error nothing is held.
static int hold_wanted(struct allocator_reservation *space)
{
    struct allocator *allocator = space->volume->allocator;
    for (uint32_t i = 0; i < space->wanted_group_count; i++) {
        uint32_t number = space->wanted_groups[i];
        int result = allocator_is_bad(allocator, number) ? 0 : hold(space, number, true);
        if (result != 0 && !allocator_note_bad(allocator, number, result)) {
            allocator_release(space);
            return result;
        }
    }
    return 0;
}

static int check_wanted_known(struct allocator_reservation *space)
{
    struct volume *volume = space->volume;
    for (uint32_t i = 0; i < space->wanted_group_count; i++) {
        uint32_t number = space->wanted_groups[i];
        if (allocator_is_known(volume->allocator, number))
            continue;
        int result = allocator_map_learn(volume, number, wait_flags(space));
        if (result != 0)
            return result;
        if (allocator_is_known(volume->allocator, number))
            continue;
        return cache_report_damage(volume->cache, -ERROR_CORRUPT_FREE_SPACE,
                                   "group %u: blocks of a group that was never used are to be "
                                   "freed",
                                   number);
    }
    return 0;
}

// A search over candidates: the first that serves all wants stays held; else the best is
// remembered.
struct candidates {
    struct allocator_reservation *space;
    bool may_wait;
    uint64_t best_usable;
    uint32_t best;
    bool has_best;
    unsigned tries;
};

// 0: served; -EAGAIN: not by this one; other errors end the search.
static int try_candidate(struct candidates *search, uint32_t number)
{
    struct allocator_reservation *space = search->space;
    struct allocator *allocator = space->volume->allocator;
    if (!is_good(allocator, number) || allocator_held_group(space, number) != NULL ||
        allocator_is_passed(space, number))
        return -EAGAIN;
    uint64_t margin = space->uses_margin ? 0 : ALLOCATOR_MARGIN_BLOCKS;
    uint64_t hint = allocator->free_hints[number];
    uint64_t held = allocator_held_usable(space);
    if (hint != HINT_UNKNOWN && hint + held < need(space, false) + margin)
        return -EAGAIN;
    search->tries++;
    int result = hold(space, number, search->may_wait);
    if (result != 0)
        return skip_if_bad(space, number, result);
    if (is_served(space, true))
        return 0;
    uint64_t usable = allocator_held_usable(space);
    if (usable >= need(space, false) && usable > search->best_usable) {
        search->best_usable = usable;
        search->best = number;
        search->has_best = true;
    }
    drop_number(space, number);
    return -EAGAIN;
}

static int take_best(struct candidates *search)
{
    struct allocator_reservation *space = search->space;
    if (!search->has_best)
        return -ENOSPC;
    int result = skip_if_bad(space, search->best, hold(space, search->best, search->may_wait));
    if (result == -EAGAIN)
        return -ENOSPC;
    if (result != 0 || is_served(space, false))
        return result;
    drop_number(space, search->best);
    return -ENOSPC;
}

// The goal's group, if it is ours or its lock is here.
static int try_goal_group(struct candidates *search)
{
    struct allocator_reservation *space = search->space;
    uint32_t number;
    if (space->goal == 0 || !geometry_ag_of_block(geometry_of(space), space->goal, &number))
        return -EAGAIN;
    if (!allocator_is_own(space->volume, number) &&
        space->volume->allocator->groups[number] == NULL)
        return -EAGAIN;
    return try_candidate(search, number);
}

// 0: served, -ENOSPC: not here.
static int try_groups(struct allocator_reservation *space, bool own)
{
    struct allocator *allocator = space->volume->allocator;
    struct candidates search = {.space = space, .may_wait = own};
    uint32_t count = geometry_of(space)->ag_count;
    int result = space->group_count < ALLOCATOR_GROUPS_MAX ? try_goal_group(&search) : -ENOSPC;
    for (uint32_t i = 0; i < count && result == -EAGAIN; i++) {
        uint32_t number = (uint32_t)(((uint64_t)allocator->own_current + i) % count);
        if (allocator_is_own(space->volume, number) != own)
            continue;
        result = try_candidate(&search, number);
        if (result == 0 && own)
            allocator->own_current = number;
        if (!own && search.tries >= TRIES_MAX)
            break;
    }
    return result == -EAGAIN ? take_best(&search) : result;
}

static bool is_wanted(const struct allocator_reservation *space, uint32_t number)
{
    for (uint32_t i = 0; i < space->wanted_group_count; i++) {
        if (space->wanted_groups[i] == number)
            return true;
    }
    return false;
}

// One group of the sweep. What has nothing to give is let go again.
static int sweep_group(struct allocator_reservation *space, uint32_t number)
{
    bool must_hold =
        is_wanted(space, number) && !allocator_is_bad(space->volume->allocator, number);
    if (!must_hold && (is_served(space, false) || !is_good(space->volume->allocator, number)))
        return 0;
    if (!must_hold && space->group_count + space->wanted_group_count >= ALLOCATOR_GROUPS_MAX)
        return 0;
    int result = hold(space, number, true);
    if (result != 0)
        return allocator_note_bad(space->volume->allocator, number, result) ? 0 : result;
    struct allocator_group *group = allocator_held_group(space, number);
    if (!must_hold && allocator_group_usable(group, space->uses_margin) == 0)
        drop_number(space, number);
    return 0;
}

// All groups in ascending order, several together if need be. Nothing is held before.
static int sweep(struct allocator_reservation *space)
{
    for (uint32_t number = 0; number < geometry_of(space)->ag_count; number++) {
        int result = sweep_group(space, number);
        if (result != 0)
            return result;
        if (number % 64 == 63)
            coroutine_pause(space->volume->scheduler);
    }
    return is_served(space, false) ? 0 : -ENOSPC;
}

enum step {
    STEP_OWN,
    STEP_NEW_OWN,
    STEP_OTHERS,
    STEP_NEW_OTHER,
    STEP_SWEEP,
    STEP_COMMIT,
    STEP_END
};

// A step that finds nothing answers -ENOSPC.
static int take_step(struct allocator_reservation *space, enum step step)
{
    if (step == STEP_NEW_OWN || step == STEP_NEW_OTHER) {
        bool own = step == STEP_NEW_OWN;
        int result = allocator_map_add_group(space->volume, own, wait_flags(space));
        return result == -ENOENT ? -ENOSPC : result;
    }
    if (step == STEP_COMMIT) {
        int result = allocator_busy_wait(space->volume->allocator);
        return result != 0 ? result : sweep(space);
    }
    if (step == STEP_SWEEP)
        return sweep(space);
    int result = hold_wanted(space);
    if (result != 0 || is_served(space, true))
        return result;
    result = try_groups(space, step == STEP_OWN);
    // The groups that are held anyway may serve what no other can.
    return result == -ENOSPC && is_served(space, false) ? 0 : result;
}

// The map is damaged: what this node knew of it before still serves.
static bool is_passed_over(const struct allocator_reservation *space, bool is_new, int result)
{
    return is_new && error_is_check(result) && volume_check(space->volume) == 0;
}

static int choose(struct allocator_reservation *space)
{
    enum step step = STEP_OWN;
    int refusal = -ENOSPC;
    while (step != STEP_END) {
        int result = take_step(space, step);
        bool is_new = step == STEP_NEW_OWN || step == STEP_NEW_OTHER;
        if (result == 0 && !is_new)
            return 0;
        allocator_release(space);
        if (is_passed_over(space, is_new, result))
            refusal = result;
        else if (result != 0 && result != -ENOSPC)
            return result;
        if (result == 0)
            step--; // there is one group more to look at
        else
            step++;
    }
    return refusal;
}

int allocator_reserve(struct allocator_reservation *space)
{
    CHECK(space->group_count == 0 && space->freed == NULL);
    int result = volume_check(space->volume);
    if (result == 0 && space->needs_commit)
        result = allocator_busy_wait(space->volume->allocator);
    space->needs_commit = space->needs_retry = false;
    if (result == 0)
        result = check_wanted_known(space);
    return result != 0 ? result : choose(space);
}
