// SPDX-License-Identifier: Apache-2.0
// The worker: everything of one mount that touches the LUN, wired in visible order.
#pragma once

struct worker_context;

// Runs until the mount is over: 0, or an exit code of fs/startup.h. Called once, in the process
// that guard_run forked.
int worker_run(const struct worker_context *context);
