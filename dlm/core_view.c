// SPDX-License-Identifier: Apache-2.0
#include "dlm/core_view.h"

#include "dlm/core_table.h"
#include "fs/base/check.h"
#include "fs/base/memory.h"
#include "fs/base/sabotage.h"

#include <stdlib.h>
#include <string.h>

// The higher node_id wins a tie.
static bool is_first(const struct dlm_node *members, uint64_t score, uint32_t i,
                     uint64_t other_score, uint32_t other)
{
    return score > other_score ||
           (score == other_score && members[i].node_id > members[other].node_id);
}

struct core_order core_view_order(const struct dlm_node *members, uint32_t member_count,
                                  struct lock_name name)
{
    uint64_t key = hash_u64(name.id ^ hash_u64(name.type)), first = 0, second = 0;
    struct core_order order = {member_count, member_count};

    CHECK(member_count > 0);
    for (uint32_t i = 0; i < member_count; i++) {
        uint64_t score = hash_u64(key ^ (uint64_t)members[i].node_id << 32);
        if (i == 0 || is_first(members, score, i, first, order.master)) {
            order.shadow = i == 0 ? member_count : order.master;
            second = first;
            order.master = i;
            first = score;
        } else if (order.shadow == member_count ||
                   is_first(members, score, i, second, order.shadow)) {
            order.shadow = i;
            second = score;
        }
    }
    return order;
}

uint32_t core_view_master(const struct dlm_node *members, uint32_t member_count,
                          struct lock_name name)
{
    return core_view_order(members, member_count, name).master;
}

// ---- history ----------------------------------------------------------------------------------

void core_history_deinit(struct core_history *history)
{
    free(history->views);
    *history = (struct core_history){0};
}

void core_history_add(struct core_history *history, const struct dlm_view *view)
{
    if (history->count == history->capacity) {
        history->capacity = history->capacity ? history->capacity * 2 : 4;
        history->views = memory_resize(history->views, history->capacity, sizeof(*history->views));
    }
    struct core_view *added = &history->views[history->count++];
    added->epoch = view->epoch;
    added->member_count = view->member_count;
    memcpy(added->members, view->members, view->member_count * sizeof(view->members[0]));
}

void core_history_prune(struct core_history *history, uint64_t epoch)
{
    size_t gone = 0;

    while (gone + 1 < history->count && history->views[gone].epoch < epoch)
        gone++;
    history->count -= gone;
    if (gone)
        memmove(history->views, history->views + gone, history->count * sizeof(*history->views));
}

static bool is_steady(const struct core_history *history, struct lock_name name, uint64_t epoch,
                      struct dlm_node node, bool as_shadow)
{
    for (size_t i = history->count; i-- > 0;) {
        const struct core_view *view = &history->views[i];
        struct core_order order = core_view_order(view->members, view->member_count, name);
        uint32_t index = as_shadow ? order.shadow : order.master;
        if (view->epoch < epoch || index == view->member_count ||
            !node_equal(view->members[index], node))
            return false;
        if (view->epoch == epoch)
            return true;
    }
    return false;
}

bool core_history_is_steady(const struct core_history *history, struct lock_name name,
                            uint64_t epoch, struct dlm_node node)
{
    return is_steady(history, name, epoch, node, false);
}

bool core_history_is_steady_shadow(const struct core_history *history, struct lock_name name,
                                   uint64_t epoch, struct dlm_node node)
{
    return is_steady(history, name, epoch, node, true);
}

// ---- rules ------------------------------------------------------------------------------------

bool core_dead_has(const struct core_dead *dead, struct dlm_node node)
{
    for (uint32_t i = 0; i < dead->count; i++)
        if (node_equal(dead->nodes[i], node))
            return true;
    return false;
}

static uint32_t nodes_remove(struct dlm_node *nodes, uint32_t count, struct dlm_node node)
{
    uint32_t kept = 0;

    for (uint32_t i = 0; i < count; i++)
        if (!node_equal(nodes[i], node))
            nodes[kept++] = nodes[i];
    return kept;
}

void core_dead_remove(struct core_dead *dead, struct dlm_node node)
{
    dead->count = nodes_remove(dead->nodes, dead->count, node);
}

static bool nodes_equal(const struct dlm_node *a, const struct dlm_node *b, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        if (!node_equal(a[i], b[i]))
            return false;
    return true;
}

static bool rule_equal(const struct core_rule *a, const struct core_rule *b)
{
    return a->member_count == b->member_count && a->blocker_count == b->blocker_count &&
           a->gone == b->gone && a->is_noted == b->is_noted &&
           nodes_equal(a->members, b->members, a->member_count) &&
           nodes_equal(a->blockers, b->blockers, a->blocker_count);
}

void core_rules_add(struct core_rules *rules, const struct core_rule *rule,
                    const struct core_dead *dead)
{
    struct core_rule *copy = malloc(sizeof(*copy)), *other;

    CHECK(copy != NULL);
    *copy = *rule;
    copy->blocker_count = 0;
    for (uint32_t i = 0; i < rule->blocker_count; i++)
        if (core_dead_has(dead, rule->blockers[i]))
            copy->blockers[copy->blocker_count++] = rule->blockers[i];
    bool is_new = copy->blocker_count > 0 && (copy->gone || !copy->member_count);
    LIST_FOREACH (other, rules, link)
        is_new = is_new && !rule_equal(other, copy);
    if (is_new)
        LIST_INSERT_HEAD(rules, copy, link);
    else
        free(copy);
}

