// SPDX-License-Identifier: Apache-2.0
// The LUN as the core may touch it: a block device in front of the real one that keeps requests
// back while the gate is shut and refuses them once the mount has ended. So cache, journal and
// operations need not know of leases: no valid lease, no I/O.
#pragma once

#include "fs/base/block_device.h"
#include "fs/base/environment.h"
#include "fs/gate.h"

enum gated_use {
    GATED_ORDINARY, // waits while the node is suspended
    GATED_RECOVERY, // journal replay, which a resume waits for: needs the lease alone
};

// `inner` and `gate` outlive it. Never NULL. Closing it leaves `inner` open; nothing may wait then.
struct block_device *gated_device_new(struct block_device *inner, struct gate *gate,
                                      struct environment *environment, enum gated_use use);
// The gate may have moved: submits what waits if it is open, refuses it with -EIO if it has ended.
// Core thread; to be called after each resume, end, and lease that came back into time.
void gated_device_gate_moved(struct block_device *device);
// The storage answered one of the requests with a reservation conflict (EBADE): somebody has fenced
// this node there. `shut_out` is called on the core's thread, before the request completes.
void gated_device_on_conflict(struct block_device *device, void (*shut_out)(void *context),
                              void *context);
// Requests handed to the inner device and not completed yet.
unsigned gated_device_in_flight(const struct block_device *device);
