// SPDX-License-Identifier: Apache-2.0
// The replicated state and how one follows from another: pure functions, so that everybody who
// puts the same in gets the same out.
#pragma once

#include "dlm/membership_message.h"

static inline bool membership_process_equal(struct membership_process a,
                                            struct membership_process b)
{
    return a.node_id == b.node_id && a.pid == b.pid;
}

static inline bool membership_ring_equal(struct membership_ring a, struct membership_ring b)
{
    return a.node_id == b.node_id && a.sequence == b.sequence;
}

static inline struct membership_process
membership_member_process(const struct membership_member *member)
{
    return (struct membership_process){member->node_id, member->pid};
}

static inline bool membership_member_is(const struct membership_member *member,
                                        struct membership_process process)
{
    return membership_process_equal(membership_member_process(member), process);
}

static inline struct membership_node membership_member_node(const struct membership_member *member)
{
    return (struct membership_node){member->node_id, member->slot, member->incarnation};
}

static inline struct membership_node membership_dead_node(const struct membership_dead *dead)
{
    return (struct membership_node){dead->node_id, dead->slot, dead->incarnation};
}

// Look-ups; NULL if there is none.
struct membership_member *membership_state_member(struct membership_state *state, uint32_t node_id,
                                                  uint64_t incarnation);
struct membership_joiner *membership_state_joiner(struct membership_state *state, uint32_t node_id,
                                                  uint64_t incarnation);
struct membership_dead *membership_state_dead(struct membership_state *state, uint32_t node_id,
                                              uint64_t incarnation);
// Whether any life of the node stands in it.
bool membership_state_has_node(const struct membership_state *state, uint32_t node_id);
bool membership_state_was_recovered(const struct membership_state *state, uint32_t node_id,
                                    uint64_t incarnation);
// In any of the lists.
bool membership_state_knows(const struct membership_state *state, uint32_t node_id,
                            uint64_t incarnation);
// The wish if it is free, else the lowest free slot, else MEMBERSHIP_NO_SLOT (rule 27).
uint32_t membership_state_free_slot(const struct membership_state *state, uint32_t wish);
// The member that fences: the one with the lowest node id that is not leaving; NULL: none.
const struct membership_member *membership_state_leader(const struct membership_state *state);

// --- ordered facts, on delivery; true if the state has changed ---------------------------------

bool membership_state_fenced(struct membership_state *state, struct membership_node node);
// Only from its recoverer, only once it is fenced.
bool membership_state_recovered(struct membership_state *state, struct membership_node node,
                                struct membership_process from);

// The dead one is recovered: it moves to the list of those.
void membership_state_note_recovered(struct membership_state *state, struct membership_dead *dead);

bool membership_state_stranger(struct membership_state *state, struct membership_node node);

// --- rounds ------------------------------------------------------------------------------------

// Who takes part in a round, and what it said of itself.
struct membership_presence {
    struct membership_process process;
    uint64_t incarnation;
};

// Adds what another member knows: who is fenced, recovered, leaving, has asked to be let in is so
// whoever has heard of it. All who add the same in the same order to the same get the same.
void membership_state_merge(struct membership_state *state, const struct membership_state *other);

// The state that follows when just these are present: absent members are dead, joiners that were
// seen and see become members, recoverers are found for whoever is fenced.
void membership_state_next(struct membership_state *next, const struct membership_state *base,
                           const struct membership_presence *present, uint32_t present_count,
                           struct membership_ring ring);
