// SPDX-License-Identifier: Apache-2.0
// The third process of lunfsd, the only one that keeps root's rights: it mounts, unmounts, aborts a
// FUSE connection, and runs fence commands, which may need any right. Guard and worker do without
// (fs/sandbox.h), so what reads packets and disks cannot do these things, only ask for them: what
// is mounted where, and which command is run, was fixed when lunfsd started.
//
//     worker ── mount, once ──────────► helper ── fork, exec ──► fence command
//     guard ─── fence, unmount, abort ─►   │  ──── fork ───────► unmount, abort
//           ◄── result ────────────────────┘
//
// All that can block is done in children, except the mount. It ends when the guard does.
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct log;
struct mount_options;

struct guard_helper_config {
    const struct mount_options *options; // the fence command, the mount's flags
    const char *device;                  // as /proc/mounts is to show it
    const char *directory;               // absolute
    struct log *log;
    int guard_socket, worker_socket; // SOCK_SEQPACKET, the messages of dlm/fence.h
};

// The helper's life, from the fork to the end of the guard; kills the fence commands that run then.
void guard_helper_run(const struct guard_helper_config *config);

// --- asking it, in the worker ------------------------------------------------------------------

// Mounts; waits for the answer. On success *descriptor is the connection, closed on exec, and
// *connection its number. 0, -errno of the mount, -EBUSY when it was mounted before, -EPIPE when
// there is no helper any more.
int guard_helper_mount(int socket, int *descriptor, uint32_t *connection);
// Has it unmounted; waits for nothing.
void guard_helper_unmount(int socket);
