// SPDX-License-Identifier: Apache-2.0
//
// chattr: what is immutable or append-only, and that nothing gets around it.
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "tests/posix/workplace.h"

enum { SOMEBODY = 12345, PROTECTION = FS_IMMUTABLE_FL | FS_APPEND_FL };

static unsigned flags_of(const char *name)
{
    unsigned flags = 0;
    int file = MUST(open(name, O_RDONLY | O_CLOEXEC));

    MUST(ioctl(file, FS_IOC_GETFLAGS, &flags));
    close(file);
    return flags & PROTECTION;
}

// ext4 shows flags of its own, which stay.
static int set_flags(const char *name, unsigned wanted)
{
    unsigned flags = 0;
    int file = MUST(open(name, O_RDONLY | O_CLOEXEC)), result;

    MUST(ioctl(file, FS_IOC_GETFLAGS, &flags));
    flags = (flags & ~(unsigned)PROTECTION) | wanted;
    result = ioctl(file, FS_IOC_SETFLAGS, &flags);
    close(file);
    return result;
}

// Nothing that a test has protected may be left.
static int teardown(void **state)
{
    static const char *const names[] = {"file", "directory"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (access(names[i], F_OK) == 0)
            set_flags(names[i], 0);
    }
    return workplace_teardown(state);
}

static void flags_are_kept(void **state)
{
    struct fsxattr extended;
    int file;

    (void)state;
    close(workplace_file("file", "x"));
    assert_int_equal(flags_of("file"), 0);
    MUST(set_flags("file", FS_IMMUTABLE_FL));
    assert_int_equal(flags_of("file"), FS_IMMUTABLE_FL);
    MUST(set_flags("file", FS_APPEND_FL));
    assert_int_equal(flags_of("file"), FS_APPEND_FL);
    file = MUST(open("file", O_RDONLY | O_CLOEXEC));
    MUST(ioctl(file, FS_IOC_FSGETXATTR, &extended));
    assert_int_equal(extended.fsx_xflags & (FS_XFLAG_APPEND | FS_XFLAG_IMMUTABLE), FS_XFLAG_APPEND);
    extended.fsx_xflags &= ~(unsigned)FS_XFLAG_APPEND;
    MUST(ioctl(file, FS_IOC_FSSETXATTR, &extended));
    close(file);
    assert_int_equal(flags_of("file"), 0);
    MUST(mkdir("directory", 0755));
    MUST(set_flags("directory", PROTECTION));
    assert_int_equal(flags_of("directory"), PROTECTION);
}

static void expect_nothing_changes(int file)
{
    const struct timespec times[2] = {{1, 0}, {1, 0}};

    MUST_FAIL(open("file", O_WRONLY), EPERM);
    MUST_FAIL(open("file", O_RDWR | O_APPEND), EPERM);
    MUST_FAIL(pwrite(file, "y", 1, 0), EPERM);
    MUST_FAIL(fallocate(file, 0, 0, 100000), EPERM);
    MUST_FAIL(truncate("file", 0), EPERM);
    MUST_FAIL(chmod("file", 0600), EPERM);
    MUST_FAIL(chown("file", 1, 1), EPERM);
    MUST_FAIL(utimensat(AT_FDCWD, "file", times, 0), EPERM);
    MUST_FAIL(utimensat(AT_FDCWD, "file", NULL, 0), EPERM);
    MUST_FAIL(setxattr("file", "user.a", "x", 1, 0), EPERM);
    MUST_FAIL(removexattr("file", "user.b"), EPERM);
    MUST_FAIL(link("file", "second"), EPERM);
    MUST_FAIL(unlink("file"), EPERM);
    MUST_FAIL(rename("file", "other"), EPERM);
    MUST_FAIL(rename("victim", "file"), EPERM);
    MUST_FAIL(renameat2(AT_FDCWD, "victim", AT_FDCWD, "file", RENAME_EXCHANGE), EPERM);
}

