// SPDX-License-Identifier: Apache-2.0
//
// Attributes: modes, owners, times, extended attributes, statfs.
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include "tests/posix/workplace.h"

enum { SOME_USER = 12345, SOME_GROUP = 23456 };

static struct stat attributes_of(const char *name)
{
    struct stat attributes;

    MUST(lstat(name, &attributes));
    return attributes;
}

static bool is_before(struct timespec a, struct timespec b)
{
    return a.tv_sec < b.tv_sec || (a.tv_sec == b.tv_sec && a.tv_nsec < b.tv_nsec);
}

static void modes_change(void **state)
{
    (void)state;
    close(workplace_file("file", "x"));
    for (mode_t mode = 0; mode <= 07777; mode += 0123) {
        MUST(chmod("file", mode));
        assert_int_equal(attributes_of("file").st_mode, S_IFREG | mode);
    }
}

static void owners_change(void **state)
{
    (void)state;
    close(workplace_file("file", "x"));
    MUST(chown("file", SOME_USER, (gid_t)-1));
    MUST(chown("file", (uid_t)-1, SOME_GROUP));
    assert_int_equal(attributes_of("file").st_uid, SOME_USER);
    assert_int_equal(attributes_of("file").st_gid, SOME_GROUP);
    MUST(symlink("file", "link"));
    MUST(lchown("link", 1, 2));
    assert_int_equal(attributes_of("link").st_uid, 1);
    assert_int_equal(attributes_of("file").st_uid, SOME_USER);
}

// Who may not is told so by the kernel, from the modes that we keep.
static void permissions_hold(void **state)
{
    int status;
    pid_t child;

    (void)state;
    close(workplace_file("file", "x"));
    MUST(chmod("file", 0600));
    MUST(chmod(".", 0755));
    child = fork();
    if (child == 0) {
        if (setgid(SOME_GROUP) < 0 || setuid(SOME_USER) < 0)
            _exit(1);
        if (open("file", O_RDONLY) >= 0 || errno != EACCES)
            _exit(2);
        if (open("new", O_CREAT | O_WRONLY, 0600) >= 0 || errno != EACCES)
            _exit(3);
        _exit(unlink("file") == 0 || errno != EACCES ? 4 : 0);
    }
    MUST(waitpid(child, &status, 0));
    assert_int_equal(status, 0);
}

// A write by someone else takes the set-id bits away.
static void writes_drop_set_user_id(void **state)
{
    int status;
    pid_t child;

    (void)state;
    close(workplace_file("file", "x"));
    MUST(chmod("file", 06777));
    MUST(chmod(".", 0755));
    child = fork();
    if (child == 0) {
        int file;

        if (setgid(SOME_GROUP) < 0 || setuid(SOME_USER) < 0)
            _exit(1);
        file = open("file", O_WRONLY);
        _exit(file < 0 || write(file, "y", 1) != 1 ? 2 : 0);
    }
    MUST(waitpid(child, &status, 0));
    assert_int_equal(status, 0);
    assert_int_equal(attributes_of("file").st_mode & (S_ISUID | S_ISGID), 0);
}

static void group_is_inherited(void **state)
{
    (void)state;
    MUST(mkdir("directory", 0755));
    MUST(chown("directory", 0, SOME_GROUP));
    MUST(chmod("directory", 02755));
    close(workplace_file("directory/file", "x"));
    MUST(mkdir("directory/below", 0755));
    assert_int_equal(attributes_of("directory/file").st_gid, SOME_GROUP);
    assert_int_equal(attributes_of("directory/below").st_gid, SOME_GROUP);
    assert_int_equal(attributes_of("directory/below").st_mode & S_ISGID, S_ISGID);
}

static void times_are_set(void **state)
{
    const struct timespec times[2] = {{.tv_sec = 1000000001, .tv_nsec = 123456789},
                                      {.tv_sec = 2000000002, .tv_nsec = 987654321}};
    const struct timespec only_access[2] = {{.tv_sec = 7}, {.tv_nsec = UTIME_OMIT}};
    struct stat seen;

    (void)state;
    close(workplace_file("file", "x"));
    MUST(utimensat(AT_FDCWD, "file", times, 0));
    seen = attributes_of("file");
    assert_int_equal(seen.st_atim.tv_sec, times[0].tv_sec);
    assert_int_equal(seen.st_atim.tv_nsec, times[0].tv_nsec);
    assert_int_equal(seen.st_mtim.tv_sec, times[1].tv_sec);
    assert_int_equal(seen.st_mtim.tv_nsec, times[1].tv_nsec);
    MUST(utimensat(AT_FDCWD, "file", only_access, 0));
    seen = attributes_of("file");
    assert_int_equal(seen.st_atim.tv_sec, 7);
    assert_int_equal(seen.st_mtim.tv_sec, times[1].tv_sec);
    MUST(utimensat(AT_FDCWD, "file", NULL, 0));
    assert_true(attributes_of("file").st_mtim.tv_sec < times[1].tv_sec);
}

// Waits until the file system's clock has moved past this time.
static void clock_pass(struct timespec time)
{
    struct timespec now;

    do {
        close(workplace_file("clock", "x"));
        now = attributes_of("clock").st_mtim;
        unlink("clock");
    } while (!is_before(time, now));
}

