// SPDX-License-Identifier: Apache-2.0
#include "fs/log_daemon.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "fs/base/text.h"

enum { RING_LINES = 512, LINE_BYTES = 512 };

struct line {
    enum log_level level;
    int code;
    char text[LINE_BYTES];
};

enum log_form {
    LOG_FORM_TEXT,
    LOG_FORM_SYSLOG,  // a socket to /dev/log
    LOG_FORM_JOURNAL, // a socket to journald: fields, so that MESSAGE_ID can be told
};

struct log_daemon {
    struct log log; // first: the log is the daemon's
    char prefix[128];
    int descriptor; // -1: none
    enum log_form form;
    bool has_thread;
    pthread_t thread;
    pthread_mutex_t mutex; // held for a copy only
    pthread_cond_t arrived;
    bool is_ending;
    uint64_t written, taken; // lines ever put into and taken out of the ring
    _Atomic uint64_t dropped;
    struct line ring[RING_LINES];
};

static const int priorities[] = {LOG_ERR, LOG_WARNING, LOG_NOTICE, LOG_DEBUG};
static const char *const words[] = {"error", "warning", "notice", "debug"};

// --- writing a line --------------------------------------------------------------------------

// The form of RFC 3164 that syslog daemons and journald take on /dev/log.
static void send_syslog(struct log_daemon *daemon, const struct line *line, const char *code)
{
    char packet[LINE_BYTES + 256];
    int length = snprintf(packet, sizeof(packet), "<%d>lunfsd[%d]: %s: %s%s",
                          LOG_DAEMON | priorities[line->level], (int)getpid(), daemon->prefix, code,
                          line->text);
    if (length >= (int)sizeof(packet))
        length = sizeof(packet) - 1;
    send(daemon->descriptor, packet, (size_t)length,
         MSG_NOSIGNAL | (daemon->has_thread ? 0 : MSG_DONTWAIT));
}

// systemd's native protocol: one field a line. A code is one message id for good (log_daemon.h).
static void send_journal(struct log_daemon *daemon, const struct line *line, const char *code)
{
    char packet[LINE_BYTES + 512];
    struct text text;
    text_init(&text, packet, sizeof(packet));
    text_add(&text, "PRIORITY=%d\nSYSLOG_FACILITY=%d\nSYSLOG_IDENTIFIER=lunfsd\nLUNFS_MOUNT=%s\n",
             priorities[line->level], LOG_DAEMON >> 3, daemon->prefix);
    if (line->code != 0)
        text_add(&text, "LUNFS_CODE=%04d\nMESSAGE_ID=" LOG_MESSAGE_ID_PREFIX "%04d\n", line->code,
                 line->code);
    size_t message = text.length;
    text_add(&text, "MESSAGE=%s: %s%s", daemon->prefix, code, line->text);
    for (char *at = packet + message; *at != '\0'; at++)
        *at = *at == '\n' ? ' ' : *at;
    text_add(&text, "\n");
    send(daemon->descriptor, packet, text.length,
         MSG_NOSIGNAL | (daemon->has_thread ? 0 : MSG_DONTWAIT));
}

static void write_text(struct log_daemon *daemon, const struct line *line, const char *code)
{
    struct timespec now;
    struct tm local;
    char when[32];
    clock_gettime(CLOCK_REALTIME, &now);
    localtime_r(&now.tv_sec, &local);
    strftime(when, sizeof(when), "%H:%M:%S", &local);
    dprintf(daemon->descriptor, "%s.%03ld lunfsd[%d] %s: %s: %s%s\n", when, now.tv_nsec / 1000000,
            (int)getpid(), daemon->prefix, words[line->level], code, line->text);
}

static void write_line(struct log_daemon *daemon, const struct line *line)
{
    char code[24] = "";
    if (line->code != 0)
        snprintf(code, sizeof(code), "LUNFS-%04d: ", line->code);
    if (daemon->form == LOG_FORM_JOURNAL)
        send_journal(daemon, line, code);
    else if (daemon->form == LOG_FORM_SYSLOG)
        send_syslog(daemon, line, code);
    else if (daemon->descriptor >= 0)
        write_text(daemon, line, code);
}

static void report_dropped(struct log_daemon *daemon, uint64_t *reported)
{
    uint64_t dropped = atomic_load(&daemon->dropped);
    if (dropped == *reported)
        return;
    struct line line = {.level = LOG_LEVEL_WARNING};
    snprintf(line.text, sizeof(line.text), "%llu lines of the log were dropped",
             (unsigned long long)(dropped - *reported));
    *reported = dropped;
    write_line(daemon, &line);
}

