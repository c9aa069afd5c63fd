// SPDX-License-Identifier: Apache-2.0
// Ring 3 of the simulator: whole nodes on one LUN. Each life is what a lunfsd's worker runs, from
// the production objects: fs/cluster*.c with membership, heartbeat machine, fence and claim, the
// lock service, the volume with journal, cache and operations, recovery. One seed is one history.
//
//   clients (a model knows each answer)      faults: kills, power, pauses, partitions ...
//        │ operations, lanes                    │
//   ┌────▼──────────────────────────────────────▼─┐  a machine: clock, power, network
//   │ life: volume ─ locks ─ cluster ─ heartbeat  │  ... and its guard
//   └──────┬───────────────┬─────────┬────────────┘
//      sim_disk        ring3_transport   ring3_corosync (totem.c)
//
//   ring3_life.c       a life, as fs/worker.c leads it    ring3_model.c   what may be seen
//   ring3_heartbeat.c  dlm/heartbeat.h over events        ring3_tree.c    names
//   ring3_transport.c  dlm/transport.h over events        ring3_content.c what files hold
//   ring3_corosync.c   dlm/membership_corosync.h          ring3_client.c  what a client does next
//   ring3_guard.c      fs/guard_rules.c over events       ring3_faults*.c what goes wrong
//   ring3_freeze.c     freezes, and copies made meanwhile
//   ring3_machine.c    power, network, clocks             ring3_history.c a history, its end
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/queue.h>

#include "dlm/lease.h"
#include "dlm/message.h"
#include "fs/base/coroutine.h"
#include "fs/base/log.h"
#include "fs/format.h"
#include "fs/gate.h"
#include "tests/sim/ring3_model.h"
#include "tests/sim/world.h"

struct block_device;
struct cluster;
struct range_locks;
struct open_file;
struct ring3;
struct ring3_client;
struct ring3_totem;
struct ring3_tree;
struct sim_disk;
struct volume;

enum {
    RING3_MACHINES_MAX = 6,
    RING3_CLIENTS_MAX = 6,
    RING3_FAILURE_BYTES = 400,
    RING3_COPIES_MAX = 3,
};

#define RING3_MS ((uint64_t)1000000)

// Corosync makes a ring this long after a machine has come or gone, at most; a worker that ended,
// or a machine that is turned on, has tried to mount after so long.
#define RING3_RING_NS  (1300 * RING3_MS)
#define RING3_MOUNT_NS (3400 * RING3_MS)

// --- options and results -------------------------------------------------------------------------

enum ring3_fault {
#define RING3_FAULT(name, share, sentence) RING3_FAULT_##name,
#include "tests/sim/ring3_faults.def"
#undef RING3_FAULT
    RING3_FAULT_COUNT,
};
#define RING3_FAULTS_ALL (((uint64_t)1 << RING3_FAULT_COUNT) - 1)
const char *ring3_fault_name(enum ring3_fault fault);
const char *ring3_fault_sentence(enum ring3_fault fault);

struct ring3_options {
    uint64_t seed;
    unsigned machine_count;   // 0: the seed decides
    unsigned operation_count; // of all clients together; 0: the seed decides
    unsigned fault_count;     // UINT_MAX: the seed decides
    uint64_t faults;          // mask of 1 << enum ring3_fault
    bool is_short;            // a few seconds, some operations, one fault
    FILE *trace;              // NULL: none
    // Serves one history after the other, as long as they hold: what has failed leaves coroutines.
    struct scheduler *scheduler;
};

// The longest waits of a history after its faults have ended: of an operation for its answer; until
// all have mounted and no recovery is under way; of an umount.
enum ring3_wait { RING3_WAIT_answer, RING3_WAIT_mount, RING3_WAIT_umount, RING3_WAIT_COUNT };

struct ring3_result {
    bool is_failed;
    char failure[RING3_FAILURE_BYTES];
    uint64_t operations, unknown, transfers; // answered, lost with their node, past the core
    uint64_t looks;                          // of the last one at everything, answered
    uint64_t lives, recoveries, virtual_ns, writes, late_writes, steps, replays_checked;
    uint64_t faults[RING3_FAULT_COUNT][3]; // by enum ring3_phase
    uint64_t waits_ns[RING3_WAIT_COUNT], promised_ns;
    uint64_t copies, broken_freezes; // copies of a volume that was frozen until the thaw; others
    unsigned machine_count;
    uint64_t digest; // of all that was traced: the same for the same seed
};

// --- lives ---------------------------------------------------------------------------------------

struct ring3_log {
    struct log log; // first
    struct ring3_life *life;
};

