// SPDX-License-Identifier: Apache-2.0
// Inside the lock core: its objects, and what its parts say to each other. Included by dlm/core*.c
// alone.
//
//   core.c           events in, frames in and out
//   core_work.c      a step: events, messages to ourselves, and long work in slices
//   core_client.c    asking side of locks: what this node holds and waits for
//   core_note.c      what a node may hold, told to the shadow: both ends
//   core_resource.c, core_master.c   granting side of locks: its objects, its decisions
//   core_range_client.c, core_range_master.c, core_deadlock.c    the same for byte ranges
//   core_recovery.c  a view change; `recovered`     core_depart.c   ... at the master
//   core_view.c      masters, history, rules        core_ranges.c   sets of ranges
//
// A message to ourselves goes through the same code as one to a peer: it is queued and handled
// before the event that caused it is over. So no handler ever runs inside another.
//
// What walks a whole table is done piece by piece (`work`). Nothing else happens in between:
// neither events nor messages to ourselves are handled, so a table that is walked changes by the
// walk alone.
#pragma once

#include "dlm/core_ranges.h"
#include "dlm/core_table.h"
#include "dlm/core_view.h"
#include "dlm/dlm.h"
#include "dlm/message.h"
#include "fs/base/check.h"

// A member of the current view, this node among them.
struct core_peer {
    struct dlm_node node;
    uint8_t *out; // messages to it that no frame carries yet, room for the frame header first
    size_t out_length;
    size_t out_capacity;
    uint32_t out_count;
    bool is_urgent;             // some of them may not wait
    uint64_t epoch_seen;        // of its last frame: nothing older comes any more
    uint64_t ready_epoch;       // of its last end-of-holders marker
    bool ready_is_first;        // that view was its first
    bool is_departed;           // no member any more: freed at the end of the view change
    uint64_t range_serial_seen; // last range operation of its handled here as master
};

// ---- asking side ------------------------------------------------------------------------------

struct core_lock {          // one of this node's locks
    struct table_link link; // core->locks, by cookie
    uint64_t cookie;
    struct lock_name name;
    struct core_peer *master; // NULL before the first view
    uint64_t base;
    uint64_t serial;   // of what is pending
    uint8_t granted;   // DLM_MODE_NONE until the first grant
    uint8_t requested; // DLM_MODE_NONE: nothing pending
    uint8_t flags;     // of what is pending
    bool is_cancelled; // the pending operation is to be taken back
    bool is_answered;  // granted by the master, but not noted yet: the owner has not heard of it
    uint8_t blocks;    // bit (1 << mode): a callback that came since then
    bool value_valid;  // at the last grant or write
    struct dlm_value value;
    struct core_peer *shadow; // who keeps a note of it; NULL: it needs none
    uint64_t note_serial;     // of the last note
    uint8_t noted;            // what it says; DLM_MODE_NONE: there is none
    bool note_is_confirmed;
};

// An unlock that was sent after a lock which is not answered yet. If the master handled the lock
// first, the answer's `seen` is lower than `serial` and the range is cut again.
struct core_unlock {
    TAILQ_ENTRY(core_unlock) link;
    uint64_t serial;
    struct dlm_range range;
    enum dlm_range_scope scope;
    bool is_share; // exclusive to shared, no more
};

struct core_probe_seen {
    struct dlm_node node;
    uint64_t serial;
    uint64_t number;
};

struct core_range_wait {                   // a range operation of this node without its answer
    TAILQ_ENTRY(core_range_wait) link;     // of its file
    TAILQ_ENTRY(core_range_wait) all_link; // core->waits
    struct core_file *file;
    uint64_t cookie;
    uint64_t serial;
    struct dlm_range range;
    bool is_test;
    bool wait;
    int cancel_error; // not 0: to be taken back, with this answer
    TAILQ_HEAD(, core_unlock) unlocks;
    struct core_probe_seen *probes; // deadlock searches that came by, one for each initiator
    size_t probe_count;
    size_t probe_capacity;
};

struct core_file {          // a resource on which this node holds or wants ranges
    struct table_link link; // core->files, by name
    struct lock_name name;
    struct core_peer *master;
    struct core_range_set held;
    TAILQ_HEAD(, core_range_wait) waits; // oldest first
};

// ---- shadow -----------------------------------------------------------------------------------

