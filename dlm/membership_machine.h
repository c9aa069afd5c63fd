// SPDX-License-Identifier: Apache-2.0
// Inside the membership machine. Included by dlm/membership*.c alone.
//
//   membership.c         effects; quorum, suspend and resume; questions
//   membership_events.c  events in
//   membership_tasks.c   what a member does in a view
//   membership_round.c   START, SYNC, ACK: how everybody comes to the same state
//   membership_install.c which state that is, and what it makes of this life
//   membership_prepared.c  what was prepared in rings that broke
//   membership_facts.c   ordered facts on delivery
//   membership_wishes.c  what this node wants to be known, until it is
//   membership_state.c   the replicated state and what follows from it
//   membership_merge.c   what the members of a broken ring know differently comes together
//   membership_message.c bytes      membership_text.c  for people
#pragma once

#include "dlm/membership_state.h"

enum { MEMBERSHIP_WISHES_MAX = 256, MEMBERSHIP_EVIDENCE_MAX = 128, MEMBERSHIP_UNSURE_MAX = 8 };

struct membership_member_process { // of the CPG group
    struct membership_process id;
    bool is_expected; // takes part in the round
    bool has_synced;
    bool has_acked;
    struct membership_sync *sync; // what it said in this round; NULL: nothing yet
};

enum membership_round_phase {
    ROUND_NONE,    // void: a START is needed
    ROUND_SYNCING, // not all have said what they know
    ROUND_ACKING,  // not all have computed the next state
    ROUND_COMPLETE,
};

struct membership_round {
    enum membership_round_phase phase;
    struct membership_round_id id;
    uint64_t began_ns;
    bool has_sent_sync;
    bool has_sent_ack;
    bool said_joining; // our SYNC said that we want to be let in
};

// Something this node wants everybody to know, sent in each round until the state shows it.
struct membership_wish {
    enum membership_message_type type; // PROVED, SEEN, NODE_FENCED, NODE_RECOVERED, EXPEL,
                                       // LINK, STRANGER
    struct membership_node node;
    struct membership_process process; // EXPEL
    bool is_down;                      // LINK
    bool is_sent;
    char reason[MEMBERSHIP_REASON_BYTES];
};

struct membership_evidence {
    struct membership_ring ring;
    uint32_t node_id;
    uint32_t pid;         // of a process that went down
    uint64_t incarnation; // of a drained one
};

struct membership_link_report { // `node_id` says that its link to `peer` is down
    uint32_t node_id;
    uint32_t peer_node_id;
};

struct membership {
    struct membership_config config;
    uint64_t now_ns;
    struct membership_effects *effects; // of the step under way

    // corosync's side
    bool has_ring, has_quorum_ring, is_quorate;
    struct membership_ring ring, quorum_ring;
    bool is_lost;
    uint64_t lost_ns;
    uint32_t process_count;
    struct membership_member_process *processes;
    uint32_t excluded_count;
    struct membership_process excluded[MEMBERSHIP_PROCESSES_MAX];

    // rounds
    struct membership_round round;
    bool start_wanted;
    uint64_t start_wanted_ns;
    struct membership_process awaited; // who is to begin the round that is wanted
    uint32_t trigger_count;            // causes for a round so far in this ring, as seen here
    uint32_t start_sent_count;         // trigger_count when we last sent a START; 0: not since
    uint32_t round_number;             // of our own STARTs

    // the replicated state, and the one that waits for its ACKs
    bool has_state;
    bool is_prepared;
    struct membership_state *state;
    struct membership_state *prepared;
    struct membership_ring prepared_ring; // in which it was
    uint32_t unsure_count; // prepared in earlier rings: somebody may have installed them
    struct membership_state *unsure[MEMBERSHIP_UNSURE_MAX];
    uint64_t changed_ns;           // when the state last changed here
    uint64_t view_told;            // epoch of the last VIEW effect
    struct membership_view *shown; // what membership_view_get answers

    // this life
    enum membership_standing standing;
    uint64_t incarnation;
    uint32_t slot, slot_wish, slot_count;
    uint16_t port;
    bool is_founding, found_asked, found_sent, found_accepted, slot_told, join_sent;
    bool join_accepted; // a state names us as a joiner: from here on others may take us for dead
    bool wants_leave, leave_sent, leave_accepted, left_told;
    bool features_sent;
    struct membership_message *found; // what FOUNDED said

