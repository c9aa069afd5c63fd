// SPDX-License-Identifier: Apache-2.0
// How what is only in memory gets into the inode. Ranges go in ascending order and the size follows
// them, so at each point in time
//
//   the size on disk never covers a first write whose extent does not say written, and
//   no written extent lies wholly behind the size,
//
// and a crash leaves a file that was written up to somewhere.
#include "fs/open_inode.h"

#include "fs/base/block_device.h"
#include "fs/base/coroutine.h"
#include "fs/base/error.h"
#include "fs/cluster_lock.h"
#include "fs/extent_map.h"
#include "fs/freeze.h"
#include "fs/inode.h"
#include "fs/lock_set.h"
#include "fs/lock_types.h"
#include "fs/relatime.h"
#include "fs/transaction.h"
#include "fs/volume.h"
#include "journal/journal.h"

enum { RANGES_AT_ONCE = 8 };

// One transaction of a flush.
struct flush_step {
    struct open_inode *open;
    struct inode *inode;
    unsigned range_count_max;
    struct written_range ranges[RANGES_AT_ONCE]; // what became written
    unsigned range_count;
    uint64_t modified_ns, accessed_ns; // folded in; 0: none
};

// --- one transaction -----------------------------------------------------------------------------

static int mark_ranges(struct transaction *t, struct flush_step *step)
{
    uint64_t from = 0;
    struct written_range range;
    step->range_count = 0;
    while (step->range_count < step->range_count_max &&
           written_ranges_find(&step->open->written, from, &range)) {
        uint64_t done;
        int result = extent_map_mark_written(step->inode, t->handle, range.file_block,
                                             range.block_count, &done);
        if (result != 0)
            return result;
        from = range.file_block + range.block_count;
        if (done < from)
            range.block_count = done - range.file_block;
        if (range.block_count > 0)
            step->ranges[step->range_count++] = range;
        if (done < from)
            break;
    }
    return 0;
}

// Whether nothing is left when this step's ranges are done.
static bool is_last(const struct flush_step *step)
{
    const struct written_ranges *written = &step->open->written;
    struct written_range rest;
    if (step->range_count == 0)
        return written_ranges_is_empty(written);
    const struct written_range *last = &step->ranges[step->range_count - 1];
    return !written_ranges_find(written, last->file_block + last->block_count, &rest);
}

static void follow_with_size(const struct flush_step *step)
{
    const struct open_inode *open = step->open;
    uint64_t size = open->has_size ? open->size : 0;
    if (!is_last(step)) {
        if (step->range_count == 0)
            return;
        const struct written_range *last = &step->ranges[step->range_count - 1];
        uint64_t end = (last->file_block + last->block_count) * BLOCK_BYTES;
        if (size > end)
            size = end;
    }
    if (size > inode_size(step->inode))
        inode_set_size(step->inode, size);
}

static void fold_times(const struct flush_step *step)
{
    struct inode *inode = step->inode;
    struct timespec modified = timespec_from_ns(step->modified_ns);
    struct timespec accessed = timespec_from_ns(step->accessed_ns);
    bool counts =
        open_inode_time_counts(step->open, step->modified_ns, inode_time(inode, INODE_CHANGED));
    if (counts && timespec_is_after(modified, inode_time(inode, INODE_MODIFIED)))
        inode_set_time(inode, INODE_MODIFIED, modified);
    if (counts && timespec_is_after(modified, inode_time(inode, INODE_CHANGED)))
        inode_set_time(inode, INODE_CHANGED, modified);
    if (step->accessed_ns != 0 &&
        relatime_is_due(&step->open->volume->options, inode_time(inode, INODE_ACCESSED),
                        inode_time(inode, INODE_MODIFIED), inode_time(inode, INODE_CHANGED),
                        accessed))
        inode_set_time(inode, INODE_ACCESSED, accessed);
}

static int change_step(struct transaction *t, void *context)
{
    struct flush_step *step = context;
    transaction_change_inode(t, step->inode);
    int result = mark_ranges(t, step);
    if (result != 0)
        return result;
    follow_with_size(step);
    fold_times(step);
    // What the map and the size now show was written just before (rule 5).
    if (step->range_count > 0 || step->open->has_size)
        journal_transaction_needs_data_flush(t->handle);
    return 0;
}

// A time that came while the step was under way stays for the next.
static void forget_time(_Atomic uint64_t *time, uint64_t folded)
{
    if (folded != 0)
        atomic_compare_exchange_strong(time, &folded, 0);
}

static void settle_step(struct flush_step *step)
{
    struct open_inode *open = step->open;
    for (unsigned i = 0; i < step->range_count; i++)
        written_ranges_remove(&open->written, step->ranges[i].file_block,
                              step->ranges[i].block_count);
    if (open->has_size && inode_size(step->inode) >= open->size)
        open->has_size = false;
    forget_time(&open->pass.modified_ns, step->modified_ns);
    forget_time(&open->pass.accessed_ns, step->accessed_ns);
}

static int run_step(struct open_inode *open, struct inode *inode, unsigned range_count_max)
{
    struct flush_step step = {
        .open = open,
        .inode = inode,
        .range_count_max = range_count_max,
        .modified_ns = atomic_load(&open->pass.modified_ns),
        .accessed_ns = atomic_load(&open->pass.accessed_ns),
    };
    struct tree_cost cost = extent_map_mark_cost(inode);
    struct transaction t;
    transaction_init(&t, open->volume, inode->number);
    // What was acknowledged must not fail for want of a node's block.
    allocator_allow_margin(&t.space);
    transaction_add_credits(&t, 1);
    for (unsigned i = 0; i < step.range_count_max; i++)
        transaction_add_cost(&t, cost);
    int result = transaction_run(&t, change_step, &step);
    if (result == 0)
        settle_step(&step);
    return result;
}

// As many ranges at once as the journal has room for: what a range costs depends on the state of
// the groups, too.
static int flush_step(struct open_inode *open, struct inode *inode)
{
    size_t count = open->written.count < RANGES_AT_ONCE ? open->written.count : RANGES_AT_ONCE;
    int result;
    while ((result = run_step(open, inode, (unsigned)count)) == -ERROR_JOURNAL_FULL && count > 1)
        count /= 2;
    return result;
}

// --- all of it -----------------------------------------------------------------------------------

// Nothing is changed for a time of access alone on a frozen volume (rule 24).
static bool has_access(const struct open_inode *open)
{
    return atomic_load(&open->pass.accessed_ns) != 0 && freeze_lets_write(open->volume->freeze);
}

int open_inode_flush(struct open_inode *open, struct inode *inode)
{
    int result = 0;
    if (open == NULL || open->volume->journal == NULL)
        return 0;
    while (result == 0 && (open_inode_is_dirty(open) || has_access(open))) {
        result = flush_step(open, inode);
        // Lanes may note times as fast as we fold them.
        if (written_ranges_is_empty(&open->written) && !open->has_size)
            break;
        coroutine_pause(open->volume->scheduler);
    }
    return result;
}

int open_inode_flush_unlocked(struct open_inode *open)
{
    struct inode inode;
    LOCK_SET(set);
    lock_set_add(&set, lock_name_inode(open->number), LOCK_EXCLUSIVE);
    int result = lock_set_acquire(&set, open->volume);
    if (result != 0)
        return result;
    result = inode_load(&inode, open->volume, open->number);
    if (result == 0) {
        result = open_inode_flush(open, &inode);
        inode_unload(&inode);
    }
    lock_set_release(&set);
    return result;
}
