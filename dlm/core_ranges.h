// SPDX-License-Identifier: Apache-2.0
// A set of byte ranges held on one resource: what the master knows of all nodes, and what a node
// keeps of its own to tell the next master. Ordered by start; ranges of different owners overlap
// where both are shared, those of one owner never do.
#pragma once

#include "dlm/core_table.h"
#include "dlm/dlm.h"

#include <sys/queue.h>

struct core_range {
    TAILQ_ENTRY(core_range) link;
    struct dlm_node node;
    bool is_dead; // held for a dead node until it is recovered
    struct dlm_range range;
};

TAILQ_HEAD(core_range_set, core_range);

// Same node, owner and space: they replace each other and never conflict.
bool core_range_same_owner(const struct core_range *held, struct dlm_node node,
                           const struct dlm_range *range);
bool core_range_conflicts(const struct core_range *held, struct dlm_node node,
                          const struct dlm_range *range);

// Gives `range` to its owner: what that owner held there is replaced (so the type of a part can
// change), neighbours of equal handle, pid and type are merged. Does not look for conflicts.
void core_range_set_add(struct core_range_set *set, struct pool *pool, struct dlm_node node,
                        bool is_dead, const struct dlm_range *range);

// The same for a shared range, except that what the owner has exclusive there stays so (under the
// new handle). True if there was any.
bool core_range_set_add_shared(struct core_range_set *set, struct pool *pool, struct dlm_node node,
                               const struct dlm_range *range);

// What the owner holds within `range` becomes shared, under `range`'s handle.
void core_range_set_share(struct core_range_set *set, struct pool *pool, struct dlm_node node,
                          const struct dlm_range *range);

// Takes away what `range` and `scope` name. True if there was anything.
bool core_range_set_remove(struct core_range_set *set, struct pool *pool, struct dlm_node node,
                           const struct dlm_range *range, enum dlm_range_scope scope);

void core_range_set_clear(struct core_range_set *set, struct pool *pool);

// Does unlocking `range` with `scope` concern `of`, a range of the same node?
bool core_range_scope_covers(const struct dlm_range *range, enum dlm_range_scope scope,
                             const struct dlm_range *of);

// The first range in the way of `range`; one of a live node if there is one. NULL: free.
const struct core_range *core_range_set_conflict(const struct core_range_set *set,
                                                 struct dlm_node node,
                                                 const struct dlm_range *range);
