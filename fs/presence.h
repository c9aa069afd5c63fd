// SPDX-License-Identifier: Apache-2.0
// This node's presence on the LUN: the slot's byte lock, what the guard must know, the heartbeat,
// and through it the gate. Shared by mounts of a cluster and local ones.
//
//   presence_start   lock byte 2^62 + slot ─► tell the guard who we are ─► first beat written
//   ... each acknowledged beat moves gate->lease_until_ns ...
//   presence_stop    a last beat that says FREE (clean leave)
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "dlm/heartbeat.h"
#include "fs/base/environment.h"
#include "fs/gate.h"

struct presence;

struct presence_config {
    struct environment *environment; // a real one
    struct log *log;
    struct gate *gate;
    const struct geometry *geometry;
    struct lease_config lease;
    int descriptor; // the worker's description of the LUN
    bool has_volatile_cache;
    int guard_socket;              // -1: no guard
    uint32_t node_id;              // 0: local
    uint64_t replaced_incarnation; // 0, or whose slot is taken over (fs/slot_takeover.h)
    uint8_t cluster_id[16];
    char node_name[FORMAT_NODE_NAME_BYTES];
    void *context;
    // On the core's thread. The gate is shut already when `ended` comes.
    void (*ended)(void *context, int error, const char *reason);
    void (*changed)(void *context); // a watched slot, a fence, a mailbox round moved
};

// Writes the first beat (JOINING). 0; -EAGAIN: another process of this host has the slot's byte
// lock; -errno. Blocks for that one write.
int presence_start(const struct presence_config *config, uint32_t slot, uint64_t incarnation,
                   uint64_t recovered_incarnation, struct presence **presence);
// The clean leave: FREE is durable when it returns 0. The guard is told that nothing is left.
int presence_stop(struct presence *presence);
// The end after a failure: nothing is in flight any more and nothing will be: beats STOPPED if it
// still may, then no more.
void presence_abandon(struct presence *presence);

struct heartbeat *presence_heartbeat(struct presence *presence);
uint32_t presence_slot(const struct presence *presence);
