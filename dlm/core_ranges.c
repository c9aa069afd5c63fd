// SPDX-License-Identifier: Apache-2.0
#include "dlm/core_ranges.h"

#include "fs/base/check.h"

static bool overlaps(const struct dlm_range *a, const struct dlm_range *b)
{
    return a->start <= b->end && b->start <= a->end;
}

bool core_range_same_owner(const struct core_range *held, struct dlm_node node,
                           const struct dlm_range *range)
{
    return held->range.owner == range->owner && held->range.space == range->space &&
           held->node.node_id == node.node_id && held->node.incarnation == node.incarnation;
}

bool core_range_conflicts(const struct core_range *held, struct dlm_node node,
                          const struct dlm_range *range)
{
    return held->range.space == range->space && overlaps(&held->range, range) &&
           (held->range.type == DLM_RANGE_EXCLUSIVE || range->type == DLM_RANGE_EXCLUSIVE) &&
           !core_range_same_owner(held, node, range);
}

static void insert_sorted(struct core_range_set *set, struct core_range *added)
{
    struct core_range *after = TAILQ_LAST(set, core_range_set);

    while (after && after->range.start > added->range.start)
        after = TAILQ_PREV(after, core_range_set, link);
    if (after)
        TAILQ_INSERT_AFTER(set, after, added, link);
    else
        TAILQ_INSERT_HEAD(set, added, link);
}

static struct core_range *insert(struct core_range_set *set, struct pool *pool,
                                 struct dlm_node node, bool is_dead, const struct dlm_range *range)
{
    struct core_range *added = pool_get(pool);

    CHECK(range->start <= range->end);
    *added = (struct core_range){.node = node, .is_dead = is_dead, .range = *range};
    insert_sorted(set, added);
    return added;
}

static void drop(struct core_range_set *set, struct pool *pool, struct core_range *held)
{
    TAILQ_REMOVE(set, held, link);
    pool_put(pool, held);
}

// Cuts [start, end] out of `held`: nothing, one or two pieces remain.
static void cut(struct core_range_set *set, struct pool *pool, struct core_range *held,
                uint64_t start, uint64_t end)
{
    struct dlm_range left = held->range, right = held->range;

    if (left.start < start) {
        left.end = start - 1;
        insert(set, pool, held->node, held->is_dead, &left);
    }
    if (right.end > end) {
        right.start = end + 1;
        insert(set, pool, held->node, held->is_dead, &right);
    }
    drop(set, pool, held);
}

static bool can_merge(const struct core_range *a, const struct core_range *b)
{
    return core_range_same_owner(a, b->node, &b->range) && a->range.handle == b->range.handle &&
           a->range.pid == b->range.pid && a->range.type == b->range.type;
}

static void merge_neighbours(struct core_range_set *set, struct pool *pool,
                             struct core_range *added)
{
    struct core_range *held, *next;
    struct dlm_range merged = added->range;

    for (held = TAILQ_FIRST(set); held; held = next) {
        next = TAILQ_NEXT(held, link);
        if (held == added || !can_merge(held, added))
            continue;
        bool before = held->range.end != UINT64_MAX && held->range.end + 1 == merged.start;
        bool behind = merged.end != UINT64_MAX && merged.end + 1 == held->range.start;
        if (!before && !behind)
            continue;
        merged.start = before ? held->range.start : merged.start;
        merged.end = behind ? held->range.end : merged.end;
        drop(set, pool, held);
    }
    TAILQ_REMOVE(set, added, link);
    added->range = merged;
    insert_sorted(set, added);
}

void core_range_set_add(struct core_range_set *set, struct pool *pool, struct dlm_node node,
                        bool is_dead, const struct dlm_range *range)
{
    core_range_set_remove(set, pool, node, range, DLM_SCOPE_RANGE);
    merge_neighbours(set, pool, insert(set, pool, node, is_dead, range));
}

// Puts into `pieces` copies of what the owner holds within `range`, cut to it and under its handle.
static void copy_held(const struct core_range_set *set, struct core_range_set *pieces,
                      struct pool *pool, struct dlm_node node, const struct dlm_range *range)
{
    const struct core_range *held;

    TAILQ_FOREACH (held, set, link) {
        struct dlm_range piece = held->range;
        if (!core_range_same_owner(held, node, range) || !overlaps(&piece, range))
            continue;
        piece.start = piece.start < range->start ? range->start : piece.start;
        piece.end = piece.end > range->end ? range->end : piece.end;
        piece.handle = range->handle;
        piece.pid = range->pid;
        insert(pieces, pool, node, false, &piece);
    }
}

bool core_range_set_add_shared(struct core_range_set *set, struct pool *pool, struct dlm_node node,
                               const struct dlm_range *range)
{
    struct core_range_set pieces = TAILQ_HEAD_INITIALIZER(pieces);
    struct core_range *piece;
    bool any = false;

    copy_held(set, &pieces, pool, node, range);
    core_range_set_add(set, pool, node, false, range);
    TAILQ_FOREACH (piece, &pieces, link) {
        if (piece->range.type != DLM_RANGE_EXCLUSIVE)
            continue;
        any = true;
        core_range_set_add(set, pool, node, false, &piece->range);
    }
    core_range_set_clear(&pieces, pool);
    return any;
}

void core_range_set_share(struct core_range_set *set, struct pool *pool, struct dlm_node node,
                          const struct dlm_range *range)
{
    struct core_range_set pieces = TAILQ_HEAD_INITIALIZER(pieces);
    struct core_range *piece;

    copy_held(set, &pieces, pool, node, range);
    TAILQ_FOREACH (piece, &pieces, link) {
        piece->range.type = DLM_RANGE_SHARED;
        core_range_set_add(set, pool, node, false, &piece->range);
    }
    core_range_set_clear(&pieces, pool);
}

bool core_range_scope_covers(const struct dlm_range *range, enum dlm_range_scope scope,
                             const struct dlm_range *of)
{
    if (scope == DLM_SCOPE_HANDLE)
        return of->handle == range->handle;
    if (of->owner != range->owner || of->space != range->space)
        return false;
    return scope == DLM_SCOPE_OWNER || overlaps(of, range);
}

bool core_range_set_remove(struct core_range_set *set, struct pool *pool, struct dlm_node node,
                           const struct dlm_range *range, enum dlm_range_scope scope)
{
    struct core_range *held, *next;
    bool any = false;

    for (held = TAILQ_FIRST(set); held; held = next) {
        next = TAILQ_NEXT(held, link);
        if (held->node.node_id != node.node_id || held->node.incarnation != node.incarnation ||
            !core_range_scope_covers(range, scope, &held->range))
            continue;
        any = true;
        if (scope == DLM_SCOPE_RANGE)
            cut(set, pool, held, range->start, range->end);
        else
            drop(set, pool, held);
    }
    return any;
}

void core_range_set_clear(struct core_range_set *set, struct pool *pool)
{
    while (!TAILQ_EMPTY(set))
        drop(set, pool, TAILQ_FIRST(set));
}

const struct core_range *core_range_set_conflict(const struct core_range_set *set,
                                                 struct dlm_node node,
                                                 const struct dlm_range *range)
{
    const struct core_range *held, *dead = NULL;

    TAILQ_FOREACH (held, set, link) {
        if (held->range.start > range->end)
            break;
        if (!core_range_conflicts(held, node, range))
            continue;
        if (!held->is_dead)
            return held;
        dead = dead ? dead : held;
    }
    return dead;
}
