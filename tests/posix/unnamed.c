// SPDX-License-Identifier: Apache-2.0
//
// O_TMPFILE: files without a name, and the name that they may get.
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/posix/workplace.h"

// Kernels before 6.2 have no such request for FUSE.
static int unnamed_file(int flags)
{
    int file = open(".", O_TMPFILE | O_RDWR | O_CLOEXEC | flags, 0640);

    if (file < 0 && errno == EOPNOTSUPP)
        skip();
    return MUST(file);
}

// 0 or -1, as linkat.
static int give_name(int file, const char *name)
{
    char path[64];

    snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
    return linkat(AT_FDCWD, path, AT_FDCWD, name, AT_SYMLINK_FOLLOW);
}

static int count_names(void)
{
    DIR *directory = opendir(".");
    int count = 0;

    assert_non_null(directory);
    while (readdir(directory))
        count++;
    closedir(directory);
    return count - 2;
}

static void no_name_is_seen(void **state)
{
    mode_t before = umask(027);
    int file = unnamed_file(0);
    struct stat attributes;
    char buffer[8] = "";

    (void)state;
    umask(before);
    MUST_MOVE(pwrite(file, "content", 7, 0), 7);
    MUST_MOVE(pread(file, buffer, sizeof(buffer), 0), 7);
    assert_string_equal(buffer, "content");
    MUST(fstat(file, &attributes));
    assert_int_equal(attributes.st_nlink, 0);
    assert_int_equal(attributes.st_mode, S_IFREG | 0640);
    assert_int_equal(attributes.st_size, 7);
    assert_int_equal(count_names(), 0);
    MUST(fsync(file));
    MUST(ftruncate(file, 100000));
    close(file);
    assert_int_equal(count_names(), 0);
}

static void a_name_is_given(void **state)
{
    int file = unnamed_file(0), again;
    struct stat attributes;
    char buffer[8] = "";

    (void)state;
    MUST_MOVE(pwrite(file, "content", 7, 0), 7);
    MUST(give_name(file, "name"));
    MUST(fstat(file, &attributes));
    assert_int_equal(attributes.st_nlink, 1);
    again = MUST(open("name", O_RDONLY | O_CLOEXEC));
    MUST_MOVE(pread(again, buffer, sizeof(buffer), 0), 7);
    assert_string_equal(buffer, "content");
    MUST_FAIL(give_name(file, "name"), EEXIST);
    MUST(link("name", "second"));
    MUST_MOVE(pwrite(file, "C", 1, 0), 1);
    MUST_MOVE(pread(again, buffer, sizeof(buffer), 0), 7);
    assert_string_equal(buffer, "Content");
    close(again);
    close(file);
    MUST(access("second", F_OK));
}

static void what_was_removed_gets_no_name(void **state)
{
    int file = unnamed_file(0);

    (void)state;
    MUST(give_name(file, "name"));
    MUST(unlink("name"));
    MUST_FAIL(give_name(file, "again"), ENOENT);
    close(file);
}

static void exclusive_gets_no_name(void **state)
{
    int file = unnamed_file(O_EXCL);

    (void)state;
    MUST_FAIL(give_name(file, "name"), ENOENT);
    close(file);
}

static void many_at_once(void **state)
{
    enum { COUNT = 50 };
    int files[COUNT];
    char name[16];

    (void)state;
    for (int i = 0; i < COUNT; i++) {
        files[i] = unnamed_file(0);
        MUST_MOVE(write(files[i], &i, sizeof(i)), sizeof(i));
    }
    for (int i = 0; i < COUNT; i++) {
        snprintf(name, sizeof(name), "%d", i);
        if (i % 2 == 0)
            MUST(give_name(files[i], name));
        close(files[i]);
    }
    assert_int_equal(count_names(), COUNT / 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORKPLACE_TEST(no_name_is_seen),
        WORKPLACE_TEST(a_name_is_given),
        WORKPLACE_TEST(what_was_removed_gets_no_name),
        WORKPLACE_TEST(exclusive_gets_no_name),
        WORKPLACE_TEST(many_at_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