// The shells that ring 3 has in place of production's: of one life each, NULL while not open.
struct corosync;
struct heartbeat;
struct transport;
struct ring3_guard;

// An open file of a client in a life; ends with either.
struct ring3_handle {
    LIST_ENTRY(ring3_handle) link; // of the life
    struct ring3_life *life;
    struct open_file *open; // NULL once the life has released it
    struct ring3_object *object;
    int flags;
    unsigned users;
};

struct ring3_life {
    struct world_node world_node; // first: its environment
    struct ring3 *ring3;
    struct ring3_machine *machine;
    LIST_ENTRY(ring3_life) link;
    unsigned number; // of the history's lives, from 1
    uint32_t pid;
    struct block_device *path, *beat_path; // the LUN: all but the heartbeat's I/O, and that
    struct block_device *gated, *recovery;
    int description; // of the machine's LUN, for the byte lock; -1 once all I/O has landed
    struct gate gate;
    struct ring3_log log;
    struct geometry geometry;
    struct lease_config lease;
    struct volume *volume;
    struct cluster *cluster;
    struct corosync *corosync;
    struct transport *transport;
    struct heartbeat *heartbeat;
    struct ring3_guard *guard;
    uint32_t slot;
    uint64_t incarnation; // 0: it has no slot yet
    bool is_mounted;      // operations may begin
    bool wants_leave;
    bool leaves_in_peace; // asked when all was well: nothing excuses it
    bool is_killed;       // its process is gone: what follows is only for its memory
    bool is_drained;      // the gate has ended and nothing of it can reach the LUN any more
    bool is_draining;
    bool has_left; // cleanly
    bool is_over;
    unsigned user_count; // clients in an operation
    bool had_errors;     // of its path: what an operation answered with EIO has done is open
    unsigned error_count;
    char first_error[200];
    struct wait_queue moved;
    struct world_event wake; // from a pause
    LIST_HEAD(ring3_handles, ring3_handle) handles;
    struct ring3_memory memory; // what of its changes is known to survive
    struct range_locks *range_locks;
    LIST_HEAD(ring3_lock_requests, ring3_lock_request) lock_requests;
};

// Something has changed that those who wait for it look at.
void ring3_life_moved(struct ring3_life *life);
// What it has answered may be lost from now on, and it answers no more.
void ring3_life_mark_dead(struct ring3_life *life);
// A machine's next worker starts.
void ring3_life_start(struct ring3_machine *machine);
// The process is gone, now; with_machine: nobody on that machine hears of it. Outside of
// coroutines.
void ring3_life_kill(struct ring3_life *life, bool with_machine);
// As by SIGSTOP; a moment that has passed: goes on.
void ring3_life_goes_on(struct ring3_life *life); // what waited for that comes
void ring3_life_pause(struct ring3_life *life, uint64_t until_ns);
bool ring3_life_is_paused(const struct ring3_life *life);
// The LUN answers it nothing until then.
void ring3_life_stall(struct ring3_life *life, uint64_t until_ns);
// Unmounts cleanly as soon as nobody works on it.
void ring3_life_leave(struct ring3_life *life);
// An operation failed half-way, for all that anybody knows: it is unmounted.
void ring3_life_doubt(struct ring3_life *life);
void ring3_life_free(struct ring3_life *life);
// A dead life lets go of the LUN once its last I/O has landed, or its machine's power is off.
void ring3_life_close_if_drained(struct ring3_life *life);
// The machine was turned off from outside: nothing of its lives lands any more.
void ring3_lives_drain(struct ring3 *ring3, uint32_t node_id);
// How far the recovery of anybody is, as this life sees it; what it replays itself.
enum ring3_phase { RING3_QUIET, RING3_FENCING, RING3_REPLAYING, RING3_PHASE_COUNT };
enum ring3_phase ring3_life_phase(const struct ring3_life *life);
bool ring3_life_replays(const struct ring3_life *life);
// Whether this life takes the other one for fenced or recovered.
bool ring3_life_has_fenced(const struct ring3_life *life, const struct ring3_life *other);

// For whoever works on the volume, as a front end does for each request. False: it takes no more;
// else ring3_life_end follows. Waits at the gate.
bool ring3_life_begin(struct ring3_life *life);
// Whether the answer counts: the node was, or is again, allowed to say it (rule 18).
bool ring3_life_may_answer(struct ring3_life *life);
void ring3_life_end(struct ring3_life *life);

struct ring3_handle *ring3_handle_new(struct ring3_life *life, struct open_file *open,
                                      struct ring3_object *object, int flags);
