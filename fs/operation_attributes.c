// SPDX-License-Identifier: Apache-2.0
// stat, chmod, chown, utimens, and the size through them.
#include <errno.h>
#include <stdatomic.h>
#include <sys/stat.h>

#include "fs/base/sabotage.h"
#include "fs/file_size.h"
#include "fs/inode_acl.h"
#include "fs/inode_table.h"
#include "fs/open_inode.h"
#include "fs/operation_private.h"
#include "fs/volume.h"

void operation_fill_attributes(const struct inode *inode, struct attributes *out)
{
    const struct open_inode *open = open_inode_find(inode->volume, inode->number);
    inode_get_attributes(inode, out);
    if (open != NULL)
        open_inode_overlay(open, out);
}

int operation_get_attributes(struct volume *volume, uint64_t number, struct attributes *out)
{
    struct inode inode;
    LOCK_SET(set);
    int result = live_inode_acquire(&inode, &set, volume, number, LOCK_SHARED);
    if (result != 0)
        return result;
    operation_fill_attributes(&inode, out);
    live_inode_release(&inode, &set);
    return 0;
}

// --- changing ------------------------------------------------------------------------------------

struct attribute_change {
    struct inode *inode;
    const struct attributes *wanted;
    unsigned fields;
    struct acl acl; // the access list that follows the mode; empty: none
};

static mode_t without_set_id(mode_t mode)
{
    mode &= ~(mode_t)S_ISUID;
    // Without group execution the bit means mandatory locking, once, and is kept.
    if ((mode & S_IXGRP) != 0)
        mode &= ~(mode_t)S_ISGID;
    return mode;
}

static void set_mode(const struct attribute_change *change)
{
    struct inode *inode = change->inode;
    mode_t mode = inode_mode(inode);
    if ((change->fields & SET_MODE) != 0)
        mode = (mode & S_IFMT) | (change->wanted->stat.st_mode & 07777);
    if ((change->fields & SET_KILL_SUID) != 0 && !S_ISDIR(mode))
        mode = without_set_id(mode);
    inode_set_mode(inode, mode);
}

static void set_owner(const struct attribute_change *change)
{
    struct inode *inode = change->inode;
    const struct stat *stat = &change->wanted->stat;
    inode_set_owner(inode, (change->fields & SET_UID) != 0 ? stat->st_uid : inode_uid(inode),
                    (change->fields & SET_GID) != 0 ? stat->st_gid : inode_gid(inode));
}

static void set_protection(const struct attribute_change *change)
{
    if ((change->fields & SET_PROTECTION) != 0)
        inode_set_protection(change->inode, change->wanted->protection);
}

static void set_project(const struct attribute_change *change)
{
    struct inode *inode = change->inode;
    const struct attributes *wanted = change->wanted;
    bool hands_down = inode_hands_project_down(inode);
    if ((change->fields & SET_PROJECT_DOWN) != 0)
        hands_down = wanted->hands_project_down;
    if ((change->fields & (SET_PROJECT | SET_PROJECT_DOWN)) != 0)
        inode_set_project(
            inode, (change->fields & SET_PROJECT) != 0 ? wanted->project : inode_project(inode),
            hands_down);
}

static void set_times(const struct transaction *t, const struct attribute_change *change)
{
    struct inode *inode = change->inode;
    const struct stat *stat = &change->wanted->stat;
    unsigned fields = change->fields;
    if ((fields & SET_ATIME_NOW) != 0)
        inode_set_time(inode, INODE_ACCESSED, t->now);
    else if ((fields & SET_ATIME) != 0)
        inode_set_time(inode, INODE_ACCESSED, stat->st_atim);
    if ((fields & SET_MTIME_NOW) != 0)
        inode_set_time(inode, INODE_MODIFIED, t->now);
    else if ((fields & SET_MTIME) != 0)
        inode_set_time(inode, INODE_MODIFIED, stat->st_mtim);
    inode_set_time(inode, INODE_CHANGED, (fields & SET_CTIME) != 0 ? stat->st_ctim : t->now);
}

static int change_attributes(struct transaction *t, void *context)
{
    const struct attribute_change *change = context;
    struct inode *inode = change->inode;
    transaction_change_inode(t, inode);
    set_mode(change);
    set_owner(change);
    set_protection(change);
    set_project(change);
    set_times(t, change);
    return change->acl.count > 0 ? inode_acl_put(inode, t->handle, ACL_ACCESS_NAME, &change->acl)
                                 : 0;
}

// chmod of a file that has an access list: that says the same afterwards.
static int plan_acl(struct transaction *t, struct attribute_change *change)
{
    struct tree_cost cost;
    if ((change->fields & SET_MODE) == 0 || SABOTAGE(chmod_skip_list))
        return 0;
    int result = inode_acl_get(change->inode, ACL_ACCESS_NAME, &change->acl);
    if (result != 0 || change->acl.count == 0)
        return result;
    acl_follow_mode(&change->acl, change->wanted->stat.st_mode);
    allocator_allow_margin(&t->space); // chmod works on a full volume, too
    result = inode_acl_cost(change->inode, ACL_ACCESS_NAME, &change->acl, &cost);
    if (result == 0)
        transaction_add_cost(t, cost);
    return result;
}

