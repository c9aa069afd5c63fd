// SPDX-License-Identifier: Apache-2.0
// The helper, a process of its own as in lunfsd: what the guard and what the worker may ask it for.
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "dlm/fence.h"
#include "fs/base/check.h"
#include "fs/base/log.h"
#include "fs/fuse_mount.h"
#include "fs/guard_helper.h"
#include "fs/mount_options.h"

enum { ANSWER_TENTHS = 300 };

static struct world {
    char folder[32], mount[64], command[64], notes[64];
    struct mount_options options;
    struct log log;
    int guard, worker; // our ends
    pid_t helper;
} world;

static void write_script(const char *path, const char *script)
{
    int descriptor = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0755);
    assert_true(descriptor >= 0);
    assert_int_equal(write(descriptor, script, strlen(script)), (ssize_t)strlen(script));
    close(descriptor);
}

static void start_helper(void)
{
    int guard[2], worker[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, guard), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, worker), 0);
    world.helper = fork();
    CHECK(world.helper >= 0);
    if (world.helper == 0) {
        close(guard[0]);
        close(worker[0]);
        guard_helper_run(&(struct guard_helper_config){
            .options = &world.options,
            .device = "lun",
            .directory = world.mount,
            .log = &world.log,
            .guard_socket = guard[1],
            .worker_socket = worker[1],
        });
        _exit(0);
    }
    close(guard[1]);
    close(worker[1]);
    world.guard = guard[0];
    world.worker = worker[0];
}

static int setup(void **state)
{
    char script[256];
    (void)state;
    strcpy(world.folder, "/tmp/lunfs-unit-XXXXXX");
    assert_non_null(mkdtemp(world.folder));
    snprintf(world.mount, sizeof(world.mount), "%s/mount", world.folder);
    snprintf(world.command, sizeof(world.command), "%s/fence", world.folder);
    snprintf(world.notes, sizeof(world.notes), "%s/notes", world.folder);
    assert_int_equal(mkdir(world.mount, 0755), 0);
    // Says who is fenced and whether it may do anything; against "hang" it never ends.
    snprintf(script, sizeof(script),
             "#!/bin/sh\ngrep -E 'NoNewPrivs|Seccomp:' /proc/$$/status > %s\n"
             "[ \"$1\" != hang ] || exec sleep infinity\nexit \"$2\"\n",
             world.notes);
    write_script(world.command, script);
    log_init_null(&world.log);
    mount_options_init(&world.options);
    snprintf(world.options.fence, sizeof(world.options.fence), "%s", world.command);
    start_helper();
    return 0;
}

// The guard's end is the helper's.
static int teardown(void **state)
{
    int status;
    (void)state;
    close(world.guard);
    close(world.worker);
    assert_int_equal(waitpid(world.helper, &status, 0), world.helper);
    assert_int_equal(status, 0);
    umount2(world.mount, MNT_DETACH);
    unlink(world.command);
    unlink(world.notes);
    assert_int_equal(rmdir(world.mount), 0);
    assert_int_equal(rmdir(world.folder), 0);
    return 0;
}

static void ask(int socket, enum guard_message_type type, const char *name, uint32_t node_id)
{
    struct guard_message message = {.type = type, .id = 7, .node_id = node_id};
    snprintf(message.name, sizeof(message.name), "%s", name);
    assert_int_equal(guard_message_send(socket, &message), 0);
}

static uint32_t fence_result(void)
{
    struct guard_message message;
    int got = 0;
    for (unsigned tenth = 0; tenth < ANSWER_TENTHS && got == 0; tenth++) {
        got = guard_message_receive(world.guard, &message);
        if (got == 0)
            usleep(100000);
    }
    assert_int_equal(got, 1);
    assert_int_equal(message.type, GUARD_FENCE_RESULT);
    assert_int_equal(message.id, 7);
    return message.status;
}

static bool is_mounted(void)
{
    return fuse_mount_is_lunfs(world.mount, NULL, 0);
}

// --- fences --------------------------------------------------------------------------------------

static void test_guard_has_a_node_fenced(void **state)
{
    (void)state;
    ask(world.guard, GUARD_FENCE_RUN, "n3", 0);
    assert_int_equal(fence_result(), 0);
    ask(world.guard, GUARD_FENCE_RUN, "n3", 3);
    assert_int_equal(fence_result(), 3);
}

// A command may need any right: nothing of what guard and worker gave up is missing.
static void test_command_is_free(void **state)
{
    char found[128] = "";
    (void)state;
    ask(world.guard, GUARD_FENCE_RUN, "n3", 0);
    assert_int_equal(fence_result(), 0);
    int notes = open(world.notes, O_RDONLY | O_CLOEXEC);
    assert_true(read(notes, found, sizeof(found) - 1) > 0);
    close(notes);
    assert_non_null(strstr(found, "NoNewPrivs:\t0"));
    assert_non_null(strstr(found, "Seccomp:\t0"));
}

