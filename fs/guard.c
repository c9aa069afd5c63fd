// SPDX-License-Identifier: Apache-2.0
// The guard's loop: looks, asks guard_rules what to do, does it. One thread, no LUN I/O, nothing
// that blocks: it must get its turn before the worker's lease ends.
#include "fs/guard.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "dlm/fence.h"
#include "dlm/membership_corosync.h"
#include "fs/base/check.h"
#include "fs/base/error.h"
#include "fs/fuse_mount.h"
#include "fs/guard_commands.h"
#include "fs/guard_rules.h"
#include "fs/guard_watchdog.h"
#include "fs/log_daemon.h"
#include "fs/startup.h"

enum {
    COROSYNC_RETRY_MS = 1000,
    // After the worker's end: how long corosync may be away until the guard gives up telling.
    ANNOUNCE_PATIENCE_MS = 60000,
    DRAIN_WARNING_MS = 10000,
};

struct guard {
    const struct guard_config *config;
    struct log *log;
    struct guard_page *page;
    pid_t worker, unmounter; // unmounter: 0 when none runs
    int worker_descriptor;   // pidfd
    int socket, signals, report;
    int lun; // a description of its own, for the lock alone; -1: none
    struct corosync_guard *corosync;
    uint64_t corosync_retry_ms;
    struct guard_commands commands;
    struct guard_watchdog watchdog;
    struct guard_rules rules;
    int worker_status; // waitpid's, once gone
    uint64_t gone_at_ms;
    bool worker_gone, worker_hung, has_reported, is_live, has_slot, has_left, got_lock, announced;
    bool drain_warned;
    uint32_t slot;
    uint64_t incarnation;
};

static uint64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_BOOTTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

// --- the worker's start ----------------------------------------------------------------------

// A core dump would hold the worker's I/O up for seconds and put the users' data into a file.
static void forbid_core_dumps(const struct mount_options *options)
{
    struct rlimit none = {0, 0};
    if (options->debug)
        return;
    setrlimit(RLIMIT_CORE, &none);
    prctl(PR_SET_DUMPABLE, 0);
}

// Signals are the guard's: a terminal sends them to both.
static void ignore_signals(void)
{
    sigset_t none;
    signal(SIGINT, SIG_IGN);
    signal(SIGTERM, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

// Neither process may wait for memory that only it can help to free.
static void lock_memory(struct guard *guard)
{
    if (mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) != 0)
        log_warning(guard->log, "memory is not locked: %s", strerror(errno));
}

static _Noreturn void become_worker(struct guard *guard, pid_t guard_pid, int socket, int report)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != guard_pid)
        _exit(MOUNT_EXIT_SYSTEM); // the guard died before that
    prctl(PR_SET_NAME, "lunfsd-worker");
    ignore_signals();
    forbid_core_dumps(guard->config->options);
    // Above all the guard's description of the LUN: its lock must be nobody else's.
    const int of_the_guard[] = {guard->lun,
                                guard->signals,
                                guard->socket,
                                guard->report,
                                guard->config->run_lock,
                                guard->config->parent_descriptor,
                                guard->watchdog.descriptor};
    for (size_t i = 0; i < sizeof(of_the_guard) / sizeof(of_the_guard[0]); i++) {
        if (of_the_guard[i] >= 0)
            close(of_the_guard[i]);
    }
    lock_memory(guard);
    struct worker_context context = {
        .options = guard->config->options,
        .device = guard->config->device,
        .directory = guard->config->directory,
        .page = guard->page,
        .log = guard->config->log,
        .guard_socket = socket,
        .report_descriptor = report,
    };
    int exit_code = guard->config->worker_run(&context);
    fflush(NULL);
    _exit(exit_code);
}

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

// What worker and guard share. Nothing is undone on failure: the process ends then.
static int prepare(struct guard *guard, int *worker_socket, int *worker_report)
{
    int sockets[2], report[2];
    guard->page =
        mmap(NULL, sizeof(*guard->page), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (guard->page == MAP_FAILED)
        return -ENOMEM;
    gate_init(&guard->page->gate);
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, sockets) != 0 ||
        pipe2(report, O_CLOEXEC) != 0)
        return -errno;
    guard->socket = sockets[0];
    *worker_socket = sockets[1];
    guard->report = report[0];
    *worker_report = report[1];
    guard->signals = open_signals();
    // Without it (read-only device) there is no slot and nothing to prove.
    guard->lun = open(guard->config->device, O_RDWR | O_CLOEXEC);
    return guard->signals < 0 ? guard->signals : 0;
}

