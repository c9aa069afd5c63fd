// SPDX-License-Identifier: Apache-2.0
// What the files of the cluster share; for them alone.
#pragma once

#include "dlm/claim.h"
#include "dlm/fence.h"
#include "dlm/heartbeat.h"
#include "dlm/membership.h"
#include "dlm/membership_corosync.h"
#include "dlm/transport.h"
#include "fs/base/coroutine.h"
#include "fs/cluster.h"
#include "fs/dlm_service.h"
#include "fs/presence.h"
#include "fs/slots.h"

enum {
    CLUSTER_PROTOCOL_VERSION = 1,
    CLUSTER_TICK_NS = 250 * 1000 * 1000,
    CLUSTER_EVENTS_MAX = 256,
};
#define CLUSTER_LINK_PATIENCE_NS ((uint64_t)3000 * 1000 * 1000) // rule 20

// A member whose beats this node was asked to see, or a link that it watches.
struct cluster_peer {
    struct membership_node node;
    bool is_in_view;
    bool is_joiner;       // LUN_SEEN is still owed
    uint32_t count_first; // changes of its heartbeat when the watch began
    bool link_is_up;
    bool link_down_told;
    uint64_t link_since_ns;
    bool was_expelled;     // asked for, once
    bool is_replayed_here; // this node replays its journal
};

struct cluster {
    struct cluster_config config;
    struct corosync_config *corosync_config;
    struct corosync *corosync;
    struct transport *transport;
    struct membership *membership;
    struct membership_effects effects;
    struct dlm_service *locks;
    struct presence *presence;
    struct fence *fence;
    struct environment_watch *guard_watch;
    struct claim claim;
    struct slot_survey survey;
    uint64_t incarnation;
    struct cluster_peer peers[MEMBERSHIP_NODES_MAX];
    uint32_t peer_count;

    // Events that came while the machine was stepping.
    struct membership_event events[CLUSTER_EVENTS_MAX];
    uint32_t event_count;
    bool is_stepping;

    struct environment_timer tick;     // periodic
    struct environment_timer deadline; // the machine's
    uint64_t last_claim_beat_ns;
    bool keeps_claim; // a claim beat is under way
    bool is_founder;
    bool proves_lun; // joiner: LUN_PROVED is still owed
    bool has_view;
    bool runs;
    bool checks_mailbox;   // a resume waits for our mailbox and for a look at all slots
    bool mailbox_is_clean; // ... no more for the mailbox
    uint64_t mailbox_round_wanted;
    uint64_t mailbox_clean_ns;
    bool looks_for_strangers; // a look is under way
    uint64_t strangers_looked_ns;
    bool has_left;
    bool is_closing;
    int failure;
    unsigned helpers;       // coroutines of the cluster that are alive
    unsigned volume_users;  // ... of them those that work on the volume under its locks
    bool volume_is_stopped; // nobody begins to any more
    struct wait_queue moved;
};

// Hands an event to the machine and carries out what it answers. May be called from anywhere on
// the core's thread.
void cluster_event(struct cluster *cluster, const struct membership_event *event);
// An event with nothing but its type.
void cluster_simple_event(struct cluster *cluster, enum membership_event_type type);
void cluster_node_event(struct cluster *cluster, enum membership_event_type type,
                        const struct membership_node *node);
void cluster_expel(struct cluster *cluster, const struct membership_node *node, const char *reason);
// Ends this node's life: shuts the gate, fails the volume, wakes who waits. Idempotent.
void cluster_fail(struct cluster *cluster, int error, const char *reason);

// Starts the heartbeat in `slot` and what hangs on it; `replaced_incarnation`: whose slot it is
// taken over, 0 of nobody. 0 or an error.
int cluster_presence_start(struct cluster *cluster, uint32_t slot, uint64_t replaced_incarnation);

// cluster_effects.c
void cluster_carry_out(struct cluster *cluster, const struct membership_effect *effect);

// cluster_watch.c: what has to be looked at from time to time
void cluster_watch_start(struct cluster *cluster);
void cluster_watch_stop(struct cluster *cluster);
void cluster_watch_heartbeats(struct cluster *cluster); // something moved on the LUN
void cluster_watch_link(struct cluster *cluster, struct dlm_node peer, bool is_up,
                        uint64_t since_ns);
struct cluster_peer *cluster_peer_find(struct cluster *cluster, uint32_t node_id,
                                       uint64_t incarnation);
struct cluster_peer *cluster_peer_get(struct cluster *cluster, const struct membership_node *node);
void cluster_peers_set_view(struct cluster *cluster, const struct membership_view *view);

// cluster_strangers.c: looks at all slots if it is time, or if a resume waits for it
void cluster_strangers_tick(struct cluster *cluster);

// cluster_claim.c
int cluster_claim_acquire(struct cluster *cluster);
void cluster_claim_keep(struct cluster *cluster);
int cluster_claim_release(struct cluster *cluster);

// Starts a coroutine that cluster_free waits for.
void cluster_helper_start(struct cluster *cluster, const char *name, void (*function)(void *),
                          void *argument);
void cluster_helper_ended(struct cluster *cluster);
