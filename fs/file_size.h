// SPDX-License-Identifier: Apache-2.0
// Setting a file's size. What is cut off may be more than a transaction can take away; then the
// intent is on disk until it is done:
//
//   size, truncate_size, orphan list   one transaction: the file ends here, for everybody
//   extents, from the end              many
//   off the orphan list                one
//
// While a file is on the list it is only read. Whoever wants to change its map ends the truncation
// first (file_size_settle), and after a crash whoever works through the list does.
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct inode;
struct open_inode;

// Sets size and times; LOCK_INODE is held EXCLUSIVE, the inode is a regular file's. `open`: NULL if
// this node has not opened it. 0 or an error, and then the size is the old one. Waits.
int file_size_set(struct inode *inode, struct open_inode *open, uint64_t size);
// Zeros on the device what stands behind the file's end in its last block, if that was ever
// written: before the file grows. `size` is the size now, `*zeroed` says that the transaction that
// sets the larger one must wait for it. Lanes do not touch the sector of the end and what is
// behind. Waits.
int file_size_zero_tail(struct inode *inode, const struct open_inode *open, uint64_t size,
                        bool *zeroed);
// Ends a truncation that a crash has left. LOCK_INODE is held EXCLUSIVE. Costs nothing if there is
// none. Waits.
int file_size_settle(struct inode *inode);
