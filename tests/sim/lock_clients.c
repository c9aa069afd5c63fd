// SPDX-License-Identifier: Apache-2.0
// Random users of locks: they ask, convert, cancel, give back, write value blocks, and answer
// callbacks after a while. What they were told is the truth that lock_check.c holds cores against.
#include "tests/sim/lock_world.h"

#include "fs/base/check.h"

#include <inttypes.h>
#include <string.h>

static enum dlm_mode draw_mode(struct world *world)
{
    static const enum dlm_mode modes[] = {DLM_NL, DLM_CR, DLM_CR, DLM_CW, DLM_CW, DLM_PR,
                                          DLM_PR, DLM_PR, DLM_PW, DLM_PW, DLM_EX, DLM_EX};

    return modes[random_below(&world->random, sizeof(modes) / sizeof(modes[0]))];
}

// The holder has changed what the value block describes, and may say so. If it does not, what was
// valid stays valid.
static bool draw_value(struct world *world, const struct sim_lock *lock, struct dlm_value *value)
{
    if (!dlm_mode_writes_value(lock->granted) || world_one_in(world, 2))
        return false;
    uint64_t version = ++world->value_last;
    world->value_truth[lock->resource] = version;
    memcpy(value->bytes, &version, sizeof(version));
    return true;
}

void clients_ask(struct world *world, uint32_t index, struct sim_lock *lock, uint32_t resource,
                 enum dlm_mode mode, struct dlm_event *event)
{
    lock->state = LOCK_REQUESTED;
    lock->cookie = ++world->lives[index].cookie;
    lock->resource = resource;
    lock->requested = mode;
    lock->blocks = DLM_MODE_NONE;
    *event = (struct dlm_event){
        .type = DLM_EVENT_REQUEST,
        .request = {.name = world->names[resource], .cookie = lock->cookie, .mode = mode},
    };
}

static void request(struct world *world, uint32_t index, struct sim_lock *lock,
                    struct dlm_event *event)
{
    uint32_t resource = (uint32_t)random_below(&world->random, RESOURCES);

    clients_ask(world, index, lock, resource, draw_mode(world), event);
    event->request.flags = world_one_in(world, 6) ? DLM_NOQUEUE : 0;
}

static void convert(struct world *world, struct sim_lock *lock, enum dlm_mode mode,
                    struct dlm_event *event)
{
    *event = (struct dlm_event){
        .type = DLM_EVENT_CONVERT,
        .convert = {.cookie = lock->cookie, .mode = mode},
    };
    if (dlm_mode_is_down(lock->granted, mode)) {
        if (draw_value(world, lock, &event->convert.value))
            event->convert.flags = DLM_WRITE_VALUE;
        lock->granted = mode; // what is given up is given up before the core hears of it
    } else {
        event->convert.flags = world_one_in(world, 4) ? DLM_NOQUEUE : 0;
        lock->granted = dlm_mode_kept(lock->granted, mode);
    }
    lock->requested = mode;
    lock->state = LOCK_CONVERTING;
}

static void release(struct world *world, struct sim_lock *lock, struct dlm_event *event)
{
    *event = (struct dlm_event){
        .type = DLM_EVENT_RELEASE,
        .release = {.cookie = lock->cookie},
    };
    if (draw_value(world, lock, &event->release.value))
        event->release.flags = DLM_WRITE_VALUE;
    lock->state = LOCK_FREE;
    lock->granted = lock->requested = lock->blocks = DLM_MODE_NONE;
}

// The weakest step that lets the other one in, or all the way.
static void yield(struct world *world, struct sim_lock *lock, struct dlm_event *event)
{
    enum dlm_mode wanted = lock->blocks;

    lock->blocks = DLM_MODE_NONE;
    for (int mode = DLM_PW; mode >= DLM_NL && world_one_in(world, 2); mode--) {
        if (!dlm_mode_is_down(lock->granted, mode) || !dlm_mode_is_compatible(mode, wanted))
            continue;
        convert(world, lock, mode, event);
        return;
    }
    release(world, lock, event);
}

static bool act_granted(struct world *world, struct sim_life *life, struct sim_lock *lock,
                        struct dlm_event *event)
{
    if (lock->blocks != DLM_MODE_NONE && !world_one_in(world, 4)) {
        yield(world, lock, event);
        return true;
    }
    if (world->is_draining || life->state == LIFE_LEAVING) {
        release(world, lock, event);
        return true;
    }
    if (world->now > world->faults_end)
        return false; // only callbacks move things now
    if (world_one_in(world, 3))
        release(world, lock, event);
    else
        convert(world, lock, draw_mode(world), event);
    return true;
}