// What lanes noted before is older than what is set now.
static void forget_noted_times(struct open_inode *open, unsigned fields)
{
    if (open == NULL || SABOTAGE(times_keep_noted))
        return;
    if ((fields & (SET_MTIME | SET_MTIME_NOW)) != 0)
        atomic_store(&open->pass.modified_ns, 0);
    if ((fields & (SET_ATIME | SET_ATIME_NOW)) != 0)
        atomic_store(&open->pass.accessed_ns, 0);
}

// As Linux has it: who only appends may still set the times to now.
static int check_protection(const struct inode *inode, unsigned fields)
{
    if ((fields & SET_ATIME_NOW) != 0)
        fields &= ~(unsigned)SET_ATIME;
    if ((fields & SET_MTIME_NOW) != 0)
        fields &= ~(unsigned)SET_MTIME;
    const unsigned harmless = SET_ATIME_NOW | SET_MTIME_NOW | SET_CTIME | SET_KILL_SUID;
    if ((fields & SET_PROTECTION) != 0) {
        bool is_known =
            (inode->volume->geometry.feature_incompat & FEATURE_INCOMPAT_PROTECTION) != 0;
        return is_known && (inode_is_regular(inode) || inode_is_directory(inode)) ? 0 : -EOPNOTSUPP;
    }
    if (inode_is_immutable(inode))
        return -EPERM;
    return inode_is_protected(inode) && (fields & ~harmless) != 0 ? -EPERM : 0;
}

static int check_project(const struct inode *inode, const struct attributes *wanted,
                         unsigned fields)
{
    if ((fields & (SET_PROJECT | SET_PROJECT_DOWN)) == 0)
        return 0;
    if ((inode->volume->geometry.feature_incompat & FEATURE_INCOMPAT_PROJECTS) == 0)
        return -EOPNOTSUPP;
    if ((fields & SET_PROJECT) != 0 && wanted->project == PROJECT_NONE)
        return -EINVAL;
    bool hands_down = (fields & SET_PROJECT_DOWN) != 0 && wanted->hands_project_down;
    return hands_down && !inode_is_directory(inode) ? -EOPNOTSUPP : 0;
}

static bool is_time(const struct timespec *time)
{
    return time->tv_nsec >= 0 && time->tv_nsec < 1000000000;
}

static int check_wanted(const struct inode *inode, const struct attributes *wanted, unsigned fields)
{
    const struct stat *stat = &wanted->stat;
    int result = check_protection(inode, fields);
    if (result == 0)
        result = check_project(inode, wanted, fields);
    if (result != 0)
        return result;
    if (((fields & SET_ATIME) != 0 && !is_time(&stat->st_atim)) ||
        ((fields & SET_MTIME) != 0 && !is_time(&stat->st_mtim)) ||
        ((fields & SET_CTIME) != 0 && !is_time(&stat->st_ctim)))
        return -EINVAL;
    if ((fields & SET_SIZE) == 0)
        return 0;
    if (inode_is_directory(inode))
        return -EISDIR;
    return inode_is_regular(inode) && stat->st_size >= 0 ? 0 : -EINVAL;
}

static int set_attributes(struct inode *inode, const struct attributes *wanted, unsigned fields)
{
    struct attribute_change change = {.inode = inode, .wanted = wanted, .fields = fields};
    struct open_inode *open = open_inode_find(inode->volume, inode->number);
    int result = check_wanted(inode, wanted, fields);
    if (result == 0 && (fields & SET_PROTECTION) != 0 && !SABOTAGE(protect_skip_drain))
        open_inode_drain(open); // lanes write no more before they are let in anew
    if (result == 0 && (fields & SET_SIZE) != 0)
        result = file_size_set(inode, open, (uint64_t)wanted->stat.st_size);
    if (result != 0 || (fields & ~(unsigned)SET_SIZE) == 0)
        return result;
    struct transaction t;
    transaction_init(&t, inode->volume, inode->number);
    transaction_add_credits(&t, 1);
    t.must_fit = (fields & (SET_UID | SET_GID | SET_PROJECT)) != 0;
    result = plan_acl(&t, &change);
    if (result == 0)
        result = transaction_run(&t, change_attributes, &change);
    if (result == 0)
        forget_noted_times(open, fields);
    return result;
}

int operation_set_attributes(struct volume *volume, uint64_t number,
                             const struct attributes *wanted, unsigned fields,
                             struct attributes *out)
{
    struct inode inode;
    LOCK_SET(set);
    int result = transaction_check_writable(volume);
    // The kernel writes back no page of the file before a change of its size is answered.
    if ((fields & SET_SIZE) != 0)
        set.flags = LOCK_FOR_KERNEL_WRITE;
    if (result == 0)
        result = live_inode_acquire(&inode, &set, volume, number, LOCK_EXCLUSIVE);
    if (result != 0)
        return result;
    result = set_attributes(&inode, wanted, fields);
    if (result == 0)
        operation_fill_attributes(&inode, out);
    live_inode_release(&inode, &set);
    return result;
}