static void rule_init(struct core_rule *rule, const struct core_view *view,
                      const struct core_dead *dead)
{
    *rule = (struct core_rule){.blocker_count = dead->count};
    memcpy(rule->blockers, dead->nodes, dead->count * sizeof(dead->nodes[0]));
    if (!view)
        return;
    rule->member_count = view->member_count;
    memcpy(rule->members, view->members, view->member_count * sizeof(view->members[0]));
}

static bool view_has(const struct dlm_view *view, struct dlm_node node)
{
    for (uint32_t i = 0; i < view->member_count; i++)
        if (node_equal(view->members[i], node))
            return true;
    return false;
}

static bool core_view_has(const struct core_view *view, struct dlm_node node)
{
    for (uint32_t i = 0; i < view->member_count; i++)
        if (node_equal(view->members[i], node))
            return true;
    return false;
}

// The rebuild of `view` was complete: unknown is only what the departed mastered, and of that only
// what they shadowed too, if all the dead have been in it to the end.
static void note_departed(struct core_rules *rules, const struct core_view *view,
                          const struct dlm_view *next, const struct core_dead *dead)
{
    struct core_rule rule;

    rule_init(&rule, view, dead);
    for (uint32_t i = 0; i < view->member_count; i++)
        if (!view_has(next, view->members[i]))
            rule.gone |= 1ULL << i;
    rule.is_noted = !SABOTAGE(dlm_distrust_notes);
    for (uint32_t i = 0; i < dead->count && !SABOTAGE(dlm_trust_old_notes); i++)
        rule.is_noted = rule.is_noted && core_view_has(view, dead->nodes[i]);
    core_rules_add(rules, &rule, dead);
}

// It was not: unknown is whatever somebody else mastered.
static void note_unfinished(struct core_rules *rules, const struct core_view *view,
                            const struct core_dead *dead, struct dlm_node self)
{
    struct core_rule rule;

    rule_init(&rule, view, dead);
    for (uint32_t i = 0; view && i < view->member_count; i++)
        if (!node_equal(view->members[i], self))
            rule.gone |= 1ULL << i;
    core_rules_add(rules, &rule, dead);
}

void core_rules_note_view(struct core_rules *rules, const struct core_history *history,
                          uint64_t complete_epoch, const struct dlm_view *next,
                          const struct core_dead *dead, struct dlm_node self)
{
    const struct core_view *current = core_history_current(history);

    if (!current || !dead->count)
        return;
    if (complete_epoch == current->epoch) {
        if (!SABOTAGE(dlm_forget_dead_master))
            note_departed(rules, current, next, dead);
        return;
    }
    if (SABOTAGE(dlm_forget_unfinished))
        return;
    if (!complete_epoch)
        note_unfinished(rules, NULL, dead, self);
    for (size_t i = 0; i < history->count; i++)
        if (history->views[i].epoch >= complete_epoch)
            note_unfinished(rules, &history->views[i], dead, self);
}

bool core_rules_recovered(struct core_rules *rules, struct dlm_node node)
{
    struct core_rule *rule = LIST_FIRST(rules), *next;
    bool any_went = false;

    for (; rule; rule = next) {
        next = LIST_NEXT(rule, link);
        rule->blocker_count = nodes_remove(rule->blockers, rule->blocker_count, node);
        if (rule->blocker_count)
            continue;
        LIST_REMOVE(rule, link);
        free(rule);
        any_went = true;
    }
    return any_went;
}

static bool rule_names(const struct core_rule *rule, struct lock_name name, bool is_for_ranges)
{
    if (!rule->member_count)
        return true;
    struct core_order order = core_view_order(rule->members, rule->member_count, name);
    if (!(rule->gone >> order.master & 1))
        return false;
    if (is_for_ranges || !rule->is_noted)
        return true;
    bool has_shadow = order.shadow < rule->member_count && !(rule->gone >> order.shadow & 1);
    return !has_shadow && !SABOTAGE(dlm_forget_dead_pair);
}

static bool rules_name(const struct core_rules *rules, struct lock_name name, bool is_for_ranges)
{
    const struct core_rule *rule;

    LIST_FOREACH (rule, rules, link)
        if (rule_names(rule, name, is_for_ranges))
            return true;
    return false;
}

bool core_rules_name(const struct core_rules *rules, struct lock_name name)
{
    return rules_name(rules, name, false);
}

bool core_rules_name_ranges(const struct core_rules *rules, struct lock_name name)
{
    return rules_name(rules, name, true);
}

void core_rules_clear(struct core_rules *rules)
{
    while (!LIST_EMPTY(rules)) {
        struct core_rule *rule = LIST_FIRST(rules);
        LIST_REMOVE(rule, link);
        free(rule);
    }
}
