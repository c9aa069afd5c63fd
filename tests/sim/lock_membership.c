// SPDX-License-Identifier: Apache-2.0
// The membership that the real one (corosync) promises to be: one ordered log of views and
// `recovered`, delivered to each member in order, but to each at a time of its own. Nodes die with
// their frames under way or lost, are expelled while they still run, leave, come back as new lives.
#include "tests/sim/lock_world.h"

#include "fs/base/check.h"
#include "fs/base/memory.h"

#include <inttypes.h>
#include <stdlib.h>

// ---- the log ----------------------------------------------------------------------------------

static void deliver(struct world *world, const struct sim_event *event)
{
    struct sim_life *life = &world->lives[event->life];
    const struct membership_entry *entry = &world->log[event->number];
    struct dlm_event step = {.type = DLM_EVENT_RECOVERED, .recovered = entry->recovered};

    if (!life_is_up(life) || life->state == LIFE_ZOMBIE)
        return;
    if (entry->is_view) {
        step.type = DLM_EVENT_VIEW;
        step.view = &entry->view;
    }
    life_step(world, event->life, &step, 1);
}

// Every member is given the entry; who joins with it starts with it.
static void publish(struct world *world, const struct membership_entry *entry)
{
    if (world->log_count == world->log_capacity) {
        world->log_capacity = world->log_capacity ? world->log_capacity * 2 : 16;
        world->log = memory_resize(world->log, world->log_capacity, sizeof(*world->log));
    }
    world->log[world->log_count++] = *entry;
    for (uint32_t i = 0; i < world->member_count; i++) {
        struct sim_life *life = &world->lives[world->members[i]];
        uint64_t at = world->now + world_between(world, 1, world_one_in(world, 4) ? 120 : 12);
        if (at < life->log_time)
            at = life->log_time;
        life->log_time = at;
        struct sim_event *event = world_schedule(world, at - world->now, deliver);
        event->life = world->members[i];
        event->number = world->log_count - 1;
    }
}

static void publish_view(struct world *world)
{
    struct membership_entry entry = {.is_view = true};

    world->epoch += world_between(world, 1, 3);
    entry.view.epoch = world->epoch;
    entry.view.member_count = world->member_count;
    for (uint32_t i = 0; i < world->member_count; i++)
        entry.view.members[i] = world->lives[world->members[i]].node;
    entry.view.dead_count = world->dead_count;
    for (uint32_t i = 0; i < world->dead_count; i++)
        entry.view.dead[i] = world->lives[world->dead[i]].node;
    publish(world, &entry);
}

static bool remove_from(uint32_t *list, uint32_t *count, uint32_t life)
{
    for (uint32_t i = 0; i < *count; i++) {
        if (list[i] != life)
            continue;
        list[i] = list[--*count];
        return true;
    }
    return false;
}

// ---- death ------------------------------------------------------------------------------------

static void come_back(struct world *world, const struct sim_event *event);

// At times at once, so that its new life meets frames of the old one.
static void plan_return(struct world *world, uint32_t node_id)
{
    if (world_one_in(world, 3))
        return;
    uint64_t delay = world_one_in(world, 2) ? 1 : world_between(world, 1, 100);
    world_schedule(world, delay, come_back)->number = node_id;
}

// Fenced and replayed: what it held is free from the moment at which the message is sent.
static void recover(struct world *world, const struct sim_event *event)
{
    struct sim_life *life = &world->lives[event->life];
    struct membership_entry entry = {.recovered = life->node};

    if (probe_holds_back(world, event->life)) {
        world_schedule(world, 20, recover)->life = event->life;
        return;
    }
    if (life_is_up(life)) {
        world_trace(world, "n%u is fenced", life->node.node_id);
        life_stop(world, event->life);
    }
    remove_from(world->dead, &world->dead_count, event->life);
    check_forget(world, event->life);
    life->state = LIFE_OVER;
    world_trace(world, "n%u.%" PRIu64 " is recovered", life->node.node_id, life->node.incarnation);
    publish(world, &entry);
    plan_return(world, life->node.node_id);
}

// The members agree that it is dead; others that died in the meantime go with the same view.
static void notice(struct world *world, const struct sim_event *event)
{
    bool can_probe = probe_can_start(world);
    uint32_t count = 0, dead = 0;

    (void)event;
    for (uint32_t i = 0; i < world->life_count; i++) {
        struct sim_life *life = &world->lives[i];
        if (life->state != LIFE_DEAD && life->state != LIFE_ZOMBIE)
            continue;
        if (!remove_from(world->members, &world->member_count, i))
            continue;
        dead = i;
        count++;
        world->dead[world->dead_count++] = i;
        world_schedule(world, world_between(world, 10, world_one_in(world, 3) ? 30 : 300), recover)
            ->life = i;
    }
    if (count)
        publish_view(world);
    if (count == 1 && can_probe)
        probe_start(world, dead);
}

