// SPDX-License-Identifier: Apache-2.0
// Who is in the cluster: a replicated state machine, pure. Corosync's closed process group carries
// its messages in one order for all; everybody who sees the same order computes the same views.
//
//      ring changes, quorum,            ┌──────────┐  bytes to multicast
//      ordered messages, ──────────────►│membership├─► views, recovered(node)
//      wishes and facts of this node    └──────────┘  fence x, replay slot s, suspend, end ...
//
// One round makes one view (dlm/membership_round.c draws it):
//
//   START   the lowest process, once the ring id of CPG and of quorum agree and it is quorate
//   SYNC    from everybody: what I know (last view, the dead and how far they are)
//   ACK     from everybody: I have computed the same next view
//   view    installed when the last ACK is delivered
//
// A ring change, a process that comes or goes, or an expulsion voids the round under way and
// causes another START. So a view is acted on only when everybody in it knows it and the ring is
// quorate (rule 11), and no view is ever missed: whoever missed the last ACKs has prepared the
// view and installs it first when the next round shows that somebody did.
//
// Nothing here reads a clock: events carry the time, `membership_deadline_ns` says when to come
// back with a TICK at the latest.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fs/base/text.h"

enum {
    MEMBERSHIP_NODES_MAX = 64,
    MEMBERSHIP_DEAD_MAX = 64,
    MEMBERSHIP_SLOTS_MAX = 64,
    MEMBERSHIP_PROCESSES_MAX = 128, // of the CPG group
    MEMBERSHIP_REASON_BYTES = 96,
    MEMBERSHIP_NO_SLOT = 0xffffffff,
};

// As totem names a ring: the same numbers on all its nodes, never used again.
struct membership_ring {
    uint32_t node_id;
    uint64_t sequence;
};

// A process of the group. Workers only: guards have a group of their own.
struct membership_process {
    uint32_t node_id;
    uint32_t pid;
};

enum membership_left_reason {
    MEMBERSHIP_LEFT_LEAVE,
    MEMBERSHIP_LEFT_DOWN,
    MEMBERSHIP_LEFT_PROCESS
};

// A life of a node on this volume.
struct membership_member {
    uint32_t node_id;
    uint32_t pid;
    uint64_t incarnation; // of the node's lives, over all slots, higher each time
    uint32_t slot;
    uint16_t port; // of its lock transport
    uint16_t version_min, version_max;
    uint64_t features;
    bool is_leaving; // said so: its slot says 'left', and it is gone with the next view
};

enum membership_phase {
    MEMBERSHIP_DEAD,      // may still write
    MEMBERSHIP_FENCED,    // writes no more
    MEMBERSHIP_RECOVERED, // its journal is clean: it stands in no view any more
};

struct membership_dead {
    uint32_t node_id;
    uint32_t pid; // 0: from an earlier life of the cluster
    uint64_t incarnation;
    uint32_t slot;
    enum membership_phase phase;
    uint32_t recoverer_node_id; // who replays its journal; 0: nobody yet
    uint64_t recoverer_incarnation;
    uint64_t died_generation; // of the first state that names it dead; 0: not known yet
};

struct membership_view {
    uint64_t epoch;    // 0: none yet. Rises; any two views of one cluster have different ones
    uint16_t version;  // of the protocol all members speak
    uint64_t features; // switched on
    uint32_t member_count;
    uint32_t dead_count;
    struct membership_member members[MEMBERSHIP_NODES_MAX]; // by node id
    struct membership_dead dead[MEMBERSHIP_DEAD_MAX];       // died, not recovered
};

// ---- events -----------------------------------------------------------------------------------