static int start_worker(struct guard *guard)
{
    int socket = -1, report = -1;
    int result = prepare(guard, &socket, &report);
    if (result != 0)
        return result;
    pid_t guard_pid = getpid();
    guard->worker = fork();
    if (guard->worker < 0)
        return -errno;
    if (guard->worker == 0)
        become_worker(guard, guard_pid, socket, report);
    close(socket);
    close(report);
    guard->worker_descriptor = pidfd_open(guard->worker, 0);
    return guard->worker_descriptor < 0 ? -errno : 0;
}

// The guard must get its turn on a busy machine too. Children do not inherit it.
static void raise_priority(struct guard *guard)
{
    struct sched_param lowest = {.sched_priority = 1};
    if (sched_setscheduler(0, SCHED_RR | SCHED_RESET_ON_FORK, &lowest) != 0)
        log_warning(guard->log, "the guard gets no real-time priority: %s", strerror(errno));
}

// --- what the guard hears --------------------------------------------------------------------

static void take_message(struct guard *guard, const struct guard_message *message)
{
    switch (message->type) {
    case GUARD_FENCE_RUN:
        guard_commands_fence(&guard->commands, guard->config->options->fence, message, now_ms(),
                             guard->socket);
        break;
    case GUARD_CORE_HUNG:
        guard->worker_hung = true;
        break;
    case GUARD_IDENTITY:
        guard->has_slot = true;
        guard->slot = message->slot;
        guard->incarnation = message->incarnation;
        break;
    case GUARD_LEFT:
        guard->has_left = true;
        break;
    case GUARD_FENCE_RESULT: // ours to send
        break;
    }
}

// What a worker said before it died still counts, so this is drained before its end is judged.
static void hear_worker(struct guard *guard)
{
    struct guard_message message;
    int got = 0;
    while (guard->socket >= 0 && (got = guard_message_receive(guard->socket, &message)) > 0)
        take_message(guard, &message);
    if (got >= 0)
        return;
    close(guard->socket);
    guard->socket = -1;
}

// The worker's report goes on to whoever waits for it.
static void hear_report(struct guard *guard)
{
    struct startup_report report;
    if (guard->report < 0)
        return;
    bool has_report = startup_receive(guard->report, &report);
    close(guard->report);
    guard->report = -1;
    if (!has_report)
        return;
    guard->has_reported = true;
    guard->is_live = report.exit_code == MOUNT_EXIT_OK;
    if (!guard->is_live)
        log_error(guard->log, 0, "not mounted: %s", report.sentence);
    else
        startup_notify_systemd("READY=1");
    startup_send(guard->config->parent_descriptor, report.exit_code, "%s", report.sentence);
}

static void worker_ended(struct guard *guard, int status)
{
    guard->worker_gone = true;
    guard->worker_status = status;
    guard->gone_at_ms = now_ms();
    hear_worker(guard);
    if (WIFSIGNALED(status))
        log_error(guard->log, 0, "the worker was killed by signal %d (%s)", WTERMSIG(status),
                  strsignal(WTERMSIG(status)));
    else
        log_debug(guard->log, "the worker ended with status %d", WEXITSTATUS(status));
}

static void reap(struct guard *guard)
{
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        if (pid == guard->worker)
            worker_ended(guard, status);
        else if (pid == guard->unmounter)
            guard->unmounter = 0;
        else
            guard_commands_reaped(&guard->commands, pid, status, guard->socket);
    }
}

// --- ending on request -----------------------------------------------------------------------

// In a child: the unmount may wait for the file system, and a guard waits for nothing.
static void unmount(struct guard *guard)
{
    if (guard->unmounter != 0)
        return;
    guard->unmounter = fork();
    if (guard->unmounter != 0) {
        if (guard->unmounter < 0)
            guard->unmounter = 0;
        return;
    }
    bool was_busy;
    int result = fuse_mount_detach(guard->config->directory, &was_busy);
    if (result != 0)
        log_error(guard->log, 0, "unmounting failed: %s", strerror(-result));
    else if (was_busy)
        log_warning(guard->log, "in use: gone from the directory tree now, and left when the last "
                                "open file is closed");
    _exit(result == 0 ? 0 : 1);
}

