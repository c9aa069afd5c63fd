// SPDX-License-Identifier: Apache-2.0
// lunfsd: one mounted volume on one node.
//
//     lunfsd [-f] [-o OPTIONS] DEVICE|UUID=|LABEL= DIRECTORY
//
// Checks what can be checked before anything is forked, takes the volume's run lock, goes to the
// background (-f: stays), and becomes the guard, which forks the worker. Without -f it returns when
// the mount is live or has failed, with the exit codes of mount(8).
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/base/cleanup.h"
#include "fs/base/error.h"
#include "fs/base/text.h"
#include "fs/guard.h"
#include "fs/log_daemon.h"
#include "fs/run_lock.h"
#include "fs/startup.h"
#include "fs/volume_probe.h"
#include "fs/worker.h"

enum { LEAVE_PATIENCE_MS = 30000 };

struct invocation {
    struct mount_options options;
    bool foreground;
    const char *what, *where; // as given
    char *device, *directory; // absolute
    struct geometry geometry;
    struct device_timeouts timeouts;
    char layers[300]; // of the device: where its timeouts come from
};

static int fail(int exit_code, const char *format, ...) __attribute__((format(printf, 2, 3)));

static int fail(int exit_code, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("lunfsd: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    return exit_code;
}

// --- arguments and what can be known at once -------------------------------------------------

static int usage(void)
{
    fputs("usage: lunfsd [-f] [-o OPTIONS] DEVICE|UUID=UUID|LABEL=LABEL DIRECTORY\n"
          "Serves the lunfs volume on DEVICE at DIRECTORY; usually started by mount -t lunfs.\n"
          "  -f  stay in the foreground, log to standard error\n"
          "Options: see mount.lunfs(8).\n",
          stderr);
    return MOUNT_EXIT_USAGE;
}

// A path that stays true after chdir, and that people know again: links are followed only if need
// be.
static char *absolute_path(const char *path)
{
    return path[0] == '/' ? strdup(path) : realpath(path, NULL);
}

static int parse(int argc, char **argv, struct invocation *invocation)
{
    TEXT(why, 512);
    int letter;
    mount_options_init(&invocation->options);
    while ((letter = getopt(argc, argv, "fo:h")) != -1) {
        if (letter == 'f')
            invocation->foreground = true;
        else if (letter != 'o')
            return usage();
        else if (!mount_options_parse(&invocation->options, optarg, &why))
            return fail(MOUNT_EXIT_USAGE, "%s", why.bytes);
    }
    if (argc - optind != 2)
        return usage();
    if (!mount_options_verify(&invocation->options, &why))
        return fail(MOUNT_EXIT_USAGE, "%s", why.bytes);
    invocation->what = argv[optind];
    invocation->where = argv[optind + 1];
    return MOUNT_EXIT_OK;
}

static int resolve(struct invocation *invocation)
{
    char device[PATH_MAX];
    TEXT(why, 512);
    if (geteuid() != 0)
        return fail(MOUNT_EXIT_USAGE, "only root can mount a lunfs volume");
    if (!volume_find(invocation->what, device, &why))
        return fail(MOUNT_EXIT_FAILURE, "%s", why.bytes);
    invocation->device = absolute_path(device);
    if (invocation->device == NULL)
        return fail(MOUNT_EXIT_FAILURE, "%s: %s", device, strerror(errno));
    invocation->directory = realpath(invocation->where, NULL);
    if (invocation->directory == NULL)
        return fail(MOUNT_EXIT_FAILURE, "%s: %s%s", invocation->where, strerror(errno),
                    errno == ENOTCONN ? " (a dead mount: unmount it first)" : "");
    return MOUNT_EXIT_OK;
}

static int check(struct invocation *invocation)
{
    struct stat found;
    if (stat(invocation->directory, &found) != 0)
        return fail(MOUNT_EXIT_FAILURE, "%s: %s", invocation->directory, strerror(errno));
    if (!S_ISDIR(found.st_mode))
        return fail(MOUNT_EXIT_FAILURE, "%s is not a directory", invocation->directory);
    int result = volume_probe(invocation->device, &invocation->geometry);
    if (result != 0)
        return fail(MOUNT_EXIT_FAILURE, "%s: %s", invocation->device, error_text(result));
    bool was_cut_off = (invocation->geometry.state & SUPERBLOCK_STATE_NEEDS_FSCK) != 0;
    if (was_cut_off && !invocation->options.no_recovery)
        return fail(MOUNT_EXIT_FAILURE, "%s: %s: a repair was cut off", invocation->device,
                    error_text(-ERROR_VOLUME_NEEDS_FSCK));
    if ((invocation->geometry.state & SUPERBLOCK_STATE_DAMAGED) != 0)
        fail(0,
             "%s: warning: damage was found on this volume: run fsck.lunfs when it is not in use",
             invocation->device);
    return MOUNT_EXIT_OK;
}

// How long others must wait for our last writes, and we for theirs (rule 10). Asking a multipath
// device takes rights that the worker does not have.
static int measure(struct invocation *invocation)
{
    struct text layers;
    CLEANUP_CLOSE int descriptor = open(invocation->device, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0)
        return fail(MOUNT_EXIT_FAILURE, "%s: %s", invocation->device, strerror(errno));
    text_init(&layers, invocation->layers, sizeof(invocation->layers));
    device_timeouts_read(descriptor, &invocation->timeouts, &layers);
    return MOUNT_EXIT_OK;
}

// The descriptor of the volume's run lock, or minus an exit code.
static int take_run_lock(const struct invocation *invocation)
{
    struct run_lock_holder holder;
    int lock = run_lock_take(invocation->geometry.format_id, invocation->directory,
                             LEAVE_PATIENCE_MS, &holder);
    if (lock == -EBUSY)
        fail(0, "%s is already mounted on this node, at %s (lunfsd %d)", invocation->device,
             holder.directory, (int)holder.pid);
    else if (lock < 0)
        fail(0, "%s: %s", RUN_DIRECTORY, strerror(-lock));
    return lock < 0 ? -MOUNT_EXIT_FAILURE : lock;
}

// --- becoming a daemon -----------------------------------------------------------------------

// The daemon serves memory reclaim: nothing of it may be paged out, killed for memory, or wait for
// I/O through itself. All of it is inherited by worker, guard and their threads (rule P35).
// A container may not allow either, and that is for whoever made it to know: one line.
static void prepare_for_reclaim(struct log *log)
{
    CLEANUP_CLOSE int score = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    bool is_spared = score >= 0 && write(score, "-1000", 5) == 5;
    bool is_flusher = prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0) == 0;
    if (!is_spared || !is_flusher)
        log_notice(log, "not allowed here: %s%s%s: short memory may stop this mount",
                   is_spared ? "" : "oom_score_adj", is_spared || is_flusher ? "" : ", ",
                   is_flusher ? "" : "PR_SET_IO_FLUSHER");
}

