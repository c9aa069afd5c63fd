// SPDX-License-Identifier: Apache-2.0
// The cluster's logical clock (Lamport 1978). Every message between nodes carries it, each
// heartbeat keeps it on disk, and a metadata block's version is drawn from it: whoever gets a lock
// writes higher versions than all before (protocols, rules 1 and 30).
#pragma once

#include <stdint.h>

struct lamport_clock {
    uint64_t now; // the highest value seen or given out
};

// A value higher than every one seen or given out so far.
static inline uint64_t lamport_tick(struct lamport_clock *clock)
{
    return ++clock->now;
}

// Takes note of a value from elsewhere: a message, a block, a journal record, a heartbeat.
static inline void lamport_observe(struct lamport_clock *clock, uint64_t seen)
{
    if (seen > clock->now)
        clock->now = seen;
}