enum membership_event_type {
    // from corosync, in the order of its callbacks
    MEMBERSHIP_EVENT_GROUP,     // cpg confchg
    MEMBERSHIP_EVENT_RING,      // cpg totem confchg
    MEMBERSHIP_EVENT_QUORUM,    // quorum notification, from its own connection
    MEMBERSHIP_EVENT_DELIVERED, // an ordered message
    MEMBERSHIP_EVENT_DRAINED,   // a guard says drained(slot, incarnation): evidence, not ordered
    MEMBERSHIP_EVENT_LOST,      // corosync is gone; RECONNECTED starts from nothing
    MEMBERSHIP_EVENT_RECONNECTED,
    // wishes of this node
    MEMBERSHIP_EVENT_JOIN,  // `join`; only once
    MEMBERSHIP_EVENT_LEAVE, // the clean mark and 'left' in the heartbeat are durable (rule 28)
    MEMBERSHIP_EVENT_EXPEL, // `node`: hung or half connected (rule 20)
    MEMBERSHIP_EVENT_LINK,  // `link`: the lock link to a peer is down > 3 s, or up again
    MEMBERSHIP_EVENT_END,   // this node has ended (poison, lease, failure): `error`
    // facts of this node, mostly answers to effects
    MEMBERSHIP_EVENT_FOUNDED,       // `founded`: this node holds the claim and has read the slots
    MEMBERSHIP_EVENT_LUN_PROVED,    // joiner: it sees the members' heartbeats move
    MEMBERSHIP_EVENT_LUN_SEEN,      // member: it sees the joiner's heartbeat move in its slot
    MEMBERSHIP_EVENT_FENCED,        // `node` writes no more
    MEMBERSHIP_EVENT_REPLAYED,      // `node`: journal clean, slot FREE, both durable
    MEMBERSHIP_EVENT_MAILBOX_CLEAN, // looks that began after CHECK_MAILBOX found no note and no
                                    // stranger
    MEMBERSHIP_EVENT_STRANGER, // a slot that is not free shows `node`, which membership_knows not
    MEMBERSHIP_EVENT_TICK,
};

struct membership_left {
    struct membership_process process;
    enum membership_left_reason reason;
};

struct membership_group_change { // arrays are only read, during the step
    const struct membership_process *members;
    uint32_t member_count;
    const struct membership_left *left;
    uint32_t left_count;
    // whoever joined is in `members`
};

struct membership_node {
    uint32_t node_id;
    uint32_t slot;
    uint64_t incarnation;
};

struct membership_event {
    enum membership_event_type type;
    uint64_t now_ns; // CLOCK_BOOTTIME
    union {
        struct membership_group_change group;
        struct membership_ring ring; // RING
        struct {
            struct membership_ring ring;
            bool is_quorate;
        } quorum;
        struct {
            struct membership_process from;
            const uint8_t *bytes;
            size_t length;
        } delivered;
        struct {
            struct membership_node node;
            struct membership_ring ring; // the ring of the guard when it said so
        } drained;
        struct {
            uint64_t incarnation; // higher than all on the volume; never used before by this node
            uint32_t slot_wish;   // or MEMBERSHIP_NO_SLOT
            uint32_t slot_count;  // of the volume
            uint16_t port;
        } join;
        struct {
            struct membership_node node;
            char reason[MEMBERSHIP_REASON_BYTES];
        } expel;
        struct {
            uint32_t peer_node_id;
            uint64_t peer_incarnation;
            bool is_down;
        } link;
        struct {
            uint32_t slot;                      // this node's own
            const struct membership_node *dead; // slots in use by earlier lives
            uint32_t dead_count;
        } founded;
        struct membership_node node; // LUN_SEEN, FENCED, REPLAYED, STRANGER
        int error;                   // END
    };
};

// ---- effects ----------------------------------------------------------------------------------

enum membership_effect_type {
    MEMBERSHIP_EFFECT_SEND,          // multicast to the group; tell nobody if it must wait
    MEMBERSHIP_EFFECT_VIEW,          // `view` is installed: rebuild locks, links, watched slots
    MEMBERSHIP_EFFECT_RECOVERED,     // `node`: what it held is free (after VIEW that names it dead)
    MEMBERSHIP_EFFECT_FOUND,         // nobody is mounted: take the claim, read the slots, FOUNDED
    MEMBERSHIP_EFFECT_SLOT_ASSIGNED, // joiner: if node.slot is free on the LUN (else end), beat
                                     // there, see the members' beats, LUN_PROVED
    MEMBERSHIP_EFFECT_WATCH_JOINER,  // member: look for the joiner's beats, LUN_SEEN
    MEMBERSHIP_EFFECT_FENCE,         // make `node` write no more, FENCED
    MEMBERSHIP_EFFECT_FENCE_CANCEL,  // it is fenced, whoever did it
    MEMBERSHIP_EFFECT_REPLAY,        // replay the journal of node.slot, free it, REPLAYED
    MEMBERSHIP_EFFECT_SUSPEND,       // drain, submit nothing, answer nothing, beat on
    MEMBERSHIP_EFFECT_CHECK_MAILBOX, // read mailbox and all slots once more, MAILBOX_CLEAN
    MEMBERSHIP_EFFECT_RESUME,        // go on (also after the first view)
    MEMBERSHIP_EFFECT_LEFT,          // leave the group now: everybody knows
    MEMBERSHIP_EFFECT_FEATURES,      // view->features, view->version have changed
    MEMBERSHIP_EFFECT_ENDED,         // `error`: this life is over
};