static void kill_worker(struct guard *guard)
{
    if (!guard->worker_gone && pidfd_send_signal(guard->worker_descriptor, SIGKILL, NULL, 0) != 0)
        log_error(guard->log, 0, "the worker could not be killed: %s", strerror(errno));
}

// A mount that is not live yet serves nobody: its worker is simply ended. With the worker gone
// there is only the proof of its drain to give up: the others will fence its slot.
static void end_on_request(struct guard *guard)
{
    log_notice(guard->log, "asked to end");
    if (guard->worker_gone)
        guard->rules.phase = GUARD_OVER;
    else if (guard->is_live)
        unmount(guard);
    else
        kill_worker(guard);
}

static void hear_signals(struct guard *guard)
{
    struct signalfd_siginfo signal;
    while (read(guard->signals, &signal, sizeof(signal)) == (ssize_t)sizeof(signal)) {
        if (signal.ssi_signo == SIGCHLD)
            reap(guard);
        else
            end_on_request(guard);
    }
}

// --- corosync --------------------------------------------------------------------------------

static void open_corosync(struct guard *guard)
{
    if (guard->config->format_id == NULL || guard->corosync != NULL ||
        now_ms() < guard->corosync_retry_ms)
        return;
    guard->corosync_retry_ms = now_ms() + COROSYNC_RETRY_MS;
    if (corosync_guard_open(guard->config->format_id, &guard->corosync) != 0)
        guard->corosync = NULL;
}

static void hear_corosync(struct guard *guard)
{
    if (guard->corosync == NULL || corosync_guard_dispatch(guard->corosync) == 0)
        return;
    corosync_guard_close(guard->corosync);
    guard->corosync = NULL;
}

// --- what the rules ask for ------------------------------------------------------------------

static void try_lock(struct guard *guard)
{
    int result = guard->lun < 0 ? -EBADF : guard_slot_lock(guard->lun, guard->slot);
    guard->got_lock = result == 0;
    if (guard->got_lock)
        log_notice(guard->log, "slot %u: the worker's I/O has drained, %llu ms after its end",
                   guard->slot, (unsigned long long)(now_ms() - guard->gone_at_ms));
    else if (!guard->drain_warned && now_ms() > guard->gone_at_ms + DRAIN_WARNING_MS) {
        guard->drain_warned = true;
        log_warning(guard->log, "slot %u: I/O of the worker is still in flight (%s)", guard->slot,
                    strerror(-result));
    }
}

static void announce(struct guard *guard)
{
    bool is_local = guard->config->format_id == NULL;
    if (guard->corosync != NULL &&
        corosync_guard_drained(guard->corosync, guard->slot, guard->incarnation) == 0) {
        guard->announced = true;
        log_notice(guard->log, "told the other nodes that slot %u has drained", guard->slot);
    } else if (is_local || now_ms() > guard->gone_at_ms + ANNOUNCE_PATIENCE_MS) {
        guard->announced = true;
    }
}

static void abort_connection(struct guard *guard)
{
    uint32_t connection = atomic_load(&guard->page->connection);
    log_error(guard->log, 0, "the killed worker does not exit: aborting FUSE connection %u",
              connection);
    if (connection != 0 && fuse_mount_abort(connection, guard->config->directory) != 0)
        log_error(guard->log, 0, "FUSE connection %u could not be aborted", connection);
}

static void act(struct guard *guard, enum guard_action action)
{
    switch (action) {
    case GUARD_KILL:
        log_error(guard->log, ERROR_LEASE_LOST, "the lease is about to end: killing the worker");
        kill_worker(guard);
        break;
    case GUARD_ABORT:
        abort_connection(guard);
        break;
    case GUARD_TRY_LOCK:
        try_lock(guard);
        break;
    case GUARD_ANNOUNCE:
        announce(guard);
        break;
    case GUARD_WAIT:
    case GUARD_END:
        break;
    }
}

// --- the loop --------------------------------------------------------------------------------

