// SPDX-License-Identifier: Apache-2.0
// A handle: one per open(2), a thin face of the inode's open_inode.
#pragma once

#include <stdbool.h>

struct open_inode;
struct pass;

struct open_file {
    struct open_inode *inode;
    int flags; // open(2)'s
};

// Takes over a handle of `inode` (open_inode.handles counts it).
struct open_file *open_file_new(struct open_inode *inode, int flags);
// Frees the handle alone; returns its inode, whose handle is the caller's to end.
struct open_inode *open_file_free(struct open_file *file);

// For lanes: valid, and the same for all handles of an inode, until the handle is released.
struct pass *open_file_pass(struct open_file *file);
// The flags that fcntl(F_SETFL) may change: O_APPEND counts at the next write.
void open_file_set_flags(struct open_file *file, int flags);
