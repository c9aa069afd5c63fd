// SPDX-License-Identifier: Apache-2.0
// Frees inodes that are unlinked and that no node has open (rule 14). Whoever unlinks a file, and
// whoever closes an unlinked one, adds it; the first that gets LOCK_OPEN EXCLUSIVE frees it, the
// others find it dead.
//
//   added ─► LOCK_OPEN EXCLUSIVE, at once ──────────┬─► LOCK_INODE ─► dead on disk ─► freed
//               │ somebody has it open              │
//               └─► a coroutine of its own waits ───┘
//
// "Dead on disk": before an inode's block is freed, its last content (no links) is written in
// place. The block keeps it until it is used again, so a node that still knows the number, and no
// longer the name, reads a dead inode and never one that seems alive.
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct reaper;
struct volume;

struct reaper *reaper_new(struct volume *volume);
// Frees what can be freed now and ends; what is open elsewhere stays on the orphan list. Waits.
void reaper_stop(struct reaper *reaper);
void reaper_free(struct reaper *reaper);

// The inode, of that generation, has no links any more and stands on an orphan list.
void reaper_add(struct reaper *reaper, uint64_t number, uint64_t generation);
// Returns when what was added before and nobody has open is freed; false if there was nothing, or
// interruptible_end has ended the wait. The caller holds no lock. Waits.
bool reaper_catch_up(struct reaper *reaper);
