// SPDX-License-Identifier: Apache-2.0
// Files that are made without a name: they end with their last handle or with the node, unless they
// got a name before.
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "tests/unit/operation_world.h"

enum {
    DATA_BYTES = 100 * 4096,
    SLACK = 20, // what groups keep for their own trees
};

static uint8_t data[DATA_BYTES + 2 * 4096] __attribute__((aligned(4096)));

static struct open_file *make_unnamed(struct operation_world *w, int flags, struct attributes *made)
{
    struct open_file *file;
    memset(data, 'u', sizeof(data));
    assert_int_equal(
        operation_create_unnamed(w->volume, w->root, 0640, &test_user, flags, made, &file), 0);
    assert_int_equal(made->stat.st_mode, S_IFREG | 0640);
    assert_int_equal(made->stat.st_uid, test_user.uid);
    assert_int_equal(made->stat.st_nlink, 0);
    assert_int_equal(operation_write(w->volume, file, 0, data, DATA_BYTES), DATA_BYTES);
    return file;
}

static bool name_nothing(void *context, const struct directory_entry *entry)
{
    (void)context;
    assert_true(strcmp(entry->name, ".") == 0 || strcmp(entry->name, "..") == 0);
    return true;
}

// The reaper works behind the last close.
static uint64_t free_blocks_at_rest(struct operation_world *w)
{
    operation_reclaim(w->volume);
    return free_blocks(w);
}

static void ending_with_its_handle(void *argument)
{
    struct operation_world *w = argument;
    struct attributes made, found;
    uint64_t before = free_blocks(w);
    struct open_file *file = make_unnamed(w, O_RDWR, &made);
    assert_int_equal(operation_read_directory(w->volume, w->root, 0, false, name_nothing, NULL), 0);
    assert_int_equal(operation_get_attributes(w->volume, made.inode, &found), 0);
    assert_int_equal(found.stat.st_size, DATA_BYTES);
    assert_int_equal(operation_release(w->volume, file), 0);
    assert_in_range(free_blocks_at_rest(w), before - SLACK, before + SLACK);
    assert_int_equal(operation_get_attributes(w->volume, made.inode, &found), -ESTALE);
}

static void test_ends_with_its_handle(void **state)
{
    operation_world_run(*state, ending_with_its_handle);
}

static void getting_a_name(void *argument)
{
    struct operation_world *w = argument;
    struct attributes made, found;
    struct open_file *file = make_unnamed(w, O_RDWR, &made);
    assert_int_equal(operation_link(w->volume, made.inode, w->root, "name", &found), 0);
    assert_int_equal(found.stat.st_nlink, 1);
    assert_int_equal(operation_link(w->volume, made.inode, w->root, "second", &found), 0);
    assert_int_equal(operation_link(w->volume, made.inode, w->root, "second", &found), -EEXIST);
    assert_int_equal(operation_release(w->volume, file), 0);
    assert_int_equal(look_up(w, "name", &found), 0);
    assert_int_equal(found.inode, made.inode);
    assert_int_equal(found.stat.st_nlink, 2);
    assert_int_equal(found.stat.st_size, DATA_BYTES);
}

static void still_named(void *argument)
{
    struct attributes found;
    assert_int_equal(look_up(argument, "name", &found), 0);
    assert_int_equal(found.stat.st_nlink, 2);
}

static void test_gets_a_name(void **state)
{
    operation_world_run(*state, getting_a_name);
    operation_world_remount(*state);
    operation_world_run(*state, still_named);
}

// Once it has had a name it is a file like others: after its unlink it gets none any more.
static void losing_its_name(void *argument)
{
    struct operation_world *w = argument;
    struct attributes made, found;
    uint64_t before = free_blocks(w);
    struct open_file *file = make_unnamed(w, O_RDWR, &made);
    assert_int_equal(operation_link(w->volume, made.inode, w->root, "name", &found), 0);
    assert_int_equal(operation_unlink(w->volume, w->root, "name"), 0);
    assert_int_equal(operation_link(w->volume, made.inode, w->root, "again", &found), -ENOENT);
    assert_int_equal(operation_release(w->volume, file), 0);
    assert_in_range(free_blocks_at_rest(w), before - SLACK, before + SLACK);
}

static void test_loses_its_name(void **state)
{
    operation_world_run(*state, losing_its_name);
}

static void staying_without(void *argument)
{
    struct operation_world *w = argument;
    struct attributes made, found;
    struct open_file *file = make_unnamed(w, O_RDWR | O_EXCL, &made);
    assert_int_equal(operation_link(w->volume, made.inode, w->root, "name", &found), -ENOENT);
    assert_int_equal(operation_release(w->volume, file), 0);
}

static void test_exclusive_stays_without(void **state)
{
    operation_world_run(*state, staying_without);
}

static void inheriting(void *argument)
{
    struct operation_world *w = argument;
    struct attributes made, wanted = {.stat = {.st_mode = 02775, .st_gid = 77}};
    struct open_file *file;
    assert_int_equal(
        operation_set_attributes(w->volume, w->root, &wanted, SET_MODE | SET_GID, &made), 0);
    assert_int_equal(
        operation_create_unnamed(w->volume, w->root, 0600, &test_user, O_RDWR, &made, &file), 0);
    assert_int_equal(made.stat.st_gid, 77);
    assert_int_equal(operation_release(w->volume, file), 0);
    assert_int_equal(
        operation_create_unnamed(w->volume, made.inode, 0600, &test_user, O_RDWR, &made, &file),
        -ENOENT);
}

static void test_inherits(void **state)
{
    operation_world_run(*state, inheriting);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        OPERATION_TEST(test_ends_with_its_handle),
        OPERATION_TEST(test_gets_a_name),
        OPERATION_TEST(test_loses_its_name),
        OPERATION_TEST(test_exclusive_stays_without),
        OPERATION_TEST(test_inherits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
