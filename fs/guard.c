// SPDX-License-Identifier: Apache-2.0
// The guard's loop: looks, asks guard_rules what to do, does it. One thread, no LUN I/O, nothing
// that blocks: it must get its turn before the worker's lease ends.
#include "fs/guard.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "dlm/fence.h"
#include "dlm/membership_corosync.h"
#include "fs/base/check.h"
#include "fs/base/error.h"
#include "fs/guard_commands.h"
#include "fs/guard_processes.h"
#include "fs/guard_rules.h"
#include "fs/guard_watchdog.h"
#include "fs/log_daemon.h"
#include "fs/sandbox.h"
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
    struct guard_processes processes;
    struct corosync_guard *corosync;
    uint64_t corosync_retry_ms;
    uint32_t fences[GUARD_COMMANDS_MAX]; // ids of what the helper runs for the worker
    unsigned fence_count;
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

// --- what it is like -------------------------------------------------------------------------

// The guard must get its turn on a busy machine too, and never wait for memory that only its mount
// can help to free.
static void become_important(struct guard *guard)
{
    struct sched_param lowest = {.sched_priority = 1};
    if (sched_setscheduler(0, SCHED_RR, &lowest) != 0)
        log_warning(guard->log, "the guard gets no real-time priority: %s", strerror(errno));
    if (mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) != 0)
        log_warning(guard->log, "memory is not locked: %s", strerror(errno));
}

static void confine(struct guard *guard)
{
    int result = sandbox_enter(SANDBOX_GUARD, 0, &guard->page->refused[SANDBOX_GUARD]);
    if (result != 0)
        log_warning(guard->log, "the guard cannot be confined: %s", strerror(-result));
}

// What a process asked the kernel for and may not: either an intruder is at work, or a library does
// what none did when fs/sandbox_calls.def was written.
static void tell_refused(struct guard *guard)
{
    static const char *const names[] = {[SANDBOX_GUARD] = "guard", [SANDBOX_WORKER] = "worker"};
    char call[SANDBOX_CALL_BYTES];
    for (int process = 0; process < SANDBOX_PROCESSES; process++) {
        while (sandbox_next_refused(&guard->page->refused[process], call))
            log_error(guard->log, 0, "the %s asked the kernel for %s, which it may not: refused",
                      names[process], call);
    }
}

// --- what the guard hears --------------------------------------------------------------------

static void answer_fence(struct guard *guard, uint32_t id, uint32_t status)
{
    struct guard_message answer = {.type = GUARD_FENCE_RESULT, .id = id, .status = status};
    int result = guard_message_send(guard->processes.worker_socket, &answer);
    if (result != 0)
        log_warning(guard->log, "the result of a fence command could not be told: %s",
                    strerror(-result));
}

// The command runs beside the guard, which waits for nothing.
static void pass_on_fence(struct guard *guard, const struct guard_message *message)
{
    bool is_taken = guard->fence_count < GUARD_COMMANDS_MAX &&
                    guard_message_send(guard->processes.helper_socket, message) == 0;
    if (is_taken)
        guard->fences[guard->fence_count++] = message->id;
    else
        answer_fence(guard, message->id, FENCE_STATUS_UNKNOWN);
}

static void fence_ended(struct guard *guard, uint32_t id, uint32_t status)
{
    for (unsigned i = 0; i < guard->fence_count; i++) {
        if (guard->fences[i] != id)
            continue;
        guard->fences[i] = guard->fences[--guard->fence_count];
        answer_fence(guard, id, status);
        return;
    }
}

static void take_message(struct guard *guard, const struct guard_message *message)
{
    switch (message->type) {
    case GUARD_FENCE_RUN:
        pass_on_fence(guard, message);
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
    case GUARD_FENCE_RESULT: // the guard's and the helper's to say
    case GUARD_MOUNT:
    case GUARD_UNMOUNT:
    case GUARD_ABORT_MOUNT:
        break;
    }
}

// What a worker said before it died still counts, so this is drained before its end is judged.
static void hear_worker(struct guard *guard)
{
    struct guard_message message;
    int *socket = &guard->processes.worker_socket;
    int got = 0;
    while (*socket >= 0 && (got = guard_message_receive(*socket, &message)) > 0)
        take_message(guard, &message);
    if (got >= 0)
        return;
    close(*socket);
    *socket = -1;
}

