// SPDX-License-Identifier: Apache-2.0
// What a node does about damage that it meets while it is mounted: the operation that needs the
// block fails (EIO), all others go on, and the superblock says from then on that the volume needs
// fsck.lunfs (SUPERBLOCK_STATE_DAMAGED). It can be mounted all the same; fsck.lunfs takes the mark
// away. The superblock is written in place, past the journal, under LOCK_SUPERBLOCK:
//
//   node A   meets damage ─► EX ─► reads it, writes block 16, flush, each copy, flush ─► lets go
//   node B   keeps SHARED since its mount ──► callback: its copy is old ─► SHARED again, reads it
//
//   A dies before a write   nobody has marked it: whoever meets the damage next does
//   A dies between writes   EX is granted again after A's fence: nothing of A's can land any more.
//                           The next one to mark writes those that lack it; fsck.lunfs also finds
//                           copies that differ
//   A dies in a write       what differs stands in the first 512 bytes: the old or the new state
//   A and B both meet it    the second to get EX finds the mark, and writes nothing
//
// A mount that is read-only marks nothing; it still tells what it met. All on the core.
#pragma once

#include <stdbool.h>

struct cluster_lock;
struct damage;
struct volume;

// For a volume that has started: its locks can be taken. Looks at the superblock, in the
// background.
struct damage *damage_new(struct volume *volume);
// After damage_stop.
void damage_free(struct damage *damage);
// Nothing is written any more when it returns. Waits.
void damage_stop(struct damage *damage);

// A block is not what it should be; it was logged. Does not wait.
void damage_found(struct damage *damage);
// Whether this node has met damage, or has read that another one did.
bool damage_is_known(const struct damage *damage);

// LOCK_SUPERBLOCK is given up: another node writes the superblock (fs/lock_types.c).
void damage_superblock_forget(struct volume *volume, struct cluster_lock *lock);
