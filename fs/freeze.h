// SPDX-License-Identifier: Apache-2.0
// The volume held still on all nodes, so that a copy of the LUN is whole without a replay (rule
// 24; docs/freeze.md has the timelines).
//
// LOCK_FREEZE is shared by whoever changes something, for as long as the change takes, and kept by
// each node like any other right. Who has it EXCLUSIVE has frozen the volume:
//
//   n1  freeze_begin ─► LOCK_FREEZE EXCLUSIVE ........ own files settled, journal at rest: frozen
//   n2   callback ─► changes under way end ─► lanes stop, files settled, journal at rest ─► gone
//        changes that come now wait for LOCK_FREEZE; who only reads goes on
//   n1  freeze_end, the time limit, or n1's death after its recovery ─► all that waits goes on
//
// LOCK_THAW is how others ask for the end: the node that froze keeps it, and thaws when it is
// called back.
//
// On the core's thread; what waits is called from a coroutine.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "fs/lock_service.h"

struct cluster_lock;
struct coroutine;
struct freeze;
struct volume;

struct freeze *freeze_new(struct volume *volume);
// Ends a freeze of this node and what waits for one of another. Before the locks go; nobody asks
// for anything after it. Waits.
void freeze_stop(struct freeze *freeze);
void freeze_free(struct freeze *freeze);

// --- freezing ----------------------------------------------------------------------------------

enum freeze_state {
    FREEZE_NONE,
    FREEZE_BEGINS, // this node waits for the others, or for its own changes
    FREEZE_HOLDS,  // nobody changes anything: copy now
    FREEZE_OTHER,  // another node has frozen the volume, or is about to
};

struct freeze_status {
    enum freeze_state state;
    uint64_t for_ns;  // how long it has been so
    uint64_t left_ns; // of the time limit; this node's freeze only
    int ended;        // why this node's last freeze is over: 0 (as asked for here), or one of the
                      // errors of freeze_end; -ENODATA: there was none
};
void freeze_status_get(const struct freeze *freeze, struct freeze_status *status);

// Begins; freeze_status_get says when it holds. It ends after `limit_ns` at the latest, however far
// it came. 0; -EBUSY: this node freezes already, or knows of another that does; -EROFS: a mount
// without locks. That another node was faster may also show as `ended` -EBUSY.
int freeze_begin(struct freeze *freeze, uint64_t limit_ns);

// Ends the freeze of this node. 0: it held until now, so what was copied since is whole.
// -ETIMEDOUT: it had reached its limit; -ECANCELED: another node, or a thaw before it held, had
// ended it; -EBUSY and others: it never held; -ENODATA: this node froze nothing.
int freeze_end(struct freeze *freeze);
// Asks whichever other node froze the volume to end it, and does not wait: freeze_status_get says
// when it is over.
void freeze_ask_end(struct freeze *freeze);

// For what is done to a volume that is still: this node freezes it, with no time limit, and nobody
// can thaw it, until freeze_let_go; who changes blocks then has no LOCK_FREEZE to take. 0; -EBUSY:
// a freeze is here or on its way; -ECANCELED; the mount's failure. Locks of higher rank than
// LOCK_FREEZE are not held. Waits.
int freeze_hold(struct freeze *freeze);
// Whether somebody asked for the end meanwhile: freeze_end, freeze_stop.
bool freeze_hold_is_cancelled(const struct freeze *freeze);
void freeze_let_go(struct freeze *freeze);

// --- for who changes something -----------------------------------------------------------------

// Around a change that no lock set is taken for (lock_set_acquire does it by itself). Rank as
// LOCK_FREEZE in fs/lock_types.c. 0 or the mount's failure. Waits.
int freeze_enter(struct freeze *freeze);
void freeze_leave(struct freeze *freeze);
// freeze_enter of a mount, which says what it waits for.
int freeze_enter_to_mount(struct freeze *freeze);
// Processes may change pages that are filled so, and nobody hears of it: no freeze is here or on
// its way, and none comes until freeze_leave. False: freeze_wait_to_fill. Does not wait.
bool freeze_try_enter(struct freeze *freeze);
// Who cannot fill such a page of `inode` now. freeze_fill_begin comes before LOCK_INODE is let go,
// so that nothing is missed; freeze_fill_wait after it: 0 when freeze_try_enter is worth trying, or
// when the kernel may be waiting for this very page (is_let_go); else the mount's failure.
struct freeze_filler {
    uint64_t inode;
    struct coroutine *coroutine;
    bool is_let_go;
    LIST_ENTRY(freeze_filler) link;
};
void freeze_fill_begin(struct freeze *freeze, struct freeze_filler *filler, uint64_t inode);
int freeze_fill_wait(struct freeze *freeze, struct freeze_filler *filler);
// The kernel is, or will be, waiting for reads of the inode's pages: none waits for a thaw.
void freeze_let_fills_go(struct freeze *freeze, uint64_t inode);

// Whether this node has the right to change something: what it knows of the volume is not out of
// date.
bool freeze_has_right(const struct freeze *freeze);
// Whether lanes may write, and times of access be noted: no freeze is here or on its way.
bool freeze_lets_write(const struct freeze *freeze);

// --- the lock table's hooks ----------------------------------------------------------------------

void freeze_quiesce(struct volume *volume, struct cluster_lock *lock, enum lock_right keep);
void freeze_forget(struct volume *volume, struct cluster_lock *lock);
void freeze_thaw_asked(struct volume *volume, struct cluster_lock *lock, enum lock_right keep);
