// SPDX-License-Identifier: Apache-2.0
// A group's state and the search for a run of blocks.
//
// Short requests (inodes, tree nodes, small files) go from the front of the group upwards, long
// ones from a sixteenth on, so that the small do not break the runs of the large. Both go on where
// the last one ended; the small cursor goes back to what was freed below it.
#include "fs/allocator_group.h"

#include <stdlib.h>

#include "fs/base/check.h"
#include "fs/base/error.h"
#include "fs/base/sabotage.h"
#include "fs/cluster_lock.h"
#include "fs/format_decode.h"
#include "fs/lock_types.h"
#include "fs/volume.h"

enum {
    SMALL_RUN_MAX = 16,
    SCAN_MAX = 128, // pieces looked at for a better one than the best so far
};

// --- busy extents ----------------------------------------------------------------------------

static int busy_compare(const struct allocator_busy *a, const struct allocator_busy *b)
{
    if (a->start_block < b->start_block + b->block_count &&
        b->start_block < a->start_block + a->block_count)
        return 0; // they overlap
    return a->start_block < b->start_block ? -1 : 1;
}

#define LOCAL static __attribute__((unused))
RB_PROTOTYPE_INTERNAL(allocator_busy_tree, allocator_busy, by_start, busy_compare, LOCAL);
RB_GENERATE_INTERNAL(allocator_busy_tree, allocator_busy, by_start, busy_compare, LOCAL)
#undef LOCAL

// The first busy extent that overlaps the range or lies behind its start.
static struct allocator_busy *busy_from(struct allocator_group *group, uint64_t block)
{
    struct allocator_busy key = {.start_block = block, .block_count = 1};
    return RB_NFIND(allocator_busy_tree, &group->busy, &key);
}

static bool is_busy(void *context, uint64_t block, uint64_t count)
{
    struct allocator_busy *busy = busy_from(context, block);
    if (SABOTAGE(allocator_ignore_busy))
        return false;
    return busy != NULL && busy->start_block < block + count;
}

static void busy_remove(struct allocator_busy *busy)
{
    struct allocator_group *group = busy->group;
    if (group == NULL)
        return;
    RB_REMOVE(allocator_busy_tree, &group->busy, busy);
    group->busy_block_count -= busy->block_count;
    if (busy->start_block < group->lowest_released)
        group->lowest_released = busy->start_block;
}

static void busy_became_durable(struct journal_on_durable *on_durable, int result)
{
    (void)result; // after a failure of the journal nothing is given out any more
    struct allocator_busy *busy =
        (struct allocator_busy *)((char *)on_durable - offsetof(struct allocator_busy, on_durable));
    struct allocator *allocator = busy->allocator;
    busy_remove(busy);
    TAILQ_REMOVE(&allocator->busy, busy, by_age);
    free(busy);
    wait_queue_wake_all(allocator->volume->scheduler, &allocator->released);
}

bool allocator_busy_add(struct allocator_group *group, struct journal_handle *handle,
                        uint64_t block, uint64_t count)
{
    struct allocator_busy *busy = calloc(1, sizeof(*busy));
    CHECK(busy != NULL && group->user != NULL);
    busy->allocator = group->allocator;
    busy->group = group;
    busy->start_block = block;
    busy->block_count = count;
    busy->on_durable.run = busy_became_durable;
    if (RB_INSERT(allocator_busy_tree, &group->busy, busy) != NULL) {
        free(busy);
        return false;
    }
    group->busy_block_count += count;
    busy->next_freed = group->user->freed;
    group->user->freed = busy;
    journal_transaction_on_durable(handle, &busy->on_durable);
    return true;
}

// The handle is about to end: from now on a commit frees them.
void allocator_busy_publish(struct allocator_reservation *space)
{
    struct allocator_busy *busy;
    while ((busy = space->freed) != NULL) {
        space->freed = busy->next_freed;
        busy->sequence = ++busy->allocator->sequence;
        TAILQ_INSERT_TAIL(&busy->allocator->busy, busy, by_age);
    }
}

void allocator_busy_undo(struct allocator_reservation *space)
{
    struct allocator_busy *busy;
    while ((busy = space->freed) != NULL) {
        space->freed = busy->next_freed;
        busy_remove(busy);
        free(busy);
    }
}

int allocator_busy_wait(struct allocator *allocator)
{
    uint64_t last = allocator->sequence;
    int result = journal_sync(allocator->volume->journal);
    struct allocator_busy *oldest;
    while (result == 0 && (oldest = TAILQ_FIRST(&allocator->busy)) != NULL &&
           oldest->sequence <= last)
        wait_queue_wait(allocator->volume->scheduler, &allocator->released);
    return result;
}

