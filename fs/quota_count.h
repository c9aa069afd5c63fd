// SPDX-License-Identifier: Apache-2.0
// Counts what owners use, from the inodes of a volume that is held still (freeze_hold): all is in
// place, so it is read without locks.
#pragma once

#include <stdint.h>
#include <uthash.h>

#include "fs/quota_charge.h"

struct quota_counted {
    uint64_t key; // quota_key
    int64_t blocks, inodes;
    UT_hash_handle by_key;
};

struct volume;

struct quota_count {
    struct volume *volume;
    struct quota_counted *owners; // by key
    uint64_t inode_count;
    // Asked now and then: an error ends the count.
    int (*go_on)(void *context, uint64_t inode_count);
    void *context;
};

// Every inode that a directory or an orphan list leads to. 0 or the first error. Waits.
int quota_count_run(struct quota_count *count);
// NULL: it uses nothing.
struct quota_counted *quota_count_find(const struct quota_count *count, struct quota_owner owner);
void quota_count_free(struct quota_count *count);
