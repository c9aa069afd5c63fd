// SPDX-License-Identifier: Apache-2.0
// Pages that the kernel keeps of open files (docs/caching.md): reads that fill them, and the opens
// and closes that change what filling them takes.
#include <fcntl.h>

#include "fs/cluster_lock.h"
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

static struct cluster_lock *lock_of(const struct lock_set *set, const struct open_inode *open)
{
    return lock_set_find(set, lock_name_inode(open->number));
}

static int acquire(struct inode *inode, struct lock_set *set, const struct open_inode *open)
{
    for (;;) {
        set->flags = page_loans_fill_flags(&open->pages);
        int result = live_inode_acquire(inode, set, open->volume, open->number, LOCK_SHARED);
        if (result != 0 || page_loans_may_fill(&open->pages, lock_of(set, open)))
            return result;
        live_inode_release(inode, set);
    }
}

ssize_t operation_fill(struct volume *volume, struct open_file *file, uint64_t node,
                       uint64_t offset, void *buffer, size_t length)
{
    struct inode inode;
    LOCK_SET(set);
    (void)volume;
    ssize_t result = acquire(&inode, &set, file->inode);
    if (result != 0)
        return result;
    lend(file->inode, lock_of(&set, file->inode), node);
    result = operation_read_locked(file->inode, &inode, offset, buffer, length);
    live_inode_release(&inode, &set);
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
