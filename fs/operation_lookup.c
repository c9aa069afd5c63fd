// SPDX-License-Identifier: Apache-2.0
// Names to inodes.
#include <errno.h>
#include <string.h>

#include "fs/base/error.h"
#include "fs/inode_table.h"
#include "fs/operation_private.h"
#include "fs/volume.h"

int operation_load_directory(struct inode *directory, struct volume *volume, uint64_t number)
{
    int result = live_inode_load(directory, volume, number);
    if (result != 0)
        return result == -ESTALE ? -ENOENT : result;
    if (inode_is_directory(directory))
        return 0;
    inode_unload(directory);
    return -ENOTDIR;
}

int operation_acquire_directory(struct inode *directory, struct lock_set *set,
                                struct volume *volume, uint64_t number, enum lock_mode mode)
{
    set->count = 0;
    lock_set_add(set, lock_name_inode(number), mode);
    int result = lock_set_acquire(set, volume);
    if (result != 0)
        return result;
    result = operation_load_directory(directory, volume, number);
    if (result != 0)
        lock_set_release(set);
    return result;
}

int operation_look_up_name(struct volume *volume, uint64_t number, const char *name,
                           struct directory_item *item)
{
    struct inode directory;
    LOCK_SET(set);
    int result = operation_acquire_directory(&directory, &set, volume, number, LOCK_SHARED);
    if (result != 0)
        return result;
    result = directory_lookup(&directory, name, item);
    live_inode_release(&directory, &set);
    return result;
}

int operation_judge_dead_entry(struct inode *directory, const char *name,
                               const struct directory_item *planned)
{
    struct directory_item now;
    int result = directory_lookup(directory, name, &now);
    if (result != 0)
        return result == -ENOENT ? PLAN_CHANGED : result;
    if (now.inode != planned->inode || now.generation != planned->generation)
        return PLAN_CHANGED;
    return cache_report_damage(directory->volume->cache, -ERROR_CORRUPT_DIRECTORY,
                               "directory %llu: an entry names inode %llu, which is none",
                               (unsigned long long)directory->number,
                               (unsigned long long)now.inode);
}

void operation_touch_directory(const struct transaction *t, struct inode *directory)
{
    inode_set_time(directory, INODE_MODIFIED, t->now);
    inode_set_time(directory, INODE_CHANGED, t->now);
}

// The child of a directory whose lock is held in `set`: it has a link, so it is there.
static int load_child_beside(struct lock_set *set, struct volume *volume, uint64_t number,
                             struct attributes *out)
{
    struct inode child;
    lock_set_add(set, lock_name_inode(number), LOCK_SHARED);
    int result = lock_set_acquire(set, volume);
    if (result == 0)
        result = inode_load(&child, volume, number);
    if (result != 0)
        return result;
    operation_fill_attributes(&child, out);
    inode_unload(&child);
    return 0;
}

// The same for a child whose lock comes before the directory's. PLAN_CHANGED if the name stands for
// something else by now.
static int load_child_before(struct volume *volume, uint64_t parent, const char *name,
                             const struct directory_item *planned, struct attributes *out)
{
    struct inode directory;
    struct directory_item item;
    LOCK_SET(set);
    lock_set_add(&set, lock_name_inode(planned->inode), LOCK_SHARED);
    lock_set_add(&set, lock_name_inode(parent), LOCK_SHARED);
    int result = lock_set_acquire(&set, volume);
    if (result != 0)
        return result;
    result = operation_load_directory(&directory, volume, parent);
    if (result == 0) {
        result = directory_lookup(&directory, name, &item);
        if (result == 0 && item.inode != planned->inode)
            result = PLAN_CHANGED;
        if (result == 0)
            result = load_child_beside(&set, volume, item.inode, out);
        inode_unload(&directory);
    }
    lock_set_release(&set);
    return result;
}

static int look_up_once(struct volume *volume, uint64_t parent, const char *name,
                        struct attributes *out)
{
    struct inode directory;
    struct directory_item item;
    LOCK_SET(set);
    int result = operation_acquire_directory(&directory, &set, volume, parent, LOCK_SHARED);
    if (result != 0)
        return result;
    result = directory_lookup(&directory, name, &item);
    // Locks of inodes are taken in the order of their numbers.
    bool is_behind = result == 0 && item.inode > parent;
    if (is_behind)
        result = load_child_beside(&set, volume, item.inode, out);
    live_inode_release(&directory, &set);
    if (result == 0 && !is_behind)
        result = load_child_before(volume, parent, name, &item, out);
    return result;
}

static int look_up_dots(struct volume *volume, uint64_t parent, bool is_parent_wanted,
                        struct attributes *out)
{
    struct inode directory;
    LOCK_SET(set);
    int result = operation_acquire_directory(&directory, &set, volume, parent, LOCK_SHARED);
    if (result != 0)
        return result;
    uint64_t above = inode_parent(&directory);
    operation_fill_attributes(&directory, out);
    live_inode_release(&directory, &set);
    return is_parent_wanted ? operation_get_attributes(volume, above, out) : 0;
}

int operation_lookup(struct volume *volume, uint64_t parent, const char *name,
                     struct attributes *out)
{
    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return look_up_dots(volume, parent, name[1] == '.', out);
    int result;
    do {
        result = look_up_once(volume, parent, name, out);
    } while (result == PLAN_CHANGED);
    return result;
}
