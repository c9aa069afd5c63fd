// SPDX-License-Identifier: Apache-2.0
// The extent map against an array with one entry a file block, over a real allocator: runs are
// mapped, marked written and removed at random, in handles of which some are aborted.
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "fs/base/error.h"
#include "fs/extent_map.h"
#include "fs/lock_types.h"
#include "tests/lib/structure_world.h"

enum { FILE_BLOCKS = 3000 };

struct mapped {
    uint64_t volume_block;
    enum extent_state state;
};

struct subject {
    struct structure_world *world;
    struct random random;
    struct inode inode;
    uint64_t number;
    struct mapped model[FILE_BLOCKS];
    uint64_t mapped_count;
};

// --- one change, as an operation makes it --------------------------------------------------------

struct step {
    struct structure_change change; // first
    struct subject *subject;
    uint64_t file_block, count;
    uint64_t done;
    struct block_run run;
    enum extent_state state;
    struct extent_removal removal;
    bool is_aborted;
};

static int finish(struct step *step, int result)
{
    return result == 0 && step->is_aborted ? -ECANCELED : result;
}

static void step_init(struct step *step, struct subject *subject, struct tree_cost cost)
{
    memset(step, 0, sizeof(*step));
    structure_change_init(&step->change, subject->world, cost);
    step->subject = subject;
    step->is_aborted = random_one_in(&subject->random, 8);
}

static int step_run(struct step *step)
{
    inode_use_space(&step->subject->inode, &step->change.space);
    int result = structure_change_run(&step->change, step->subject->world);
    inode_use_space(&step->subject->inode, NULL);
    return result;
}

static int map_body(struct structure_change *change, struct journal_handle *handle)
{
    struct step *step = (struct step *)change;
    int result = allocator_allocate(&change->space, handle, 0, 1, step->count, 1, &step->run);
    if (result != 0)
        return result;
    struct extent extent = {step->file_block, step->run.block_count, step->run.start_block,
                            step->state};
    return finish(step, extent_map_insert(&step->subject->inode, handle, &extent));
}

static void map_hole(struct subject *subject, uint64_t file_block)
{
    uint64_t count = 0;
    uint64_t most = 1 + random_below(&subject->random, 30);
    while (count < most && file_block + count < FILE_BLOCKS &&
           subject->model[file_block + count].state == EXTENT_HOLE)
        count++;
    if (count == 0)
        return;
    struct step step;
    step_init(&step, subject, extent_map_insert_cost(&subject->inode));
    step.file_block = file_block;
    step.count = count;
    step.state = random_one_in(&subject->random, 2) ? EXTENT_UNWRITTEN_RUN : EXTENT_WRITTEN_RUN;
    step.change.body = map_body;
    step.change.change_count = 1;
    allocator_want_data(&step.change.space, 1, count);
    int result = step_run(&step);
    assert_true(result == 0 || result == -ECANCELED);
    for (uint64_t i = 0; result == 0 && i < step.run.block_count; i++)
        subject->model[file_block + i] = (struct mapped){step.run.start_block + i, step.state};
    if (result == 0)
        subject->mapped_count += step.run.block_count;
}

static int mark_body(struct structure_change *change, struct journal_handle *handle)
{
    struct step *step = (struct step *)change;
    return finish(step, extent_map_mark_written(&step->subject->inode, handle, step->file_block,
                                                step->count, &step->done));
}

static void mark_range(struct subject *subject, uint64_t file_block, uint64_t count)
{
    uint64_t end = file_block + count;
    while (file_block < end) {
        struct step step;
        step_init(&step, subject, extent_map_mark_cost(&subject->inode));
        step.file_block = file_block;
        step.count = end - file_block;
        step.change.body = mark_body;
        int result = step_run(&step);
        if (result == -ECANCELED)
            return;
        assert_int_equal(result, 0);
        assert_true(step.done > file_block && step.done <= end);
        for (; file_block < step.done; file_block++) {
            if (subject->model[file_block].state == EXTENT_UNWRITTEN_RUN)
                subject->model[file_block].state = EXTENT_WRITTEN_RUN;
        }
    }
}

static int remove_body(struct structure_change *change, struct journal_handle *handle)
{
    struct step *step = (struct step *)change;
    int result = extent_map_remove(&step->subject->inode, handle, &step->removal);
    for (unsigned i = 0; i < step->removal.count && result == 0; i++)
        result = allocator_free(&change->space, handle, step->removal.runs[i].volume_block,
                                step->removal.runs[i].block_count);
    return finish(step, result);
}

static void forget_removed(struct subject *subject, const struct extent_removal *removal)
{
    for (unsigned i = 0; i < removal->count; i++) {
        const struct extent *run = &removal->runs[i];
        for (uint64_t j = 0; j < run->block_count; j++) {
            struct mapped *mapped = &subject->model[run->file_block + j];
            assert_int_equal(mapped->volume_block, run->volume_block + j);
            *mapped = (struct mapped){0};
        }
        subject->mapped_count -= run->block_count;
    }
}

