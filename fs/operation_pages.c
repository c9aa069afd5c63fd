// SPDX-License-Identifier: Apache-2.0
// Pages that the kernel keeps of open files (docs/caching.md): reads that fill them, and the opens
// and closes that change what filling them takes.
#include <fcntl.h>

#include "fs/cluster_lock.h"
#include "fs/freeze.h"
#include "fs/lock_types.h"
#include "fs/open_file.h"
#include "fs/open_inode.h"
#include "fs/operation_private.h"
#include "fs/volume.h"

// The lanes write no more when the first page is read: what the kernel keeps they could not tell it
// to drop.
static void lend(struct open_inode *open, struct cluster_lock *lock, uint64_t node)
{
    if (!open->volume->options.keep_pages)
        return;
    if ((pass_kinds(&open->pass) & PASS_WRITE) != 0)
        open_inode_drain(open);
    page_loans_lend(&open->pages, lock, node);
}

struct filling {
    struct inode inode;
    struct lock_set set;
    struct freeze_filler filler;
    bool is_let_go;  // whatever a freeze says: the kernel may be waiting for it
    bool is_entered; // no freeze comes before it is done
};

static struct cluster_lock *lock_of(const struct filling *filling, const struct open_inode *open)
{
    return lock_set_find(&filling->set, lock_name_inode(open->number));
}

static int acquire_lock(struct filling *filling, const struct open_inode *open)
{
    for (;;) {
        filling->set.flags = page_loans_fill_flags(&open->pages);
        int result = live_inode_acquire(&filling->inode, &filling->set, open->volume, open->number,
                                        LOCK_SHARED);
        if (result != 0 || page_loans_may_fill(&open->pages, lock_of(filling, open)))
            return result;
        live_inode_release(&filling->inode, &filling->set);
    }
}

// What processes may change without a word is not filled while the volume is frozen (rule 24). What
// is filled while the pages are called in is dropped with them.
static bool may_fill(struct filling *filling, const struct open_inode *open)
{
    struct freeze *freeze = open->volume->freeze;
    if (open->pages.mappers == 0 || open->volume->journal == NULL || filling->is_let_go ||
        cluster_lock_recall_needs_fills(lock_of(filling, open)))
        return true;
    filling->is_entered = freeze_try_enter(freeze);
    return filling->is_entered;
}

static int acquire(struct filling *filling, const struct open_inode *open)
{
    struct freeze *freeze = open->volume->freeze;
    for (;;) {
        int result = acquire_lock(filling, open);
        if (result != 0 || may_fill(filling, open))
            return result;
        freeze_fill_begin(freeze, &filling->filler, open->number);
        live_inode_release(&filling->inode, &filling->set);
        result = freeze_fill_wait(freeze, &filling->filler);
        filling->is_let_go = filling->filler.is_let_go;
        if (result != 0)
            return result;
    }
}

static void release(struct filling *filling, const struct open_inode *open)
{
    live_inode_release(&filling->inode, &filling->set);
    if (filling->is_entered)
        freeze_leave(open->volume->freeze);
}

ssize_t operation_fill(struct volume *volume, struct open_file *file, uint64_t node,
                       uint64_t offset, void *buffer, size_t length)
{
    struct filling filling = {.is_let_go = false};
    (void)volume;
    ssize_t result = acquire(&filling, file->inode);
    if (result != 0)
        return result;
    lend(file->inode, lock_of(&filling, file->inode), node);
    result = operation_read_locked(file->inode, &filling.inode, offset, buffer, length);
    release(&filling, file->inode);
    return result;
}

static bool may_write(const struct open_file *file)
{
    return (file->flags & O_ACCMODE) != O_RDONLY;
}

static bool may_map_to_write(const struct open_file *file)
{
    return (file->flags & O_ACCMODE) == O_RDWR;
}

// What fails here is the volume, and then nothing is served any more.
void operation_note_opened(struct volume *volume, struct open_file *file, bool is_cached)
{
    struct open_inode *open = file->inode;
    if (!volume->options.keep_pages)
        return;
    open->cached_handles += is_cached;
    open->writing_handles += may_write(file);
    if (may_map_to_write(file))
        page_loans_add_mapper(&open->pages, volume->locks, open->number);
    else if (may_write(file))
        page_loans_drop(&open->pages, volume->locks, open->number);
}

// Writers are slower as long as the kernel keeps pages: with nobody left to look at them it need
// not.
void operation_note_closed(struct volume *volume, struct open_file *file, bool is_cached)
{
    struct open_inode *open = file->inode;
    if (!volume->options.keep_pages)
        return;
    open->cached_handles -= is_cached;
    open->writing_handles -= may_write(file);
    if (may_map_to_write(file))
        page_loans_remove_mapper(&open->pages);
    if (is_cached && open->cached_handles == 0 && open->writing_handles > 0)
        page_loans_drop(&open->pages, volume->locks, open->number);
}
