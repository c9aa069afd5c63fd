// SPDX-License-Identifier: Apache-2.0
// An inode's number is its block, so its locks have names only once the block is chosen, in the
// handle; and in a handle no lock is waited for. So a block is chosen whose locks are here already
// (fs/allocator_numbers.c asks for them ahead); a create waits only if there is none:
//
//   parent EX ─► groups ─► handle ─┬─ a free number with its locks ─► all of it
//                 ▲                └─ abort; groups let go ─► wait for an answer ─┐
//                 └───────────────────────────────────────────────────────────────┘
//
// What it waits for is any of many numbers, with the parent held. It must not wait for one:
//
//   A  looks up P/x: number N
//   B  unlinks P/x; N is freed; holds P, makes P/y, chooses N    ─► waits for N
//   A  unlinks P/x by what it knew: holds N, the lower number    ─► waits for P
#include "fs/creation.h"

#include <errno.h>
#include <string.h>

#include "fs/base/environment.h"
#include "fs/base/sabotage.h"
#include "fs/cluster_lock.h"
#include "fs/inode_acl.h"
#include "fs/inode_free.h"
#include "fs/open_inode.h"
#include "fs/operation_private.h"
#include "fs/volume.h"

// --- the locks of the new number -------------------------------------------------------------

static void unclaim(struct creation *creation)
{
    if (creation->claimed == 0)
        return;
    cluster_lock_release(creation->inode_lock, LOCK_EXCLUSIVE);
    cluster_lock_put(creation->inode_lock);
    if (creation->open_lock != NULL) {
        cluster_lock_release(creation->open_lock, LOCK_SHARED);
        cluster_lock_put(creation->open_lock);
    }
    creation->claimed = 0;
    creation->open_lock = NULL;
}

static int claim_one(struct volume *volume, struct lock_name name, enum lock_mode mode,
                     struct cluster_lock **out)
{
    struct cluster_lock *lock = cluster_lock_get(volume->locks, name);
    int result = -EAGAIN;
    // Without the right a try would wait for its master's answer.
    if (cluster_lock_is_cached(lock, mode))
        result = cluster_lock_acquire(lock, mode, LOCK_TRY);
    if (result == 0)
        *out = lock;
    else
        cluster_lock_put(lock);
    return result;
}

// Holds the locks of `number`: 0, or -EAGAIN if that cannot be had at once.
static int claim(void *context, uint64_t number)
{
    struct creation *creation = context;
    struct volume *volume = creation->volume;
    int result = 0;
    if (number == creation->claimed)
        return 0;
    unclaim(creation);
    if (creation->opens)
        result = claim_one(volume, lock_name_open(number), LOCK_SHARED, &creation->open_lock);
    if (result != 0)
        return result;
    result = claim_one(volume, lock_name_inode(number), LOCK_EXCLUSIVE, &creation->inode_lock);
    if (result == 0) {
        creation->claimed = number;
    } else if (creation->open_lock != NULL) {
        cluster_lock_release(creation->open_lock, LOCK_SHARED);
        cluster_lock_put(creation->open_lock);
        creation->open_lock = NULL;
    }
    return result;
}

// --- the orphan list of what has no name -----------------------------------------------------

static void let_orphans_go(struct creation *creation)
{
    if (!creation->has_orphans)
        return;
    orphan_list_unload(&creation->orphans);
    lock_set_release(&creation->orphans_set);
    creation->has_orphans = false;
}

static int take_orphans(struct creation *creation)
{
    struct volume *volume = creation->volume;
    creation->orphans_set.count = 0;
    lock_set_add(&creation->orphans_set, lock_name_orphans(volume->slot), LOCK_EXCLUSIVE);
    int result = lock_set_acquire(&creation->orphans_set, volume);
    if (result != 0)
        return result;
    result = orphan_list_load(&creation->orphans, volume, volume->slot);
    if (result != 0)
        lock_set_release(&creation->orphans_set);
    creation->has_orphans = result == 0;
    return result;
}

// The list may have grown while it was let go.
static void count_orphans(struct transaction *t, struct creation *creation)
{
    struct tree_cost cost = orphan_list_cost(&creation->orphans);
    struct tree_cost *counted = &creation->orphans_cost, more = {0};
    if (cost.credits > counted->credits)
        more.credits = cost.credits - counted->credits;
    if (cost.node_blocks > counted->node_blocks)
        more.node_blocks = cost.node_blocks - counted->node_blocks;
    transaction_add_cost(t, more);
    counted->credits += more.credits;
    counted->node_blocks += more.node_blocks;
}

// --- waiting for a number --------------------------------------------------------------------

// Answers take less than a millisecond, so those that take this long may be those of the dead. A
// group that is nearly full may have no other numbers.
static const uint64_t patience_ns = 30 * 1000000;