static void remove_range(struct subject *subject, uint64_t file_block, uint64_t count)
{
    struct step step;
    do {
        unsigned step_max = 1 + (unsigned)random_below(&subject->random, EXTENT_MAP_STEP_MAX);
        step_init(&step, subject, extent_map_remove_cost(&subject->inode, step_max));
        int result =
            extent_map_plan_removal(&subject->inode, file_block, count, step_max, &step.removal);
        assert_int_equal(result, 0);
        assert_true(step.removal.count <= step_max);
        step.change.body = remove_body;
        step.change.change_count = step.removal.count;
        for (unsigned i = 0; i < step.removal.count; i++)
            assert_true(allocator_want_free(&step.change.space, step.removal.runs[i].volume_block));
        result = step_run(&step);
        if (result == -ECANCELED)
            return;
        assert_int_equal(result, 0);
        forget_removed(subject, &step.removal);
    } while (step.removal.has_more);
    for (uint64_t i = file_block; i < FILE_BLOCKS && i - file_block < count; i++)
        assert_int_equal(subject->model[i].state, EXTENT_HOLE);
}

// --- checks ----------------------------------------------------------------------------------

static void check_lookup(struct subject *subject, uint64_t file_block)
{
    struct extent extent;
    assert_int_equal(extent_map_lookup(&subject->inode, file_block, &extent), 0);
    assert_true(extent.file_block <= file_block);
    assert_true(file_block < extent.file_block + extent.block_count);
    for (uint64_t i = extent.file_block;
         i < FILE_BLOCKS && i < extent.file_block + extent.block_count; i++) {
        assert_int_equal(subject->model[i].state, extent.state);
        if (extent.state != EXTENT_HOLE)
            assert_int_equal(subject->model[i].volume_block,
                             extent.volume_block + (i - extent.file_block));
    }
}

static void check_seek(struct subject *subject, uint64_t from)
{
    uint64_t data = from, hole = from, found;
    while (data < FILE_BLOCKS && subject->model[data].state != EXTENT_WRITTEN_RUN)
        data++;
    while (hole < FILE_BLOCKS && subject->model[hole].state == EXTENT_WRITTEN_RUN)
        hole++;
    int result = extent_map_seek_data(&subject->inode, from, FILE_BLOCKS, &found);
    assert_int_equal(result, data < FILE_BLOCKS ? 0 : -ENXIO);
    if (result == 0)
        assert_int_equal(found, data);
    assert_int_equal(extent_map_seek_hole(&subject->inode, from, FILE_BLOCKS, &found), 0);
    assert_int_equal(found, hole);
}

struct walk {
    struct subject *subject;
    uint64_t at;
    struct extent last;
    unsigned extent_count;
};

static bool check_step(void *context, const struct extent *extent)
{
    struct walk *walk = context;
    assert_int_equal(extent->file_block, walk->at);
    // Neighbours that continue each other are one extent.
    bool continues = extent->state == walk->last.state && extent->state != EXTENT_HOLE &&
                     walk->last.volume_block + walk->last.block_count == extent->volume_block;
    assert_false(continues);
    walk->at += extent->block_count;
    walk->last = *extent;
    walk->extent_count++;
    return true;
}

static void check_whole(struct subject *subject)
{
    struct walk walk = {.subject = subject};
    assert_int_equal(extent_map_iterate(&subject->inode, 0, check_step, &walk), 0);
    for (uint64_t i = 0; i < FILE_BLOCKS; i += 1 + random_below(&subject->random, 5)) {
        check_lookup(subject, i);
        check_seek(subject, i);
    }
    assert_true(inode_block_count(&subject->inode) >= subject->mapped_count);
}

// --- histories -------------------------------------------------------------------------------

static void run_history(void *argument)
{
    struct subject *subject = argument;
    struct random *random = &subject->random;
    assert_int_equal(inode_load(&subject->inode, &subject->world->volume, subject->number), 0);
    for (int i = 0; i < 4000; i++) {
        uint64_t at = random_below(random, FILE_BLOCKS);
        uint64_t most = random_one_in(random, 40) ? FILE_BLOCKS : 40;
        uint64_t count =
            1 + random_below(random, FILE_BLOCKS - at < most ? FILE_BLOCKS - at : most);
        switch (random_below(random, 4)) {
        case 0:
        case 1:
            map_hole(subject, at);
            break;
        case 2:
            mark_range(subject, at, count);
            break;
        default:
            remove_range(subject, at, count);
        }
        if (i % 30 == 0)
            assert_int_equal(journal_sync(subject->world->volume.journal), 0);
        if (i % 200 == 0)
            check_whole(subject);
    }
    check_whole(subject);
    inode_unload(&subject->inode);
}

