// SPDX-License-Identifier: Apache-2.0
// Extended attributes: ITEM_XATTR items in the inode's tree. The name, with its prefix, is hashed
// as a directory entry's; a value is cut into chunks, the first behind the name.
//
// Names of the namespaces user., trusted., security. and system. are stored; others are
// -EOPNOTSUPP. Whether the caller may use a namespace is the kernel's to check. The caller holds
// LOCK_INODE, EXCLUSIVE to change; the time of change is the caller's. Functions may wait.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "fs/inode.h"

struct journal_handle;

enum {
    XATTR_NAME_BYTES_MAX = 255,
    XATTR_VALUE_BYTES_MAX = 65536,
    XATTR_STEP_CHUNKS = 4, // of 1280 bytes, taken out of a large value at once
};

// The value's length, copied if `size` is not 0; -ERANGE if `size` is too small; -ENODATA;
// -EOPNOTSUPP; -ERROR_CORRUPT_INODE.
ssize_t xattr_get(struct inode *inode, const char *name, void *value, size_t size);
// Names one after another, each terminated, those in trusted. only if asked for; length and `size`
// as xattr_get.
ssize_t xattr_list(struct inode *inode, bool with_trusted, char *names, size_t size);
// flags: XATTR_CREATE (-EEXIST), XATTR_REPLACE (-ENODATA). -E2BIG for a longer value, -ERANGE for a
// longer or empty name, -ENOSPC if 256 names of one hash are there; as tree_insert.
int xattr_set(struct inode *inode, struct journal_handle *handle, const char *name,
              const void *value, size_t size, int flags);
// -ENODATA.
int xattr_remove(struct inode *inode, struct journal_handle *handle, const char *name);
// Makes a value shorter, by XATTR_STEP_CHUNKS items: removing one that is too large for a
// transaction. `*is_short` if there is nothing that would be left to do for it: the rest can be
// removed at once. -ENODATA.
int xattr_shorten(struct inode *inode, struct journal_handle *handle, const char *name,
                  bool *is_short);
// When an inode dies: takes out one attribute, or a part of a large one; `*has_more` if any are
// left (call again in a next handle).
int xattr_remove_some(struct inode *inode, struct journal_handle *handle, bool *has_more);

// Credits and nodes of setting a value of `size` bytes in the place of the one that `name` has now;
// of removing it (size 0); the inode's block is included. Waits. If the credits are more than
// journal_credits_max the value is too large for this volume's journal: -ENOSPC.
int xattr_change_cost(struct inode *inode, const char *name, size_t size, struct tree_cost *cost);
// Of xattr_shorten and of the next xattr_remove_some.
struct tree_cost xattr_step_cost(const struct inode *inode);
