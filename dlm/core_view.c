// SPDX-License-Identifier: Apache-2.0
#include "dlm/core_view.h"

#include "dlm/core_table.h"
#include "fs/base/check.h"
#include "fs/base/sabotage.h"

#include <stdlib.h>
#include <string.h>

uint32_t core_view_master(const struct dlm_node *members, uint32_t member_count,
                          struct lock_name name)
{
    uint64_t key = hash_u64(name.id ^ hash_u64(name.type)), score_max = 0;
    uint32_t master = 0;

    CHECK(member_count > 0);
    for (uint32_t i = 0; i < member_count; i++) {
        uint64_t score = hash_u64(key ^ (uint64_t)members[i].node_id << 32);
        bool is_tie = score == score_max && members[i].node_id > members[master].node_id;
        if (i == 0 || score > score_max || is_tie) {
            score_max = score;
            master = i;
        }
    }
    return master;
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
        history->views = realloc(history->views, history->capacity * sizeof(*history->views));
        CHECK(history->views != NULL);
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

bool core_history_is_steady(const struct core_history *history, struct lock_name name,
                            uint64_t epoch, struct dlm_node node)
{
    for (size_t i = history->count; i-- > 0;) {
        const struct core_view *view = &history->views[i];
        uint32_t master = core_view_master(view->members, view->member_count, name);
        if (view->epoch < epoch || !node_equal(view->members[master], node))
            return false;
        if (view->epoch == epoch)
            return true;
    }
    return false;
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
           a->gone == b->gone && nodes_equal(a->members, b->members, a->member_count) &&
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

// The rebuild of `view` was complete: unknown is only what the departed mastered.
static void note_departed(struct core_rules *rules, const struct core_view *view,
                          const struct dlm_view *next, const struct core_dead *dead)
{
    struct core_rule rule;

    rule_init(&rule, view, dead);
    for (uint32_t i = 0; i < view->member_count; i++)
        if (!view_has(next, view->members[i]))
            rule.gone |= 1ULL << i;
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

bool core_rules_name(const struct core_rules *rules, struct lock_name name)
{
    const struct core_rule *rule;

    LIST_FOREACH (rule, rules, link) {
        if (!rule->member_count)
            return true;
        if (rule->gone >> core_view_master(rule->members, rule->member_count, name) & 1)
            return true;
    }
    return false;
}

void core_rules_clear(struct core_rules *rules)
{
    while (!LIST_EMPTY(rules)) {
        struct core_rule *rule = LIST_FIRST(rules);
        LIST_REMOVE(rule, link);
        free(rule);
    }
}
