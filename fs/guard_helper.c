// SPDX-License-Identifier: Apache-2.0
#include "fs/guard_helper.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "dlm/fence.h"
#include "fs/base/error.h"
#include "fs/base/log.h"
#include "fs/fuse_mount.h"
#include "fs/guard_commands.h"
#include "fs/mount_options.h"

enum { LOOK_AGAIN_MS = 60000 };

struct helper {
    const struct guard_helper_config *config;
    struct guard_commands commands;
    int signals;
    int worker;      // the worker's socket; -1: gone
    pid_t unmounter; // 0: none runs
    bool has_mounted;
    bool is_over; // the guard is gone
};

static uint64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_BOOTTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

// --- a descriptor beside a message -----------------------------------------------------------

union control {
    char bytes[CMSG_SPACE(sizeof(int))];
    struct cmsghdr aligned;
};

// One byte that carries it; the message itself follows.
static int send_descriptor(int socket, int descriptor)
{
    char byte = 0;
    union control control = {0};
    struct iovec vector = {.iov_base = &byte, .iov_len = 1};
    struct msghdr header = {.msg_iov = &vector,
                            .msg_iovlen = 1,
                            .msg_control = &control,
                            .msg_controllen = sizeof(control)};
    struct cmsghdr *rights = CMSG_FIRSTHDR(&header);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(rights), &descriptor, sizeof(int));
    return sendmsg(socket, &header, MSG_NOSIGNAL) == 1 ? 0 : -errno;
}

static int receive_descriptor(int socket, int *descriptor)
{
    char byte;
    union control control = {0};
    struct iovec vector = {.iov_base = &byte, .iov_len = 1};
    struct msghdr header = {.msg_iov = &vector,
                            .msg_iovlen = 1,
                            .msg_control = &control,
                            .msg_controllen = sizeof(control)};
    ssize_t got = recvmsg(socket, &header, MSG_CMSG_CLOEXEC);
    if (got <= 0)
        return got == 0 ? -EPIPE : -errno;
    struct cmsghdr *rights = CMSG_FIRSTHDR(&header);
    if (rights == NULL || rights->cmsg_level != SOL_SOCKET || rights->cmsg_type != SCM_RIGHTS)
        return -ERROR_MESSAGE_FIELD;
    memcpy(descriptor, CMSG_DATA(rights), sizeof(int));
    return 0;
}

// --- children --------------------------------------------------------------------------------

static int detach(const struct guard_helper_config *config)
{
    bool was_busy;
    int result = fuse_mount_detach(config->directory, &was_busy);
    if (result != 0)
        log_error(config->log, 0, "unmounting failed: %s", strerror(-result));
    else if (was_busy)
        log_warning(config->log, "in use: gone from the directory tree now, and left when the last "
                                 "open file is closed");
    return result;
}

// The unmount may wait for the file system.
static void unmount(struct helper *helper)
{
    if (helper->unmounter != 0)
        return;
    pid_t child = fork();
    if (child == 0)
        _exit(detach(helper->config) == 0 ? 0 : 1);
    if (child > 0)
        helper->unmounter = child;
    else
        log_error(helper->config->log, 0, "unmounting: %s", strerror(errno));
}

static void abort_mount(struct helper *helper, uint32_t connection)
{
    pid_t child = fork();
    if (child > 0)
        return;
    // Without a child it is done here: better late than never.
    bool is_done = fuse_mount_abort(connection, helper->config->directory) == 0;
    if (!is_done)
        log_error(helper->config->log, 0, "FUSE connection %u could not be aborted", connection);
    if (child == 0)
        _exit(is_done ? 0 : 1);
}

static void reap(struct helper *helper)
{
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        if (pid == helper->unmounter)
            helper->unmounter = 0;
        else
            guard_commands_reaped(&helper->commands, pid, status, helper->config->guard_socket);
    }
}

static void hear_signals(struct helper *helper)
{
    struct signalfd_siginfo signal;
    while (read(helper->signals, &signal, sizeof(signal)) == (ssize_t)sizeof(signal))
        reap(helper);
}

// --- what it is asked for --------------------------------------------------------------------

static void forget_worker(struct helper *helper)
{
    close(helper->worker);
    helper->worker = -1;
}

