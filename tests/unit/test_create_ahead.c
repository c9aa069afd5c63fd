// SPDX-License-Identifier: Apache-2.0
// Creates while some masters of locks do not answer.
//
//   node 1 of 3 dies ── nobody answers for the names that it mastered ── recovered: all answered
//        creates go on with numbers whose locks others master             the skipped ones are used
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "fs/cluster_lock.h"
#include "fs/lock_types.h"
#include "tests/unit/silent_masters.h"

enum { BATCH = 128 }; // of numbers, asked for ahead

static uint64_t create_number(struct operation_world *w, const char *prefix, int i)
{
    struct attributes made;
    struct open_file *file = NULL;
    char name[32];
    snprintf(name, sizeof(name), "%s-%d", prefix, i);
    assert_int_equal(operation_create(w->volume, w->root, name, S_IFREG | 0644, 0, &test_user,
                                      O_RDWR | O_CREAT | O_EXCL, &made, &file),
                     0);
    assert_int_equal(operation_release(w->volume, file), 0);
    return made.inode;
}

// --- a third of the masters is silent --------------------------------------------------------

enum { CREATES = 400 };

static void creates_go_on(void *argument)
{
    struct operation_world *w = argument;
    create_number(w, "before", 0);
    silent_masters_set(w, 1);
    uint64_t highest = 0;
    for (int i = 0; i < CREATES; i++) {
        uint64_t number = create_number(w, "silent", i);
        highest = number > highest ? number : highest;
    }
    assert_true(silent_masters.kept_count > 0);
    // Skipped are five in nine; asked ahead for are two batches more at most.
    assert_true(silent_masters.kept_ever < CREATES * 4);
    silent_masters_answer(w);
    // What was skipped is used now, and nothing behind it.
    for (int i = 0; i < CREATES / 2; i++)
        assert_true(create_number(w, "answered", i) < highest);
}

static void test_creates_go_on_without_a_third_of_the_masters(void **state)
{
    operation_world_run(*state, creates_go_on);
}

static void removed_numbers(void *argument)
{
    struct operation_world *w = argument;
    uint64_t number = create_number(w, "round", 0);
    assert_int_equal(operation_unlink(w->volume, w->root, "round-0"), 0);
    free_blocks(w); // the number is free and durably so
    silent_masters_set(w, 3);
    // Its locks are here: nobody need be asked.
    assert_int_equal(create_number(w, "round", 1), number);
    silent_masters_set(w, 0);
    silent_masters_answer(w);
}

static void test_a_number_freed_here_is_used_again(void **state)
{
    operation_world_run(*state, removed_numbers);
}

// --- no master answers -----------------------------------------------------------------------

struct creator {
    struct operation_world *w;
    int made_count;
};

static void create_many(void *argument)
{
    struct creator *creator = argument;
    while (creator->made_count < CREATES) {
        create_number(creator->w, "many", creator->made_count);
        creator->made_count++;
    }
}

static void sleep_a_moment(struct operation_world *w)
{
    environment_sleep(&w->node.world_node.environment, 1000000000);
}

// Who waits for a number does not hold the group's lock: files grow meanwhile.
static void others_go_on(void *argument)
{
    struct operation_world *w = argument;
    struct creator creator = {.w = w};
    struct attributes made;
    struct open_file *file = NULL;
    uint8_t *block = block_buffer_new(BLOCK_BYTES);
    memset(block, 'x', BLOCK_BYTES);
    assert_int_equal(operation_create(w->volume, w->root, "grows", S_IFREG | 0644, 0, &test_user,
                                      O_RDWR | O_CREAT | O_EXCL, &made, &file),
                     0);
    silent_masters_set(w, 3);
    coroutine_start(w->scheduler, "creates", create_many, &creator);
    sleep_a_moment(w);
    assert_true(creator.made_count > 0 && creator.made_count < CREATES);
    for (uint64_t i = 1; i <= 100; i++)
        assert_int_equal(operation_write(w->volume, file, i << 20, block, BLOCK_BYTES),
                         BLOCK_BYTES);
    silent_masters_answer(w);
    sleep_a_moment(w);
    assert_int_equal(creator.made_count, CREATES);
    assert_int_equal(operation_release(w->volume, file), 0);
    free(block);
}

static void test_who_waits_for_a_number_holds_no_group(void **state)
{
    operation_world_run(*state, others_go_on);
}

// The numbers of the group that is in use hang on silent masters: another group has some.
static void other_groups(void *argument)
{
    struct operation_world *w = argument;
    const struct geometry *geometry = &w->volume->geometry;
    uint64_t first = create_number(w, "before", 0), begin_ns = w->world.now_ns;
    uint32_t group;
    assert_true(geometry_ag_of_block(geometry, first, &group));
    silent_masters_set(w, 3);
    silent_masters.silent_from = first;
    silent_masters.silent_until = geometry_ag_first_block(geometry, group + 1);
    for (int i = 0; i < CREATES; i++)
        create_number(w, "elsewhere", i);
    assert_true(silent_masters.kept_count > 0);
    // One create has waited in vain, the others knew.
    assert_true(w->world.now_ns - begin_ns < 200 * UINT64_C(1000000));
    silent_masters_answer(w);
    assert_true(create_number(w, "back", 0) < silent_masters.silent_until);
}

static void test_another_group_has_numbers(void **state)
{
    operation_world_run(*state, other_groups);
}

static void leave_requests(void *argument)
{
    struct operation_world *w = argument;
    create_number(w, "before", 0);
    silent_masters_set(w, 1);
    for (int i = 0; i < BATCH; i++)
        create_number(w, "left", i);
    assert_true(silent_masters.kept_count > 0);
}

static void test_unmount_takes_requests_back(void **state)
{
    struct operation_world *w = *state;
    operation_world_run(w, leave_requests);
    operation_world_remount(w);
    assert_int_equal(silent_masters.kept_count, 0);
}

int main(void)
{
#define TEST(function)                                                                             \
    cmocka_unit_test_setup_teardown(function, operation_world_setup, operation_world_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_creates_go_on_without_a_third_of_the_masters),
        TEST(test_a_number_freed_here_is_used_again),
        TEST(test_who_waits_for_a_number_holds_no_group),
        TEST(test_another_group_has_numbers),
        TEST(test_unmount_takes_requests_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
