// SPDX-License-Identifier: Apache-2.0
// What lock cores say to each other, byte by byte. Little-endian, no padding left to the compiler,
// reserved bytes (`zero`) are 0 and checked. docs/dlm.md has the pictures.
//
//   session frame ( dlm/session.h )
//   └─ frame header: who says it, in which epoch, at which logical time
//      ├─ message header: type, length
//      │  └─ body
//      ├─ message ...
//
//   asking side -> master          master -> asking side       between members
//   REQUEST CONVERT RELEASE        GRANT DENIED BLOCKING       HOLD RANGE_HOLD RULE READY
//   CANCEL RANGE_LOCK RANGE_TEST   RANGE_RESULT                PROBE_OWNER PROBE_WAITER DEADLOCK
//   RANGE_UNLOCK RANGE_CANCEL
//
//   asking side -> shadow: NOTE    shadow -> asking side: NOTED
//
// Serials: each node numbers what it asks. `base` is the serial under which the master learnt of
// a lock (REQUEST or HOLD), `serial` that of the operation which is being asked or answered. A
// lock that is taken to another master gets a new base, so nothing that was said about it before
// can be mistaken. Notes have serials of their own: a lock's note may move where the lock does not.
#pragma once

#include "dlm/dlm.h"
#include "fs/base/endian.h"

enum {
    MESSAGE_MAGIC = 0x4d444c4c, // "LLDM"
    MESSAGE_VERSION = 1,        // of everything below but the hello
    MESSAGE_VERSION_MIN = 1,    // version N talks to N-1
};

struct frame_header_wire {
    le32_t magic;         // 0
    le16_t version;       // 4
    le16_t zero;          // 6
    le32_t node_id;       // 8   of the sender
    le32_t message_count; // 12  at least 1
    le64_t incarnation;   // 16  of the sender
    le64_t epoch;         // 24  the view that the sender had installed
    le64_t lamport;       // 32  higher than all the sender had seen or said
};
_Static_assert(sizeof(struct frame_header_wire) == 40, "wire size");

enum message_type {
    MESSAGE_REQUEST = 1,
    MESSAGE_CONVERT,
    MESSAGE_RELEASE,
    MESSAGE_CANCEL,
    MESSAGE_GRANT,
    MESSAGE_DENIED,
    MESSAGE_BLOCKING,
    MESSAGE_HOLD,
    MESSAGE_RANGE_LOCK,
    MESSAGE_RANGE_TEST,
    MESSAGE_RANGE_UNLOCK,
    MESSAGE_RANGE_CANCEL,
    MESSAGE_RANGE_RESULT,
    MESSAGE_RANGE_HOLD,
    MESSAGE_PROBE_OWNER,
    MESSAGE_PROBE_WAITER,
    MESSAGE_DEADLOCK,
    MESSAGE_RULE,
    MESSAGE_READY,
    MESSAGE_NOTE,
    MESSAGE_NOTED,
    MESSAGE_TYPE_COUNT,
};

struct message_header_wire {
    le16_t type;   // 0
    le16_t length; // 2   of header and body, a multiple of 8
    le32_t zero;   // 4
};
_Static_assert(sizeof(struct message_header_wire) == 8, "wire size");

struct name_wire {
    le32_t type; // 0
    le32_t zero; // 4
    le64_t id;   // 8
};
_Static_assert(sizeof(struct name_wire) == 16, "wire size");

struct node_wire {
    le32_t node_id;     // 0
    le32_t zero;        // 4
    le64_t incarnation; // 8
};
_Static_assert(sizeof(struct node_wire) == 16, "wire size");

struct range_wire {
    le64_t owner;  // 0
    le64_t handle; // 8
    le64_t start;  // 16
    le64_t end;    // 24  inclusive
    le32_t pid;    // 32
    uint8_t space; // 36  enum dlm_range_space
    uint8_t type;  // 37  enum dlm_range_type
    uint8_t zero[2];
};
_Static_assert(sizeof(struct range_wire) == 40, "wire size");

