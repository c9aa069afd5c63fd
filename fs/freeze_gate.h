// SPDX-License-Identifier: Apache-2.0
// LOCK_FREEZE as those take it who change something; what freezes is fs/freeze.h. Core.
//
// An operation may wait for an inode's lock that is being given up, which waits for the kernel to
// drop pages, which waits for dirty ones to be written back. If that waited for a freeze, which
// waits for the operation or for the inode, nobody would go on:
//
//   operation      has LOCK_FREEZE, waits for LOCK_INODE ◄─┐
//   LOCK_INODE     goes: recall ─► kernel ─► writes a page ─┼─► waits for LOCK_FREEZE?
//   LOCK_FREEZE    goes: waits for the operation, settles the inode
//
// So the kernel's writes are let in until all is settled, and what they wrote is settled, too. From
// then on they wait for the thaw, and whoever wants the inode elsewhere waits with them.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "fs/base/coroutine.h"

struct cluster_lock;
struct environment;

struct freeze_gate {
    struct environment *environment;
    struct cluster_lock *lock;
    bool is_shut;            // settled: the kernel's writes wait as well
    unsigned kernel_writes;  // let in, under way
    uint64_t let_in_count;   // ever
    struct wait_queue quiet; // no kernel write is under way
};

void freeze_gate_init(struct freeze_gate *gate, struct environment *environment,
                      struct cluster_lock *lock);
// Whether no freeze is here or on its way.
bool freeze_gate_is_open(const struct freeze_gate *gate);
// For what the kernel waits for when it is told to drop pages (LOCK_FOR_KERNEL_WRITE): takes the
// lock SHARED with `flags`, or is let in without it; `*is_let_in` is for the leave. 0 or as
// cluster_lock_acquire. Waits.
int freeze_gate_enter(struct freeze_gate *gate, unsigned flags, bool *is_let_in);
void freeze_gate_leave(struct freeze_gate *gate, bool is_let_in);
