// SPDX-License-Identifier: Apache-2.0
#include <errno.h>

#include "fs/operation_private.h"
#include "fs/volume.h"

struct linking {
    struct inode parent, inode;
    const char *name;
};

static int change_link(struct transaction *t, void *context)
{
    struct linking *linking = context;
    struct inode *parent = &linking->parent, *inode = &linking->inode;
    transaction_change_inode(t, parent);
    transaction_change_inode(t, inode);
    int result = directory_insert(parent, t->handle, linking->name, inode->number,
                                  inode_generation(inode), IFTODT(inode_mode(inode)));
    if (result != 0)
        return result;
    operation_touch_directory(t, parent);
    inode_set_link_count(inode, inode_link_count(inode) + 1);
    inode_set_time(inode, INODE_CHANGED, t->now);
    return 0;
}

static int check_inode(const struct inode *inode)
{
    if (inode_is_directory(inode))
        return -EPERM;
    if (inode_link_count(inode) == 0) // unlinked, and open here
        return -ENOENT;
    return inode_link_count(inode) >= OPERATION_LINKS_MAX ? -EMLINK : 0;
}

static int link_loaded(struct linking *linking)
{
    struct transaction t;
    int result = check_inode(&linking->inode);
    if (result != 0)
        return result;
    transaction_init(&t, linking->parent.volume, linking->parent.number);
    allocator_allow_interrupt(&t.space);
    transaction_add_credits(&t, 1);
    transaction_add_cost(&t, directory_change_cost(&linking->parent));
    return transaction_run(&t, change_link, linking);
}

static int link_locked(struct volume *volume, struct linking *linking, uint64_t number,
                       uint64_t parent, struct attributes *out)
{
    int result = operation_load_directory(&linking->parent, volume, parent);
    if (result != 0)
        return result;
    result = live_inode_load(&linking->inode, volume, number);
    if (result == 0) {
        result = link_loaded(linking);
        if (result == 0)
            operation_fill_attributes(&linking->inode, out);
        inode_unload(&linking->inode);
    }
    inode_unload(&linking->parent);
    return result;
}

int operation_link(struct volume *volume, uint64_t number, uint64_t parent, const char *name,
                   struct attributes *out)
{
    struct linking linking = {.name = name};
    LOCK_SET(set);
    int result = transaction_check_writable(volume);
    if (result != 0)
        return result;
    if (number == parent)
        return -EPERM;
    lock_set_add(&set, lock_name_inode(parent), LOCK_EXCLUSIVE);
    lock_set_add(&set, lock_name_inode(number), LOCK_EXCLUSIVE);
    result = lock_set_acquire(&set, volume);
    if (result != 0)
        return result;
    result = link_locked(volume, &linking, number, parent, out);
    lock_set_release(&set);
    return result;
}
