// SPDX-License-Identifier: Apache-2.0
// Free space. Each allocation group keeps its free extents in a B+tree in its header; whoever
// changes it holds the group's lock EXCLUSIVE. An operation says what it wants, takes the groups'
// locks before it opens its handle (a cluster lock is never waited for inside of one), and then
// allocates and frees inside the handle:
//
//   struct allocator_reservation space;
//   allocator_reservation_init(&space, volume, goal);
//   allocator_want_nodes(&space, cost.node_blocks);      what the worst case needs
//   do {
//       result = allocator_reserve(&space);              locks, never in a handle
//       if (result != 0)
//           break;                                       nothing is held
//       result = allocator_begin(&space, cost.credits, changes, &handle);
//       if (result == 0) {
//           result = change_blocks(&space, handle);      tree_*, extent_map_*, directory_* ...
//           if (result == 0)
//               allocator_end(&space, handle);
//           else
//               allocator_abort(&space, handle);
//       }
//       allocator_release(&space);
//   } while (allocator_must_retry(&space, result));
//
// Inside the handle -EAGAIN means: this needs a group, more blocks or a commit that was not asked
// for before; the reservation has noted it, and the loop above serves it. So an operation may start
// with no wants at all when it most likely needs nothing (a delete that merges no node).
//
// What is freed can be given out again when the transaction that freed it is durable and no
// write-back of it is in flight (rules 4, 31); until then it is busy. -ENOSPC comes only when all
// groups are exhausted, busy space included (its commit is waited for once). Blocks for the free
// trees' own nodes come from a reserve in each group's header, so that freeing works on a full
// volume.
//
// Groups are written on first use; a journaled map says which are (rule 16). Each node prefers its
// own groups: those with number % slot_count == slot.
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct allocator;
struct allocator_group;
struct cluster_lock;
struct journal_handle;
struct volume;

enum {
    ALLOCATOR_GROUPS_MAX = 16, // locked by one reservation
    ALLOCATOR_PASSED_MAX = 4,
};

struct allocator *allocator_new(struct volume *volume);
// Ends the work in the background, before locks and journal go. No operation is under way. Waits.
void allocator_stop(struct allocator *allocator);
// All locks have been released.
void allocator_close(struct allocator *allocator);

// --- reserving -------------------------------------------------------------------------------

// Fields are the allocator's own.
struct allocator_reservation {
    struct volume *volume;
    uint64_t goal;
    uint64_t data_blocks_min, data_blocks_wanted;
    uint64_t node_blocks;                         // wanted for metadata
    uint64_t data_blocks_used, node_blocks_used;  // by the open handle
    uint32_t changes_left;                        // that the open handle has credits for
    uint32_t changes_noted;                       // more than the user knew of
    uint32_t wanted_groups[ALLOCATOR_GROUPS_MAX]; // to be locked for freeing; ascending
    uint32_t wanted_group_count;
    struct allocator_group *groups[ALLOCATOR_GROUPS_MAX]; // held; ascending
    uint32_t group_count;
    uint32_t retry_count;
    bool needs_retry;
    bool needs_commit;            // the next reserve waits for a commit first
    bool uses_margin;             // the last blocks of a group, too
    bool is_interruptible;        // lock_table_interrupt may end the waits for locks
    struct allocator_busy *freed; // by the open handle
    uint64_t inode_taken;         // by the open handle; 0: none
    bool looks_further;           // for a number whose locks are here: in other groups, too
    uint32_t passed_groups[ALLOCATOR_PASSED_MAX]; // those that had none
    uint32_t passed_count;
};

// `goal`: a block near which new ones should lie (the inode's, the extent before); 0: anywhere.
void allocator_reservation_init(struct allocator_reservation *space, struct volume *volume,
                                uint64_t goal);
// At least `min` blocks of data must be had, `wanted` are better (the group is chosen by it).
// Replaces what was asked for before. Their number is guaranteed by allocator_reserve, their
// contiguity is not.
void allocator_want_data(struct allocator_reservation *space, uint64_t min, uint64_t wanted);
// Adds `count` blocks for inodes and tree nodes.
void allocator_want_nodes(struct allocator_reservation *space, uint64_t count);
// The group of `block` will be freed into. False if no more groups fit (free the rest in a next
// transaction). A block outside of all groups is ignored here and refused by allocator_free.
bool allocator_want_free(struct allocator_reservation *space, uint64_t block);

// The operation ends with more free space than before (unlink, truncate, the orphan list): it may
// use the few blocks that are kept for such in each group, so that deletes work on a full volume.
void allocator_allow_margin(struct allocator_reservation *space);
// The operation has changed nothing yet, or ends well here: lock_table_interrupt may end a wait of
// allocator_reserve for a lock, with its error (rule 34).
void allocator_allow_interrupt(struct allocator_reservation *space);