// A name comes over the network, from corosync's list: it is an argument, and stays one.
static void test_name_is_no_option(void **state)
{
    (void)state;
    ask(world.guard, GUARD_FENCE_RUN, "--off", 0);
    assert_int_not_equal(fence_result(), 0);
    ask(world.guard, GUARD_FENCE_RUN, "n3\n", 0);
    assert_int_not_equal(fence_result(), 0);
    assert_int_not_equal(access(world.notes, F_OK), 0);
}

// Only the guard's word counts; a mount that is asked for afterwards shows that this was heard.
static void test_worker_cannot_fence(void **state)
{
    int descriptor;
    uint32_t connection;
    (void)state;
    ask(world.worker, GUARD_FENCE_RUN, "n3", 0);
    assert_int_equal(guard_helper_mount(world.worker, &descriptor, &connection), 0);
    assert_int_not_equal(access(world.notes, F_OK), 0);
    close(descriptor);
}

static void test_end_takes_commands_along(void **state)
{
    (void)state;
    ask(world.guard, GUARD_FENCE_RUN, "hang", 0);
    while (access(world.notes, F_OK) != 0)
        usleep(10000);
    // teardown waits for the helper, and the pipes of a command that lived on would hold up the
    // part
}

// --- the mount -----------------------------------------------------------------------------------

static void test_worker_gets_the_mount_once(void **state)
{
    int descriptor = -1, other;
    uint32_t connection = 0;
    (void)state;
    assert_int_equal(guard_helper_mount(world.worker, &descriptor, &connection), 0);
    assert_true(is_mounted());
    assert_true(descriptor >= 0 && connection != 0);
    assert_int_equal(fcntl(descriptor, F_GETFD), FD_CLOEXEC);
    assert_int_equal(guard_helper_mount(world.worker, &other, &connection), -EBUSY);
    close(descriptor);
}

static void wait_until_unmounted(void)
{
    for (unsigned tenth = 0; tenth < ANSWER_TENTHS && is_mounted(); tenth++)
        usleep(100000);
    assert_false(is_mounted());
}

static void test_guard_unmounts(void **state)
{
    int descriptor;
    uint32_t connection;
    (void)state;
    assert_int_equal(guard_helper_mount(world.worker, &descriptor, &connection), 0);
    ask(world.guard, GUARD_UNMOUNT, "", 0);
    wait_until_unmounted();
    close(descriptor);
}

static void test_worker_takes_its_mount_back(void **state)
{
    int descriptor;
    uint32_t connection;
    (void)state;
    assert_int_equal(guard_helper_mount(world.worker, &descriptor, &connection), 0);
    close(descriptor);
    guard_helper_unmount(world.worker);
    wait_until_unmounted();
}

static void test_mount_says_why_not(void **state)
{
    int descriptor;
    uint32_t connection;
    (void)state;
    assert_int_equal(rmdir(world.mount), 0);
    assert_int_equal(guard_helper_mount(world.worker, &descriptor, &connection), -ENOENT);
    assert_int_equal(mkdir(world.mount, 0755), 0);
}

// The mount of a worker that dies is the guard's and the administrator's to see to.
static void test_helper_outlives_the_worker(void **state)
{
    (void)state;
    close(world.worker);
    ask(world.guard, GUARD_FENCE_RUN, "n3", 0);
    assert_int_equal(fence_result(), 0);
    world.worker = dup(world.guard); // for teardown
}

static void test_worker_outlives_the_helper(void **state)
{
    int descriptor;
    uint32_t connection;
    (void)state;
    assert_int_equal(kill(world.helper, SIGKILL), 0);
    assert_int_equal(waitpid(world.helper, NULL, 0), world.helper);
    assert_int_equal(guard_helper_mount(world.worker, &descriptor, &connection), -EPIPE);
    close(world.guard);
    close(world.worker);
    start_helper(); // for teardown
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_guard_has_a_node_fenced),
        TEST(test_command_is_free),
        TEST(test_name_is_no_option),
        TEST(test_worker_cannot_fence),
        TEST(test_end_takes_commands_along),
        TEST(test_worker_gets_the_mount_once),
        TEST(test_guard_unmounts),
        TEST(test_worker_takes_its_mount_back),
        TEST(test_mount_says_why_not),
        TEST(test_helper_outlives_the_worker),
        TEST(test_worker_outlives_the_helper),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
