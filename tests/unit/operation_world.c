// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/operation_world.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "fs/base/coroutine.h"
#include "tests/sim/ring2_fsck.h"

const struct credentials test_user = {.uid = 1000, .gid = 1000};

static int setup(void **state, uint64_t bytes)
{
    struct operation_world *world = calloc(1, sizeof(*world));
    struct sim_disk_options options = {
        .size_bytes = bytes,
        .sector_bytes = 512,
        .has_volatile_cache = true,
        .latency_ns_min = 1000,
        .latency_ns_max = 50000,
    };
    struct ring2_geometry geometry = {
        .size_bytes = bytes, .slot_count = 2, .journal_bytes = 8 << 20};
    assert_non_null(world);
    world->scheduler = scheduler_new();
    world_init(&world->world, 7, world->scheduler);
    world->disk = sim_disk_new(&world->world, &options);
    ring2_format(&world->world, world->disk, &geometry);
    assert_int_equal(ring2_mount(&world->node, 1, &world->world, world->disk, false), 0);
    world->volume = world->node.volume;
    world->root = world->volume->geometry.root_inode;
    *state = world;
    return 0;
}

int operation_world_setup(void **state)
{
    return setup(state, 136 << 20);
}

int operation_world_setup_small(void **state)
{
    return setup(state, 36 << 20);
}

int operation_world_teardown(void **state)
{
    struct operation_world *world = *state;
    char output[400];
    if (world->is_in_body)
        return 0; // the test jumped out of its coroutine: nothing of the world can go on
    assert_int_equal(ring2_unmount(&world->node, 1), 0);
    assert_int_equal(world->node.log.error_count, 0);
    int exit_code = ring2_fsck_run(&world->world, world->disk, output, sizeof(output));
    if (exit_code != 0)
        fail_msg("%s", output);
    sim_disk_free(world->disk);
    world_deinit(&world->world);
    scheduler_free(world->scheduler);
    free(world);
    return 0;
}

void operation_world_run(struct operation_world *world, void (*body)(void *world))
{
    world->is_in_body = true;
    ring2_run(&world->world, body, world);
    world->is_in_body = false;
}

static void mount_again(struct operation_world *world)
{
    assert_int_equal(ring2_mount(&world->node, 1, &world->world, world->disk, false), 0);
    world->volume = world->node.volume;
}

void operation_world_remount(struct operation_world *world)
{
    assert_int_equal(ring2_unmount(&world->node, 1), 0);
    mount_again(world);
}

void operation_world_crash(struct operation_world *world)
{
    ring2_crash(&world->node, NULL, NULL);
    mount_again(world);
}

int make_file(struct operation_world *world, const char *name, struct attributes *out)
{
    return operation_create(world->volume, world->root, name, S_IFREG | 0644, 0, &test_user, -1,
                            out, NULL);
}

struct open_file *open_by_number(struct operation_world *world, uint64_t inode)
{
    struct open_file *file = NULL;
    assert_int_equal(operation_open(world->volume, inode, O_RDWR, &file), 0);
    return file;
}

int look_up(struct operation_world *world, const char *name, struct attributes *out)
{
    return operation_lookup(world->volume, world->root, name, out);
}

uint64_t free_blocks(struct operation_world *world)
{
    struct statvfs space;
    assert_int_equal(operation_sync_volume(world->volume), 0);
    environment_sleep(&world->node.world_node.environment, 2000000000);
    assert_int_equal(operation_sync_volume(world->volume), 0);
    environment_sleep(&world->node.world_node.environment, 2000000000);
    assert_int_equal(operation_statfs(world->volume, &space), 0);
    return space.f_bfree;
}
