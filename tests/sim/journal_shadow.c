// SPDX-License-Identifier: Apache-2.0
// What a power cut after this very write would have left: tried on a clone of the disk, in a world
// of its own, while the history itself goes on as if nothing had happened. So one history has its
// disk cut at many writes.
#include "tests/sim/journal_world.h"

#include <errno.h>
#include <inttypes.h>

#include "fs/base/check.h"
#include "fs/base/error.h"

struct shadow {
    struct sim view; // the history's truth and locks over the clone's disk
    struct world_node node;
    struct lamport_clock clock;
    struct block_device *path;
    struct world_event cut;
    int result;
};

static void cut_replay(struct world_event *event)
{
    struct shadow *shadow = (struct shadow *)((char *)event - offsetof(struct shadow, cut));
    sim_disk_stop(shadow->path);
}

static void run_replay(void *argument)
{
    struct shadow *shadow = argument;
    struct sim *view = &shadow->view;
    struct journal_config configs[NODES_MAX];
    struct journal_replay_report report;
    for (uint32_t slot = 0; slot < view->node_count; slot++)
        configs[slot] =
            sim_journal_config(view, slot, shadow->path, &shadow->node.environment, &shadow->clock);
    shadow->result = journal_replay(configs, view->node_count, &report);
}

// One replay of all journals, perhaps cut off by another power cut.
static int replay(struct shadow *shadow, bool may_be_cut)
{
    struct world *world = &shadow->view.world;
    shadow->path = sim_disk_attach(shadow->view.disk, "shadow");
    shadow->cut.fire = cut_replay;
    if (may_be_cut && random_one_in(&world->random, 4))
        world_event_arm(world, &shadow->cut, world->now_ns + random_below(&world->random, 1000000));
    coroutine_start(world->scheduler, "shadow replay", run_replay, shadow);
    world_run(world);
    sim_disk_stop(shadow->path);
    if (shadow->result == -EIO)
        sim_disk_power_cut(shadow->view.disk);
    block_device_close(shadow->path);
    return shadow->result;
}

static void look(struct shadow *shadow, const struct sim *sim)
{
    for (uint32_t slot = 0; slot < sim->node_count; slot++) {
        if (sim->slots[slot].life != NULL)
            truth_check_dead(&shadow->view, sim->slots[slot].life);
    }
    truth_check_disk(&shadow->view, "after a power cut");
}

void shadow_power_cut(struct sim *sim)
{
    struct shadow shadow = {.view = *sim};
    struct sim *view = &shadow.view;
    view->options.trace = NULL;
    world_init(&view->world, random_u64(&sim->world.random), sim->options.shadow_scheduler);
    world_node_init(&shadow.node, &view->world);
    view->disk = sim_disk_clone(sim->disk, &view->world, &view->world.random);
    sim->shadow_count++;
    int result = replay(&shadow, true);
    if (result == -EIO)
        result = replay(&shadow, false);
    if (result == 0)
        look(&shadow, sim);
    else
        sim_fail(view, "replay of all journals: %s", error_text(result));
    if (view->failure[0] != '\0')
        sim_fail(sim, "shadow at write %" PRIu64 ": %s",
                 sim_disk_counts_get(sim->disk).landed_count, view->failure);
    sim_disk_free(view->disk);
    world_deinit(&view->world);
}
