// SPDX-License-Identifier: Apache-2.0
// Immutable and append-only inodes, and volumes of an older mkfs that have neither.
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "fs/format.h"
#include "fs/volume.h"
#include "tests/unit/operation_world.h"

static int protect(struct operation_world *w, uint64_t inode, uint32_t protection)
{
    struct attributes wanted = {.protection = protection}, out;
    int result = operation_set_attributes(w->volume, inode, &wanted, SET_PROTECTION, &out);
    if (result == 0)
        assert_int_equal(out.protection, protection);
    return result;
}

// On the disk of such a volume no inode has the flags; it is read and written as ever.
static void using_an_older_volume(void *argument)
{
    struct operation_world *w = argument;
    struct attributes made;
    uint64_t features = w->volume->geometry.feature_incompat;
    assert_true((features & FEATURE_INCOMPAT_PROTECTION) != 0);
    w->volume->geometry.feature_incompat = 0;
    assert_int_equal(make_file(w, "a", &made), 0);
    assert_int_equal(protect(w, made.inode, INODE_FLAG_IMMUTABLE), -EOPNOTSUPP);
    assert_int_equal(look_up(w, "a", &made), 0);
    assert_int_equal(made.protection, 0);
    assert_int_equal(operation_unlink(w->volume, w->root, "a"), 0);
    w->volume->geometry.feature_incompat = features;
}

static void test_older_volume(void **state)
{
    operation_world_run(*state, using_an_older_volume);
}

static void protecting_others(void *argument)
{
    struct operation_world *w = argument;
    struct attributes made;
    assert_int_equal(operation_symlink(w->volume, w->root, "s", "x", &test_user, &made), 0);
    assert_int_equal(protect(w, made.inode, INODE_FLAG_APPEND), -EOPNOTSUPP);
    assert_int_equal(
        operation_create(w->volume, w->root, "f", S_IFIFO | 0600, 0, &test_user, -1, &made, NULL),
        0);
    assert_int_equal(protect(w, made.inode, INODE_FLAG_IMMUTABLE), -EOPNOTSUPP);
}

static void test_only_files_and_directories(void **state)
{
    operation_world_run(*state, protecting_others);
}

static void protecting(void *argument)
{
    struct operation_world *w = argument;
    struct attributes made, out, wanted = {.stat = {.st_mode = 0600}};
    struct open_file *file;
    assert_int_equal(make_file(w, "a", &made), 0);
    assert_int_equal(protect(w, made.inode, INODE_FLAG_IMMUTABLE), 0);
    assert_int_equal(operation_unlink(w->volume, w->root, "a"), -EPERM);
    assert_int_equal(operation_open(w->volume, made.inode, O_WRONLY, &file), -EPERM);
    assert_int_equal(operation_open(w->volume, made.inode, O_RDONLY, &file), 0);
    assert_int_equal(operation_release(w->volume, file), 0);
    assert_int_equal(operation_set_attributes(w->volume, made.inode, &wanted, SET_MODE, &out),
                     -EPERM);
    assert_int_equal(protect(w, w->root, INODE_FLAG_IMMUTABLE), 0);
    assert_int_equal(make_file(w, "b", &made), -EPERM);
    assert_int_equal(make_file(w, "a", &made), -EEXIST);
    assert_int_equal(
        operation_create_unnamed(w->volume, w->root, 0600, &test_user, O_RDWR, &made, &file),
        -EPERM);
}

static void still_protected(void *argument)
{
    struct operation_world *w = argument;
    struct attributes found;
    assert_int_equal(operation_get_attributes(w->volume, w->root, &found), 0);
    assert_int_equal(found.protection, INODE_FLAG_IMMUTABLE);
    assert_int_equal(protect(w, w->root, 0), 0);
    assert_int_equal(operation_unlink(w->volume, w->root, "a"), -EPERM);
    assert_int_equal(look_up(w, "a", &found), 0);
    assert_int_equal(protect(w, found.inode, 0), 0);
    assert_int_equal(operation_unlink(w->volume, w->root, "a"), 0);
}

static void test_protection_is_kept(void **state)
{
    operation_world_run(*state, protecting);
    operation_world_remount(*state);
    operation_world_run(*state, still_protected);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        OPERATION_TEST(test_older_volume),
        OPERATION_TEST(test_only_files_and_directories),
        OPERATION_TEST(test_protection_is_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
