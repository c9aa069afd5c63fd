// SPDX-License-Identifier: Apache-2.0
// Names, attributes and directories through the front end; numbers that were reused; a full volume.
#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "fs/operation.h"
#include "tests/unit/fuse_world.h"

// --- names, attributes, directories --------------------------------------------------------------

static void use_names(void)
{
    char text[64];
    struct stat found;
    int fd = open("new", O_RDWR | O_CREAT | O_EXCL, 0640);
    EXPECT(fd >= 0);
    EXPECT(write(fd, "hello", 5) == 5);
    EXPECT(pread(fd, text, sizeof(text), 1) == 4 && memcmp(text, "ello", 4) == 0);
    EXPECT(fstat(fd, &found) == 0 && found.st_size == 5 && (found.st_mode & 0777) == 0640);
    EXPECT(open("new", O_RDWR | O_CREAT | O_EXCL, 0640) < 0 && errno == EEXIST);
    EXPECT(rename("new", "renamed") == 0);
    EXPECT(access("new", F_OK) != 0 && errno == ENOENT);
    EXPECT(unlink("renamed") == 0);
    EXPECT(pread(fd, text, sizeof(text), 0) == 5); // unlinked and open
    EXPECT(close(fd) == 0);
    EXPECT(symlink("some/target", "link") == 0);
    EXPECT(readlink("link", text, sizeof(text)) == 11);
    EXPECT(mkdir("folder", 0700) == 0 && stat("folder", &found) == 0 && S_ISDIR(found.st_mode));
    EXPECT(link("lun", "other") != 0 && errno == EMLINK);
}

static void test_names(void **state)
{
    (void)state;
    fuse_world_run(use_names, NULL);
}

static void use_attributes(void)
{
    char value[16];
    struct stat found;
    int fd = open("a", O_RDWR | O_CREAT, 0600);
    EXPECT(write(fd, "0123456789", 10) == 10);
    EXPECT(ftruncate(fd, 4) == 0 && fstat(fd, &found) == 0 && found.st_size == 4);
    EXPECT(fchmod(fd, 0604) == 0 && fstat(fd, &found) == 0 && (found.st_mode & 0777) == 0604);
    EXPECT(close(fd) == 0);
    EXPECT((fd = open("a", O_RDWR | O_TRUNC)) >= 0);
    EXPECT(fstat(fd, &found) == 0 && found.st_size == 0);
    EXPECT(fallocate(fd, 0, 0, 5000) == 0 && fstat(fd, &found) == 0 && found.st_size == 5000);
    EXPECT(lseek(fd, 0, SEEK_HOLE) == 5000);
    EXPECT(fsync(fd) == 0);
    EXPECT(fsetxattr(fd, "user.fake", "value", 5, 0) == 0);
    EXPECT(fgetxattr(fd, "user.fake", value, sizeof(value)) == 5);
    EXPECT(fgetxattr(fd, "user.fake", NULL, 0) == 5);
    EXPECT(fgetxattr(fd, "user.fake", value, 2) < 0 && errno == ERANGE);
    EXPECT(flistxattr(fd, value, sizeof(value)) == 10);
    EXPECT(fgetxattr(fd, "system.posix_acl_access", value, 1) < 0 && errno == ENODATA);
    EXPECT(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED &&
           errno == ENODEV);
    EXPECT(close(fd) == 0);
}

static void test_attributes(void **state)
{
    (void)state;
    fuse_world_run(use_attributes, NULL);
    assert_int_equal(world.fake.syncs, 1);
}

static void list_directory(void)
{
    char name[16];
    unsigned seen = 0;
    for (unsigned i = 0; i < 20; i++) {
        snprintf(name, sizeof(name), "file%u", i);
        EXPECT(close(open(name, O_CREAT | O_WRONLY, 0600)) == 0);
    }
    DIR *directory = opendir(".");
    EXPECT(directory != NULL);
    while (readdir(directory) != NULL)
        seen++;
    EXPECT(seen == 21); // with "lun"; the fake has no dots
    EXPECT(fsync(dirfd(directory)) == 0);
    closedir(directory);
}

static void test_directory(void **state)
{
    (void)state;
    fuse_world_run(list_directory, NULL);
}

// A node id whose number got another file: refused, not served.
static void reuse_number(struct fuse_world *w)
{
    if (w->fake.files[1].inode != 0 && w->fake.files[1].size == 1)
        w->fake.files[1].generation = 8;
}

static void use_stale_directory(void)
{
    int fd = open("x", O_RDWR | O_CREAT, 0600);
    int path = open("x", O_PATH);
    char again[64];
    EXPECT(fd >= 0 && path >= 0);
    EXPECT(write(fd, "1", 1) == 1);
    snprintf(again, sizeof(again), "/proc/self/fd/%d", path);
    while (open(again, O_RDONLY) >= 0) // until the core has changed the generation
        sched_yield();
    EXPECT(errno == ESTALE);
}

static void test_stale_node(void **state)
{
    (void)state;
    fuse_world_run(use_stale_directory, reuse_number);
}

// A removed directory that is open still: no names, and not stale.
static void use_removed_directory(void)
{
    EXPECT(mkdir("d", 0700) == 0);
    int fd = open("d", O_RDONLY | O_DIRECTORY);
    EXPECT(fd >= 0);
    EXPECT(rmdir("d") == 0);
    EXPECT(openat(fd, "f", O_CREAT | O_WRONLY, 0600) < 0 && errno == ENOENT);
    EXPECT(mkdirat(fd, "e", 0700) < 0 && errno == ENOENT);
}

static void test_removed_directory(void **state)
{
    (void)state;
    fuse_world_run(use_removed_directory, NULL);
}

// --- a full volume -------------------------------------------------------------------------------

static void create_when_full(void)
{
    EXPECT(close(open("fits", O_CREAT | O_WRONLY, 0600)) == 0);
}

static void test_reclaims_before_enospc(void **state)
{
    (void)state;
    world.fake.is_full = world.fake.has_unlinked = true;
    fuse_world_run(create_when_full, NULL);
    assert_int_equal(world.fake.reclaims, 1);
}

static void create_in_vain(void)
{
    EXPECT(open("fits-not", O_CREAT | O_WRONLY, 0600) < 0 && errno == ENOSPC);
}

static void test_enospc(void **state)
{
    (void)state;
    world.fake.is_full = true;
    fuse_world_run(create_in_vain, NULL);
    assert_int_equal(world.fake.reclaims, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FUSE_TEST(test_names),
        FUSE_TEST(test_attributes),
        FUSE_TEST(test_directory),
        FUSE_TEST(test_stale_node),
        FUSE_TEST(test_removed_directory),
        FUSE_TEST(test_reclaims_before_enospc),
        FUSE_TEST(test_enospc),
    };
    return fuse_world_run_tests("test_fuse_names", tests);
}
