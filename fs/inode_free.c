// SPDX-License-Identifier: Apache-2.0
#include "fs/inode_free.h"

#include <errno.h>

#include "fs/base/check.h"
#include "fs/base/coroutine.h"
#include "fs/base/error.h"
#include "fs/base/sabotage.h"
#include "fs/file_blocks.h"
#include "fs/inode.h"
#include "fs/lock_set.h"
#include "fs/lock_types.h"
#include "fs/orphans.h"
#include "fs/transaction.h"
#include "fs/volume.h"
#include "fs/xattr.h"

// --- lists -----------------------------------------------------------------------------------

int inode_enter_orphans(struct transaction *t, struct inode *inode, struct orphan_list *orphans)
{
    if ((inode_flags(inode) & INODE_FLAG_ORPHAN) != 0)
        return 0;
    inode_set_orphan(inode, true, orphans->slot);
    if (SABOTAGE(unlink_skip_orphan))
        return 0;
    orphans->space = &t->space;
    return orphan_list_insert(orphans, t->handle, inode->number, inode_generation(inode));
}

struct adoption {
    struct inode *inode;
    struct orphan_list from, to;
};

static int change_lists(struct transaction *t, void *context)
{
    struct adoption *adoption = context;
    struct inode *inode = adoption->inode;
    adoption->from.space = adoption->to.space = &t->space;
    transaction_change_inode(t, inode);
    inode_set_orphan(inode, true, adoption->to.slot);
    int result = orphan_list_remove(&adoption->from, t->handle, inode->number);
    if (result == 0)
        result =
            orphan_list_insert(&adoption->to, t->handle, inode->number, inode_generation(inode));
    return result;
}

static int load_lists(struct adoption *adoption, uint32_t from, uint32_t to)
{
    struct volume *volume = adoption->inode->volume;
    int result = orphan_list_load(&adoption->from, volume, from);
    if (result != 0)
        return result;
    result = orphan_list_load(&adoption->to, volume, to);
    if (result != 0)
        orphan_list_unload(&adoption->from);
    return result;
}

static int adopt(struct adoption *adoption)
{
    struct transaction t;
    transaction_init(&t, adoption->inode->volume, adoption->inode->number);
    allocator_allow_margin(&t.space);
    transaction_add_credits(&t, 1);
    transaction_add_cost(&t, orphan_list_cost(&adoption->from));
    transaction_add_cost(&t, orphan_list_cost(&adoption->to));
    return transaction_run(&t, change_lists, adoption);
}

int inode_adopt_orphan(struct inode *inode)
{
    struct volume *volume = inode->volume;
    uint32_t from = inode_orphan_slot(inode);
    struct adoption adoption = {.inode = inode};
    if (from == volume->slot)
        return 0;
    LOCK_SET(set);
    lock_set_add(&set, lock_name_orphans(from), LOCK_EXCLUSIVE);
    lock_set_add(&set, lock_name_orphans(volume->slot), LOCK_EXCLUSIVE);
    int result = lock_set_acquire(&set, volume);
    if (result != 0)
        return result;
    result = load_lists(&adoption, from, volume->slot);
    if (result == 0) {
        result = adopt(&adoption);
        orphan_list_unload(&adoption.from);
        orphan_list_unload(&adoption.to);
    }
    lock_set_release(&set);
    return result;
}

// --- what hangs on the inode -----------------------------------------------------------------

struct xattr_removal {
    struct inode *inode;
    bool has_more;
};

static int change_xattrs(struct transaction *t, void *context)
{
    struct xattr_removal *removal = context;
    transaction_change_inode(t, removal->inode);
    return xattr_remove_some(removal->inode, t->handle, &removal->has_more);
}

static int remove_xattrs(struct inode *inode)
{
    struct xattr_removal removal = {.inode = inode, .has_more = inode_xattr_count(inode) > 0};
    int result = 0;
    while (result == 0 && removal.has_more) {
        struct transaction t;
        transaction_init(&t, inode->volume, inode->number);
        allocator_allow_margin(&t.space);
        transaction_add_credits(&t, 1);
        transaction_add_cost(&t, xattr_step_cost(inode));
        result = transaction_run(&t, change_xattrs, &removal);
        coroutine_pause(inode->volume->scheduler);
    }
    return result;
}

// --- the last transaction --------------------------------------------------------------------

struct last_change {
    struct inode *inode;
    struct extent_removal removal; // what few extents were left
    struct orphan_list orphans;
};

