// SPDX-License-Identifier: Apache-2.0
// One lunfsd a volume and node: a locked file in /run/lunfs, named by the volume's format_id, which
// also says who has it. The lock ends with the last process of that lunfsd.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define RUN_DIRECTORY "/run/lunfs"

enum { RUN_PATH_BYTES = 96 };

// Path of a file of the volume below RUN_DIRECTORY: "<32 hex digits><suffix>".
void run_path(const uint8_t format_id[16], const char *suffix, char path[RUN_PATH_BYTES]);

struct run_lock_holder {
    pid_t pid;
    char directory[4096]; // mount point
};

// Takes the lock and writes who has it. The descriptor (closed on exec), -EBUSY with `holder`
// filled, or -errno. Waits up to `wait_ms` for a holder whose mount is already gone from
// `directory`: it is leaving the cluster.
int run_lock_take(const uint8_t format_id[16], const char *directory, unsigned wait_ms,
                  struct run_lock_holder *holder);
// The volume whose lunfsd serves `directory`: false if none does.
bool run_lock_find(const char *directory, uint8_t format_id[16]);
// Waits until nobody has the lock, at most `wait_ms`: 0 or -ETIMEDOUT.
int run_lock_wait(const uint8_t format_id[16], unsigned wait_ms);
