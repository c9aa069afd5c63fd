// SPDX-License-Identifier: Apache-2.0
// A name more. A file that was made without any (O_TMPFILE) gets its first here, and leaves this
// slot's orphan list in the same transaction.
#include <errno.h>

#include "fs/base/error.h"
#include "fs/base/sabotage.h"
#include "fs/inode_table.h"
#include "fs/open_inode.h"
#include "fs/operation_private.h"
#include "fs/orphans.h"
#include "fs/volume.h"

struct linking {
    struct inode parent, inode;
    const char *name;
    bool is_first; // name of a file that was made without
    struct orphan_list orphans;
};

// --- the transaction -------------------------------------------------------------------------

static int leave_orphans(struct transaction *t, struct linking *linking)
{
    struct inode *inode = &linking->inode;
    if (!linking->is_first)
        return 0;
    inode_set_orphan(inode, false, 0);
    if (SABOTAGE(link_keep_orphan))
        return 0;
    linking->orphans.space = &t->space;
    return orphan_list_remove(&linking->orphans, t->handle, inode->number);
}

static int change_link(struct transaction *t, void *context)
{
    struct linking *linking = context;
    struct inode *parent = &linking->parent, *inode = &linking->inode;
    transaction_change_inode(t, parent);
    transaction_change_inode(t, inode);
    int result = directory_insert(parent, t->handle, linking->name, inode->number,
                                  inode_generation(inode), IFTODT(inode_mode(inode)));
    if (result == 0)
        result = leave_orphans(t, linking);
    if (result != 0)
        return result;
    operation_touch_directory(t, parent);
    inode_set_link_count(inode, inode_link_count(inode) + 1);
    inode_set_time(inode, INODE_CHANGED, t->now);
    return 0;
}

static int run_link(struct linking *linking)
{
    struct transaction t;
    transaction_init(&t, linking->parent.volume, linking->parent.number);
    allocator_allow_interrupt(&t.space);
    transaction_add_credits(&t, 1);
    transaction_add_cost(&t, directory_change_cost(&linking->parent));
    if (linking->is_first)
        transaction_add_cost(&t, orphan_list_cost(&linking->orphans));
    return transaction_run(&t, change_link, linking);
}

// --- checks ----------------------------------------------------------------------------------

static bool is_linkable(struct volume *volume, uint64_t number)
{
    const struct open_inode *open = open_inode_find(volume, number);
    return open != NULL && open->is_linkable;
}

// Everything is locked. What was made without a name may have got one since the plan.
static int check_inode(const struct linking *linking)
{
    const struct inode *inode = &linking->inode;
    if (inode_is_directory(inode) || inode_is_protected(inode) ||
        inode_is_immutable(&linking->parent))
        return -EPERM;
    if (linking->is_first != is_linkable(inode->volume, inode->number))
        return PLAN_CHANGED;
    if (inode_link_count(inode) == 0 && !linking->is_first) // unlinked, and open here
        return -ENOENT;
    if (!inode_takes_in(&linking->parent, inode))
        return -EXDEV;
    return inode_link_count(inode) >= OPERATION_LINKS_MAX ? -EMLINK : 0;
}

// --- loading, from the outside in ------------------------------------------------------------

static int link_with_orphans(struct linking *linking)
{
    struct volume *volume = linking->inode.volume;
    int result = orphan_list_load(&linking->orphans, volume, volume->slot);
    if (result != 0)
        return result;
    result = run_link(linking);
    orphan_list_unload(&linking->orphans);
    if (result == 0)
        open_inode_find(volume, linking->inode.number)->is_linkable = false;
    return result;
}

static int link_loaded(struct linking *linking)
{
    int result = check_inode(linking);
    if (result != 0)
        return result;
    return linking->is_first ? link_with_orphans(linking) : run_link(linking);
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

static int link_planned(struct volume *volume, struct linking *linking, uint64_t number,
                        uint64_t parent, struct attributes *out)
{
    LOCK_SET(set);
    lock_set_add(&set, lock_name_inode(parent), LOCK_EXCLUSIVE);
    lock_set_add(&set, lock_name_inode(number), LOCK_EXCLUSIVE);
    if (linking->is_first)
        lock_set_add(&set, lock_name_orphans(volume->slot), LOCK_EXCLUSIVE);
    int result = lock_set_acquire(&set, volume);
    if (result != 0)
        return result;
    result = link_locked(volume, linking, number, parent, out);
    lock_set_release(&set);
    return result;
}

int operation_link(struct volume *volume, uint64_t number, uint64_t parent, const char *name,
                   struct attributes *out)
{
    struct linking linking = {.name = name};
    int result = transaction_check_writable(volume);
    if (result != 0)
        return result;
    if (number == parent)
        return -EPERM;
    do {
        linking.is_first = is_linkable(volume, number);
        result = link_planned(volume, &linking, number, parent, out);
    } while (result == PLAN_CHANGED);
    return result;
}
