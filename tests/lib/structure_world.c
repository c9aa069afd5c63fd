// SPDX-License-Identifier: Apache-2.0
#include "tests/lib/structure_world.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fs/base/check.h"
#include "fs/base/error.h"
#include "fs/cluster_lock.h"
#include "fs/lock_types.h"

// --- time ------------------------------------------------------------------------------------

struct world_timer {
    TAILQ_ENTRY(world_timer) link;
    struct environment_timer *timer;
    uint64_t at_ns;
};

static uint64_t boot_ns(struct environment *environment)
{
    return ((struct structure_world *)environment)->now_ns;
}

static int64_t wall_ns(struct environment *environment)
{
    return (int64_t)((struct structure_world *)environment)->now_ns;
}

static uint64_t draw_u64(struct environment *environment)
{
    return random_u64(&((struct structure_world *)environment)->random);
}

static void timer_disarm(struct environment *environment, struct environment_timer *timer)
{
    struct structure_world *world = (struct structure_world *)environment;
    struct world_timer *armed = timer->implementation;
    if (armed == NULL)
        return;
    TAILQ_REMOVE(&world->timers, armed, link);
    free(armed);
    timer->implementation = NULL;
}

static void timer_arm(struct environment *environment, struct environment_timer *timer,
                      uint64_t at_boot_ns)
{
    struct structure_world *world = (struct structure_world *)environment;
    timer_disarm(environment, timer);
    struct world_timer *armed = calloc(1, sizeof(*armed));
    CHECK(armed != NULL);
    armed->timer = timer;
    armed->at_ns = at_boot_ns;
    TAILQ_INSERT_TAIL(&world->timers, armed, link);
    timer->implementation = armed;
}

static const struct environment_operations environment_operations = {
    .boot_ns = boot_ns,
    .wall_ns = wall_ns,
    .random_u64 = draw_u64,
    .timer_arm = timer_arm,
    .timer_disarm = timer_disarm,
};

static bool fire_next_timer(struct structure_world *world)
{
    struct world_timer *next = TAILQ_FIRST(&world->timers);
    struct world_timer *each;
    TAILQ_FOREACH (each, &world->timers, link) {
        if (each->at_ns < next->at_ns)
            next = each;
    }
    if (next == NULL)
        return false;
    struct environment_timer *timer = next->timer;
    if (next->at_ns > world->now_ns)
        world->now_ns = next->at_ns;
    timer_disarm(&world->environment, timer);
    timer->fire(timer);
    return true;
}

// --- locks: everything is granted, callbacks come when a test asks for them ----------------------

static struct structure_world *world_of_service(struct lock_service *service)
{
    return (struct structure_world *)((char *)service - offsetof(struct structure_world, service));
}

static void service_request(struct lock_service *service, uint64_t cookie, struct lock_name name,
                            enum lock_right right, bool no_wait)
{
    (void)name, (void)no_wait;
    world_of_service(service)->last_cookie = cookie;
    service->client->granted(service->client, cookie, right);
}

static void service_convert(struct lock_service *service, uint64_t cookie, enum lock_right right,
                            bool no_wait)
{
    (void)no_wait;
    if (right == RIGHT_EXCLUSIVE)
        service->client->granted(service->client, cookie, right);
}

static void service_nothing(struct lock_service *service, uint64_t cookie)
{
    (void)service, (void)cookie;
}

static const struct lock_service_operations service_operations = {
    .request = service_request,
    .convert = service_convert,
    .release = service_nothing,
    .cancel = service_nothing,
};

static const struct lock_type lock_types[] = {
    [LOCK_INODE] = {"inode", 40, true, false, NULL, NULL, NULL},
    [LOCK_ORPHANS] = {"orphans", 50, true, false, NULL, NULL, NULL},
    [LOCK_AG_MAP] = {"group map", 60, true, false, NULL, NULL, NULL},
    [LOCK_AG] = {"group", 70, true, false, NULL, NULL, allocator_group_forget},
};

const struct lock_type *lock_type_of(uint32_t id)
{
    CHECK(id < sizeof(lock_types) / sizeof(lock_types[0]) && lock_types[id].name != NULL);
    return &lock_types[id];
}

void volume_fail(struct volume *volume, int error, const char *where)
{
    (void)volume;
    fprintf(stderr, "the volume failed: %s: %s\n", where, error_text(error));
    abort();
}

// All locks at once: the table knows no way to give up one of its own accord.
void structure_world_take_lock(struct structure_world *world, struct lock_name name)
{
    struct lock_table *table = world->volume.locks;
    struct cluster_lock *lock = cluster_lock_get(table, name);
    int result = cluster_lock_acquire(lock, LOCK_EXCLUSIVE, 0);
    CHECK(result == 0);
    cluster_lock_release(lock, LOCK_EXCLUSIVE);
    cluster_lock_put(lock);
    result = lock_table_release_all(table);
    CHECK(result == 0);
}

// --- the log ---------------------------------------------------------------------------------

