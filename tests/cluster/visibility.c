// SPDX-License-Identifier: Apache-2.0
//
// What one node does, another sees at once: every operation on mount A, looked at through mount B.
#include <fcntl.h>
#include <linux/falloc.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "tests/cluster/views.h"
#include "tests/lib/expect.h"

enum {
    BLOCK_BYTES = 4096,
    STEP_US = 10000,
    WAIT_STEPS_MAX = 1000, // 10 s
};

// --- names -----------------------------------------------------------------------------------

static void create_is_seen(void **state)
{
    struct views *v = *state;

    MUST_FAIL(faccessat(v->b, "created", F_OK, 0), ENOENT);
    close(views_file(v->a, "created", "hello"));
    views_expect_content(v->b, "created", "hello");
    assert_true(views_list(v->b, "created"));
    assert_int_equal(views_stat(v->a, "created").st_ino, views_stat(v->b, "created").st_ino);
    MUST_FAIL(openat(v->b, "created", O_CREAT | O_EXCL | O_WRONLY, 0644), EEXIST);
    MUST(unlinkat(v->b, "created", 0));
    MUST_FAIL(faccessat(v->a, "created", F_OK, 0), ENOENT);
    assert_false(views_list(v->a, "created"));
}

static void directories_are_seen(void **state)
{
    struct views *v = *state;

    MUST(mkdirat(v->a, "directory", 0755));
    close(views_file(v->b, "directory/inside", "x"));
    MUST_FAIL(unlinkat(v->a, "directory", AT_REMOVEDIR), ENOTEMPTY);
    MUST(unlinkat(v->a, "directory/inside", 0));
    MUST(unlinkat(v->b, "directory", AT_REMOVEDIR));
    MUST_FAIL(faccessat(v->a, "directory", F_OK, 0), ENOENT);
    MUST_FAIL(mkdirat(v->a, "directory/below", 0755), ENOENT);
}

static void rename_is_seen(void **state)
{
    struct views *v = *state;

    close(views_file(v->a, "old", "moved"));
    MUST(renameat(v->a, "old", v->a, "new"));
    MUST_FAIL(faccessat(v->b, "old", F_OK, 0), ENOENT);
    views_expect_content(v->b, "new", "moved");
    close(views_file(v->b, "victim", "victim"));
    MUST(renameat(v->b, "new", v->b, "victim"));
    views_expect_content(v->a, "victim", "moved");
    MUST_FAIL(faccessat(v->a, "new", F_OK, 0), ENOENT);
    MUST(unlinkat(v->a, "victim", 0));
}

static void rename_between_directories_is_seen(void **state)
{
    struct views *v = *state;

    MUST(mkdirat(v->a, "from", 0755));
    MUST(mkdirat(v->b, "to", 0755));
    MUST(mkdirat(v->a, "from/child", 0755));
    MUST(renameat(v->b, "from/child", v->b, "to/child"));
    assert_int_equal(views_stat(v->a, "from").st_nlink, 2);
    assert_int_equal(views_stat(v->a, "to").st_nlink, 3);
    assert_int_equal(views_stat(v->a, "to/child/..").st_ino, views_stat(v->b, "to").st_ino);
    MUST_FAIL(renameat(v->a, "to", v->a, "to/child/loop"), EINVAL);
    MUST(unlinkat(v->a, "to/child", AT_REMOVEDIR));
    MUST(unlinkat(v->a, "to", AT_REMOVEDIR));
    MUST(unlinkat(v->b, "from", AT_REMOVEDIR));
}

static void exchange_and_noreplace_are_seen(void **state)
{
    struct views *v = *state;

    close(views_file(v->a, "left", "left"));
    close(views_file(v->b, "right", "right"));
    MUST_FAIL(renameat2(v->b, "left", v->b, "right", RENAME_NOREPLACE), EEXIST);
    MUST(renameat2(v->a, "left", v->a, "right", RENAME_EXCHANGE));
    views_expect_content(v->b, "left", "right");
    views_expect_content(v->b, "right", "left");
    MUST(unlinkat(v->a, "left", 0));
    MUST(renameat2(v->b, "right", v->b, "left", RENAME_NOREPLACE));
    MUST(unlinkat(v->a, "left", 0));
}

