// SPDX-License-Identifier: Apache-2.0
// The narrow waist between the lock table and whoever grants rights among the nodes: the cluster
// (fs/cluster.c over dlm/), also with one member. Calls and answers come on the core's thread;
// an answer may come before the call returns.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "fs/base/lock_name.h"
#include "fs/base/sabotage.h"

// What a node may do with what a lock protects. TOGETHER (VMS: concurrent write) is for the data of
// a file that several nodes overwrite in place at the same time: it covers what SHARED does, but
// that others do not write, and stands beside TOGETHER of other nodes only. Whoever has a greater
// one may do more, save that SHARED and TOGETHER exclude each other.
enum lock_right { RIGHT_NONE, RIGHT_SHARED, RIGHT_TOGETHER, RIGHT_EXCLUSIVE };

// The most that may be kept of `held` where at most `allowed` may be.
static inline enum lock_right lock_right_kept(enum lock_right held, enum lock_right allowed)
{
    enum lock_right less = held < allowed ? held : allowed;
    enum lock_right more = held < allowed ? allowed : held;
    bool excludes = less == RIGHT_SHARED && more == RIGHT_TOGETHER;
    return excludes && !SABOTAGE(together_beside_shared) ? RIGHT_NONE : less;
}

struct lock_service;

struct lock_service_operations {
    // Asks for a right under a fresh cookie. With `no_wait` it is answered at once, granted or
    // denied with -EAGAIN. Else it is granted some time.
    void (*request)(struct lock_service *service, uint64_t cookie, struct lock_name name,
                    enum lock_right right, bool no_wait);
    // Moves a granted cookie up (answered as a request) or down (not answered: it is done).
    void (*convert)(struct lock_service *service, uint64_t cookie, enum lock_right right,
                    bool no_wait);
    // Ends a granted cookie. Not answered.
    void (*release)(struct lock_service *service, uint64_t cookie);
    // Takes back a request or upward conversion in flight: answered by denied with -ECANCELED, or
    // by granted if the grant was faster.
    void (*cancel)(struct lock_service *service, uint64_t cookie);
    // Between begin and end calls are only noted, so that those to one master go in one message.
    // Not nested. May be NULL, both.
    void (*batch_begin)(struct lock_service *service);
    void (*batch_end)(struct lock_service *service);
};

// What the service calls; the lock table implements it (fs/lock_pump.c).
struct lock_service_client {
    void (*granted)(struct lock_service_client *client, uint64_t cookie, enum lock_right right);
    void (*denied)(struct lock_service_client *client, uint64_t cookie, int error);
    // Another node wants the lock: this node may keep `keep` at most.
    void (*blocking)(struct lock_service_client *client, uint64_t cookie, enum lock_right keep);
};

struct lock_service {
    const struct lock_service_operations *operations;
    struct lock_service_client *client; // NULL: the table is gone, nobody is called
};
