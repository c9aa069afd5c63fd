// SPDX-License-Identifier: Apache-2.0
// One history: a fresh volume, nodes that work, crashes at chosen writes, clean ends, and a last
// look at everything.
#include "tests/sim/journal_world.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/check.h"
#include "fs/base/error.h"

enum { JOURNALS_START = 16, MICROSECOND_NS = 1000 };

// --- small things --------------------------------------------------------------------------------

void sim_fail(struct sim *sim, const char *format, ...)
{
    va_list arguments;
    if (sim->failure[0] != '\0')
        return;
    va_start(arguments, format);
    vsnprintf(sim->failure, sizeof(sim->failure), format, arguments);
    va_end(arguments);
    sim_trace(sim, "FAILED: %s", sim->failure);
}

void sim_trace(struct sim *sim, const char *format, ...)
{
    va_list arguments;
    if (sim->options.trace == NULL)
        return;
    fprintf(sim->options.trace, "%10" PRIu64 " us  write %4" PRIu64 "  ",
            sim->world.now_ns / MICROSECOND_NS, sim_disk_counts_get(sim->disk).landed_count);
    va_start(arguments, format);
    vfprintf(sim->options.trace, format, arguments);
    va_end(arguments);
    fputc('\n', sim->options.trace);
}

uint64_t sim_random(struct sim *sim, uint64_t bound)
{
    return random_below(&sim->world.random, bound);
}

uint32_t sim_allocator_lock(const struct sim *sim)
{
    return sim->object_count;
}

struct lock_name sim_lock_name(uint32_t lock)
{
    return (struct lock_name){.type = 1, .id = lock};
}

uint64_t sim_journal_start(const struct sim *sim, uint32_t slot)
{
    return JOURNALS_START + (uint64_t)slot * sim->journal_block_count;
}

uint64_t sim_address(const struct sim *sim, uint32_t block)
{
    return sim_journal_start(sim, sim->node_count) + block;
}

struct journal_config sim_journal_config(struct sim *sim, uint32_t slot,
                                         struct block_device *device,
                                         struct environment *environment,
                                         struct lamport_clock *clock)
{
    return (struct journal_config){
        .device = device,
        .environment = environment,
        .log = &sim->log,
        .clock = clock,
        .callbacks = &sim->callbacks,
        .start_block = sim_journal_start(sim, slot),
        .block_count = sim->journal_block_count,
        .slot = slot,
        .format_id = "simulated",
        .commit_interval_ns = sim->commit_interval_ns,
        .checkpoint_interval_ns = sim->checkpoint_interval_ns,
    };
}

static void journal_failed(void *context, int error)
{
    (void)error;
    life_crash(context, "its journal failed");
}

// --- setting up ----------------------------------------------------------------------------------

// Mostly some requests are slow, often those to the pool's blocks alone: then locks and space move
// on while an old write is still on its way.
static void draw_slowness(struct sim *sim, struct sim_disk_options *options)
{
    if (sim_random(sim, 4) == 0)
        return;
    options->slow_one_in = 2 + (uint32_t)sim_random(sim, 16);
    options->slow_ns_max = (1000 + sim_random(sim, 5000)) * MICROSECOND_NS;
    options->slow_last = UINT64_MAX;
    if (sim_random(sim, 2) == 0)
        options->slow_first = sim_address(sim, sim->lock_count) * BLOCK_BYTES;
}

static struct sim_disk *make_disk(struct sim *sim)
{
    struct sim_disk_options options = {
        .size_bytes = UINT64_C(64) << 20,
        .sector_bytes = sim_random(sim, 2) == 0 ? 512 : 4096,
        .has_volatile_cache = sim_random(sim, 8) != 0,
        .latency_ns_min = MICROSECOND_NS,
        .latency_ns_max = (20 + sim_random(sim, 200)) * MICROSECOND_NS,
    };
    draw_slowness(sim, &options);
    return sim_disk_new(&sim->world, &options);
}

// The first somewhere, the next ones often soon after it, while others recover.
static struct crash draw_crash(struct sim *sim, bool is_first)
{
    static const uint32_t writes_max[REGIONS] = {12, 40, 25, 6, 80};
    static const enum write_region regions[] = {REGION_HEADER, REGION_RING,          REGION_RING,
                                                REGION_PLACE,  REGION_BEHIND_HEADER, REGION_ANY};
    enum write_region region = regions[sim_random(sim, 6)];
    bool is_soon = !is_first && sim_random(sim, 2) == 0;
    return (struct crash){
        .region = region,
        .writes_left = 1 + sim_random(sim, is_soon ? 4 : writes_max[region]),
        .kind = (enum crash_kind)sim_random(sim, CRASH_KINDS),
    };
}

static void plan_crashes(struct sim *sim)
{
    sim->crash_count = 1 + (uint32_t)sim_random(sim, CRASHES_MAX);
    for (uint32_t i = 0; i < sim->crash_count; i++)
        sim->crashes[i] = draw_crash(sim, i == 0);
}

