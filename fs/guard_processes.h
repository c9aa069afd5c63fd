// SPDX-License-Identifier: Apache-2.0
// The processes that a guard starts, and what ties it to them.
#pragma once

#include <sys/types.h>

struct guard_config;
struct guard_page;

// All descriptors are closed on exec; -1: closed, or never there.
struct guard_processes {
    struct guard_page *page;
    pid_t worker, helper;
    int worker_descriptor; // pidfd
    // SOCK_SEQPACKET, non-blocking: the messages of dlm/fence.h.
    int worker_socket, helper_socket;
    int report;  // pipe: the worker's struct startup_report
    int signals; // signalfd: SIGTERM, SIGINT, SIGHUP, SIGCHLD, which are blocked
    // A description of the LUN of the guard's own, for the slot's lock alone. -1: the device is
    // read-only, there is no slot and nothing to prove.
    int lun;
};

// Forks the helper and the worker; `watchdog` (-1: none) is closed in both. 0 or -errno; what was
// made until then stays, for the guard ends.
int guard_processes_start(struct guard_processes *processes, const struct guard_config *config,
                          int watchdog);