static void links_are_seen(void **state)
{
    struct views *v = *state;
    char target[64] = "";

    close(views_file(v->a, "first", "linked"));
    MUST(linkat(v->a, "first", v->a, "second", 0));
    assert_int_equal(views_stat(v->b, "first").st_nlink, 2);
    MUST(unlinkat(v->b, "first", 0));
    assert_int_equal(views_stat(v->a, "second").st_nlink, 1);
    views_expect_content(v->a, "second", "linked");
    MUST(symlinkat("second", v->a, "symbolic"));
    MUST_MOVE(readlinkat(v->b, "symbolic", target, sizeof(target)), 6);
    assert_string_equal(target, "second");
    views_expect_content(v->b, "symbolic", "linked");
    MUST(unlinkat(v->b, "symbolic", 0));
    MUST(unlinkat(v->b, "second", 0));
}

static void special_files_are_seen(void **state)
{
    struct views *v = *state;

    MUST(mknodat(v->a, "fifo", S_IFIFO | 0600, 0));
    MUST(mknodat(v->a, "device", S_IFCHR | 0600, makedev(1, 3)));
    assert_true(S_ISFIFO(views_stat(v->b, "fifo").st_mode));
    assert_true(S_ISCHR(views_stat(v->b, "device").st_mode));
    assert_int_equal(views_stat(v->b, "device").st_rdev, makedev(1, 3));
    MUST(unlinkat(v->b, "fifo", 0));
    MUST(unlinkat(v->b, "device", 0));
}

// --- attributes ------------------------------------------------------------------------------

static void attributes_are_seen(void **state)
{
    struct views *v = *state;
    struct timespec times[2] = {{.tv_sec = 1000, .tv_nsec = 1}, {.tv_sec = 2000, .tv_nsec = 2}};
    struct stat seen;

    close(views_file(v->a, "attributes", "x"));
    MUST(fchmodat(v->a, "attributes", 0640, 0));
    MUST(fchownat(v->a, "attributes", 12, 34, 0));
    MUST(utimensat(v->a, "attributes", times, 0));
    seen = views_stat(v->b, "attributes");
    assert_int_equal(seen.st_mode & 07777, 0640);
    assert_int_equal(seen.st_uid, 12);
    assert_int_equal(seen.st_gid, 34);
    assert_int_equal(seen.st_atim.tv_sec, 1000);
    assert_int_equal(seen.st_mtim.tv_sec, 2000);
    assert_int_equal(seen.st_mtim.tv_nsec, 2);
    MUST(unlinkat(v->b, "attributes", 0));
}

static void extended_attributes_are_seen(void **state)
{
    struct views *v = *state;
    int a = views_file(v->a, "xattr", "x"), b = MUST(openat(v->b, "xattr", O_RDWR | O_CLOEXEC));
    char value[16] = "";

    MUST(fsetxattr(a, "user.name", "value", 5, XATTR_CREATE));
    MUST_MOVE(fgetxattr(b, "user.name", value, sizeof(value)), 5);
    assert_memory_equal(value, "value", 5);
    MUST_FAIL(fsetxattr(b, "user.name", "other", 5, XATTR_CREATE), EEXIST);
    MUST(fremovexattr(b, "user.name"));
    MUST_FAIL(fgetxattr(a, "user.name", value, sizeof(value)), ENODATA);
    close(a);
    close(b);
    MUST(unlinkat(v->b, "xattr", 0));
}

// --- data ------------------------------------------------------------------------------------

static void writes_are_seen(void **state)
{
    struct views *v = *state;
    int a = views_file(v->a, "data", "one"), b = MUST(openat(v->b, "data", O_RDWR | O_CLOEXEC));

    for (int round = 0; round < 50; round++) {
        char text[24], seen[24] = "";

        snprintf(text, sizeof(text), "round%04d", round);
        MUST_MOVE(pwrite(a, text, 9, 0), 9);
        MUST_MOVE(pread(b, seen, 9, 0), 9);
        assert_string_equal(seen, text);
        MUST_MOVE(pwrite(b, "back", 4, 5), 4);
        MUST_MOVE(pread(a, seen, 9, 0), 9);
        assert_string_equal(seen, "roundback");
    }
    close(a);
    close(b);
    MUST(unlinkat(v->b, "data", 0));
}