static void immutable_files(void **state)
{
    char buffer[8] = "";
    struct stat attributes;
    int file = workplace_file("file", "content");

    (void)state;
    close(workplace_file("victim", "x"));
    MUST(fsetxattr(file, "user.b", "x", 1, 0));
    MUST(set_flags("file", FS_IMMUTABLE_FL));
    expect_nothing_changes(file);
    MUST_MOVE(pread(file, buffer, sizeof(buffer), 0), 7);
    assert_string_equal(buffer, "content");
    MUST(fstat(file, &attributes));
    assert_int_equal(attributes.st_nlink, 1);
    MUST(set_flags("file", 0));
    MUST_MOVE(pwrite(file, "C", 1, 0), 1);
    close(file);
    MUST(unlink("file"));
}

static void immutable_directories(void **state)
{
    (void)state;
    MUST(mkdir("directory", 0755));
    close(workplace_file("directory/file", "x"));
    close(workplace_file("outside", "x"));
    MUST(set_flags("directory", FS_IMMUTABLE_FL));
    MUST_FAIL(open("directory/new", O_CREAT | O_WRONLY, 0600), EPERM);
    MUST_FAIL(mkdir("directory/new", 0700), EPERM);
    MUST_FAIL(symlink("x", "directory/new"), EPERM);
    MUST_FAIL(link("outside", "directory/new"), EPERM);
    MUST_FAIL(unlink("directory/file"), EPERM);
    MUST_FAIL(rename("outside", "directory/new"), EPERM);
    MUST_FAIL(rename("directory/file", "new"), EPERM);
    MUST_FAIL(rmdir("directory"), EPERM);
    MUST_FAIL(rename("directory", "other"), EPERM);
    close(workplace_file("directory/file", "files in it are as they were"));
    MUST(set_flags("directory", 0));
    MUST(unlink("directory/file"));
}

static void append_only_files(void **state)
{
    char buffer[16] = "";
    int file = workplace_file("file", "one"), appending;

    (void)state;
    MUST(set_flags("file", FS_APPEND_FL));
    MUST_FAIL(open("file", O_WRONLY), EPERM);
    MUST_FAIL(open("file", O_WRONLY | O_APPEND | O_TRUNC), EPERM);
    MUST_FAIL(truncate("file", 1), EPERM);
    MUST_FAIL(fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 1), EPERM);
    MUST_FAIL(unlink("file"), EPERM);
    MUST_FAIL(link("file", "second"), EPERM);
    MUST_FAIL(rename("file", "other"), EPERM);
    MUST_FAIL(chmod("file", 0600), EPERM);
    MUST_FAIL(setxattr("file", "user.a", "x", 1, 0), EPERM);
    MUST(utimensat(AT_FDCWD, "file", NULL, 0));
    appending = MUST(open("file", O_WRONLY | O_APPEND | O_CLOEXEC));
    MUST_MOVE(write(appending, " two", 4), 4);
    MUST_MOVE(pread(file, buffer, sizeof(buffer), 0), 7);
    assert_string_equal(buffer, "one two");
    if (workplace_is_lunfs()) { // ext4 looks at the flag when a file is opened
        MUST_FAIL(pwrite(file, "x", 1, 0), EPERM);
        fcntl(appending, F_SETFL, 0);
        MUST_FAIL(pwrite(appending, "x", 1, 0), EPERM);
    }
    close(appending);
    close(file);
}

static void append_only_directories(void **state)
{
    (void)state;
    MUST(mkdir("directory", 0755));
    close(workplace_file("outside", "x"));
    MUST(set_flags("directory", FS_APPEND_FL));
    close(workplace_file("directory/file", "x"));
    MUST(mkdir("directory/below", 0755));
    MUST(link("outside", "directory/link"));
    MUST(rename("outside", "directory/moved"));
    MUST_FAIL(unlink("directory/file"), EPERM);
    MUST_FAIL(rmdir("directory/below"), EPERM);
    MUST_FAIL(rename("directory/file", "directory/other"), EPERM);
    MUST_FAIL(rename("directory/link", "directory/file"), EPERM);
    MUST(set_flags("directory", 0));
    MUST(unlink("directory/file"));
}

