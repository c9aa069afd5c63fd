// SPDX-License-Identifier: Apache-2.0
// What guard and worker give up once they are started: capabilities, the way back to them (no new
// privileges), and all system calls but those of fs/sandbox_calls.def (seccomp). A call that is not
// in the list does not happen: its caller gets EPERM, or ENOSYS if it is younger than the list, so
// that a library that tries what a newer kernel has does what it did before; and the process that
// the `refused` words are shared with is told once which call it was. Nobody is killed: a daemon
// that VMs depend on must survive a library that has learned a new call.
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum sandbox_process { SANDBOX_GUARD, SANDBOX_WORKER, SANDBOX_PROCESSES };

enum { SANDBOX_CALLS = 512, SANDBOX_CALL_BYTES = 40 };

// A bit for each number of a system call; zeroed, in memory that may be shared between processes.
struct sandbox_refused {
    _Atomic uint64_t asked[SANDBOX_CALLS / 64];
    uint64_t told[SANDBOX_CALLS / 64]; // the reader's: of which it has heard
};

// Confines the calling process for good. It has one thread yet; all that it starts are confined
// too. `port` (0: none): a TCP port that it will listen at, which needs a right below 1024.
// `refused` lives as long as the process. 0 or -errno; then it is not, or half confined.
int sandbox_enter(enum sandbox_process process, uint16_t port, struct sandbox_refused *refused);

// The next refused call that was not yet told: its name, or its number; false: none. One reader.
bool sandbox_next_refused(struct sandbox_refused *refused, char name[SANDBOX_CALL_BYTES]);
