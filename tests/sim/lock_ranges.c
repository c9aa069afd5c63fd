// SPDX-License-Identifier: Apache-2.0
// Random users of byte ranges: two POSIX owners with two open files each and one flock owner a
// node. The POSIX owners wait while they hold, so rings arise all the time; the core has to find
// each, or somebody waits for ever. Now and then an owner unlocks while it waits (two threads).
#include "tests/sim/lock_world.h"

#include "fs/base/check.h"

#include <inttypes.h>

enum { UNIT_BYTES = 100 };

// What a unit of an owner holds: not 0; bit 1 says exclusive, bit 2 which handle took it.
static uint8_t unit_held(const struct sim_owner *owner, const struct dlm_range *range)
{
    return (uint8_t)(1 + 2 * (range->type == DLM_RANGE_EXCLUSIVE) +
                     4 * (range->handle != owner->owner * 2));
}

static uint32_t unit_of(uint64_t offset)
{
    uint64_t unit = offset / UNIT_BYTES;

    return unit < RANGE_UNITS ? (uint32_t)unit : RANGE_UNITS - 1;
}

void ranges_init(struct sim_life *life)
{
    for (uint32_t i = 0; i < OWNERS_PER_LIFE; i++) {
        life->owners[i].owner = i + 1; // the same numbers on every node
        life->owners[i].space = i == OWNERS_PER_LIFE - 1 ? DLM_RANGE_FLOCK : DLM_RANGE_POSIX;
    }
}

static struct dlm_range draw_range(struct world *world, const struct sim_owner *owner)
{
    uint64_t start = random_below(&world->random, RANGE_UNITS);
    uint64_t end = start + random_below(&world->random, RANGE_UNITS - start);
    struct dlm_range range = {
        .owner = owner->owner,
        .handle = owner->owner * 2 + random_below(&world->random, 2),
        .start = start * UNIT_BYTES,
        .end = end == RANGE_UNITS - 1 ? UINT64_MAX : end * UNIT_BYTES + UNIT_BYTES - 1,
        .space = owner->space,
        .type = world_one_in(world, 2) ? DLM_RANGE_SHARED : DLM_RANGE_EXCLUSIVE,
        .pid = 1,
    };

    if (owner->space == DLM_RANGE_FLOCK) {
        range.handle = owner->owner * 2;
        range.start = 0;
        range.end = UINT64_MAX;
    }
    return range;
}

static bool owner_holds(const struct sim_owner *owner, uint32_t file)
{
    for (uint32_t unit = 0; unit < RANGE_UNITS; unit++)
        if (owner->held[file][unit])
            return true;
    return false;
}

// flock lets go of a lock of the other type before it asks for the new one.
static void flock_forget(struct sim_owner *owner, uint32_t file, const struct dlm_range *range)
{
    if (owner->space != DLM_RANGE_FLOCK || owner->held[file][0] == unit_held(owner, range))
        return;
    for (uint32_t unit = 0; unit < RANGE_UNITS; unit++)
        owner->held[file][unit] = 0;
}

static void lock(struct world *world, struct sim_life *life, struct sim_owner *owner, uint32_t file,
                 struct dlm_event *event)
{
    owner->file = file;
    owner->wanted = draw_range(world, owner);
    owner->is_pending = true;
    owner->is_crossed = false;
    owner->is_test = world_one_in(world, 8);
    owner->cookie = ++life->cookie;
    if (!owner->is_test)
        flock_forget(owner, owner->file, &owner->wanted);
    *event = (struct dlm_event){
        .type = owner->is_test ? DLM_EVENT_RANGE_TEST : DLM_EVENT_RANGE_LOCK,
        .range_lock = {.name = world->names[owner->file],
                       .cookie = owner->cookie,
                       .range = owner->wanted,
                       .wait = !world_one_in(world, 3)},
    };
}

static void forget(struct sim_owner *owner, uint32_t file, const struct dlm_range *range,
                   enum dlm_range_scope scope)
{
    uint8_t of_handle = unit_held(owner, range) & 4;

    for (uint32_t unit = 0; unit < RANGE_UNITS; unit++) {
        bool is_in = unit >= unit_of(range->start) && unit <= unit_of(range->end);
        bool is_meant = scope == DLM_SCOPE_OWNER || (scope == DLM_SCOPE_RANGE && is_in) ||
                        (scope == DLM_SCOPE_HANDLE && (owner->held[file][unit] & 4) == of_handle);
        if (is_meant)
            owner->held[file][unit] = 0;
    }
}

static void unlock(struct world *world, struct sim_owner *owner, uint32_t file,
                   enum dlm_range_scope scope, struct dlm_event *event)
{
    struct dlm_range range = draw_range(world, owner);

