// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/lock_world.h"

#include "fs/base/check.h"
#include "fs/base/memory.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

// ---- chance -----------------------------------------------------------------------------------

uint64_t world_between(struct world *world, uint64_t low, uint64_t high)
{
    return low + random_below(&world->random, high - low + 1);
}

bool world_one_in(struct world *world, uint64_t n)
{
    return random_one_in(&world->random, n);
}

// ---- time -------------------------------------------------------------------------------------

static bool is_before(const struct sim_event *a, const struct sim_event *b)
{
    return a->time != b->time ? a->time < b->time : a->order < b->order;
}

static void heap_swap(struct world *world, size_t a, size_t b)
{
    struct sim_event event = world->heap[a];

    world->heap[a] = world->heap[b];
    world->heap[b] = event;
}

static size_t heap_up(struct world *world, size_t at)
{
    while (at && is_before(&world->heap[at], &world->heap[(at - 1) / 2])) {
        heap_swap(world, at, (at - 1) / 2);
        at = (at - 1) / 2;
    }
    return at;
}

static void heap_down(struct world *world)
{
    for (size_t at = 0;;) {
        size_t least = at;
        for (size_t child = 2 * at + 1; child <= 2 * at + 2; child++)
            if (child < world->heap_count && is_before(&world->heap[child], &world->heap[least]))
                least = child;
        if (least == at)
            return;
        heap_swap(world, at, least);
        at = least;
    }
}

struct sim_event *world_schedule(struct world *world, uint64_t delay,
                                 void (*run)(struct world *, const struct sim_event *))
{
    if (world->heap_count == world->heap_capacity) {
        world->heap_capacity = world->heap_capacity ? world->heap_capacity * 2 : 256;
        world->heap = memory_resize(world->heap, world->heap_capacity, sizeof(*world->heap));
    }
    world->heap[world->heap_count] = (struct sim_event){
        .time = world->now + delay,
        .order = world->order++,
        .run = run,
    };
    return &world->heap[heap_up(world, world->heap_count++)];
}

bool world_run(struct world *world, uint64_t time)
{
    while (world->heap_count && !world->is_failed && world->heap[0].time <= time) {
        struct sim_event event = world->heap[0];
        heap_swap(world, 0, --world->heap_count);
        heap_down(world);
        world->now = event.time;
        event.run(world, &event);
        free(event.bytes);
    }
    if (world->now < time && !world->is_failed)
        world->now = time;
    return world->heap_count > 0;
}

// ---- words ------------------------------------------------------------------------------------

void world_fail(struct world *world, const char *format, ...)
{
    va_list arguments;

    if (world->is_failed)
        return;
    world->is_failed = true;
    int length = snprintf(world->failure, sizeof(world->failure), "at %" PRIu64 ": ", world->now);
    va_start(arguments, format);
    vsnprintf(world->failure + length, sizeof(world->failure) - (size_t)length, format, arguments);
    va_end(arguments);
    world_trace(world, "FAILED %s", world->failure);
}

void world_trace(struct world *world, const char *format, ...)
{
    va_list arguments;

    if (!world->trace)
        return;
    fprintf(world->trace, "%6" PRIu64 " ", world->now);
    va_start(arguments, format);
    vfprintf(world->trace, format, arguments);
    va_end(arguments);
    fputc('\n', world->trace);
}

// ---- lives ------------------------------------------------------------------------------------

bool life_is_up(const struct sim_life *life)
{
    return life->core != NULL;
}

uint32_t life_find(const struct world *world, struct dlm_node node)
{
    for (uint32_t i = 0; i < world->life_count; i++)
        if (world->lives[i].node.node_id == node.node_id &&
            world->lives[i].node.incarnation == node.incarnation)
            return i;
    return UINT32_MAX;
}

