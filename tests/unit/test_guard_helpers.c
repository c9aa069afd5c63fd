// SPDX-License-Identifier: Apache-2.0
// What a guard does beside its rules: fence commands with their limits, the watchdog, the abort of
// a FUSE connection.
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
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
#include "fs/guard_commands.h"
#include "fs/guard_watchdog.h"

static void log_nothing(struct log *log, enum log_level level, int code, const char *line)
{
    (void)log, (void)level, (void)code, (void)line;
}

static struct log quiet = {.level_max = LOG_LEVEL_ERROR, .write = log_nothing};

// --- fence commands ----------------------------------------------------------------------------

struct guard_side {
    char command[64];
    int sockets[2]; // guard, worker
    struct guard_commands commands;
};

static void side_init(struct guard_side *side, const char *script)
{
    strcpy(side->command, "/tmp/lunfs-unit-XXXXXX");
    int descriptor = mkostemp(side->command, O_CLOEXEC);
    assert_true(descriptor >= 0);
    assert_int_equal(write(descriptor, script, strlen(script)), (ssize_t)strlen(script));
    assert_int_equal(fchmod(descriptor, 0755), 0);
    close(descriptor);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, side->sockets), 0);
    guard_commands_init(&side->commands, &quiet);
}

static void side_deinit(struct guard_side *side)
{
    close(side->sockets[0]);
    close(side->sockets[1]);
    unlink(side->command);
}

// As a guard stands: what it wants by signalfd is blocked, SIGPIPE is ignored.
static void start(struct guard_side *side, const char *command)
{
    struct guard_message request = {.type = GUARD_FENCE_RUN, .id = 7, .node_id = 3, .name = "n3"};
    sigset_t mine;
    sigemptyset(&mine);
    sigaddset(&mine, SIGTERM);
    sigaddset(&mine, SIGCHLD);
    sigprocmask(SIG_BLOCK, &mine, NULL);
    signal(SIGPIPE, SIG_IGN);
    guard_commands_fence(&side->commands, command, &request, 1000, side->sockets[0]);
}

static void reap(struct guard_side *side)
{
    int status;
    pid_t pid = waitpid(-1, &status, 0);
    assert_true(pid > 0);
    assert_true(guard_commands_reaped(&side->commands, pid, status, side->sockets[0]));
}

static uint32_t answered(struct guard_side *side)
{
    struct guard_message message;
    assert_int_equal(guard_message_receive(side->sockets[1], &message), 1);
    assert_int_equal(message.type, GUARD_FENCE_RESULT);
    assert_int_equal(message.id, 7);
    return message.status;
}

static void test_command_tells_its_status(void **state)
{
    struct guard_side side;
    (void)state;
    side_init(&side, "#!/bin/sh\n[ \"$1 $2 $LUNFS_NODE_NAME $LUNFS_NODE_ID\" = 'n3 3 n3 3' ]\n");
    start(&side, side.command);
    reap(&side);
    assert_int_equal(answered(&side), 0);
    side_deinit(&side);
}

static void test_command_that_cannot_start_has_failed(void **state)
{
    struct guard_side side;
    (void)state;
    side_init(&side, "");
    start(&side, "/nonexistent/fence");
    assert_int_not_equal(answered(&side), 0);
    side_deinit(&side);
}

// A command and its children hear signals that the guard blocks: here its own SIGTERM, which alone
// ends it.
static void test_command_hears_signals(void **state)
{
    struct guard_side side;
    (void)state;
    side_init(&side, "#!/bin/sh\nkill -TERM $$\nexec sleep infinity\n");
    start(&side, side.command);
    reap(&side);
    assert_int_equal(answered(&side), 255);
    side_deinit(&side);
}

