// SPDX-License-Identifier: Apache-2.0
#include "fs/guard_processes.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fs/base/log.h"
#include "fs/base/sanitizer.h"
#include "fs/guard.h"
#include "fs/guard_helper.h"
#include "fs/log_daemon.h"
#include "fs/startup.h"

// The ends that the children get, and what of the guard's they must let go of.
struct ends {
    int worker_guard, worker_helper, worker_report;
    int helper_guard, helper_worker;
    int watchdog;
};

// --- what a child is like --------------------------------------------------------------------

// A core dump would hold the worker's I/O up for seconds and put the users' data into a file.
static void forbid_core_dumps(const struct mount_options *options)
{
    struct rlimit none = {0, 0};
    if (options->debug)
        return;
    setrlimit(RLIMIT_CORE, &none);
    prctl(PR_SET_DUMPABLE, 0);
}

// Signals are the guard's: a terminal sends them to all.
static void ignore_signals(void)
{
    sigset_t none;
    signal(SIGINT, SIG_IGN);
    signal(SIGTERM, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

static void close_all(const int *descriptors, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (descriptors[i] >= 0)
            close(descriptors[i]);
    }
}

// Above all the guard's description of the LUN: its lock must be nobody else's.
static void close_the_guards(const struct guard_processes *processes,
                             const struct guard_config *config, const struct ends *ends)
{
    const int of_the_guard[] = {processes->worker_socket,
                                processes->helper_socket,
                                processes->report,
                                processes->signals,
                                processes->lun,
                                config->run_lock,
                                config->parent_descriptor,
                                ends->watchdog};
    close_all(of_the_guard, sizeof(of_the_guard) / sizeof(of_the_guard[0]));
}

static void become_child(const struct guard_config *config, pid_t guard, const char *name)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != guard)
        _exit(MOUNT_EXIT_SYSTEM); // the guard died before that
    prctl(PR_SET_NAME, name);
    ignore_signals();
    forbid_core_dumps(config->options);
    // No process of ours may wait for memory that only it can help to free.
    if (mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) != 0)
        log_warning(log_daemon_log(config->log), "memory is not locked: %s", strerror(errno));
}

// --- the children ----------------------------------------------------------------------------

static _Noreturn void become_helper(const struct guard_processes *processes,
                                    const struct guard_config *config, const struct ends *ends)
{
    const int of_the_worker[] = {ends->worker_guard, ends->worker_helper, ends->worker_report};
    close_the_guards(processes, config, ends);
    close_all(of_the_worker, sizeof(of_the_worker) / sizeof(of_the_worker[0]));
    guard_helper_run(&(struct guard_helper_config){
        .options = config->options,
        .device = config->device->path,
        .directory = config->directory,
        .log = log_daemon_log(config->log),
        .guard_socket = ends->helper_guard,
        .worker_socket = ends->helper_worker,
    });
    _exit(0);
}

// Before its first thread, so that all of them are confined, and before it reads anything that
// others wrote.
static int confine_worker(const struct guard_processes *processes,
                          const struct guard_config *config, int report)
{
    int result = sandbox_enter(SANDBOX_WORKER, config->options->port,
                               &processes->page->refused[SANDBOX_WORKER]);
    if (result != 0)
        startup_send(report, MOUNT_EXIT_SYSTEM, "the worker cannot be confined: %s",
                     strerror(-result));
    return result;
}

static _Noreturn void become_worker(const struct guard_processes *processes,
                                    const struct guard_config *config, const struct ends *ends)
{
    close_the_guards(processes, config, ends);
    close(ends->helper_guard);
    close(ends->helper_worker);
    if (confine_worker(processes, config, ends->worker_report) != 0)
        _exit(MOUNT_EXIT_SYSTEM);
    struct worker_context context = {
        .options = config->options,
        .device = config->device,
        .directory = config->directory,
        .page = processes->page,
        .log = config->log,
        .guard_socket = ends->worker_guard,
        .helper_socket = ends->worker_helper,
        .report_descriptor = ends->worker_report,
    };
    int exit_code = config->worker_run(&context);
    fflush(NULL);
    sanitizer_check_leaks();
    _exit(exit_code);
}

