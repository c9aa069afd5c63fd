// SPDX-License-Identifier: Apache-2.0
// The life of a node: mount, workers and the giver of locks, unmount or crash. A crashed life's
// coroutines unwind by the errors that everything answers from then on; what they do counts for
// nothing.
#include "tests/sim/journal_world.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/check.h"

// --- memory --------------------------------------------------------------------------------------

// One node in many has a bad path.
static void draw_fault(struct life *life)
{
    if (sim_random(life->sim, 30) != 0)
        return;
    struct sim_disk_fault fault = {
        .operations = 1u << BLOCK_WRITE | 1u << BLOCK_FLUSH,
        .last = UINT64_MAX,
        .one_in = 1 + (uint32_t)sim_random(life->sim, 60),
        .error = -EIO,
    };
    sim_disk_set_fault(life->path, &fault);
}

static struct life *life_new(struct sim *sim, uint32_t slot)
{
    struct life *life = calloc(1, sizeof(*life));
    CHECK(life != NULL);
    life->sim = sim;
    life->slot = slot;
    world_node_init(&life->node, &sim->world);
    life->path = sim_disk_attach(sim->disk, "node");
    life->config = sim_journal_config(sim, slot, life->path, &life->node.environment, &life->clock);
    life->config.context = life;
    draw_fault(life);
    wait_queue_init(&life->changed);
    TAILQ_INIT(&life->operations);
    struct test_block *bytes = block_buffer_new(sim->block_count * sizeof(*bytes));
    for (uint32_t block = 0; block < sim->block_count; block++)
        life->cache[block].bytes = &bytes[block];
    return life;
}

static void life_free(struct life *life)
{
    truth_durable_up_to(life, UINT64_MAX);
    free(life->cache[0].bytes);
    block_device_close(life->path);
    free(life);
}

void life_reap(struct sim *sim)
{
    struct life *life, *next;
    for (life = TAILQ_FIRST(&sim->dead_lives); life != NULL; life = next) {
        next = TAILQ_NEXT(life, link);
        if (life->coroutine_count > 0)
            continue;
        TAILQ_REMOVE(&sim->dead_lives, life, link);
        life_free(life);
    }
}

// --- the end -------------------------------------------------------------------------------------

void life_coroutine_ended(struct life *life)
{
    CHECK(life->coroutine_count > 0);
    life->coroutine_count--;
    wait_queue_wake_all(life->sim->world.scheduler, &life->changed);
}

// Waits until workers and giver are gone, then closes the journal: clean if the node leaves.
static void run_end(void *argument)
{
    struct life *life = argument;
    struct sim *sim = life->sim;
    while (!((life->is_dead || life->is_leaving) && life->worker_count == 0 && life->is_giver_done))
        wait_queue_wait(sim->world.scheduler, &life->changed);
    int result = journal_close(life->journal);
    life->journal = NULL;
    if (!life->is_dead && result == 0) {
        truth_durable_up_to(life, life->operation_count);
        for (uint32_t lock = 0; lock < sim->lock_count; lock++) {
            if (life->clock.now > sim->lock_clocks[lock])
                sim->lock_clocks[lock] = life->clock.now;
        }
        sim->slots[life->slot] = (struct slot){.state = SLOT_CLEAN};
        sim_trace(sim, "node %u: left cleanly", life->slot);
        lock_drop_all(sim, life->slot);
        TAILQ_INSERT_TAIL(&sim->dead_lives, life, link);
    } else if (!life->is_dead) {
        life_crash(life, "its journal could not be closed");
    }
    life_coroutine_ended(life);
    if (sim->slots[life->slot].state == SLOT_CLEAN && sim->operations_left > 0)
        life_start(sim, life->slot);
}

void life_crash(struct life *life, const char *why)
{
    struct sim *sim = life->sim;
    if (life->is_dead)
        return;
    sim_trace(sim, "node %u: crashes: %s", life->slot, why);
    life->is_dead = true;
    sim->slots[life->slot].state = SLOT_DEAD;
    sim_disk_stop(life->path);
    if (life->journal != NULL)
        journal_stop(life->journal, -EIO);
    wait_queue_wake_all(sim->world.scheduler, &life->changed);
    wait_queue_wake_all(sim->world.scheduler, &sim->locks_changed);
    recovery_start(sim, life->slot);
}

// --- workers -------------------------------------------------------------------------------------

static void run_worker(void *argument)
{
    struct life *life = argument;
    struct sim *sim = life->sim;
    while (!life->is_dead && !life->is_leaving) {
        if (sim->operations_left == 0 || sim_random(sim, 60) == 0) {
            life->is_leaving = true;
            break;
        }
        sim->operations_left--;
        environment_sleep(&life->node.environment, sim_random(sim, sim->think_ns_max));
        if (!life->is_dead)
            operation_run(life);
    }
    life->worker_count--;
    life_coroutine_ended(life);
}

static void start_coroutines(struct life *life)
{
    struct scheduler *scheduler = life->sim->world.scheduler;
    uint32_t workers = 1 + (uint32_t)sim_random(life->sim, WORKERS_MAX);
    life->worker_count = workers;
    life->coroutine_count += workers + 2;
    for (uint32_t i = 0; i < workers; i++)
        coroutine_start(scheduler, "worker", run_worker, life);
    coroutine_start(scheduler, "lock giver", lock_giver_run, life);
    coroutine_start(scheduler, "end of life", run_end, life);
}

static void run_mount(void *argument)
{
    struct life *life = argument;
    int result = journal_open(&life->config, &life->journal);
    if (result == 0 && life->is_dead)
        journal_stop(life->journal, -EIO);
    if (result == 0)
        start_coroutines(life);
    else if (result == -EIO)
        life_crash(life, "its path failed at mount");
    else if (!life->is_dead)
        sim_fail(life->sim, "node %u: a clean journal cannot be opened: %d", life->slot, result);
    life_coroutine_ended(life);
}

void life_start(struct sim *sim, uint32_t slot)
{
    struct life *life = life_new(sim, slot);
    sim->slots[slot] = (struct slot){.state = SLOT_RUNNING, .life = life};
    life->coroutine_count = 1;
    coroutine_start(sim->world.scheduler, "mount", run_mount, life);
    sim_trace(sim, "node %u: mounts", slot);
}