struct membership_effect {
    enum membership_effect_type type;
    union {
        struct {
            size_t offset; // into `bytes` of the effects
            size_t length;
        } send;
        const struct membership_view *view; // valid until the next step
        struct membership_node node;
        struct {
            struct membership_node node;
            bool is_node_up; // its corosync is in our ring: drained() may come
            bool yields;     // rule 26: the other one has the first try
            char reason[MEMBERSHIP_REASON_BYTES];
        } fence;
        struct {
            int error; // negative, from errors.def
            char reason[MEMBERSHIP_REASON_BYTES];
        } ended;
    };
};

// Begin with all zeros, end with membership_effects_deinit; a step empties it first.
struct membership_effects {
    struct membership_effect *items;
    size_t count;
    size_t capacity;
    uint8_t *bytes;
    size_t byte_count;
    size_t byte_capacity;
};

void membership_effects_deinit(struct membership_effects *effects);
const uint8_t *membership_effects_bytes(const struct membership_effects *effects,
                                        const struct membership_effect *send);

// ---- the machine ------------------------------------------------------------------------------

struct membership;

struct membership_config {
    struct membership_process self;
    uint8_t format_id[16]; // messages about another volume are not ours
    uint64_t patience_ns;  // a process that does not answer a round for so long is expelled: L
    bool is_two_node;      // corosync's two_node (rule 26)
    uint16_t version_min, version_max; // of the protocol that this program speaks
    uint64_t features;                 // that this program knows
};

struct membership *membership_new(const struct membership_config *config);
void membership_free(struct membership *membership);

// `event` and what it points to are only read, during the step.
void membership_step(struct membership *membership, const struct membership_event *event,
                     struct membership_effects *effects);

// When to step a TICK at the latest; UINT64_MAX: not needed.
uint64_t membership_deadline_ns(const struct membership *membership);

enum membership_standing {
    MEMBERSHIP_OUT,       // no JOIN yet
    MEMBERSHIP_JOINING,   // asked to be let in
    MEMBERSHIP_MEMBER,    // in the view, running
    MEMBERSHIP_SUSPENDED, // in the view, waiting for quorum
    MEMBERSHIP_LEAVING,
    MEMBERSHIP_ENDED,
};

enum membership_standing membership_standing_get(const struct membership *membership);
// The last installed view; epoch 0 before the first. Phases of the dead are current.
const struct membership_view *membership_view_get(const struct membership *membership);
// This node's slot; MEMBERSHIP_NO_SLOT before it has one.
uint32_t membership_slot(const struct membership *membership);
// Whether this life stands in the state: member, joiner, dead, or recovered since. A slot that is
// not free and shows another one, in a read that was submitted after membership_changed_ns, belongs
// to a life that was let in by members who have all died since, while we were apart: a STRANGER. It
// becomes one of the dead. Look at all slots from time to time, and on CHECK_MAILBOX.
bool membership_knows(const struct membership *membership, uint32_t node_id, uint64_t incarnation);
uint64_t membership_changed_ns(const struct membership *membership);
// Nodes that have a slot and are not in the view yet: whoever leaves last must not give the claim
// back while there are any, for they may beat.
uint32_t membership_joiner_count(const struct membership *membership);
// True when the dead are all recovered, the round is over and we run.
bool membership_is_settled(const struct membership *membership);

// Gives a name to a node id; for texts. NULL: none.
typedef const char *membership_name(void *context, uint32_t node_id);

// Why the cluster waits, one line each: "waiting for quorum", "waiting for n3 to answer",
// "fencing n2 (slot 1)", "replaying journal 3 (n2)". Empty: it does not wait. NULL for functions
// that are not there.
struct membership_words {
    membership_name *name;
    // Goes on in the line of a node that is being fenced: " by lease, 4 s left".
    void (*fencing)(void *context, const struct membership_node *victim, struct text *text);
    void *context;
};
void membership_status_to_text(const struct membership *membership,
                               const struct membership_words *words, struct text *text);
void membership_view_to_text(const struct membership_view *view, struct text *text);
void membership_event_to_text(const struct membership_event *event, struct text *text);
void membership_effect_to_text(const struct membership_effect *effect, struct text *text);
