// SPDX-License-Identifier: Apache-2.0
#include "fs/fuse_mount.h"

#include <errno.h>
#include <fcntl.h>
#include <mntent.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "fs/base/cleanup.h"

// The mount's device number, without asking the file system, which does not answer yet.
static int read_connection(const char *directory, uint32_t *connection)
{
    struct statx found;
    if (statx(AT_FDCWD, directory, AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT, 0, &found) != 0)
        return -errno;
    *connection = found.stx_dev_minor;
    return 0;
}

int fuse_mount_attach(const char *source, const char *directory, unsigned long flags,
                      int *descriptor, uint32_t *connection)
{
    char options[128];
    CLEANUP_CLOSE int fuse = open("/dev/fuse", O_RDWR | O_CLOEXEC);
    if (fuse < 0)
        return errno == ENOENT || errno == ENXIO ? -ENODEV : -errno;
    snprintf(options, sizeof(options),
             "fd=%d,rootmode=40000,user_id=0,group_id=0,default_permissions,allow_other", fuse);
    if (mount(source, directory, FUSE_MOUNT_TYPE, flags, options) != 0)
        return -errno;
    int result = read_connection(directory, connection);
    if (result != 0) {
        umount2(directory, MNT_DETACH);
        return result;
    }
    *descriptor = fuse;
    fuse = -1;
    return 0;
}

int fuse_mount_detach(const char *directory, bool *was_busy)
{
    *was_busy = false;
    if (umount2(directory, UMOUNT_NOFOLLOW) == 0)
        return 0;
    if (errno != EBUSY)
        return -errno;
    *was_busy = true;
    return umount2(directory, MNT_DETACH | UMOUNT_NOFOLLOW) == 0 ? 0 : -errno;
}

// fusectl may not be mounted; a forced unmount does the same, and leaves a mount in use in place.
int fuse_mount_abort(uint32_t connection, const char *directory)
{
    char path[64];
    snprintf(path, sizeof(path), "/sys/fs/fuse/connections/%u/abort", connection);
    CLEANUP_CLOSE int control = open(path, O_WRONLY | O_CLOEXEC);
    if (control >= 0 && write(control, "1", 1) == 1)
        return 0;
    if (umount2(directory, MNT_FORCE | UMOUNT_NOFOLLOW) == 0 || errno == EBUSY)
        return 0;
    return -errno;
}

bool fuse_mount_is_lunfs(const char *directory, char *source, size_t source_bytes)
{
    bool is_lunfs = false;
    char line[8192];
    struct mntent entry;
    FILE *mounts = setmntent("/proc/self/mounts", "re");
    if (mounts == NULL)
        return false;
    // The last mount at a place is the one that is seen.
    while (getmntent_r(mounts, &entry, line, sizeof(line)) != NULL) {
        if (strcmp(entry.mnt_dir, directory) != 0)
            continue;
        is_lunfs = strcmp(entry.mnt_type, FUSE_MOUNT_TYPE) == 0;
        if (source != NULL)
            snprintf(source, source_bytes, "%s", entry.mnt_fsname);
    }
    endmntent(mounts);
    return is_lunfs;
}
