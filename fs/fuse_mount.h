// SPDX-License-Identifier: Apache-2.0
// The mount itself: attaching a FUSE connection to a directory and taking it away, without
// libfuse's helper programs (the worker never forks, rule 17), and looking into the table of
// mounts.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FUSE_MOUNT_TYPE "fuse.lunfs"

// Opens /dev/fuse and mounts it at `directory` (absolute). `flags` are MS_*. On success *descriptor
// is the connection, closed on exec, and *connection its number. 0 or -errno; -ENODEV when the
// kernel has no FUSE.
int fuse_mount_attach(const char *source, const char *directory, unsigned long flags,
                      int *descriptor, uint32_t *connection);

// Takes the mount away: at once if nobody uses it, else from the names now and for good when its
// last user is gone (*was_busy). 0 or -errno. It may wait for requests that are under way: never on
// the core's or a lane's thread.
int fuse_mount_detach(const char *directory, bool *was_busy);

// Makes the kernel answer all requests of a connection with an error, those in flight too, so that
// threads stuck in one can end (rule 9e). 0 or -errno.
int fuse_mount_abort(uint32_t connection, const char *directory);

// Whether `directory` is the root of a lunfs mount; `source` (if not NULL) gets its device.
bool fuse_mount_is_lunfs(const char *directory, char *source, size_t source_bytes);
