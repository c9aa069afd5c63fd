// SPDX-License-Identifier: Apache-2.0
// Corosync as the membership machine sees it: CPG (model v1, with totem's ring ids), quorum
// (model v1, with ring ids), cmap (node list, names, addresses, key file). Callbacks become events
// of dlm/membership.h; multicasts that corosync cannot take now wait in a queue and go in order.
//
//   group "lunfs-FORMATID"          the workers; views come from here
//   group "lunfs-FORMATID-guards"   the guards; drained(slot, incarnation) comes from here
//
// What the machine relies on, as corosync 3.1 has it, is what tests/sim/totem.c plays.
// All on the core's thread; nothing blocks after corosync_open.
#pragma once

#include "dlm/membership.h"
#include "dlm/transport.h"
#include "fs/base/environment.h"
#include "fs/base/log.h"

enum { COROSYNC_KEY_BYTES_MAX = 4096, COROSYNC_NAME_BYTES = 128 };

// What the configuration says, read once.
struct corosync_config {
    char cluster_name[COROSYNC_NAME_BYTES];
    uint8_t cluster_id[16]; // of the cluster's name and key: equal on its nodes, unlike elsewhere
    uint32_t node_id;       // ours
    uint32_t node_count;
    struct transport_node nodes[MEMBERSHIP_NODES_MAX];
    bool is_two_node;
    bool has_wait_for_all;
    uint32_t token_ms;
    size_t key_bytes;
    uint8_t key[COROSYNC_KEY_BYTES_MAX];
};

// Reads cmap and the key file. 0; -ERROR_COROSYNC with the reason logged (not running, not in the
// node list, no key); -ERROR_TWO_NODE (rule 26); -E2BIG with more nodes than we can.
int corosync_config_read(struct corosync_config *config, struct log *log);
// NULL if unknown.
const struct transport_node *corosync_config_node(const struct corosync_config *config,
                                                  uint32_t node_id);
// Wipes the key.
void corosync_config_wipe(struct corosync_config *config);

struct corosync;

struct corosync_open_config {
    struct environment *environment; // a real one
    struct log *log;
    uint8_t format_id[16];
    void *context;
    // Each callback of corosync as an event, on the core's thread. After LOST it is tried again
    // in the background; RECONNECTED follows when both connections stand again.
    void (*event)(void *context, const struct membership_event *event);
};

// Connects and joins the group: 0 or -ERROR_COROSYNC. Events come from the next turn on.
int corosync_open(const struct corosync_open_config *config, struct corosync **corosync);
// Leaves the group if it is still in it, waits for nothing.
void corosync_close(struct corosync *corosync);
// In order with all others of this node; kept while corosync is busy, dropped when it is lost.
void corosync_multicast(struct corosync *corosync, const uint8_t *bytes, size_t length);
// cpg_leave: once everything that was multicast has gone out.
void corosync_leave(struct corosync *corosync);
bool corosync_is_connected(const struct corosync *corosync);
// This process as the group knows it. node_id from corosync, valid after corosync_open.
struct membership_process corosync_self(const struct corosync *corosync);

// --- the guard's side ------------------------------------------------------------------------

// A guard has no event loop of ours: it polls `corosync_guard_fd` and calls dispatch. 0 or
// -ERROR_COROSYNC.
struct corosync_guard;
int corosync_guard_open(const uint8_t format_id[16], struct corosync_guard **guard);
void corosync_guard_close(struct corosync_guard *guard);
int corosync_guard_fd(const struct corosync_guard *guard);
// Takes what has come; -ERROR_COROSYNC when corosync is gone.
int corosync_guard_dispatch(struct corosync_guard *guard);
// Says drained(slot, incarnation) for this node: only after the guard has the lock on byte
// 2^62 + slot of the LUN. 0; -EAGAIN: corosync is busy or no ring is known yet, call again in a
// moment; -ERROR_COROSYNC.
int corosync_guard_drained(struct corosync_guard *guard, uint32_t slot, uint64_t incarnation);
