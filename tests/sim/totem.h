// SPDX-License-Identifier: Apache-2.0
// A simulated corosync: rings, ordered messages, processes of a group, quorum. Whose workers listen
// is its host's business: the membership simulator (membership_world.h) and ring 3
// (ring3_corosync.c).
#pragma once

#include "dlm/membership.h"
#include "tests/sim/world.h"

enum { TOTEM_NODES_MAX = 6 };

struct totem;
struct totem_node;

struct totem_message {
    struct membership_process from;
    enum { TOTEM_BYTES, TOTEM_JOIN, TOTEM_LEAVE, TOTEM_DOWN } type;
    size_t length;
    uint8_t *bytes;
    uint32_t references; // of deliveries under way
};

struct totem_ring {
    struct membership_ring id;
    uint32_t nodes; // bit node_id
    struct totem_message **log;
    size_t count, capacity;
    uint32_t references; // nodes that are in it
};

// What waits to be dispatched by the node's worker, in order; quorum has a connection of its own.
struct totem_queue {
    struct membership_event *events;
    struct totem_message **messages; // of DELIVERED; else NULL
    size_t begin, end, capacity;
    struct world_event wake;
    struct totem_node *node;
};

struct totem_node {
    struct totem *totem;
    uint32_t node_id;
    bool has_corosync;
    bool restarted;         // since the last ring
    bool has_seen_all;      // since corosync started (wait_for_all)
    uint64_t ring_sequence; // of its last ring: totem keeps it on disk
    struct totem_ring *ring;
    size_t delivered; // of ring->log
    struct world_event deliver;
    uint32_t process_count; // of the group, as this node's corosync sees it
    struct membership_process processes[MEMBERSHIP_PROCESSES_MAX];
    struct totem_queue group, quorum;
};

// What a worker's connections are like.
struct totem_worker {
    bool is_connected, is_paused;
    uint64_t deaf_until_ns; // its corosync hangs: it hears nothing, and goes on
};

struct totem_host {
    // Of the node's worker now; false: there is none.
    bool (*worker)(const struct totem_node *node, struct totem_worker *worker);
    void (*event)(struct totem_node *node, const struct membership_event *event);
    // A worker's message is about to be told to its own node. May be NULL.
    void (*own_delivered)(struct totem_node *node, const struct totem_message *message);
    // A node has delivered one more message of its ring. May be NULL.
    void (*delivered)(struct totem_node *node);
    void (*trace)(struct totem *totem, const char *line);
};

struct totem {
    struct world *world;
    const struct totem_host *host;
    uint32_t node_count;
    struct totem_node *nodes[TOTEM_NODES_MAX]; // of node i + 1
    bool is_two_node;                          // corosync's two_node with wait_for_all (rule 26)
};

// The nodes are its host's, zeroed, one for each id from 1 on.
void totem_init(struct totem *totem, struct world *world, const struct totem_host *host);
void totem_node_add(struct totem *totem, struct totem_node *node);
void totem_deinit(struct totem *totem);
// Makes these rings of the nodes that have corosync: `component[i]` of node i + 1.
void totem_reform(struct totem *totem, const uint32_t *component);
void totem_send(struct totem_node *node, struct membership_process from, int type,
                const uint8_t *bytes, size_t length);
// A worker's connections begin or end; `is_clean`: by cpg_leave.
void totem_worker_connects(struct totem_node *node, uint32_t pid);
void totem_worker_gone(struct totem_node *node, uint32_t pid, bool is_clean);
// The node's corosync ends at once, and its queues with it.
void totem_stop(struct totem_node *node);