struct core_note {          // what a lock of a peer is at most
    struct table_link link; // core->notes, by node and cookie
    struct core_peer *peer;
    struct lock_name name;
    uint64_t cookie;
    uint8_t mode;
};

// ---- granting side ----------------------------------------------------------------------------

enum core_holder_state { HOLDER_GRANTED, HOLDER_CONVERTING, HOLDER_WAITING };

struct core_holder {                       // a lock as its resource's master sees it
    struct table_link link;                // core->holders, by node and cookie
    TAILQ_ENTRY(core_holder) granted_link; // unless WAITING
    TAILQ_ENTRY(core_holder) queue_link;   // unless GRANTED
    struct core_resource *resource;
    struct core_peer *peer; // NULL: dead, not recovered
    struct dlm_node node;
    uint64_t cookie;
    uint64_t base;
    uint64_t serial; // of what waits
    enum core_holder_state state;
    uint8_t granted;   // DLM_MODE_NONE while WAITING
    uint8_t requested; // while CONVERTING or WAITING
    uint8_t flags;
    uint8_t blocking; // mode of the last callback since it was granted, or DLM_MODE_NONE
    // Of somebody dead: it held this or less, a shadow said. Counts as NL until the survivors have
    // told what they hold, then as the strongest of these modes that fits. Else DLM_MODE_NONE.
    uint8_t at_most;
};

TAILQ_HEAD(core_holder_list, core_holder);

struct core_range_waiter { // a range operation that its master has not answered
    TAILQ_ENTRY(core_range_waiter) link;
    struct core_peer *peer;
    uint64_t cookie;
    uint64_t serial;
    struct dlm_range range;
    bool is_test;
    bool wait;
    bool is_suspect; // may have come into a ring since it was last searched from
};

struct core_resource {
    struct table_link link; // core->resources, by name
    struct lock_name name;
    bool is_moving;   // its holders are still telling: nothing is granted
    bool is_orphaned; // a rule names its ranges: all are held
    uint8_t assumed;  // a rule names its locks: what the dead may hold; else, and while it is
                      // moving, DLM_MODE_NONE
    bool value_valid;
    struct dlm_value value;
    uint32_t granted_counts[DLM_MODE_COUNT];
    struct core_holder_list granted;    // CONVERTING ones too
    struct core_holder_list converting; // first come, first served
    struct core_holder_list waiting;    // after all converting
    struct core_range_set ranges;
    TAILQ_HEAD(, core_range_waiter) range_waiters;
};

// ---- the core ---------------------------------------------------------------------------------

// A frame that came before its view.
struct core_held_frame {
    TAILQ_ENTRY(core_held_frame) link;
    struct dlm_node from;
    uint64_t epoch;
    size_t length;
    max_align_t bytes[];
};

// In the order of a view change up to WORK_FILES.
enum core_work_kind {
    WORK_NONE,
    WORK_RESOURCES, // relays what the dead hold, lets go of what moved away
    WORK_NOTES,     // says what the dead may hold where the master is gone too
    WORK_LOCKS,     // takes what we hold and want to the new masters and shadows
    WORK_FILES,
    WORK_SETTLE,    // all are ready: decides on what moved here
    WORK_RECOVERED, // what this dead node held is free
};

struct core_work {
    enum core_work_kind kind;
    struct table_cursor cursor;
    struct dlm_node recovered;
};

struct dlm_core {
    struct dlm_node self;
    uint32_t slice; // pieces of work in a step
    struct core_work work;
    bool is_all_ready;                         // but not settled yet
    bool replays_held;                         // a held frame may be due
    size_t self_at;                            // messages to ourselves are handled up to here
    struct core_peer *departed[DLM_NODES_MAX]; // in the view before: something may point to them
    uint32_t departed_count;
    struct lamport_clock *clock;
    struct core_history history;
    struct core_peer *peers[DLM_NODES_MAX]; // as the members of the current view
    uint32_t peer_count;
    struct core_peer *self_peer; // NULL before the first view
    struct core_dead dead;
    struct core_rules rules;
    bool is_complete;        // the rebuild of the current view is over
    uint64_t complete_epoch; // of the last one that was; 0: none
    uint64_t serial;         // last given
    uint64_t probe_number;   // last given
    struct table locks;
    struct table files;
    TAILQ_HEAD(, core_range_wait) waits; // of all files
    struct table notes;
    struct table holders;
    struct table resources;
    struct pool lock_pool;
    struct pool file_pool;
    struct pool wait_pool;
    struct pool unlock_pool;
    struct pool note_pool;
    struct pool holder_pool;
    struct pool resource_pool;
    struct pool waiter_pool;
    struct pool range_pool;
    TAILQ_HEAD(, core_held_frame) held_frames; // in order of arrival
    uint8_t *aligned;            // DLM_FRAME_BYTES_MAX, for frames that come at an odd address
    struct dlm_effects *effects; // of the step under way
    struct dlm_counters counters;
};