static void run_create(void *argument)
{
    struct subject *subject = argument;
    structure_world_create(subject->world, S_IFREG | 0644, &subject->inode);
    subject->number = subject->inode.number;
    inode_unload(&subject->inode);
}

static void run_check(void *argument)
{
    struct subject *subject = argument;
    assert_int_equal(inode_load(&subject->inode, &subject->world->volume, subject->number), 0);
    check_whole(subject);
    inode_unload(&subject->inode);
}

static int destroy_body(struct structure_change *change, struct journal_handle *handle)
{
    struct step *step = (struct step *)change;
    return inode_destroy(&step->subject->inode, handle);
}

// Everything goes: the inode is bare, its nodes are free, and all of the volume is.
static void run_destroy(void *argument)
{
    struct subject *subject = argument;
    struct allocator_summary before, after;
    allocator_summary_get(&subject->world->volume, &before);
    uint64_t held = subject->mapped_count;
    assert_int_equal(inode_load(&subject->inode, &subject->world->volume, subject->number), 0);
    uint64_t nodes = inode_block_count(&subject->inode) - held;
    while (subject->mapped_count > 0)
        remove_range(subject, 0, UINT64_MAX);
    assert_true(inode_is_bare(&subject->inode));
    assert_int_equal(inode_block_count(&subject->inode), 0);
    struct step step;
    step_init(&step, subject, (struct tree_cost){1, 0});
    step.is_aborted = false;
    step.change.body = destroy_body;
    assert_int_equal(step_run(&step), 0);
    inode_unload(&subject->inode);
    assert_int_equal(journal_sync(subject->world->volume.journal), 0);
    allocator_summary_get(&subject->world->volume, &after);
    // The groups' own trees and reserves may differ by a few blocks.
    int64_t gained = (int64_t)(after.free_block_count - before.free_block_count);
    int64_t expected = (int64_t)(held + nodes + 1);
    assert_true(llabs(gained - expected) <= 64);
}

static void random_histories(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 6; seed++) {
        static struct structure_world world;
        static struct subject subject;
        structure_world_open(&world,
                             &(struct structure_options){.seed = seed, .ag_block_shift = 11});
        memset(&subject, 0, sizeof(subject));
        subject.world = &world;
        random_init(&subject.random, seed);
        structure_world_run(&world, run_create, &subject);
        structure_world_run(&world, run_history, &subject);
        structure_world_remount(&world);
        structure_world_run(&world, run_check, &subject);
        structure_world_run(&world, run_destroy, &subject);
        structure_world_close(&world);
    }
}

// --- hostile ---------------------------------------------------------------------------------

static void run_hostile(void *argument)
{
    struct subject *subject = argument;
    struct extent extent;
    uint64_t found;
    int result = inode_load(&subject->inode, &subject->world->volume, subject->number);
    if (result != 0)
        return;
    for (uint64_t i = 0; i < FILE_BLOCKS; i += 97) {
        extent_map_lookup(&subject->inode, i, &extent);
        extent_map_seek_data(&subject->inode, i, FILE_BLOCKS, &found);
        extent_map_seek_hole(&subject->inode, i, FILE_BLOCKS, &found);
    }
    for (int i = 0; i < 30; i++) {
        struct step step;
        uint64_t at = random_below(&subject->random, FILE_BLOCKS);
        if (i % 2 == 0) {
            step_init(&step, subject, extent_map_mark_cost(&subject->inode));
            step.file_block = at;
            step.count = FILE_BLOCKS - at;
            step.change.body = mark_body;
            step_run(&step);
            continue;
        }
        step_init(&step, subject, extent_map_remove_cost(&subject->inode, 5));
        if (extent_map_plan_removal(&subject->inode, at, 100, 5, &step.removal) != 0)
            continue;
        step.change.body = remove_body;
        step.change.change_count = step.removal.count;
        step_run(&step);
    }
    inode_unload(&subject->inode);
}

static void hostile_maps(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 200; seed++) {
        static struct structure_world world;
        static struct subject subject;
        structure_world_open(&world, &(struct structure_options){.seed = seed});
        memset(&subject, 0, sizeof(subject));
        subject.world = &world;
        random_init(&subject.random, seed);
        structure_world_run(&world, run_create, &subject);
        assert_true(subject.number != 0);
        structure_world_run(&world, run_history, &subject);
        structure_world_remount(&world);
        uint8_t *block = structure_world_block(&world, subject.number);
        for (int i = 0; i < 3; i++)
            block[384 + random_below(&subject.random, 3712)] =
                (uint8_t)random_below(&subject.random, 256);
        format_block_seal(block, 100);
        structure_world_run(&world, run_hostile, &subject);
        structure_world_close(&world);
        if (seed >= 20 && getenv("STRUCTURES_LONG") == NULL)
            break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_histories),
        cmocka_unit_test(hostile_maps),
    };
    return cmocka_run_group_tests_name("extent map", tests, NULL, NULL);
}
