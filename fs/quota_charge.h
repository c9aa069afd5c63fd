// SPDX-License-Identifier: Apache-2.0
// What one transaction changes in what owners use: added up while it runs, and held against the
// ledger at its end (fs/quota.h). Pure.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "fs/format_quota.h"

struct quota_owner {
    enum quota_kind kind;
    uint32_t id; // uid, gid or project number. Number 0 is counted, and never refused anything
};

// Three owners each of: two directories, what moves between them, what it replaces; twice for what
// changes its owner.
enum { QUOTA_CHARGE_OWNERS_MAX = 24 };

struct quota_delta {
    struct quota_owner owner;
    int64_t blocks, inodes;
};

struct quota_charge {
    bool is_exempt;      // quotas' own transactions
    bool is_counting;    // quotas are on, and the ledger is held
    bool is_unrefusable; // may go above limits: what is under way must not fail, and takes some
                         // nodes of trees at most
    bool is_damaged;     // what cannot be refused has no record that can be read
    unsigned count;
    struct quota_delta deltas[QUOTA_CHARGE_OWNERS_MAX];
};

static inline bool quota_owner_equal(struct quota_owner a, struct quota_owner b)
{
    return a.kind == b.kind && a.id == b.id;
}

// Whether it asks for more than there was.
static inline bool quota_delta_is_more(const struct quota_delta *delta)
{
    return delta->blocks > 0 || delta->inodes > 0;
}

// Adds what user, group and project of one inode use more or less. `charge` may be NULL.
void quota_charge_add(struct quota_charge *charge, uint32_t uid, uint32_t gid, uint32_t project,
                      int64_t blocks, int64_t inodes);