// What a handler gets: a verified message and its way here.
struct core_message {
    struct core_peer *from;
    uint64_t epoch; // of the sender
    const void *wire;
};

// The current view's; there must be one.
static inline uint64_t core_epoch(const struct dlm_core *core)
{
    const struct core_view *view = core_history_current(&core->history);
    CHECK(view != NULL);
    return view->epoch;
}

// core.c
void core_send(struct dlm_core *core, struct core_peer *to, void *message, enum message_type type,
               size_t length);
// It may wait for what else there is to be said to `to`, for a while.
void core_send_leisurely(struct dlm_core *core, struct core_peer *to, void *message,
                         enum message_type type, size_t length);
struct dlm_effect *core_effect(struct dlm_core *core, enum dlm_effect_type type);
struct core_peer *core_peer_find(const struct dlm_core *core, struct dlm_node node);
// The master of `name` in the current view, NULL before the first.
struct core_peer *core_peer_of_master(const struct dlm_core *core, struct lock_name name);
// Master and shadow of a name in the current view. Both NULL before the first, `shadow` also where
// there is but one member.
struct core_place {
    struct core_peer *master;
    struct core_peer *shadow;
};
struct core_place core_place_of(const struct dlm_core *core, struct lock_name name);
uint64_t core_holder_hash(struct dlm_node node, uint64_t cookie);
uint64_t core_name_hash(struct lock_name name);
void core_flush_frames(struct dlm_core *core);
// Without those that only have what may wait.
void core_flush_urgent_frames(struct dlm_core *core);
void core_take_event(struct dlm_core *core, const struct dlm_event *event);
void core_receive_message(struct dlm_core *core, struct core_peer *from, uint64_t epoch,
                          const void *wire);
// Handles the oldest held frame whose view is installed. False: there is none.
bool core_replay_held_frame(struct dlm_core *core);

// core_client.c
void core_client_request(struct dlm_core *core, const struct dlm_request *request);
void core_client_convert(struct dlm_core *core, const struct dlm_convert *convert);
void core_client_release(struct dlm_core *core, const struct dlm_release *release);
void core_client_cancel(struct dlm_core *core, const struct dlm_cancel *cancel);
void core_client_receive_grant(struct dlm_core *core, const struct core_message *message);
void core_client_receive_denied(struct dlm_core *core, const struct core_message *message);
void core_client_receive_blocking(struct dlm_core *core, const struct core_message *message);
// Grants what is pending, if both the master and the shadow have said so.
void core_client_finish(struct dlm_core *core, struct core_lock *lock);
struct core_lock *core_lock_find(const struct dlm_core *core, uint64_t cookie);
// A view change: takes the lock to its master and its shadow, if another one is that now.
void core_client_move(struct dlm_core *core, struct core_lock *lock);

// core_note.c
// The lock's shadow is `shadow` from now on; what was noted elsewhere is void.
void core_note_place(const struct dlm_core *core, struct core_lock *lock, struct core_peer *shadow);
// Notes what is pending.
void core_note_ask(struct dlm_core *core, struct core_lock *lock);
// Nothing is pending, and no more than `mode` is relied on; DLM_MODE_NONE: nothing at all.
void core_note_lower(struct dlm_core *core, struct core_lock *lock, uint8_t mode);
// May what is pending be relied on, as far as notes go?
bool core_note_is_enough(const struct core_lock *lock);
void core_note_receive(struct dlm_core *core, const struct core_message *message);
void core_note_receive_noted(struct dlm_core *core, const struct core_message *message);
// A view change: tells the master of somebody dead, if the old one is gone too, and forgets what is
// not this node's to keep any more.
void core_note_change(struct dlm_core *core, struct core_note *note);

// core_resource.c
struct core_resource *core_resource_find(const struct dlm_core *core, struct lock_name name);
// Found, and not moved since `epoch`.
struct core_resource *core_resource_find_steady(struct dlm_core *core, struct lock_name name,
                                                uint64_t epoch);
