// SPDX-License-Identifier: Apache-2.0
// Taking a name away. With the last name the inode goes on this slot's orphan list in the same
// transaction (rule 14); the reaper frees it when no node has it open.
#include <errno.h>
#include <string.h>

#include "fs/inode_free.h"
#include "fs/inode_table.h"
#include "fs/operation_private.h"
#include "fs/orphans.h"
#include "fs/reaper.h"
#include "fs/volume.h"

struct unlinking {
    struct volume *volume;
    const char *name;
    bool is_directory; // rmdir
    struct inode parent, child;
    struct orphan_list orphans;
    bool is_last; // no link is left
};

// --- the transaction -------------------------------------------------------------------------

static int change_unlink(struct transaction *t, void *context)
{
    struct unlinking *u = context;
    transaction_change_inode(t, &u->parent);
    transaction_change_inode(t, &u->child);
    int result = directory_remove(&u->parent, t->handle, u->name);
    if (result != 0)
        return result;
    operation_touch_directory(t, &u->parent);
    inode_set_time(&u->child, INODE_CHANGED, t->now);
    if (u->is_directory)
        inode_set_link_count(&u->parent, inode_link_count(&u->parent) - 1);
    inode_set_link_count(&u->child, u->is_directory ? 0 : inode_link_count(&u->child) - 1);
    u->is_last = inode_link_count(&u->child) == 0;
    return u->is_last ? inode_enter_orphans(t, &u->child, &u->orphans) : 0;
}

static int run_unlink(struct unlinking *u)
{
    struct transaction t;
    transaction_init(&t, u->volume, u->parent.number);
    allocator_allow_margin(&t.space);
    allocator_allow_interrupt(&t.space);
    transaction_add_credits(&t, 1);
    transaction_add_cost(&t, directory_change_cost(&u->parent));
    transaction_add_cost(&t, orphan_list_cost(&u->orphans));
    return transaction_run(&t, change_unlink, u);
}

// --- checks ----------------------------------------------------------------------------------

static int check_child(struct unlinking *u)
{
    bool is_directory = inode_is_directory(&u->child);
    if (inode_is_protected(&u->parent) || inode_is_protected(&u->child))
        return -EPERM;
    if (is_directory != u->is_directory)
        return is_directory ? -EISDIR : -ENOTDIR;
    if (!is_directory)
        return 0;
    int is_empty = directory_is_empty(&u->child);
    if (is_empty < 0)
        return is_empty;
    return is_empty ? 0 : -ENOTEMPTY;
}

// Everything is locked: whether the name still stands for the child that was planned for.
static int check_plan(struct unlinking *u, const struct directory_item *planned)
{
    struct directory_item item;
    int result = directory_lookup(&u->parent, u->name, &item);
    if (result != 0)
        return result;
    bool is_same = item.inode == planned->inode && item.generation == planned->generation;
    return is_same ? check_child(u) : PLAN_CHANGED;
}

// --- loading, from the outside in ------------------------------------------------------------

static int with_orphans(struct unlinking *u, const struct directory_item *planned)
{
    int result = orphan_list_load(&u->orphans, u->volume, u->volume->slot);
    if (result != 0)
        return result;
    result = check_plan(u, planned);
    if (result == 0)
        result = run_unlink(u);
    orphan_list_unload(&u->orphans);
    return result;
}

static int with_child(struct unlinking *u, const struct directory_item *planned)
{
    int result = live_inode_load(&u->child, u->volume, planned->inode);
    if (result == -ESTALE)
        return operation_judge_dead_entry(&u->parent, u->name, planned);
    if (result != 0)
        return result;
    result = with_orphans(u, planned);
    inode_unload(&u->child);
    return result;
}

static int unlink_planned(struct unlinking *u, uint64_t parent,
                          const struct directory_item *planned)
{
    LOCK_SET(set);
    lock_set_add(&set, lock_name_inode(parent), LOCK_EXCLUSIVE);
    lock_set_add(&set, lock_name_inode(planned->inode), LOCK_EXCLUSIVE);
    lock_set_add(&set, lock_name_orphans(u->volume->slot), LOCK_EXCLUSIVE);
    int result = lock_set_acquire(&set, u->volume);
    if (result != 0)
        return result;
    result = operation_load_directory(&u->parent, u->volume, parent);
    if (result == 0) {
        result = with_child(u, planned);
        inode_unload(&u->parent);
    }
    lock_set_release(&set);
    return result;
}

static int unlink_name(struct unlinking *u, uint64_t parent)
{
    struct directory_item planned;
    int result = transaction_check_writable(u->volume);
    if (result != 0)
        return result;
    do {
        result = operation_look_up_name(u->volume, parent, u->name, &planned);
        if (result == 0)
            result = unlink_planned(u, parent, &planned);
    } while (result == PLAN_CHANGED);
    if (result == 0 && u->is_last)
        reaper_add(inode_table_reaper(u->volume), planned.inode, planned.generation);
    return result;
}

int operation_unlink(struct volume *volume, uint64_t parent, const char *name)
{
    struct unlinking u = {.volume = volume, .name = name};
    return unlink_name(&u, parent);
}

int operation_remove_directory(struct volume *volume, uint64_t parent, const char *name)
{
    struct unlinking u = {.volume = volume, .name = name, .is_directory = true};
    if (strcmp(name, ".") == 0)
        return -EINVAL;
    if (strcmp(name, "..") == 0)
        return -ENOTEMPTY;
    return unlink_name(&u, parent);
}
