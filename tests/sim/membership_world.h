// SPDX-License-Identifier: Apache-2.0
// Ring 1 for membership: whole lives of nodes (membership machine and heartbeat machine) under a
// simulated corosync and on a simulated slot table. One seed is one history.
//
//   totem.c               rings, ordered messages, processes, quorum: what corosync does
//   membership_corosync.c ... with the lives as its workers
//   membership_disk.c     the slot table: I/O that is late, lost, or lands after its process died
//   membership_node.c     a life: carries out effects, beats, writes data while it may
//   membership_check.c    what must never happen
//   membership_history.c  faults, and the end: all is healed, all must run
//
// Every node has a clock of its own, up to 5 % off. Data writes stand for all that a life does to
// the volume: one may be submitted whenever the life's gate is open, and lands some time later.
#pragma once

#include <stdio.h>
#include <sys/queue.h>

#include "dlm/heartbeat_machine.h"
#include "dlm/membership.h"
#include "fs/base/text.h"
#include "tests/sim/totem.h"
#include "tests/sim/world.h"

enum {
    SIM_NODES_MAX = TOTEM_NODES_MAX,
    SIM_SLOTS = 8,
    SIM_LIVES_MAX = 256,
    SIM_EPOCHS_MAX = 4096,
};

#define MS ((uint64_t)1000000)

#define SIM_LEASE_NS  (5000 * MS)
#define SIM_IO_MAX_NS (1000 * MS)

struct sim;
struct sim_life;

// --- corosync --------------------------------------------------------------------------------

struct sim_node {
    struct totem_node totem; // first
    struct sim *sim;
    uint32_t node_id;
    bool is_up;          // the machine
    bool has_other_lun;  // the same volume's name, another device (rule 15)
    uint64_t clock_base; // local time = base + now * rate / 1000
    uint64_t clock_rate;
    struct sim_life *life;
    uint32_t next_pid;
    bool wants_mount;
    struct world_event mount;
};

// Simulated corosync, over the nodes.
void sim_totem_init(struct sim *sim);

// --- disk ------------------------------------------------------------------------------------

struct sim_slots {
    uint8_t heartbeats[SIM_SLOTS][BLOCK_BYTES];
    uint8_t mailboxes[SIM_SLOTS][BLOCK_BYTES];
    uint64_t mailbox_landed_ns[SIM_SLOTS];            // when the present note landed
    uint8_t other_heartbeats[SIM_SLOTS][BLOCK_BYTES]; // of the other LUN
    uint8_t other_mailboxes[SIM_SLOTS][BLOCK_BYTES];
    // Journals: who may have left something in it.
    bool is_dirty[SIM_SLOTS];
    uint32_t dirty_node[SIM_SLOTS];
    uint64_t dirty_incarnation[SIM_SLOTS];
    bool is_bad; // the paths fail for the time being
    struct sim_life *claimer;
    LIST_HEAD(disk_ios, disk_io) under_way;
};

void disk_init(struct sim *sim);
void disk_deinit(struct sim *sim);
// Lets the life's heartbeat machine go on until it sleeps or waits for an I/O.
void disk_pump(struct sim_life *life);
void disk_data_write(struct sim_life *life, struct sim_life *on_behalf_of);
// Decodes a slot as it stands; false: unreadable.
bool disk_slot(struct sim *sim, uint32_t slot, struct heartbeat_content *content);

// --- lives -----------------------------------------------------------------------------------

enum sim_chore { CHORE_NONE, CHORE_FOUND, CHORE_REPLAY };

struct sim_replay {
    struct membership_node node;
    uint32_t writes_left;
    bool is_freeing, is_over;
};

struct sim_life {
    struct sim *sim;
    struct sim_node *node;
    struct membership_process process;
    uint64_t incarnation;
    uint32_t slot;
    struct membership *membership;
    struct membership_effects effects;
    struct heartbeat_machine *heartbeat;
    uint8_t *buffer;
    bool is_alive, is_paused, is_connected;
    uint64_t deaf_until_ns; // its corosync hangs: it hears nothing, and goes on
    bool runs;              // RESUME came after the last SUSPEND
    bool has_ended;         // ENDED, or its heartbeat has
    bool is_leaving, says_left;
    bool is_stepping;
    bool has_asked_mailbox;
    bool proves_lun, on_other_lun;
    uint64_t mailbox_asked_ns; // local
    uint64_t settled_ns;       // global: when it was told to look into its mailbox; 0: not yet
    uint32_t in_flight;        // writes that have not landed
    bool has_drained;          // the guard has said so
    bool guard_is_alive;
    bool heartbeat_io_is_out;
    uint64_t last_epoch;
    struct world_event tick, beat, data, chore, exit, guard, found;
    bool stall_has_begun; // see membership_disk.c
    uint64_t stall_until_ns;
    uint64_t slow_until_ns; // all its I/O takes its time
    bool has_waited;        // for a slot, while all are left behind
    bool is_founding;       // FOUNDED follows the first durable beat
    uint32_t found_count;
    struct membership_node found_dead[SIM_SLOTS];
    uint32_t replay_count;
    struct sim_replay replays[SIM_LIVES_MAX / 4];
    struct membership_node looks[SIM_LIVES_MAX / 4]; // joiners to look for
    uint32_t look_count;
    struct membership_node recovered[SIM_LIVES_MAX];
    uint32_t recovered_count;
    uint32_t fence_count;
    struct membership_node fences[SIM_LIVES_MAX / 4];
    bool was_expelled[SIM_SLOTS];          // by this one
    uint64_t link_reported[SIM_NODES_MAX]; // to which life of the node it said its link is down
    bool link_told[SIM_NODES_MAX];         // ... and has not said that it is up again
    uint64_t fence_ordered_ns;             // global: the last FENCE, and against whom
    uint64_t fence_ordered_incarnation;
    uint32_t companion_count; // members when it was suspended
    struct membership_node companions[SIM_NODES_MAX];
    uint64_t ring_heard_ns; // global: the last RING
};

