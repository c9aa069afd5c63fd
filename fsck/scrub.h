// SPDX-License-Identifier: Apache-2.0
// fsck's checks over a volume that is in use. Each object (a group with its trees, an inode with
// its tree, an orphan list ...) is held by its lock while it is looked at, so that what stands on
// the disk is whole and is all there is; then it is let go. So everything is found that is wrong
// with an object by itself: a flipped bit in any block of metadata, fields, trees, counts. What
// follows only from all objects together (links, space used twice or lost) is left to fsck.lunfs.
//
//   superblocks ─► claim, slots ─► orphan lists ─► quotas ─► map ─► groups ─► inodes, from the root
//   on
//
// What a directory named may be gone when its turn comes, and something else stand there. So an
// inode that is not right is looked at again, with the directory held that named it, and only if it
// still does is it reported:
//
//   scrub    reads D: "a" is inode 7   .......................   holds 7: no inode! ─► holds D and
//   7: others                               unlink a, 7 is freed                          no "a"
//   any more:
//                                        and given out as data                         nothing to
//                                        report
//
// Runs in a coroutine of whoever provides the locks.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fs/format.h"

struct block_device;
struct environment;
struct log;
struct scrub;

enum scrub_kind {
    SCRUB_SUPERBLOCK,
    SCRUB_ORPHANS,
    SCRUB_QUOTA,  // a slot's bucket of records
    SCRUB_LEDGER, // a slot's
    SCRUB_MAP,
    SCRUB_GROUP,
    SCRUB_INODE,
};

struct scrub_object {
    enum scrub_kind kind;
    uint64_t id; // slot, group or inode; else 0
};

// What an entry says of its inode.
struct scrub_promise {
    uint64_t generation;
    uint8_t type; // DT_*; unchanged for an orphan, whose list does not say
};

struct scrub_hooks {
    // Holds objects, two at most: nobody changes them, and all of them is in place. 0 or an error.
    // Waits.
    int (*take)(void *context, const struct scrub_object *objects, size_t count);
    void (*drop)(void *context);
    // Whether the directory, which is held, has an entry of that hash for the inode: 1, 0 or an
    // error. Waits.
    int (*find_entry)(void *context, uint64_t directory, uint64_t hash, uint64_t inode,
                      struct scrub_promise *promise);
    // The same of a slot's orphan list.
    int (*find_orphan)(void *context, uint32_t slot, uint64_t inode, struct scrub_promise *promise);
    // A line as fsck.lunfs prints it. Does not wait.
    void (*found)(void *context, const char *line);
};

struct scrub_config { // what it points to outlives the scrub
    struct block_device *device;
    struct environment *environment;
    struct log *log;
    const struct geometry *geometry;
    const struct scrub_hooks *hooks;
    void *context;
    uint64_t blocks_per_second; // read at most; 0: as fast as the device is
};

struct scrub_status {
    const char *what;     // is looked at; a constant
    uint64_t done, total; // of `what`; total 0: not known
    uint64_t blocks_read;
    uint64_t problem_count;
};

struct scrub *scrub_new(const struct scrub_config *config);
void scrub_free(struct scrub *scrub);
// 0, whatever was found; -ECANCELED; the error of a hook. Waits.
int scrub_run(struct scrub *scrub);
// The run ends before the next object.
void scrub_cancel(struct scrub *scrub);
void scrub_status_get(const struct scrub *scrub, struct scrub_status *status);
