// SPDX-License-Identifier: Apache-2.0
// With nothing under way, what a node says that it holds and what the resource's master says that
// this node holds are the same, lock by lock and byte by byte; and what the resource's shadow has
// noted is what this node holds or waits for, lock by lock.
#include "tests/sim/lock_world.h"

#include "fs/base/check.h"

#include <inttypes.h>
#include <stdlib.h>

enum { INFOS_MAX = 1024 };

// What all members tell.
struct told {
    struct dlm_lock_info infos[INFOS_MAX];
    size_t count;
};

static void collect(void *context, const struct dlm_lock_info *info)
{
    struct told *told = context;

    if (told->count < INFOS_MAX && !info->is_dead)
        told->infos[told->count++] = *info;
}

static bool is_same_node(struct dlm_node a, struct dlm_node b)
{
    return a.node_id == b.node_id && a.incarnation == b.incarnation;
}

// The same lock, seen from the other side. The pieces of a range may be cut differently there, so
// every piece has to lie within one or more of the other side's.
static bool is_told_lock(const struct told *told, const struct dlm_lock_info *info)
{
    for (size_t i = 0; i < told->count; i++) {
        const struct dlm_lock_info *other = &told->infos[i];
        if (other->is_master != info->is_master && !other->is_range &&
            other->cookie == info->cookie && is_same_node(other->node, info->node) &&
            lock_name_equal(other->name, info->name) && other->granted == info->granted &&
            other->requested == info->requested)
            return true;
    }
    return false;
}

static bool covers(const struct dlm_lock_info *other, const struct dlm_lock_info *info,
                   uint64_t offset)
{
    return other->is_master != info->is_master && other->is_range &&
           other->requested == DLM_MODE_NONE && is_same_node(other->node, info->node) &&
           lock_name_equal(other->name, info->name) && other->range.owner == info->range.owner &&
           other->range.handle == info->range.handle && other->range.space == info->range.space &&
           other->range.type == info->range.type && other->range.start <= offset &&
           offset <= other->range.end;
}

static bool is_told_range(const struct told *told, const struct dlm_lock_info *info)
{
    uint64_t offset = info->range.start;

    if (info->requested != DLM_MODE_NONE)
        return true; // waits are checked by liveness
    for (;;) {
        const struct dlm_lock_info *found = NULL;
        for (size_t i = 0; i < told->count && !found; i++)
            found = covers(&told->infos[i], info, offset) ? &told->infos[i] : NULL;
        if (!found)
            return false;
        if (found->range.end >= info->range.end)
            return true;
        offset = found->range.end + 1;
    }
}

// Everything that one side (masters or holders) tells stands in what the other side tells.
static void check_told(struct world *world, const struct told *told, bool is_master)
{
    for (size_t i = 0; i < told->count && !world->is_failed; i++) {
        const struct dlm_lock_info *info = &told->infos[i];
        if (info->is_master != is_master)
            continue;
        if (info->is_range ? is_told_range(told, info) : is_told_lock(told, info))
            continue;
        TEXT(text, TEXT_BYTES);
        dlm_lock_info_to_text(info, &text);
        world_fail(world, "agreement: only one side knows of %s", text.bytes);
    }
}

// ---- notes ------------------------------------------------------------------------------------

// What the shadow of a node's lock is to have noted, or DLM_MODE_NONE.
static enum dlm_mode mode_to_note(const struct world *world, const struct dlm_lock_info *info)
{
    const struct sim_life *life = &world->lives[life_find(world, info->node)];
    struct dlm_node shadow = dlm_core_shadow_of(life->core, info->name);
    enum dlm_mode mode = info->requested == DLM_MODE_NONE ? info->granted : info->requested;

    if (!shadow.node_id || is_same_node(shadow, info->node) || mode == DLM_NL)
        return DLM_MODE_NONE;
    return mode;
}

static bool is_noted(const struct told *notes, const struct dlm_lock_info *info, enum dlm_mode mode)
{
    for (size_t i = 0; i < notes->count; i++)
        if (notes->infos[i].cookie == info->cookie && notes->infos[i].granted == mode &&
            is_same_node(notes->infos[i].node, info->node) &&
            lock_name_equal(notes->infos[i].name, info->name))
            return true;
    return false;
}

// A note is at the shadow and nowhere else, since it is the shadow that says so and their number is
// that of the locks to be noted.
static void check_notes(struct world *world, const struct told *told)
{
    struct told *notes = calloc(1, sizeof(*notes));
    size_t wanted = 0;

    CHECK(notes != NULL);
    for (uint32_t i = 0; i < world->member_count; i++)
        dlm_core_visit_notes(world->lives[world->members[i]].core, collect, notes);
    for (size_t i = 0; i < told->count && !world->is_failed; i++) {
        const struct dlm_lock_info *info = &told->infos[i];
        if (info->is_master || info->is_range)
            continue;
        enum dlm_mode mode = mode_to_note(world, info);
        wanted += mode != DLM_MODE_NONE;
        if (mode != DLM_MODE_NONE && !is_noted(notes, info, mode))
            world_fail(world, "agreement: n%u's lock %" PRIu64 " is not noted as %s",
                       info->node.node_id, info->cookie, dlm_mode_text(mode));
    }
    if (wanted != notes->count)
        world_fail(world, "agreement: %zu notes for %zu locks", notes->count, wanted);
    free(notes);
}

// Only lives in the current view agree with each other; a zombie believes what it believes.
void check_agreement(struct world *world)
{
    struct told *all;

    if (!membership_is_settled(world))
        return;
    all = calloc(1, sizeof(*all));
    CHECK(all != NULL);
    for (uint32_t i = 0; i < world->member_count; i++)
        dlm_core_visit_locks(world->lives[world->members[i]].core, collect, all);
    CHECK(all->count < INFOS_MAX);
    check_told(world, all, true);
    check_told(world, all, false);
    check_notes(world, all);
    free(all);
}