// What one create lets go when it finds nothing is a change for another that waits, and the other
// way round: without a pause the two would look again and again, and no answer would be taken in.
static const uint64_t pause_ns = 100 * 1000;

static void pause_between_tries(struct creation *creation)
{
    struct environment *environment = creation->volume->environment;
    uint64_t now_ns = environment_boot_ns(environment), next_ns = creation->tried_ns + pause_ns;
    if (now_ns < next_ns)
        environment_sleep(environment, next_ns - now_ns);
    creation->tried_ns = environment_boot_ns(environment);
}

static int wait_for_locks(struct transaction *t, struct creation *creation)
{
    uint64_t now_ns = environment_boot_ns(t->volume->environment), left_ns = 0;
    if (creation->wait_end_ns == 0)
        creation->wait_end_ns = now_ns + patience_ns;
    if (!t->space.looks_further && now_ns >= creation->wait_end_ns) {
        allocator_look_further(&t->space);
        return 0;
    }
    if (!t->space.looks_further)
        left_ns = creation->wait_end_ns - now_ns;
    int result =
        lock_table_wait_change(t->volume->locks, creation->changes, left_ns, LOCK_INTERRUPTIBLE);
    if (result == -ETIMEDOUT)
        allocator_look_further(&t->space);
    return result == -ETIMEDOUT ? 0 : result;
}

// Whoever holds the only number that is left may want the orphan list next.
static int wait_for_number(struct transaction *t, void *context)
{
    struct creation *creation = context;
    unclaim(creation);
    let_orphans_go(creation);
    int result = wait_for_locks(t, creation);
    pause_between_tries(creation);
    if (result != 0 || creation->name != NULL)
        return result;
    result = take_orphans(creation);
    if (result == 0)
        count_orphans(t, creation);
    return result;
}

// --- the transaction -------------------------------------------------------------------------

static int fill_lists(struct transaction *t, struct creation *creation)
{
    struct inode *child = &creation->child;
    int result = 0;
    if (creation->access != NULL)
        result = inode_acl_put(child, t->handle, ACL_ACCESS_NAME, creation->access);
    if (result == 0 && creation->defaults != NULL)
        result = inode_acl_put(child, t->handle, ACL_DEFAULT_NAME, creation->defaults);
    return result;
}

static int fill_child(struct transaction *t, struct creation *creation)
{
    struct inode *child = &creation->child;
    if (creation->target == NULL)
        return fill_lists(t, creation);
    size_t length = strlen(creation->target);
    int result = inode_set_inline(child, t->handle, creation->target, length);
    if (result == 0)
        inode_set_size(child, length);
    return result;
}

static int enter_name(struct transaction *t, struct creation *creation)
{
    struct inode *parent = &creation->parent;
    mode_t mode = creation->what.mode;
    transaction_change_inode(t, parent);
    int result = directory_insert(parent, t->handle, creation->name, creation->child.number,
                                  creation->what.generation, IFTODT(mode));
    if (result != 0)
        return result;
    if (S_ISDIR(mode))
        inode_set_link_count(parent, inode_link_count(parent) + 1);
    operation_touch_directory(t, parent);
    return 0;
}

static int change_create(struct transaction *t, void *context)
{
    struct creation *creation = context;
    const struct allocator_claim claims = {claim, creation};
    uint64_t number;
    creation->changes = lock_table_changes(t->volume->locks);
    int result = allocator_allocate_inode(&t->space, t->handle, &claims, &number);
    if (result == ALLOCATOR_NO_NUMBER)
        return TRANSACTION_WAIT;
    if (result != 0)
        return result;
    result = inode_create(&creation->child, creation->volume, t->handle, number, &creation->what);
    if (result != 0)
        return result;
    transaction_adopt_inode(t, &creation->child);
    result = fill_child(t, creation);
    if (result == 0)
        result = creation->name != NULL
                     ? enter_name(t, creation)
                     : inode_enter_orphans(t, &creation->child, &creation->orphans);
    if (result != 0)
        inode_unload(&creation->child);
    return result;
}

static void undo_create(struct transaction *t, void *context)
{
    struct creation *creation = context;
    (void)t;
    inode_unload(&creation->child);
}

// A symbolic link's target of any length, in a tree that does not exist yet.
static const struct tree_cost target_cost = {.credits = 10, .node_blocks = 5};

