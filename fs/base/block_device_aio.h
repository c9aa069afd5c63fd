// SPDX-License-Identifier: Apache-2.0
// The daemon's block device: O_DIRECT and libaio, its completions signalled on an eventfd that the
// core's event loop watches. Flush and discard block in the kernel, so each has a thread of its own
// (a discard may take seconds and must not hold up a flush, rule 31).
//
//   core thread: submit ──► io_submit ──────────────► completion ─┐
//                       └─► flusher / discarder thread ───────────┤ eventfd
//                reap   ◄─────────────────────────────────────────┘  complete() is called here
//
// With BLOCK_DEVICE_PROMPT a small read or write that finds nothing else in flight is done inside
// of submit: one system call instead of four. The core then blocks for as long as the LUN takes.
//
// All of the worker's I/O goes through the one open file description behind
// block_device_aio_descriptor(): requests in flight pin it, so its OFD lock comes free only when
// they are done (rule 9). Do not open the device a second time, and do not dup the description into
// another process.
#pragma once

#include "fs/base/block_device.h"
#include "fs/base/block_device_open.h"

// `flags`: BLOCK_DEVICE_*. As block_device_open_path, and -EAGAIN if the system's aio limit
// (fs.aio-max-nr) is used up. Starts two threads. Release with block_device_close, with nothing in
// flight (CHECKed).
int block_device_aio_open(const char *path, unsigned flags, struct block_device **device);

// Readable when something has completed: then call block_device_aio_reap.
int block_device_aio_event_fd(const struct block_device *device);
// Completes what is done, on the calling (core) thread; returns how many requests. Never blocks.
unsigned block_device_aio_reap(struct block_device *device);
// Requests submitted and not completed yet.
unsigned block_device_aio_in_flight(const struct block_device *device);

// For lanes and the heartbeat thread, with block_device_pread and block_device_pwrite, from any
// thread until the device is closed.
const struct block_device_opened *block_device_aio_opened(const struct block_device *device);
