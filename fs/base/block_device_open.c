// SPDX-License-Identifier: Apache-2.0
#include "fs/base/block_device_open.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "fs/base/block_device.h"
#include "fs/base/cleanup.h"

// --- blocking calls --------------------------------------------------------------------------

int block_device_pread(int fd, void *buffer, size_t length, uint64_t offset)
{
    uint8_t *bytes = buffer;
    while (length > 0) {
        ssize_t done = pread(fd, bytes, length, (off_t)offset);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return done < 0 ? -errno : -EIO;
        bytes += done;
        offset += (uint64_t)done;
        length -= (size_t)done;
    }
    return 0;
}

int block_device_pwrite(int fd, const void *buffer, size_t length, uint64_t offset)
{
    const uint8_t *bytes = buffer;
    while (length > 0) {
        ssize_t done = pwrite(fd, bytes, length, (off_t)offset);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return done < 0 ? -errno : -EIO;
        bytes += done;
        offset += (uint64_t)done;
        length -= (size_t)done;
    }
    return 0;
}

// Not repeated after an error: the kernel reports a failed write-back once, a second call would
// find nothing wrong.
int block_device_sync(int fd)
{
    return fdatasync(fd) == 0 ? 0 : -errno;
}

int block_device_discard(const struct block_device_opened *opened, uint64_t offset, uint64_t length)
{
    uint64_t range[2] = {offset, length};
    int failed = opened->is_block_device
                     ? ioctl(opened->fd, BLKDISCARD, range)
                     : fallocate(opened->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                 (off_t)offset, (off_t)length);
    return failed == 0 || errno == EOPNOTSUPP || errno == ENOTTY ? 0 : -errno;
}

// --- what the device is ----------------------------------------------------------------------

// "write back", or not to be told: then it must be flushed. A partition has its disk's queue.
static bool queue_has_volatile_cache(dev_t device)
{
    static const char *const forms[] = {
        "/sys/dev/block/%u:%u/queue/write_cache",
        "/sys/dev/block/%u:%u/../queue/write_cache",
    };
    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        char path[128], line[32] = "";
        snprintf(path, sizeof(path), forms[i], major(device), minor(device));
        CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd >= 0 && read(fd, line, sizeof(line) - 1) > 0)
            return strncmp(line, "write through", strlen("write through")) != 0;
    }
    return true;
}

static int identify_block_device(struct block_device_opened *opened, dev_t device)
{
    int sector = 0;
    if (ioctl(opened->fd, BLKGETSIZE64, &opened->size_bytes) != 0 ||
        ioctl(opened->fd, BLKSSZGET, &sector) != 0)
        return -errno;
    if (sector <= 0 || sector > BLOCK_BYTES)
        return -EINVAL;
    opened->is_block_device = true;
    opened->sector_bytes = (uint32_t)sector;
    opened->has_volatile_cache = queue_has_volatile_cache(device);
    return 0;
}

// Whether direct reads of `bytes` are accepted. An empty file tells nothing: it reads 0 bytes.
static bool reads_directly(int fd, size_t bytes)
{
    CLEANUP_FREE void *buffer = block_buffer_new(BLOCK_BYTES);
    ssize_t done;
    do {
        done = pread(fd, buffer, bytes, 0);
    } while (done < 0 && errno == EINTR);
    return done >= 0 || errno != EINVAL;
}

static void leave_direct(struct block_device_opened *opened)
{
    int flags = fcntl(opened->fd, F_GETFL);
    if (flags >= 0 && fcntl(opened->fd, F_SETFL, flags & ~O_DIRECT) == 0)
        opened->is_direct = false;
}

// The sector of a file is what its file system takes for direct I/O.
static int identify_file(struct block_device_opened *opened, uint64_t size, unsigned flags)
{
    opened->size_bytes = size;
    opened->sector_bytes = 512;
    opened->has_volatile_cache = true;
    if (!opened->is_direct || reads_directly(opened->fd, 512))
        return 0;
    opened->sector_bytes = BLOCK_BYTES;
    if (reads_directly(opened->fd, BLOCK_BYTES))
        return 0;
    if (flags & BLOCK_DEVICE_ALLOW_BUFFERED)
        leave_direct(opened);
    return opened->is_direct ? -EINVAL : 0;
}

static int open_descriptor(const char *path, unsigned flags, bool is_block,
                           struct block_device_opened *opened)
{
    int mode = O_CLOEXEC | (flags & BLOCK_DEVICE_READ_ONLY ? O_RDONLY : O_RDWR);
    if (is_block && (flags & BLOCK_DEVICE_EXCLUSIVE))
        mode |= O_EXCL;
    opened->fd = open(path, mode | O_DIRECT);
    opened->is_direct = opened->fd >= 0;
    if (opened->fd < 0 && errno == EINVAL && !is_block && (flags & BLOCK_DEVICE_ALLOW_BUFFERED))
        opened->fd = open(path, mode);
    return opened->fd >= 0 ? 0 : -errno;
}

static int identify(struct block_device_opened *opened, unsigned flags)
{
    struct stat status;
    if (fstat(opened->fd, &status) != 0)
        return -errno;
    if (S_ISBLK(status.st_mode))
        return identify_block_device(opened, status.st_rdev);
    if (S_ISREG(status.st_mode))
        return identify_file(opened, (uint64_t)status.st_size, flags);
    return -ENOTBLK;
}

int block_device_open_path(const char *path, unsigned flags, struct block_device_opened *opened)
{
    struct stat status;
    *opened = (struct block_device_opened){.fd = -1};
    if (stat(path, &status) != 0)
        return -errno;
    if (!S_ISBLK(status.st_mode) && !S_ISREG(status.st_mode)) // opening a FIFO would block
        return -ENOTBLK;
    int result = open_descriptor(path, flags, S_ISBLK(status.st_mode), opened);
    if (result == 0)
        result = identify(opened, flags);
    if (result < 0 && opened->fd >= 0) {
        close(opened->fd);
        opened->fd = -1;
    }
    return result;
}
