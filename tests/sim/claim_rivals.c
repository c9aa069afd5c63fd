// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/claim_rivals.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "dlm/claim.h"
#include "dlm/heartbeat_block.h"
#include "fs/base/check.h"
#include "fs/base/error.h"
#include "fs/format.h"
#include "mkfs/geometry.h"
#include "tests/sim/disk.h"
#include "tests/sim/world.h"

enum { RIVALS_MAX = 4, TURNS = 3, TRIES_MAX = 200, DEVICE_BYTES = 256 << 20 };

#define MS        ((uint64_t)1000000)
#define IO_MAX_NS (1000 * MS)
#define BEAT_NS   (1000 * MS)

// What a holder may rely on: it is told of a loss at its next beat, and who beats later than that
// has stood still.
#define RELIES_NS (2 * BEAT_NS)

struct rivals;

struct rival {
    struct rivals *rivals;
    struct world_node node;
    struct block_device *path;
    struct claim claim;
    uint32_t turns_left;
    bool holds;
    uint64_t told_ns; // when it was last told that the claim is its own
};

struct rivals {
    struct world world;
    struct geometry geometry;
    struct sim_disk *disk;
    struct rival rivals[RIVALS_MAX];
    uint32_t count;
    char *failure;
};

static void fail(struct rivals *all, const char *text, const struct rival *a, const struct rival *b)
{
    if (all->failure[0] == '\0')
        snprintf(all->failure, CLAIM_RIVALS_FAILURE_BYTES, "%.3f s: host %d %s host %d",
                 (double)all->world.now_ns / 1e9, (int)(a - all->rivals), text,
                 (int)(b - all->rivals));
}

static uint64_t draw_ns(struct rivals *all, uint64_t bound_ns)
{
    return random_below(&all->world.random, bound_ns);
}

// --- the volume ----------------------------------------------------------------------------------

static void make_volume(struct rivals *all)
{
    struct mkfs_request request = {.device_bytes = DEVICE_BYTES, .slot_count = 2};
    _Alignas(BLOCK_BYTES) uint8_t block[BLOCK_BYTES];
    TEXT(why, 256);
    int result = mkfs_geometry_plan(&request, &all->geometry, &why);
    CHECK(result == 0);
    memset(all->geometry.format_id, 0x5a, sizeof(all->geometry.format_id));
    struct block_expectation is = {.format_id = all->geometry.format_id,
                                   .address = FORMAT_CLAIM_BLOCK,
                                   .type = BLOCK_TYPE_CLAIM};
    memset(block, 0, sizeof(block));
    format_block_init(block, &is);
    format_block_seal(block, 1);
    sim_disk_poke(all->disk, (uint64_t)FORMAT_CLAIM_BLOCK * BLOCK_BYTES, block, sizeof(block));
    for (uint32_t slot = 0; slot < all->geometry.slot_count; slot++) {
        struct heartbeat_content content = {.state = HEARTBEAT_FREE};
        heartbeat_encode(block, &all->geometry, slot, &content);
        sim_disk_poke(all->disk, geometry_heartbeat_block(&all->geometry, slot) * BLOCK_BYTES,
                      block, sizeof(block));
    }
}

// --- one host ------------------------------------------------------------------------------------

static uint64_t boot_ns(void *context)
{
    return environment_boot_ns(context);
}

static int64_t wall_ns(void *context)
{
    return environment_wall_ns(context);
}

static void wait_ns(void *context, uint64_t ns)
{
    environment_sleep(context, ns);
}

static struct claim_config config_of(struct rival *rival)
{
    struct environment *environment = &rival->node.environment;
    struct claim_config config = {
        .device = rival->path,
        .scheduler = environment->scheduler,
        .geometry = &rival->rivals->geometry,
        .clock = {.boot_ns = boot_ns,
                  .wall_ns = wall_ns,
                  .wait_ns = wait_ns,
                  .context = environment},
        .purpose = CLAIM_FSCK,
        .io_max_ns = IO_MAX_NS,
        .host_name = "host",
    };
    for (size_t i = 0; i < sizeof(config.holder); i++)
        config.holder[i] = (uint8_t)environment_random_u64(environment);
    return config;
}

