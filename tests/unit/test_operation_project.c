// SPDX-License-Identifier: Apache-2.0
// Projects: numbers that files carry, and directories that hand theirs down to what is made in them
// and take in nothing of another; volumes of an older mkfs have neither.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "fs/format.h"
#include "fs/volume.h"
#include "tests/unit/operation_world.h"

static int set_project(struct operation_world *w, uint64_t inode, uint32_t project)
{
    struct attributes wanted = {.project = project}, out;
    int result = operation_set_attributes(w->volume, inode, &wanted, SET_PROJECT, &out);
    if (result == 0)
        assert_int_equal(out.project, project);
    return result;
}

static int hand_down(struct operation_world *w, uint64_t inode, bool hands_down)
{
    struct attributes wanted = {.hands_project_down = hands_down}, out;
    int result = operation_set_attributes(w->volume, inode, &wanted, SET_PROJECT_DOWN, &out);
    if (result == 0)
        assert_int_equal(out.hands_project_down, hands_down);
    return result;
}

// A directory of that project that hands it down.
static uint64_t make_project(struct operation_world *w, const char *name, uint32_t project)
{
    struct attributes made;
    assert_int_equal(operation_make_directory(w->volume, w->root, name, 0755, &test_user, &made),
                     0);
    assert_int_equal(made.project, 0);
    assert_false(made.hands_project_down);
    assert_int_equal(set_project(w, made.inode, project), 0);
    assert_int_equal(hand_down(w, made.inode, true), 0);
    return made.inode;
}

static int make_in(struct operation_world *w, uint64_t directory, const char *name,
                   struct attributes *made)
{
    return operation_create(w->volume, directory, name, S_IFREG | 0644, 0, &test_user, -1, made,
                            NULL);
}

// --- handed down ---------------------------------------------------------------------------------

static void handing_down(void *argument)
{
    struct operation_world *w = argument;
    struct attributes made;
    struct open_file *file;
    uint64_t project = make_project(w, "p", 7);
    assert_int_equal(make_in(w, project, "file", &made), 0);
    assert_int_equal(made.project, 7);
    assert_false(made.hands_project_down);
    assert_int_equal(operation_symlink(w->volume, project, "link", "x", &test_user, &made), 0);
    assert_int_equal(made.project, 7);
    assert_int_equal(
        operation_create_unnamed(w->volume, project, 0600, &test_user, O_RDWR, &made, &file), 0);
    assert_int_equal(made.project, 7);
    assert_int_equal(operation_release(w->volume, file), 0);
    assert_int_equal(operation_make_directory(w->volume, project, "below", 0755, &test_user, &made),
                     0);
    assert_int_equal(made.project, 7);
    assert_true(made.hands_project_down);
    assert_int_equal(hand_down(w, project, false), 0);
    assert_int_equal(make_in(w, project, "later", &made), 0);
    assert_int_equal(made.project, 0);
}

static void kept(void *argument)
{
    struct operation_world *w = argument;
    struct attributes found, below;
    assert_int_equal(look_up(w, "p", &found), 0);
    assert_int_equal(found.project, 7);
    assert_int_equal(operation_lookup(w->volume, found.inode, "below", &below), 0);
    assert_int_equal(below.project, 7);
    assert_true(below.hands_project_down);
}

static void test_is_handed_down_and_kept(void **state)
{
    operation_world_run(*state, handing_down);
    operation_world_remount(*state);
    operation_world_run(*state, kept);
}

// --- taken in ------------------------------------------------------------------------------------

static int rename_to(struct operation_world *w, uint64_t from, const char *name, uint64_t to,
                     unsigned flags)
{
    return operation_rename(w->volume, from, name, to, name, flags);
}

static void taking_in(void *argument)
{
    struct operation_world *w = argument;
    struct attributes made, out;
    uint64_t seven = make_project(w, "seven", 7), eight = make_project(w, "eight", 8);
    assert_int_equal(make_file(w, "free", &made), 0);
    assert_int_equal(rename_to(w, w->root, "free", seven, 0), -EXDEV);
    assert_int_equal(operation_link(w->volume, made.inode, seven, "free", &out), -EXDEV);
    assert_int_equal(set_project(w, made.inode, 7), 0);
    assert_int_equal(operation_link(w->volume, made.inode, seven, "linked", &out), 0);
    assert_int_equal(rename_to(w, w->root, "free", eight, 0), -EXDEV);
    assert_int_equal(rename_to(w, w->root, "free", seven, 0), 0);
    assert_int_equal(rename_to(w, seven, "free", w->root, 0), 0); // out of a project: as ever
    assert_int_equal(make_in(w, eight, "free", &made), 0);
    assert_int_equal(rename_to(w, w->root, "free", eight, RENAME_EXCHANGE), -EXDEV);
    assert_int_equal(rename_to(w, eight, "free", w->root, RENAME_EXCHANGE), -EXDEV);
    assert_int_equal(rename_to(w, w->root, "eight", seven, 0), -EXDEV); // directories, too
}

static void test_takes_in_its_own_only(void **state)
{
    operation_world_run(*state, taking_in);
}

// --- refused -------------------------------------------------------------------------------------

static void refusing(void *argument)
{
    struct operation_world *w = argument;
    uint64_t features = w->volume->geometry.feature_incompat;
    struct attributes made;
    assert_true((features & FEATURE_INCOMPAT_PROJECTS) != 0);
    assert_int_equal(make_file(w, "file", &made), 0);
    assert_int_equal(set_project(w, made.inode, PROJECT_NONE), -EINVAL);
    assert_int_equal(hand_down(w, made.inode, true), -EOPNOTSUPP);
    w->volume->geometry.feature_incompat = features & ~(uint64_t)FEATURE_INCOMPAT_PROJECTS;
    assert_int_equal(set_project(w, made.inode, 7), -EOPNOTSUPP);
    assert_int_equal(hand_down(w, w->root, true), -EOPNOTSUPP);
    assert_int_equal(look_up(w, "file", &made), 0);
    assert_int_equal(made.project, 0);
    assert_int_equal(operation_unlink(w->volume, w->root, "file"), 0);
    w->volume->geometry.feature_incompat = features;
}

static void test_refuses_what_cannot_be(void **state)
{
    operation_world_run(*state, refusing);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        OPERATION_TEST(test_is_handed_down_and_kept),
        OPERATION_TEST(test_takes_in_its_own_only),
        OPERATION_TEST(test_refuses_what_cannot_be),
    };
    return cmocka_run_group_tests_name("operation_project", tests, NULL, NULL);
}
