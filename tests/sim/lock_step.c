// SPDX-License-Identifier: Apache-2.0
// Steps of a core. While it is busy with a view change its events wait in order, and it goes on a
// slice at a time, with time for everything else in between. What it may say later it says later.
#include "tests/sim/lock_world.h"

#include "fs/base/check.h"
#include "fs/base/memory.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static void trace_step(struct world *world, const struct sim_life *life,
                       const struct dlm_event *events, size_t count)
{
    TEXT(text, TEXT_BYTES);

    for (size_t i = 0; world->trace && i < count; i++) {
        text_init(&text, text_bytes, sizeof(text_bytes));
        dlm_event_to_text(&events[i], &text);
        world_trace(world, "n%u.%" PRIu64 " <- %s", life->node.node_id, life->node.incarnation,
                    text.bytes);
    }
}

// ---- what waits -------------------------------------------------------------------------------

static void *copy_of(const void *bytes, size_t length)
{
    void *copy = malloc(length);

    CHECK(copy != NULL);
    return memcpy(copy, bytes, length);
}

static void wait_in_line(struct sim_life *life, const struct dlm_event *event)
{
    if (life->waiting_count == life->waiting_capacity) {
        life->waiting_capacity = life->waiting_capacity ? 2 * life->waiting_capacity : 16;
        life->waiting =
            memory_resize(life->waiting, life->waiting_capacity, sizeof(*life->waiting));
    }
    struct sim_waiting *waiting = &life->waiting[life->waiting_count++];
    *waiting = (struct sim_waiting){.event = *event};
    if (event->type == DLM_EVENT_FRAME)
        waiting->event.frame.bytes = waiting->copy =
            copy_of(event->frame.bytes, event->frame.length);
    if (event->type == DLM_EVENT_VIEW)
        waiting->event.view = waiting->copy = copy_of(event->view, sizeof(*event->view));
}

static void first_is_taken(struct sim_life *life)
{
    free(life->waiting[0].copy);
    life->waiting_count--;
    memmove(life->waiting, life->waiting + 1, life->waiting_count * sizeof(life->waiting[0]));
}

void life_forget_waiting(struct sim_life *life)
{
    while (life->waiting_count)
        first_is_taken(life);
}

bool life_is_busy(const struct sim_life *life)
{
    return dlm_core_is_busy(life->core) || life->waiting_count;
}

// ---- steps ------------------------------------------------------------------------------------

static void go_on_later(struct world *world, uint32_t index);

static size_t step(struct world *world, uint32_t index, const struct dlm_event *events,
                   size_t count)
{
    struct sim_life *life = &world->lives[index];

    world->steps++;
    life->is_stepping = true;
    size_t taken = dlm_core_step(life->core, events, count, &life->effects);
    trace_step(world, life, events, taken);
    for (size_t i = 0; i < life->effects.count; i++)
        life_take_effect(world, index, &life->effects.items[i]);
    life->is_stepping = false;
    check_core(world, index);
    go_on_later(world, index);
    return taken;
}

static void go_on(struct world *world, const struct sim_event *event)
{
    struct sim_life *life = &world->lives[event->life];

    if (!life_is_up(life))
        return;
    life->goes_on = false;
    if (!life->waiting_count)
        step(world, event->life, NULL, 0);
    else if (step(world, event->life, &life->waiting[0].event, 1))
        first_is_taken(life);
    go_on_later(world, event->life);
}

static void go_on_later(struct world *world, uint32_t index)
{
    struct sim_life *life = &world->lives[index];

    bool is_quick = life_is_busy(life) && !world_one_in(world, 8);

    if (life->goes_on || (!life_is_busy(life) && !dlm_core_has_more_to_say(life->core)))
        return;
    life->goes_on = true;
    world_schedule(world, is_quick ? 0 : world_between(world, 1, 20), go_on)->life = index;
}

void life_step(struct world *world, uint32_t index, const struct dlm_event *events, size_t count)
{
    struct sim_life *life = &world->lives[index];
    size_t taken = 0;

    if (!life_is_busy(life))
        taken = step(world, index, events, count);
    for (; taken < count; taken++)
        wait_in_line(life, &events[taken]);
    go_on_later(world, index);
}