// --- what they share -------------------------------------------------------------------------

static int open_signals(void)
{
    sigset_t handled;
    sigemptyset(&handled);
    sigaddset(&handled, SIGTERM);
    sigaddset(&handled, SIGINT);
    sigaddset(&handled, SIGHUP);
    sigaddset(&handled, SIGCHLD);
    sigprocmask(SIG_BLOCK, &handled, NULL);
    int descriptor = signalfd(-1, &handled, SFD_CLOEXEC | SFD_NONBLOCK);
    return descriptor < 0 ? -errno : descriptor;
}

static int make_pair(int flags, int *one, int *other)
{
    int sockets[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | flags, 0, sockets) != 0)
        return -errno;
    *one = sockets[0];
    *other = sockets[1];
    return 0;
}

static int make_ends(struct guard_processes *processes, struct ends *ends)
{
    int report[2];
    int result = make_pair(SOCK_NONBLOCK, &processes->worker_socket, &ends->worker_guard);
    if (result == 0)
        result = make_pair(SOCK_NONBLOCK, &processes->helper_socket, &ends->helper_guard);
    if (result == 0) // blocking: the worker waits for its mount
        result = make_pair(0, &ends->helper_worker, &ends->worker_helper);
    if (result == 0 && pipe2(report, O_CLOEXEC) != 0)
        result = -errno;
    if (result != 0)
        return result;
    processes->report = report[0];
    ends->worker_report = report[1];
    return 0;
}

static int make_page(struct guard_page **page)
{
    *page = mmap(NULL, sizeof(**page), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (*page == MAP_FAILED)
        return -ENOMEM;
    gate_init(&(*page)->gate);
    return 0;
}

static int prepare(struct guard_processes *processes, const struct guard_config *config,
                   struct ends *ends)
{
    int result = make_page(&processes->page);
    if (result == 0)
        result = make_ends(processes, ends);
    if (result != 0)
        return result;
    processes->signals = open_signals();
    processes->lun = open(config->device->path, O_RDWR | O_CLOEXEC);
    return processes->signals < 0 ? processes->signals : 0;
}

static pid_t start(const struct guard_processes *processes, const struct guard_config *config,
                   const struct ends *ends, const char *name,
                   void (*become)(const struct guard_processes *processes,
                                  const struct guard_config *config, const struct ends *ends))
{
    pid_t guard = getpid();
    pid_t child = fork();
    if (child != 0)
        return child < 0 ? -errno : child;
    become_child(config, guard, name);
    become(processes, config, ends);
    abort(); // it does not return
}

int guard_processes_start(struct guard_processes *processes, const struct guard_config *config,
                          int watchdog)
{
    struct ends ends = {.watchdog = watchdog};
    *processes = (struct guard_processes){.worker_descriptor = -1,
                                          .worker_socket = -1,
                                          .helper_socket = -1,
                                          .report = -1,
                                          .signals = -1,
                                          .lun = -1};
    int result = prepare(processes, config, &ends);
    if (result != 0)
        return result;
    processes->helper = start(processes, config, &ends, "lunfsd-helper", become_helper);
    if (processes->helper < 0)
        return processes->helper;
    processes->worker = start(processes, config, &ends, "lunfsd-worker", become_worker);
    if (processes->worker < 0)
        return processes->worker;
    const int of_the_children[] = {ends.worker_guard, ends.worker_helper, ends.worker_report,
                                   ends.helper_guard, ends.helper_worker};
    close_all(of_the_children, sizeof(of_the_children) / sizeof(of_the_children[0]));
    processes->worker_descriptor = pidfd_open(processes->worker, 0);
    return processes->worker_descriptor < 0 ? -errno : 0;
}
