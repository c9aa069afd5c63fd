// SPDX-License-Identifier: Apache-2.0
// Lease arithmetic (rule 10), pure. All times are nanoseconds on the caller's CLOCK_BOOTTIME.
//
// The holder's side. A lease counts from the moment a heartbeat was *submitted*, never from its
// reply, and moves on only after the mailbox was read, clean, after that heartbeat:
//
//      s1        a1  m1                       s1+L
//      │ beat ──►│   │                         │
//   ───┼─────────┼───┼─────────────────────────┼──────► holder's time
//      submitted │   mailbox clean:            lease ends here, whatever a1 and m1 were
//                acknowledged  until = s1+L
//
// Once it has run out it never comes back: `lease_extend` refuses for good (the node is to end).
//
// The fencer's side. The victim's last beat landed before the read that showed it completed (c).
// Its lease is over L after that on its own clock, at most L + drift on ours, and what it had
// submitted by then has landed io_max later:
//
//      beat lands   c                                           c + L + drift + io_max   r
//   ───────┼────────┼───────────────────────────────────────────────┼────────────────────┼──►
//                   first read that shows it        (note durable)  │  read submitted
//                                                                   │  after: unchanged
//                                                                   fenced ◄─────────────┘
//
// The note must be durable before the read r is submitted: a victim that still beats reads it in
// the same round and ends; its last beat then moves c. A change of any kind moves c. Without a
// note nothing is fenced, however long the silence.
//
// Why the wait counts from c and not from the note: the victim's lease cannot outlive its last
// beat by more than L, note or no note, because an expired lease never revives. The note is there
// for victims that still beat.
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct lease_config {
    uint64_t beat_ns;   // between two heartbeats
    uint64_t lease_ns;  // L
    uint64_t drift_ns;  // how much slower another node's clock may run over L
    uint64_t io_max_ns; // an I/O that was submitted has landed or never will after this
};

// beat 1 s, L 5 s, drift 10 % of L; `io_max_ns` comes from the device (its timeouts).
struct lease_config lease_config_default(uint64_t io_max_ns);
// For another L: beat L/5, drift L/10.
struct lease_config lease_config_of(uint64_t lease_ns, uint64_t io_max_ns);

// --- the holder's side -----------------------------------------------------------------------

struct lease {
    uint64_t lease_ns;
    uint64_t until_ns;     // 0: none yet
    uint64_t submitted_ns; // of the last acknowledged beat that no mailbox read followed; 0: none
    bool is_over;          // ran out, or given up: never valid again
};

void lease_init(struct lease *lease, const struct lease_config *config);
// A heartbeat was acknowledged (its write completed, or it was read back); `submitted_ns` is from
// before its first submission.
void lease_beat_acknowledged(struct lease *lease, uint64_t submitted_ns, uint64_t acknowledged_ns);
// A mailbox read that was submitted at `read_submitted_ns` found no note for us. True if the lease
// moved on. False, and over for good, if it had run out by `now_ns`.
bool lease_extend(struct lease *lease, uint64_t read_submitted_ns, uint64_t now_ns);
bool lease_is_valid(const struct lease *lease, uint64_t now_ns);
// Notices that the time is over; true from then on.
bool lease_has_run_out(struct lease *lease, uint64_t now_ns);
// Gives the lease up at once (poison, end of the mount).
void lease_end(struct lease *lease);

// --- watching another slot -------------------------------------------------------------------

// What one heartbeat block said. A block that fails its checks counts as a change without content.
struct lease_sighting {
    uint64_t incarnation;
    uint64_t beat;
    uint64_t version; // of the block
    uint32_t state;   // enum heartbeat_state
    uint32_t node_id;
    bool is_valid;
};

struct lease_watch {
    struct lease_sighting last;
    uint64_t changed_ns; // completion of the first read that showed `last`; 0: never read
    uint64_t seen_ns;    // submission of the latest read that showed `last`
    uint32_t change_count;
};

void lease_watch_init(struct lease_watch *watch);
// How long nothing must have moved in a slot until no lease of its user can be valid and what it
// submitted has landed: L + drift + io_max.
uint64_t lease_silence_ns(const struct lease_config *config);
// A read submitted and completed at these times showed `sighting`. True if it is a change.
bool lease_watch_observe(struct lease_watch *watch, const struct lease_sighting *sighting,
                         uint64_t submitted_ns, uint64_t completed_ns);
// How long nothing moved, seen from a read submitted at watch->seen_ns; 0 if never read.
uint64_t lease_watch_silent_ns(const struct lease_watch *watch);

// --- fencing by lease ------------------------------------------------------------------------

enum lease_fence_verdict {
    LEASE_FENCE_WAITING,
    LEASE_FENCE_DONE,    // the victim writes no more
    LEASE_FENCE_ABORTED, // another life is in use of the slot: whoever let it in knew better
};

struct lease_fence {
    uint64_t incarnation;     // the victim's
    uint64_t note_durable_ns; // 0: not yet
};

void lease_fence_init(struct lease_fence *fence, uint64_t incarnation);
// The note was written, made durable and read back.
void lease_fence_note_durable(struct lease_fence *fence, uint64_t now_ns);
// Judges by what the watch has seen so far.
enum lease_fence_verdict lease_fence_judge(const struct lease_fence *fence,
                                           const struct lease_config *config,
                                           const struct lease_watch *watch);
// For people: how long still, if nothing moves; rounded up to be honest.
uint64_t lease_fence_left_ns(const struct lease_fence *fence, const struct lease_config *config,
                             const struct lease_watch *watch, uint64_t now_ns);
