// SPDX-License-Identifier: Apache-2.0
// How a LUN is opened, whoever does its I/O: what kind of file it is, how large, how large its
// sectors are, whether it has a volatile cache, and the blocking calls that all of them share.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    BLOCK_DEVICE_READ_ONLY = 1u << 0,
    BLOCK_DEVICE_EXCLUSIVE = 1u << 1,      // O_EXCL: -EBUSY if a block device is mounted or claimed
    BLOCK_DEVICE_ALLOW_BUFFERED = 1u << 2, // where the file system under a file has no O_DIRECT
    BLOCK_DEVICE_PROMPT = 1u << 3, // aio: small transfers block if nothing is in flight (P2)
};

struct block_device_opened {
    int fd; // close-on-exec; the caller closes it
    uint64_t size_bytes;
    uint32_t sector_bytes;   // 512 or 4096
    bool has_volatile_cache; // also when nobody knows
    bool is_direct;
    bool is_block_device;
};

// `flags`: BLOCK_DEVICE_*. 0, -errno of open(2), -ENOTBLK if it is neither a block device nor a
// regular file, -EINVAL if its sectors are larger than 4096 bytes or direct I/O is refused.
int block_device_open_path(const char *path, unsigned flags, struct block_device_opened *opened);

// Blocking I/O of exactly `length` bytes, from any thread: 0, -errno, -EIO at the end of the file.
int block_device_pread(int fd, void *buffer, size_t length, uint64_t offset);
int block_device_pwrite(int fd, const void *buffer, size_t length, uint64_t offset);
// What completed before is durable.
int block_device_sync(int fd);
// A hint: 0 also where the device cannot do it.
int block_device_discard(const struct block_device_opened *opened, uint64_t offset,
                         uint64_t length);
