// SPDX-License-Identifier: Apache-2.0
// What an operation does with free space inside its handle, and the reservation around it. Which
// groups a reservation holds is decided in allocator_choose.c; what a group looks like is in
// allocator_group.c.
#include "fs/allocator.h"

#include <stdlib.h>

#include "fs/allocator_group.h"
#include "fs/base/check.h"
#include "fs/base/error.h"
#include "fs/cluster_lock.h"
#include "fs/volume.h"

// Attempts of one operation; each learns what the one before did not know.
enum { RETRIES_MAX = 32 };

// Slots for groups that are known beforehand; the others are for what attempts find out.
enum { WANTED_GROUPS_MAX = ALLOCATOR_GROUPS_MAX - 4 };

struct allocator *allocator_new(struct volume *volume)
{
    struct allocator *allocator = calloc(1, sizeof(*allocator));
    CHECK(allocator != NULL);
    uint32_t count = volume->geometry.ag_count;
    allocator->volume = volume;
    allocator->groups = calloc(count, sizeof(allocator->groups[0]));
    allocator->free_hints = calloc(count, sizeof(allocator->free_hints[0]));
    allocator->states = calloc(count, 1);
    CHECK(allocator->groups != NULL && allocator->free_hints != NULL && allocator->states != NULL);
    for (uint32_t i = 0; i < count; i++)
        allocator->free_hints[i] = HINT_UNKNOWN;
    allocator->own_current = volume->slot < count ? volume->slot : 0;
    TAILQ_INIT(&allocator->busy);
    wait_queue_init(&allocator->released);
    allocator->settler.allocator = allocator;
    return allocator;
}

void allocator_close(struct allocator *allocator)
{
    for (uint32_t i = 0; i < allocator->volume->geometry.ag_count; i++)
        CHECK(allocator->groups[i] == NULL);
    CHECK(!allocator->settler.is_armed && !allocator->settler.is_running);
    CHECK(TAILQ_EMPTY(&allocator->busy) && wait_queue_is_empty(&allocator->released));
    free(allocator->groups);
    free(allocator->free_hints);
    free(allocator->states);
    free(allocator);
}

// --- wants -----------------------------------------------------------------------------------

void allocator_reservation_init(struct allocator_reservation *space, struct volume *volume,
                                uint64_t goal)
{
    *space = (struct allocator_reservation){.volume = volume, .goal = goal};
}

void allocator_want_data(struct allocator_reservation *space, uint64_t min, uint64_t wanted)
{
    CHECK(min <= wanted);
    space->data_blocks_min = min;
    space->data_blocks_wanted = wanted;
}

void allocator_want_nodes(struct allocator_reservation *space, uint64_t count)
{
    space->node_blocks += count;
}

void allocator_allow_margin(struct allocator_reservation *space)
{
    space->uses_margin = true;
}

void allocator_allow_interrupt(struct allocator_reservation *space)
{
    space->is_interruptible = true;
}

static bool want_group(struct allocator_reservation *space, uint32_t number, uint32_t count_max)
{
    uint32_t at = 0;
    while (at < space->wanted_group_count && space->wanted_groups[at] < number)
        at++;
    if (at < space->wanted_group_count && space->wanted_groups[at] == number)
        return true;
    if (space->wanted_group_count >= count_max)
        return false;
    for (uint32_t i = space->wanted_group_count; i > at; i--)
        space->wanted_groups[i] = space->wanted_groups[i - 1];
    space->wanted_groups[at] = number;
    space->wanted_group_count++;
    return true;
}

bool allocator_want_free(struct allocator_reservation *space, uint64_t block)
{
    uint32_t number;
    if (!geometry_ag_of_block(&space->volume->geometry, block, &number))
        return true;
    return want_group(space, number, WANTED_GROUPS_MAX);
}

// --- the handle ------------------------------------------------------------------------------

uint32_t allocator_credits(const struct allocator_reservation *space, uint32_t change_count)
{
    uint32_t credits = 0, most = 0;
    uint32_t nodes = (uint32_t)space->node_blocks;
    for (uint32_t i = 0; i < space->group_count; i++) {
        const struct free_extents *extents = &space->groups[i]->extents;
        uint32_t fixed = free_extents_credits(extents, 0, nodes);
        uint32_t changes = free_extents_credits(extents, change_count, nodes) - fixed;
        credits += fixed;
        most = changes > most ? changes : most;
    }
    // Each freed node is revoked, and what is freed may lie in any of the groups.
    return credits + most + change_count;
}

int allocator_begin(struct allocator_reservation *space, uint32_t credits, uint32_t change_count,
                    struct journal_handle **handle)
{
    struct journal *journal = space->volume->journal;
    space->changes_left = change_count + space->changes_noted;
    space->data_blocks_used = space->node_blocks_used = space->inode_taken = 0;
    credits += allocator_credits(space, space->changes_left);
    if (credits > journal_credits_max(journal))
        return -ERROR_JOURNAL_FULL;
    return journal_transaction_begin(journal, credits, handle);
}