static bool act_lock(struct world *world, uint32_t index, struct sim_lock *lock,
                     struct dlm_event *event)
{
    struct sim_life *life = &world->lives[index];

    switch (lock->state) {
    case LOCK_FREE:
        if (world->now > world->faults_end || life->state == LIFE_LEAVING)
            return false;
        request(world, index, lock, event);
        return true;
    case LOCK_GRANTED:
        return act_granted(world, life, lock, event);
    default:
        if (life->state != LIFE_LEAVING &&
            (world->now > world->faults_end || !world_one_in(world, 8)))
            return false;
        *event = (struct dlm_event){.type = DLM_EVENT_CANCEL, .cancel = {lock->cookie}};
        return true;
    }
}

size_t clients_act(struct world *world, uint32_t index, struct dlm_event *events)
{
    struct sim_life *life = &world->lives[index];
    size_t count = 0, first = random_below(&world->random, LOCKS_PER_LIFE);
    size_t wanted = world_one_in(world, 4) ? EVENTS_PER_STEP : 1;

    for (size_t i = 0; i < LOCKS_PER_LIFE && count < wanted; i++)
        count += act_lock(world, index, &life->locks[(first + i) % LOCKS_PER_LIFE], &events[count]);
    return count;
}

// ---- what the core says -----------------------------------------------------------------------

static struct sim_lock *lock_find(struct sim_life *life, uint64_t cookie)
{
    for (int i = 0; i < LOCKS_PER_LIFE; i++)
        if (life->locks[i].cookie == cookie && life->locks[i].state != LOCK_FREE)
            return &life->locks[i];
    return NULL;
}

static struct sim_lock *lock_of(struct world *world, struct sim_life *life, uint64_t cookie)
{
    struct sim_lock *lock = lock_find(life, cookie);

    if (lock)
        return lock;
    world_fail(world, "n%u is told of lock %" PRIu64 ", which it has not", life->node.node_id,
               cookie);
    return NULL;
}

void clients_granted(struct world *world, uint32_t index, const struct dlm_effect_grant *grant)
{
    struct sim_lock *lock = lock_of(world, &world->lives[index], grant->cookie);

    if (!lock)
        return;
    if ((lock->state != LOCK_REQUESTED && lock->state != LOCK_CONVERTING) ||
        lock->requested != grant->mode)
        world_fail(world, "lock %" PRIu64 " is granted %s unasked", grant->cookie,
                   dlm_mode_text(grant->mode));
    bool was_asked = lock->granted != grant->mode;
    lock->state = LOCK_GRANTED;
    lock->granted = grant->mode;
    lock->requested = DLM_MODE_NONE;
    world->grants++;
    check_grant(world, index, lock);
    if (was_asked)
        check_noted(world, index, lock);
    check_value(world, index, lock, grant);
}

void clients_denied(struct world *world, uint32_t index, const struct dlm_effect_denied *denied)
{
    struct sim_lock *lock = lock_of(world, &world->lives[index], denied->cookie);

    if (!lock)
        return;
    if (lock->state != LOCK_REQUESTED && lock->state != LOCK_CONVERTING)
        world_fail(world, "lock %" PRIu64 " is denied unasked", denied->cookie);
    lock->requested = DLM_MODE_NONE;
    lock->state = lock->granted == DLM_MODE_NONE ? LOCK_FREE : LOCK_GRANTED;
}

void clients_blocking(struct world *world, uint32_t index,
                      const struct dlm_effect_blocking *blocking)
{
    struct sim_lock *lock = lock_find(&world->lives[index], blocking->cookie);

    if (lock) // else it is released by a later event of the same step
        lock->blocks = blocking->mode;
}

bool clients_are_pending(const struct sim_life *life)
{
    for (int i = 0; i < LOCKS_PER_LIFE; i++)
        if (life->locks[i].state == LOCK_REQUESTED || life->locks[i].state == LOCK_CONVERTING)
            return true;
    return false;
}

bool clients_hold(const struct sim_life *life)
{
    for (int i = 0; i < LOCKS_PER_LIFE; i++)
        if (life->locks[i].granted != DLM_MODE_NONE)
            return true;
    return false;
}
