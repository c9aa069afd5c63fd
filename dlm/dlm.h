// SPDX-License-Identifier: Apache-2.0
// The lock manager's face. A core is a pure state machine: `dlm_core_step(events) -> effects`. It
// makes no system call, reads no clock, draws no random number and starts no thread; whoever owns
// it carries frames to the peers and tells it what the membership decided.
//
//      requests of this node          effects for this node
//      frames of the peers     ┌────┐ frames for the peers
//      views, recovered   ────►│core├────►
//                              └────┘
//
// One core per node and volume. All functions of one core are called from one thread, and none
// from inside another. docs/dlm.md tells the protocol; rule numbers are those of docs/protocols.md.
//
// What the owner of a core guarantees (each is checked where the core can see it):
//  - Frames between two incarnations arrive once and in order, or not at all from some point on
//    (dlm/session.h); a pair that cannot keep this loses one of its two to the next view.
//  - Every member is given every view from the first that names it on, and every `recovered`,
//    in one order that is the same on all nodes. Epochs rise; they may have gaps.
//  - A node that died is in `dead` of each view until its `recovered` was delivered. A node that
//    is missing from a view and is not in `dead` has left cleanly (rule 28): it holds nothing.
//  - `recovered` comes after the dead node was fenced and its journal's clean mark was durable.
#pragma once

#include "dlm/mode.h"
#include "fs/base/lamport.h"
#include "fs/base/lock_name.h"
#include "fs/base/text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    DLM_VALUE_BYTES = 64,
    DLM_NODES_MAX = 64,
    DLM_DEAD_MAX = 64,
    DLM_FRAME_BYTES_MAX = 65536, // no frame that a core emits or accepts is longer
};

// A life of a node. A restarted node is another one: same node_id, higher incarnation. The core
// takes no part in choosing either; node_id 0 is not used.
struct dlm_node {
    uint32_t node_id;
    uint64_t incarnation;
};

struct dlm_value {
    uint8_t bytes[DLM_VALUE_BYTES];
};

// ---- byte ranges ------------------------------------------------------------------------------

enum dlm_range_space {
    DLM_RANGE_POSIX, // fcntl and OFD: split, merge, atomic change of type
    DLM_RANGE_FLOCK, // flock: whole file, a change of type drops the old lock first
    DLM_RANGE_SPACE_COUNT,
};

enum dlm_range_type { DLM_RANGE_SHARED, DLM_RANGE_EXCLUSIVE };

// A range of one owner. Two ranges conflict when they overlap, lie in one space, have different
// (node, owner) and one of them is exclusive. `handle` only says which open file took it.
struct dlm_range {
    uint64_t owner; // lock owner as FUSE gives it; unique on its node only
    uint64_t handle;
    uint64_t start;
    uint64_t end;  // inclusive; UINT64_MAX for "to the end whatever it is"
    uint32_t pid;  // for F_GETLK of others; means nothing to the core
    uint8_t space; // enum dlm_range_space
    uint8_t type;  // enum dlm_range_type
};

enum dlm_range_scope {
    DLM_SCOPE_RANGE,  // [start, end] of the owner
    DLM_SCOPE_OWNER,  // all of the owner in this space: FLUSH
    DLM_SCOPE_HANDLE, // all that this handle took, in both spaces: RELEASE. No lock that was asked
                      // through this handle may be unanswered.
};

// ---- events -----------------------------------------------------------------------------------

enum dlm_event_type {
    DLM_EVENT_REQUEST,
    DLM_EVENT_CONVERT,
    DLM_EVENT_RELEASE,
    DLM_EVENT_CANCEL,
    DLM_EVENT_RANGE_LOCK,
    DLM_EVENT_RANGE_UNLOCK,
    DLM_EVENT_RANGE_TEST,
    DLM_EVENT_RANGE_CANCEL,
    DLM_EVENT_FRAME,
    DLM_EVENT_VIEW,
    DLM_EVENT_RECOVERED,
};

enum dlm_flags {
    DLM_NOQUEUE = 1,     // REQUEST, CONVERT: -EAGAIN instead of a wait for another holder
    DLM_WRITE_VALUE = 2, // CONVERT down from PW or EX, RELEASE of PW or EX: `value` is the new one
};

// A new lock, known by `cookie` from now on: the caller's choice, unique among this node's locks.
// Answer: GRANT or DENIED (then the cookie is free again).
struct dlm_request {
    struct lock_name name;
    uint64_t cookie;
    uint8_t mode;
    uint8_t flags;
};

// Changes a granted lock with nothing pending. Down (dlm_mode_is_down) is effective at once and
// answered in the same step; else the old mode (between CW and PR only CR, see dlm_mode_kept) is
// held until GRANT, and after DENIED (-EDEADLK: another holder waits for this lock to go down in
// order to go up itself; give the lock up and ask anew).
struct dlm_convert {
    uint64_t cookie;
    uint8_t mode;
    uint8_t flags;
    struct dlm_value value;
};