static void settle_handle(struct allocator_reservation *space)
{
    CHECK(space->freed == NULL);
    for (uint32_t i = 0; i < space->group_count; i++)
        space->groups[i]->is_balanced = false;
}

void allocator_end(struct allocator_reservation *space, struct journal_handle *handle)
{
    allocator_busy_publish(space);
    settle_handle(space);
    journal_transaction_end(handle);
}

// The number is free again, and its locks are here.
static void give_number_back(struct allocator_reservation *space)
{
    uint32_t number;
    if (space->inode_taken == 0 ||
        !geometry_ag_of_block(&space->volume->geometry, space->inode_taken, &number))
        return;
    struct allocator_group *group = allocator_held_group(space, number);
    if (space->inode_taken < group->lowest_skipped)
        group->lowest_skipped = space->inode_taken;
}

void allocator_abort(struct allocator_reservation *space, struct journal_handle *handle)
{
    journal_transaction_abort(handle);
    allocator_busy_undo(space);
    give_number_back(space);
    settle_handle(space);
}

void allocator_release(struct allocator_reservation *space)
{
    CHECK(space->freed == NULL);
    while (space->group_count > 0)
        allocator_drop_group(space, space->group_count - 1);
}

bool allocator_must_retry(struct allocator_reservation *space, int result)
{
    return result == -EAGAIN && space->needs_retry && ++space->retry_count <= RETRIES_MAX;
}

// --- inside the handle -----------------------------------------------------------------------

static int retry(struct allocator_reservation *space)
{
    space->needs_retry = true;
    return -EAGAIN;
}

// What a group's own tree lacks comes with a commit; from a damaged group one turns away.
static int note_result(struct allocator_reservation *space, const struct allocator_group *group,
                       int result)
{
    if (allocator_note_bad(space->volume->allocator, group->number, result))
        return retry(space);
    if (result != -EAGAIN)
        return result;
    space->needs_commit = true;
    return retry(space);
}

// One change more: the credits were reckoned for so many.
static int spend_change(struct allocator_reservation *space)
{
    if (space->changes_left == 0) {
        space->changes_noted += 4 + space->changes_noted;
        return retry(space);
    }
    space->changes_left--;
    return 0;
}

static int take_run(struct allocator_reservation *space, struct allocator_group *group,
                    struct journal_handle *handle, const struct run_request *request,
                    struct block_run *run)
{
    int result = allocator_group_prepare(group, handle);
    if (result == 0)
        result = allocator_group_find(group, request, run);
    if (result == 0)
        result = free_extents_take(&group->extents, handle, run->start_block, run->block_count);
    return note_result(space, group, result);
}

static uint64_t goal_in_group(const struct allocator_group *group, uint64_t goal)
{
    const struct free_extents *extents = &group->extents;
    bool is_inside =
        goal > extents->first_block && goal - extents->first_block < extents->block_count;
    return is_inside ? goal : 0;
}

// Tries the goal's group, then the others that are held.
static int take_anywhere(struct allocator_reservation *space, struct journal_handle *handle,
                         uint64_t goal, struct run_request *request, struct block_run *run)
{
    uint64_t max = request->max;
    int result = -ENOSPC;
    for (int pass = 0; pass < 2; pass++) {
        for (uint32_t i = 0; i < space->group_count && result == -ENOSPC; i++) {
            struct allocator_group *group = space->groups[i];
            uint64_t usable = allocator_group_usable(group, space->uses_margin);
            request->goal = goal_in_group(group, goal);
            if ((request->goal != 0) != (pass == 0) || usable < request->min)
                continue;
            request->max = max < usable ? max : usable;
            result = take_run(space, group, handle, request, run);
        }
    }
    return result;
}

static uint64_t left(uint64_t total, uint64_t used)
{
    return total > used ? total - used : 0;
}

int allocator_allocate(struct allocator_reservation *space, struct journal_handle *handle,
                       uint64_t goal, uint64_t min, uint64_t max, uint64_t alignment,
                       struct block_run *run)
{
    CHECK(min > 0 && min <= max && alignment > 0 && (alignment & (alignment - 1)) == 0);
    uint64_t nodes = left(space->node_blocks, space->node_blocks_used);
    uint64_t usable = left(allocator_held_usable(space), nodes);
    if (usable < min) {
        if (space->data_blocks_used > 0)
            return -ENOSPC;
        if (space->data_blocks_min < min)
            allocator_want_data(space, min, max);
        return retry(space);
    }
    int result = spend_change(space);
    if (result != 0)
        return result;
    struct run_request request = {
        .min = min, .max = max < usable ? max : usable, .alignment = alignment};
    result = take_anywhere(space, handle, goal != 0 ? goal : space->goal, &request, run);
    if (result == 0)
        space->data_blocks_used += run->block_count;
    return result;
}

static int spend_node(struct allocator_reservation *space)
{
    if (space->node_blocks_used >= space->node_blocks) {
        space->node_blocks += 4 + space->node_blocks;
        return retry(space);
    }
    return 0;
}