static void test_command_that_hangs_is_killed(void **state)
{
    struct guard_side side;
    (void)state;
    side_init(&side, "#!/bin/sh\nsleep infinity & wait\n");
    start(&side, side.command);
    assert_int_equal(guard_commands_expire(&side.commands, 1001, 500000),
                     GUARD_FENCE_TIMEOUT_MS - 1);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), 0);
    guard_commands_expire(&side.commands, 1000 + GUARD_FENCE_TIMEOUT_MS, 500000);
    reap(&side);
    assert_int_equal(answered(&side), 255);
    side_deinit(&side);
}

static void test_end_leaves_no_command(void **state)
{
    struct guard_side side;
    (void)state;
    side_init(&side, "#!/bin/sh\nsleep infinity & wait\n");
    start(&side, side.command);
    guard_commands_end(&side.commands);
    reap(&side);
    side_deinit(&side);
}

// --- the watchdog --------------------------------------------------------------------------------

static void expect_bytes(const char *path, const char *bytes, size_t length)
{
    char found[16];
    int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    assert_int_equal(read(descriptor, found, sizeof(found)), (ssize_t)length);
    assert_memory_equal(found, bytes, length);
    close(descriptor);
}

// A file stands for the device: it notes each pet and the letter of a meant close.
static void test_watchdog(void **state)
{
    struct guard_watchdog watchdog;
    char path[] = "/tmp/lunfs-unit-XXXXXX";
    (void)state;
    close(mkostemp(path, O_CLOEXEC));
    assert_int_equal(guard_watchdog_open(&watchdog, path, 5000), 0);
    assert_true(watchdog.keeps_timeout);
    guard_watchdog_pet(&watchdog, 1000);
    guard_watchdog_pet(&watchdog, 1100); // too early
    guard_watchdog_pet(&watchdog, 2000);
    expect_bytes(path, "\0\0", 2);
    guard_watchdog_close(&watchdog, true);
    expect_bytes(path, "\0\0V", 3);
    assert_int_equal(guard_watchdog_open(&watchdog, path, 5000), 0);
    guard_watchdog_close(&watchdog, false);
    expect_bytes(path, "\0\0V", 3); // goes on, and resets the machine
    unlink(path);
}

// --- the abort of a connection ---------------------------------------------------------------

// A mount whose daemon reads nothing: its users wait for ever, until the abort.
static void test_abort_answers_who_waits(void **state)
{
    char directory[] = "/tmp/lunfs-unit-XXXXXX";
    int descriptor, status;
    uint32_t connection;
    bool was_busy;
    (void)state;
    // Where it is not mounted a forced unmount takes its place, and the idle mount away with it.
    if (access("/sys/fs/fuse/connections", F_OK) == 0)
        mount("lunfs-test", "/sys/fs/fuse/connections", "fusectl", 0, NULL);
    assert_non_null(mkdtemp(directory));
    assert_int_equal(fuse_mount_attach("lun", directory, MS_NOSUID, &descriptor, &connection), 0);
    pid_t user = fork();
    CHECK(user >= 0);
    if (user == 0) {
        struct stat found;
        alarm(60);
        close(descriptor);
        _exit(stat(directory, &found) == 0 ? 255 : errno);
    }
    assert_int_equal(fuse_mount_abort(connection, directory), 0);
    assert_int_equal(waitpid(user, &status, 0), user);
    assert_true(WIFEXITED(status));
    assert_true(WEXITSTATUS(status) == ECONNABORTED || WEXITSTATUS(status) == ENOTCONN);
    assert_int_equal(fuse_mount_detach(directory, &was_busy), 0);
    close(descriptor);
    assert_int_equal(rmdir(directory), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_command_tells_its_status),
        cmocka_unit_test(test_command_that_cannot_start_has_failed),
        cmocka_unit_test(test_command_hears_signals),
        cmocka_unit_test(test_command_that_hangs_is_killed),
        cmocka_unit_test(test_end_leaves_no_command),
        cmocka_unit_test(test_watchdog),
        cmocka_unit_test(test_abort_answers_who_waits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
