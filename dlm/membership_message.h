// SPDX-License-Identifier: Apache-2.0
// The ordered messages of the membership machine. Little-endian, written and read field by field;
// every message begins with
//
//    0        4     6     8                       24        32         40       44     48
//   ┌────────┬─────┬─────┬───────────────────────┬─────────┬──────────┬────────┬──────┬──────── ─ ─
//   │ magic  │ ver │type │ format_id             │ring node│ ring seq │ round: node, pid, number
//   └────────┴─────┴─────┴───────────────────────┴─────────┴──────────┴──────── ─ ─
//
// the ring in which its sender was, and the round that its sender knew as the last one.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dlm/membership.h"

enum membership_message_type {
    MEMBERSHIP_MESSAGE_START = 1, // begins a round
    MEMBERSHIP_MESSAGE_SYNC,      // what its sender knows
    MEMBERSHIP_MESSAGE_ACK,       // its sender has computed `generation`
    MEMBERSHIP_MESSAGE_FOUND,     // the first member, and who died before
    MEMBERSHIP_MESSAGE_JOIN,      // a process asks for a slot
    MEMBERSHIP_MESSAGE_PROVED,    // joiner: I see your heartbeats
    MEMBERSHIP_MESSAGE_SEEN,      // member: I see the joiner's
    MEMBERSHIP_MESSAGE_LEAVING,
    MEMBERSHIP_MESSAGE_EXPEL,
    MEMBERSHIP_MESSAGE_NODE_FENCED,
    MEMBERSHIP_MESSAGE_NODE_RECOVERED,
    MEMBERSHIP_MESSAGE_LINK,
    MEMBERSHIP_MESSAGE_FEATURES,
    MEMBERSHIP_MESSAGE_STRANGER, // a life on the LUN that nobody here knows
    MEMBERSHIP_MESSAGE_TYPE_COUNT,
};

// A round is named by the START that began it.
struct membership_round_id {
    struct membership_process starter;
    uint32_t number;
};

// Has a slot, is not in the view yet.
struct membership_joiner {
    struct membership_member member;
    bool is_assigned; // all members know that the slot is its own: it may beat there
    uint64_t offered; // ... or may know: the generation of the state that was last prepared and
                      // says so; 0: none was
    bool is_proved;   // it sees the members' heartbeats
    bool is_seen;     // they see its own
};

// The replicated state. `generation` grows with each that a round installs; view.epoch is the
// generation of the last one that changed members or dead.
struct membership_state {
    uint64_t generation;
    uint32_t slot_count; // of the volume
    uint32_t joiner_count;
    uint32_t recovered_count;
    struct membership_view view;
    struct membership_joiner joiners[MEMBERSHIP_NODES_MAX];
    struct membership_node recovered[MEMBERSHIP_DEAD_MAX]; // since the round that installed this
};

struct membership_sync {
    bool has_state;   // its sender is a member, or the founder: `state` counts
    bool is_joining;  // asks to be let in
    bool is_founding; // is about to take the claim
    uint64_t incarnation;
    struct membership_state state;
};

struct membership_message {
    enum membership_message_type type;
    struct membership_ring ring;
    struct membership_round_id round;
    union {
        struct {
            uint32_t excluded_count;
            struct membership_process excluded[MEMBERSHIP_PROCESSES_MAX];
        } start;
        struct membership_sync sync;
        uint64_t generation; // ACK
        struct {
            struct membership_member member;
            uint32_t slot_count;
            uint32_t dead_count;
            struct membership_node dead[MEMBERSHIP_DEAD_MAX];
        } found;
        struct {
            struct membership_member member; // slot: the wish
        } join;
        struct membership_node node; // PROVED, SEEN, LEAVING, NODE_FENCED, NODE_RECOVERED
        struct {
            struct membership_process process;
            uint64_t incarnation; // 0: not known
            char reason[MEMBERSHIP_REASON_BYTES];
        } expel;
        struct {
            uint32_t peer_node_id;
            uint64_t peer_incarnation;
            bool is_down;
        } link;
        struct {
            uint16_t version;
            uint64_t features;
        } features;
    };
};

enum { MEMBERSHIP_MESSAGE_BYTES_MAX = 32768 };

// `bytes` has room for MEMBERSHIP_MESSAGE_BYTES_MAX. Returns the length. `message` stays as it is.
size_t membership_message_encode(struct membership_message *message, const uint8_t format_id[16],
                                 uint8_t *bytes);
// 0; -ERROR_MESSAGE_LENGTH, -ERROR_MESSAGE_TYPE, -ERROR_MESSAGE_FIELD, -ERROR_PEER_VERSION,
// -ERROR_PEER_VOLUME. All counts and enumerations are within bounds afterwards.
int membership_message_decode(struct membership_message *message, const uint8_t format_id[16],
                              const uint8_t *bytes, size_t length);
const char *membership_message_text(enum membership_message_type type);
