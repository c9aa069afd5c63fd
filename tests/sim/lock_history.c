// SPDX-License-Identifier: Apache-2.0
// One history: users and faults for a while; then no new requests and no faults, and everybody who
// waits must be served because callbacks are answered; then all is given back, and nothing may be
// left.
#include "tests/sim/lock_world.h"

#include <inttypes.h>
#include <string.h>

enum {
    BUSY_TIME = 600,
    PATIENCE = 20000, // virtual time within which every wait has to end
    SLICE = 50,
};

static void fault(struct world *world, const struct sim_event *event)
{
    (void)event;
    membership_fault(world);
}

static void plan_faults(struct world *world)
{
    uint64_t count = random_below(&world->random, 9);

    for (uint64_t i = 0; i < count; i++) {
        uint64_t at = world_between(world, 20, BUSY_TIME - 20);
        world_schedule(world, at, fault);
        if (world_one_in(world, 3)) // close together: views in the middle of rebuilds
            world_schedule(world, at + random_below(&world->random, 12), fault);
    }
}

static void connect_all(struct world *world)
{
    for (uint32_t a = 0; a < world->life_count; a++)
        for (uint32_t b = a + 1; b < world->life_count; b++)
            if (world->links[a][b])
                network_connect(world, a, b);
}

static bool anybody_waits(const struct world *world)
{
    for (uint32_t i = 0; i < world->life_count; i++)
        if (life_is_up(&world->lives[i]) &&
            (clients_are_pending(&world->lives[i]) || ranges_are_pending(&world->lives[i])))
            return true;
    return false;
}

static bool anybody_holds(const struct world *world)
{
    for (uint32_t i = 0; i < world->life_count; i++)
        if (life_is_up(&world->lives[i]) &&
            (clients_hold(&world->lives[i]) || ranges_hold(&world->lives[i])))
            return true;
    return false;
}

static void describe_waits(struct world *world)
{
    for (uint32_t i = 0; world->trace && i < world->life_count; i++) {
        TEXT(text, TEXT_BYTES);
        if (!life_is_up(&world->lives[i]))
            continue;
        dlm_core_to_text(world->lives[i].core, &text);
        world_trace(world, "waits:\n%s", text.bytes);
    }
}

// Runs until nobody waits.
static void wait_for_all(struct world *world)
{
    uint64_t deadline = world->now + PATIENCE;

    while (!world->is_failed && (anybody_waits(world) || !membership_is_settled(world))) {
        if (world->now >= deadline) {
            describe_waits(world);
            world_fail(world, "liveness: somebody still waits %d after the last fault", PATIENCE);
        }
        world_run(world, world->now + SLICE);
    }
}

// Lets everything arrive that is under way, then compares both sides.
static void compare(struct world *world)
{
    world->is_frozen = true;
    world_run(world, world->now + 1000);
    world->is_frozen = false;
    if (!world->is_failed)
        check_agreement(world);
}

static void give_back(struct world *world)
{
    uint64_t deadline = world->now + PATIENCE;

    world->is_draining = true;
    while (!world->is_failed && (anybody_holds(world) || anybody_waits(world))) {
        if (world->now >= deadline)
            world_fail(world, "liveness: not all could be given back");
        world_run(world, world->now + SLICE);
    }
    world_run(world, world->now + 500); // what is under way arrives
}

void history_run(uint64_t seed, FILE *trace, struct history_result *result)
{
    struct world world;

    world_init(&world, seed, trace);
    world.faults_end = BUSY_TIME;
    membership_start(&world, (uint32_t)world_between(&world, 1, world.slot_count));
    plan_faults(&world);
    world_run(&world, BUSY_TIME);
    connect_all(&world);
    if (!world.is_failed)
        compare(&world);
    if (!world.is_failed)
        wait_for_all(&world);
    if (!world.is_failed)
        compare(&world);
    if (!world.is_failed)
        give_back(&world);
    if (!world.is_failed)
        check_empty(&world);
    *result = (struct history_result){
        .is_failed = world.is_failed,
        .steps = world.steps,
        .grants = world.grants,
        .views = world.epoch,
        .ended_at = world.now,
    };
    memcpy(result->failure, world.failure, sizeof(result->failure));
    world_deinit(&world);
}
