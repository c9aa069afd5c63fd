// SPDX-License-Identifier: Apache-2.0
// The inodes that this node has open, and what the coherence table asks for before the lock of one
// goes. The inodes themselves stand in cached blocks (fs/inode.h); here is what an open file adds:
// its pass, first writes and times that are not in the map and the inode yet (fs/open_inode.h), and
// the freeing of unlinked files (fs/reaper.h).
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "fs/lock_service.h"

struct cluster_lock;
struct inode_table;
struct open_inode;
struct reaper;
struct volume;

struct inode_table *inode_table_new(struct volume *volume);
// Ends the work in the background: unlinked files that no node has open are freed, the rest stays
// on the orphan lists for whoever closes them. No file is open and none is being opened. After it,
// and before locks and journal go, the table is still good for quiesce and forget. Waits.
void inode_table_stop(struct inode_table *table);
void inode_table_free(struct inode_table *table);

// Lanes run on other threads: `wake` (any thread) has the core call inode_table_drained soon.
// Without it (all on one thread) that is called at once. To be set before the first lane runs.
void inode_table_set_waker(struct inode_table *table, void (*wake)(void *context), void *context);
// Core: some pass was drained; wakes those who wait for it.
void inode_table_drained(struct inode_table *table);
// Whether no lane is in the middle of an I/O. Once the gate has ended it stays so: who counts
// itself afterwards finds the gate shut.
bool inode_table_is_drained(const struct inode_table *table);

// --- the lock table's hooks (lock type LOCK_INODE) ---------------------------------------------

void inode_table_quiesce(struct volume *volume, struct cluster_lock *lock, enum lock_right keep);
void inode_table_stop_filling(struct volume *volume, struct cluster_lock *lock);
void inode_table_forget(struct volume *volume, struct cluster_lock *lock);

// --- for the operations ------------------------------------------------------------------------

// NULL if this node has not opened it.
struct open_inode *open_inode_find(struct volume *volume, uint64_t number);
// The inode was changed in the transaction with this ticket.
void inode_table_note_change(struct volume *volume, uint64_t number, uint64_t ticket);
struct reaper *inode_table_reaper(struct volume *volume);
// Brings what is only in memory of all open inodes into the journal: for syncfs. 0 or the first
// error. Waits.
int inode_table_flush_all(struct inode_table *table);
// Before a freeze: calls in the pages that processes may be changing. Whether there were any: some
// may have been filled meanwhile, for the kernel waited for them. Waits.
bool inode_table_call_mapped_in(struct inode_table *table);
// Before a freeze: no lane writes any more, and what of open inodes is only in memory, or allocated
// ahead, is in the journal. The core changes nothing meanwhile. Waits.
void inode_table_settle(struct inode_table *table);