static void sizes_are_seen(void **state)
{
    struct views *v = *state;
    int a = views_file(v->a, "size", "0123456789");
    int b = MUST(openat(v->b, "size", O_RDWR | O_CLOEXEC));
    char seen[BLOCK_BYTES] = "";

    MUST_MOVE(pwrite(a, "end", 3, 100000), 3);
    assert_int_equal(views_stat(v->b, "size").st_size, 100003);
    MUST(ftruncate(b, 4));
    assert_int_equal(views_stat(v->a, "size").st_size, 4);
    MUST(ftruncate(a, 8));
    MUST_MOVE(pread(b, seen, sizeof(seen), 0), 8);
    assert_memory_equal(seen, "0123\0\0\0\0", 8);
    close(MUST(openat(v->b, "size", O_WRONLY | O_TRUNC | O_CLOEXEC)));
    assert_int_equal(views_stat(v->a, "size").st_size, 0);
    MUST_MOVE(pread(a, seen, sizeof(seen), 0), 0);
    close(a);
    close(b);
    MUST(unlinkat(v->b, "size", 0));
}

static void appends_find_the_end(void **state)
{
    struct views *v = *state;
    int a = MUST(openat(v->a, "log", O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0644));
    int b = MUST(openat(v->b, "log", O_RDWR | O_APPEND | O_CLOEXEC));

    for (int round = 0; round < 50; round++) {
        MUST_MOVE(write(a, "aaaa", 4), 4);
        MUST_MOVE(write(b, "bbbb", 4), 4);
    }
    assert_int_equal(views_stat(v->a, "log").st_size, 400);
    assert_int_equal(views_stat(v->b, "log").st_size, 400);
    for (int round = 0; round < 50; round++) {
        char seen[8];

        MUST_MOVE(pread(a, seen, 8, round * 8), 8);
        assert_memory_equal(seen, "aaaabbbb", 8);
    }
    close(a);
    close(b);
    MUST(unlinkat(v->b, "log", 0));
}

static void holes_are_seen(void **state)
{
    struct views *v = *state;
    int a = views_file(v->a, "holes", "x"), b = MUST(openat(v->b, "holes", O_RDWR | O_CLOEXEC));
    char block[BLOCK_BYTES], zero[BLOCK_BYTES] = "";

    memset(block, 'd', sizeof(block));
    for (int i = 0; i < 16; i++)
        MUST_MOVE(pwrite(a, block, BLOCK_BYTES, i * BLOCK_BYTES), BLOCK_BYTES);
    MUST(
        fallocate(a, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4 * BLOCK_BYTES, 4 * BLOCK_BYTES));
    MUST_MOVE(pread(b, block, BLOCK_BYTES, 5 * BLOCK_BYTES), BLOCK_BYTES);
    assert_memory_equal(block, zero, BLOCK_BYTES);
    assert_int_equal(lseek(b, 0, SEEK_HOLE), 4 * BLOCK_BYTES);
    assert_int_equal(lseek(b, 4 * BLOCK_BYTES, SEEK_DATA), 8 * BLOCK_BYTES);
    MUST(fallocate(b, 0, 0, 1 << 20));
    assert_int_equal(views_stat(v->a, "holes").st_size, 1 << 20);
    close(a);
    close(b);
    MUST(unlinkat(v->b, "holes", 0));
}

// A file without a name lives on as long as any node has it open.
static void unlinked_file_lives_while_open_elsewhere(void **state)
{
    struct views *v = *state;
    int a = views_file(v->a, "unlinked", "still here");
    int b = MUST(openat(v->b, "unlinked", O_RDWR | O_CLOEXEC));
    char seen[16] = "";

    close(a);
    MUST(unlinkat(v->a, "unlinked", 0));
    MUST_FAIL(faccessat(v->b, "unlinked", F_OK, 0), ENOENT);
    MUST_MOVE(pread(b, seen, sizeof(seen), 0), 10);
    assert_string_equal(seen, "still here");
    MUST_MOVE(pwrite(b, "more", 4, 10), 4);
    MUST(fsync(b));
    close(b);
    close(views_file(v->a, "unlinked", "a new one"));
    views_expect_content(v->b, "unlinked", "a new one");
    MUST(unlinkat(v->b, "unlinked", 0));
}

// --- locks -----------------------------------------------------------------------------------

static int lock_range(int file, int command, short type, off_t start, off_t length)
{
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = length};

    return fcntl(file, command, &lock);
}