// Found, or new if this node masters `name` and nothing has moved it since `epoch`; else NULL and
// counted as refused.
struct core_resource *core_resource_open(struct dlm_core *core, struct lock_name name,
                                         uint64_t epoch);
bool core_resource_is_idle(const struct core_resource *resource);
void core_resource_free(struct dlm_core *core, struct core_resource *resource);
struct core_holder *core_holder_find(const struct dlm_core *core, struct dlm_node node,
                                     uint64_t cookie);
// Neither granted nor queued yet.
struct core_holder *core_holder_new(struct dlm_core *core, struct core_resource *resource,
                                    struct dlm_node node, uint64_t cookie, uint64_t base);
// To the tail of the conversions or, without a mode yet, of the requests.
void core_holder_enqueue(struct core_holder *holder, uint8_t mode, uint8_t flags);
void core_holder_unqueue(struct core_holder *holder);
void core_holder_set_granted(struct core_holder *holder, uint8_t mode);
void core_holder_free(struct dlm_core *core, struct core_holder *holder);

// core_master.c
// Grants what can be granted, calls back whoever is in the way, frees the resource if it is idle.
void core_resource_run(struct dlm_core *core, struct core_resource *resource);
// The rebuild is over: settles what the dead may hold, then runs.
void core_resource_settle(struct dlm_core *core, struct core_resource *resource);
void core_master_receive_request(struct dlm_core *core, const struct core_message *message);
void core_master_receive_convert(struct dlm_core *core, const struct core_message *message);
void core_master_receive_release(struct dlm_core *core, const struct core_message *message);
void core_master_receive_cancel(struct dlm_core *core, const struct core_message *message);
void core_master_receive_hold(struct dlm_core *core, const struct core_message *message);

// core_range_client.c
void core_range_client_lock(struct dlm_core *core, const struct dlm_range_lock *lock, bool is_test);
void core_range_client_unlock(struct dlm_core *core, const struct dlm_range_unlock *unlock);
void core_range_client_cancel(struct dlm_core *core, const struct dlm_range_cancel *cancel);
void core_range_client_receive_result(struct dlm_core *core, const struct core_message *message);
void core_range_client_move(struct dlm_core *core, struct core_file *file);
void core_range_wait_cancel(struct dlm_core *core, struct core_range_wait *wait, int error);
void core_file_free(struct dlm_core *core, struct core_file *file);

// core_range_master.c
void core_range_master_receive_lock(struct dlm_core *core, const struct core_message *message);
void core_range_master_receive_unlock(struct dlm_core *core, const struct core_message *message);
void core_range_master_receive_cancel(struct dlm_core *core, const struct core_message *message);
void core_range_master_receive_hold(struct dlm_core *core, const struct core_message *message);
// The waiter of `peer` that `serial` names, or NULL.
struct core_range_waiter *core_range_waiter_find(struct core_resource *resource,
                                                 const struct core_peer *peer, uint64_t serial);
void core_range_master_run(struct dlm_core *core, struct core_resource *resource);
void core_range_waiter_free(struct dlm_core *core, struct core_resource *resource,
                            struct core_range_waiter *waiter);

// core_deadlock.c
// Searches from every suspect waiter of the resource.
void core_deadlock_search(struct dlm_core *core, struct core_resource *resource);
void core_deadlock_receive_owner(struct dlm_core *core, const struct core_message *message);
void core_deadlock_receive_waiter(struct dlm_core *core, const struct core_message *message);
void core_deadlock_receive_found(struct dlm_core *core, const struct core_message *message);

// core_depart.c
void core_depart_resource(struct dlm_core *core, struct core_resource *resource);
void core_depart_recovered(struct dlm_core *core, struct core_resource *resource,
                           struct dlm_node node);

// core_recovery.c
void core_recovery_view(struct dlm_core *core, const struct dlm_view *view);
void core_recovery_recovered(struct dlm_core *core, struct dlm_node node);
// The next piece of `work`.
void core_recovery_work(struct dlm_core *core);
// All are ready: begins to settle.
void core_recovery_settle(struct dlm_core *core);
void core_recovery_free_departed(struct dlm_core *core);
void core_recovery_receive_rule(struct dlm_core *core, const struct core_message *message);
void core_recovery_receive_ready(struct dlm_core *core, const struct core_message *message);