// Without it the mount goes on; others are fenced by their leases alone.
static void hear_helper(struct guard *guard)
{
    struct guard_message message;
    int *socket = &guard->processes.helper_socket;
    int got = 0;
    while (*socket >= 0 && (got = guard_message_receive(*socket, &message)) > 0) {
        if (message.type == GUARD_FENCE_RESULT)
            fence_ended(guard, message.id, message.status);
    }
    if (got >= 0)
        return;
    log_error(guard->log, 0, "the helper has ended: no fence command can be run any more");
    close(*socket);
    *socket = -1;
    while (guard->fence_count > 0)
        fence_ended(guard, guard->fences[0], FENCE_STATUS_UNKNOWN);
}

static void tell_helper(struct guard *guard, enum guard_message_type type, uint32_t id)
{
    struct guard_message message = {.type = type, .id = id};
    int result = guard_message_send(guard->processes.helper_socket, &message);
    if (result != 0)
        log_error(guard->log, 0, "the helper cannot be asked: %s", strerror(-result));
}

// The worker's report goes on to whoever waits for it.
static void hear_report(struct guard *guard)
{
    struct startup_report report;
    if (guard->processes.report < 0)
        return;
    bool has_report = startup_receive(guard->processes.report, &report);
    close(guard->processes.report);
    guard->processes.report = -1;
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
        if (pid == guard->processes.worker)
            worker_ended(guard, status);
    }
}

// --- ending on request -----------------------------------------------------------------------

static void kill_worker(struct guard *guard)
{
    if (!guard->worker_gone &&
        pidfd_send_signal(guard->processes.worker_descriptor, SIGKILL, NULL, 0) != 0)
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
        tell_helper(guard, GUARD_UNMOUNT, 0);
    else
        kill_worker(guard);
}

static void hear_signals(struct guard *guard)
{
    struct signalfd_siginfo signal;
    while (read(guard->processes.signals, &signal, sizeof(signal)) == (ssize_t)sizeof(signal)) {
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
    int result =
        guard->processes.lun < 0 ? -EBADF : guard_slot_lock(guard->processes.lun, guard->slot);
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
    if (connection != 0)
        tell_helper(guard, GUARD_ABORT_MOUNT, connection);
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
        .has_slot = guard->has_slot && guard->processes.lun >= 0, // else it cannot be proved
        .has_left = guard->has_left,
        .worker_gone = guard->worker_gone,
        .got_lock = guard->got_lock,
        .announced = guard->announced,
    };
}

static void wait_for_news(struct guard *guard, uint32_t wait_ms)
{
    struct pollfd news[] = {
        {.fd = guard->processes.signals, .events = POLLIN},
        {.fd = guard->processes.worker_socket, .events = POLLIN},
        {.fd = guard->processes.report, .events = POLLIN},
        {.fd = guard->processes.helper_socket, .events = POLLIN},
        {.fd = guard->corosync != NULL ? corosync_guard_fd(guard->corosync) : -1, .events = POLLIN},
    };
    if (poll(news, sizeof(news) / sizeof(news[0]), (int)wait_ms) <= 0)
        return;
    if (news[1].revents != 0)
        hear_worker(guard);
    if (news[2].revents != 0)
        hear_report(guard);
    if (news[3].revents != 0)
        hear_helper(guard);
    if (news[4].revents != 0)
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
        tell_refused(guard);
        uint32_t wait_ms = decision.wait_ms;
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
    return !guard->has_slot || guard->processes.lun < 0 || guard->has_left || guard->got_lock;
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
    guard_rules_init(&guard->rules);
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
    int result =
        guard_processes_start(&guard->processes, guard->config, guard->watchdog.descriptor);
    guard->page = guard->processes.page;
    return result;
}

// The helper ends when nobody can ask it any more, and takes its commands with it.
static void end_helper(struct guard *guard)
{
    if (guard->processes.helper_socket >= 0)
        close(guard->processes.helper_socket);
    waitpid(guard->processes.helper, NULL, 0);
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
    become_important(&guard);
    confine(&guard);
    loop(&guard);
    tell_refused(&guard);
    report_silent_end(&guard);
    end_helper(&guard);
    guard_watchdog_close(&guard.watchdog, is_proved(&guard));
    if (guard.corosync != NULL)
        corosync_guard_close(guard.corosync);
    return exit_code(&guard);
}