static int run_create(struct creation *creation)
{
    struct transaction t;
    transaction_init(&t, creation->volume, creation->parent.number);
    creation->what.now = t.now;
    t.wait = wait_for_number;
    t.undo = undo_create;
    allocator_want_nodes(&t.space, 1);
    allocator_allow_interrupt(&t.space);
    transaction_add_credits(&t, 2);
    transaction_add_space_changes(&t, 2);
    if (creation->name != NULL)
        transaction_add_cost(&t, directory_change_cost(&creation->parent));
    else
        count_orphans(&t, creation);
    if (creation->target != NULL)
        transaction_add_cost(&t, target_cost);
    if (creation->access != NULL || creation->defaults != NULL)
        transaction_add_cost(&t, inode_acl_cost_of_new());
    return transaction_run(&t, change_create, creation);
}

// --- around it -------------------------------------------------------------------------------

// Under the parent's lock: 0 if the name is free for what is to be made.
static int check_name(struct creation *creation)
{
    struct directory_item item;
    int result = -ENOENT;
    if (creation->name != NULL)
        result = directory_lookup(&creation->parent, creation->name, &item);
    if (result != -ENOENT)
        return result == 0 ? -EEXIST : result;
    if (inode_is_immutable(&creation->parent))
        return -EPERM;
    if (S_ISDIR(creation->what.mode) && inode_link_count(&creation->parent) >= OPERATION_LINKS_MAX)
        return -EMLINK;
    return 0;
}

static void inherit_project(struct creation *creation)
{
    const struct inode *parent = &creation->parent;
    struct inode_creation *what = &creation->what;
    if (!inode_hands_project_down(parent))
        return;
    what->project = inode_project(parent);
    what->hands_project_down = S_ISDIR(what->mode);
}

// A directory with the bit hands down its group, and to directories the bit.
static void inherit(struct creation *creation)
{
    const struct inode *parent = &creation->parent;
    struct inode_creation *what = &creation->what;
    inherit_project(creation);
    if (S_ISDIR(what->mode))
        what->parent = parent->number;
    if ((inode_mode(parent) & S_ISGID) == 0)
        return;
    what->gid = inode_gid(parent);
    if (S_ISDIR(what->mode))
        what->mode |= S_ISGID;
}

// A default list of the directory takes the place of the caller's umask.
static int inherit_lists(struct creation *creation, struct acl *defaults, struct acl *access)
{
    mode_t *mode = &creation->what.mode;
    if (S_ISLNK(*mode))
        return 0;
    int result = inode_acl_get(&creation->parent, ACL_DEFAULT_NAME, defaults);
    if (result != 0)
        return result;
    if (defaults->count == 0) {
        *mode &= ~creation->umask;
        return 0;
    }
    *access = *defaults;
    *mode = acl_inherit(access, *mode);
    if (!acl_is_mode(access))
        creation->access = access;
    if (S_ISDIR(*mode))
        creation->defaults = defaults;
    return 0;
}

static void take_result(struct creation *creation, struct attributes *out, struct open_inode **open)
{
    if (creation->opens) {
        *open = open_inode_new(creation->volume, &creation->child, creation->open_lock);
        creation->open_lock = NULL;
        open_inode_publish(*open, &creation->child);
    }
    operation_fill_attributes(&creation->child, out);
    inode_unload(&creation->child);
}

static int make(struct creation *creation, struct attributes *out, struct open_inode **open)
{
    struct acl defaults, access;
    int result = check_name(creation);
    if (result == 0)
        result = inherit_lists(creation, &defaults, &access);
    if (result == 0 && creation->name == NULL)
        result = take_orphans(creation);
    if (result != 0)
        return result;
    inherit(creation);
    // Higher than every version given out, so no earlier life of the number had it.
    creation->what.generation = lamport_tick(&creation->volume->clock);
    result = run_create(creation);
    if (result == 0)
        take_result(creation, out, open);
    unclaim(creation);
    let_orphans_go(creation);
    return result;
}

// A file without a name changes nothing of the directory, and yet something (rule 24).
static int acquire_parent(struct creation *creation, struct lock_set *set, uint64_t parent)
{
    struct volume *volume = creation->volume;
    if (creation->name != NULL)
        return operation_acquire_directory(&creation->parent, set, volume, parent, LOCK_EXCLUSIVE);
    if (!SABOTAGE(freeze_unnamed_goes_on))
        lock_set_add(set, lock_name_freeze(), LOCK_SHARED);
    lock_set_add(set, lock_name_inode(parent), LOCK_SHARED);
    int result = lock_set_acquire(set, volume);
    if (result != 0)
        return result;
    result = operation_load_directory(&creation->parent, volume, parent);
    if (result != 0)
        lock_set_release(set);
    return result;
}

int creation_run(struct creation *creation, uint64_t parent, struct attributes *out,
                 struct open_inode **open)
{
    LOCK_SET(set);
    int result = transaction_check_writable(creation->volume);
    if (result == 0)
        result = acquire_parent(creation, &set, parent);
    if (result != 0)
        return result;
    result = make(creation, out, open);
    live_inode_release(&creation->parent, &set);
    return result;
}