// Lanes that have written to a file get no further once it is protected, and go on afterwards.
static void protection_reaches_open_files(void **state)
{
    enum { BYTES = 1 << 20 };
    char *bytes = calloc(1, BYTES);
    int file = MUST(open("file", O_RDWR | O_CREAT | O_CLOEXEC, 0644));

    (void)state;
    for (int round = 0; round < 5; round++) {
        MUST_MOVE(pwrite(file, bytes, BYTES, 0), BYTES);
        MUST_MOVE(pwrite(file, bytes, BYTES, 0), BYTES);
        MUST(set_flags("file", FS_IMMUTABLE_FL));
        MUST_FAIL(pwrite(file, bytes, BYTES, 0), EPERM);
        MUST_MOVE(pread(file, bytes, BYTES, 0), BYTES);
        MUST_FAIL(pwrite(file, bytes, BYTES, 0), EPERM);
        MUST(set_flags("file", 0));
    }
    close(file);
    free(bytes);
}

static void who_may_protect(void **state)
{
    int status;
    pid_t child;

    (void)state;
    close(workplace_file("file", "x"));
    MUST(chown("file", SOMEBODY, SOMEBODY));
    MUST(chmod(".", 0755));
    child = fork();
    if (child == 0) {
        if (setgid(SOMEBODY) < 0 || setuid(SOMEBODY) < 0)
            _exit(2);
        _exit(set_flags("file", FS_IMMUTABLE_FL) == 0 || errno != EPERM);
    }
    MUST(waitpid(child, &status, 0));
    assert_int_equal(status, 0);
    assert_int_equal(flags_of("file"), 0);
    if (workplace_is_lunfs())
        MUST_FAIL(set_flags("file", FS_NODUMP_FL), EOPNOTSUPP);
}

// --- projects ----------------------------------------------------------------------------------

static int set_project(const char *name, unsigned project, unsigned flags)
{
    struct fsxattr extended;
    int file = MUST(open(name, O_RDONLY | O_CLOEXEC)), result;

    MUST(ioctl(file, FS_IOC_FSGETXATTR, &extended));
    extended.fsx_projid = project;
    extended.fsx_xflags = flags;
    result = ioctl(file, FS_IOC_FSSETXATTR, &extended);
    close(file);
    return result;
}

static unsigned project_of(const char *name)
{
    struct fsxattr extended;
    int file = MUST(open(name, O_RDONLY | O_CLOEXEC));

    MUST(ioctl(file, FS_IOC_FSGETXATTR, &extended));
    close(file);
    return extended.fsx_projid;
}

// ext4 needs a feature for it that few have on.
static void projects_are_handed_down(void **state)
{
    unsigned flags;
    int file;

    (void)state;
    if (!workplace_is_lunfs())
        skip();
    MUST(mkdir("directory", 0755));
    close(workplace_file("file", "x"));
    MUST(set_project("directory", 5, FS_XFLAG_PROJINHERIT));
    close(workplace_file("directory/below", "x"));
    MUST(mkdir("directory/deep", 0755));
    assert_int_equal(project_of("directory/below"), 5);
    assert_int_equal(project_of("directory/deep"), 5);
    file = MUST(open("directory/deep", O_RDONLY | O_CLOEXEC));
    MUST(ioctl(file, FS_IOC_GETFLAGS, &flags));
    close(file);
    assert_int_equal(flags & FS_PROJINHERIT_FL, FS_PROJINHERIT_FL);
    MUST_FAIL(rename("file", "directory/file"), EXDEV);
    MUST_FAIL(link("file", "directory/file"), EXDEV);
    MUST_FAIL(set_project("file", 5, FS_XFLAG_PROJINHERIT), EOPNOTSUPP);
    MUST(set_project("file", 5, 0));
    MUST(rename("file", "directory/file"));
    assert_int_equal(project_of("directory/file"), 5);
    MUST(set_flags("directory", FS_APPEND_FL)); // leaves the project as it is
    assert_int_equal(project_of("directory"), 5);
    MUST(set_flags("directory", 0));
}

#define FLAGS_TEST(function) cmocka_unit_test_setup_teardown(function, workplace_setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        FLAGS_TEST(flags_are_kept),          FLAGS_TEST(immutable_files),
        FLAGS_TEST(immutable_directories),   FLAGS_TEST(append_only_files),
        FLAGS_TEST(append_only_directories), FLAGS_TEST(protection_reaches_open_files),
        FLAGS_TEST(who_may_protect),         FLAGS_TEST(projects_are_handed_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
