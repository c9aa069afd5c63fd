// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/world.h"

#include <stdlib.h>

#include "fs/base/check.h"
#include "fs/base/memory.h"

// --- the heap of events --------------------------------------------------------------------------

static bool is_before(const struct world_event *a, const struct world_event *b)
{
    return a->at_ns != b->at_ns ? a->at_ns < b->at_ns : a->order < b->order;
}

static void put(struct world *world, size_t slot, struct world_event *event)
{
    world->heap[slot] = event;
    event->heap_slot = slot;
}

static void move_up(struct world *world, size_t slot, struct world_event *event)
{
    for (; slot > 1 && is_before(event, world->heap[slot / 2]); slot /= 2)
        put(world, slot, world->heap[slot / 2]);
    put(world, slot, event);
}

static void move_down(struct world *world, size_t slot, struct world_event *event)
{
    for (;;) {
        size_t child = slot * 2;
        if (child > world->heap_count)
            break;
        if (child < world->heap_count && is_before(world->heap[child + 1], world->heap[child]))
            child++;
        if (!is_before(world->heap[child], event))
            break;
        put(world, slot, world->heap[child]);
        slot = child;
    }
    put(world, slot, event);
}

void world_event_disarm(struct world *world, struct world_event *event)
{
    size_t slot = event->heap_slot;
    if (slot == 0)
        return;
    event->heap_slot = 0;
    struct world_event *last = world->heap[world->heap_count--];
    if (last == event)
        return;
    move_down(world, slot, last);
    move_up(world, last->heap_slot, last);
}

void world_event_arm(struct world *world, struct world_event *event, uint64_t at_ns)
{
    world_event_disarm(world, event);
    if (world->heap_count + 1 >= world->heap_capacity) {
        world->heap_capacity = world->heap_capacity == 0 ? 64 : world->heap_capacity * 2;
        world->heap = memory_resize(world->heap, world->heap_capacity, sizeof(*world->heap));
    }
    event->at_ns = at_ns < world->now_ns ? world->now_ns : at_ns;
    event->order = world->next_order++;
    world->heap_count++;
    move_up(world, world->heap_count, event);
}

// --- the world -----------------------------------------------------------------------------------

void world_init(struct world *world, uint64_t seed, struct scheduler *scheduler)
{
    *world = (struct world){.scheduler = scheduler};
    random_init(&world->random, seed);
    LIST_INIT(&world->free_timers);
}

bool world_step(struct world *world)
{
    scheduler_run(world->scheduler);
    if (world->heap_count == 0)
        return false;
    struct world_event *event = world->heap[1];
    world_event_disarm(world, event);
    world->now_ns = event->at_ns;
    event->fire(event);
    scheduler_run(world->scheduler);
    return true;
}

void world_run(struct world *world)
{
    while (world_step(world)) {
    }
}

// --- timers --------------------------------------------------------------------------------------

struct world_timer {
    struct world_event event; // first
    LIST_ENTRY(world_timer) link;
    struct world_node *node;
    struct environment_timer *timer;
    uint64_t at_boot_ns;
};

void world_deinit(struct world *world)
{
    struct world_timer *timer;
    while ((timer = LIST_FIRST(&world->free_timers)) != NULL) {
        LIST_REMOVE(timer, link);
        free(timer);
    }
    free(world->heap);
}

static void timer_release(struct world_timer *timer)
{
    timer->timer->implementation = NULL;
    LIST_REMOVE(timer, link);
    LIST_INSERT_HEAD(&timer->node->world->free_timers, timer, link);
}

static void timer_fire(struct world_event *event)
{
    struct world_timer *timer = (struct world_timer *)event;
    struct environment_timer *user = timer->timer;
    struct world_node *node = timer->node;
    bool is_stopped = node->is_stopped;
    if (!is_stopped && node->paused_until_ns > node->world->now_ns) {
        world_event_arm(node->world, event, node->paused_until_ns);
        return;
    }
    timer_release(timer);
    if (!is_stopped)
        user->fire(user);
}

static struct world_timer *timer_new(struct world_node *node, struct environment_timer *user)
{
    struct world_timer *timer = LIST_FIRST(&node->world->free_timers);
    if (timer != NULL)
        LIST_REMOVE(timer, link);
    else
        timer = malloc(sizeof(*timer));
    CHECK(timer != NULL);
    *timer = (struct world_timer){.event.fire = timer_fire, .node = node, .timer = user};
    user->implementation = timer;
    LIST_INSERT_HEAD(&node->timers, timer, link);
    return timer;
}

static void node_timer_arm(struct environment *environment, struct environment_timer *user,
                           uint64_t at_boot_ns)
{
    struct world_node *node = (struct world_node *)environment;
    struct world_timer *timer = user->implementation;
    if (timer == NULL)
        timer = timer_new(node, user);
    timer->at_boot_ns = at_boot_ns;
    world_event_arm(node->world, &timer->event, world_node_time_ns(node, at_boot_ns));
}

static void node_timer_disarm(struct environment *environment, struct environment_timer *user)
{
    struct world_node *node = (struct world_node *)environment;
    struct world_timer *timer = user->implementation;
    if (timer == NULL)
        return;
    world_event_disarm(node->world, &timer->event);
    timer_release(timer);
}

uint64_t world_node_time_ns(const struct world_node *node, uint64_t boot_ns)
{
    if (boot_ns <= node->clock_base_ns)
        return 0;
    unsigned __int128 past_base = (unsigned __int128)(boot_ns - node->clock_base_ns) * 1000;
    unsigned __int128 at_ns = (past_base + node->clock_rate - 1) / node->clock_rate;
    return at_ns < UINT64_MAX ? (uint64_t)at_ns : UINT64_MAX;
}

static uint64_t node_boot_ns(struct environment *environment)
{
    const struct world_node *node = (const struct world_node *)environment;
    unsigned __int128 scaled = (unsigned __int128)node->world->now_ns * node->clock_rate;
    return node->clock_base_ns + (uint64_t)(scaled / 1000);
}

static int64_t node_wall_ns(struct environment *environment)
{
    const int64_t year_2020_ns = INT64_C(1577836800000000000);
    int64_t offset_ns = ((const struct world_node *)environment)->wall_offset_ns;
    return year_2020_ns + offset_ns + (int64_t)node_boot_ns(environment);
}

static uint64_t node_random_u64(struct environment *environment)
{
    return random_u64(&((struct world_node *)environment)->world->random);
}

void world_node_init(struct world_node *node, struct world *world)
{
    static const struct environment_operations operations = {
        .boot_ns = node_boot_ns,
        .wall_ns = node_wall_ns,
        .random_u64 = node_random_u64,
        .timer_arm = node_timer_arm,
        .timer_disarm = node_timer_disarm,
    };
    *node = (struct world_node){
        .environment = {.operations = &operations, .scheduler = world->scheduler},
        .world = world,
        .clock_rate = 1000,
    };
    LIST_INIT(&node->timers);
}

void world_node_set_rate(struct world_node *node, uint64_t clock_rate)
{
    struct world_timer *timer;
    uint64_t boot_ns = node_boot_ns(&node->environment);
    node->clock_rate = clock_rate;
    node->clock_base_ns = 0;
    uint64_t elapsed_ns = node_boot_ns(&node->environment);
    CHECK(boot_ns >= elapsed_ns);
    node->clock_base_ns = boot_ns - elapsed_ns;
    LIST_FOREACH (timer, &node->timers, link)
        world_event_arm(node->world, &timer->event, world_node_time_ns(node, timer->at_boot_ns));
}

void world_node_stop(struct world_node *node)
{
    node->is_stopped = true;
}