// --- the group's state -----------------------------------------------------------------------

static void node_released(void *context, struct journal_handle *handle, uint64_t block)
{
    // A node of ours cannot have been busy: the tree referred to it.
    bool is_new = allocator_busy_add(context, handle, block, 1);
    CHECK(is_new);
}

static const struct free_extents_user extents_user = {is_busy, node_released};

static int verify_header(struct allocator *allocator, uint32_t number,
                         const struct cache_block *header)
{
    struct format_ag decoded;
    const char *reason = NULL;
    int result = format_ag_decode((const struct ag_header_disk *)header->bytes,
                                  &allocator->volume->geometry, number, &decoded, &reason);
    if (result != 0)
        cache_report_damage(allocator->volume->cache, result, "block %llu, header of group %u: %s",
                            (unsigned long long)header->address, number, reason);
    return result;
}

static struct allocator_group *group_new(struct allocator *allocator, uint32_t number,
                                         struct cache_block *header)
{
    const struct geometry *g = &allocator->volume->geometry;
    struct allocator_group *group = calloc(1, sizeof(*group));
    CHECK(group != NULL);
    group->allocator = allocator;
    group->number = number;
    group->header = header;
    RB_INIT(&group->busy);
    uint64_t first = geometry_ag_first_block(g, number);
    uint64_t count = geometry_ag_block_count(g, number);
    free_extents_init(&group->extents, allocator->volume->cache, allocator->volume->log, header,
                      first, count, &extents_user, group);
    group->told_count = free_extents_count(&group->extents);
    group->small_cursor = first + 1;
    group->large_cursor = first + count / 16;
    group->lowest_released = group->lowest_skipped = UINT64_MAX;
    group->asked = (struct numbers_asked){first + 1, first + 1, first + 1, true, false};
    return group;
}

int allocator_group_load(struct allocator *allocator, uint32_t number, struct cluster_lock *lock,
                         struct allocator_group **group)
{
    *group = cluster_lock_object(lock);
    if (*group != NULL)
        return 0;
    struct cache_identity identity = {
        .address = geometry_ag_first_block(&allocator->volume->geometry, number),
        .owner = number,
        .type = BLOCK_TYPE_AG_HEADER,
        .lock = lock_name_ag(number),
    };
    struct cache_block *header;
    int result = cache_read(allocator->volume->cache, &identity, &header);
    if (result != 0)
        return result;
    result = verify_header(allocator, number, header);
    if (result != 0) {
        cache_put(header);
        return result;
    }
    *group = group_new(allocator, number, header);
    allocator->groups[number] = *group;
    cluster_lock_set_object(lock, *group);
    return 0;
}

void allocator_group_forget(struct volume *volume, struct cluster_lock *lock)
{
    struct allocator_group *group = cluster_lock_object(lock);
    if (group == NULL)
        return;
    CHECK(group->user == NULL);
    // Left over only if the journal failed: their callbacks are still to come.
    struct allocator_busy *busy, *next;
    RB_FOREACH_SAFE (busy, allocator_busy_tree, &group->busy, next) {
        RB_REMOVE(allocator_busy_tree, &group->busy, busy);
        busy->group = NULL;
    }
    volume->allocator->groups[group->number] = NULL;
    cluster_lock_set_object(lock, NULL);
    cache_put(group->header);
    free(group);
}

// The small cursor moves back only here: within a handle it goes upwards, as the credits assume.
int allocator_group_prepare(struct allocator_group *group, struct journal_handle *handle)
{
    if (group->is_balanced)
        return 0;
    if (group->lowest_released < group->small_cursor)
        group->small_cursor = group->lowest_released;
    group->lowest_released = UINT64_MAX;
    group->is_balanced = true;
    return free_extents_balance(&group->extents, handle);
}

uint64_t allocator_group_usable(const struct allocator_group *group, bool uses_margin)
{
    uint64_t kept = group->busy_block_count + free_extents_balance_need(&group->extents) +
                    (uses_margin ? 0 : ALLOCATOR_MARGIN_BLOCKS);
    uint64_t count = free_extents_count(&group->extents);
    return count > kept ? count - kept : 0;
}

// --- the search ------------------------------------------------------------------------------

struct search {
    struct allocator_group *group;
    const struct run_request *request;
    struct block_run best;
    unsigned pieces; // looked at
};

