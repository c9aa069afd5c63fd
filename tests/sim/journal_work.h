// SPDX-License-Identifier: Apache-2.0
// The steps that a worker's operations are made of: locks in order, reading what must be there,
// changing in one handle, choosing blocks.
#pragma once

#include "tests/sim/journal_world.h"

// One operation under way.
struct work {
    struct life *life;
    struct sim *sim;
    uint32_t locks[LOCKS_MAX]; // held, ascending
    uint32_t lock_count;
    struct journal_handle *handle;
    uint64_t serial;
    struct operation operation; // the changes so far; the truth follows at the end
    struct operation_change planned[CHANGES_MAX];
    uint32_t planned_count;
};

// --- locks and reading ---------------------------------------------------------------------------

// Takes a lock for the operation, in ascending order; false if the node ends.
bool work_take(struct work *work, uint32_t lock, enum lock_mode mode);
void work_let_go(struct work *work);
// Reads a block from the disk; it must be what the truth says. False if the node ends.
bool work_read_block(struct work *work, uint32_t block, struct test_block *bytes);
// A block that the journal still needs must not be read or made anew.
bool work_is_reusable(struct work *work, uint32_t block);
// Has the metadata block in the cache.
bool work_load(struct work *work, uint32_t block);

// --- changing ------------------------------------------------------------------------------------

bool work_begin(struct work *work, uint32_t credits);
// What the block is to be once the operation has ended.
void work_plan(struct work *work, uint32_t block, struct block_truth after);
// Gives a cached metadata block new content.
void work_change(struct work *work, uint32_t block, uint32_t lock);
void work_change_root(struct work *work, uint32_t lock);
bool work_wants_abort(struct work *work);
void work_abort(struct work *work);
void work_end(struct work *work);

// --- choosing: UINT32_MAX if there is none -------------------------------------------------------

uint32_t work_some_object(struct work *work);
uint32_t work_find_allocatable(struct work *work);
// Of the object that was locked first.
uint32_t work_find_metadata(struct work *work);
uint32_t work_find_data(struct work *work);
bool work_is_our_metadata(const struct work *work, uint32_t block);
bool work_is_our_in_write_back(const struct work *work, uint32_t block);
// One to free: best one in a state where the journal must take care.
uint32_t work_find_used(struct work *work);
