// SPDX-License-Identifier: Apache-2.0
#include "fs/startup.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

// So that a report is written whole or not at all.
_Static_assert(sizeof(struct startup_report) <= PIPE_BUF, "atomic report");

void startup_send(int descriptor, int exit_code, const char *format, ...)
{
    struct startup_report report = {.exit_code = exit_code};
    if (descriptor < 0)
        return;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(report.sentence, sizeof(report.sentence), format, arguments);
    va_end(arguments);
    ssize_t written = write(descriptor, &report, sizeof(report));
    (void)written; // nobody is waiting any more
}

bool startup_receive(int descriptor, struct startup_report *report)
{
    ssize_t got;
    do {
        got = read(descriptor, report, sizeof(*report));
    } while (got < 0 && errno == EINTR);
    report->sentence[sizeof(report->sentence) - 1] = '\0';
    return got == (ssize_t)sizeof(*report);
}

// sd_notify(3), "Notes": a datagram to the socket that the environment names; '@' begins an
// abstract address.
void startup_notify_systemd(const char *state)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (path == NULL || strlen(path) >= sizeof(address.sun_path))
        return;
    memcpy(address.sun_path, path, strlen(path));
    if (address.sun_path[0] == '@')
        address.sun_path[0] = '\0';
    int descriptor = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (descriptor < 0)
        return;
    socklen_t length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path));
    sendto(descriptor, state, strlen(state), MSG_NOSIGNAL | MSG_DONTWAIT,
           (struct sockaddr *)&address, length);
    close(descriptor);
}