// Gives up a granted lock with nothing pending. Effective at once; no answer; the cookie is free.
struct dlm_release {
    uint64_t cookie;
    uint8_t flags;
    struct dlm_value value;
};

// Takes back what is pending on `cookie`. It is answered once, as always: by DENIED -ECANCELED, or
// by the GRANT that was on its way. Nothing happens if nothing is pending.
struct dlm_cancel {
    uint64_t cookie;
};

// A byte-range operation. `cookie` names it until its RANGE_RESULT; unique among this node's
// unanswered range operations. UNLOCK has no cookie, is effective at once and has no answer.
// LOCK: result 0, -EAGAIN (not `wait`, `conflict` set), -EDEADLK, -ECANCELED.
// TEST: result 0 (free) or -EAGAIN with `conflict` set.
struct dlm_range_lock {
    struct lock_name name;
    uint64_t cookie;
    struct dlm_range range;
    bool wait;
};

struct dlm_range_unlock {
    struct lock_name name;
    struct dlm_range range; // which fields count is said by `scope`
    uint8_t scope;          // enum dlm_range_scope
};

struct dlm_range_cancel {
    struct lock_name name;
    uint64_t cookie;
};

// One payload of the session with `from`. The bytes are only read, during the step.
struct dlm_frame {
    struct dlm_node from;
    const uint8_t *bytes;
    size_t length;
};

struct dlm_view {
    uint64_t epoch; // higher than of the view before
    uint32_t member_count;
    uint32_t dead_count;
    struct dlm_node members[DLM_NODES_MAX]; // this node among them; one life per node_id
    struct dlm_node dead[DLM_DEAD_MAX];     // died and not recovered yet
};

struct dlm_event {
    enum dlm_event_type type;
    union {
        struct dlm_request request;
        struct dlm_convert convert;
        struct dlm_release release;
        struct dlm_cancel cancel;
        struct dlm_range_lock range_lock; // RANGE_LOCK and RANGE_TEST
        struct dlm_range_unlock range_unlock;
        struct dlm_range_cancel range_cancel;
        struct dlm_frame frame;
        const struct dlm_view *view;
        struct dlm_node recovered;
    };
};

// ---- effects ----------------------------------------------------------------------------------

enum dlm_effect_type {
    DLM_EFFECT_SEND,         // carry a frame to a peer
    DLM_EFFECT_GRANT,        // a request or conversion succeeded
    DLM_EFFECT_DENIED,       // it did not; a conversion keeps its old mode
    DLM_EFFECT_BLOCKING,     // another node waits for a mode that ours excludes
    DLM_EFFECT_RANGE_RESULT, // a byte-range LOCK or TEST is answered
    DLM_EFFECT_VIEW_DONE,    // locks of all moved resources are rebuilt here, for this epoch
    DLM_EFFECT_BAD_FRAME,    // the peer sent nonsense: cut it off and log
};

struct dlm_effect_send {
    struct dlm_node to;
    size_t offset; // into `bytes` of the effects
    size_t length; // at most DLM_FRAME_BYTES_MAX
};

// `value` is the resource's value block at the grant; without `value_valid` it is to be read from
// its source (rule 19). A resource that nobody has locked has no valid value.
struct dlm_effect_grant {
    uint64_t cookie;
    uint8_t mode;
    bool value_valid;
    struct dlm_value value;
};

struct dlm_effect_denied {
    uint64_t cookie;
    int error; // -EAGAIN, -ECANCELED, -EDEADLK
};

// Sent once for each mode wanted; the owner goes down to a mode compatible with it when it can. It
// may name a lock that a later event of the same step has released.
struct dlm_effect_blocking {
    uint64_t cookie;
    uint8_t mode; // what the other one wants
};

struct dlm_effect_range_result {
    uint64_t cookie;
    int error;
    struct dlm_node conflict_node; // with -EAGAIN: who holds `conflict`
    struct dlm_range conflict;
};

struct dlm_effect_bad_frame {
    struct dlm_node from;
    int error; // why, see dlm/message.h
};

struct dlm_effect {
    enum dlm_effect_type type;
    union {
        struct dlm_effect_send send;
        struct dlm_effect_grant grant;
        struct dlm_effect_denied denied;
        struct dlm_effect_blocking blocking;
        struct dlm_effect_range_result range_result;
        uint64_t view_done; // epoch
        struct dlm_effect_bad_frame bad_frame;
    };
};

// Reused from step to step: a step empties it first and grows it where it must. Begin with all
// zeros, end with dlm_effects_deinit. In order; frames to one peer leave in the order they stand.
struct dlm_effects {
    struct dlm_effect *items;
    size_t count;
    size_t capacity;
    uint8_t *bytes;
    size_t byte_count;
    size_t byte_capacity;
};

void dlm_effects_deinit(struct dlm_effects *effects);

// The bytes of a SEND; valid until the next step with these effects.
const uint8_t *dlm_effects_frame(const struct dlm_effects *effects,
                                 const struct dlm_effect_send *send);