// The client has no use for it any more; it was released, or its life is over.
void ring3_handle_free(struct ring3_handle *handle);

// ring3_ranges.c: byte-range locks of a life that joined; it leaves, or is dead; its memory goes.
void ring3_ranges_start(struct ring3_life *life);
void ring3_ranges_stop(struct ring3_life *life);
void ring3_ranges_free(struct ring3_life *life);

// --- the shells' other sides ---------------------------------------------------------------------

void ring3_heartbeat_poke(struct heartbeat *heartbeat);
void ring3_heartbeat_kill(struct heartbeat *heartbeat);
void ring3_transport_life_gone(struct ring3_life *life, uint64_t heard_in_ns);
void ring3_transport_resume(struct ring3_life *life); // its process goes on
// The links between machines that cannot reach each other break within a while.
void ring3_transport_network_changed(struct ring3 *ring3);
void ring3_transport_cut(struct ring3 *ring3, uint32_t a, uint32_t b);
void ring3_guard_start(struct ring3_life *life);
void ring3_guard_poke(struct ring3_guard *guard);
void ring3_guard_stop(struct ring3_guard *guard); // its machine is down
void ring3_guard_free(struct ring3_guard *guard);
int ring3_guard_socket(const struct ring3_guard *guard);

struct ring3_totem *ring3_totem_new(struct ring3 *ring3, uint64_t seed,
                                    struct scheduler *scheduler);
void ring3_totem_free(struct ring3_totem *totem);
struct world *ring3_totem_world(struct ring3_totem *totem);
void ring3_totem_machine(struct ring3_machine *machine, bool is_up);
// Corosync alone dies on a machine that runs on, or is started again: in the next ring.
void ring3_totem_corosync(struct ring3_machine *machine, bool is_up);
// Rings of the machines that reach each other.
void ring3_totem_reform(struct ring3 *ring3);
void ring3_totem_worker_gone(struct ring3_life *life);
void ring3_totem_pause(struct ring3_life *life, bool is_paused);
// The guard says that the life's I/O has drained; false: its corosync has no ring now.
bool ring3_totem_drained(struct ring3_life *life);

// --- machines ------------------------------------------------------------------------------------

// What is wrong with a machine's path to the LUN; zeros: nothing.
struct ring3_path {
    uint32_t failing;      // operations, 1u << BLOCK_WRITE ...: they fail with EIO,
    uint32_t error_one_in; // one in so many of them
    uint64_t slow_ns_max;  // what a request may take; 0: as usual
};

// Clocks run at so many thousandths of the world's. The lease's L/10 covers two of them that are
// 3 % off.
enum { RING3_CLOCK_RATE_LEAST = 970, RING3_CLOCK_RATES = 61 };

struct ring3_machine {
    struct ring3 *ring3;
    uint32_t node_id; // from 1
    bool is_up;
    uint64_t clock_base_ns, clock_rate;
    int64_t wall_offset_ns;
    uint32_t last_pid;
    unsigned component; // of the network: those with the same one reach each other
    struct ring3_life *life;
    struct world_event mount;
    struct ring3_path path; // to the LUN
    uint32_t deaf_to;       // mask of 1 << node id: what they send does not come
    uint64_t delay_ns_max;  // that messages from it take more than usual
    int lun;                // a file that stands for it where byte locks are concerned
};

// Another open description of the machine's LUN.
int ring3_machine_open_lun(const struct ring3_machine *machine);
void ring3_machine_deinit(struct ring3_machine *machine);
void ring3_machine_init(struct ring3 *ring3, uint32_t index);
void ring3_machine_power(struct ring3_machine *machine, bool is_on);
void ring3_machine_mount_in(struct ring3_machine *machine, uint64_t in_ns);
void ring3_machine_set_path(struct ring3_machine *machine, const struct ring3_path *path);
void ring3_machine_set_rate(struct ring3_machine *machine, uint64_t clock_rate);
// Both are up and in one part of the network.
bool ring3_machines_reach(const struct ring3_machine *a, const struct ring3_machine *b);
// ... and what `from` sends comes.
bool ring3_machine_hears(const struct ring3_machine *machine, const struct ring3_machine *from);
// Something of corosync has changed: a ring is made after so long.
void ring3_network_reform_in(struct ring3 *ring3, uint64_t in_ns);
// A life's path is as its machine's is.
void ring3_machine_apply_path(struct ring3_life *life);
// Its wall clock is set; running lives see it too.
void ring3_machine_set_clock(struct ring3_machine *machine, int64_t offset_ns);
// Sets all components at once; corosync notices after its token timeout.
void ring3_network_set(struct ring3 *ring3, const unsigned *component);
// Everybody reaches and hears everybody again, in the usual time.
void ring3_network_heal(struct ring3 *ring3);
// The machine does not hear this one; NULL: it hears all.
void ring3_network_deafen(struct ring3 *ring3, struct ring3_machine *machine,
                          const struct ring3_machine *to);
