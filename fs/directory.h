// SPDX-License-Identifier: Apache-2.0
// Directories: ITEM_DIRENT items in the inode's tree, ordered by a keyed hash of the name
// (SipHash-2-4 with the volume's key, so that nobody can choose names that collide), its top 55
// bits. Names of one hash are told apart by a collision number, 0 to 255, that stays theirs while
// they exist.
//
// So an entry's place never moves, and a cursor (hash and collision number) stays good over any
// changes: an entry that exists for the whole of a listing is listed exactly once.
//
// The entries count in the inode's size. "." and ".." are not stored: the parent is a field of the
// inode. The caller holds LOCK_INODE of the directory, EXCLUSIVE to change; times and link counts
// are the caller's. Functions may wait.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "fs/inode.h"

struct journal_handle;

struct directory_item {
    uint64_t inode;
    uint64_t generation;
    uint8_t type; // DT_*
    uint8_t name_length;
    uint64_t cursor;
    char name[FORMAT_NAME_BYTES_MAX + 1]; // terminated
};

// 55 bits.
uint64_t directory_hash(const uint8_t hash_key[16], const char *name, size_t length);

// 0; -ENOENT; -ENAMETOOLONG; -ERROR_CORRUPT_DIRECTORY.
int directory_lookup(struct inode *directory, const char *name, struct directory_item *item);
// 0; -EEXIST; -EINVAL for an empty name, ".", ".." or one with a slash; -ENOSPC if 256 names of one
// hash are there; as tree_insert.
int directory_insert(struct inode *directory, struct journal_handle *handle, const char *name,
                     uint64_t inode, uint64_t generation, uint8_t type);
// 0; -ENOENT; as tree_delete.
int directory_remove(struct inode *directory, struct journal_handle *handle, const char *name);
// Points an existing name at another inode, its cursor stays. 0; -ENOENT.
int directory_replace(struct inode *directory, struct journal_handle *handle, const char *name,
                      uint64_t inode, uint64_t generation, uint8_t type);
// By the tree, not by the size field. 1, 0 or an error.
int directory_is_empty(struct inode *directory);

enum { DIRECTORY_CURSOR_START = 0, DIRECTORY_CURSOR_DOT = 1, DIRECTORY_CURSOR_DOTDOT = 2 };

// The entry behind `cursor`: "." behind START, ".." behind DOT (its inode is the parent's number,
// its generation 0: the caller knows or asks), then the stored ones. -ENOENT at the end.
int directory_next(struct inode *directory, uint64_t cursor, struct directory_item *item);
// The same for many: stays in the leaf between entries. `emit` may not change the directory; when
// it returns false the listing ends (the refused entry is not consumed: resume from the cursor
// before).
int directory_iterate(struct inode *directory, uint64_t cursor,
                      bool (*emit)(void *context, const struct directory_item *item),
                      void *context);

// Credits and nodes of one insert, remove or replace; the directory's own block is included.
struct tree_cost directory_change_cost(const struct inode *directory);
