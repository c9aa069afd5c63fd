// SPDX-License-Identifier: Apache-2.0
// An inode as it stands on disk, in host form: a thin accessor over its cached block, with its
// tree. What coroutines share about an open file (passes, lazy times) is fs/inode_table.h's.
//
//   result = inode_load(&inode, volume, number);        LOCK_INODE held, SHARED at least
//   ... inode_size(&inode), extent_map_lookup(&inode, ...)
//   inode_change(&inode, handle); inode_set_size(&inode, size);
//   inode_unload(&inode);
//
// A loaded inode is good for as long as its lock is held: aborting a handle takes the bytes back
// under it, and the accessors then show the old values.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include "fs/base/endian.h"
#include "fs/format.h"
#include "fs/tree.h"

struct allocator_reservation;
struct attributes;
struct quota_charge;
struct volume;

struct inode {
    struct volume *volume;
    uint64_t number;
    struct cache_block *block;
    struct tree tree;
    struct tree_nodes nodes;
    struct allocator_reservation *space; // what changes of the tree allocate from and free to
    struct quota_charge *charge;         // of the transaction that changes it; may be NULL
};

// Reads inode `number` and verifies its fields: 0; -ERROR_BLOCK_*; -ERROR_BLOCK_RANGE if the number
// is no data block; -ERROR_CORRUPT_INODE (logged). Whether it is the right incarnation of the
// number, or free, is the caller's to judge by inode_generation. Waits.
int inode_load(struct inode *inode, struct volume *volume, uint64_t number);
void inode_unload(struct inode *inode);

// What a new inode starts with; all else is 0, all four times are `now`.
struct inode_creation {
    uint64_t generation; // not 0
    mode_t mode;         // with its type
    uid_t uid;
    gid_t gid;
    uint32_t link_count;
    uint64_t rdev;
    uint64_t parent; // directories
    uint32_t project;
    bool hands_project_down;
    struct timespec now;
};
// Makes the inode's block, `number` newly allocated, in `handle`; loaded when it returns. The
// caller holds LOCK_INODE of it EXCLUSIVE. 0 or as cache_create.
int inode_create(struct inode *inode, struct volume *volume, struct journal_handle *handle,
                 uint64_t number, const struct inode_creation *creation);
// Frees the inode's block: its tree is empty by then (CHECKed by inode_is_bare). The caller still
// unloads `inode`. As allocator_free_node of inode->space.
int inode_destroy(struct inode *inode, struct journal_handle *handle);
// No items are left in the tree.
bool inode_is_bare(const struct inode *inode);

// The reservation that changes of the inode's tree use from now on; NULL: none may be made.
static inline void inode_use_space(struct inode *inode, struct allocator_reservation *space)
{
    inode->space = space;
}

static inline const struct inode_disk *inode_disk(const struct inode *inode)
{
    return (const struct inode_disk *)inode->block->bytes;
}

// --- fields ------------------------------------------------------------------------------------

uint64_t inode_generation(const struct inode *inode);
uint64_t inode_size(const struct inode *inode); // bytes; of a directory: its number of entries
uint64_t inode_block_count(const struct inode *inode);
mode_t inode_mode(const struct inode *inode);
uint32_t inode_link_count(const struct inode *inode);
uid_t inode_uid(const struct inode *inode);
gid_t inode_gid(const struct inode *inode);
uint32_t inode_flags(const struct inode *inode);
static inline bool inode_is_immutable(const struct inode *inode)
{
    return (inode_flags(inode) & INODE_FLAG_IMMUTABLE) != 0;
}
// Immutable or append-only.
static inline bool inode_is_protected(const struct inode *inode)
{
    return (inode_flags(inode) & INODE_FLAGS_PROTECTING) != 0;
}
uint32_t inode_project(const struct inode *inode);
static inline bool inode_hands_project_down(const struct inode *inode)
{
    return (inode_flags(inode) & INODE_FLAG_PROJECT_DOWN) != 0;
}
// Whether an inode may get a name in the directory, as far as projects go.
static inline bool inode_takes_in(const struct inode *directory, const struct inode *inode)
{
    return !inode_hands_project_down(directory) || inode_project(directory) == inode_project(inode);
}
uint64_t inode_rdev(const struct inode *inode);
uint64_t inode_parent(const struct inode *inode);
uint32_t inode_orphan_slot(const struct inode *inode);
uint32_t inode_xattr_count(const struct inode *inode);
uint64_t inode_truncate_size(const struct inode *inode);

enum inode_time { INODE_ACCESSED, INODE_MODIFIED, INODE_CHANGED, INODE_CREATED };
struct timespec inode_time(const struct inode *inode, enum inode_time which);

static inline bool inode_is_directory(const struct inode *inode)
{
    return (inode_mode(inode) & 0170000) == 0040000;
}
static inline bool inode_is_regular(const struct inode *inode)
{
    return (inode_mode(inode) & 0170000) == 0100000;
}

// Everything stat(2) shows.
void inode_get_attributes(const struct inode *inode, struct attributes *attributes);

// Before setters: the inode's block is changed by `handle`. Costs one credit; the lock is
// EXCLUSIVE.
static inline void inode_change(struct inode *inode, struct journal_handle *handle)
{
    cache_change(inode->block, handle);
}
// After inode_change in the open handle.
void inode_set_size(struct inode *inode, uint64_t size);
void inode_set_mode(struct inode *inode, mode_t mode); // the type stays (CHECKed)
void inode_set_link_count(struct inode *inode, uint32_t link_count);
void inode_set_owner(struct inode *inode, uid_t uid, gid_t gid);
void inode_set_parent(struct inode *inode, uint64_t parent);
void inode_set_time(struct inode *inode, enum inode_time which, struct timespec time);
// `flags`: of INODE_FLAGS_PROTECTING.
void inode_set_protection(struct inode *inode, uint32_t flags);
// `hands_down`: of directories alone.
void inode_set_project(struct inode *inode, uint32_t project, bool hands_down);
// On a list: the flag and the slot whose list it is. Off it: both gone.
void inode_set_orphan(struct inode *inode, bool is_orphan, uint32_t slot);
void inode_set_truncate_size(struct inode *inode, uint64_t size);
// Data blocks that came or went; tree nodes are counted by the tree's own hook.
void inode_add_blocks(struct inode *inode, int64_t block_count);
void inode_add_xattrs(struct inode *inode, int32_t count);

// --- inline content (ITEM_INLINE): small files, targets of symbolic links -----------------------

enum { INODE_INLINE_BYTES_MAX = FORMAT_SYMLINK_BYTES_MAX };

// Chunks of TREE_VALUE_BYTES_MAX bytes, major 0, minor the chunk's number.
// Copies at most `capacity` bytes; the content's length, 0 if there is none. Waits.
int inode_get_inline(struct inode *inode, void *buffer, size_t capacity);
// Replaces the content (of at most INODE_INLINE_BYTES_MAX bytes; 0: removes it). Does not touch the
// size field. As tree_insert. Waits.
int inode_set_inline(struct inode *inode, struct journal_handle *handle, const void *bytes,
                     size_t length);
struct tree_cost inode_inline_cost(const struct inode *inode, size_t length);
