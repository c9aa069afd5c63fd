// SPDX-License-Identifier: Apache-2.0
//
// Locks on one node: fcntl's of a process, OFD's of an open file, flock's, and waiting for them.
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/posix/workplace.h"

enum { STEP_US = 5000, WAIT_STEPS_MAX = 2000 }; // 10 s

static int range(int file, int command, short type, off_t start, off_t length)
{
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = length};

    return fcntl(file, command, &lock);
}

// What F_GETLK says about a write lock on the range.
static struct flock query(int file, int command, off_t start, off_t length)
{
    struct flock lock = {
        .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = start, .l_len = length};

    MUST(fcntl(file, command, &lock));
    return lock;
}

// Runs `attempt` in a child process; its result is the errno that it returns.
static int in_child(int (*attempt)(void))
{
    int status;
    pid_t child = fork();

    if (child == 0)
        _exit(attempt());
    MUST(waitpid(child, &status, 0));
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int child_locks_0_to_10(void)
{
    int file = open("file", O_RDWR | O_CLOEXEC);

    return range(file, F_SETLK, F_WRLCK, 0, 10) < 0 ? errno : 0;
}

static int child_flocks(void)
{
    int file = open("file", O_RDWR | O_CLOEXEC);

    return flock(file, LOCK_EX | LOCK_NB) < 0 ? errno : 0;
}

static void process_locks(void **state)
{
    int file = workplace_file("file", "0123456789");
    struct flock lock;

    (void)state;
    MUST(range(file, F_SETLK, F_WRLCK, 5, 10));
    assert_int_equal(in_child(child_locks_0_to_10), EAGAIN);
    MUST(range(file, F_SETLK, F_UNLCK, 5, 5));
    assert_int_equal(in_child(child_locks_0_to_10), 0);
    MUST(range(file, F_SETLK, F_RDLCK, 0, 0));
    assert_int_equal(in_child(child_locks_0_to_10), EAGAIN);
    // A process does not stand in its own way.
    lock = query(file, F_GETLK, 0, 0);
    assert_int_equal(lock.l_type, F_UNLCK);
    close(file);
    assert_int_equal(in_child(child_locks_0_to_10), 0);
}

// The trap of POSIX locks: any close of the file by the process drops all of its locks.
static void any_close_drops_process_locks(void **state)
{
    int file = workplace_file("file", "x"), second = MUST(open("file", O_RDONLY | O_CLOEXEC));

    (void)state;
    MUST(range(file, F_SETLK, F_WRLCK, 0, 0));
    close(second);
    assert_int_equal(in_child(child_locks_0_to_10), 0);
    close(file);
}

static void open_file_locks(void **state)
{
    int a = workplace_file("file", "x"), b = MUST(open("file", O_RDWR | O_CLOEXEC));
    int copy = MUST(dup(a));
    struct flock lock;

    (void)state;
    MUST(range(a, F_OFD_SETLK, F_WRLCK, 0, 100));
    MUST_FAIL(range(b, F_OFD_SETLK, F_WRLCK, 99, 1), EAGAIN);
    MUST_FAIL(range(b, F_SETLK, F_RDLCK, 0, 1), EAGAIN);
    MUST(range(b, F_OFD_SETLK, F_WRLCK, 100, 0));
    lock = query(b, F_OFD_GETLK, 50, 10);
    assert_int_equal(lock.l_type, F_WRLCK);
    assert_int_equal(lock.l_start, 0);
    assert_int_equal(lock.l_len, 100);
    // A duplicate keeps the lock; the last close drops it.
    close(a);
    MUST_FAIL(range(b, F_OFD_SETLK, F_WRLCK, 0, 1), EAGAIN);
    close(copy);
    MUST(range(b, F_OFD_SETLK, F_WRLCK, 0, 1));
    close(b);
}

// Ranges split, join and change mode as fcntl(2) says.
static void ranges_split_and_join(void **state)
{
    int a = workplace_file("file", "x"), b = MUST(open("file", O_RDWR | O_CLOEXEC));
    struct flock lock;

    (void)state;
    MUST(range(a, F_OFD_SETLK, F_WRLCK, 0, 30));
    MUST(range(a, F_OFD_SETLK, F_UNLCK, 10, 10));
    MUST(range(b, F_OFD_SETLK, F_WRLCK, 10, 10));
    MUST_FAIL(range(b, F_OFD_SETLK, F_RDLCK, 9, 1), EAGAIN);
    MUST_FAIL(range(b, F_OFD_SETLK, F_RDLCK, 20, 1), EAGAIN);
    MUST(range(b, F_OFD_SETLK, F_UNLCK, 0, 0));
    MUST(range(a, F_OFD_SETLK, F_RDLCK, 5, 20));
    MUST(range(b, F_OFD_SETLK, F_RDLCK, 5, 20));
    MUST_FAIL(range(b, F_OFD_SETLK, F_RDLCK, 4, 1), EAGAIN);
    MUST_FAIL(range(a, F_OFD_SETLK, F_WRLCK, 0, 30), EAGAIN);
    MUST(range(b, F_OFD_SETLK, F_UNLCK, 0, 0));
    MUST(range(a, F_OFD_SETLK, F_WRLCK, 0, 30));
    lock = query(b, F_OFD_GETLK, 0, 0);
    assert_int_equal(lock.l_start, 0);
    assert_int_equal(lock.l_len, 30);
    close(a);
    close(b);
}

static void whole_file_locks(void **state)
{
    int a = workplace_file("file", "x"), b = MUST(open("file", O_RDWR | O_CLOEXEC));

    (void)state;
    MUST(flock(a, LOCK_SH));
    MUST(flock(b, LOCK_SH));
    MUST_FAIL(flock(b, LOCK_EX | LOCK_NB), EWOULDBLOCK);
    MUST(flock(b, LOCK_UN));
    MUST(flock(a, LOCK_EX));
    MUST_FAIL(flock(b, LOCK_SH | LOCK_NB), EWOULDBLOCK);
    assert_int_equal(in_child(child_flocks), EWOULDBLOCK);
    // flock and fcntl locks do not see each other.
    MUST(range(b, F_OFD_SETLK, F_WRLCK, 0, 0));
    close(a);
    assert_int_equal(in_child(child_flocks), 0);
    close(b);
}

// --- waiting ---------------------------------------------------------------------------------

static void nothing(int signal)
{
    (void)signal;
}

// A child that waits for the whole file; exits with 0 or errno. SIGUSR1 interrupts its wait.
static pid_t waiter_start(void)
{
    pid_t child = fork();

    if (child == 0) {
        struct sigaction action = {.sa_handler = nothing}; // no SA_RESTART
        int file = open("file", O_RDWR | O_CLOEXEC);

        sigaction(SIGUSR1, &action, NULL);
        _exit(range(file, F_SETLKW, F_WRLCK, 0, 0) < 0 ? errno : 0);
    }
    return child;
}

// Polls, sending `signal` (0: none) each time, until the child has ended; -1 after ten seconds.
static int waiter_end(pid_t child, int signal)
{
    int status;

    for (int step = 0; step < WAIT_STEPS_MAX; step++) {
        if (waitpid(child, &status, WNOHANG) == child)
            return status;
        if (signal)
            kill(child, signal);
        usleep(STEP_US);
    }
    kill(child, SIGKILL);
    return -1;
}

static void a_waiter_is_granted(void **state)
{
    int file = workplace_file("file", "x"), status;
    pid_t child;

    (void)state;
    MUST(range(file, F_OFD_SETLK, F_WRLCK, 0, 0));
    child = waiter_start();
    assert_int_equal(waitpid(child, &status, WNOHANG), 0);
    MUST(range(file, F_OFD_SETLK, F_UNLCK, 0, 0));
    assert_int_equal(waiter_end(child, 0), 0);
    close(file);
}

static void a_waiter_is_interrupted(void **state)
{
    int file = workplace_file("file", "x"), status;
    pid_t child;

    (void)state;
    MUST(range(file, F_OFD_SETLK, F_WRLCK, 0, 0));
    // The first signals may come before the child has its handler or waits: then it ends by one.
    child = waiter_start();
    status = waiter_end(child, SIGUSR1);
    assert_true(status != -1);
    if (WIFEXITED(status))
        assert_int_equal(WEXITSTATUS(status), EINTR);
    else
        assert_int_equal(WTERMSIG(status), SIGUSR1);
    // Its request is gone: the next one to ask gets the lock.
    MUST(range(file, F_OFD_SETLK, F_UNLCK, 0, 0));
    assert_int_equal(in_child(child_locks_0_to_10), 0);
    close(file);
}

static void a_waiter_is_killed(void **state)
{
    int file = workplace_file("file", "x"), status;
    pid_t child;

    (void)state;
    MUST(range(file, F_OFD_SETLK, F_WRLCK, 0, 0));
    child = waiter_start();
    kill(child, SIGKILL);
    status = waiter_end(child, 0);
    assert_true(WIFSIGNALED(status));
    MUST(range(file, F_OFD_SETLK, F_UNLCK, 0, 0));
    assert_int_equal(in_child(child_locks_0_to_10), 0);
    close(file);
}

// Holds `mine`, says so on the pipe, then waits for `other`. The result of that wait is its status.
static pid_t deadlocker_start(off_t mine, off_t other, int ready)
{
    pid_t child = fork();

    if (child == 0) {
        int file = open("file", O_RDWR | O_CLOEXEC);

        if (range(file, F_SETLK, F_WRLCK, mine, 1) < 0 || write(ready, "r", 1) != 1)
            _exit(1);
        if (range(file, F_SETLKW, F_WRLCK, other, 1) < 0)
            _exit(errno);
        _exit(0);
    }
    return child;
}

static void a_deadlock_is_found(void **state)
{
    int ready[2], one, two;
    pid_t first, second;
    char buffer[2];

    (void)state;
    close(workplace_file("file", "x"));
    MUST(pipe(ready));
    first = deadlocker_start(0, 1, ready[1]);
    MUST_MOVE(read(ready[0], buffer, 1), 1);
    second = deadlocker_start(1, 0, ready[1]);
    MUST_MOVE(read(ready[0], buffer, 1), 1);
    one = waiter_end(first, 0);
    two = waiter_end(second, 0);
    assert_true(one != -1 && two != -1);
    // One of them is told; then, its locks gone, the other one gets what it waits for. When the
    // first asks before the second holds its byte, there is no deadlock at all.
    if (WEXITSTATUS(one) != 0 || WEXITSTATUS(two) != 0)
        assert_int_equal(WEXITSTATUS(one) + WEXITSTATUS(two), EDEADLK);
    close(ready[0]);
    close(ready[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORKPLACE_TEST(process_locks),           WORKPLACE_TEST(any_close_drops_process_locks),
        WORKPLACE_TEST(open_file_locks),         WORKPLACE_TEST(ranges_split_and_join),
        WORKPLACE_TEST(whole_file_locks),        WORKPLACE_TEST(a_waiter_is_granted),
        WORKPLACE_TEST(a_waiter_is_interrupted), WORKPLACE_TEST(a_waiter_is_killed),
        WORKPLACE_TEST(a_deadlock_is_found),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