static void write_root(struct sim *sim, uint32_t lock)
{
    struct test_block bytes;
    sim->truth[lock] = (struct block_truth){KIND_METADATA, lock, sim->next_serial++};
    memset(&bytes, 0, sizeof(bytes));
    test_block_fill(&bytes, sim_address(sim, lock), lock, sim->truth[lock].serial);
    test_block_seal(&bytes, 1);
    sim_disk_poke(sim->disk, sim_address(sim, lock) * BLOCK_BYTES, &bytes, sizeof(bytes));
}

static void run_setup(void *argument)
{
    struct sim *sim = argument;
    struct world_node node;
    struct lamport_clock clock = {0};
    struct block_device *path = sim_disk_attach(sim->disk, "mkfs");
    world_node_init(&node, &sim->world);
    for (uint32_t slot = 0; slot < sim->node_count; slot++) {
        struct journal_config config =
            sim_journal_config(sim, slot, path, &node.environment, &clock);
        int result = journal_format(&config);
        CHECK(result == 0);
    }
    block_device_close(path);
    sim_disk_set_hook(sim->disk, recovery_after_write, sim);
    for (uint32_t slot = 0; slot < sim->node_count; slot++)
        life_start(sim, slot);
}

static void draw_shape(struct sim *sim)
{
    static const uint32_t journal_blocks[] = {JOURNAL_BLOCKS_MIN, 40, 64, 100};
    static const uint32_t sync_percent[] = {2, 10, 30};
    static const uint64_t think_ns_max[] = {1000, 10000, 50000};
    sim->node_count = sim_random(sim, 4) == 0 ? 1 : 2 + (uint32_t)sim_random(sim, NODES_MAX - 1);
    sim->object_count = 1 + (uint32_t)sim_random(sim, LOCKS_MAX - 1);
    sim->lock_count = sim->object_count + 1;
    sim->pool_count = 3 + (uint32_t)sim_random(sim, POOL_MAX - 2);
    sim->block_count = sim->lock_count + sim->pool_count;
    sim->journal_block_count = journal_blocks[sim_random(sim, 4)];
    sim->operations_left = 20 + sim_random(sim, 120);
    sim->space_percent = 20 + (uint32_t)sim_random(sim, 70);
    sim->commit_interval_ns = (100 + sim_random(sim, 10000)) * MICROSECOND_NS;
    sim->checkpoint_interval_ns = (100 + sim_random(sim, 5000)) * MICROSECOND_NS;
    sim->think_ns_max = think_ns_max[sim_random(sim, 3)];
    sim->sync_percent = sync_percent[sim_random(sim, 3)];
    sim->has_affinity = sim_random(sim, 3) != 0;
}

static void init(struct sim *sim, uint64_t seed, const struct sim_options *options)
{
    *sim = (struct sim){.options = *options, .next_serial = 1};
    world_init(&sim->world, seed, options->scheduler);
    draw_shape(sim);
    sim->disk = make_disk(sim);
    sim->callbacks = test_block_callbacks;
    sim->callbacks.failed = journal_failed;
    log_init_null(&sim->log);
    TAILQ_INIT(&sim->dead_lives);
    wait_queue_init(&sim->locks_changed);
    wait_queue_init(&sim->recovery_done);
    plan_crashes(sim);
    for (uint32_t lock = 0; lock < sim->lock_count; lock++)
        write_root(sim, lock);
}

// --- the end -------------------------------------------------------------------------------------

static void check_end(struct sim *sim)
{
    for (uint32_t slot = 0; slot < sim->node_count; slot++) {
        if (sim->slots[slot].state != SLOT_CLEAN)
            sim_fail(sim, "the history stands still: node %u did not come to its end", slot);
    }
    if (sim->failure[0] == '\0')
        truth_check_disk(sim, "at the end");
}

static void fill_result(const struct sim *sim, uint64_t operations, struct sim_result *result)
{
    *result = (struct sim_result){
        .operation_count = operations - sim->operations_left,
        .write_count = sim_disk_counts_get(sim->disk).landed_count,
        .crash_count = sim->crashes_done,
        .shadow_count = sim->shadow_count,
        .replay_count = sim->replay_count,
        .interrupted_count = sim->interrupted_count,
        .image_count = sim->image_count,
    };
    memcpy(result->failure, sim->failure, sizeof(result->failure));
}

void sim_run(uint64_t seed, const struct sim_options *options, struct sim_result *result)
{
    struct sim sim;
    init(&sim, seed, options);
    uint64_t operations = sim.operations_left;
    coroutine_start(options->scheduler, "setup", run_setup, &sim);
    while (sim.failure[0] == '\0' && world_step(&sim.world))
        life_reap(&sim);
    if (sim.failure[0] == '\0')
        check_end(&sim);
    fill_result(&sim, operations, result);
    if (sim.failure[0] != '\0')
        return; // coroutines are still on their stacks, with all that they use
    life_reap(&sim);
    sim_disk_free(sim.disk);
    world_deinit(&sim.world);
}
