// SPDX-License-Identifier: Apache-2.0
// What a confined process may not do is refused, and told; what guard and worker need still works.
// Each test confines a child; a failed expectation ends it with the line.
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <libaio.h>

#include "fs/base/check.h"
#include "fs/sandbox.h"

// Sanitized builds let their own threads trace and fork.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define IS_SANITIZED true
#else
#define IS_SANITIZED false
#endif

static struct sandbox_refused *refused; // shared with the child

#define EXPECT(condition)                                                                          \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: not so: %s (errno %d)\n", __FILE__, __LINE__, #condition,      \
                    errno);                                                                        \
            _exit(1);                                                                              \
        }                                                                                          \
    } while (0)

#define EXPECT_REFUSED(call)                                                                       \
    do {                                                                                           \
        errno = 0;                                                                                 \
        EXPECT((call) == -1 && errno == EPERM);                                                    \
    } while (0)

static int setup(void **state)
{
    (void)state;
    refused =
        mmap(NULL, sizeof(*refused), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return refused == MAP_FAILED ? -1 : 0;
}

static int teardown(void **state)
{
    (void)state;
    return munmap(refused, sizeof(*refused));
}

static void in_child(enum sandbox_process process, uint16_t port, void (*body)(void))
{
    int status;
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        alarm(60);
        EXPECT(sandbox_enter(process, port, refused) == 0);
        body();
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

static bool was_told(const char *wanted)
{
    char name[SANDBOX_CALL_BYTES];
    bool found = false;
    while (sandbox_next_refused(refused, name))
        found = found || strncmp(name, wanted, strlen(wanted)) == 0;
    return found;
}

// The number that /proc/self/status has behind a word.
static unsigned long long status_of(const char *word)
{
    char line[256];
    unsigned long long value = ~0ull;
    FILE *status = fopen("/proc/thread-self/status", "re");
    EXPECT(status != NULL);
    while (fgets(line, sizeof(line), status) != NULL) {
        if (strncmp(line, word, strlen(word)) == 0 && line[strlen(word)] == ':')
            EXPECT(sscanf(line + strlen(word) + 1, "%llx", &value) == 1);
    }
    fclose(status);
    return value;
}

// --- what is gone ------------------------------------------------------------------------------

static void has_given_up(unsigned long long capabilities)
{
    EXPECT(status_of("Seccomp") == 2);
    EXPECT(status_of("NoNewPrivs") == 1);
    EXPECT((status_of("CapEff") & ~capabilities) == 0);
    EXPECT((status_of("CapPrm") & ~capabilities) == 0);
    EXPECT((status_of("CapBnd") & ~capabilities) == 0);
    EXPECT(status_of("CapInh") == 0 && status_of("CapAmb") == 0);
}

enum { IPC_LOCK = 1 << 14, SYS_NICE = 1 << 23, NET_BIND_SERVICE = 1 << 10 };

static void guard_has_given_up(void)
{
    has_given_up(IPC_LOCK);
}

static void worker_has_given_up(void)
{
    has_given_up(IPC_LOCK | SYS_NICE);
}

static void low_port_has_given_up(void)
{
    has_given_up(IPC_LOCK | SYS_NICE | NET_BIND_SERVICE);
}

static void test_rights_are_gone(void **state)
{
    (void)state;
    in_child(SANDBOX_GUARD, 0, guard_has_given_up);
    in_child(SANDBOX_WORKER, 7713, worker_has_given_up);
    in_child(SANDBOX_WORKER, 713, low_port_has_given_up);
}

static void asks_for_programs(void)
{
    char program[] = "/bin/true", *arguments[] = {program, NULL};
    EXPECT_REFUSED(execve(program, arguments, NULL));
    EXPECT_REFUSED(syscall(SYS_execveat, AT_FDCWD, program, arguments, NULL, 0));
    EXPECT_REFUSED(syscall(SYS_vfork));
    if (!IS_SANITIZED) {
        EXPECT_REFUSED(fork());
        EXPECT_REFUSED(syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, 0));
    }
}

static void test_no_program_is_run(void **state)
{
    (void)state;
    in_child(SANDBOX_WORKER, 0, asks_for_programs);
    assert_true(was_told("execve "));
    in_child(SANDBOX_GUARD, 0, asks_for_programs);
    assert_false(was_told("execve ")); // once is enough
}

static void asks_for_what_root_may(void)
{
    EXPECT_REFUSED(mount("none", "/mnt", "tmpfs", 0, NULL));
    EXPECT_REFUSED(umount2("/proc", MNT_DETACH));
    EXPECT_REFUSED(unshare(CLONE_NEWNS));
    EXPECT_REFUSED(syscall(SYS_setuid, 0)); // the C library would have each thread do it
    EXPECT_REFUSED(syscall(SYS_tgkill, getppid(), getppid(), 0));
    EXPECT_REFUSED(kill(getppid(), SIGKILL));
    EXPECT(kill(getppid(), 0) == 0);
    EXPECT_REFUSED(syscall(SYS_bpf, 0, NULL, 0));
    EXPECT_REFUSED(syscall(SYS_init_module, NULL, 0, ""));
    EXPECT_REFUSED(syscall(SYS_process_vm_readv, getppid(), NULL, 0, NULL, 0, 0));
    EXPECT_REFUSED(chmod("/tmp", 0777));
    EXPECT_REFUSED(socket(AF_PACKET, SOCK_RAW, 0));
}

static void test_what_root_may(void **state)
{
    (void)state;
    in_child(SANDBOX_WORKER, 0, asks_for_what_root_may);
    assert_true(was_told("mount "));
}

static void makes_code(void)
{
    enum { BYTES = 4096, ALL = PROT_READ | PROT_WRITE | PROT_EXEC };
    EXPECT_REFUSED((intptr_t)mmap(NULL, BYTES, ALL, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    void *page = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    EXPECT(page != MAP_FAILED);
    EXPECT_REFUSED(mprotect(page, BYTES, PROT_READ | PROT_EXEC));
}

static void test_memory_does_not_become_code(void **state)
{
    (void)state;
    in_child(SANDBOX_WORKER, 0, makes_code);
    assert_true(was_told("mmap "));
}

// What is younger than the list is missing, as it would be on the kernel that a library was made
// for.
static void asks_for_what_is_not_known(void)
{
    errno = 0;
    EXPECT(syscall(SANDBOX_CALLS - 1) == -1 && errno == ENOSYS);
    EXPECT(syscall(SANDBOX_CALLS + 7) == -1 && errno == ENOSYS);
    EXPECT(syscall(SYS_clone3, NULL, 0) == -1 && errno == ENOSYS);
}

static void test_unknown_calls_are_missing(void **state)
{
    (void)state;
    in_child(SANDBOX_WORKER, 0, asks_for_what_is_not_known);
    assert_true(was_told("system call (511)"));
}

// --- what still works --------------------------------------------------------------------------

static void *thread_body(void *argument)
{
    worker_has_given_up();
    asks_for_programs();
    pthread_setname_np(pthread_self(), "confined");
    return argument;
}

static void runs_threads(void)
{
    pthread_t thread;
    void *result;
    EXPECT(pthread_create(&thread, NULL, thread_body, refused) == 0);
    EXPECT(pthread_join(thread, &result) == 0 && result == refused);
}

static void test_threads_are_confined_too(void **state)
{
    (void)state;
    in_child(SANDBOX_WORKER, 0, runs_threads);
}

static void uses_files(void)
{
    io_context_t context = 0;
    char byte;
    int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    EXPECT(file >= 0 && pread(file, &byte, 1, 0) == 1);
    EXPECT(fcntl(file, F_GETFL) >= 0);
    EXPECT(io_setup(1, &context) == 0 && io_destroy(context) == 0);
    close(file);
}

static void uses_sockets(void)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found;
    EXPECT(getaddrinfo("localhost", NULL, &hints, &found) == 0);
    freeaddrinfo(found);
    struct sockaddr_storage address = {.ss_family = AF_INET};
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    EXPECT(bind(listener, (struct sockaddr *)&address, sizeof(struct sockaddr_in)) == 0);
    EXPECT(listen(listener, 1) == 0);
    close(listener);
}

static void uses_events(void)
{
    int timer = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC), poll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN};
    int wake = eventfd(1, EFD_CLOEXEC);
    EXPECT(timer >= 0 && poll >= 0 && wake >= 0);
    EXPECT(epoll_ctl(poll, EPOLL_CTL_ADD, wake, &event) == 0);
    EXPECT(epoll_wait(poll, &event, 1, -1) == 1);
}

