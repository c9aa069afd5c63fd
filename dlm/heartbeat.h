// SPDX-License-Identifier: Apache-2.0
// The heartbeat: one thread, one 4 KiB block of its own, one round a beat:
//
//   write my block ─► read my mailbox ─► lease moves on ─► read the watched slots ─► sleep
//        │ error           │ a note for me
//        ▼                 ▼
//   read it back      ended (poison); the block says 'stopped' once the core has drained
//   ├ it is there: acknowledged
//   └ else try again; lease over: ended
//
// This header has two parts: the machine, pure, which says what to read or write next and judges
// what came back (the simulator runs it too), and the thread, which owns the descriptor.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dlm/lease.h"
#include "fs/base/log.h"
#include "fs/format.h"

enum { HEARTBEAT_SLOTS_MAX = FORMAT_SLOT_COUNT_MAX, HEARTBEAT_REASON_BYTES = 128 };

struct heartbeat_config {
    struct lease_config lease;
    const struct geometry *geometry; // outlives the machine
    uint32_t slot;
    uint32_t node_id; // corosync's; 0: local mount
    uint64_t incarnation;
    uint64_t recovered_incarnation; // as it stood in the block before us
    uint8_t cluster_id[16];
    char node_name[FORMAT_NODE_NAME_BYTES];
    enum heartbeat_state state; // to begin with: HEARTBEAT_JOINING
    uint64_t watch_ns;          // between two looks at the watched slots
};

// --- the machine -----------------------------------------------------------------------------

enum heartbeat_io_type {
    HEARTBEAT_IO_NONE,         // nothing before `wake_ns`
    HEARTBEAT_IO_WRITE_BEAT,   // `buffer` to our heartbeat block
    HEARTBEAT_IO_READ_BEAT,    // ... read back, because a reply was lost
    HEARTBEAT_IO_READ_MAILBOX, // ours
    HEARTBEAT_IO_READ_SLOT,    // the heartbeat block of `slot`
    HEARTBEAT_IO_WRITE_NOTE,   // `buffer` to the mailbox of `slot`
    HEARTBEAT_IO_READ_NOTE,    // ... read back
    HEARTBEAT_IO_WRITE_FREE,   // `buffer` to the heartbeat block of a recovered `slot`
};

// One I/O at a time: `heartbeat_next` asks for it, `heartbeat_completed` takes what came of it.
struct heartbeat_io {
    enum heartbeat_io_type type;
    uint32_t slot;
    uint64_t block;   // where on the volume
    uint64_t wake_ns; // HEARTBEAT_IO_NONE
    uint8_t *buffer;  // 4096 bytes, the machine's; to be written from, or read into
    bool is_write;    // to be made durable (FUA or flush) before it counts as completed
};

enum heartbeat_end {
    HEARTBEAT_ALIVE,
    HEARTBEAT_END_POISONED, // a note names our incarnation: -ERROR_LEASE_POISONED
    HEARTBEAT_END_LEASE,    // beats failed past the lease: -ERROR_LEASE_LOST
    HEARTBEAT_END_SLOT,     // somebody else's incarnation stands in our block: -ERROR_LEASE_LOST
    HEARTBEAT_END_CORE,     // the core hung for more than L/2: -ERROR_LEASE_LOST
};

struct heartbeat_slot {
    bool is_watched;
    bool frees;       // to be written FREE: `free_incarnation` was recovered
    bool fences;      // a lease fence is under way
    bool note_wanted; // ... and its note is not durable yet
    bool note_written;
    uint32_t fence_verdict; // enum lease_fence_verdict, of a fence that is under way or over
    uint64_t free_incarnation;
    uint64_t note_at_ns; // not before (rule 26: the higher rank waits)
    struct lease_fence fence;
    struct lease_watch watch;
    char node_name[FORMAT_NODE_NAME_BYTES]; // as last read
    char fence_reason[HEARTBEAT_REASON_BYTES];
};

struct heartbeat_machine {
    struct heartbeat_config config;
    struct lease lease;
    enum heartbeat_end end;
    char end_reason[HEARTBEAT_REASON_BYTES];

    enum heartbeat_state state;         // to be written
    enum heartbeat_state state_durable; // last one that an acknowledged beat carried
    uint64_t beat;
    uint64_t lamport;         // to be written
    uint64_t lamport_durable; // ... acknowledged
    uint64_t mailbox_rounds;  // clean mailbox reads so far (rule 18: a fresh one)
    int64_t wall_ns;          // given by the shell before heartbeat_next

    struct heartbeat_io io; // the one under way
    uint64_t io_submitted_ns;
    uint64_t beat_first_submitted_ns;
    uint64_t next_beat_ns;
    uint64_t next_watch_ns;
    uint32_t watch_cursor;
    uint32_t phase;    // private
    bool is_silent;    // beats no more: ended or stopped
    uint32_t failures; // beats in a row that failed
    uint8_t *buffer;   // 4096 bytes, aligned, the caller's
    struct heartbeat_slot slots[HEARTBEAT_SLOTS_MAX];
};

// `buffer`: 4096 bytes aligned for I/O; outlives the machine.
void heartbeat_machine_init(struct heartbeat_machine *machine,
                            const struct heartbeat_config *config, uint8_t *buffer,
                            uint64_t now_ns);
// The next I/O, or how long to sleep. Fills machine->io.
const struct heartbeat_io *heartbeat_machine_next(struct heartbeat_machine *machine,
                                                  uint64_t now_ns);
