// SPDX-License-Identifier: Apache-2.0
// The end of an unlinked inode: its blocks, attributes, its place on an orphan list, its own block.
#pragma once

#include <stdint.h>

struct inode;
struct orphan_list;
struct transaction;

// Inside a transaction that took the last link: puts the inode on the list, unless it is on one for
// a truncation already. The inode's change was announced; `orphans` is locked and loaded.
int inode_enter_orphans(struct transaction *t, struct inode *inode, struct orphan_list *orphans);
// Moves an orphan from the list it is on to our own (after its slot's node died). LOCK_INODE is
// held EXCLUSIVE. Waits.
int inode_adopt_orphan(struct inode *inode);
// Frees an orphan in as many transactions as it takes; after a crash in between it is still one.
// LOCK_OPEN and LOCK_INODE are held EXCLUSIVE, no link is left, and the inode says so in place (see
// fs/reaper.h). Unloads the inode in any case. Waits.
int inode_free(struct inode *inode);
