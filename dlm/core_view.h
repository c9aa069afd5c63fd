// SPDX-License-Identifier: Apache-2.0
// Who masters what, now and before; and what the dead may hold that nobody alive knows of.
//
// Master: the member whose score for the resource's name is highest (rendezvous hashing). A view
// change moves what the departed mastered and what a joiner wins, and nothing else. Shadow: the
// second in that order, so the next master if the master alone goes. It keeps notes of what
// everybody may hold there (core_note.c).
//
// History: a message says in which epoch it was sent. It may be used for a resource only if the
// master was the same in every view from that one to the current one: else the resource has been
// rebuilt since from what its holders said, and the message is void (its sender asks again).
//
// Rules (protocols, rule 1) name resources whose holders may be dead and unknown:
//
//   view 7  {A B C D} A masters R, B is its shadow, A holds R
//   view 8  {C D}     A, B dead: rule {A B C D}, gone A B, blockers A B: "what had its master and
//                     its shadow among A, B is orphaned until both are recovered"
//   view 9  {C D E}   C and D tell E, a joiner, their rules before E may grant anything
//
// Byte ranges have no notes: theirs are orphaned where the master alone is gone.
//
// A rule has as blockers all who are dead and not recovered at that time: a master that left
// cleanly may alone have known what they held, so it makes a rule like a dead one. If one of them
// died before view 7, its locks are in no note of view 7 (a shadow gives the notes of the dead to
// the master in the view change, and forgets them): then the master alone decides here too
// (`is_noted` is false).
//
// A view that comes while the rebuild of an earlier one is under way: what has moved here since
// the last completed rebuild may lack locks of those who died before they had re-sent them. The
// rules then name all that was not ours in any view since ("gone" is everybody but us). A core
// that never completed a rebuild makes a rule without members: it names every resource.
#pragma once

#include "dlm/dlm.h"

#include <sys/queue.h>

struct core_view {
    uint64_t epoch;
    uint32_t member_count;
    struct dlm_node members[DLM_NODES_MAX];
};

static inline bool node_equal(struct dlm_node a, struct dlm_node b)
{
    return a.node_id == b.node_id && a.incarnation == b.incarnation;
}

// Index of the master among `members`; `member_count` > 0.
uint32_t core_view_master(const struct dlm_node *members, uint32_t member_count,
                          struct lock_name name);

// Indices of the first and the second in the order of `name`.
struct core_order {
    uint32_t master;
    uint32_t shadow; // `member_count` when there is but one member
};

struct core_order core_view_order(const struct dlm_node *members, uint32_t member_count,
                                  struct lock_name name);

// ---- history ----------------------------------------------------------------------------------

// Views in order of epoch, the current one last. Zeroed is empty.
struct core_history {
    struct core_view *views;
    size_t count;
    size_t capacity;
};

void core_history_deinit(struct core_history *history);
void core_history_add(struct core_history *history, const struct dlm_view *view);
// Forgets views before `epoch`, never the current one.
void core_history_prune(struct core_history *history, uint64_t epoch);

// NULL before the first view.
static inline const struct core_view *core_history_current(const struct core_history *history)
{
    return history->count ? &history->views[history->count - 1] : NULL;
}

// True if `node` masters `name` in every view from `epoch` on; false also if the view of `epoch`
// is not in the history.
bool core_history_is_steady(const struct core_history *history, struct lock_name name,
                            uint64_t epoch, struct dlm_node node);

// The same for the shadow.
bool core_history_is_steady_shadow(const struct core_history *history, struct lock_name name,
                                   uint64_t epoch, struct dlm_node node);

// ---- rules ------------------------------------------------------------------------------------

struct core_rule {
    LIST_ENTRY(core_rule) link;
    uint32_t member_count; // 0: names every resource
    uint32_t blocker_count;
    uint64_t gone; // bit i: members[i]
    bool is_noted; // a shadow that is not gone has told what the dead may hold
    struct dlm_node members[DLM_NODES_MAX];
    struct dlm_node blockers[DLM_DEAD_MAX];
};

LIST_HEAD(core_rules, core_rule);

// Nodes that died and are not recovered, as of the last view and `recovered`.
struct core_dead {
    uint32_t count;
    struct dlm_node nodes[DLM_DEAD_MAX];
};

bool core_dead_has(const struct core_dead *dead, struct dlm_node node);
void core_dead_remove(struct core_dead *dead, struct dlm_node node);

// Adds a copy of `rule`, its blockers reduced to those still in `dead`. Nothing happens if none is
// left, or if the list has the same rule with these blockers.
void core_rules_add(struct core_rules *rules, const struct core_rule *rule,
                    const struct core_dead *dead);

// What `self` has to add when `next` follows: `history` ends with the view before it (or is empty:
// nothing is added), `complete_epoch` is that of the last completed rebuild (0: none).
void core_rules_note_view(struct core_rules *rules, const struct core_history *history,
                          uint64_t complete_epoch, const struct dlm_view *next,
                          const struct core_dead *dead, struct dlm_node self);

// `node` is recovered: rules without blockers go. True if any went.
bool core_rules_recovered(struct core_rules *rules, struct dlm_node node);

// May a dead node hold a lock on `name` unknown to everyone?
bool core_rules_name(const struct core_rules *rules, struct lock_name name);
// ... or a byte range? True wherever the other is.
bool core_rules_name_ranges(const struct core_rules *rules, struct lock_name name);

void core_rules_clear(struct core_rules *rules);