static struct guard_sight look(struct guard *guard)
{
    struct gate *gate = &guard->page->gate;
    return (struct guard_sight){
        .now_ms = now_ms(),
        .lease_until_ms = atomic_load(&gate->lease_until_ns) / 1000000,
        .lease_ms = guard->config->options->lease_ms,
        .has_ended = gate_has_ended(gate),
        .is_drained = atomic_load(&guard->page->is_drained),
        .is_hung = guard->worker_hung,
        .has_slot = guard->has_slot && guard->lun >= 0, // else it cannot be proved
        .has_left = guard->has_left,
        .worker_gone = guard->worker_gone,
        .got_lock = guard->got_lock,
        .announced = guard->announced,
    };
}

static void wait_for_news(struct guard *guard, uint32_t wait_ms)
{
    struct pollfd news[] = {
        {.fd = guard->signals, .events = POLLIN},
        {.fd = guard->socket, .events = POLLIN},
        {.fd = guard->report, .events = POLLIN},
        {.fd = guard->corosync != NULL ? corosync_guard_fd(guard->corosync) : -1, .events = POLLIN},
    };
    if (poll(news, sizeof(news) / sizeof(news[0]), (int)wait_ms) <= 0)
        return;
    if (news[1].revents != 0)
        hear_worker(guard);
    if (news[2].revents != 0)
        hear_report(guard);
    if (news[3].revents != 0)
        hear_corosync(guard);
    if (news[0].revents != 0)
        hear_signals(guard);
}

static void loop(struct guard *guard)
{
    for (;;) {
        open_corosync(guard);
        struct guard_sight sight = look(guard);
        struct guard_decision decision = guard_rules_step(&guard->rules, &sight);
        if (guard_rules_is_safe(&guard->rules, &sight))
            guard_watchdog_pet(&guard->watchdog, sight.now_ms);
        if (decision.action == GUARD_END)
            return;
        act(guard, decision.action);
        uint32_t wait_ms = guard_commands_expire(&guard->commands, sight.now_ms, decision.wait_ms);
        if (guard->watchdog.descriptor >= 0 && wait_ms > guard->watchdog.period_ms)
            wait_ms = guard->watchdog.period_ms;
        wait_for_news(guard, wait_ms);
    }
}

// What the waiting parent is told when the worker never said anything.
static void report_silent_end(struct guard *guard)
{
    hear_report(guard);
    if (!guard->has_reported)
        startup_send(guard->config->parent_descriptor, MOUNT_EXIT_FAILURE,
                     "lunfsd ended before the mount was live (see the log)");
}

// Whether the worker can have no write under way: else the watchdog is to do what it is for.
static bool is_proved(const struct guard *guard)
{
    return !guard->has_slot || guard->lun < 0 || guard->has_left || guard->got_lock;
}

static int exit_code(const struct guard *guard)
{
    if (WIFEXITED(guard->worker_status))
        return WEXITSTATUS(guard->worker_status);
    return MOUNT_EXIT_FAILURE;
}

static int start(struct guard *guard)
{
    const struct mount_options *options = guard->config->options;
    guard->watchdog.descriptor = -1;
    guard->worker_descriptor = guard->socket = guard->report = guard->signals = guard->lun = -1;
    guard_rules_init(&guard->rules);
    guard_commands_init(&guard->commands, guard->log);
    if (options->watchdog[0] != '\0') {
        int result = guard_watchdog_open(&guard->watchdog, options->watchdog, options->lease_ms);
        if (result != 0) {
            log_error(guard->log, 0, "%s: %s", options->watchdog, strerror(-result));
            return result;
        }
        if (guard->watchdog.keeps_timeout)
            log_warning(guard->log, "%s has a timeout of its own: it cannot be set to the lease",
                        options->watchdog);
    }
    return start_worker(guard);
}

int guard_run(const struct guard_config *config)
{
    struct guard guard = {.config = config, .log = log_daemon_log(config->log)};
    int result = start(&guard);
    if (result != 0) {
        startup_send(config->parent_descriptor, MOUNT_EXIT_SYSTEM, "the worker did not start: %s",
                     strerror(-result));
        guard_watchdog_close(&guard.watchdog, true);
        return MOUNT_EXIT_SYSTEM;
    }
    raise_priority(&guard);
    lock_memory(&guard);
    loop(&guard);
    report_silent_end(&guard);
    guard_commands_end(&guard.commands);
    guard_watchdog_close(&guard.watchdog, is_proved(&guard));
    if (guard.corosync != NULL)
        corosync_guard_close(guard.corosync);
    return exit_code(&guard);
}