enum message_flags {
    MESSAGE_NOQUEUE = 1,
    MESSAGE_VALUE = 2,   // the value field is set (CONVERT, RELEASE) or valid (GRANT, HOLD)
    MESSAGE_ANSWER = 4,  // NOTE: wants a NOTED
    MESSAGE_AT_MOST = 8, // HOLD of somebody dead: it held `granted` or less, a shadow says
};

enum message_error {
    MESSAGE_ERROR_NONE,
    MESSAGE_ERROR_AGAIN,
    MESSAGE_ERROR_CANCELED,
    MESSAGE_ERROR_DEADLOCK,
    MESSAGE_ERROR_COUNT,
};

struct message_request_wire {
    struct message_header_wire header; // 0
    struct name_wire name;             // 8
    le64_t cookie;                     // 24
    le64_t serial;                     // 32  becomes the base
    uint8_t mode;                      // 40
    uint8_t flags;                     // 41
    uint8_t zero[6];                   // 42
};
_Static_assert(sizeof(struct message_request_wire) == 48, "wire size");

struct message_convert_wire {
    struct message_header_wire header; // 0
    le64_t cookie;                     // 8
    le64_t base;                       // 16
    le64_t serial;                     // 24
    uint8_t mode;                      // 32
    uint8_t flags;                     // 33
    uint8_t zero[6];                   // 34
    uint8_t value[DLM_VALUE_BYTES];    // 40
};
_Static_assert(sizeof(struct message_convert_wire) == 104, "wire size");

struct message_release_wire {
    struct message_header_wire header; // 0
    le64_t cookie;                     // 8
    le64_t base;                       // 16
    uint8_t flags;                     // 24
    uint8_t zero[7];                   // 25
    uint8_t value[DLM_VALUE_BYTES];    // 32
};
_Static_assert(sizeof(struct message_release_wire) == 96, "wire size");

struct message_cancel_wire {
    struct message_header_wire header; // 0
    le64_t cookie;                     // 8
    le64_t serial;                     // 16  of the operation to take back
};
_Static_assert(sizeof(struct message_cancel_wire) == 24, "wire size");

struct message_grant_wire {
    struct message_header_wire header; // 0
    le64_t cookie;                     // 8
    le64_t serial;                     // 16
    uint8_t mode;                      // 24
    uint8_t flags;                     // 25
    uint8_t zero[6];                   // 26
    uint8_t value[DLM_VALUE_BYTES];    // 32
};
_Static_assert(sizeof(struct message_grant_wire) == 96, "wire size");

struct message_denied_wire {
    struct message_header_wire header; // 0
    le64_t cookie;                     // 8
    le64_t serial;                     // 16
    uint8_t error;                     // 24
    uint8_t zero[7];                   // 25
};
_Static_assert(sizeof(struct message_denied_wire) == 32, "wire size");

struct message_blocking_wire {
    struct message_header_wire header; // 0
    le64_t cookie;                     // 8
    le64_t base;                       // 16
    uint8_t mode;                      // 24
    uint8_t zero[7];                   // 25
};
_Static_assert(sizeof(struct message_blocking_wire) == 32, "wire size");

// A lock taken to the resource's new master: by its holder, or by the old master (or its shadow,
// if the old master is gone: AT_MOST) for a node that is dead and not recovered.
struct message_hold_wire {
    struct message_header_wire header; // 0
    struct name_wire name;             // 8
    struct node_wire holder;           // 24
    le64_t cookie;                     // 40
    le64_t serial;                     // 48  becomes the base, and the conversion's serial
    uint8_t granted;                   // 56
    uint8_t requested;                 // 57  DLM_MODE_NONE, or a conversion that waits
    uint8_t flags;                     // 58
    uint8_t zero[5];                   // 59
    uint8_t value[DLM_VALUE_BYTES];    // 64
};
_Static_assert(sizeof(struct message_hold_wire) == 128, "wire size");

struct message_range_lock_wire {       // RANGE_LOCK and RANGE_TEST
    struct message_header_wire header; // 0
    struct name_wire name;             // 8
    le64_t cookie;                     // 24
    le64_t serial;                     // 32
    struct range_wire range;           // 40
    uint8_t wait;                      // 80  0 or 1
    uint8_t zero[7];                   // 81
};
_Static_assert(sizeof(struct message_range_lock_wire) == 88, "wire size");