static void range_locks_exclude(void **state)
{
    struct views *v = *state;
    int a = views_file(v->a, "locked", "x"), b = MUST(openat(v->b, "locked", O_RDWR | O_CLOEXEC));

    MUST(lock_range(a, F_OFD_SETLK, F_WRLCK, 0, 100));
    MUST_FAIL(lock_range(b, F_OFD_SETLK, F_RDLCK, 50, 100), EAGAIN);
    MUST(lock_range(b, F_OFD_SETLK, F_WRLCK, 100, 100));
    MUST_FAIL(lock_range(a, F_OFD_SETLK, F_WRLCK, 0, 0), EAGAIN);
    MUST(lock_range(a, F_OFD_SETLK, F_RDLCK, 0, 100));
    MUST(lock_range(b, F_OFD_SETLK, F_RDLCK, 0, 100));
    MUST(lock_range(a, F_OFD_SETLK, F_UNLCK, 0, 0));
    MUST(lock_range(b, F_OFD_SETLK, F_WRLCK, 0, 100));
    close(b);
    MUST(lock_range(a, F_OFD_SETLK, F_WRLCK, 0, 0));
    close(a);
    MUST(unlinkat(v->b, "locked", 0));
}

static void lock_owner_is_told(void **state)
{
    struct views *v = *state;
    int a = views_file(v->a, "query", "x"), b = MUST(openat(v->b, "query", O_RDWR | O_CLOEXEC));
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

    MUST(lock_range(a, F_OFD_SETLK, F_WRLCK, 10, 20));
    MUST(fcntl(b, F_OFD_GETLK, &lock));
    assert_int_equal(lock.l_type, F_WRLCK);
    assert_int_equal(lock.l_start, 10);
    assert_int_equal(lock.l_len, 20);
    close(a); // FUSE tells the file system of it later, and nobody waits for that
    for (int i = 0; i < 1000; i++) {
        lock = (struct flock){.l_type = F_WRLCK, .l_whence = SEEK_SET};
        MUST(fcntl(b, F_OFD_GETLK, &lock));
        if (lock.l_type == F_UNLCK)
            break;
        usleep(10 * 1000);
    }
    assert_int_equal(lock.l_type, F_UNLCK);
    close(b);
    MUST(unlinkat(v->b, "query", 0));
}

static void flocks_exclude(void **state)
{
    struct views *v = *state;
    int a = views_file(v->a, "flock", "x"), b = MUST(openat(v->b, "flock", O_RDWR | O_CLOEXEC));

    MUST(flock(a, LOCK_EX | LOCK_NB));
    MUST_FAIL(flock(b, LOCK_SH | LOCK_NB), EWOULDBLOCK);
    MUST(flock(a, LOCK_SH | LOCK_NB));
    MUST(flock(b, LOCK_SH | LOCK_NB));
    MUST_FAIL(flock(b, LOCK_EX | LOCK_NB), EWOULDBLOCK);
    close(a);
    MUST(flock(b, LOCK_EX | LOCK_NB));
    close(b);
    MUST(unlinkat(v->b, "flock", 0));
}

// Starts a child that waits for a lock on all of the file; it exits 0 with the lock, or with errno.
static pid_t waiter_start(int directory, const char *name)
{
    pid_t child = fork();

    assert_true(child >= 0);
    if (child == 0) {
        int file = openat(directory, name, O_RDWR | O_CLOEXEC);
        struct sigaction nothing = {.sa_handler = SIG_IGN};

        sigaction(SIGPIPE, &nothing, NULL);
        _exit(lock_range(file, F_SETLKW, F_WRLCK, 0, 0) == 0 ? 0 : errno);
    }
    return child;
}

// Polls until the child has ended; -1: it still waits after ten seconds.
static int waiter_status(pid_t child)
{
    int status;

    for (int step = 0; step < WAIT_STEPS_MAX; step++) {
        if (waitpid(child, &status, WNOHANG) == child)
            return status;
        usleep(STEP_US);
    }
    return -1;
}

static void waiter_gets_the_lock(void **state)
{
    struct views *v = *state;
    int a = views_file(v->a, "waited", "x"), status;
    pid_t child;

    MUST(lock_range(a, F_OFD_SETLK, F_WRLCK, 0, 0));
    child = waiter_start(v->b, "waited");
    // The child cannot pass while we hold the lock, however long it takes to get there.
    assert_int_equal(waitpid(child, &status, WNOHANG), 0);
    MUST(lock_range(a, F_OFD_SETLK, F_UNLCK, 0, 0));
    assert_int_equal(waiter_status(child), 0);
    close(a);
    MUST(unlinkat(v->b, "waited", 0));
}

