// SPDX-License-Identifier: Apache-2.0
#include <errno.h>

#include "fs/base/error.h"
#include "fs/operation_private.h"
#include "fs/volume.h"
#include "fs/xattr.h"

ssize_t operation_get_xattr(struct volume *volume, uint64_t number, const char *name, void *value,
                            size_t size)
{
    struct inode inode;
    LOCK_SET(set);
    ssize_t result = live_inode_acquire(&inode, &set, volume, number, LOCK_SHARED);
    if (result != 0)
        return result;
    result = xattr_get(&inode, name, value, size);
    live_inode_release(&inode, &set);
    return result;
}

ssize_t operation_list_xattr(struct volume *volume, uint64_t number, bool with_trusted, char *names,
                             size_t size)
{
    struct inode inode;
    LOCK_SET(set);
    ssize_t result = live_inode_acquire(&inode, &set, volume, number, LOCK_SHARED);
    if (result != 0)
        return result;
    result = xattr_list(&inode, with_trusted, names, size);
    live_inode_release(&inode, &set);
    return result;
}

struct xattr_change {
    struct inode inode;
    const char *name;
    const void *value; // NULL: remove
    size_t size;
    int flags;
};

static int change_xattr(struct transaction *t, void *context)
{
    struct xattr_change *change = context;
    struct inode *inode = &change->inode;
    transaction_change_inode(t, inode);
    int result = change->value != NULL ? xattr_set(inode, t->handle, change->name, change->value,
                                                   change->size, change->flags)
                                       : xattr_remove(inode, t->handle, change->name);
    if (result == 0)
        inode_set_time(inode, INODE_CHANGED, t->now);
    return result;
}

static int run_change(struct xattr_change *change)
{
    struct tree_cost cost;
    int result = xattr_change_cost(&change->inode, change->name, change->size, &cost);
    if (result != 0)
        return result;
    struct transaction t;
    transaction_init(&t, change->inode.volume, change->inode.number);
    if (change->value == NULL)
        allocator_allow_margin(&t.space);
    allocator_allow_interrupt(&t.space);
    transaction_add_credits(&t, 1);
    transaction_add_cost(&t, cost);
    return transaction_run(&t, change_xattr, change);
}

struct shortening {
    struct xattr_change *change;
    bool is_short;
};

static int change_length(struct transaction *t, void *context)
{
    struct shortening *shortening = context;
    struct inode *inode = &shortening->change->inode;
    transaction_change_inode(t, inode);
    return xattr_shorten(inode, t->handle, shortening->change->name, &shortening->is_short);
}

// Step by step: a crash in between leaves the attribute with the front of its value.
static int shorten(struct xattr_change *change)
{
    struct shortening shortening = {.change = change};
    int result = 0;
    while (result == 0 && !shortening.is_short) {
        struct transaction t;
        transaction_init(&t, change->inode.volume, change->inode.number);
        allocator_allow_margin(&t.space);
        transaction_add_credits(&t, 1);
        transaction_add_cost(&t, xattr_step_cost(&change->inode));
        result = transaction_run(&t, change_length, &shortening);
    }
    return result;
}

// A value that the journal has no room to remove at once.
static int run_change_in_steps(struct xattr_change *change)
{
    int result = run_change(change);
    if (result != -ERROR_JOURNAL_FULL || change->value != NULL)
        return result;
    result = shorten(change);
    return result != 0 ? result : run_change(change);
}

static int change_one(struct volume *volume, uint64_t number, struct xattr_change *change)
{
    LOCK_SET(set);
    int result = transaction_check_writable(volume);
    if (result == 0)
        result = live_inode_acquire(&change->inode, &set, volume, number, LOCK_EXCLUSIVE);
    if (result != 0)
        return result;
    result = inode_is_protected(&change->inode) ? -EPERM : run_change_in_steps(change);
    live_inode_release(&change->inode, &set);
    return result;
}

int operation_set_xattr(struct volume *volume, uint64_t number, const char *name, const void *value,
                        size_t size, int flags)
{
    struct xattr_change change = {.name = name, .value = value, .size = size, .flags = flags};
    if (value == NULL)
        change.value = ""; // an empty value, not a removal
    if (operation_is_acl(name))
        return operation_set_acl(volume, number, name, change.value, size,
                                 (flags & SET_XATTR_KILL_SGID) != 0);
    if (size > XATTR_VALUE_BYTES_MAX)
        return -E2BIG;
    return change_one(volume, number, &change);
}

int operation_remove_xattr(struct volume *volume, uint64_t number, const char *name)
{
    struct xattr_change change = {.name = name};
    if (operation_is_acl(name))
        return operation_set_acl(volume, number, name, NULL, 0, false);
    return change_one(volume, number, &change);
}
