// SPDX-License-Identifier: Apache-2.0
// Who asks: what the kernel does not say with a request of FUSE, and does not check itself.
#pragma once

#include <stdbool.h>
#include <sys/types.h>

// Whether the thread has the capability (CAP_* of <linux/capability.h>), as far as this daemon's
// namespace of users goes. It waits for an answer, so that /proc still shows it; one of a namespace
// of processes that is not seen here (0) is judged by `uid`. Reads /proc: for what is rare.
bool fuse_caller_is_capable(pid_t thread, uid_t uid, unsigned capability);