struct message_range_unlock_wire {
    struct message_header_wire header; // 0
    struct name_wire name;             // 8
    le64_t serial;                     // 24
    struct range_wire range;           // 32
    uint8_t scope;                     // 72  enum dlm_range_scope
    uint8_t is_share;                  // 73  1: what is exclusive there becomes shared, no more
    uint8_t zero[6];                   // 74
};
_Static_assert(sizeof(struct message_range_unlock_wire) == 80, "wire size");

struct message_range_cancel_wire {
    struct message_header_wire header; // 0
    struct name_wire name;             // 8
    le64_t cookie;                     // 24
    le64_t serial;                     // 32
    uint8_t error;                     // 40  what to answer
    uint8_t zero[7];                   // 41
};
_Static_assert(sizeof(struct message_range_cancel_wire) == 48, "wire size");

struct message_range_result_wire {
    struct message_header_wire header; // 0
    struct name_wire name;             // 8
    le64_t cookie;                     // 24
    le64_t serial;                     // 32
    le64_t seen;                       // 40  last range serial of the asking node done before
    struct node_wire conflict_node;    // 48
    struct range_wire conflict;        // 64
    uint8_t error;                     // 104
    uint8_t is_kept;                   // 105 a part that was exclusive waits for UNLOCK is_share
    uint8_t zero[6];                   // 106
};
_Static_assert(sizeof(struct message_range_result_wire) == 112, "wire size");

struct message_range_hold_wire {
    struct message_header_wire header; // 0
    struct name_wire name;             // 8
    struct node_wire holder;           // 24
    struct range_wire range;           // 40
};
_Static_assert(sizeof(struct message_range_hold_wire) == 80, "wire size");

// A wait for byte ranges whose owner wants to know whether it waits, over others, for itself.
struct probe_wire {
    struct node_wire node; // 0   of the initiator
    le64_t owner;          // 16
    le64_t cookie;         // 24
    le64_t serial;         // 32
    le64_t number;         // 40  of the search; a later one has a higher number
};
_Static_assert(sizeof(struct probe_wire) == 48, "wire size");

struct message_probe_owner_wire {      // master -> node of an owner in the way
    struct message_header_wire header; // 0
    struct probe_wire probe;           // 8
    le64_t owner;                      // 56
};
_Static_assert(sizeof(struct message_probe_owner_wire) == 64, "wire size");

struct message_probe_waiter_wire {     // node of that owner -> master of what it waits for itself
    struct message_header_wire header; // 0
    struct probe_wire probe;           // 8
    struct name_wire name;             // 56
    le64_t cookie;                     // 72
    le64_t serial;                     // 80
};
_Static_assert(sizeof(struct message_probe_waiter_wire) == 88, "wire size");

struct message_deadlock_wire {         // master that closed the ring -> initiator
    struct message_header_wire header; // 0
    le64_t cookie;                     // 8
    le64_t serial;                     // 16
};
_Static_assert(sizeof(struct message_deadlock_wire) == 24, "wire size");

// See dlm/core_view.h: which resources the dead may hold unknown to anyone.
struct message_rule_wire {
    struct message_header_wire header; // 0
    le32_t member_count;               // 8
    le32_t blocker_count;              // 12
    le64_t gone;                       // 16  bit i: members[i]
    uint8_t is_noted;                  // 24  not for locks whose shadow is not gone
    uint8_t zero[7];                   // 25
    struct node_wire nodes[];          // 32  members, then blockers
};
_Static_assert(sizeof(struct message_rule_wire) == 32, "wire size");

// The end-of-holders marker of rule 1: all that moved by this view has been re-sent.
struct message_ready_wire {
    struct message_header_wire header; // 0
    le64_t epoch;                      // 8
    uint8_t is_first;                  // 16  the sender's first view: it knows of no earlier one
    uint8_t zero[7];                   // 17
};
_Static_assert(sizeof(struct message_ready_wire) == 24, "wire size");