static int answer_mount(struct helper *helper, int result, uint32_t connection)
{
    struct guard_message answer = {
        .type = GUARD_MOUNT, .status = (uint32_t)-result, .id = connection};
    return guard_message_send(helper->worker, &answer);
}

// Once: a worker that asks again wants what it has no business with.
static void mount_once(struct helper *helper)
{
    const struct guard_helper_config *config = helper->config;
    uint32_t connection = 0;
    int descriptor;
    int result = -EBUSY;
    if (!helper->has_mounted)
        result = fuse_mount_attach(config->device, config->directory, config->options->mount_flags,
                                   &descriptor, &connection);
    int told = answer_mount(helper, result, connection);
    if (result != 0)
        return;
    helper->has_mounted = true;
    if (told == 0)
        told = send_descriptor(helper->worker, descriptor);
    close(descriptor);
    if (told == 0)
        return;
    unmount(helper); // nobody will ever serve it
    forget_worker(helper);
}

static void hear_guard(struct helper *helper)
{
    const struct guard_helper_config *config = helper->config;
    struct guard_message message;
    int got;
    while ((got = guard_message_receive(config->guard_socket, &message)) > 0) {
        if (message.type == GUARD_FENCE_RUN)
            guard_commands_fence(&helper->commands, config->options->fence, &message, now_ms(),
                                 config->guard_socket);
        else if (message.type == GUARD_UNMOUNT)
            unmount(helper);
        else if (message.type == GUARD_ABORT_MOUNT)
            abort_mount(helper, message.id);
    }
    helper->is_over = got < 0;
}

static void hear_worker(struct helper *helper)
{
    struct guard_message message;
    int got;
    got = guard_message_receive(helper->worker, &message);
    if (got < 0)
        forget_worker(helper);
    else if (got > 0 && message.type == GUARD_MOUNT)
        mount_once(helper);
    else if (got > 0 && message.type == GUARD_UNMOUNT && helper->has_mounted)
        unmount(helper);
}

// --- its life --------------------------------------------------------------------------------

static int open_signals(void)
{
    sigset_t children;
    sigemptyset(&children);
    sigaddset(&children, SIGCHLD);
    sigprocmask(SIG_SETMASK, &children, NULL);
    return signalfd(-1, &children, SFD_CLOEXEC | SFD_NONBLOCK);
}

static void wait_for_news(struct helper *helper)
{
    uint32_t wait_ms = guard_commands_expire(&helper->commands, now_ms(), LOOK_AGAIN_MS);
    struct pollfd news[] = {
        {.fd = helper->config->guard_socket, .events = POLLIN},
        {.fd = helper->worker, .events = POLLIN},
        {.fd = helper->signals, .events = POLLIN},
    };
    if (poll(news, sizeof(news) / sizeof(news[0]), (int)wait_ms) <= 0)
        return;
    if (news[0].revents != 0)
        hear_guard(helper);
    if (news[1].revents != 0)
        hear_worker(helper);
    if (news[2].revents != 0)
        hear_signals(helper);
}

void guard_helper_run(const struct guard_helper_config *config)
{
    struct helper helper = {.config = config, .worker = config->worker_socket};
    guard_commands_init(&helper.commands, config->log);
    helper.signals = open_signals();
    if (helper.signals < 0)
        return;
    while (!helper.is_over)
        wait_for_news(&helper);
    guard_commands_end(&helper.commands);
    close(helper.signals);
}

// --- asking it -------------------------------------------------------------------------------

static int wait_for_answer(int socket, struct guard_message *answer)
{
    struct pollfd news = {.fd = socket, .events = POLLIN};
    int got;
    while ((got = guard_message_receive(socket, answer)) == 0)
        poll(&news, 1, -1);
    return got < 0 ? got : answer->type == GUARD_MOUNT ? 0 : -ERROR_MESSAGE_FIELD;
}

int guard_helper_mount(int socket, int *descriptor, uint32_t *connection)
{
    struct guard_message message = {.type = GUARD_MOUNT};
    int result = guard_message_send(socket, &message);
    if (result == 0)
        result = wait_for_answer(socket, &message);
    if (result == 0)
        result = -(int)message.status;
    if (result != 0)
        return result;
    *connection = message.id;
    return receive_descriptor(socket, descriptor);
}

void guard_helper_unmount(int socket)
{
    struct guard_message message = {.type = GUARD_UNMOUNT};
    guard_message_send(socket, &message);
}
