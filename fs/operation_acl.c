// SPDX-License-Identifier: Apache-2.0
// Setting access control lists. An access list changes the mode in the same transaction; one that
// says no more than a mode is not stored.
#include <errno.h>
#include <string.h>

#include "fs/inode_acl.h"
#include "fs/operation_private.h"
#include "fs/volume.h"

struct acl_change {
    struct inode inode;
    const char *name;
    struct acl acl; // what will be stored; empty: nothing
    mode_t mode;    // that the inode will have
};

bool operation_is_acl(const char *name)
{
    return strcmp(name, ACL_ACCESS_NAME) == 0 || strcmp(name, ACL_DEFAULT_NAME) == 0;
}

static int change_acl(struct transaction *t, void *context)
{
    struct acl_change *change = context;
    struct inode *inode = &change->inode;
    transaction_change_inode(t, inode);
    int result = inode_acl_put(inode, t->handle, change->name, &change->acl);
    if (result != 0)
        return result;
    inode_set_mode(inode, change->mode);
    inode_set_time(inode, INODE_CHANGED, t->now);
    return 0;
}

// What the list means for this inode, now that it is locked.
static int plan(struct acl_change *change, bool kills_sgid)
{
    struct inode *inode = &change->inode;
    change->mode = inode_mode(inode);
    if (inode_is_protected(inode))
        return -EPERM;
    if (S_ISLNK(change->mode))
        return -EOPNOTSUPP;
    if (strcmp(change->name, ACL_DEFAULT_NAME) == 0)
        return S_ISDIR(change->mode) || change->acl.count == 0 ? 0 : -EACCES;
    change->mode = acl_to_mode(&change->acl, change->mode);
    if (kills_sgid)
        change->mode &= ~(mode_t)S_ISGID;
    if (acl_is_mode(&change->acl))
        change->acl.count = 0;
    return 0;
}

static int run_change(struct acl_change *change)
{
    struct tree_cost cost;
    struct transaction t;
    int result = inode_acl_cost(&change->inode, change->name, &change->acl, &cost);
    if (result != 0)
        return result;
    transaction_init(&t, change->inode.volume, change->inode.number);
    allocator_allow_interrupt(&t.space);
    if (change->acl.count == 0)
        allocator_allow_margin(&t.space);
    transaction_add_credits(&t, 1);
    transaction_add_cost(&t, cost);
    return transaction_run(&t, change_acl, change);
}

int operation_set_acl(struct volume *volume, uint64_t number, const char *name, const void *value,
                      size_t size, bool kills_sgid)
{
    struct acl_change change = {.name = name};
    LOCK_SET(set);
    int result = transaction_check_writable(volume);
    if (result == 0 && value != NULL)
        result = acl_decode(value, size, &change.acl);
    if (result == 0)
        result = live_inode_acquire(&change.inode, &set, volume, number, LOCK_EXCLUSIVE);
    if (result != 0)
        return result;
    result = plan(&change, kills_sgid);
    if (result == 0)
        result = run_change(&change);
    live_inode_release(&change.inode, &set);
    return result;
}