void life_start(struct sim_node *node);
void life_die(struct sim_life *life, bool with_node);
void life_pause(struct sim_life *life, uint64_t for_ns);
void life_leave(struct sim_life *life);
void life_event(struct sim_life *life, const struct membership_event *event);
void life_heartbeat_changed(struct sim_life *life);
bool life_may_write(const struct sim_life *life);
uint64_t life_now(const struct sim_life *life);
uint64_t life_at(const struct sim_life *life, uint64_t local_ns); // global time of a local one

// --- checks ----------------------------------------------------------------------------------

struct sim_epoch {
    uint64_t epoch, before;
    bool has_before;
    uint32_t member_count, dead_count;
    struct membership_node members[SIM_LIVES_MAX / 4];
    struct membership_node dead[SIM_LIVES_MAX / 4];
};

// True: nobody was told of it before.
bool check_view(struct sim_life *life, const struct membership_view *view);
void check_recovered(struct sim_life *life, const struct membership_node *node);
void check_beat_lands(struct sim_life *life);
void check_slot_taken(struct sim_life *life, uint32_t slot);
void check_write_landed(struct sim_life *life, struct sim_life *on_behalf_of);
void check_mailbox_emptied(struct sim_life *life);
void check_tie_break(struct sim_life *writer, uint32_t victim_slot);
void check_expelled(struct sim_life *life, const char *reason);
void check_replay_begins(struct sim_life *life, const struct membership_node *node);
void check_resume(struct sim_life *life);
// Whether all nodes run, in a view of all, and nothing is left to be recovered.
bool check_all_settled(const struct sim *sim);
// ... or it has failed; in the same view too.
void check_all_run(struct sim *sim);
void sim_fail(struct sim *sim, const char *format, ...) __attribute__((format(printf, 2, 3)));
void sim_trace(struct sim *sim, const char *format, ...) __attribute__((format(printf, 2, 3)));

// --- the history -----------------------------------------------------------------------------

struct sim {
    struct world world;
    struct geometry geometry;
    struct sim_slots disk;
    uint32_t node_count;
    struct sim_node nodes[SIM_NODES_MAX];
    uint64_t ring_sequence;
    uint32_t life_count;
    struct sim_life *lives; // SIM_LIVES_MAX
    uint32_t epoch_count;
    struct sim_epoch *epochs;
    bool is_healing; // no new faults
    struct totem totem;
    // LINK(a, b): the lock link of node a to node b is down, as a sees it, since then; 0: it is up.
    uint64_t link_down_ns[SIM_NODES_MAX][SIM_NODES_MAX];
    bool is_failed;
    char failure[512];
    FILE *trace;
    uint64_t steps;
    struct world_event fault, second, cutting, ripping;
    struct sim_node *survivor; // of a fault in three acts
    bool survivor_waits, begins_with_survivor;
    struct sim_node *cut; // to be cut off
    uint32_t rip_in;      // so many deliveries from now the ring breaks; 0: it does not
    bool rip_heals;       // ... and all come together
    struct world_event backs_turn;
    struct sim_node *apart, *newcomer; // who leaves, and joins again behind the one's back
    enum { BACK_LEAVE, BACK_PART, BACK_DIE } backs_act;
    uint64_t backs_until_ns;
    bool begins_apart;
    struct world_event tearing;
    struct sim_node *torn;      // to be cut off, with `torn_with` first, then that one alone
    struct sim_node *torn_with; // NULL: alone at once
};

struct sim_result {
    bool is_failed;
    char failure[512];
    uint64_t steps, views, lives;
};

void sim_run(uint64_t seed, struct scheduler *scheduler, FILE *trace, struct sim_result *result);
// Aimed: `life` is the first to install a view; a joiner hears its own PROVED; one left; one has
// its slot.
void sim_view_installed(struct sim_life *life);
void sim_proved_delivered(struct sim_node *node);
void sim_has_left(struct sim_life *life);
void sim_slot_taken(struct sim_life *life);
// The node is alone in its ring from now on.
void sim_isolate(struct sim_node *node);
uint64_t sim_below(struct sim *sim, uint64_t bound);
bool sim_one_in(struct sim *sim, uint64_t n);
uint64_t sim_between(struct sim *sim, uint64_t low_ns, uint64_t high_ns);
struct sim_life *sim_life_of(struct sim *sim, uint32_t node_id, uint64_t incarnation);