    forget(owner, file, &range, scope);
    *event = (struct dlm_event){
        .type = DLM_EVENT_RANGE_UNLOCK,
        .range_unlock = {.name = world->names[file], .range = range, .scope = scope},
    };
}

static bool act_pending(struct world *world, const struct sim_life *life, struct sim_owner *owner,
                        struct dlm_event *event)
{
    bool is_late = world->now > world->faults_end;

    if (life->state == LIFE_LEAVING || (!is_late && world_one_in(world, 10))) {
        *event = (struct dlm_event){
            .type = DLM_EVENT_RANGE_CANCEL,
            .range_cancel = {world->names[owner->file], owner->cookie},
        };
        return true;
    }
    if (is_late || !world_one_in(world, 8))
        return false;
    unlock(world, owner, owner->file, world_one_in(world, 2) ? DLM_SCOPE_OWNER : DLM_SCOPE_RANGE,
           event);
    owner->is_crossed = !owner->is_test;
    return true;
}

static bool act_idle(struct world *world, struct sim_life *life, struct sim_owner *owner,
                     struct dlm_event *event)
{
    uint32_t file = (uint32_t)random_below(&world->random, RANGE_FILES);
    bool is_late = world->now > world->faults_end || life->state == LIFE_LEAVING;

    if (owner->is_crossed) { // it does not know what it has
        unlock(world, owner, owner->file, DLM_SCOPE_OWNER, event);
        owner->is_crossed = false;
        return true;
    }
    if (is_late && !owner_holds(owner, file))
        file = RANGE_FILES - 1 - file;
    if (is_late && !owner_holds(owner, file))
        return false;
    if (is_late || world_one_in(world, 8))
        unlock(world, owner, file, DLM_SCOPE_OWNER, event);
    else if (world_one_in(world, 3))
        unlock(world, owner, file, DLM_SCOPE_RANGE, event);
    else if (world_one_in(world, 8))
        unlock(world, owner, file, DLM_SCOPE_HANDLE, event);
    else if (owner->space == DLM_RANGE_FLOCK && owner_holds(owner, RANGE_FILES - 1 - file))
        unlock(world, owner, RANGE_FILES - 1 - file, DLM_SCOPE_OWNER, event);
    else
        lock(world, life, owner, file,
             event); // a flock owner waits only while it holds nothing else
    return true;
}

size_t ranges_act(struct world *world, uint32_t index, struct dlm_event *events)
{
    struct sim_life *life = &world->lives[index];
    size_t count = 0, first = random_below(&world->random, OWNERS_PER_LIFE);
    size_t wanted = world_one_in(world, 4) ? OWNERS_PER_LIFE : 1;

    for (size_t i = 0; i < OWNERS_PER_LIFE && count < wanted; i++) {
        struct sim_owner *owner = &life->owners[(first + i) % OWNERS_PER_LIFE];
        count += owner->is_pending ? act_pending(world, life, owner, &events[count])
                                   : act_idle(world, life, owner, &events[count]);
    }
    return count;
}

void ranges_result(struct world *world, uint32_t index,
                   const struct dlm_effect_range_result *result)
{
    struct sim_life *life = &world->lives[index];
    struct sim_owner *owner = NULL;

    for (uint32_t i = 0; i < OWNERS_PER_LIFE; i++)
        if (life->owners[i].is_pending && life->owners[i].cookie == result->cookie)
            owner = &life->owners[i];
    if (!owner) {
        world_fail(world, "n%u has an answer for range operation %" PRIu64 " that it has not asked",
                   life->node.node_id, result->cookie);
        return;
    }
    owner->is_pending = false;
    for (uint32_t u = 0; owner->is_crossed && u < RANGE_UNITS; u++)
        owner->held[owner->file][u] = 0; // it relies on nothing until it has unlocked again
    if (result->error || owner->is_test || owner->is_crossed)
        return;
    for (uint32_t u = unit_of(owner->wanted.start); u <= unit_of(owner->wanted.end); u++)
        owner->held[owner->file][u] = unit_held(owner, &owner->wanted);
    world->grants++;
    check_range(world, index, owner, owner->file);
}

bool ranges_are_pending(const struct sim_life *life)
{
    for (uint32_t i = 0; i < OWNERS_PER_LIFE; i++)
        if (life->owners[i].is_pending)
            return true;
    return false;
}

bool ranges_hold(const struct sim_life *life)
{
    for (uint32_t i = 0; i < OWNERS_PER_LIFE; i++)
        for (uint32_t file = 0; file < RANGE_FILES; file++)
            if (owner_holds(&life->owners[i], file) || life->owners[i].is_crossed)
                return true;
    return false;
}