// What came of machine->io: 0 or -errno; what was read stands in the buffer.
void heartbeat_machine_completed(struct heartbeat_machine *machine, int result, uint64_t now_ns);
// Orders; each takes effect with the next I/O.
void heartbeat_machine_set_state(struct heartbeat_machine *machine, enum heartbeat_state state);
void heartbeat_machine_watch(struct heartbeat_machine *machine, uint32_t slot, bool on);
// Writes the note at `not_before_ns`, reads it back, judges by the lease. `slot` is watched too.
void heartbeat_machine_fence(struct heartbeat_machine *machine, uint32_t slot, uint64_t incarnation,
                             uint64_t not_before_ns, const char *reason);
void heartbeat_machine_fence_cancel(struct heartbeat_machine *machine, uint32_t slot);
// Writes the block of a slot whose journal was replayed and marked clean: FREE, with
// recovered_incarnation (rule 27). Done when slots[slot].frees is false again.
void heartbeat_machine_free(struct heartbeat_machine *machine, uint32_t slot, uint64_t incarnation);
void heartbeat_machine_end(struct heartbeat_machine *machine, enum heartbeat_end end,
                           const char *reason);
// The negative error of an end; 0 while alive.
int heartbeat_end_error(enum heartbeat_end end);

// Encodes and seals the three kinds of block; also used by claims and tests.
struct heartbeat_content {
    uint64_t incarnation, beat, lamport, boot_ns, recovered_incarnation, version;
    int64_t wall_ns;
    enum heartbeat_state state;
    uint32_t node_id, lease_ms, beat_ms;
    uint8_t cluster_id[16];
    char node_name[FORMAT_NODE_NAME_BYTES];
};
void heartbeat_encode(uint8_t *block, const struct geometry *geometry, uint32_t slot,
                      const struct heartbeat_content *content);
// 0 or -ERROR_BLOCK_*. Text is terminated.
int heartbeat_decode(const uint8_t *block, const struct geometry *geometry, uint32_t slot,
                     struct heartbeat_content *content);
struct mailbox_content {
    uint64_t victim_incarnation, writer_incarnation, version;
    int64_t wall_ns;
    uint32_t writer_slot, writer_node_id;
    char reason[HEARTBEAT_REASON_BYTES];
};
void mailbox_encode(uint8_t *block, const struct geometry *geometry, uint32_t slot,
                    const struct mailbox_content *content);
int mailbox_decode(const uint8_t *block, const struct geometry *geometry, uint32_t slot,
                   struct mailbox_content *content);
const char *heartbeat_state_text(enum heartbeat_state state);

// --- the thread ------------------------------------------------------------------------------

struct environment;
struct heartbeat;

// What one slot showed, for `lunfs nodes`, joiners and fencers.
struct heartbeat_slot_info {
    struct lease_sighting sighting;
    uint64_t changed_ns; // 0: not read yet
    uint64_t silent_ns;  // no change for so long
    uint32_t change_count;
    bool fences;
    uint32_t fence_verdict;
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
    void *context;
    // On the heartbeat's own thread; may not block.
    void (*lease_extended)(void *context, uint64_t until_ns);
    // ... the core has not turned for more than L/2: the guard is to kill this process.
    void (*core_hung)(void *context, uint64_t hung_ns);
    // On the heartbeat's thread, at once when this node must end; shut the gate here.
    void (*ended_now)(void *context, int error);
    // On the core's thread:
    void (*ended)(void *context, int error, const char *reason);
    // ... something moved: a watched slot, a fence's verdict, the durable state, a mailbox round.
    void (*changed)(void *context);
};

// Starts the thread: SCHED_FIFO and real-time I/O priority where the process may have them (the log
// says when not). 0 and *heartbeat, or -errno. The first beat is written before it returns.
int heartbeat_start(const struct heartbeat_thread_config *config, struct heartbeat **heartbeat);
// Writes a last beat with `state` (FREE after a clean leave, STOPPED after draining; or the current
// one to write nothing), then ends the thread and frees all. Returns its durability: 0 or -errno.
int heartbeat_stop(struct heartbeat *heartbeat, enum heartbeat_state state);

// Orders from the core's thread; they take effect at once (the thread is woken).
void heartbeat_set_state(struct heartbeat *heartbeat, enum heartbeat_state state);
void heartbeat_set_lamport(struct heartbeat *heartbeat, uint64_t lamport);
void heartbeat_watch(struct heartbeat *heartbeat, uint32_t slot, bool on);
void heartbeat_fence(struct heartbeat *heartbeat, uint32_t slot, uint64_t incarnation,
                     uint64_t not_before_ns, const char *reason);
void heartbeat_fence_cancel(struct heartbeat *heartbeat, uint32_t slot);
void heartbeat_free_slot(struct heartbeat *heartbeat, uint32_t slot, uint64_t incarnation);
// Drained for good on our own wish or after an end: beats STOPPED once, then no more.
void heartbeat_write_stopped(struct heartbeat *heartbeat);

// What the thread knows; any thread; copies under a short lock.
struct heartbeat_status {
    uint64_t lease_until_ns;
    uint64_t lamport_durable;
    uint64_t mailbox_rounds; // grows by one with each clean mailbox read that began after a beat
    uint64_t beat_us_max;    // slowest beat so far
    enum heartbeat_state state_durable;
    enum heartbeat_end end;
    bool frees_pending; // some slot is still to be written FREE
};
void heartbeat_status_get(struct heartbeat *heartbeat, struct heartbeat_status *status);
void heartbeat_slot_get(struct heartbeat *heartbeat, uint32_t slot,
                        struct heartbeat_slot_info *info);
