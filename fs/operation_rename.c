// SPDX-License-Identifier: Apache-2.0
// Rename, over an existing name or not, and exchange.
//
//   plan     what the names stand for; moves a directory to another parent? then under LOCK_RENAME,
//            which keeps all ancestries as they are: the new parent must not lie below it
//   locks    both parents, both inodes EXCLUSIVE, in the order of their numbers; the orphan list
//   check    the names still stand for the same inodes, else plan again
//   change   entries, link counts, parents and times in one transaction
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "fs/base/error.h"
#include "fs/cluster_lock.h"
#include "fs/inode_free.h"
#include "fs/inode_table.h"
#include "fs/operation_private.h"
#include "fs/orphans.h"
#include "fs/reaper.h"
#include "fs/volume.h"

enum { DEPTH_MAX = 1 << 20 };

// One of the two names.
struct place {
    uint64_t parent;
    const char *name;
    struct directory_item item; // inode 0: the name is free
    struct inode *directory;    // loaded; both places may share it
    struct inode inode;         // loaded if item.inode is not 0
};

struct renaming {
    struct volume *volume;
    unsigned flags;
    struct place from, to;
    struct inode directories[2];
    struct orphan_list orphans;
    struct cluster_lock *rename_lock; // held, or NULL
    bool is_last;                     // what stood at `to` lost its last link
};

static bool is_exchange(const struct renaming *r)
{
    return (r->flags & RENAME_EXCHANGE) != 0;
}

static bool is_directory(const struct place *place)
{
    return place->item.inode != 0 && place->item.type == DT_DIR;
}

// --- the plan --------------------------------------------------------------------------------

static int look_up_place(struct renaming *r, struct place *place)
{
    int result = operation_look_up_name(r->volume, place->parent, place->name, &place->item);
    if (result == -ENOENT)
        place->item.inode = 0;
    return result == -ENOENT ? 0 : result;
}

static int check_names(const struct renaming *r)
{
    if (r->from.item.inode == 0)
        return -ENOENT;
    if (r->to.item.inode == 0)
        return is_exchange(r) ? -ENOENT : 0;
    return (r->flags & RENAME_NOREPLACE) != 0 ? -EEXIST : 0;
}

// Whether `directory` is `ancestor` or lies below it. 0 or 1 or an error.
static int is_below(struct volume *volume, uint64_t directory, uint64_t ancestor)
{
    unsigned depth = 0;
    while (directory != ancestor && directory != volume->geometry.root_inode) {
        if (++depth > DEPTH_MAX)
            return cache_report_damage(volume->cache, -ERROR_CORRUPT_DIRECTORY,
                                       "directory %llu: its parents go round in a circle",
                                       (unsigned long long)directory);
        struct inode inode;
        LOCK_SET(set);
        int result = operation_acquire_directory(&inode, &set, volume, directory, LOCK_SHARED);
        if (result != 0)
            return result;
        directory = inode_parent(&inode);
        live_inode_release(&inode, &set);
    }
    return directory == ancestor;
}

// No directory may come to lie below itself.
static int check_no_loop(const struct renaming *r)
{
    int result = 0;
    if (is_directory(&r->from))
        result = is_below(r->volume, r->to.parent, r->from.item.inode);
    if (result == 0 && is_exchange(r) && is_directory(&r->to))
        result = is_below(r->volume, r->from.parent, r->to.item.inode);
    return result == 1 ? -EINVAL : result;
}

static bool moves_directory(const struct renaming *r)
{
    if (r->from.parent == r->to.parent)
        return false;
    return is_directory(&r->from) || (is_exchange(r) && is_directory(&r->to));
}

static int take_rename_lock(struct renaming *r)
{
    struct cluster_lock *lock = cluster_lock_get(r->volume->locks, lock_name_rename());
    int result = cluster_lock_acquire(lock, LOCK_EXCLUSIVE, LOCK_INTERRUPTIBLE);
    if (result == 0)
        r->rename_lock = lock;
    else
        cluster_lock_put(lock);
    return result;
}

static void drop_rename_lock(struct renaming *r)
{
    if (r->rename_lock == NULL)
        return;
    cluster_lock_release(r->rename_lock, LOCK_EXCLUSIVE);
    cluster_lock_put(r->rename_lock);
}

static int plan(struct renaming *r)
{
    int result = look_up_place(r, &r->from);
    if (result == 0)
        result = look_up_place(r, &r->to);
    if (result == 0)
        result = check_names(r);
    if (result != 0 || !moves_directory(r))
        return result;
    if (r->rename_lock != NULL)
        return check_no_loop(r);
    result = take_rename_lock(r);
    return result != 0 ? result : PLAN_CHANGED;
}

