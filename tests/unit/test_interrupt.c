// SPDX-License-Identifier: Apache-2.0
// Operations of processes that are killed while they wait for other nodes (rule 34): the wait ends,
// nothing of the operation is done, and nothing that it took is kept.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "fs/inode_table.h"
#include "fs/lock_types.h"
#include "fs/reaper.h"
#include "tests/unit/silent_masters.h"

struct killed {
    struct operation_world *w;
    struct open_file *file;
    int made_count;
    int result;
    bool is_done;
};

// Starts `body`, lets it run into its wait, and kills it there.
static void kill_in_wait(struct killed *killed, const char *name, void (*body)(void *argument))
{
    struct operation_world *w = killed->w;
    struct environment *environment = &w->node.world_node.environment;
    struct coroutine *coroutine = coroutine_start(w->scheduler, name, body, killed);
    environment_sleep(environment, 1000000000);
    assert_false(killed->is_done);
    assert_true(operation_interrupt(w->volume, coroutine));
    // It is on its way, and not waiting any more.
    assert_false(operation_interrupt(w->volume, coroutine));
    environment_sleep(environment, 1000000);
    assert_true(killed->is_done);
}

// --- a number's locks ------------------------------------------------------------------------

static int create_name(struct operation_world *w, int i)
{
    struct attributes made;
    char name[32];
    snprintf(name, sizeof(name), "file-%d", i);
    return make_file(w, name, &made);
}

static void create_many(void *argument)
{
    struct killed *killed = argument;
    while ((killed->result = create_name(killed->w, killed->made_count)) == 0)
        killed->made_count++;
    killed->is_done = true;
}

static void killed_create(void *argument)
{
    struct operation_world *w = argument;
    struct killed killed = {.w = w};
    struct attributes found;
    char name[32];
    assert_int_equal(create_name(w, -1), 0); // the directory's lock is here
    silent_masters_set(w, 3);
    kill_in_wait(&killed, "creates", create_many);
    assert_true(killed.made_count > 0);
    assert_int_equal(killed.result, -EINTR);
    snprintf(name, sizeof(name), "file-%d", killed.made_count);
    assert_int_equal(look_up(w, name, &found), -ENOENT); // nor is the directory locked
    silent_masters_answer(w);
    assert_int_equal(create_name(w, killed.made_count), 0);
}

static void test_create_that_waits_for_a_number(void **state)
{
    operation_world_run(*state, killed_create);
}

// --- a group's lock --------------------------------------------------------------------------

enum { LARGE_BYTES = 100 << 20 }; // more than a group has

static void allocate(void *argument)
{
    struct killed *killed = argument;
    killed->result = operation_allocate(killed->w->volume, killed->file, 0, 0, LARGE_BYTES);
    killed->is_done = true;
}

static void killed_allocation(void *argument)
{
    struct operation_world *w = argument;
    struct attributes made;
    assert_int_equal(make_file(w, "large", &made), 0);
    struct killed killed = {.w = w, .file = open_by_number(w, made.inode)};
    silent_masters_set(w, 0);
    silent_masters.are_groups_silent = true;
    kill_in_wait(&killed, "allocates", allocate);
    assert_int_equal(killed.result, -EINTR);
    assert_int_equal(operation_get_attributes(w->volume, made.inode, &made), 0);
    assert_int_equal(made.stat.st_blocks, 0); // what it had got is given back
    assert_int_equal(operation_release(w->volume, killed.file), 0);
    silent_masters_answer(w);
}

static void test_allocation_that_waits_for_a_group(void **state)
{
    operation_world_run(*state, killed_allocation);
}

// --- space of removed files ------------------------------------------------------------------

static void reclaim(void *argument)
{
    struct killed *killed = argument;
    killed->result = operation_reclaim(killed->w->volume);
    killed->is_done = true;
}

// The reaper asks for the lock of a file that another node removed; its master is silent.
static void killed_reclaim(void *argument)
{
    struct operation_world *w = argument;
    struct killed killed = {.w = w};
    const struct geometry *g = &w->volume->geometry;
    const uint64_t far = geometry_ag_first_block(g, g->ag_count - 1) + 100;
    silent_masters_set(w, 3);
    reaper_add(inode_table_reaper(w->volume), far, 1);
    kill_in_wait(&killed, "reclaims", reclaim);
    assert_false(killed.result);
    silent_masters_answer(w);
}

static void test_wait_for_space_of_removed_files(void **state)
{
    operation_world_run(*state, killed_reclaim);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        OPERATION_TEST(test_create_that_waits_for_a_number),
        OPERATION_TEST(test_allocation_that_waits_for_a_group),
        OPERATION_TEST(test_wait_for_space_of_removed_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