static int change_inode_to_nothing(struct transaction *t, struct last_change *last,
                                   struct inode *doomed)
{
    transaction_change_inode(t, doomed);
    int result = file_blocks_apply_removal(t, doomed, &last->removal);
    if (result == 0)
        result = inode_set_inline(doomed, t->handle, NULL, 0);
    last->orphans.space = &t->space;
    if (result == 0 && !SABOTAGE(unlink_skip_orphan))
        result = orphan_list_remove(&last->orphans, t->handle, doomed->number);
    return result;
}

// Each run loads its own: the caller's goes on showing the inode if the handle is aborted.
static int change_last(struct transaction *t, void *context)
{
    struct last_change *last = context;
    struct inode doomed;
    int result = inode_load(&doomed, t->volume, last->inode->number);
    if (result != 0)
        return result;
    result = change_inode_to_nothing(t, last, &doomed);
    if (result == 0 && !inode_is_bare(&doomed))
        result = cache_report_damage(t->volume->cache, -ERROR_CORRUPT_INODE,
                                     "inode %llu: something is left of it when all is freed",
                                     (unsigned long long)doomed.number);
    if (result == 0)
        result = inode_destroy(&doomed, t->handle);
    if (doomed.block != NULL)
        inode_unload(&doomed);
    return result;
}

static int run_last(struct last_change *last)
{
    struct inode *inode = last->inode;
    struct transaction t;
    transaction_init(&t, inode->volume, inode->number);
    allocator_allow_margin(&t.space);
    int result = file_blocks_plan_removal(&t, inode, 0, EXTENT_FILE_BLOCKS, EXTENT_MAP_STEP_MAX,
                                          &last->removal);
    if (result != 0)
        return result;
    if (last->removal.has_more)
        return -ERROR_JOURNAL_FULL;
    allocator_want_free(&t.space, inode->number);
    transaction_add_credits(&t, 2);
    transaction_add_space_changes(&t, 1);
    transaction_add_cost(&t, inode_inline_cost(inode, 0));
    transaction_add_cost(&t, orphan_list_cost(&last->orphans));
    return transaction_run(&t, change_last, last);
}

static int free_with_list(struct inode *inode)
{
    struct volume *volume = inode->volume;
    struct last_change last = {.inode = inode};
    LOCK_SET(set);
    lock_set_add(&set, lock_name_orphans(inode_orphan_slot(inode)), LOCK_EXCLUSIVE);
    int result = lock_set_acquire(&set, volume);
    if (result != 0)
        return result;
    result = orphan_list_load(&last.orphans, volume, inode_orphan_slot(inode));
    if (result == 0) {
        result = run_last(&last);
        orphan_list_unload(&last.orphans);
    }
    lock_set_release(&set);
    return result;
}

static int look_for(struct inode *inode, bool *is_there)
{
    struct orphan_list list;
    uint64_t found, generation;
    int result = orphan_list_load(&list, inode->volume, inode_orphan_slot(inode));
    if (result != 0)
        return result;
    result = orphan_list_next(&list, inode->number - 1, &found, &generation);
    *is_there = result == 0 && found == inode->number && generation == inode_generation(inode);
    orphan_list_unload(&list);
    return result == -ENOENT ? 0 : result;
}

// The block of an inode that another node has freed still shows it dead and on a list: freed blocks
// are not written (rule 4). Only the list itself says whether there is something left to free.
// While this node holds LOCK_INODE EXCLUSIVE the answer stays true.
static int is_on_list(struct inode *inode, bool *is_there)
{
    LOCK_SET(set);
    lock_set_add(&set, lock_name_orphans(inode_orphan_slot(inode)), LOCK_EXCLUSIVE);
    int result = lock_set_acquire(&set, inode->volume);
    if (result != 0)
        return result;
    result = look_for(inode, is_there);
    lock_set_release(&set);
    return result;
}

int inode_free(struct inode *inode)
{
    CHECK(inode_link_count(inode) == 0);
    bool is_there = false;
    int result = is_on_list(inode, &is_there);
    if (result != 0 || !is_there) {
        inode_unload(inode);
        return result;
    }
    result = remove_xattrs(inode);
    if (result == 0)
        result = free_with_list(inode);
    if (result == -ERROR_JOURNAL_FULL) {
        result = file_blocks_remove(inode, 0, EXTENT_FILE_BLOCKS);
        if (result == 0)
            result = free_with_list(inode);
    }
    inode_unload(inode);
    return result;
}
