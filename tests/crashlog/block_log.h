// SPDX-License-Identifier: Apache-2.0
// A log of all writes to a disk, in the format of the kernel's dm-log-writes, which QEMU's
// blklogwrites writes too (Documentation/admin-guide/device-mapper/log-writes.rst of Linux).
// All numbers are little-endian; a sector is as long as the superblock says, 512 bytes or more.
//
//   sector 0              struct block_log_super_disk, rest of the sector zero
//   then, `entry_count` times:
//     one sector          struct block_log_entry_disk, rest of the sector zero
//     its data            sector_count sectors; none for a discard
//
// Positions are bytes of the log file. A file that is this long holds all entries that end here or
// before, so its length, read when an operation has returned, says: all that this operation wrote
// and flushed stands before.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fs/base/endian.h"

struct block_log_super_disk {
    le64_t magic;        // 00
    le64_t version;      // 08
    le64_t entry_count;  // 10
    le32_t sector_bytes; // 18
} __attribute__((packed));
_Static_assert(sizeof(struct block_log_super_disk) == 28, "layout of the superblock");

struct block_log_entry_disk {
    le64_t first_sector; // 00
    le64_t sector_count; // 08
    le64_t flags;        // 10: enum block_log_flag
    le64_t mark_bytes;   // 18: of a mark's text; QEMU makes no marks
};
_Static_assert(sizeof(struct block_log_entry_disk) == 32, "layout of an entry");

#define BLOCK_LOG_MAGIC UINT64_C(0x6a736677736872)
enum { BLOCK_LOG_VERSION = 1 };

enum block_log_flag {
    BLOCK_LOG_FLUSH = 1u << 0,
    BLOCK_LOG_FUA = 1u << 1,
    BLOCK_LOG_DISCARD = 1u << 2,
    BLOCK_LOG_MARK = 1u << 3,     // not read here
    BLOCK_LOG_METADATA = 1u << 4, // a hint only
};

struct block_log {
    const uint8_t *bytes; // mapped
    size_t size;
    uint32_t sector_bytes;
    uint64_t entry_count;
};

struct block_log_entry {
    uint64_t begin, end; // positions
    uint64_t offset;     // bytes on the disk
    uint64_t length;     // bytes
    uint64_t flags;
    const uint8_t *data; // in the log; NULL without data
};

// 0 or -errno (-EINVAL: not such a log, cut off, or with marks). The log is closed by who writes
// it.
int block_log_open(struct block_log *log, const char *path);
void block_log_close(struct block_log *log);
// Position of the first entry.
uint64_t block_log_begin(const struct block_log *log);
// The entry at `position`; false behind the last one.
bool block_log_read(const struct block_log *log, uint64_t position, struct block_log_entry *entry);
