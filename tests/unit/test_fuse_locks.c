// SPDX-License-Identifier: Apache-2.0
// Locks through the front end: owners, what drops them, waits that end early.
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/time.h>
#include <sys/wait.h>

#include "fs/fuse_mount.h"
#include "tests/unit/fuse_world.h"

static int lock_range(int fd, int command, short type, off_t start, off_t length)
{
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = length};
    return fcntl(fd, command, &lock);
}

static void use_locks(void)
{
    int a = open("lun", O_RDWR), b = open("lun", O_RDWR);
    struct flock found = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 5, .l_len = 1};
    EXPECT(lock_range(a, F_OFD_SETLK, F_WRLCK, 0, 10) == 0);
    EXPECT(lock_range(b, F_OFD_SETLK, F_WRLCK, 5, 10) != 0 && errno == EAGAIN);
    EXPECT(lock_range(b, F_OFD_SETLK, F_WRLCK, 10, 0) == 0);
    EXPECT(fcntl(b, F_OFD_GETLK, &found) == 0 && found.l_type == F_WRLCK && found.l_start == 0 &&
           found.l_len == 10);
    EXPECT(lock_range(a, F_OFD_SETLK, F_UNLCK, 0, 10) == 0);
    EXPECT(lock_range(b, F_OFD_SETLK, F_WRLCK, 0, 10) == 0);
    EXPECT(close(b) == 0); // drops what it took: the trap of FUSE stores
    EXPECT(lock_range(a, F_OFD_SETLK, F_WRLCK, 0, 0) == 0);
    EXPECT(flock(a, LOCK_EX | LOCK_NB) == 0);
    b = open("lun", O_RDWR);
    EXPECT(flock(b, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK);
    EXPECT(flock(a, LOCK_UN) == 0 && flock(b, LOCK_SH | LOCK_NB) == 0);
}

static void test_locks(void **state)
{
    (void)state;
    fuse_world_run(use_locks, NULL);
    assert_int_equal(fake_locks_held(&world.locks), 0);
}

// POSIX: closing any descriptor of the file drops the process's locks on it.
static void close_drops_posix(void)
{
    int a = open("lun", O_RDWR), b = open("lun", O_RDWR);
    EXPECT(lock_range(a, F_SETLK, F_WRLCK, 0, 10) == 0);
    EXPECT(close(b) == 0);
    pid_t child = fork();
    if (child == 0)
        _exit(lock_range(a, F_SETLK, F_WRLCK, 0, 10) == 0 ? 0 : 1);
    int status;
    EXPECT(waitpid(child, &status, 0) == child && WEXITSTATUS(status) == 0);
}

static void test_close_drops_posix_locks(void **state)
{
    (void)state;
    fuse_world_run(close_drops_posix, NULL);
    assert_int_equal(fake_locks_held(&world.locks), 0);
}

static void nothing_on_signal(int signal_number)
{
    (void)signal_number;
}

static void interrupt_wait(void)
{
    struct sigaction action = {.sa_handler = nothing_on_signal};
    struct itimerval soon = {.it_value.tv_usec = 100000, .it_interval.tv_usec = 100000};
    int a = open("lun", O_RDWR), b = open("lun", O_RDWR);
    EXPECT(lock_range(a, F_OFD_SETLK, F_WRLCK, 0, 10) == 0);
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &soon, NULL);
    EXPECT(lock_range(b, F_OFD_SETLKW, F_WRLCK, 0, 10) != 0 && errno == EINTR);
}

static void test_wait_is_interrupted(void **state)
{
    (void)state;
    fuse_world_run(interrupt_wait, NULL);
    assert_int_equal(fake_locks_held(&world.locks), 0);
}

// The master does not answer the cancellation (it is being recovered): EINTR comes all the same,
// and when the grant comes at last it is given back.
static void grant_late(struct fuse_world *w)
{
    if (world.client == 0)
        return;
    int status;
    if (waitpid(world.client, &status, WNOHANG) == 0)
        return;
    world.client_status = status;
    world.client = 0;
    w->locks.ignores_cancel = false;
    for (unsigned i = 0; i < 64; i++) {
        struct range_lock_request *request = w->locks.waiting[i];
        if (request == NULL)
            continue;
        w->locks.waiting[i] = NULL;
        w->locks.held[63].is_used = true;
        w->locks.held[63].lock = request->lock;
        request->done(request, 0);
    }
    bool was_busy;
    assert_int_equal(fuse_mount_detach(w->mount, &was_busy), 0);
}

static void test_wait_is_interrupted_in_recovery(void **state)
{
    (void)state;
    world.locks.ignores_cancel = true;
    fuse_world_run(interrupt_wait, grant_late);
    assert_int_equal(fake_locks_held(&world.locks), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FUSE_TEST(test_locks),
        FUSE_TEST(test_close_drops_posix_locks),
        FUSE_TEST(test_wait_is_interrupted),
        FUSE_TEST(test_wait_is_interrupted_in_recovery),
    };
    return fuse_world_run_tests("test_fuse_locks", tests);
}