static void told_that_it_holds(struct rival *rival)
{
    struct rivals *all = rival->rivals;
    uint64_t now_ns = all->world.now_ns;
    rival->holds = true;
    rival->told_ns = now_ns;
    for (uint32_t i = 0; i < all->count; i++) {
        const struct rival *other = &all->rivals[i];
        if (other != rival && other->holds && now_ns - other->told_ns < RELIES_NS)
            fail(all, "has the claim beside", rival, other);
    }
}

static void try_to_take(struct rival *rival)
{
    struct rivals *all = rival->rivals;
    for (uint32_t i = 0; i < TRIES_MAX; i++) {
        struct claim_config config = config_of(rival);
        struct claim_users users = {0};
        environment_sleep(&rival->node.environment, draw_ns(all, 3000 * MS));
        int result = claim_acquire(&rival->claim, &config, &users);
        if (result == 0) {
            told_that_it_holds(rival);
            return;
        }
        CHECK(result == -ERROR_CLAIM_HELD);
    }
    fail(all, "never got the claim, no more than", rival, rival);
}

// Beats once a second for a while, and stands still now and then; true if it still holds then.
static bool hold(struct rival *rival)
{
    struct rivals *all = rival->rivals;
    for (uint64_t beats = draw_ns(all, 8); beats > 0; beats--) {
        bool stands_still = random_one_in(&all->world.random, 8);
        environment_sleep(&rival->node.environment,
                          stands_still ? draw_ns(all, 15000 * MS) : BEAT_NS - 50 * MS);
        int result = claim_beat(&rival->claim);
        CHECK(result == 0 || result == -ERROR_CLAIM_HELD);
        if (result != 0)
            return false;
        told_that_it_holds(rival);
    }
    return true;
}

static void live(void *argument)
{
    struct rival *rival = argument;
    struct rivals *all = rival->rivals;
    for (; rival->turns_left > 0 && all->failure[0] == '\0'; rival->turns_left--) {
        try_to_take(rival);
        bool still_holds = rival->holds && hold(rival);
        if (still_holds && !random_one_in(&all->world.random, 4))
            CHECK(claim_release(&rival->claim) == 0);
        rival->holds = false; // left, lost it, or vanished
    }
}

// --- the history ---------------------------------------------------------------------------------

static void start_rivals(struct rivals *all)
{
    all->count = 2 + (uint32_t)draw_ns(all, RIVALS_MAX - 1);
    for (uint32_t i = 0; i < all->count; i++) {
        struct rival *rival = &all->rivals[i];
        *rival = (struct rival){.rivals = all, .turns_left = TURNS};
        world_node_init(&rival->node, &all->world);
        rival->path = sim_disk_attach(all->disk, "host");
        coroutine_start(all->world.scheduler, "host", live, rival);
    }
}

bool claim_rivals_run(uint64_t seed, char failure[CLAIM_RIVALS_FAILURE_BYTES])
{
    struct rivals all = {.failure = failure};
    struct scheduler *scheduler = scheduler_new();
    failure[0] = '\0';
    world_init(&all.world, seed, scheduler);
    struct sim_disk_options options = {
        .size_bytes = DEVICE_BYTES,
        .sector_bytes = 512,
        .has_volatile_cache = random_one_in(&all.world.random, 2),
        .latency_ns_min = MS / 10,
        .latency_ns_max = 8 * MS,
        .slow_one_in = 4 + (uint32_t)draw_ns(&all, 40),
        .slow_ns_max = IO_MAX_NS * 9 / 10,
    };
    options.slow_last = UINT64_MAX;
    all.disk = sim_disk_new(&all.world, &options);
    make_volume(&all);
    start_rivals(&all);
    world_run(&all.world);
    for (uint32_t i = 0; i < all.count; i++)
        block_device_close(all.rivals[i].path);
    sim_disk_free(all.disk);
    world_deinit(&all.world);
    scheduler_free(scheduler);
    return failure[0] != '\0';
}
