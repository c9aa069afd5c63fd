// SPDX-License-Identifier: Apache-2.0
// What inode_table.c and open_inode*.c share.
#pragma once

#include "fs/inode_table.h"

struct inode;
struct open_inode;

void inode_table_enter(struct inode_table *table, struct open_inode *open);
void inode_table_leave(struct inode_table *table, struct open_inode *open);

// Any thread: a pass was drained.
void inode_table_wake(struct inode_table *table);
// Waits until some pass was drained or some write of the core has ended.
void inode_table_wait_drained(struct inode_table *table);
// Some open inode became dirty: a flush comes within some seconds.
void inode_table_note_dirty(struct inode_table *table);

// As open_inode_publish, of what `keep` covers, to which this node's right is on its way down.
int open_inode_publish_under(struct open_inode *open, struct inode *inode, enum lock_right keep);
// Another node asks for what this one does with the inode.
void open_inode_note_rivals(struct open_inode *open);