static void waiter_can_be_killed(void **state)
{
    struct views *v = *state;
    int a = views_file(v->a, "killed", "x"), status;
    pid_t child;

    MUST(lock_range(a, F_OFD_SETLK, F_WRLCK, 0, 0));
    child = waiter_start(v->b, "killed");
    kill(child, SIGKILL);
    status = waiter_status(child);
    assert_true(status != -1 && WIFSIGNALED(status));
    // Nothing of the dead waiter stands in the way of others.
    MUST(lock_range(a, F_OFD_SETLK, F_UNLCK, 0, 0));
    child = waiter_start(v->b, "killed");
    assert_int_equal(waiter_status(child), 0);
    close(a);
    MUST(unlinkat(v->b, "killed", 0));
}

static long free_mib(int directory)
{
    struct statvfs space;

    MUST(fstatvfs(directory, &space));
    return (long)(space.f_bfree * space.f_frsize >> 20);
}

// Both nodes come to say that free space has changed by `change_mib`, give or take 4 MiB for what
// else is freed meanwhile, and that it is the same: exactly, to the block.
static void expect_free(struct views *v, long before_mib, long change_mib)
{
    struct statvfs a = {0}, b = {0};

    for (int step = 0; step < WAIT_STEPS_MAX; step++) {
        long off_mib = free_mib(v->a) - before_mib - change_mib;

        MUST(fstatvfs(v->a, &a));
        MUST(fstatvfs(v->b, &b));
        if (a.f_bfree == b.f_bfree && a.f_bavail == b.f_bavail && off_mib <= 4 && off_mib >= -4)
            return;
        usleep(STEP_US);
    }
    fail_msg("%ld MiB before, change %ld; now %ld and %ld MiB, %lu and %lu blocks", before_mib,
             change_mib, free_mib(v->a), free_mib(v->b), (unsigned long)a.f_bfree,
             (unsigned long)b.f_bfree);
}

// Totals of groups that another node changes are read without its locks: true on the node that
// allocates, and on the others when it has been idle for some seconds.
static void free_space_is_seen(void **state)
{
    struct views *v = *state;
    int a = views_file(v->a, "space", "x");
    long before_mib;

    expect_free(v, free_mib(v->a), 0);
    before_mib = free_mib(v->a);
    MUST(fallocate(a, 0, 0, 64 << 20));
    expect_free(v, before_mib, -64);
    close(a);
    MUST(unlinkat(v->b, "space", 0));
    expect_free(v, before_mib, 0);
}

// Nodes that close a file without a name at the same moment find each other's right in their way:
// one of them frees it all the same (rule 14).
static void file_closed_on_both_nodes_is_freed(void **state)
{
    enum { ROUNDS = 10, FILE_MIB = 8 };
    struct views *v = *state;
    long before_mib = free_mib(v->a);

    for (int round = 0; round < ROUNDS; round++) {
        int a = views_file(v->a, "closed", "x");
        int b = MUST(openat(v->b, "closed", O_RDWR | O_CLOEXEC));

        MUST(fallocate(round % 2 ? a : b, 0, 0, FILE_MIB << 20));
        MUST(unlinkat(round % 2 ? v->b : v->a, "closed", 0));
        close(a);
        close(b);
    }
    expect_free(v, before_mib, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(create_is_seen),
        cmocka_unit_test(directories_are_seen),
        cmocka_unit_test(rename_is_seen),
        cmocka_unit_test(rename_between_directories_is_seen),
        cmocka_unit_test(exchange_and_noreplace_are_seen),
        cmocka_unit_test(links_are_seen),
        cmocka_unit_test(special_files_are_seen),
        cmocka_unit_test(attributes_are_seen),
        cmocka_unit_test(extended_attributes_are_seen),
        cmocka_unit_test(writes_are_seen),
        cmocka_unit_test(sizes_are_seen),
        cmocka_unit_test(appends_find_the_end),
        cmocka_unit_test(holes_are_seen),
        cmocka_unit_test(unlinked_file_lives_while_open_elsewhere),
        cmocka_unit_test(range_locks_exclude),
        cmocka_unit_test(lock_owner_is_told),
        cmocka_unit_test(flocks_exclude),
        cmocka_unit_test(waiter_gets_the_lock),
        cmocka_unit_test(waiter_can_be_killed),
        cmocka_unit_test(free_space_is_seen),
        cmocka_unit_test(file_closed_on_both_nodes_is_freed),
    };

    return cmocka_run_group_tests(tests, views_setup, views_teardown);
}