// Waits for the report and passes it on to the user.
static int wait_for_report(int descriptor)
{
    struct startup_report report;
    if (!startup_receive(descriptor, &report))
        return fail(MOUNT_EXIT_FAILURE, "ended before the mount was live (see the log)");
    if (report.exit_code != MOUNT_EXIT_OK)
        fail(0, "%s", report.sentence);
    return report.exit_code;
}

static void detach_from_terminal(const struct mount_options *options)
{
    setsid();
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null < 0)
        return;
    dup2(null, STDIN_FILENO);
    dup2(null, STDOUT_FILENO);
    if (options->log != MOUNT_LOG_STDERR)
        dup2(null, STDERR_FILENO);
    if (null > STDERR_FILENO)
        close(null);
}

// Only in the child does it return, with the descriptor to report to; the parent waits and ends.
static int go_to_background(const struct invocation *invocation)
{
    int report[2];
    if (pipe2(report, O_CLOEXEC) != 0)
        exit(fail(MOUNT_EXIT_SYSTEM, "%s", strerror(errno)));
    pid_t child = fork();
    if (child < 0)
        exit(fail(MOUNT_EXIT_SYSTEM, "%s", strerror(errno)));
    if (child > 0) {
        close(report[1]);
        exit(wait_for_report(report[0]));
    }
    close(report[0]);
    detach_from_terminal(&invocation->options);
    return report[1];
}

// -1: the system's log.
static int open_log_target(const struct invocation *invocation)
{
    const struct mount_options *options = &invocation->options;
    if (options->log == MOUNT_LOG_FILE)
        return open(options->log_path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640);
    // As a service the journal itself is better than its pipe: levels and message ids.
    bool is_service = getenv("JOURNAL_STREAM") != NULL;
    if (options->log == MOUNT_LOG_STDERR ||
        (options->log == MOUNT_LOG_AUTO && invocation->foreground && !is_service))
        return fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    return -1;
}

static int serve(struct invocation *invocation, int run_lock)
{
    int parent = invocation->foreground ? -1 : go_to_background(invocation);
    bool is_alone = invocation->options.is_local || invocation->options.no_recovery;
    struct guard_device device = {
        .path = invocation->device,
        .timeouts = invocation->timeouts,
        .layers = invocation->layers,
    };
    struct guard_config config = {
        .options = &invocation->options,
        .device = &device,
        .directory = invocation->directory,
        .log = log_daemon_new(invocation->directory, open_log_target(invocation),
                              invocation->options.debug),
        .parent_descriptor = parent,
        .run_lock = run_lock,
        .format_id = is_alone ? NULL : invocation->geometry.format_id,
        .worker_run = worker_run,
    };
    if (config.log == NULL)
        return MOUNT_EXIT_SYSTEM;
    // No working directory on its own mount, no mode bits lost, no death by a closed socket.
    if (chdir("/") != 0)
        return MOUNT_EXIT_SYSTEM;
    umask(022);
    signal(SIGPIPE, SIG_IGN);
    prepare_for_reclaim(log_daemon_log(config.log));
    int exit_code = guard_run(&config);
    log_daemon_free(config.log);
    return exit_code;
}

int main(int argc, char **argv)
{
    struct invocation invocation = {0};
    // What the caller left open (a pipe that somebody reads to its end, a lock) would stay so for
    // as long as the volume is mounted, and fence commands would have it too.
    close_range(STDERR_FILENO + 1, ~0u, 0);
    int exit_code = parse(argc, argv, &invocation);
    if (exit_code == MOUNT_EXIT_OK)
        exit_code = resolve(&invocation);
    if (exit_code == MOUNT_EXIT_OK)
        exit_code = check(&invocation);
    if (exit_code == MOUNT_EXIT_OK)
        exit_code = measure(&invocation);
    if (exit_code == MOUNT_EXIT_OK) {
        int run_lock = take_run_lock(&invocation);
        exit_code = run_lock < 0 ? -run_lock : serve(&invocation, run_lock);
    }
    free(invocation.device);
    free(invocation.directory);
    return exit_code;
}
