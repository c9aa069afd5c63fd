// SPDX-License-Identifier: Apache-2.0
// One allocation group as this node sees it while it holds the group's lock: its free extents,
// which of them are busy, and where to look next. For allocator*.c alone.
#pragma once

#include <bsd/sys/tree.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "fs/allocator.h"
#include "fs/base/coroutine.h"
#include "fs/base/environment.h"
#include "fs/free_extents.h"
#include "journal/journal.h"

// Blocks freed in a transaction that is not durable yet. They stand in the free tree (or the
// reserve) already; nobody may use them.
struct allocator_busy {
    RB_ENTRY(allocator_busy) by_start;
    TAILQ_ENTRY(allocator_busy) by_age;
    struct allocator_busy *next_freed; // in the reservation, while its handle is open
    struct journal_on_durable on_durable;
    struct allocator *allocator;
    struct allocator_group *group; // NULL once it was forgotten
    uint64_t start_block, block_count;
    uint64_t sequence; // of the end of its handle
};
RB_HEAD(allocator_busy_tree, allocator_busy);
TAILQ_HEAD(allocator_busy_list, allocator_busy);

// Which numbers' locks were asked for ahead (allocator_numbers.c).
struct numbers_asked {
    uint64_t from, until; // free numbers in between were asked for, or are when they are met
    uint64_t middle;      // of the last batch
    bool has_given;       // a number of it was taken
    bool is_late;         // somebody waited for long, and none has come since
};

// The last blocks of a group are for what frees space in the end.
enum { ALLOCATOR_MARGIN_BLOCKS = 16 };

struct allocator_group {
    struct allocator *allocator;
    struct cluster_lock *lock; // referenced while a reservation holds it
    uint32_t number;
    struct cache_block *header;
    struct free_extents extents;
    struct allocator_busy_tree busy;
    uint64_t busy_block_count;
    uint64_t small_cursor; // inodes, nodes and short runs come from here on
    uint64_t large_cursor;
    uint64_t lowest_released; // since the small cursor was last moved back
    struct numbers_asked asked;
    uint64_t lowest_skipped; // free number behind the cursor whose locks were not here; UINT64_MAX
    struct allocator_reservation *user;
    bool is_balanced;    // in the open handle
    uint64_t told_count; // free blocks, as the header in place says to other nodes
    uint64_t seen_count; // when the settler last looked
};

// Writes totals in place when groups have become idle (allocator_settle.c).
struct allocator_settler {
    struct environment_timer timer; // first
    struct allocator *allocator;
    bool is_armed, is_running, is_stopped;
    bool is_map_changed; // this node has initialised a group
};

struct allocator {
    struct volume *volume;
    struct allocator_group **groups; // by number; NULL: not loaded
    uint64_t *free_hints;            // by number: what it last had; HINT_UNKNOWN
    uint8_t *states;                 // by number: GROUP_*
    uint32_t own_current;            // the own group that allocations went to last
    struct allocator_busy_list busy; // of ended handles, oldest first
    uint64_t sequence;
    struct wait_queue released; // something is not busy any more
    uint64_t summary_at_ns;
    bool has_summary;
    struct allocator_settler settler;
};

enum {
    GROUP_KNOWN = 1u << 0, // initialised, as the map said; it never goes back
    GROUP_BAD = 1u << 1,   // damaged: nothing is allocated there, and nothing given back
};

#define HINT_UNKNOWN UINT64_MAX

// The group's state; the caller holds its lock EXCLUSIVE. It stays the lock's object until
// forgotten. 0, -ERROR_BLOCK_*. Waits.
int allocator_group_load(struct allocator *allocator, uint32_t number, struct cluster_lock *lock,
                         struct allocator_group **group);

// Before the first change of the group in a handle: brings its reserve into balance. -EAGAIN if
// what it needs is busy. Waits.
int allocator_group_prepare(struct allocator_group *group, struct journal_handle *handle);

// Free blocks that can be given out now.
uint64_t allocator_group_usable(const struct allocator_group *group, bool uses_margin);

// Makes a run of blocks busy for the handle of the group's user. False if some are already.
bool allocator_busy_add(struct allocator_group *group, struct journal_handle *handle,
                        uint64_t block, uint64_t count);
// The reservation's handle ended, or was aborted.
void allocator_busy_publish(struct allocator_reservation *space);
void allocator_busy_undo(struct allocator_reservation *space);
// Commits, and waits until nothing is busy that was so before the call. Waits.
int allocator_busy_wait(struct allocator *allocator);

// --- the map of initialised groups (allocator_map.c) ------------------------------------------

// Groups that this node prefers.
bool allocator_is_own(const struct volume *volume, uint32_t number);
bool allocator_is_known(const struct allocator *allocator, uint32_t number);
// Takes note of what the map says of a group. No group is held. `flags`: of the waits for locks,
// LOCK_INTERRUPTIBLE or 0. Waits.
int allocator_map_learn(struct volume *volume, uint32_t number, unsigned flags);
// Finds a group (own ones or others) that this node does not know as initialised, and makes it one.
// -ENOENT if there is none. No group is held. Waits.
int allocator_map_add_group(struct volume *volume, bool own, unsigned flags);

// --- telling (allocator_settle.c) --------------------------------------------------------------

// A group's total changed, or the map did.
void allocator_settle_later(struct allocator *allocator);
void allocator_settle_map(struct allocator *allocator);

// --- choosing (allocator_choose.c) -----------------------------------------------------------

// What the held groups could give out.
uint64_t allocator_held_usable(const struct allocator_reservation *space);
// A group whose header or trees are damaged is left alone while this node is mounted.
bool allocator_is_bad(const struct allocator *allocator, uint32_t number);
// Whether `result`, of work with the group, is about damage (which was logged where it was found);
// then the group is bad from now on.
bool allocator_note_bad(struct allocator *allocator, uint32_t number, int result);
// Lets the group at `index` of the held ones go.
void allocator_drop_group(struct allocator_reservation *space, uint32_t index);
// Whether the group had no number for this operation (allocator_look_further).
bool allocator_is_passed(const struct allocator_reservation *space, uint32_t number);
struct allocator_group *allocator_held_group(const struct allocator_reservation *space,
                                             uint32_t number);

// --- the search (allocator_group.c) ----------------------------------------------------------

// A run of free blocks that are not busy, as allocator_allocate. -ENOSPC if there is none of `min`.
// Nothing is changed but the cursors. Waits.
struct run_request {
    uint64_t goal; // 0, or a block of the group
    uint64_t min, max, alignment;
};
int allocator_group_find(struct allocator_group *group, const struct run_request *request,
                         struct block_run *run);
// The first blocks at or behind `block` that are free and not busy; -ENOENT: none. Waits.
int allocator_group_next_free(struct allocator_group *group, uint64_t block, struct block_run *run);

// --- numbers of inodes (allocator_numbers.c) ---------------------------------------------------

// A free block whose locks `claim` got, and asks ahead for those of the next. 0; NUMBERS_PENDING if
// those that were asked for are not here yet; -ENOSPC. The caller takes the block in the handle
// that is open. Waits, but for no lock.
enum { NUMBERS_PENDING = 1 };
int allocator_number_find(struct allocator_group *group, const struct allocator_claim *claim,
                          uint64_t *number);