static void write_log(struct log *log, enum log_level level, int code, const char *line)
{
    struct structure_world *world =
        (struct structure_world *)((char *)log - offsetof(struct structure_world, log));
    if (level == LOG_LEVEL_ERROR) {
        world->log_error_count++;
        world->log_last_code = code;
    }
    if (world->prints_log)
        fprintf(stderr, "log %d %d: %s\n", level, code, line);
}

// --- running ---------------------------------------------------------------------------------

struct run {
    void (*body)(void *argument);
    void *argument;
    bool is_done;
};

static void run_body(void *argument)
{
    struct run *run = argument;
    run->body(run->argument);
    run->is_done = true;
}

static void turn_until(struct structure_world *world, const bool *is_done)
{
    while (true) {
        scheduler_run(world->environment.scheduler);
        if (*is_done)
            return;
        if (memory_device_run(&world->memory) || fire_next_timer(world))
            continue;
        fprintf(stderr, "all coroutines wait, and nothing will wake them\n");
        abort();
    }
}

void structure_world_run(struct structure_world *world, void (*body)(void *argument),
                         void *argument)
{
    struct run run = {.body = body, .argument = argument};
    coroutine_start(world->environment.scheduler, "test", run_body, &run);
    turn_until(world, &run.is_done);
}

void structure_world_start(struct structure_world *world, void (*body)(void *argument),
                           void *argument)
{
    coroutine_start(world->environment.scheduler, "test beside", body, argument);
}

struct journal_handle *structure_world_begin(struct structure_world *world, uint32_t credits)
{
    struct journal_handle *handle;
    int result = journal_transaction_begin(world->volume.journal, credits, &handle);
    CHECK(result == 0);
    return handle;
}

// --- changes ---------------------------------------------------------------------------------

void structure_change_init(struct structure_change *change, struct structure_world *world,
                           struct tree_cost cost)
{
    memset(change, 0, sizeof(*change));
    change->cost = cost;
    allocator_reservation_init(&change->space, &world->volume, 0);
    allocator_want_nodes(&change->space, cost.node_blocks);
}

static int change_once(struct structure_change *change)
{
    struct journal_handle *handle;
    int result =
        allocator_begin(&change->space, change->cost.credits, change->change_count, &handle);
    if (result != 0)
        return result;
    result = change->body(change, handle);
    if (result == 0)
        allocator_end(&change->space, handle);
    else
        allocator_abort(&change->space, handle);
    return result;
}

int structure_change_run(struct structure_change *change, struct structure_world *world)
{
    (void)world;
    int result;
    do {
        result = allocator_reserve(&change->space);
        if (result != 0)
            break;
        result = change_once(change);
        allocator_release(&change->space);
    } while (allocator_must_retry(&change->space, result));
    return result;
}

struct creation {
    struct structure_change change; // first
    struct structure_world *world;
    struct inode *inode;
    mode_t mode;
};

static int create(struct structure_change *change, struct journal_handle *handle)
{
    struct creation *creation = (struct creation *)change;
    struct inode_creation as = {
        .generation = 1, .mode = creation->mode, .link_count = S_ISDIR(creation->mode) ? 2 : 1};
    uint64_t number;
    int result = allocator_allocate_node(&change->space, handle, &number);
    if (result == 0 && S_ISDIR(creation->mode))
        as.parent = number;
    if (result == 0)
        result = inode_create(creation->inode, &creation->world->volume, handle, number, &as);
    return result;
}

void structure_world_create(struct structure_world *world, mode_t mode, struct inode *inode)
{
    struct creation creation = {.world = world, .inode = inode, .mode = mode};
    structure_change_init(&creation.change, world, (struct tree_cost){1, 1});
    creation.change.body = create;
    int result = structure_change_run(&creation.change, world);
    CHECK(result == 0);
}

uint8_t *structure_world_block(struct structure_world *world, uint64_t address)
{
    return world->memory.bytes + address * BLOCK_BYTES;
}

// --- the LUN ---------------------------------------------------------------------------------

static void make_geometry(struct structure_world *world)
{
    struct structure_options *options = &world->options;
    struct geometry *g = &world->volume.geometry;
    for (int i = 0; i < 16; i++) {
        g->format_id[i] = (uint8_t)(i + 1);
        g->hash_key[i] = (uint8_t)(i * 7);
    }
    g->block_count = options->block_count;
    g->ag_map_block_count = 1;
    g->slot_table_block = FORMAT_SUPERBLOCK_COPY_BLOCK + 1;
    g->slot_count = options->slot_count;
    g->journal_block = g->slot_table_block + (uint64_t)g->slot_count * FORMAT_SLOT_BLOCKS;
    g->journal_block_count = options->journal_block_count;
    g->ag_base_block = g->journal_block + (uint64_t)g->slot_count * g->journal_block_count;
    g->ag_block_shift = options->ag_block_shift;
    uint64_t blocks = g->block_count - 1 - g->ag_base_block;
    uint64_t whole = blocks >> g->ag_block_shift;
    uint64_t rest = blocks - (whole << g->ag_block_shift);
    g->ag_count = (uint32_t)(whole + (rest >= FORMAT_AG_BLOCKS_MIN));
}

