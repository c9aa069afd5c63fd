// SPDX-License-Identifier: Apache-2.0
// Small files, whose content stands in the inode: exactly `size` bytes of it, and no extents. A
// file becomes one with its first write if that leaves it small, and stops being one when it grows.
// LOCK_INODE is held, EXCLUSIVE to change. All functions wait.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fs/inode.h"

struct open_inode;

enum { FILE_INLINE_BYTES_MAX = TREE_VALUE_BYTES_MAX };

// Whether the content stands in the inode: 1, 0 or an error.
int file_is_inline(struct inode *inode);
// Whether the file may be one with `size` bytes: it is, or has no extents. 1, 0 or an error.
int file_can_be_inline(struct inode *inode, uint64_t size);
// [offset, offset + length) of the content into `buffer`; the range lies inside the size. 0 or an
// error.
int file_inline_read(struct inode *inode, uint64_t offset, void *buffer, size_t length);
// Writes, growing the size if needed, in a transaction with the file's times.
int file_inline_write(struct inode *inode, uint64_t offset, const void *data, size_t length);
// Sets the content's length to `size` bytes, zeros behind the old end, in a transaction with the
// file's times.
int file_inline_resize(struct inode *inode, uint64_t size);
// Moves the content into a block.
int file_inline_to_block(struct inode *inode);