void ring3_network_delay(struct ring3 *ring3, struct ring3_machine *machine, uint64_t delay_ns_max);
struct ring3_machine *ring3_machine_of(struct ring3 *ring3, uint32_t node_id);

// --- the history ---------------------------------------------------------------------------------

// A fault that waits for a phase of a recovery.
struct ring3_aim {
    bool is_on;
    enum ring3_fault fault;
    enum ring3_phase phase;
    unsigned steps_left; // of the world, in that phase
};

// Lives that somebody has had fenced.
enum { RING3_FENCED_MAX = 256 };
struct ring3_fenced {
    unsigned count;
    uint32_t slots[RING3_FENCED_MAX];
    uint64_t incarnations[RING3_FENCED_MAX];
};

struct ring3 {
    struct ring3_options options;
    struct ring3_result result;
    struct random work_random, fault_random;
    struct ring3_totem *totem;
    struct world *world; // the totem's
    struct scheduler *scheduler;
    struct sim_disk *disk;
    uint64_t lease_ns, io_max_ns, late_ns_max;
    bool has_fence_command;
    unsigned machine_count;
    struct ring3_machine machines[RING3_MACHINES_MAX];
    struct world_event reform;
    LIST_HEAD(ring3_lives, ring3_life) lives;
    struct ring3_memories memories;
    struct world_node client_node; // a clock for those who wait for a node
    struct ring3_tree *tree;
    uint64_t block_count; // of the volume, as statfs says; 0: nobody has asked
    unsigned deaths;      // lives that ended otherwise than cleanly
    unsigned client_count;
    struct ring3_client *clients[RING3_CLIENTS_MAX];
    unsigned clients_at_work;
    uint64_t operations_left;
    uint64_t operations_healed;                // that come when the faults are over
    struct sim_disk *copies[RING3_COPIES_MAX]; // made while the volume was frozen
    bool is_healing;                           // no new faults
    uint64_t healed_ns;                        // since when
    bool is_unmounting;                        // nobody mounts again
    struct world_event fault;
    struct ring3_aim aim;
    struct ring3_fenced fenced;
    unsigned faults_left;
    LIST_HEAD(sequels, sequel) sequels; // what faults have yet to do
    struct ring3_quota *quota;          // ring3_quota.h; NULL: no quotas
    uint64_t work_ns;                   // about how long the clients' part lasts
};

// A scheduler for them, which keeps as many stacks as a history has at once.
struct scheduler *ring3_scheduler_new(void);
void ring3_run(const struct ring3_options *options, struct ring3_result *result);

// The first one counts.
void ring3_fail(struct ring3 *ring3, const char *format, ...) __attribute__((format(printf, 2, 3)));
void ring3_trace(struct ring3 *ring3, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
uint64_t ring3_between(struct ring3 *ring3, uint64_t low_ns, uint64_t high_ns); // of the world
void ring3_arm_in(struct ring3 *ring3, struct world_event *event, uint64_t in_ns);

// ring3_faults.c
void ring3_faults_start(struct ring3 *ring3);
// Some have yet to come.
bool ring3_faults_are_due(const struct ring3 *ring3);
void ring3_faults_look(struct ring3 *ring3); // after each step of the world
void ring3_heal(struct ring3 *ring3);
void ring3_faults_end(struct ring3 *ring3);

// ring3_freeze.c: freezes beside the clients' work, if the seed says so
void ring3_freezes_start(struct ring3 *ring3);
// The copies that were made, for fsck. Outside of coroutines, when nothing else goes on.
void ring3_copies_check(struct ring3 *ring3);
// Whether a node that others cannot have given up says that the volume is frozen.
bool ring3_freeze_holds(const struct ring3 *ring3);

// ring3_check.c: what must hold at all times
void ring3_check_start(struct ring3 *ring3);
void ring3_check_step(struct ring3 *ring3); // after each step of the world

// ring3_client.c
struct ring3_client *ring3_client_new(struct ring3 *ring3, unsigned number);
void ring3_client_free(struct ring3_client *client);
void ring3_client_work(void *client); // a coroutine's body
// All of the model against what `life` shows. From a coroutine.
void ring3_verify(struct ring3 *ring3, struct ring3_life *life);