static void works(void)
{
    uses_files();
    uses_sockets();
    uses_events();
}

static void test_what_a_worker_needs(void **state)
{
    char name[SANDBOX_CALL_BYTES];
    (void)state;
    in_child(SANDBOX_WORKER, 0, works);
    assert_false(sandbox_next_refused(refused, name));
}

// It may kill its worker, and learn of its end.
static void test_guard_kills(void **state)
{
    int status;
    (void)state;
    pid_t guard = fork();
    CHECK(guard >= 0);
    if (guard == 0) {
        pid_t worker = fork();
        if (worker == 0)
            for (;;)
                pause();
        int descriptor = (int)syscall(SYS_pidfd_open, worker, 0);
        EXPECT(descriptor >= 0 && sandbox_enter(SANDBOX_GUARD, 0, refused) == 0);
        EXPECT(syscall(SYS_pidfd_send_signal, descriptor, SIGKILL, NULL, 0) == 0);
        EXPECT(waitpid(worker, &status, 0) == worker && WIFSIGNALED(status));
        _exit(0);
    }
    assert_int_equal(waitpid(guard, &status, 0), guard);
    assert_int_equal(status, 0);
}

// An assertion that fails still ends the process in its own way.
static void test_abort_aborts(void **state)
{
    int status;
    (void)state;
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        EXPECT(sandbox_enter(SANDBOX_WORKER, 0, refused) == 0);
        signal(SIGABRT, SIG_DFL);
        abort();
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGABRT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_rights_are_gone, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_program_is_run, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_root_may, setup, teardown),
        cmocka_unit_test_setup_teardown(test_memory_does_not_become_code, setup, teardown),
        cmocka_unit_test_setup_teardown(test_unknown_calls_are_missing, setup, teardown),
        cmocka_unit_test_setup_teardown(test_threads_are_confined_too, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_a_worker_needs, setup, teardown),
        cmocka_unit_test_setup_teardown(test_guard_kills, setup, teardown),
        cmocka_unit_test_setup_teardown(test_abort_aborts, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