    // suspension (rule 18)
    bool is_running, has_run;
    bool mailbox_asked;
    uint32_t companion_count; // members when we were suspended
    struct membership_node companions[MEMBERSHIP_NODES_MAX];

    uint32_t wish_count;
    struct membership_wish wishes[MEMBERSHIP_WISHES_MAX];
    uint32_t down_count, drained_count; // evidence for rule 9
    struct membership_evidence down[MEMBERSHIP_EVIDENCE_MAX];
    struct membership_evidence drained[MEMBERSHIP_EVIDENCE_MAX];
    uint32_t link_count;
    struct membership_link_report links[MEMBERSHIP_EVIDENCE_MAX];
    uint32_t task_count; // fences, replays and looks that were ordered and are not over
    struct {
        enum membership_effect_type type;
        struct membership_node node;
    } tasks[MEMBERSHIP_WISHES_MAX];
};

// --- membership.c ----------------------------------------------------------------------------

struct membership_effect *membership_emit(struct membership *self,
                                          enum membership_effect_type type);
void membership_emit_node(struct membership *self, enum membership_effect_type type,
                          struct membership_node node);
// Fills ring and round, encodes, emits SEND.
void membership_send(struct membership *self, struct membership_message *message);
void membership_end(struct membership *self, int error, const char *reason);
// Whether CPG and quorum speak of the same ring and it is quorate (rule 11).
bool membership_ring_is_quorate(const struct membership *self);
bool membership_has_ended(const struct membership *self);
// This life as a member of the state; NULL: it is none.
struct membership_member *membership_self_member(struct membership *self);
struct membership_joiner *membership_self_joiner(struct membership *self);
// After anything has changed: fences, replays, slots, wishes, resume.
void membership_act(struct membership *self);
void membership_suspend(struct membership *self);
// The mailbox that was asked for has been read.
void membership_mailbox_clean(struct membership *self);
// Memory, CHECKed.
void *membership_zeroed(size_t count, size_t bytes);

// --- membership_tasks.c ----------------------------------------------------------------------

// What the state shows as done, whoever did it, is not this node's work any more.
void membership_tasks_end(struct membership *self);
// Orders what this member has to do and has not begun; the ring is quorate.
void membership_tasks_order(struct membership *self);

// --- membership_round.c ----------------------------------------------------------------------

void membership_round_trigger(struct membership *self);
// The ring has changed, or is gone: nothing of the old one counts any more.
void membership_round_reset(struct membership *self);
// Says whatever is due: START, SYNC, ACK.
void membership_round_drive(struct membership *self);
void membership_round_deliver(struct membership *self, struct membership_process from,
                              const struct membership_message *message);
// Expels who keeps the round waiting; when to look again.
void membership_round_tick(struct membership *self);
uint64_t membership_round_deadline_ns(const struct membership *self);
bool membership_process_is_excluded(const struct membership *self,
                                    struct membership_process process);
void membership_processes_free(struct membership_member_process *processes, uint32_t count);
void membership_process_exclude(struct membership *self, struct membership_process process);
struct membership_member_process *membership_process_find(const struct membership *self,
                                                          struct membership_process process);

// --- membership_install.c --------------------------------------------------------------------

// Whether this life says the state in its SYNC.
bool membership_carries_state(struct membership *self);
// All have said what they know: merges it, prepares the state that follows.
void membership_syncs_complete(struct membership *self);
// All have prepared it: it is installed.
void membership_acks_complete(struct membership *self);

// --- membership_prepared.c -------------------------------------------------------------------

// What is prepared was not installed here when its ring broke: kept until something is.
void membership_prepared_keep(struct membership *self);
// Whether the state of this generation was prepared, ever since the last one was installed; makes
// it `prepared` then.
bool membership_prepared_find(struct membership *self, uint64_t generation);
bool membership_prepared_knows(const struct membership *self, uint32_t node_id,
                               uint64_t incarnation);
void membership_prepared_forget(struct membership *self);

// --- membership_facts.c ----------------------------------------------------------------------

void membership_facts_deliver(struct membership *self, struct membership_process from,
                              const struct membership_message *message);

// --- membership_wishes.c ---------------------------------------------------------------------

void membership_wish_add(struct membership *self, const struct membership_wish *wish);
void membership_wishes_drive(struct membership *self);
void membership_wishes_unsend(struct membership *self);
