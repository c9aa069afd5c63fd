// SPDX-License-Identifier: Apache-2.0
// I6 for what is new: one member of a complete view dies, and somebody asks for a resource that it
// mastered and nobody ever held. `recovered` is held back until that is granted, so a core that
// lets it wait for the recovery waits for ever.
#include "tests/sim/lock_world.h"

enum { PATIENCE = 3000 };

static bool is_fresh_free(const struct world *world)
{
    for (uint32_t i = 0; i < world->life_count; i++)
        for (int j = 0; j < LOCKS_PER_LIFE && world->lives[i].state != LIFE_OVER; j++)
            if (world->lives[i].locks[j].state != LOCK_FREE &&
                world->lives[i].locks[j].resource == RESOURCE_FRESH)
                return false;
    return true;
}

static struct sim_lock *free_lock(struct sim_life *life)
{
    for (int i = 0; i < LOCKS_PER_LIFE; i++)
        if (life->locks[i].state == LOCK_FREE)
            return &life->locks[i];
    return NULL;
}

static void ask(struct world *world, const struct sim_event *event)
{
    struct sim_probe *probe = &world->probe;
    struct sim_life *life = &world->lives[event->life];
    struct sim_lock *lock = free_lock(life);

    if (!probe->is_on || probe->epoch != world->epoch || event->number != probe->epoch)
        return;
    if (!life_is_up(life) || !lock) {
        probe->is_on = false;
        return;
    }
    struct dlm_event request;
    clients_ask(world, event->life, lock, RESOURCE_FRESH, DLM_EX, &request);
    probe->cookie = lock->cookie;
    life_step(world, event->life, &request, 1);
}

bool probe_can_start(const struct world *world)
{
    if (world->dead_count || !is_fresh_free(world))
        return false;
    for (uint32_t i = 0; i < world->member_count; i++) {
        const struct sim_life *life = &world->lives[world->members[i]];
        if (!life_is_up(life))
            continue; // whoever died
        struct dlm_core_status status = dlm_core_status_get(life->core);
        if (status.epoch != world->epoch || !status.is_complete)
            return false;
    }
    return true;
}

void probe_start(struct world *world, uint32_t dead)
{
    uint32_t prober = world->members[random_below(&world->random, world->member_count)];
    struct sim_life *life = &world->lives[prober];
    struct lock_name *name = &world->names[RESOURCE_FRESH];

    if (life->state != LIFE_RUNNING || world_one_in(world, 3))
        return;
    do {
        *name = (struct lock_name){3, ++world->fresh_id};
    } while (dlm_core_master_of(life->core, *name).node_id != world->lives[dead].node.node_id);
    world->probe = (struct sim_probe){.is_on = true,
                                      .dead = dead,
                                      .life = prober,
                                      .epoch = world->epoch,
                                      .deadline = world->now + PATIENCE};
    struct sim_event *event = world_schedule(world, world_between(world, 1, 100), ask);
    event->life = prober;
    event->number = world->epoch;
}

static bool is_waiting(const struct world *world)
{
    const struct sim_probe *probe = &world->probe;
    const struct sim_life *life = &world->lives[probe->life];

    if (!probe->cookie)
        return true; // has not asked yet
    for (int i = 0; i < LOCKS_PER_LIFE; i++)
        if (life->locks[i].cookie == probe->cookie)
            return life->locks[i].state == LOCK_REQUESTED;
    return false;
}

bool probe_holds_back(struct world *world, uint32_t dead)
{
    struct sim_probe *probe = &world->probe;

    if (!probe->is_on || probe->dead != dead)
        return false;
    probe->is_on =
        probe->epoch == world->epoch && life_is_up(&world->lives[probe->life]) && is_waiting(world);
    if (probe->is_on && world->now > probe->deadline)
        world_fail(world,
                   "I6: n%u waits for a resource that nobody has until the dead is recovered",
                   world->lives[probe->life].node.node_id);
    return probe->is_on;
}