int allocator_allocate_node(struct allocator_reservation *space, struct journal_handle *handle,
                            uint64_t *block)
{
    int spent = spend_node(space);
    if (spent != 0)
        return spent;
    struct block_run run = {0, 0};
    struct run_request request = {.min = 1, .max = 1, .alignment = 1};
    int result = take_anywhere(space, handle, 0, &request, &run);
    if (result != 0)
        return result;
    space->node_blocks_used++;
    *block = run.start_block;
    return 0;
}

static int take_number(struct allocator_reservation *space, struct allocator_group *group,
                       struct journal_handle *handle, const struct allocator_claim *claim,
                       uint64_t *number)
{
    int result = allocator_group_prepare(group, handle);
    if (result == 0)
        result = allocator_number_find(group, claim, number);
    if (result == 0)
        result = free_extents_take(&group->extents, handle, *number, 1);
    return note_result(space, group, result);
}

void allocator_look_further(struct allocator_reservation *space)
{
    space->looks_further = true;
}

// The groups that are held have no number: another attempt goes to others, if these are known not
// to get any soon, unless enough had none.
static int pass_groups(struct allocator_reservation *space)
{
    uint32_t before = space->passed_count;
    for (uint32_t i = 0; i < space->group_count; i++) {
        struct allocator_group *group = space->groups[i];
        group->asked.is_late = group->asked.is_late || space->looks_further;
        if (group->asked.is_late && !allocator_is_passed(space, group->number) &&
            space->passed_count < ALLOCATOR_PASSED_MAX)
            space->passed_groups[space->passed_count++] = group->number;
    }
    if (space->passed_count > before)
        return retry(space);
    space->passed_count = 0;
    return ALLOCATOR_NO_NUMBER;
}

int allocator_allocate_inode(struct allocator_reservation *space, struct journal_handle *handle,
                             const struct allocator_claim *claim, uint64_t *number)
{
    bool is_pending = false;
    int result = spend_node(space);
    if (result == 0)
        result = spend_change(space);
    if (result != 0)
        return result;
    result = -ENOSPC;
    for (uint32_t i = 0; i < space->group_count && result == -ENOSPC; i++) {
        if (allocator_group_usable(space->groups[i], space->uses_margin) == 0)
            continue;
        result = take_number(space, space->groups[i], handle, claim, number);
        if (result != NUMBERS_PENDING)
            continue;
        is_pending = true;
        result = -ENOSPC;
    }
    if (result != 0)
        return result == -ENOSPC && is_pending ? pass_groups(space) : result;
    space->node_blocks_used++;
    space->inode_taken = *number;
    return 0;
}

// --- freeing ---------------------------------------------------------------------------------

static int refuse(struct allocator_reservation *space, uint64_t block, int error, const char *what)
{
    return cache_report_damage(space->volume->cache, error, "block %llu: %s: %s",
                               (unsigned long long)block, what, error_text(error));
}

// The held group that takes the blocks back; NULL if it is damaged: they are lost until fsck.lunfs
// finds them. -EAGAIN if it has to be locked first.
static int group_to_free_in(struct allocator_reservation *space, uint64_t block, uint64_t count,
                            struct allocator_group **group)
{
    uint32_t number;
    const struct geometry *g = &space->volume->geometry;
    if (!geometry_is_data_range(g, block, count) || !geometry_ag_of_block(g, block, &number))
        return refuse(space, block, -ERROR_BLOCK_RANGE, "freed");
    *group = NULL;
    if (allocator_is_bad(space->volume->allocator, number))
        return 0;
    *group = allocator_held_group(space, number);
    if (*group != NULL)
        return spend_change(space);
    if (!want_group(space, number, ALLOCATOR_GROUPS_MAX))
        return -ENOSPC;
    return retry(space);
}

static int give_back(struct allocator_reservation *space, struct allocator_group *group,
                     struct journal_handle *handle, uint64_t block, uint64_t count)
{
    int result = allocator_group_prepare(group, handle);
    if (result == 0)
        result = free_extents_add(&group->extents, handle, block, count);
    if (result == -ERROR_CORRUPT_FREE_SPACE)
        return result; // more likely the one that frees is wrong
    if (result != 0)
        return note_result(space, group, result);
    if (!allocator_busy_add(group, handle, block, count))
        return refuse(space, block, -ERROR_CORRUPT_FREE_SPACE, "freed twice");
    return 0;
}

int allocator_free(struct allocator_reservation *space, struct journal_handle *handle,
                   uint64_t block, uint64_t count)
{
    struct allocator_group *group;
    int result = group_to_free_in(space, block, count, &group);
    if (result != 0 || group == NULL)
        return result;
    return give_back(space, group, handle, block, count);
}

int allocator_free_node(struct allocator_reservation *space, struct journal_handle *handle,
                        uint64_t block)
{
    struct allocator_group *group;
    int result = group_to_free_in(space, block, 1, &group);
    if (result == 0)
        result = cache_revoke(space->volume->cache, handle, block);
    if (result != 0 || group == NULL)
        return result;
    return give_back(space, group, handle, block, 1);
}
