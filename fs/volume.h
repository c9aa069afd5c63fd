// SPDX-License-Identifier: Apache-2.0
// One mounted volume on one node: what the whole core shares. Wired in visible order by
// volume_open; no state of the core lives outside of it, so many can live in one process.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "fs/base/block_device.h"
#include "fs/base/environment.h"
#include "fs/base/lamport.h"
#include "fs/base/log.h"
#include "fs/format.h"
#include "fs/gate.h"

#include "fs/journal_format.h"

struct allocator;
struct borrower;
struct cache;
struct freeze;
struct freeze_gate;
struct damage;
struct inode_table;
struct journal;
struct lock_service;
struct lock_table;
struct quota;

struct volume_options {
    bool read_only;
    bool no_recovery; // read-only, no journal replay, no cluster: reads what is there
    bool is_local;
    bool strict_atime; // else relatime
    bool no_atime;
    uint64_t cache_bytes; // of metadata kept in memory; 0: CACHE_BYTES_DEFAULT
    bool keep_pages;      // the kernel may keep data, and
    bool keep_names;      // the kernel may keep names and attributes (docs/caching.md)
};

struct volume {
    struct environment *environment;
    struct scheduler *scheduler; // the environment's
    struct block_device *device;
    struct block_device *recovery_device; // the same LUN, for replay
    struct log *log;
    struct volume_options options;
    struct geometry geometry;
    struct lamport_clock clock;
    struct gate *gate;
    uint32_t slot;        // ours
    uint64_t incarnation; // ours in this slot
    struct cache *cache;
    struct damage *damage;
    struct journal *journal; // NULL when read-only
    struct lock_table *locks;
    struct allocator *allocator;
    struct inode_table *inodes;
    struct freeze *freeze;
    struct quota *quota;             // NULL: nothing is charged
    struct freeze_gate *freeze_gate; // of it
    struct borrower *borrower;       // NULL: nothing is lent to the kernel
    struct journal_format_context journal_context;
    LIST_HEAD(, interruptible) interruptibles; // fs/interruptible.h
    int failure;                               // 0, or the negative error that ended this mount
    // Called once, when the mount fails: the gate is shut by then. May be NULL.
    void (*failed)(void *context, int error);
    void *context;
};

// What a volume needs from its wiring; all of it outlives the volume.
struct volume_config {
    struct environment *environment;
    struct block_device *device;
    struct block_device *recovery_device; // NULL: `device`
    struct log *log;
    struct gate *gate;
    struct volume_options options;
    struct geometry geometry;
    void (*failed)(void *context, int error);
    void *context;
};

// Reads the superblock, or the first good copy of it (with a warning), and checks it against the
// device: 0, -ERROR_SUPERBLOCK_*, -ERROR_VOLUME_SHRUNK, -errno. Waits.
int volume_read_geometry(struct block_device *device, struct scheduler *scheduler, struct log *log,
                         struct geometry *geometry);

// A volume that does no I/O yet: its clock and log can be used. Never NULL.
struct volume *volume_new(const struct volume_config *config);
// After volume_stop or volume_abandon, or if it was never started.
void volume_free(struct volume *volume);

// The journal of a slot as this volume configures it: for replay of others' and for its own.
void volume_journal_config(struct volume *volume, uint32_t slot, struct journal_config *config);

// Builds the core: journal (clean by now; none if read-only), cache, locks over `service`,
// allocator, inodes. The gate is open and the lock service has its first view. While another node
// keeps the volume frozen it waits, but for a read-only mount. On an error nothing is left; after
// an I/O error the volume has failed. Waits.
int volume_start(struct volume *volume, uint32_t slot, uint64_t incarnation,
                 struct lock_service *service);
// The clean end: no operation is under way and no file open. Everything durable and in place, all
// rights given back, the journal marked clean. Waits. After an error the mount has failed.
int volume_stop(struct volume *volume);
// The end after a failure: nothing is written. No operation is under way any more. Waits.
void volume_abandon(struct volume *volume);

// Ends the mount because of `error` (logged once, with `where`): no further write, all waiters get
// the error, the mount answers EIO. Idempotent.
void volume_fail(struct volume *volume, int error, const char *where);
// 0, or the error that ended the mount.
static inline int volume_check(const struct volume *volume)
{
    return volume->failure;
}
