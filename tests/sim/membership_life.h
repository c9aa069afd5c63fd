// SPDX-License-Identifier: Apache-2.0
// Between the parts of a simulated node: membership_node.c (events and effects), _found.c,
// _reports.c and _life.c alone. What others call stands in membership_world.h.
#pragma once

#include "tests/sim/membership_world.h"

// The life whose event it is; `offset` is that of the event in it.
static inline struct sim_life *life_of_event(struct world_event *event, size_t offset)
{
    return (struct sim_life *)(void *)((char *)event - offset);
}

void life_arm_in(struct sim_life *life, struct world_event *event, uint64_t in_ns);
// Into the machine: an event that names a node, or nothing.
void life_node_event(struct sim_life *life, enum membership_event_type type,
                     struct membership_node node);
void life_simple_event(struct sim_life *life, enum membership_event_type type);
// It does not fence the node any more.
void life_fence_forget(struct sim_life *life, struct membership_node node);

void life_start_heartbeat(struct sim_life *life, uint32_t slot);
void life_begin_found(struct sim_life *life);
void life_found_fires(struct world_event *event);
void life_report_founded(struct sim_life *life);

// This life is over: nothing is submitted any more; 'stopped' is written once all has landed.
void life_ends(struct sim_life *life, const char *why);