static void cut_all(struct world *world, uint32_t index)
{
    for (uint32_t i = 0; i < world->life_count; i++)
        if (i != index && world->links[i < index ? i : index][i < index ? index : i])
            network_cut(world, i, index);
}

static void crash(struct world *world, uint32_t index)
{
    world_trace(world, "n%u crashes", world->lives[index].node.node_id);
    world->lives[index].state = LIFE_DEAD;
    life_stop(world, index);
    if (world_one_in(world, 2))
        cut_all(world, index); // else what it said last still arrives
    world_schedule(world, world_between(world, 5, 60), notice);
}

static void expel(struct world *world, uint32_t index)
{
    world_trace(world, "n%u is expelled", world->lives[index].node.node_id);
    world->lives[index].state = LIFE_ZOMBIE;
    notice(world, NULL);
}

// ---- leaving and joining ----------------------------------------------------------------------

void membership_left(struct world *world, uint32_t index)
{
    struct sim_life *life = &world->lives[index];

    if (world->member_count < 2 || !remove_from(world->members, &world->member_count, index))
        return;
    world_trace(world, "n%u leaves", life->node.node_id);
    life->state = LIFE_OVER;
    life_stop(world, index);
    publish_view(world);
    plan_return(world, life->node.node_id);
}

// A joiner waits until its earlier life is recovered (rule 27).
static bool may_join(const struct world *world, uint32_t node_id)
{
    for (uint32_t i = 0; i < world->life_count; i++)
        if (world->lives[i].node.node_id == node_id && world->lives[i].state != LIFE_OVER)
            return false;
    return world->life_count < LIVES_MAX && world->now < world->faults_end;
}

static void join(struct world *world, uint32_t node_id)
{
    if (!may_join(world, node_id))
        return;
    uint32_t index = life_new(world, node_id);
    world_trace(world, "n%u.%" PRIu64 " joins", node_id, world->lives[index].node.incarnation);
    world->members[world->member_count++] = index;
    publish_view(world);
}

static void come_back(struct world *world, const struct sim_event *event)
{
    join(world, (uint32_t)event->number);
}

// ---- faults -----------------------------------------------------------------------------------

static void reconnect(struct world *world, const struct sim_event *event)
{
    network_connect(world, event->life, event->peer);
}

static void cut_link(struct world *world)
{
    uint32_t a = (uint32_t)random_below(&world->random, world->member_count);
    uint32_t b = (uint32_t)random_below(&world->random, world->member_count);

    if (a == b)
        return;
    network_cut(world, world->members[a], world->members[b]);
    struct sim_event *event = world_schedule(world, world_between(world, 1, 100), reconnect);
    event->life = world->members[a];
    event->peer = world->members[b];
}

static uint32_t running_member(struct world *world)
{
    uint32_t running[SLOTS_MAX], count = 0;

    for (uint32_t i = 0; i < world->member_count; i++)
        if (world->lives[world->members[i]].state == LIFE_RUNNING)
            running[count++] = world->members[i];
    return count < 2 ? UINT32_MAX : running[random_below(&world->random, count)];
}

void membership_fault(struct world *world)
{
    uint32_t life = running_member(world);

    switch (random_below(&world->random, 10)) {
    case 0:
    case 1:
        cut_link(world);
        return;
    case 2:
    case 8:
    case 9:
        join(world, 1 + (uint32_t)random_below(&world->random, world->slot_count));
        return;
    case 3:
        if (life != UINT32_MAX)
            world->lives[life].state = LIFE_LEAVING;
        return;
    case 4:
    case 5:
        if (life != UINT32_MAX)
            expel(world, life);
        return;
    default:
        if (life != UINT32_MAX)
            crash(world, life);
        return;
    }
}

void membership_start(struct world *world, uint32_t count)
{
    for (uint32_t node_id = 1; node_id <= count; node_id++)
        world->members[world->member_count++] = life_new(world, node_id);
    publish_view(world);
}

bool membership_is_settled(const struct world *world)
{
    if (world->dead_count)
        return false;
    for (uint32_t i = 0; i < world->member_count; i++) {
        const struct sim_life *life = &world->lives[world->members[i]];
        if (!life_is_up(life))
            return false;
        struct dlm_core_status status = dlm_core_status_get(life->core);
        if (status.epoch != world->epoch || !status.is_complete || life_is_busy(life))
            return false;
    }
    return true;
}
