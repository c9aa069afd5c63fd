// SPDX-License-Identifier: Apache-2.0
// The heartbeat: one thread, one 4 KiB block of its own, one round a beat (heartbeat_machine.h).
// It holds this node's lease, fences others by theirs, and checks that the core still turns.
//
// The thread has a duplicate of the worker's one description of the LUN and does one synchronous
// O_DIRECT I/O at a time from a buffer of its own: nothing that the core or the lanes do can make
// it wait. It runs with real-time priority where it may.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "dlm/heartbeat_machine.h"
#include "fs/base/log.h"

struct environment;
struct heartbeat;

// What one slot showed, for `lunfs nodes`, joiners and fencers.
struct heartbeat_slot_info {
    struct lease_sighting sighting;
    uint64_t changed_ns; // 0: not read yet
    uint64_t silent_ns;  // no change for so long
    uint32_t change_count;
    bool fences;
    bool frees;             // to be written FREE, not durable yet
    uint32_t fence_verdict; // enum lease_fence_verdict
    uint64_t fence_left_ns; // estimate
    char node_name[FORMAT_NODE_NAME_BYTES];
};

struct heartbeat_thread_config {
    struct heartbeat_config heartbeat;
    // The worker's description of the LUN, O_DIRECT; duplicated. All I/O is synchronous.
    int descriptor;
    bool uses_fua;                   // writes with RWF_DSYNC; else the LUN has no volatile cache
    struct environment *environment; // a real one: posts go to its core
    struct log *log;
    uint64_t core_patience_ns; // a core that has not turned for so long hangs; 0: L/2
    void *context;
    // On the heartbeat's own thread; may not block.
    void (*lease_extended)(void *context, uint64_t until_ns);
    // ... the core has not turned for too long: the guard is to kill this process.
    void (*core_hung)(void *context, uint64_t hung_ns);
    // On the heartbeat's thread, at once when this node must end; shut the gate here.
    void (*ended_now)(void *context, int error);
    // On the core's thread:
    void (*ended)(void *context, int error, const char *reason);
    // ... something moved: a watched slot, a fence's verdict, the durable state, a mailbox round.
    void (*changed)(void *context);
};

// Starts the thread: SCHED_FIFO and real-time I/O priority where the process may have them (the log
// says when not). 0 and *heartbeat, or -errno. Returns before the first beat: state_durable tells.
int heartbeat_start(const struct heartbeat_thread_config *config, struct heartbeat **heartbeat);
// Writes a last beat with `state` (FREE after a clean leave, STOPPED after draining; or the current
// one to write nothing), then ends the thread and frees all. Waits for that, L at most. 0 if it is
// durable, or the error.
int heartbeat_stop(struct heartbeat *heartbeat, enum heartbeat_state state);

// Orders from the core's thread; they take effect at once (the thread is woken).
void heartbeat_set_state(struct heartbeat *heartbeat, enum heartbeat_state state);
void heartbeat_set_lamport(struct heartbeat *heartbeat, uint64_t lamport);
void heartbeat_watch(struct heartbeat *heartbeat, uint32_t slot, bool on);
void heartbeat_fence(struct heartbeat *heartbeat, uint32_t slot, uint64_t incarnation,
                     uint64_t yield_until_ns, const char *reason);
void heartbeat_fence_cancel(struct heartbeat *heartbeat, uint32_t slot);
void heartbeat_free_slot(struct heartbeat *heartbeat, uint32_t slot, uint64_t incarnation);
// Drained for good on our own wish or after an end: beats STOPPED once, then no more.
void heartbeat_write_stopped(struct heartbeat *heartbeat);

// What the thread knows; any thread; copies under a short lock.
struct heartbeat_status {
    uint64_t lease_until_ns;
    uint64_t lamport_durable;
    uint64_t mailbox_clean_ns; // when the last clean mailbox read was submitted (rule 18)
    uint64_t mailbox_rounds;   // grows by one with each clean mailbox read that began after a beat
    uint64_t beat_us_max;      // slowest beat so far
    enum heartbeat_state state_durable;
    enum heartbeat_end end;
    bool frees_pending; // some slot is still to be written FREE
};
void heartbeat_status_get(struct heartbeat *heartbeat, struct heartbeat_status *status);
void heartbeat_slot_get(struct heartbeat *heartbeat, uint32_t slot,
                        struct heartbeat_slot_info *info);
