// SPDX-License-Identifier: Apache-2.0
// Byte-range locks of files among all nodes, as front ends ask for them: fcntl, OFD and flock
// locks of the FUSE mount. Behind it stands the lock manager (dlm/), whose master of the inode's
// resource keeps the ranges of all nodes.
//
// A lock belongs to (this node, owner); `handle` says through which open file it was taken, so that
// closing that file can drop it (FUSE tells no OFD lock from a POSIX one and sends no unlock at
// close).
//
// All calls and callbacks on the core's thread.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum range_lock_space {
    RANGE_LOCK_POSIX, // fcntl and OFD
    RANGE_LOCK_FLOCK, // flock: [0, UINT64_MAX]
};

struct range_lock {
    uint64_t inode;
    uint64_t owner;  // as the kernel names it; unique on this node only
    uint64_t handle; // of the open file
    uint64_t start;
    uint64_t end; // inclusive; UINT64_MAX: to the end, whatever it will be
    pid_t pid;    // for F_GETLK of others
    enum range_lock_space space;
    bool is_exclusive;
};

// Owned by the caller, alive until `done` was called.
struct range_lock_request {
    struct range_lock lock;
    bool waits; // lock: wait for other holders, else -EAGAIN
    // Called once for each lock and test, perhaps before the call returns.
    //   lock: 0, -EAGAIN, -EDEADLK, -EINTR (cancelled), or another error: not locked
    //   test: 0 (free), or -EAGAIN with `conflict` filled (its pid is 0 if on another node)
    void (*done)(struct range_lock_request *request, int result);
    struct range_lock conflict;
    void *implementation;
};

struct range_locks;

struct range_locks_operations {
    void (*lock)(struct range_locks *locks, struct range_lock_request *request);
    void (*test)(struct range_locks *locks, struct range_lock_request *request);
    // Takes back a lock request that is not done yet. It is still answered by `done`, with 0 if
    // the grant was faster. While a view change is under way that may take until its end.
    void (*cancel)(struct range_locks *locks, struct range_lock_request *request);
    // Drops what the owner holds in [start, end] of that space. Effective at once, not answered.
    void (*unlock)(struct range_locks *locks, const struct range_lock *lock);
    // Drops all that the owner holds on the inode in that space: a close of one of its files.
    void (*release_owner)(struct range_locks *locks, uint64_t inode, uint64_t owner,
                          enum range_lock_space space);
    // Drops all that was taken through the handle, in both spaces: the last close.
    void (*release_handle)(struct range_locks *locks, uint64_t inode, uint64_t handle);
};

struct range_locks {
    const struct range_locks_operations *operations;
};
