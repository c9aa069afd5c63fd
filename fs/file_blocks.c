// SPDX-License-Identifier: Apache-2.0
#include "fs/file_blocks.h"

#include "fs/base/coroutine.h"
#include "fs/base/error.h"
#include "fs/file_map.h"
#include "fs/volume.h"

enum { ALIGNMENT_BLOCKS = 256 }; // of large runs that continue nothing: 1 MiB

// --- giving --------------------------------------------------------------------------------------

struct allocation {
    struct inode *inode;
    uint64_t file_block, block_count;
    uint64_t goal, alignment;
    struct block_run run; // what was had
};

static int change_allocation(struct transaction *t, void *context)
{
    struct allocation *allocation = context;
    struct inode *inode = allocation->inode;
    transaction_change_inode(t, inode);
    int result =
        allocator_allocate(&t->space, t->handle, allocation->goal, 1, allocation->block_count,
                           allocation->alignment, &allocation->run);
    if (result != 0)
        return result;
    struct extent extent = {
        .file_block = allocation->file_block,
        .block_count = allocation->run.block_count,
        .volume_block = allocation->run.start_block,
        .state = EXTENT_UNWRITTEN_RUN,
    };
    return extent_map_insert(inode, t->handle, &extent);
}

int file_blocks_allocate(struct inode *inode, uint64_t file_block, uint64_t block_count,
                         uint64_t *allocated)
{
    struct allocation allocation = {
        .inode = inode,
        .file_block = file_block,
        .block_count = block_count < EXTENT_BLOCKS_MAX ? block_count : EXTENT_BLOCKS_MAX,
    };
    int result = file_map_goal(inode, file_block, &allocation.goal);
    if (result != 0)
        return result;
    bool is_large_start = allocation.goal == 0 && block_count >= ALIGNMENT_BLOCKS;
    allocation.alignment = is_large_start ? ALIGNMENT_BLOCKS : 1;

    struct transaction t;
    transaction_init(&t, inode->volume, allocation.goal != 0 ? allocation.goal : inode->number);
    allocator_want_data(&t.space, 1, allocation.block_count);
    allocator_allow_interrupt(&t.space);
    transaction_add_cost(&t, extent_map_insert_cost(inode));
    transaction_add_space_changes(&t, 1);
    result = transaction_run(&t, change_allocation, &allocation);
    *allocated = result == 0 ? allocation.run.block_count : 0;
    return result;
}

// --- taking away ---------------------------------------------------------------------------------

int file_blocks_plan_removal(struct transaction *t, struct inode *inode, uint64_t file_block,
                             uint64_t block_count, unsigned step_max,
                             struct extent_removal *removal)
{
    int result = extent_map_plan_removal(inode, file_block, block_count, step_max, removal);
    for (unsigned i = 0; result == 0 && i < removal->count; i++) {
        if (allocator_want_free(&t->space, removal->runs[i].volume_block) || i == 0)
            continue;
        result = extent_map_plan_removal(inode, file_block, block_count, i, removal);
    }
    if (result != 0)
        return result;
    allocator_allow_margin(&t->space);
    transaction_add_cost(t, extent_map_remove_cost(inode, removal->count));
    transaction_add_space_changes(t, removal->count);
    return 0;
}

int file_blocks_apply_removal(struct transaction *t, struct inode *inode,
                              const struct extent_removal *removal)
{
    if (removal->count == 0)
        return 0;
    int result = extent_map_remove(inode, t->handle, removal);
    for (unsigned i = 0; result == 0 && i < removal->count; i++)
        result = allocator_free(&t->space, t->handle, removal->runs[i].volume_block,
                                removal->runs[i].block_count);
    return result;
}

struct removal_step {
    struct inode *inode;
    struct extent_removal removal;
};

static int change_removal(struct transaction *t, void *context)
{
    struct removal_step *step = context;
    transaction_change_inode(t, step->inode);
    return file_blocks_apply_removal(t, step->inode, &step->removal);
}

static int remove_some(struct inode *inode, uint64_t file_block, uint64_t block_count,
                       unsigned step_max, bool *has_more)
{
    struct transaction t;
    struct removal_step step = {.inode = inode};
    transaction_init(&t, inode->volume, inode->number);
    int result =
        file_blocks_plan_removal(&t, inode, file_block, block_count, step_max, &step.removal);
    *has_more = false;
    if (result != 0 || step.removal.count == 0)
        return result;
    *has_more = step.removal.has_more;
    transaction_add_credits(&t, 1);
    return transaction_run(&t, change_removal, &step);
}

int file_blocks_remove(struct inode *inode, uint64_t file_block, uint64_t block_count)
{
    unsigned step_max = EXTENT_MAP_STEP_MAX;
    bool has_more = true;
    while (has_more) {
        int result = remove_some(inode, file_block, block_count, step_max, &has_more);
        if (result == -ERROR_JOURNAL_FULL && step_max > 1) {
            step_max /= 2;
            has_more = true;
        } else if (result != 0) {
            return result;
        }
        coroutine_pause(inode->volume->scheduler);
    }
    return 0;
}
