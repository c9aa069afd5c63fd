// SPDX-License-Identifier: Apache-2.0
// Numbers for new inodes. An inode's number is its block, and a create needs the locks of that
// number. They are asked for ahead, in batches (rule P5); a create takes the lowest free number
// whose locks are here already. There is no list of candidates: they are the free blocks behind the
// group's cursor, and what makes one good is that its locks are cached. So nothing has to be undone
// when the group or a lock is given up, and a number that was freed here is good at once.
//
//   free blocks   █ █ ░ █ ░ ░ █ █ │ █ █ ░ █ ...  │
//   locks here    · · + · ? + · · │ ? ·          │        + here  ? asked, no answer  · in use
//                 cursor ▲ skip take             ▲ asked until here; from the middle of a batch on
//                                                  the next one is asked
//
// A master that does not answer (it died; corosync has not noticed; it is not recovered) thus costs
// the numbers that it masters, and no time:
//
//   0 s      node 1 of 3 dies: requests to it are not answered. A name in three is its.
//            A number needs two names: 4 of 9 have both elsewhere, 57 of a batch of 128
//   0 .. 6 s the others are skipped; each batch that gave a number is followed by the next
//   6 s      recovered: what was skipped is granted, and used next (lowest_skipped)
//
// A create waits only if no number of what was asked is here: the first after a mount, and when so
// many were skipped that memory says enough.
#include <errno.h>

#include "fs/allocator_group.h"
#include "fs/base/check.h"
#include "fs/cluster_lock.h"
#include "fs/lock_types.h"
#include "fs/volume.h"

enum {
    BATCH = 128,
    BLOCKS_SKIPPED_MAX = 32768, // from the lowest number that was skipped to the cursor
    BLOCKS_BACK_MAX = 1024,     // that the cursor goes back without a new batch
};

// --- asking --------------------------------------------------------------------------------------

static void ask(struct allocator_group *group, const uint64_t *numbers, size_t count)
{
    struct lock_table *locks = group->allocator->volume->locks;
    struct lock_name inodes[BATCH], opens[BATCH];
    CHECK(count <= BATCH);
    for (size_t i = 0; i < count; i++) {
        inodes[i] = lock_name_inode(numbers[i]);
        opens[i] = lock_name_open(numbers[i]);
    }
    // Without LOCK_TRY: who has freed an inode of this number has its locks still, and gives them
    // up.
    cluster_lock_prefetch(locks, inodes, count, LOCK_EXCLUSIVE, 0);
    cluster_lock_prefetch(locks, opens, count, LOCK_SHARED, 0);
}

// The next free numbers from `from` on.
static int ask_batch(struct allocator_group *group, uint64_t from)
{
    uint64_t numbers[BATCH];
    size_t count = 0;
    struct block_run run;
    int result;
    while (count < BATCH && (result = allocator_group_next_free(group, from, &run)) == 0) {
        for (uint64_t i = 0; i < run.block_count && count < BATCH; i++)
            numbers[count++] = run.start_block + i;
        from = run.start_block + run.block_count;
    }
    if (count == 0)
        return result == -ENOENT ? 0 : result;
    ask(group, numbers, count);
    group->asked.until = numbers[count - 1] + 1;
    group->asked.middle = numbers[count / 2];
    group->asked.has_given = false;
    return 0;
}

// Other small runs move the cursor, too, and what is freed moves it back.
static void follow_cursor(struct allocator_group *group)
{
    uint64_t cursor = group->small_cursor;
    struct numbers_asked *asked = &group->asked;
    if (cursor <= asked->until && cursor + BLOCKS_BACK_MAX >= asked->from) {
        asked->from = cursor < asked->from ? cursor : asked->from;
        return;
    }
    *asked = (struct numbers_asked){cursor, cursor, cursor, true, asked->is_late};
}

// --- taking --------------------------------------------------------------------------------------

static bool is_claimed(const struct allocator_claim *claim, uint64_t number)
{
    return claim->run(claim->context, number) == 0;
}

// A number whose locks are not here: asked for (again, should they have been called back).
static void skip(struct allocator_group *group, uint64_t number)
{
    ask(group, &number, 1);
    if (number < group->lowest_skipped)
        group->lowest_skipped = number;
}

static void took(struct allocator_group *group, uint64_t number)
{
    group->small_cursor = number + 1;
    if (number == group->lowest_skipped)
        group->lowest_skipped = UINT64_MAX;
    group->asked.has_given = true;
    group->asked.is_late = false;
}

struct walk {
    struct allocator_group *group;
    const struct allocator_claim *claim;
    bool has_skipped;
    uint64_t number; // claimed
};

// A batch of which nothing has come yet is on its way, or hangs on whom the next would hang on.
static int ask_more(struct walk *walk)
{
    bool is_awaited = walk->has_skipped && !walk->group->asked.has_given;
    return is_awaited ? NUMBERS_PENDING : ask_batch(walk->group, walk->number);
}

// 0: claimed; NUMBERS_PENDING: enough was skipped; -ENOENT: not this one; else an error.
static int try_number(struct walk *walk)
{
    struct allocator_group *group = walk->group;
    int result = walk->number >= group->asked.until ? ask_more(walk) : 0;
    if (result != 0)
        return result;
    if (is_claimed(walk->claim, walk->number))
        return 0;
    skip(group, walk->number);
    walk->has_skipped = true;
    bool is_enough = walk->number - group->lowest_skipped > BLOCKS_SKIPPED_MAX;
    return is_enough ? NUMBERS_PENDING : -ENOENT;
}

// From the cursor to the group's end.
static int walk_group(struct walk *walk)
{
    struct block_run run;
    uint64_t from = walk->group->small_cursor;
    int result;
    follow_cursor(walk->group);
    while ((result = allocator_group_next_free(walk->group, from, &run)) == 0) {
        from = run.start_block + run.block_count;
        for (walk->number = run.start_block; walk->number < from; walk->number++) {
            result = try_number(walk);
            if (result != -ENOENT)
                return result;
        }
    }
    return result == -ENOENT && walk->has_skipped ? NUMBERS_PENDING : result;
}

// What was skipped has its locks by now: on from there.
static void go_back(struct allocator_group *group, const struct allocator_claim *claim)
{
    uint64_t lowest = group->lowest_skipped;
    if (lowest == UINT64_MAX)
        return;
    if (!is_claimed(claim, lowest)) {
        ask(group, &lowest, 1);
        return;
    }
    group->lowest_skipped = UINT64_MAX;
    if (lowest < group->small_cursor)
        group->small_cursor = lowest;
}

int allocator_number_find(struct allocator_group *group, const struct allocator_claim *claim,
                          uint64_t *number)
{
    struct walk walk = {.group = group, .claim = claim};
    go_back(group, claim);
    int result = walk_group(&walk);
    if (result == -ENOENT) {
        group->small_cursor = group->extents.first_block + 1;
        result = walk_group(&walk);
    }
    if (result != 0)
        return result == -ENOENT ? -ENOSPC : result;
    *number = walk.number;
    took(group, walk.number);
    return walk.number >= group->asked.middle ? ask_batch(group, group->asked.until) : 0;
}
