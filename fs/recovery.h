// SPDX-License-Identifier: Apache-2.0
// The spine of recovery, read top to bottom; each phase can be repeated by this node or another:
//
//   fenced      the dead node writes no more (membership decides, dlm/fence.h does it)
//   replay      its journal's newest live images in place, flushed, clean mark durable
//   free        its slot's heartbeat block says FREE and which incarnation was recovered (rule 27)
//   recovered   an ordered message: only now what it held may be granted
//   orphans     what it had unlinked or was truncating is finished, under ordinary locks
//
// A crash of the recovering node after any phase leaves a state from which the next one starts
// over: replay can be repeated, FREE is written only behind the clean mark, and the locks stay held
// until 'recovered' is delivered.
#pragma once

#include <stddef.h>
#include <stdint.h>

struct heartbeat;
struct volume;

struct recovery_victim {
    uint32_t slot;
    uint64_t incarnation;
};

// Replays the victims' journals together and frees their slots; they are fenced. 0, or the error
// with which it stopped (logged; nothing is freed then). After -EIO it may be tried again. Waits.
int recovery_replay_and_free(struct volume *volume, struct heartbeat *heartbeat,
                             const struct recovery_victim *victims, size_t count);

// The same for the journal of this node's own slot, which it has taken over (fs/slot_takeover.h):
// the slot stays in use, by us. Before the volume starts. Waits, also for the first lease.
int recovery_replay_own(struct volume *volume, const struct recovery_victim *before);

// After 'recovered': finishes the orphans of a slot. Errors are logged: the list stays for the next
// one who tries. Waits.
void recovery_orphans(struct volume *volume, uint32_t slot);