static void write_block(struct structure_world *world, uint64_t address, enum block_type type,
                        uint64_t owner, void (*fill)(uint8_t *bytes))
{
    uint8_t *bytes = structure_world_block(world, address);
    struct block_expectation is = {world->volume.geometry.format_id, address, owner, type};
    memset(bytes, 0, BLOCK_BYTES);
    format_block_init(bytes, &is);
    if (fill != NULL)
        fill(bytes);
    format_block_seal(bytes, 1);
}

static void fill_slot_state(uint8_t *bytes)
{
    struct slot_state_disk *state = (struct slot_state_disk *)bytes;
    format_node_init(state->orphan_root, sizeof(state->orphan_root), 0);
}

static void make_journal_config(struct structure_world *world, struct journal_config *config)
{
    struct volume *volume = &world->volume;
    memcpy(volume->journal_context.format_id, volume->geometry.format_id, 16);
    *config = (struct journal_config){
        .device = volume->device,
        .environment = &world->environment,
        .log = volume->log,
        .clock = &volume->clock,
        .callbacks = &journal_format_callbacks,
        .context = &volume->journal_context,
        .start_block = geometry_journal_block(&volume->geometry, 0),
        .block_count = volume->geometry.journal_block_count,
        .slot = 0,
    };
    memcpy(config->format_id, volume->geometry.format_id, 16);
}

static void format_lun(void *argument)
{
    struct structure_world *world = argument;
    const struct geometry *g = &world->volume.geometry;
    write_block(world, FORMAT_AG_MAP_BLOCK, BLOCK_TYPE_AG_MAP, 0, NULL);
    for (uint32_t slot = 0; slot < g->slot_count; slot++)
        write_block(world, geometry_slot_state_block(g, slot), BLOCK_TYPE_SLOT_STATE, slot,
                    fill_slot_state);
    struct journal_config config;
    make_journal_config(world, &config);
    int result = journal_format(&config);
    CHECK(result == 0);
}

// --- mount, unmount --------------------------------------------------------------------------

static void mount(void *argument)
{
    struct structure_world *world = argument;
    struct volume *volume = &world->volume;
    struct journal_config journal;
    make_journal_config(world, &journal);
    int result = journal_open(&journal, &volume->journal);
    CHECK(result == 0);
    struct cache_config cache = {
        .device = volume->device,
        .scheduler = volume->scheduler,
        .log = volume->log,
        .clock = &volume->clock,
        .block_count = volume->geometry.block_count,
        .bytes_max = world->options.cache_bytes,
    };
    memcpy(cache.format_id, volume->geometry.format_id, 16);
    volume->cache = cache_new(&cache);
    volume->locks = lock_table_new(volume, &world->service);
    volume->allocator = allocator_new(volume);
}

static void unmount(void *argument)
{
    struct structure_world *world = argument;
    struct volume *volume = &world->volume;
    allocator_stop(volume->allocator);
    int result = lock_table_release_all(volume->locks);
    CHECK(result == 0);
    lock_table_free(volume->locks);
    allocator_close(volume->allocator);
    result = journal_close(volume->journal);
    CHECK(result == 0);
    cache_free(volume->cache);
}

static void set_defaults(struct structure_options *options)
{
    if (options->block_count == 0)
        options->block_count = 64 << 10;
    if (options->ag_block_shift == 0)
        options->ag_block_shift = 12;
    if (options->journal_block_count == 0)
        options->journal_block_count = 4096;
    if (options->slot_count == 0)
        options->slot_count = 2;
}

void structure_world_open(struct structure_world *world, const struct structure_options *options)
{
    memset(world, 0, sizeof(*world));
    world->options = *options;
    set_defaults(&world->options);
    TAILQ_INIT(&world->timers);
    random_init(&world->random, options->seed + 1);
    world->environment.operations = &environment_operations;
    world->environment.scheduler = scheduler_new();
    world->service.operations = &service_operations;
    world->log = (struct log){.level_max = LOG_LEVEL_NOTICE, .write = write_log};
    world->prints_log = getenv("PRINT_LOG") != NULL;
    gate_init(&world->gate);
    memory_device_init(&world->memory, world->options.block_count * BLOCK_BYTES, options->seed);
    world->volume = (struct volume){
        .environment = &world->environment,
        .scheduler = world->environment.scheduler,
        .device = &world->memory.device,
        .log = &world->log,
        .gate = &world->gate,
    };
    make_geometry(world);
    structure_world_run(world, format_lun, world);
    structure_world_run(world, mount, world);
}

void structure_world_remount(struct structure_world *world)
{
    structure_world_run(world, unmount, world);
    structure_world_run(world, mount, world);
}

void structure_world_close(struct structure_world *world)
{
    structure_world_run(world, unmount, world);
    scheduler_run(world->environment.scheduler);
    CHECK(scheduler_alive(world->environment.scheduler) == 0);
    scheduler_free(world->environment.scheduler);
    while (!TAILQ_EMPTY(&world->timers))
        timer_disarm(&world->environment, TAILQ_FIRST(&world->timers)->timer);
    memory_device_deinit(&world->memory);
}
