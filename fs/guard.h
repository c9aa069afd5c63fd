// SPDX-License-Identifier: Apache-2.0
// The guard of a mount (rules 9 and 17). It is forked before any thread and does no I/O on the LUN;
// it kills the worker before its lease ends, has fence commands run for it, proves after its end
// that its I/O has drained, and tells the other nodes so.
//
//   mount.lunfs ─exec─► lunfsd ─fork─► guard ─fork─┬► worker (threads, the LUN, /dev/fuse)
//        ▲ waits           │             │         └► helper (mounts, runs commands:
//        guard_helper.h) └──── one report ─┴─────────────┘ page (the gate), sockets, pidfd, report
//        pipe
//
// Once all are there, guard and worker give up what they do not need (sandbox.h).
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "fs/base/device_timeouts.h"
#include "fs/gate.h"
#include "fs/mount_options.h"
#include "fs/sandbox.h"

struct log_daemon;

// Shared by guard and worker, mapped before the fork.
struct guard_page {
    // The volume's gate lives here, so that the guard sees each lease the moment it is extended.
    struct gate gate;
    // The worker sets it once the gate has ended, nothing is in flight and nothing can be
    // submitted: all passes are drained, the device is idle. Else the guard kills it before the
    // lease ends.
    _Atomic bool is_drained;
    _Atomic uint32_t connection; // of the FUSE mount; 0: none yet
    struct sandbox_refused refused[SANDBOX_PROCESSES];
};

// What somebody who may ask the device for anything found out before the worker was there.
struct guard_device {
    const char *path; // of the LUN
    struct device_timeouts timeouts;
    const char *layers; // of device_timeouts_read
};

// What the worker is given.
struct worker_context {
    const struct mount_options *options;
    const struct guard_device *device;
    const char *directory; // absolute
    struct guard_page *page;
    struct log_daemon *log; // to be started by the worker (log_daemon_start)
    // To the guard, SOCK_SEQPACKET, non-blocking: the messages of dlm/fence.h. The worker says
    // GUARD_IDENTITY once it has a slot, before its first write, and GUARD_LEFT after a clean
    // leave.
    int guard_socket;
    int helper_socket; // for guard_helper_mount
    // For startup_send: 'live' (MOUNT_EXIT_OK) or why not. Once.
    int report_descriptor;
};

struct guard_config {
    const struct mount_options *options;
    const struct guard_device *device;
    const char *directory;
    struct log_daemon *log;
    int parent_descriptor;    // who waits for the report; -1: nobody (foreground)
    int run_lock;             // held while this volume is mounted here; the worker closes it
    const uint8_t *format_id; // names the guards' group; NULL: no cluster (local, norecovery)
    // Runs in the worker until the mount is over; its exit code is enum mount_exit.
    int (*worker_run)(const struct worker_context *context);
};

// Forks the worker and guards it to its end. Returns in the guard alone: the exit code of lunfsd.
int guard_run(const struct guard_config *config);

// Takes the lock on byte 2^62 + slot of an open description of the LUN: held by the worker for as
// long as it or any of its I/O lives, tried by its guard afterwards. 0; -EAGAIN: held by another
// description; -errno.
int guard_slot_lock(int lun_descriptor, uint32_t slot);
