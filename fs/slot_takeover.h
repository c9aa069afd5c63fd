// SPDX-License-Identifier: Apache-2.0
// The first mount of a volume whose every slot was left behind by the dead: a power cut of as many
// nodes as there are slots. A node needs a slot to fence and replay under a lease of its own, and
// would get one only by doing so. It takes one over:
//
//   claim held (rule 15)                         nobody outside this cluster begins anything
//   every slot silent for L + drift + io_max     no lease is valid, nothing is in flight
//   the first beat, over the dead one's block    from here on a lease of our own
//   its journal replayed, clean mark durable     under that lease, through recovery's gate
//   founded                                      the other slots: fenced and replayed as always
//
// Why no note is written: whoever still beat would be seen, and a lease that is over never revives
// (dlm/lease.h). Any move of any slot ends the try. A death after the first beat leaves a slot in
// use with a journal that is not clean, which is what it was; replay can be repeated.
#pragma once

#include <stdint.h>

#include "dlm/claim.h"
#include "dlm/lease.h"
#include "fs/slots.h"

// For the log of who begins one; takes the number of slots.
#define SLOT_TAKEOVER_NOTICE                                                                       \
    "all %u slots were left behind: one is taken over when their leases are certainly over"

struct slot_takeover {
    struct block_device *device; // the LUN itself
    struct scheduler *scheduler; // of the caller's coroutine; NULL in tools
    struct claim_clock clock;
    const struct geometry *geometry;
    struct lease_config lease;
    uint32_t node_id; // whose old slot is preferred
    // Once a beat: keeps the claim. 0, or the error that ends the try. NULL: somebody else does.
    int (*keep_claim)(void *context);
    void *context;
};

// Waits until every slot of `survey`, all of them in use, was silent for long enough, and chooses
// the one to be taken over. 0; -ERROR_CLAIM_HELD: one moved; the errors of slot_survey_read, and
// those of keep_claim. Waits.
int slot_takeover_wait(const struct slot_takeover *takeover, const struct slot_survey *survey,
                       uint32_t *slot);