static void act(struct world *world, const struct sim_event *event)
{
    struct sim_life *life = &world->lives[event->life];
    struct dlm_event events[EVENTS_PER_STEP];
    size_t count;

    if (!life_is_up(life))
        return;
    if (world->is_frozen)
        count = 0;
    else if (world_one_in(world, 2))
        count = clients_act(world, event->life, events);
    else
        count = ranges_act(world, event->life, events);
    if (count)
        life_step(world, event->life, events, count);
    bool is_idle = !clients_are_pending(life) && !clients_hold(life) && !ranges_are_pending(life) &&
                   !ranges_hold(life);
    if (life->state == LIFE_LEAVING && is_idle)
        membership_left(world, event->life);
    if (life_is_up(life))
        world_schedule(world, world_between(world, 1, 24), act)->life = event->life;
}

uint32_t life_new(struct world *world, uint32_t node_id)
{
    uint32_t index = world->life_count++;
    struct sim_life *life = &world->lives[index];
    uint64_t incarnation = 1;

    CHECK(index < LIVES_MAX);
    for (uint32_t i = 0; i < index; i++)
        incarnation += world->lives[i].node.node_id == node_id;
    life->node = (struct dlm_node){node_id, incarnation};
    life->core = dlm_core_new(&(struct dlm_core_config){life->node, world->slice, &life->clock});
    for (int i = 0; i < LOCKS_PER_LIFE; i++)
        life->locks[i].granted = life->locks[i].requested = life->locks[i].blocks = DLM_MODE_NONE;
    ranges_init(life);
    world_schedule(world, world_between(world, 1, 20), act)->life = index;
    return index;
}

void life_stop(struct world *world, uint32_t index)
{
    struct sim_life *life = &world->lives[index];

    CHECK(!life->is_stepping);
    life_forget_waiting(life);
    dlm_core_free(life->core);
    life->core = NULL;
}

// ---- effects ----------------------------------------------------------------------------------

static void trace_effect(struct world *world, const struct sim_life *life,
                         const struct dlm_effect *effect)
{
    TEXT(text, TEXT_BYTES);

    if (!world->trace || effect->type == DLM_EFFECT_SEND)
        return;
    dlm_effect_to_text(effect, &text);
    world_trace(world, "n%u.%" PRIu64 " -> %s", life->node.node_id, life->node.incarnation,
                text.bytes);
}

void life_take_effect(struct world *world, uint32_t index, const struct dlm_effect *effect)
{
    struct sim_life *life = &world->lives[index];

    trace_effect(world, life, effect);
    switch (effect->type) {
    case DLM_EFFECT_SEND:
        network_send(world, index, life_find(world, effect->send.to),
                     dlm_effects_frame(&life->effects, &effect->send), effect->send.length);
        return;
    case DLM_EFFECT_GRANT:
        clients_granted(world, index, &effect->grant);
        return;
    case DLM_EFFECT_DENIED:
        clients_denied(world, index, &effect->denied);
        return;
    case DLM_EFFECT_BLOCKING:
        clients_blocking(world, index, &effect->blocking);
        return;
    case DLM_EFFECT_RANGE_RESULT:
        ranges_result(world, index, &effect->range_result);
        return;
    case DLM_EFFECT_VIEW_DONE:
        return;
    case DLM_EFFECT_BAD_FRAME:
        world_fail(world, "n%u took a frame for a bad one", life->node.node_id);
        return;
    }
}

// ---- beginning and end ------------------------------------------------------------------------

void world_init(struct world *world, uint64_t seed, FILE *trace)
{
    *world = (struct world){.trace = trace};
    random_init(&world->random, seed);
    for (uint32_t i = 0; i < RESOURCES; i++)
        world->names[i] = (struct lock_name){1 + i % 2, world_between(world, 1, 1000000)};
    world->slot_count = (uint32_t)world_between(world, 2, SLOTS_MAX);
    world->delay_max = world_one_in(world, 3) ? 40 : 4;
    world->slice = world_one_in(world, 3) ? 0 : (uint32_t)world_between(world, 1, 6);
}

void world_deinit(struct world *world)
{
    for (size_t i = 0; i < world->heap_count; i++)
        free(world->heap[i].bytes);
    free(world->heap);
    for (uint32_t i = 0; i < world->life_count; i++) {
        if (life_is_up(&world->lives[i]))
            life_stop(world, i);
        dlm_effects_deinit(&world->lives[i].effects);
        free(world->lives[i].waiting);
    }
    network_deinit(world);
    free(world->log);
}
