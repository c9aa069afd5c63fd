// SPDX-License-Identifier: Apache-2.0
// Making files, directories, symbolic links and special files.
//
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
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "fs/base/environment.h"
#include "fs/cluster_lock.h"
#include "fs/inode_table.h"
#include "fs/open_file.h"
#include "fs/open_inode.h"
#include "fs/operation_private.h"
#include "fs/volume.h"

struct creation {
    struct volume *volume;
    struct inode parent; // loaded, locked EXCLUSIVE
    const char *name;
    const char *target; // of a symbolic link, else NULL
    bool opens;
    struct inode_creation what;

    uint64_t claimed;     // its locks are held; 0: none
    uint64_t changes;     // of the lock table, when numbers were last looked at
    uint64_t wait_end_ns; // when other groups are looked at, too; 0: nothing was waited for yet
    struct cluster_lock *inode_lock, *open_lock;
    struct inode child; // loaded once it is made
};

// --- the locks of the new number
// -------------------------------------------------------------------

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

// Answers take less than a millisecond, so those that take this long may be those of the dead. A
// group that is nearly full may have no other numbers.
static const uint64_t patience_ns = 30 * 1000000;

static int wait_for_number(struct transaction *t, void *context)
{
    struct creation *creation = context;
    uint64_t now_ns = environment_boot_ns(t->volume->environment), left_ns = 0;
    unclaim(creation);
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

// --- the transaction
// -------------------------------------------------------------------------------

static int fill_child(struct transaction *t, struct creation *creation)
{
    struct inode *child = &creation->child;
    if (creation->target == NULL)
        return 0;
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
    inode_use_space(&creation->child, &t->space);
    result = fill_child(t, creation);
    if (result == 0)
        result = enter_name(t, creation);
    if (result != 0)
        inode_unload(&creation->child);
    return result;
}

// A symbolic link's target of any length, in a tree that does not exist yet.
static const struct tree_cost target_cost = {.credits = 10, .node_blocks = 5};

static int run_create(struct creation *creation)
{
    struct transaction t;
    transaction_init(&t, creation->volume, creation->parent.number);
    creation->what.now = t.now;
    t.wait = wait_for_number;
    allocator_want_nodes(&t.space, 1);
    allocator_allow_interrupt(&t.space);
    transaction_add_credits(&t, 2);
    transaction_add_space_changes(&t, 2);
    transaction_add_cost(&t, directory_change_cost(&creation->parent));
    if (creation->target != NULL)
        transaction_add_cost(&t, target_cost);
    return transaction_run(&t, change_create, creation);
}

// --- around it
// -------------------------------------------------------------------------------------

// Under the parent's lock: 0 if the name is free for what is to be made.
static int check_name(struct creation *creation)
{
    struct directory_item item;
    int result = directory_lookup(&creation->parent, creation->name, &item);
    if (result != -ENOENT)
        return result == 0 ? -EEXIST : result;
    if (S_ISDIR(creation->what.mode) && inode_link_count(&creation->parent) >= OPERATION_LINKS_MAX)
        return -EMLINK;
    return 0;
}

// A directory with the bit hands down its group, and to directories the bit.
static void inherit(struct creation *creation)
{
    const struct inode *parent = &creation->parent;
    struct inode_creation *what = &creation->what;
    if (S_ISDIR(what->mode))
        what->parent = parent->number;
    if ((inode_mode(parent) & S_ISGID) == 0)
        return;
    what->gid = inode_gid(parent);
    if (S_ISDIR(what->mode))
        what->mode |= S_ISGID;
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

static int create(struct creation *creation, uint64_t parent, struct attributes *out,
                  struct open_inode **open)
{
    LOCK_SET(set);
    struct volume *volume = creation->volume;
    int result = transaction_check_writable(volume);
    if (result == 0)
        result =
            operation_acquire_directory(&creation->parent, &set, volume, parent, LOCK_EXCLUSIVE);
    if (result != 0)
        return result;
    result = check_name(creation);
    if (result == 0) {
        inherit(creation);
        // Higher than every version given out, so no earlier life of the number had it.
        creation->what.generation = lamport_tick(&volume->clock);
        result = run_create(creation);
    }
    if (result == 0)
        take_result(creation, out, open);
    unclaim(creation);
    live_inode_release(&creation->parent, &set);
    return result;
}

// --- create and open
// -------------------------------------------------------------------------------

// Somebody made the file between the kernel's look and ours: without O_EXCL that is as good.
static int open_existing(struct volume *volume, uint64_t parent, const char *name, int flags,
                         struct attributes *out, struct open_file **file)
{
    struct directory_item item;
    int result = operation_look_up_name(volume, parent, name, &item);
    if (result != 0)
        return result;
    // Let the kernel look again and follow the link, open the device, or refuse the directory.
    if (item.type != DT_REG)
        return item.type == DT_DIR ? -EISDIR : -ESTALE;
    result = operation_open(volume, item.inode, flags, file);
    if (result == 0)
        result = operation_get_attributes(volume, item.inode, out);
    else
        return result;
    if (result != 0 || out->generation != item.generation) {
        operation_release(volume, *file);
        *file = NULL;
        return result != 0 ? result : -ESTALE;
    }
    return 0;
}

static int create_and_open(struct creation *creation, uint64_t parent, int flags,
                           struct attributes *out, struct open_file **file)
{
    struct open_inode *open = NULL;
    int result;
    for (;;) {
        creation->opens = true;
        result = create(creation, parent, out, &open);
        if (result == 0)
            *file = open_file_new(open, flags);
        if (result != -EEXIST || (flags & O_EXCL) != 0)
            return result;
        result = open_existing(creation->volume, parent, creation->name, flags, out, file);
        if (result != -ENOENT) // else it was removed again: the name is free
            return result;
    }
}

int operation_create(struct volume *volume, uint64_t parent, const char *name, mode_t mode,
                     dev_t rdev, const struct credentials *who, int open_flags,
                     struct attributes *out, struct open_file **file)
{
    struct creation creation = {
        .volume = volume,
        .name = name,
        .what = {.mode = mode, .uid = who->uid, .gid = who->gid, .link_count = 1},
    };
    if ((mode & S_IFMT) == 0)
        creation.what.mode |= S_IFREG;
    if (S_ISDIR(mode) || S_ISLNK(mode))
        return -EINVAL;
    if (S_ISCHR(mode) || S_ISBLK(mode))
        creation.what.rdev = rdev;
    if (open_flags < 0)
        return create(&creation, parent, out, NULL);
    if (!S_ISREG(creation.what.mode))
        return -EINVAL;
    return create_and_open(&creation, parent, open_flags, out, file);
}

int operation_make_directory(struct volume *volume, uint64_t parent, const char *name, mode_t mode,
                             const struct credentials *who, struct attributes *out)
{
    struct creation creation = {
        .volume = volume,
        .name = name,
        .what = {.mode = S_IFDIR | (mode & 07777),
                 .uid = who->uid,
                 .gid = who->gid,
                 .link_count = 2},
    };
    return create(&creation, parent, out, NULL);
}

int operation_symlink(struct volume *volume, uint64_t parent, const char *name, const char *target,
                      const struct credentials *who, struct attributes *out)
{
    struct creation creation = {
        .volume = volume,
        .name = name,
        .target = target,
        .what = {.mode = S_IFLNK | 0777, .uid = who->uid, .gid = who->gid, .link_count = 1},
    };
    size_t length = strlen(target);
    if (length == 0)
        return -ENOENT;
    if (length > FORMAT_SYMLINK_BYTES_MAX)
        return -ENAMETOOLONG;
    return create(&creation, parent, out, NULL);
}

int operation_read_link(struct volume *volume, uint64_t number, char *target)
{
    struct inode inode;
    LOCK_SET(set);
    int result = live_inode_acquire(&inode, &set, volume, number, LOCK_SHARED);
    if (result != 0)
        return result;
    if (!S_ISLNK(inode_mode(&inode)))
        result = -EINVAL;
    if (result == 0)
        result = inode_get_inline(&inode, target, FORMAT_SYMLINK_BYTES_MAX);
    live_inode_release(&inode, &set);
    if (result < 0)
        return result;
    target[result] = '\0';
    return 0;
}