// --- the ring --------------------------------------------------------------------------------

static bool take_line(struct log_daemon *daemon, struct line *line)
{
    pthread_mutex_lock(&daemon->mutex);
    while (daemon->taken == daemon->written && !daemon->is_ending)
        pthread_cond_wait(&daemon->arrived, &daemon->mutex);
    bool has_line = daemon->taken != daemon->written;
    if (has_line)
        *line = daemon->ring[daemon->taken++ % RING_LINES];
    pthread_mutex_unlock(&daemon->mutex);
    return has_line;
}

static void *writer(void *argument)
{
    struct log_daemon *daemon = argument;
    struct line line;
    uint64_t reported = 0;
    pthread_setname_np(pthread_self(), "lunfs-log");
    while (take_line(daemon, &line)) {
        write_line(daemon, &line);
        report_dropped(daemon, &reported);
    }
    return NULL;
}

static void put_line(struct log_daemon *daemon, const struct line *line)
{
    pthread_mutex_lock(&daemon->mutex);
    if (daemon->written - daemon->taken == RING_LINES)
        atomic_fetch_add(&daemon->dropped, 1);
    else
        daemon->ring[daemon->written++ % RING_LINES] = *line;
    pthread_cond_signal(&daemon->arrived);
    pthread_mutex_unlock(&daemon->mutex);
}

static void log_write(struct log *log, enum log_level level, int code, const char *text)
{
    struct log_daemon *daemon = (struct log_daemon *)log;
    struct line line = {.level = level, .code = code};
    snprintf(line.text, sizeof(line.text), "%s", text);
    if (daemon->has_thread)
        put_line(daemon, &line);
    else
        write_line(daemon, &line);
}

// --- life ------------------------------------------------------------------------------------

static int connect_log(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    text_copy(address.sun_path, sizeof(address.sun_path), path);
    int descriptor = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (descriptor >= 0 && connect(descriptor, (struct sockaddr *)&address, sizeof(address)) == 0)
        return descriptor;
    if (descriptor >= 0)
        close(descriptor);
    return -1;
}

static void open_system_log(struct log_daemon *daemon)
{
    daemon->form = LOG_FORM_JOURNAL;
    daemon->descriptor = connect_log("/run/systemd/journal/socket");
    if (daemon->descriptor >= 0)
        return;
    daemon->form = LOG_FORM_SYSLOG;
    daemon->descriptor = connect_log("/dev/log");
}

struct log_daemon *log_daemon_new(const char *prefix, int descriptor, bool with_debug)
{
    struct log_daemon *daemon = calloc(1, sizeof(*daemon));
    if (daemon == NULL)
        return NULL;
    daemon->log.level_max = with_debug ? LOG_LEVEL_DEBUG : LOG_LEVEL_NOTICE;
    daemon->log.write = log_write;
    snprintf(daemon->prefix, sizeof(daemon->prefix), "%s", prefix);
    daemon->descriptor = descriptor;
    if (descriptor < 0)
        open_system_log(daemon);
    pthread_mutex_init(&daemon->mutex, NULL);
    pthread_cond_init(&daemon->arrived, NULL);
    return daemon;
}

int log_daemon_start(struct log_daemon *daemon)
{
    daemon->has_thread = true;
    int result = -pthread_create(&daemon->thread, NULL, writer, daemon);
    if (result != 0)
        daemon->has_thread = false;
    return result;
}

void log_daemon_free(struct log_daemon *daemon)
{
    if (daemon->has_thread) {
        pthread_mutex_lock(&daemon->mutex);
        daemon->is_ending = true;
        pthread_cond_signal(&daemon->arrived);
        pthread_mutex_unlock(&daemon->mutex);
        pthread_join(daemon->thread, NULL);
    }
    if (daemon->descriptor >= 0)
        close(daemon->descriptor);
    pthread_cond_destroy(&daemon->arrived);
    pthread_mutex_destroy(&daemon->mutex);
    free(daemon);
}

struct log *log_daemon_log(struct log_daemon *daemon)
{
    return &daemon->log;
}

uint64_t log_daemon_dropped(const struct log_daemon *daemon)
{
    return atomic_load(&daemon->dropped);
}
