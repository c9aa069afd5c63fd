// SPDX-License-Identifier: Apache-2.0
// This node's part in the cluster of a volume: corosync, the membership machine, the presence on
// the LUN, the links to the peers and the lock service, wired together.
//
//   cluster_new     nothing yet but something to ask (cluster_status_get)
//   cluster_join    corosync ─► (found: claim, survey) or (joiner: a slot, proof of the same LUN)
//                   ─► first view ─► all who died before us recovered ─► returns, running
//   views come and go; suspend and resume move the gate
//   cluster_leave   FREE durable ─► the others know ─► out of the group
//
// All on the core's thread; the functions that wait are called from a coroutine.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "dlm/lease.h"
#include "fs/base/block_device.h"
#include "fs/base/environment.h"
#include "fs/volume.h"

struct cluster;
struct dlm_service;
struct text;

struct cluster_config {
    struct environment *environment; // a real one
    struct log *log;
    struct volume *volume;             // new, not started
    struct block_device *device;       // the LUN itself, for the claim
    struct block_device *gated_device; // what the volume uses: told when the gate moves
    int descriptor;                    // the worker's description of the LUN
    int guard_socket;                  // -1: none
    uint16_t port;                     // of the lock traffic; 0: any
    bool has_fence_command;
    bool allows_lease; // lease fencing is safe on this device, or the administrator said so
    struct lease_config lease;
    void *context;
    // This node's life in the cluster is over; the volume has failed by then.
    void (*ended)(void *context, int error);
};

// Never NULL. To be freed by cluster_leave or cluster_abandon.
struct cluster *cluster_new(const struct cluster_config *config);
// Joins, once: 0 with the gate open, a slot, and a lock service ready for volume_start. Errors are
// those of errors.def, each logged where it was born; cluster_abandon is what is left to do then.
// Waits, without bound for quorum and for the recovery of others.
int cluster_join(struct cluster *cluster);

uint32_t cluster_slot(const struct cluster *cluster);
uint64_t cluster_incarnation(const struct cluster *cluster);
uint32_t cluster_node_id(const struct cluster *cluster);
// The first node of this cluster's life: nobody else was mounted.
bool cluster_is_founder(const struct cluster *cluster);
struct dlm_service *cluster_locks(struct cluster *cluster);

// Before volume_stop: a freeze of this node is over, and the cluster's own work on the volume
// (orphans of a node that was recovered here) has ended, and none is begun any more. Waits.
void cluster_volume_stops(struct cluster *cluster);
// The volume has failed by itself (volume_config.failed): what this node held is of no use to it
// any more, so the others are asked to go on without it, though it may beat for ever (rule 20):
//
//   n1   journal: EIO ─► fails ─► expel(n1) ─► drained: beats STOPPED, for the last time
//   n2                 lock? ····· view n2 ─ fence ─ STOPPED seen: over ─ replay ─► lock
//
void cluster_volume_failed(struct cluster *cluster);
// ... and nothing of the volume is in flight to the LUN any more: a fence need not wait for the
// lease. Nothing, if the cluster itself is still writing (cluster_is_writing).
void cluster_volume_drained(struct cluster *cluster);
bool cluster_is_writing(const struct cluster *cluster);
// The clean leave, after volume_stop. Frees the cluster. 0 or an error. Waits.
int cluster_leave(struct cluster *cluster);
// After a failure and volume_abandon, or a join that the caller gives up. Frees the cluster.
void cluster_abandon(struct cluster *cluster);

// An administrator vouches that a node is down, or wants one out. 0; -ENOENT: no such node, or no
// fence under way against it; -EBUSY: this node does not run.
int cluster_fence_confirm(struct cluster *cluster, const char *node);
int cluster_fence(struct cluster *cluster, const char *node);

// For `lunfs nodes`.
enum { CLUSTER_WHY_BYTES = 512 };
struct cluster_node_status {
    char name[FORMAT_NODE_NAME_BYTES];
    uint32_t node_id;
    uint32_t slot;
    uint64_t incarnation;
    const char *state; // constant: "running", "suspended", "dead: being fenced" ...
    uint64_t heartbeat_age_ms;
    bool is_self;
    bool is_member;
};
struct cluster_status {
    uint64_t epoch;
    bool is_running;
    uint32_t node_count;
    struct cluster_node_status nodes[FORMAT_SLOT_COUNT_MAX * 2];
    char why[CLUSTER_WHY_BYTES]; // why the cluster waits, lines; empty: it does not
};
// At any time after cluster_new, while it joins above all.
void cluster_status_get(struct cluster *cluster, struct cluster_status *status);