static uint64_t lesser(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

// How many blocks to skip so that the run begins at a multiple of the alignment in the group.
static uint64_t alignment_skip(const struct search *search, uint64_t start)
{
    uint64_t offset = start - search->group->extents.first_block;
    return (0 - offset) & (search->request->alignment - 1);
}

// Notes a piece without busy blocks. True if nothing better is needed.
static bool consider(struct search *search, uint64_t start, uint64_t count)
{
    const struct run_request *request = search->request;
    uint64_t skip = alignment_skip(search, start);
    // An aligned start is worth up to half of the piece.
    if (skip < count && count - skip >= lesser(request->max, count / 2)) {
        start += skip;
        count -= skip;
    }
    count = lesser(count, request->max);
    search->pieces++;
    if (count > search->best.block_count)
        search->best = (struct block_run){start, count};
    return count == request->max;
}

// Goes over the parts of [start, end) that are not busy.
static bool consider_extent(struct search *search, uint64_t start, uint64_t end)
{
    struct allocator_busy *busy = busy_from(search->group, start);
    while (start < end) {
        uint64_t stop = busy != NULL && busy->start_block < end ? busy->start_block : end;
        if (stop > start && consider(search, start, stop - start))
            return true;
        if (stop == end)
            break;
        start = busy->start_block + busy->block_count;
        busy = RB_NEXT(allocator_busy_tree, &search->group->busy, busy);
    }
    return false;
}

int allocator_group_next_free(struct allocator_group *group, uint64_t block, struct block_run *run)
{
    struct free_extent extent;
    int result;
    while ((result = free_extents_find(&group->extents, block, &extent)) == 0) {
        uint64_t end = extent.start_block + extent.block_count;
        uint64_t start = extent.start_block < block ? block : extent.start_block;
        struct allocator_busy *busy = busy_from(group, start);
        uint64_t stop = busy != NULL && busy->start_block < end ? busy->start_block : end;
        if (stop > start) {
            *run = (struct block_run){start, stop - start};
            return 0;
        }
        block = busy->start_block + busy->block_count;
    }
    return result;
}

// Looks at the free extents from `from` up to `to`, until one serves or enough were seen.
static int scan(struct search *search, uint64_t from, uint64_t to)
{
    struct free_extents_scan extents;
    struct free_extent found;
    int result = free_extents_scan_begin(&extents, &search->group->extents, from, &found);
    while (result == 0 && found.start_block < to) {
        uint64_t start = found.start_block < from ? from : found.start_block;
        if (consider_extent(search, start, found.start_block + found.block_count))
            break;
        if (search->pieces >= SCAN_MAX && search->best.block_count >= search->request->min)
            break;
        result = free_extents_scan_next(&extents, &found);
    }
    free_extents_scan_end(&extents);
    return result == -ENOENT ? 0 : result;
}

// Goes on where the goal says, if a good part of what is wanted is there.
static int try_goal(struct search *search, bool *found)
{
    const struct run_request *request = search->request;
    struct free_extent extent;
    *found = false;
    int result = free_extents_find(&search->group->extents, request->goal, &extent);
    if (result != 0)
        return result == -ENOENT ? 0 : result;
    if (extent.start_block > request->goal)
        return 0;
    uint64_t end = extent.start_block + extent.block_count;
    struct allocator_busy *busy = busy_from(search->group, request->goal);
    if (busy != NULL && busy->start_block < end)
        end = busy->start_block < request->goal ? request->goal : busy->start_block;
    uint64_t count = lesser(end - request->goal, request->max);
    *found = count >= request->min && count > 0 && count >= request->max / 4;
    if (*found)
        search->best = (struct block_run){request->goal, count};
    return 0;
}

static int search_group(struct search *search, uint64_t cursor)
{
    struct allocator_group *group = search->group;
    uint64_t begin = group->extents.first_block + 1;
    uint64_t end = group->extents.first_block + group->extents.block_count;
    int result = scan(search, cursor, end);
    bool is_satisfied =
        search->best.block_count >= search->request->min &&
        (search->best.block_count == search->request->max || search->pieces >= SCAN_MAX);
    if (result == 0 && !is_satisfied)
        result = scan(search, begin, cursor);
    return result;
}

int allocator_group_find(struct allocator_group *group, const struct run_request *request,
                         struct block_run *run)
{
    struct search search = {.group = group, .request = request};
    bool found = false;
    int result = request->goal != 0 ? try_goal(&search, &found) : 0;
    bool is_small = request->max <= SMALL_RUN_MAX;
    if (result == 0 && !found)
        result = search_group(&search, is_small ? group->small_cursor : group->large_cursor);
    if (result != 0)
        return result;
    if (search.best.block_count < request->min || search.best.block_count == 0)
        return -ENOSPC;
    *run = search.best;
    uint64_t end = run->start_block + run->block_count;
    if (!found && is_small)
        group->small_cursor = end;
    else if (!found)
        group->large_cursor = end;
    return 0;
}
