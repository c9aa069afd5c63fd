// SPDX-License-Identifier: Apache-2.0
//
// What one node does, another sees at once: access control lists, immutable files, and files that
// were made without a name.
#include <fcntl.h>
#include <grp.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "tests/cluster/views.h"
#include "tests/lib/expect.h"

enum { USER = 12345 };

#define ACCESS  "system.posix_acl_access"
#define DEFAULT "system.posix_acl_default"

// --- access control lists --------------------------------------------------------------------

// Owner rw, one named user with these permissions, group nothing, others nothing.
struct list {
    unsigned char bytes[4 + 5 * 8];
};

static struct list list_make(unsigned char named)
{
    struct list list = {{2,     0, 0,   0,   1,   0,   6,  0, 255, 255, 255, 255, 2,   0,  named,
                         0,     0, 0,   0,   0,   4,   0,  0, 0,   255, 255, 255, 255, 16, 0,
                         named, 0, 255, 255, 255, 255, 32, 0, 0,   0,   255, 255, 255, 255}};

    list.bytes[16] = USER & 255;
    list.bytes[17] = USER >> 8;
    return list;
}

// Whether the user may read the file, as this view's kernel and node see it.
static bool can_read(int directory, const char *name)
{
    int status;
    pid_t child = fork();

    if (child == 0) {
        if (setgroups(0, NULL) < 0 || setgid(USER) < 0 || setuid(USER) < 0)
            _exit(2);
        _exit(openat(directory, name, O_RDONLY | O_CLOEXEC) < 0);
    }
    MUST(waitpid(child, &status, 0));
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) < 2);
    return WEXITSTATUS(status) == 0;
}

static void lists_are_obeyed_elsewhere(void **state)
{
    struct views *v = *state;
    struct list list = list_make(4), none = list_make(0);
    int file = views_file(v->a, "listed", "x");

    MUST(fchmod(file, 0600));
    for (int i = 0; i < 10; i++) {
        assert_false(can_read(v->b, "listed"));
        MUST(fsetxattr(file, ACCESS, list.bytes, sizeof(list.bytes), 0));
        assert_true(can_read(v->b, "listed"));
        assert_int_equal(views_stat(v->b, "listed").st_mode & 0777, 0640);
        MUST(fchmodat(v->b, "listed", 0600, 0)); // the mask
        assert_false(can_read(v->a, "listed"));
        MUST(fgetxattr(file, ACCESS, list.bytes, sizeof(list.bytes)));
        assert_memory_equal(list.bytes + 28, none.bytes + 28, 8);
        MUST(fremovexattr(file, ACCESS));
        list = list_make(4);
    }
    close(file);
}

static void lists_are_inherited_elsewhere(void **state)
{
    struct views *v = *state;
    struct list list = list_make(4);
    int directory;
    char buffer[64];

    MUST(mkdirat(v->a, "lists", 0755));
    directory = MUST(openat(v->a, "lists", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    MUST(fsetxattr(directory, DEFAULT, list.bytes, sizeof(list.bytes), 0));
    close(MUST(openat(v->b, "lists/file", O_CREAT | O_WRONLY | O_CLOEXEC, 0666)));
    assert_int_equal(views_stat(v->a, "lists/file").st_mode & 0777, 0640);
    close(directory);
    directory = MUST(openat(v->a, "lists/file", O_RDONLY | O_CLOEXEC));
    MUST_MOVE(fgetxattr(directory, ACCESS, buffer, sizeof(buffer)), sizeof(list.bytes));
    close(directory);
    MUST(unlinkat(v->b, "lists/file", 0));
    MUST(unlinkat(v->b, "lists", AT_REMOVEDIR));
}

// --- immutable files -------------------------------------------------------------------------

static void set_flags(int directory, const char *name, unsigned flags)
{
    int file = MUST(openat(directory, name, O_RDONLY | O_CLOEXEC));

    MUST(ioctl(file, FS_IOC_SETFLAGS, &flags));
    close(file);
}

// The other node's lanes have written, and its handles stay open: the next write is refused.
static void immutable_holds_elsewhere(void **state)
{
    struct views *v = *state;
    char *bytes = calloc(1, 1 << 20);
    int file = MUST(openat(v->b, "fixed", O_CREAT | O_RDWR | O_CLOEXEC, 0644));

    for (int i = 0; i < 5; i++) {
        MUST_MOVE(pwrite(file, bytes, 1 << 20, 0), 1 << 20);
        MUST_MOVE(pwrite(file, bytes, 1 << 20, 0), 1 << 20);
        set_flags(v->a, "fixed", FS_IMMUTABLE_FL);
        MUST_FAIL(pwrite(file, bytes, 1 << 20, 0), EPERM);
        MUST_FAIL(unlinkat(v->b, "fixed", 0), EPERM);
        MUST_FAIL(openat(v->b, "fixed", O_WRONLY), EPERM);
        set_flags(v->a, "fixed", FS_APPEND_FL);
        MUST_FAIL(pwrite(file, bytes, 1, 0), EPERM);
        set_flags(v->b, "fixed", 0);
    }
    MUST(unlinkat(v->a, "fixed", 0));
    close(file);
    free(bytes);
}

// --- files without a name --------------------------------------------------------------------

static void a_name_given_late_is_seen(void **state)
{
    struct views *v = *state;
    char path[64], *big = calloc(1, 1 << 20);
    int file = openat(v->a, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0644);

    if (file < 0 && errno == EOPNOTSUPP) {
        free(big);
        skip();
    }
    MUST(file);
    memset(big, 'b', 1 << 20);
    MUST_MOVE(pwrite(file, "late", 4, 0), 4);
    MUST_MOVE(pwrite(file, big, 1 << 20, 1 << 20), 1 << 20);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
    MUST(linkat(AT_FDCWD, path, v->a, "late", AT_SYMLINK_FOLLOW));
    assert_true(views_list(v->b, "late"));
    assert_int_equal(views_stat(v->b, "late").st_size, 2 << 20);
    assert_int_equal(views_stat(v->b, "late").st_nlink, 1);
    MUST_MOVE(pwrite(file, "Late", 4, 0), 4);
    MUST(ftruncate(file, 4));
    views_expect_content(v->b, "late", "Late");
    MUST(unlinkat(v->b, "late", 0));
    MUST_FAIL(linkat(AT_FDCWD, path, v->a, "again", AT_SYMLINK_FOLLOW), ENOENT);
    MUST_MOVE(pread(file, big, 4, 0), 4);
    assert_memory_equal(big, "Late", 4);
    close(file);
    free(big);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists_are_obeyed_elsewhere),
        cmocka_unit_test(lists_are_inherited_elsewhere),
        cmocka_unit_test(immutable_holds_elsewhere),
        cmocka_unit_test(a_name_given_late_is_seen),
    };

    return cmocka_run_group_tests(tests, views_setup, views_teardown);
}
