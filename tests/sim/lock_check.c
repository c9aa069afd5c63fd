// SPDX-License-Identifier: Apache-2.0
// The invariants, against what the users were told:
//
//   I1      no two lives hold conflicting modes or ranges; what a dead life held counts until
//           `recovered` was sent
//   rule 1  what a life was given because it asked is noted at its shadow at that moment
//   rule 19 a value block that comes with a mode above CR and is called valid is the last written
//   rebuild what holders re-send never conflicts
//   agree   with nothing under way, holders, masters and shadows tell the same (lock_agreement.c)
//   I6      what nobody has is granted before a dead master is recovered (lock_probe.c)
//   leaks   when all is given back, no core keeps anything
#include "tests/sim/lock_world.h"

#include <inttypes.h>
#include <string.h>

static bool counts(const struct sim_life *life)
{
    return life->state != LIFE_OVER;
}

// The manual's matrix once more, so that a wrong one in the core does not vouch for itself.
static bool may_share(enum dlm_mode a, enum dlm_mode b)
{
    static const char *const beside[DLM_MODE_COUNT] = {
        [DLM_NL] = "yyyyyy", [DLM_CR] = "yyyyy-", [DLM_CW] = "yyy---",
        [DLM_PR] = "yy-y--", [DLM_PW] = "yy----", [DLM_EX] = "y-----",
    };

    return beside[a][b] == 'y';
}

static void check_lock_pair(struct world *world, uint32_t a, const struct sim_lock *granted,
                            uint32_t b, const struct sim_lock *other)
{
    if (other == granted || other->state == LOCK_FREE || other->granted == DLM_MODE_NONE ||
        other->resource != granted->resource || may_share(other->granted, granted->granted))
        return;
    world_fail(world,
               "I1: n%u.%" PRIu64 " is granted %s (cookie %" PRIu64 ") while n%u.%" PRIu64
               " has %s (cookie %" PRIu64 ")",
               world->lives[a].node.node_id, world->lives[a].node.incarnation,
               dlm_mode_text(granted->granted), granted->cookie, world->lives[b].node.node_id,
               world->lives[b].node.incarnation, dlm_mode_text(other->granted), other->cookie);
}

void check_grant(struct world *world, uint32_t index, const struct sim_lock *lock)
{
    for (uint32_t i = 0; i < world->life_count; i++)
        for (int j = 0; j < LOCKS_PER_LIFE && counts(&world->lives[i]); j++)
            check_lock_pair(world, index, lock, i, &world->lives[i].locks[j]);
}

// ---- notes ------------------------------------------------------------------------------------

struct note_wanted {
    struct dlm_node node;
    uint64_t cookie;
    enum dlm_mode mode;
    bool is_found;
};

static void find_note(void *context, const struct dlm_lock_info *info)
{
    struct note_wanted *wanted = context;

    if (info->node.node_id == wanted->node.node_id &&
        info->node.incarnation == wanted->node.incarnation && info->cookie == wanted->cookie)
        wanted->is_found = info->granted == wanted->mode;
}

void check_noted(struct world *world, uint32_t index, const struct sim_lock *lock)
{
    const struct sim_life *life = &world->lives[index], *shadow;
    struct dlm_node node = dlm_core_shadow_of(life->core, world->names[lock->resource]);
    struct note_wanted wanted = {life->node, lock->cookie, lock->granted, false};

    if (!node.node_id || life_find(world, node) == index || lock->granted == DLM_NL)
        return;
    if (dlm_core_is_busy(life->core))
        return; // with a view that came after the grant, in the same step
    shadow = &world->lives[life_find(world, node)];
    if (!life_is_up(shadow) ||
        dlm_core_status_get(shadow->core).epoch != dlm_core_status_get(life->core).epoch)
        return;
    dlm_core_visit_notes(shadow->core, find_note, &wanted);
    if (!wanted.is_found)
        world_fail(world, "rule 1: n%u is granted %s (cookie %" PRIu64 "), which n%u has not noted",
                   life->node.node_id, dlm_mode_text(lock->granted), lock->cookie, node.node_id);
}

void check_value(struct world *world, uint32_t index, const struct sim_lock *lock,
                 const struct dlm_effect_grant *grant)
{
    uint64_t version, truth = world->value_truth[lock->resource];

    memcpy(&version, grant->value.bytes, sizeof(version));
    if (!grant->value_valid || !dlm_mode_pins_value(grant->mode) || version == truth)
        return;
    world_fail(world,
               "rule 19: n%u is given value %" PRIu64 " as valid with %s (cookie %" PRIu64
               "), but the last is %" PRIu64,
               world->lives[index].node.node_id, version, dlm_mode_text(grant->mode), grant->cookie,
               truth);
}

static void check_owner_pair(struct world *world, uint32_t a, const struct sim_owner *granted,
                             uint32_t b, const struct sim_owner *other, uint32_t file)
{
    if (other == granted || other->space != granted->space)
        return;
    for (uint32_t unit = 0; unit < RANGE_UNITS; unit++) {
        uint8_t mine = granted->held[file][unit], theirs = other->held[file][unit];
        if (!mine || !theirs || !((mine - 1) & 2 || (theirs - 1) & 2))
            continue;
        world_fail(world,
                   "I1: owner %" PRIu64 " of n%u.%" PRIu64 " is granted unit %u of file %u, which "
                   "owner %" PRIu64 " of n%u.%" PRIu64 " has",
                   granted->owner, world->lives[a].node.node_id, world->lives[a].node.incarnation,
                   unit, file, other->owner, world->lives[b].node.node_id,
                   world->lives[b].node.incarnation);
        return;
    }
}

void check_range(struct world *world, uint32_t index, const struct sim_owner *owner, uint32_t file)
{
    for (uint32_t i = 0; i < world->life_count; i++)
        for (int j = 0; j < OWNERS_PER_LIFE && counts(&world->lives[i]); j++)
            check_owner_pair(world, index, owner, i, &world->lives[i].owners[j], file);
}

void check_forget(struct world *world, uint32_t index)
{
    const struct sim_life *life = &world->lives[index];

    for (int i = 0; i < LOCKS_PER_LIFE; i++) {
        const struct sim_lock *lock = &life->locks[i];
        if (lock->granted != DLM_MODE_NONE && dlm_mode_writes_value(lock->granted))
            world->value_truth[lock->resource] = ++world->value_last;
    }
}

void check_core(struct world *world, uint32_t index)
{
    const struct sim_life *life = &world->lives[index];
    const struct dlm_counters *counters = dlm_core_counters(life->core);

    if (counters->rebuild_conflicts)
        world_fail(world, "what was re-sent to n%u conflicts", life->node.node_id);
}

void check_empty(struct world *world)
{
    for (uint32_t i = 0; i < world->life_count; i++) {
        const struct sim_life *life = &world->lives[i];
        if (!life_is_up(life))
            continue;
        struct dlm_core_status status = dlm_core_status_get(life->core);
        if (!status.lock_count && !status.resource_count && !status.note_count)
            continue;
        if (world->trace) {
            TEXT(text, TEXT_BYTES);
            dlm_core_to_text(life->core, &text);
            world_trace(world, "left over:\n%s", text.bytes);
        }
        world_fail(world, "n%u is left with %zu locks, %zu resources and %zu notes",
                   life->node.node_id, status.lock_count, status.resource_count, status.note_count);
    }
}
