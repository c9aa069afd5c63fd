// SPDX-License-Identifier: Apache-2.0
// What the kernel is lent, and told to drop.
#include <fcntl.h>
#include <sys/stat.h>

#include "fs/operation.h"
#include "tests/unit/fuse_world.h"

enum { LOOKS = 200 };

static void look_often(void)
{
    struct stat found;
    for (int i = 0; i < LOOKS; i++)
        EXPECT(stat("lun", &found) == 0 && found.st_size == LUN_BYTES);
}

static void test_lends(void **state)
{
    (void)state;
    world.fake.volume.options.keep_names = world.fake.lends = true;
    fuse_world_run(look_often, NULL);
    assert_true(world.counters.core_requests < LOOKS / 10);
    assert_int_equal(world.counters.loans, 3); // the name, attributes of the file and of the root
    assert_int_equal(world.counters.recalls, 0);
}

static void test_lends_nothing_unasked(void **state)
{
    (void)state;
    world.fake.lends = true;
    fuse_world_run(look_often, NULL);
    assert_true(world.counters.core_requests >= LOOKS);
    assert_int_equal(world.counters.loans, 0);
}

static void call_in(void *argument)
{
    operation_recall(argument, FAKE_LUN);
}

// As another node would, once the client has made the name "go".
static void change_when_told(struct fuse_world *w)
{
    if (w->fake.inode_last == FAKE_LUN || w->fake.files[0].mode == (S_IFREG | 0604))
        return;
    w->fake.files[0].mode = S_IFREG | 0604;
    coroutine_start(w->fake.volume.scheduler, "recall", call_in, &w->fake.volume);
}

// The loan of a volume without a lease is good for an hour: only the recall ends it.
static void look_until_changed(void)
{
    struct stat found;
    EXPECT(stat("lun", &found) == 0 && (found.st_mode & 0777) != 0604);
    EXPECT(stat("lun", &found) == 0);
    EXPECT(close(open("go", O_CREAT | O_WRONLY, 0600)) == 0);
    do {
        EXPECT(stat("lun", &found) == 0);
    } while ((found.st_mode & 0777) != 0604); // else the alarm ends it
}

static void test_recall(void **state)
{
    (void)state;
    world.fake.volume.options.keep_names = world.fake.lends = true;
    fuse_world_run(look_until_changed, change_when_told);
    assert_int_equal(world.counters.recalls, 1);
}

static void test_recalls_dropped_set_id(void **state)
{
    (void)state;
    world.fake.volume.options.keep_names = world.fake.lends = true;
    fuse_world_run(fuse_client_write_as_nobody, NULL);
    assert_int_equal(world.counters.recalls, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FUSE_TEST(test_lends),
        FUSE_TEST(test_lends_nothing_unasked),
        FUSE_TEST(test_recall),
        FUSE_TEST(test_recalls_dropped_set_id),
    };
    return fuse_world_run_tests("test_fuse_loans", tests);
}