// --- the change ------------------------------------------------------------------------------

static void add_links(struct inode *inode, int count)
{
    inode_set_link_count(inode, inode_link_count(inode) + (uint32_t)count);
}

static int point_at(struct transaction *t, const struct place *place,
                    const struct directory_item *item, bool exists)
{
    if (exists)
        return directory_replace(place->directory, t->handle, place->name, item->inode,
                                 item->generation, item->type);
    return directory_insert(place->directory, t->handle, place->name, item->inode, item->generation,
                            item->type);
}

// A directory's ".." counts at its parent.
static void move_parent(struct place *moved, const struct place *place)
{
    if (!is_directory(moved) || moved->directory->number == place->directory->number)
        return;
    add_links(moved->directory, -1);
    add_links(place->directory, 1);
    inode_set_parent(&moved->inode, place->directory->number);
}

static void change_directories(struct transaction *t, struct renaming *r)
{
    transaction_change_inode(t, r->from.directory);
    operation_touch_directory(t, r->from.directory);
    if (r->to.directory == r->from.directory)
        return;
    transaction_change_inode(t, r->to.directory);
    operation_touch_directory(t, r->to.directory);
}

static void change_moved(struct transaction *t, struct place *place)
{
    transaction_change_inode(t, &place->inode);
    inode_set_time(&place->inode, INODE_CHANGED, t->now);
}

static int change_exchange(struct transaction *t, void *context)
{
    struct renaming *r = context;
    change_directories(t, r);
    change_moved(t, &r->from);
    change_moved(t, &r->to);
    int result = point_at(t, &r->from, &r->to.item, true);
    if (result == 0)
        result = point_at(t, &r->to, &r->from.item, true);
    if (result != 0)
        return result;
    move_parent(&r->from, &r->to);
    move_parent(&r->to, &r->from);
    return 0;
}

// What stood at the new name loses it.
static int drop_replaced(struct transaction *t, struct renaming *r)
{
    struct inode *inode = &r->to.inode;
    change_moved(t, &r->to);
    if (is_directory(&r->to)) {
        add_links(r->to.directory, -1);
        inode_set_link_count(inode, 0);
    } else {
        add_links(inode, -1);
    }
    r->is_last = inode_link_count(inode) == 0;
    return r->is_last ? inode_enter_orphans(t, inode, &r->orphans) : 0;
}

static int change_rename(struct transaction *t, void *context)
{
    struct renaming *r = context;
    bool replaces = r->to.item.inode != 0;
    change_directories(t, r);
    change_moved(t, &r->from);
    int result = point_at(t, &r->to, &r->from.item, replaces);
    if (result == 0)
        result = directory_remove(r->from.directory, t->handle, r->from.name);
    if (result == 0 && replaces)
        result = drop_replaced(t, r);
    if (result == 0)
        move_parent(&r->from, &r->to);
    return result;
}

static int run_rename(struct renaming *r)
{
    struct transaction t;
    transaction_init(&t, r->volume, r->to.parent);
    allocator_allow_interrupt(&t.space);
    transaction_add_credits(&t, 2);
    transaction_add_cost(&t, directory_change_cost(r->from.directory));
    transaction_add_cost(&t, directory_change_cost(r->to.directory));
    if (is_exchange(r))
        return transaction_run(&t, change_exchange, r);
    if (r->to.item.inode != 0) {
        allocator_allow_margin(&t.space);
        transaction_add_cost(&t, orphan_list_cost(&r->orphans));
    }
    return transaction_run(&t, change_rename, r);
}

// --- checks, with everything locked ----------------------------------------------------------

static int check_place(const struct place *place)
{
    struct directory_item now;
    int result = directory_lookup(place->directory, place->name, &now);
    if (result == -ENOENT)
        return place->item.inode == 0 ? 0 : PLAN_CHANGED;
    if (result != 0)
        return result;
    bool is_same = now.inode == place->item.inode && now.generation == place->item.generation;
    return is_same ? 0 : PLAN_CHANGED;
}

// A name is taken away where something stands, else one is added.
static bool is_place_protected(const struct place *place)
{
    if (place->item.inode == 0)
        return inode_is_immutable(place->directory);
    return inode_is_protected(place->directory) || inode_is_protected(&place->inode);
}

static int check_replaced(struct renaming *r)
{
    if (is_directory(&r->from) != is_directory(&r->to))
        return is_directory(&r->to) ? -EISDIR : -ENOTDIR;
    if (!is_directory(&r->to))
        return 0;
    int is_empty = directory_is_empty(&r->to.inode);
    if (is_empty < 0)
        return is_empty;
    return is_empty ? 0 : -ENOTEMPTY;
}

