// SPDX-License-Identifier: Apache-2.0
// Open and close. LOCK_OPEN is taken before the inode is looked at for good, so that from then on
// nobody can free it (rule 14):
//
//   look: alive? ─► LOCK_OPEN SHARED ─► LOCK_INODE SHARED: still alive? ─► open
//
// The first look is for a file that is unlinked and held open elsewhere: whoever waits to free it
// is before us in the queue of LOCK_OPEN, and may be so for days.
#include <errno.h>
#include <fcntl.h>

#include "fs/cluster_lock.h"
#include "fs/inode_table.h"
#include "fs/open_file.h"
#include "fs/open_inode.h"
#include "fs/operation_private.h"
#include "fs/volume.h"

static int check_type(const struct inode *inode)
{
    if (inode_is_regular(inode))
        return 0;
    return inode_is_directory(inode) ? -EISDIR : -EINVAL;
}

static int look_first(struct volume *volume, uint64_t number)
{
    struct inode inode;
    LOCK_SET(set);
    int result = live_inode_acquire(&inode, &set, volume, number, LOCK_SHARED);
    if (result != 0)
        return result;
    result = check_type(&inode);
    live_inode_release(&inode, &set);
    return result;
}

// LOCK_OPEN is held; `*keeps` says that the new open inode has it now. Another coroutine may have
// been faster.
static int open_held(struct volume *volume, uint64_t number, struct cluster_lock *open_lock,
                     struct open_inode **open, bool *keeps)
{
    struct inode inode;
    LOCK_SET(set);
    int result = live_inode_acquire(&inode, &set, volume, number, LOCK_SHARED);
    if (result != 0)
        return result;
    *open = open_inode_find(volume, number);
    if (*open != NULL) {
        (*open)->handles++;
    } else {
        *open = open_inode_new(volume, &inode, open_lock);
        *keeps = true;
        result = open_inode_publish(*open, &inode);
    }
    live_inode_release(&inode, &set);
    if (result != 0)
        open_inode_close(*open);
    return result;
}

static int open_first(struct volume *volume, uint64_t number, struct open_inode **open)
{
    bool keeps = false;
    int result = look_first(volume, number);
    if (result != 0)
        return result;
    struct cluster_lock *lock = cluster_lock_get(volume->locks, lock_name_open(number));
    result = cluster_lock_acquire(lock, LOCK_SHARED, LOCK_INTERRUPTIBLE);
    if (result == 0) {
        result = open_held(volume, number, lock, open, &keeps);
        if (!keeps)
            cluster_lock_release(lock, LOCK_SHARED);
    }
    if (!keeps)
        cluster_lock_put(lock);
    return result;
}

int operation_open_inode(struct volume *volume, uint64_t number, struct open_inode **open)
{
    if (volume_check(volume) != 0)
        return volume_check(volume);
    *open = open_inode_find(volume, number);
    if (*open == NULL)
        return open_first(volume, number, open);
    (*open)->handles++;
    return 0;
}

static int check_protection(struct volume *volume, uint64_t number, int flags)
{
    struct attributes now;
    if ((flags & O_ACCMODE) == O_RDONLY && (flags & O_TRUNC) == 0)
        return 0;
    int result = operation_get_attributes(volume, number, &now);
    if (result != 0 || now.protection == 0)
        return result;
    bool only_appends = (flags & O_APPEND) != 0 && (flags & O_TRUNC) == 0;
    return (now.protection & INODE_FLAG_IMMUTABLE) != 0 || !only_appends ? -EPERM : 0;
}

static int truncate_opened(struct volume *volume, uint64_t number)
{
    struct attributes empty = {.stat = {.st_size = 0}}, out;
    return operation_set_attributes(volume, number, &empty, SET_SIZE, &out);
}

int operation_open(struct volume *volume, uint64_t number, int flags, struct open_file **file)
{
    struct open_inode *open;
    int result = operation_open_inode(volume, number, &open);
    if (result != 0)
        return result;
    *file = open_file_new(open, flags);
    result = check_protection(volume, number, flags);
    if (result == 0 && (flags & O_TRUNC) != 0 && (flags & O_ACCMODE) != O_RDONLY)
        result = truncate_opened(volume, number);
    if (result != 0) {
        operation_release(volume, *file);
        *file = NULL;
    }
    return result;
}

int operation_release(struct volume *volume, struct open_file *file)
{
    (void)volume;
    return open_inode_close(open_file_free(file));
}