// Takes the locks of groups that can serve all wants, LOCK_AG in ascending order; of lower rank may
// be held anything, no handle may be open. 0, -ENOSPC, -ERROR_BLOCK_*, -ERROR_CORRUPT_*, the
// volume's failure; on error nothing is held. Waits.
int allocator_reserve(struct allocator_reservation *space);
// Opens the handle: `credits` for the caller's own changes, and what `change_count` allocations and
// frees in the held groups may cost (tree nodes among them). -ERROR_JOURNAL_FULL if that is more
// than journal_credits_max: do less at once. Else as journal_transaction_begin. Waits.
int allocator_begin(struct allocator_reservation *space, uint32_t credits, uint32_t change_count,
                    struct journal_handle **handle);
// The credits alone.
uint32_t allocator_credits(const struct allocator_reservation *space, uint32_t change_count);

// End the handle (journal_transaction_end, journal_transaction_abort) and settle what it freed.
// Every handle that was used with a reservation ends through one of them.
void allocator_end(struct allocator_reservation *space, struct journal_handle *handle);
void allocator_abort(struct allocator_reservation *space, struct journal_handle *handle);

// Lets the groups' locks go. Harmless if none is held.
void allocator_release(struct allocator_reservation *space);
// Whether `result` (-EAGAIN) asks for another attempt; the wants have grown. False also after many
// attempts, which only a corrupt volume needs.
bool allocator_must_retry(struct allocator_reservation *space, int result);

// The masters of locks seem not to answer: allocator_allocate_inode asks for other groups before it
// says ALLOCATOR_NO_NUMBER.
void allocator_look_further(struct allocator_reservation *space);

// --- inside a handle ---------------------------------------------------------------------------

struct block_run {
    uint64_t start_block;
    uint64_t block_count;
};

// A run of `min` to `max` blocks for data, near `goal` (0: the reservation's), its start a multiple
// of `alignment` blocks from the group's start if that can be had (a power of two; 1: none). Leaves
// the blocks wanted for nodes. 0; -EAGAIN (see above); -ENOSPC if no run of `min` is there, or what
// was wanted has been had and the held groups have no more: go on in a next handle. Waits.
int allocator_allocate(struct allocator_reservation *space, struct journal_handle *handle,
                       uint64_t goal, uint64_t min, uint64_t max, uint64_t alignment,
                       struct block_run *run);
// One block for a tree node. 0, -EAGAIN, -ENOSPC. Waits.
int allocator_allocate_node(struct allocator_reservation *space, struct journal_handle *handle,
                            uint64_t *block);
// One block for a new inode: a free one whose locks this node has. `claim->run` holds the locks of
// the number, if that can be had without waiting (0), and lets go those of the number that it was
// last called for. 0, -EAGAIN, -ENOSPC; ALLOCATOR_NO_NUMBER if locks were asked for and none is
// here yet: abort, release, wait for a change of the lock table, try again. Costs a change. Waits.
struct allocator_claim {
    int (*run)(void *context, uint64_t number);
    void *context;
};
enum { ALLOCATOR_NO_NUMBER = 1 };
int allocator_allocate_inode(struct allocator_reservation *space, struct journal_handle *handle,
                             const struct allocator_claim *claim, uint64_t *number);
// Frees data blocks (all inside one group). 0; -EAGAIN; -ERROR_BLOCK_RANGE;
// -ERROR_CORRUPT_FREE_SPACE if any of it is free already (logged). No I/O to them is in flight or
// comes any more (rule 3). Waits.
int allocator_free(struct allocator_reservation *space, struct journal_handle *handle,
                   uint64_t block, uint64_t count);
// Frees one metadata block: revokes it, then as allocator_free. Costs one credit more.
int allocator_free_node(struct allocator_reservation *space, struct journal_handle *handle,
                        uint64_t block);

// --- the lock table's hook (lock type LOCK_AG) -------------------------------------------------

// After the lock's blocks left the cache: frees the group's state. Nothing is busy by then:
// journal_lock_write_back has waited for the commit and for what was in flight to freed blocks
// (rule 4).
void allocator_group_forget(struct volume *volume, struct cluster_lock *lock);

// --- summary -----------------------------------------------------------------------------------

struct allocator_summary {
    uint64_t block_count; // in groups, headers not counted
    uint64_t free_block_count;
    uint64_t available_block_count; // without the margins
};
// For statfs: reads group headers that are not ours without locks, at most once a second; an
// uninitialised group is all free. Never fails; what cannot be read counts as it last did. Each
// node writes the totals of its groups in place a second or two after their last change, so on idle
// nodes all answers are the same. Waits.
void allocator_summary_get(struct volume *volume, struct allocator_summary *summary);
