// SPDX-License-Identifier: Apache-2.0
// An inode that this node has open: one object for all of its handles. It keeps LOCK_OPEN SHARED,
// so that nobody frees the file, and holds what is newer than the inode on disk while this node's
// right to the inode is EXCLUSIVE:
//
//   first write ─► data on the device ─► `written`, `size`, modified_ns      in memory
//                                          │ flush: fsync, close, quiesce, a timer
//                                          ▼
//                                        map and inode, in a transaction that waits for the data
//
// Whoever looks at the file on this node sees the newer state (file_map_lookup, open_inode_size,
// open_inode_overlay); before another node can look, quiesce flushes.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uthash.h>

#include "fs/block_ranges.h"
#include "fs/page_loans.h"
#include "fs/pass.h"
#include "fs/written_ranges.h"

struct attributes;
struct cluster_lock;
struct inode;
struct inode_table;
struct volume;

struct open_inode {
    UT_hash_handle by_number;
    struct inode_table *table;
    struct volume *volume;
    uint64_t number;
    uint64_t generation;
    unsigned handles;               // open files
    unsigned users;                 // coroutines that come back to it after a wait
    bool is_unlinked;               // found at its last close: to be freed
    bool is_linkable;               // made without a name, and may still be given one
    bool is_protected;              // immutable or append-only, as of the last publish
    struct cluster_lock *open_lock; // LOCK_OPEN, held SHARED
    struct pass pass;
    struct page_loans pages;
    unsigned cached_handles, writing_handles; // open files of the kernel that are so

    struct written_ranges written; // on the device, in the map still unwritten
    uint64_t written_changes;      // how often something was added
    uint64_t size;                 // if has_size: newer, and larger, than the inode's
    bool has_size;
    int write_error;          // what was acknowledged got lost with this error: for the next fsync
    uint64_t ticket;          // newest transaction that changed the inode since it is open
    bool has_unknown_changes; // from before: this node may have changed it and not synced

    struct block_ranges block_ranges; // of writes under way in the core
    unsigned writes_in_flight;        // of these, the ones that hold no lock
    unsigned part_writers;            // writes of parts of blocks: lanes do not write

    uint64_t next_offset;            // where the last write ended
    uint64_t ahead_blocks;           // how much the last first-write allocated ahead
    uint64_t ahead_first, ahead_end; // blocks allocated ahead behind the size, by this node
    uint64_t rivals_until_ns;        // boot clock: other nodes use the file until then, supposedly
    bool writes_in_place;            // the last write of the core was of written, whole sectors
    bool has_late_time;              // modified_ns is from before the right to the inode went
};

// The inode's object, new, with one handle. `open_lock` is held SHARED with a reference, both pass
// to it. The caller holds LOCK_INODE, and has made sure that there is none yet.
struct open_inode *open_inode_new(struct volume *volume, const struct inode *inode,
                                  struct cluster_lock *open_lock);
// A reference over a wait; the last one gone with no handle left, the object is freed.
void open_inode_get(struct open_inode *open);
void open_inode_put(struct open_inode *open);
// Gives back what was allocated ahead behind the end. LOCK_INODE is held EXCLUSIVE. If that fails
// it stays with the file, as after a crash. Waits.
void open_inode_trim_ahead(struct open_inode *open);
// Ends a handle; at the last one everything in memory goes to the inode, what was allocated ahead
// is given back, and an unlinked file is handed to the reaper. 0, or the first error of a write
// that was acknowledged and got lost. Waits.
int open_inode_close(struct open_inode *open);

// --- looking: LOCK_INODE is held ---------------------------------------------------------------

// `open` may be NULL: the inode's own.
uint64_t open_inode_size(const struct open_inode *open, const struct inode *inode);
// Puts what is newer than the inode into its attributes.
void open_inode_overlay(const struct open_inode *open, struct attributes *attributes);

// --- passes ------------------------------------------------------------------------------------

// Lets lanes do what this node's right to the inode covers. LOCK_INODE is held; nothing happens if
// they may already. 0 or an error of reading the map. Waits.
int open_inode_publish(struct open_inode *open, struct inode *inode);
// Whether to read and write in place with a right that leaves the same to other nodes: they have
// lately asked for this node's.
bool open_inode_has_rivals(const struct open_inode *open);
// No I/O of the file is under way after it but that of the caller, and no lane can begin any before
// the next publish (rule 3). LOCK_INODE is held EXCLUSIVE or on its way out. `open` may be NULL.
// Waits.
void open_inode_drain(struct open_inode *open);
// Between the two no lane reads or writes, and the map stays as it is: for a write of a part of a
// block (rule 25). LOCK_INODE is held EXCLUSIVE for all of the time. The first waits.
void open_inode_begin_part_write(struct open_inode *open);
void open_inode_end_part_write(struct open_inode *open);

// --- what is only in memory --------------------------------------------------------------------

// Blocks [file_block, file_block + block_count), unwritten in the map at `volume_block`, now hold
// data.
void open_inode_add_written(struct open_inode *open, uint64_t file_block, uint64_t volume_block,
                            uint64_t block_count);
// The file reaches `size` at least.
void open_inode_grow(struct open_inode *open, const struct inode *inode, uint64_t size);
// A write or read of the core took place now.
void open_inode_note_write(struct open_inode *open);
void open_inode_note_read(struct open_inode *open);

// Whether a write at `modified_ns` (0: none) counts for an inode that was last changed at
// `changed`. One together with other nodes does not if a change of theirs, which may have set
// times, has followed it.
bool open_inode_time_counts(const struct open_inode *open, uint64_t modified_ns,
                            struct timespec changed);

bool open_inode_is_dirty(const struct open_inode *open);
// Whether it should be flushed soon, for its length.
bool open_inode_is_long(const struct open_inode *open);
// Everything into the inode. LOCK_INODE is held EXCLUSIVE or on its way out, the inode loaded. 0 or
// the error; what could not be brought there is still in memory. `open` may be NULL. Waits.
int open_inode_flush(struct open_inode *open, struct inode *inode);
// The same, taking the lock. Waits.
int open_inode_flush_unlocked(struct open_inode *open);
// The end of a file is cut off in memory (the caller cuts it in the inode).
void open_inode_cut(struct open_inode *open, uint64_t size);
// Gives up what could not be flushed: `error` is answered to the next fsync.
void open_inode_discard(struct open_inode *open, int error);
