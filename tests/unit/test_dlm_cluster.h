// SPDX-License-Identifier: Apache-2.0
// A few lock cores wired to each other without delay, for tests that tell one story step by step.
// Frames wait on their links until cluster_deliver or cluster_settle.
#pragma once

// cmocka's needs, before it.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "dlm/dlm.h"

enum { CLUSTER_NODES = 4, CLUSTER_EFFECTS = 256, CLUSTER_FRAMES = 256 };

struct cluster_frame {
    uint32_t from;
    uint32_t to;
    uint8_t *bytes;
    size_t length;
};

struct cluster {
    struct dlm_core *cores[CLUSTER_NODES];
    struct lamport_clock clocks[CLUSTER_NODES];
    struct dlm_effect said[CLUSTER_NODES][CLUSTER_EFFECTS]; // to its owner, not taken yet
    size_t said_count[CLUSTER_NODES];
    struct cluster_frame frames[CLUSTER_FRAMES]; // in order of sending
    size_t frame_count;
    struct dlm_effects effects;
    uint64_t epoch;
    struct text *trace; // NULL: none
};

// `count` cores, nodes 0.. in these tests, node_id 1.. in the protocol; no view yet.
void cluster_init(struct cluster *cluster, uint32_t count);
void cluster_deinit(struct cluster *cluster);

void cluster_step(struct cluster *cluster, uint32_t node, const struct dlm_event *event);
// One frame of the link, if there is one.
bool cluster_deliver(struct cluster *cluster, uint32_t from, uint32_t to);
// Until nothing is under way.
void cluster_settle(struct cluster *cluster);
// What is under way from a node is lost, and the node stops.
void cluster_crash(struct cluster *cluster, uint32_t node);

// Bit i: node i. Makes the next view and gives it to its members (not delivering any frame).
void cluster_view(struct cluster *cluster, unsigned members, unsigned dead);
void cluster_recovered(struct cluster *cluster, uint32_t node);

void cluster_request(struct cluster *cluster, uint32_t node, struct lock_name name, uint64_t cookie,
                     enum dlm_mode mode, uint8_t flags);
void cluster_convert(struct cluster *cluster, uint32_t node, uint64_t cookie, enum dlm_mode mode,
                     uint8_t flags, uint8_t value);
void cluster_release(struct cluster *cluster, uint32_t node, uint64_t cookie, uint8_t flags,
                     uint8_t value);
void cluster_cancel(struct cluster *cluster, uint32_t node, uint64_t cookie);

// The next effect of this type that the node's owner was told (and forgets it), or NULL.
const struct dlm_effect *cluster_take(struct cluster *cluster, uint32_t node,
                                      enum dlm_effect_type type);
void cluster_expect_grant(struct cluster *cluster, uint32_t node, uint64_t cookie,
                          enum dlm_mode mode);
void cluster_expect_denied(struct cluster *cluster, uint32_t node, uint64_t cookie, int error);
void cluster_expect_blocking(struct cluster *cluster, uint32_t node, uint64_t cookie,
                             enum dlm_mode mode);
// Nothing was said to the owner but, maybe, that a view is done.
void cluster_expect_silence(struct cluster *cluster, uint32_t node);

// A name that `node` masters in the current view.
struct lock_name cluster_name_of(const struct cluster *cluster, uint32_t node);
