// SPDX-License-Identifier: Apache-2.0
// A model of the allocator that knows who owns each block, what is busy, and what is committed.
// Afterwards the LUN is read without the allocator: every block of every group is exactly one of
// header, allocated, free, reserve or tree node.
//
// The functions of a model run in a coroutine of its world, but for those of its life and
// model_check_after_remount.
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fs/allocator.h"
#include "fs/allocator_group.h"
#include "tests/lib/structure_world.h"

enum { OWNED_MAX = 20000, BATCH_MAX = 8 };

enum block_use { USE_FREE, USE_OWNED, USE_BUSY, USE_TREE, USE_HEADER };

struct owned {
    uint64_t start_block, block_count;
};

struct model {
    struct structure_world *world;
    struct random random;
    bool is_hostile;   // the LUN lies: what is given out cannot be judged
    uint8_t *uses;     // by block of the volume
    uint64_t *tickets; // by block, if busy: of the transaction that freed it
    struct owned owned[OWNED_MAX];
    unsigned owned_count;
    uint64_t owned_blocks;
};

void model_init(struct model *model, struct structure_world *world, uint64_t seed);
void model_deinit(struct model *model);
// The blocks go to an owner, who gives them up for `use`; `index` is that of his entry.
void model_own(struct model *model, struct block_run run);
struct owned model_disown(struct model *model, unsigned index, enum block_use use);
// By their first blocks, for qsort.
int model_compare_owned(const void *a, const void *b);

// Commits: what was freed is not busy any more.
void model_commit(struct model *model);
// Compares the LUN with the model.
void model_check_lun(struct model *model);
void model_check_after_remount(struct model *model);
// What the map on the LUN says.
bool model_group_is_initialised(struct structure_world *world, uint32_t ag);

// --- operations --------------------------------------------------------------------------------

struct operation {
    struct owned frees[BATCH_MAX]; // taken out of the model; put back if it is aborted
    unsigned free_count;
    struct block_run runs[BATCH_MAX];
    unsigned run_count;
    uint64_t nodes_wanted, data_wanted;
    bool is_aborted;
};

// Moves up to `count_max` entries of random owners into the operation.
void model_pick_frees(struct model *model, struct operation *operation, unsigned count_max);
// One reservation with its attempts: 0 or the error of the allocator.
int model_perform(struct model *model, struct operation *operation);
// What an operation did, or its taking back, goes into the model.
void model_account(struct model *model, struct operation *operation, int result);
// One block is taken, or the entry at `index` freed: both of the above.
int model_take_single(struct model *model);
int model_free_index(struct model *model, unsigned index);

struct history {
    struct model model;
    unsigned operations;
    uint64_t run_max;
    unsigned full_count; // operations that found the volume full
};

// Random operations, until `operations` are done. `argument`: a history.
void model_run_history(void *argument);

// --- one test ----------------------------------------------------------------------------------

// A fresh volume, `body` in a coroutine, and if asked the LUN after another mount.
void model_test(struct structure_options options, void (*body)(void *model), bool checks_lun);