static int check_links(const struct renaming *r)
{
    bool gains = moves_directory(r) && is_directory(&r->from) && !is_directory(&r->to);
    return gains && inode_link_count(r->to.directory) >= OPERATION_LINKS_MAX ? -EMLINK : 0;
}

static int check_projects(const struct renaming *r)
{
    if (!inode_takes_in(r->to.directory, &r->from.inode))
        return -EXDEV;
    return is_exchange(r) && !inode_takes_in(r->from.directory, &r->to.inode) ? -EXDEV : 0;
}

static int rename_checked(struct renaming *r)
{
    int result = check_place(&r->from);
    if (result == 0)
        result = check_place(&r->to);
    if (result != 0)
        return result;
    if (r->from.item.inode == r->to.item.inode)
        return 0; // two names of one file: POSIX has nothing happen
    if (is_place_protected(&r->from) || is_place_protected(&r->to))
        return -EPERM;
    result = check_projects(r);
    if (result == 0 && r->to.item.inode != 0 && !is_exchange(r))
        result = check_replaced(r);
    if (result == 0)
        result = check_links(r);
    return result != 0 ? result : run_rename(r);
}

// --- loading, from the outside in ------------------------------------------------------------

static int with_orphans(struct renaming *r)
{
    int result = orphan_list_load(&r->orphans, r->volume, r->volume->slot);
    if (result != 0)
        return result;
    result = rename_checked(r);
    orphan_list_unload(&r->orphans);
    return result;
}

static int load_place(struct renaming *r, struct place *place)
{
    int result = live_inode_load(&place->inode, r->volume, place->item.inode);
    if (result == -ESTALE)
        return operation_judge_dead_entry(place->directory, place->name, &place->item);
    return result;
}

static int with_inodes(struct renaming *r)
{
    int result = load_place(r, &r->from);
    if (result != 0)
        return result;
    if (r->to.item.inode == 0) {
        result = rename_checked(r);
    } else {
        result = load_place(r, &r->to);
        if (result == 0) {
            result = with_orphans(r);
            inode_unload(&r->to.inode);
        }
    }
    inode_unload(&r->from.inode);
    return result;
}

static int with_directories(struct renaming *r)
{
    int result = operation_load_directory(&r->directories[0], r->volume, r->from.parent);
    if (result != 0)
        return result;
    r->from.directory = r->to.directory = &r->directories[0];
    if (r->from.parent == r->to.parent) {
        result = with_inodes(r);
    } else {
        result = operation_load_directory(&r->directories[1], r->volume, r->to.parent);
        if (result == 0) {
            r->to.directory = &r->directories[1];
            result = with_inodes(r);
            inode_unload(&r->directories[1]);
        }
    }
    inode_unload(&r->directories[0]);
    return result;
}

static int perform(struct renaming *r)
{
    LOCK_SET(set);
    lock_set_add(&set, lock_name_inode(r->from.parent), LOCK_EXCLUSIVE);
    lock_set_add(&set, lock_name_inode(r->to.parent), LOCK_EXCLUSIVE);
    lock_set_add(&set, lock_name_inode(r->from.item.inode), LOCK_EXCLUSIVE);
    if (r->to.item.inode != 0) {
        lock_set_add(&set, lock_name_inode(r->to.item.inode), LOCK_EXCLUSIVE);
        lock_set_add(&set, lock_name_orphans(r->volume->slot), LOCK_EXCLUSIVE);
    }
    int result = lock_set_acquire(&set, r->volume);
    if (result != 0)
        return result;
    result = with_directories(r);
    lock_set_release(&set);
    return result;
}

static bool is_dots(const char *name)
{
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

static int check_request(const struct renaming *r)
{
    if ((r->flags & ~(unsigned)(RENAME_NOREPLACE | RENAME_EXCHANGE)) != 0 ||
        r->flags == (RENAME_NOREPLACE | RENAME_EXCHANGE))
        return -EINVAL;
    if (is_dots(r->from.name) || is_dots(r->to.name))
        return -EBUSY;
    return transaction_check_writable(r->volume);
}

int operation_rename(struct volume *volume, uint64_t parent, const char *name, uint64_t new_parent,
                     const char *new_name, unsigned flags)
{
    struct renaming r = {
        .volume = volume,
        .flags = flags,
        .from = {.parent = parent, .name = name},
        .to = {.parent = new_parent, .name = new_name},
    };
    int result = check_request(&r);
    if (result != 0)
        return result;
    do {
        result = plan(&r);
        if (result == 0)
            result = perform(&r);
    } while (result == PLAN_CHANGED);
    drop_rename_lock(&r);
    if (result == 0 && r.is_last)
        reaper_add(inode_table_reaper(volume), r.to.item.inode, r.to.item.generation);
    return result;
}