// What the sender may hold, at most: to the resource's shadow (core_note.c).
struct message_note_wire {
    struct message_header_wire header; // 0
    struct name_wire name;             // 8
    le64_t cookie;                     // 24
    le64_t serial;                     // 32  of the note
    uint8_t mode;                      // 40  DLM_MODE_NONE: nothing any more
    uint8_t flags;                     // 41
    uint8_t zero[6];                   // 42
};
_Static_assert(sizeof(struct message_note_wire) == 48, "wire size");

struct message_noted_wire {
    struct message_header_wire header; // 0
    le64_t cookie;                     // 8
    le64_t serial;                     // 16
};
_Static_assert(sizeof(struct message_noted_wire) == 24, "wire size");

// ---- frames -----------------------------------------------------------------------------------

struct frame_header {
    struct dlm_node sender;
    uint64_t epoch;
    uint64_t lamport;
    uint32_t message_count;
};

// Checks every bound and field of a frame, so that what follows may read its messages plainly.
// 0; -ERROR_MESSAGE_LENGTH, -ERROR_MESSAGE_TYPE, -ERROR_MESSAGE_FIELD, -ERROR_PEER_VERSION.
int message_frame_verify(const uint8_t *bytes, size_t length, struct frame_header *header);

void message_frame_header_encode(const struct frame_header *header, uint8_t *bytes);

// ---- fields -----------------------------------------------------------------------------------

struct message_header_wire message_header_make(enum message_type type, size_t length);
struct name_wire message_name_make(struct lock_name name);
struct lock_name message_name_get(const struct name_wire *wire);
struct node_wire message_node_make(struct dlm_node node);
struct dlm_node message_node_get(const struct node_wire *wire);
struct range_wire message_range_make(const struct dlm_range *range);
struct dlm_range message_range_get(const struct range_wire *wire);
// -EAGAIN, -ECANCELED, -EDEADLK, 0 to and from the wire's codes.
uint8_t message_error_make(int error);
int message_error_get(uint8_t wire);

const char *message_type_text(enum message_type type);
// "GRANT ck=7 EX": for traces and logs. `message` lies in a verified frame.
void message_to_text(const struct message_header_wire *message, struct text *text);

// ---- hello ------------------------------------------------------------------------------------
// The first bytes on a connection, both ways, before the session speaks. Fixed for ever, but for
// what version_max and the feature words announce.

enum { HELLO_MAGIC = 0x48444c4c }; // "LLDH"

struct hello_wire {
    le32_t magic;            // 0
    le16_t version_min;      // 4   of MESSAGE_VERSION that the sender speaks
    le16_t version_max;      // 6
    le64_t features_must;    // 8   the peer must know each of these
    le64_t features_may;     // 16  used when all members have them, by an ordered message
    le64_t incarnation;      // 24  of the sender
    le64_t peer_incarnation; // 32  whom it means to talk to; 0: does not know yet
    uint8_t format_id[16];   // 40  of the volume
    le32_t node_id;          // 56  of the sender
    le32_t zero;             // 60
    le64_t session_received; // 64  last sequence number delivered, see dlm/session.h
};
_Static_assert(sizeof(struct hello_wire) == 72, "wire size");

struct hello {
    struct dlm_node sender;
    uint64_t peer_incarnation;
    uint16_t version_min;
    uint16_t version_max;
    uint64_t features_must;
    uint64_t features_may;
    uint8_t format_id[16];
    uint64_t session_received;
};

void message_hello_encode(const struct hello *hello, struct hello_wire *wire);

// Decodes and judges a peer's hello against ours (`mine` gives format_id, versions, incarnation
// and `features_must` | `features_may` as what we know). 0 and `version` to speak;
// -ERROR_PEER_HANDSHAKE (magic, reserved bytes, node_id 0), -ERROR_PEER_VERSION (no common
// version, or a feature we lack), -ERROR_PEER_VOLUME (another format_id), -ERROR_MESSAGE_SENDER
// (it means an earlier life of ours).
int message_hello_decode(const struct hello_wire *wire, const struct hello *mine,
                         struct hello *peer, uint16_t *version);
