// SPDX-License-Identifier: Apache-2.0
// A volume that is none: the operations of fs/operation.h over a table in memory, so that the FUSE
// front end can be tested and measured by itself. One flat directory; the file "lun" is the backing
// file from end to end and has a pass, so its I/O never needs the core.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "fs/base/environment.h"
#include "fs/pass.h"
#include "fs/range_locks.h"
#include "fs/volume.h"

enum {
    FAKE_ROOT = 4096,
    FAKE_LUN = 4097, // inode of "lun"
    FAKE_FILES_MAX = 32,
};

struct fake_file {
    uint64_t inode, generation;
    char name[64]; // "": unlinked or unused
    mode_t mode;
    uint64_t size;
    uint8_t *bytes; // NULL for "lun"
    unsigned handles;
    struct pass pass;
};

struct fake_volume {
    struct volume volume;
    struct gate gate;
    struct block_device device;
    struct log log;
    struct fake_file files[FAKE_FILES_MAX];
    uint64_t inode_last;
    int backing;
    unsigned syncs;
    struct wait_queue stall_waiters; // operations on the name "stall" wait here
    bool is_stalled;
    const struct coroutine *interrupted; // its wait for the stall ended
    bool is_full;                        // creating answers -ENOSPC
    bool has_unlinked;                   // ... until what was unlinked is reclaimed
    unsigned reclaims;
    bool lends;         // whatever it is asked for
    uint64_t lent_node; // the last one
    unsigned loans;
};

void fake_volume_init(struct fake_volume *fake, struct environment *environment, int backing,
                      uint64_t size);
void fake_volume_deinit(struct fake_volume *fake);

// Range locks of one node, enough to grant, refuse, wait and be cancelled.
struct fake_locks {
    struct range_locks locks; // first
    struct {
        struct range_lock lock;
        bool is_used;
    } held[64];
    struct range_lock_request *waiting[64];
    bool ignores_cancel; // as a master does that is being recovered
};

void fake_locks_init(struct fake_locks *locks);
unsigned fake_locks_held(const struct fake_locks *locks);
