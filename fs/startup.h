// SPDX-License-Identifier: Apache-2.0
// How the news that a mount is live, or why it is not, travels: worker ─► guard ─► the process that
// the user started and that waits. One message, through a pipe.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Exit codes of mount(8).
enum mount_exit {
    MOUNT_EXIT_OK = 0,
    MOUNT_EXIT_USAGE = 1,    // incorrect invocation or permissions
    MOUNT_EXIT_SYSTEM = 2,   // out of memory, no loop devices ...
    MOUNT_EXIT_INTERNAL = 4, // bug
    MOUNT_EXIT_USER = 8,     // interrupted
    MOUNT_EXIT_FILE = 16,    // mtab
    MOUNT_EXIT_FAILURE = 32, // mount failure
};

struct startup_report {
    int32_t exit_code; // enum mount_exit
    char sentence[252];
};

// Sends the one report; `descriptor` -1 is ignored. Never blocks.
void startup_send(int descriptor, int exit_code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
// Waits for it; false when the other side is gone without one.
bool startup_receive(int descriptor, struct startup_report *report);

// Tells systemd, if it started this process and waits for news (Type=notify): "READY=1".
void startup_notify_systemd(const char *state);
