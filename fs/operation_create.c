// SPDX-License-Identifier: Apache-2.0
// Making files, directories, symbolic links and special files; how is fs/creation.c's.
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "fs/creation.h"
#include "fs/open_file.h"
#include "fs/open_inode.h"
#include "fs/operation_private.h"
#include "fs/volume.h"

// --- create and open -------------------------------------------------------------------------

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
        result = creation_run(creation, parent, out, &open);
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
        .umask = who->umask,
        .what = {.mode = mode, .uid = who->uid, .gid = who->gid, .link_count = 1},
    };
    if ((mode & S_IFMT) == 0)
        creation.what.mode |= S_IFREG;
    if (S_ISDIR(mode) || S_ISLNK(mode))
        return -EINVAL;
    if (S_ISCHR(mode) || S_ISBLK(mode))
        creation.what.rdev = rdev;
    if (open_flags < 0)
        return creation_run(&creation, parent, out, NULL);
    if (!S_ISREG(creation.what.mode))
        return -EINVAL;
    return create_and_open(&creation, parent, open_flags, out, file);
}

int operation_create_unnamed(struct volume *volume, uint64_t parent, mode_t mode,
                             const struct credentials *who, int open_flags, struct attributes *out,
                             struct open_file **file)
{
    struct creation creation = {
        .volume = volume,
        .opens = true,
        .umask = who->umask,
        .what = {.mode = S_IFREG | (mode & 07777), .uid = who->uid, .gid = who->gid},
    };
    struct open_inode *open;
    int result = creation_run(&creation, parent, out, &open);
    if (result != 0)
        return result;
    open->is_linkable = (open_flags & O_EXCL) == 0;
    *file = open_file_new(open, open_flags);
    return 0;
}

int operation_make_directory(struct volume *volume, uint64_t parent, const char *name, mode_t mode,
                             const struct credentials *who, struct attributes *out)
{
    struct creation creation = {
        .volume = volume,
        .name = name,
        .umask = who->umask,
        .what = {.mode = S_IFDIR | (mode & 07777),
                 .uid = who->uid,
                 .gid = who->gid,
                 .link_count = 2},
    };
    return creation_run(&creation, parent, out, NULL);
}

int operation_symlink(struct volume *volume, uint64_t parent, const char *name, const char *target,
                      const struct credentials *who, struct attributes *out)
{
    struct creation creation = {
        .volume = volume,
        .name = name,
        .umask = who->umask,
        .target = target,
        .what = {.mode = S_IFLNK | 0777, .uid = who->uid, .gid = who->gid, .link_count = 1},
    };
    size_t length = strlen(target);
    if (length == 0)
        return -ENOENT;
    if (length > FORMAT_SYMLINK_BYTES_MAX)
        return -ENAMETOOLONG;
    return creation_run(&creation, parent, out, NULL);
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
