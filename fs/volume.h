// SPDX-License-Identifier: Apache-2.0
// One mounted volume on one node: what the whole core shares. Wired in visible order by
// volume_open; no state of the core lives outside of it, so many can live in one process.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "fs/base/block_device.h"
#include "fs/base/environment.h"
#include "fs/base/lamport.h"
#include "fs/base/log.h"
#include "fs/format.h"
#include "fs/gate.h"

struct allocator;
struct cache;
struct cluster;
struct inode_table;
struct journal;
struct lock_table;

struct volume_options {
    bool read_only;
    bool no_recovery; // read-only, no journal replay, no cluster: reads what is there
    bool is_local;
    bool strict_atime; // else relatime
    bool no_atime;
};

struct volume {
    struct environment *environment;
    struct scheduler *scheduler; // the environment's
    struct block_device *device;
    struct log *log;
    struct volume_options options;
    struct geometry geometry;
    struct lamport_clock clock;
    struct gate *gate;
    uint32_t slot;        // ours
    uint64_t incarnation; // ours in this slot
    struct cache *cache;
    struct journal *journal; // NULL when read-only
    struct lock_table *locks;
    struct allocator *allocator;
    struct inode_table *inodes;
    struct cluster *cluster; // messages to the lock masters, views, recovery
    int failure;             // 0, or the negative error that ended this mount
};

// Ends the mount because of `error` (logged once, with `where`): no further write, all waiters get
// the error, the mount answers EIO. Idempotent.
void volume_fail(struct volume *volume, int error, const char *where);
// 0, or the error that ended the mount.
static inline int volume_check(const struct volume *volume)
{
    return volume->failure;
}
