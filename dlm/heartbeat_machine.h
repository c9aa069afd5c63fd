// SPDX-License-Identifier: Apache-2.0
// What the heartbeat does next, pure: it says which one I/O to do, and judges what came of it. The
// heartbeat's thread (dlm/heartbeat.h) and the simulator run it.
//
//   at first: read my mailbox ─► a note for me: ended ─► read my slot's block ─► not FREE: ended
//
//   write my block ─► read my mailbox ─► lease moves on ─► notes, frees, watched slots ─► sleep
//        │ error           │ a note for me
//        ▼                 ▼
//   read it back      ended: beats no more; 'stopped' once the core has drained
//   ├ it is there: acknowledged
//   └ else try again; lease over: ended
//
// Past its own lease a node writes nothing at all, neither a beat nor a note: the slot may be
// somebody else's by then.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "dlm/heartbeat_block.h"
#include "dlm/lease.h"

enum { HEARTBEAT_SLOTS_MAX = FORMAT_SLOT_COUNT_MAX };

struct heartbeat_config {
    struct lease_config lease;
    const struct geometry *geometry; // outlives the machine
    uint32_t slot;
    uint32_t node_id; // corosync's; 0: local mount
    uint64_t incarnation;
    uint64_t recovered_incarnation; // as it stood in the block before us
    // 0, or whose slot this one is taken over (fs/slot_takeover.h): then its block need not be FREE
    // before the first beat, but must still be of this one.
    uint64_t replaced_incarnation;
    uint8_t cluster_id[16];
    char node_name[FORMAT_NODE_NAME_BYTES];
    enum heartbeat_state state; // to begin with: HEARTBEAT_JOINING
    uint64_t watch_ns;          // between two looks at the watched slots
};

enum heartbeat_io_type {
    HEARTBEAT_IO_NONE,          // nothing before `wake_ns`
    HEARTBEAT_IO_WRITE_BEAT,    // `buffer` to our heartbeat block
    HEARTBEAT_IO_READ_BEAT,     // ... read back, because a reply was lost; before the first: is it
                                // FREE, or of whom we replace?
    HEARTBEAT_IO_READ_MAILBOX,  // ours
    HEARTBEAT_IO_WRITE_MAILBOX, // ours, once, when it was unreadable before our first beat
    HEARTBEAT_IO_READ_SLOT,     // the heartbeat block of `slot`
    HEARTBEAT_IO_WRITE_NOTE,    // `buffer` to the mailbox of `slot`
    HEARTBEAT_IO_READ_NOTE,     // ... read back
    HEARTBEAT_IO_WRITE_FREE,    // `buffer` to the heartbeat block of a recovered `slot`
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
    bool note_yields;       // rule 26: only after a clean mailbox read that began after note_at_ns
    uint32_t fence_verdict; // enum lease_fence_verdict, of a fence that is under way or over
    uint64_t free_incarnation;
    uint64_t free_at_ns; // not before: a try failed
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
    uint64_t lamport;          // to be written
    uint64_t lamport_durable;  // ... acknowledged
    uint64_t mailbox_clean_ns; // submission of the last clean mailbox read
    uint64_t mailbox_rounds;   // clean mailbox reads so far (rule 18: a fresh one)
    int64_t wall_ns;           // given by the shell before heartbeat_next

    struct heartbeat_io io; // the one under way
    uint64_t io_submitted_ns;
    enum heartbeat_state beat_state; // what the beat under way carries
    uint64_t beat_lamport;
    uint64_t beat_submitted_ns;
    uint32_t order_slot; // of the note or the free under way
    uint64_t next_beat_ns;
    uint64_t next_watch_ns;
    uint32_t watch_cursor;
    uint32_t phase; // private
    uint64_t started_ns;
    bool last_word_is_out; // FREE or STOPPED was submitted: nothing is written any more
    bool is_silent;        // beats no more: ended or stopped
    uint32_t failures;     // beats in a row that failed
    uint64_t failed_ns;    // submission of the last beat answered with an error; 0: none
    uint8_t *buffer;       // 4096 bytes, aligned, the caller's
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
// What others than the caller can see of the machine: equal, byte for byte, if nothing of it moved.
struct heartbeat_noticed {
    uint64_t rounds;
    uint32_t state, changes, verdicts, frees;
};
struct heartbeat_noticed heartbeat_machine_notice(const struct heartbeat_machine *machine);
// Orders; each takes effect with the next I/O.
void heartbeat_machine_set_state(struct heartbeat_machine *machine, enum heartbeat_state state);
void heartbeat_machine_watch(struct heartbeat_machine *machine, uint32_t slot, bool on);
// Writes a note to the slot's mailbox, reads it back, judges by the lease; `slot` is watched too.
// Rule 26: a node that yields (yield_until_ns not 0) writes its note only after that moment, and
// only after a look into its own mailbox that began later still and found nothing.
void heartbeat_machine_fence(struct heartbeat_machine *machine, uint32_t slot, uint64_t incarnation,
                             uint64_t yield_until_ns, const char *reason);
void heartbeat_machine_fence_cancel(struct heartbeat_machine *machine, uint32_t slot);
// Writes the block of a slot whose journal was replayed and marked clean: FREE, with
// recovered_incarnation (rule 27). Done when slots[slot].frees is false again.
void heartbeat_machine_free(struct heartbeat_machine *machine, uint32_t slot, uint64_t incarnation);
void heartbeat_machine_end(struct heartbeat_machine *machine, enum heartbeat_end end,
                           const char *reason);
// The negative error of an end; 0 while alive.
int heartbeat_end_error(enum heartbeat_end end);