// ---- the core ---------------------------------------------------------------------------------

struct dlm_core;

struct dlm_core_config {
    struct dlm_node self;
    uint32_t slice; // pieces of long work (a lock, a message ...) in one step; 0: the usual number
    struct lamport_clock *clock; // shared with the journal; outlives the core
};

struct dlm_core *dlm_core_new(const struct dlm_core_config *config);
void dlm_core_free(struct dlm_core *core);

// Takes events in order; what they cause for one peer travels in one frame (or as few as the
// frame's limit allows). Requests before the first view wait for it. Breaking the contract of an
// event above (unknown cookie, conversion of a pending lock ...) is a CHECK.
//
// A view, a `recovered` or the frame that completes a view may cause work on every lock. A step
// does a slice of it (well below a millisecond); until all is done the core is busy and takes no
// more events. Returns how many it has taken: the rest is to be given to later steps, which may
// bring nothing new (`count` 0) and be as far apart as the owner likes. Whoever is told of effects
// between two slices may ask for things at once; that comes after what waits already.
size_t dlm_core_step(struct dlm_core *core, const struct dlm_event *events, size_t count,
                     struct dlm_effects *effects);

// Steps are needed without any event.
bool dlm_core_is_busy(const struct dlm_core *core);

// Something is to be said to a peer that may wait for what else goes there. A step without events
// while the core is not busy says it all; the owner makes one within some milliseconds.
bool dlm_core_has_more_to_say(const struct dlm_core *core);

// ---- looking in -------------------------------------------------------------------------------

struct dlm_counters {
    uint64_t requests;        // of this node: requests, conversions up, range operations
    uint64_t requests_local;  // ... whose master was this node
    uint64_t grants;          // given to this node
    uint64_t denied;          // answers other than a grant, this node
    uint64_t blocking;        // callbacks to this node
    uint64_t mastered_grants; // given by this node as a master
    uint64_t notes;           // of this node's locks, told to shadows
    uint64_t frames_sent;
    uint64_t messages_sent;
    uint64_t bytes_sent;
    uint64_t frames_received;
    uint64_t frames_held;    // came from a later epoch and waited for its view
    uint64_t frames_refused; // from a life that is not in the view
    uint64_t frames_bad;
    uint64_t messages_refused;  // for a resource that moved since they were sent (rule 8)
    uint64_t rebuilt_locks;     // taken over from holders after view changes
    uint64_t rebuild_conflicts; // ... that conflicted with each other: never, or a bug somewhere
    uint64_t deadlocks;         // found, conversions and ranges
    uint64_t views;
};

// Who holds or waits for what. One line of `lunfs locks`.
struct dlm_lock_info {
    struct lock_name name;
    struct dlm_node node; // who holds or waits
    bool is_master;       // seen from the resource's master, else from its own node
    bool is_range;
    bool is_dead;    // held for a dead node until it is recovered
    bool is_assumed; // held for whoever died with the master; node is 0
    uint64_t cookie;
    enum dlm_mode granted;   // DLM_MODE_NONE: only waiting
    enum dlm_mode requested; // DLM_MODE_NONE: not waiting
    struct dlm_range range;  // is_range: granted when requested is DLM_MODE_NONE
};

typedef void dlm_lock_visit(void *context, const struct dlm_lock_info *info);

// This node's locks and ranges, then what it knows as a master, each in no particular order.
// The visitor must not step the core.
void dlm_core_visit_locks(const struct dlm_core *core, dlm_lock_visit *visit, void *context);
// The notes that this node keeps as a shadow: `granted` is what the lock is at most.
void dlm_core_visit_notes(const struct dlm_core *core, dlm_lock_visit *visit, void *context);

// Where the rebuild after the last view stands.
struct dlm_core_status {
    uint64_t epoch;
    bool is_complete;      // all members have re-sent what moved
    uint32_t missing;      // members whose end-of-holders marker has not come yet
    uint32_t dead_count;   // died and not recovered
    size_t lock_count;     // this node's
    size_t resource_count; // mastered here
    size_t note_count;     // of locks of others, kept here
};

struct dlm_core_status dlm_core_status_get(const struct dlm_core *core);
const struct dlm_counters *dlm_core_counters(const struct dlm_core *core);

// The member that masters `name` in the current view; node_id 0 before the first view.
struct dlm_node dlm_core_master_of(const struct dlm_core *core, struct lock_name name);
// The member that keeps notes of who may hold `name`; node_id 0 also where there is but one member.
struct dlm_node dlm_core_shadow_of(const struct dlm_core *core, struct lock_name name);

void dlm_lock_info_to_text(const struct dlm_lock_info *info, struct text *text);
void dlm_event_to_text(const struct dlm_event *event, struct text *text);
void dlm_effect_to_text(const struct dlm_effect *effect, struct text *text);
// View, rebuild, rules, every resource and lock: several lines.
void dlm_core_to_text(const struct dlm_core *core, struct text *text);
