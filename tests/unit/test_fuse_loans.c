// SPDX-License-Identifier: Apache-2.0
// What the kernel is lent, and told to drop.
#include <fcntl.h>
#include <sys/mman.h>
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

// --- pages -------------------------------------------------------------------------------------

static bool dropped;

static void drop_when_told(struct fuse_world *w)
{
    if (w->fake.inode_last == FAKE_LUN || dropped)
        return;
    dropped = true;
    assert_int_equal(pwrite(w->fake.backing, "Z", 1, 0), 1);
    fuse_server_drop_pages(w->server);
}

// The kernel answers by itself until it is told to drop what it has.
static void read_until_changed(void)
{
    char byte = 0;
    int fd = open("lun", O_RDONLY);
    EXPECT(fd >= 0);
    for (int i = 0; i < LOOKS; i++)
        EXPECT(pread(fd, &byte, 1, 0) == 1 && byte != 'Z');
    EXPECT(close(open("go", O_CREAT | O_WRONLY, 0600)) == 0);
    do {
        EXPECT(pread(fd, &byte, 1, 0) == 1);
    } while (byte != 'Z'); // else the alarm ends it
    EXPECT(close(fd) == 0);
}

static void test_pages_are_kept_and_dropped(void **state)
{
    (void)state;
    dropped = false;
    world.fake.volume.options.keep_pages = true;
    fuse_world_run(read_until_changed, drop_when_told);
    assert_true(dropped);
    assert_true(world.counters.core_reads + world.counters.lane_reads < LOOKS / 10);
    assert_true(world.counters.recalls >= 1);
}

// Shared mappings that may be written: the pages come back as writes.
static void change_mapped(void)
{
    char byte = 0;
    int fd = open("lun", O_RDWR);
    EXPECT(fd >= 0);
    char *map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED && errno == ENODEV)
        _exit(0); // Linux before 6.6
    EXPECT(map != MAP_FAILED);
    map[1] = 'M';
    EXPECT(pread(fd, &byte, 1, 1) == 1 && byte == 'M');
    EXPECT(pwrite(fd, "W", 1, 2) == 1 && map[2] == 'W');
    EXPECT(munmap(map, 4096) == 0 && close(fd) == 0);
}

static void test_maps_to_write(void **state)
{
    (void)state;
    world.fake.volume.options.keep_pages = true;
    fuse_world_run(change_mapped, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FUSE_TEST(test_lends),
        FUSE_TEST(test_lends_nothing_unasked),
        FUSE_TEST(test_recall),
        FUSE_TEST(test_recalls_dropped_set_id),
        FUSE_TEST(test_pages_are_kept_and_dropped),
        FUSE_TEST(test_maps_to_write),
    };
    return fuse_world_run_tests("test_fuse_loans", tests);
}