// Each change moves the times that POSIX says it moves, and no others.
static void times_follow_changes(void **state)
{
    struct stat before, after;
    int file = workplace_file("file", "content");

    (void)state;
    before = attributes_of("file");
    clock_pass(before.st_ctim);
    MUST_MOVE(pwrite(file, "more", 4, 0), 4);
    after = attributes_of("file");
    assert_true(is_before(before.st_mtim, after.st_mtim));
    assert_true(is_before(before.st_ctim, after.st_ctim));

    before = after;
    clock_pass(before.st_ctim);
    MUST(chmod("file", 0600));
    after = attributes_of("file");
    assert_true(is_before(before.st_ctim, after.st_ctim));
    assert_false(is_before(before.st_mtim, after.st_mtim));

    before = after;
    clock_pass(before.st_ctim);
    MUST(link("file", "second"));
    after = attributes_of("file");
    assert_true(is_before(before.st_ctim, after.st_ctim));
    assert_false(is_before(before.st_mtim, after.st_mtim));

    before = after;
    clock_pass(before.st_ctim);
    MUST(ftruncate(file, 2));
    after = attributes_of("file");
    assert_true(is_before(before.st_mtim, after.st_mtim));

    before = attributes_of(".");
    clock_pass(before.st_mtim);
    MUST(unlink("second"));
    after = attributes_of(".");
    assert_true(is_before(before.st_mtim, after.st_mtim));
    assert_true(is_before(before.st_ctim, after.st_ctim));
    close(file);
}

// --- extended attributes ---------------------------------------------------------------------

static void xattrs_are_kept(void **state)
{
    char value[64] = "";

    (void)state;
    close(workplace_file("file", "x"));
    MUST(setxattr("file", "user.one", "1", 1, 0));
    MUST(setxattr("file", "user.two", "22", 2, XATTR_CREATE));
    MUST(setxattr("file", "user.empty", "", 0, 0));
    MUST_FAIL(setxattr("file", "user.two", "x", 1, XATTR_CREATE), EEXIST);
    MUST_FAIL(setxattr("file", "user.three", "x", 1, XATTR_REPLACE), ENODATA);
    MUST(setxattr("file", "user.two", "222", 3, XATTR_REPLACE));
    MUST_MOVE(getxattr("file", "user.two", value, sizeof(value)), 3);
    assert_memory_equal(value, "222", 3);
    MUST_MOVE(getxattr("file", "user.two", NULL, 0), 3);
    MUST_MOVE(getxattr("file", "user.empty", value, sizeof(value)), 0);
    MUST_FAIL(getxattr("file", "user.two", value, 2), ERANGE);
    MUST_FAIL(getxattr("file", "user.none", value, sizeof(value)), ENODATA);
    MUST(removexattr("file", "user.one"));
    MUST_FAIL(removexattr("file", "user.one"), ENODATA);
}

static void xattrs_are_listed(void **state)
{
    char list[256];
    ssize_t size;
    bool found = false;

    (void)state;
    MUST(mkdir("directory", 0755));
    MUST(setxattr("directory", "user.a", "1", 1, 0));
    MUST(setxattr("directory", "trusted.b", "2", 1, 0));
    size = MUST(listxattr("directory", list, sizeof(list)));
    assert_int_equal(listxattr("directory", NULL, 0), size);
    for (ssize_t at = 0; at < size; at += (ssize_t)strlen(list + at) + 1)
        found = found || strcmp(list + at, "user.a") == 0;
    assert_true(found);
    MUST_FAIL(listxattr("directory", list, 3), ERANGE);
}

// More than fits beside the inode.
static void many_xattrs(void **state)
{
    enum { COUNT = 40, VALUE_BYTES = 60 };
    char name[32], value[VALUE_BYTES], seen[VALUE_BYTES];

    (void)state;
    close(workplace_file("file", "x"));
    for (int i = 0; i < COUNT; i++) {
        snprintf(name, sizeof(name), "user.name-%d", i);
        memset(value, 'a' + i % 26, sizeof(value));
        MUST(setxattr("file", name, value, sizeof(value), 0));
    }
    for (int i = 0; i < COUNT; i++) {
        snprintf(name, sizeof(name), "user.name-%d", i);
        memset(value, 'a' + i % 26, sizeof(value));
        MUST_MOVE(getxattr("file", name, seen, sizeof(seen)), VALUE_BYTES);
        assert_memory_equal(seen, value, sizeof(value));
    }
}

static void file_system_is_described(void **state)
{
    struct statvfs fs;

    (void)state;
    MUST(statvfs(".", &fs));
    assert_true(fs.f_blocks > 0 && fs.f_bfree <= fs.f_blocks && fs.f_bavail <= fs.f_bfree);
    assert_int_equal(fs.f_namemax, 255);
    assert_true(fs.f_frsize >= 512);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORKPLACE_TEST(modes_change),
        WORKPLACE_TEST(owners_change),
        WORKPLACE_TEST(permissions_hold),
        WORKPLACE_TEST(writes_drop_set_user_id),
        WORKPLACE_TEST(group_is_inherited),
        WORKPLACE_TEST(times_are_set),
        WORKPLACE_TEST(times_follow_changes),
        WORKPLACE_TEST(xattrs_are_kept),
        WORKPLACE_TEST(xattrs_are_listed),
        WORKPLACE_TEST(many_xattrs),
        WORKPLACE_TEST(file_system_is_described),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
