// SPDX-License-Identifier: Apache-2.0
// What the allocator does with groups that go to another node, and what others see of its own.
#include "tests/unit/allocator_model.h"

#include <sys/stat.h>

#include "fs/lock_types.h"

// --- the lock goes -----------------------------------------------------------------------------

static void run_hand_over(void *argument)
{
    struct model *model = argument;
    for (int i = 0; i < 30; i++) {
        assert_int_equal(model_take_single(model), 0);
        assert_int_equal(model_take_single(model), 0);
        assert_int_equal(model_free_index(model, 0), 0);
        // Another node takes all groups: nothing busy may be left behind, and all is read anew.
        structure_world_take_lock(model->world, lock_name_ag(0));
        model_commit(model);
        model_check_lun(model);
    }
}

static void hand_over_leaves_nothing_busy(void **state)
{
    (void)state;
    model_test((struct structure_options){.seed = 12}, run_hand_over, false);
}

// A node's block is freed while its write-back is slow: the group stays until that has landed (rule
// 4).
struct slow {
    struct model *model;
    bool is_gone;
};

static void run_checkpoint(void *argument)
{
    struct slow *slow = argument;
    assert_int_equal(journal_checkpoint(slow->model->world->volume.journal), 0);
}

static void run_take_lock(void *argument)
{
    struct slow *slow = argument;
    structure_world_take_lock(slow->model->world, lock_name_ag(0));
    slow->is_gone = true;
}

static struct cache_block *read_node(struct model *model, uint64_t block)
{
    struct cache_identity identity = {block, 99, BLOCK_TYPE_TREE_NODE, lock_name_inode(99)};
    struct cache_block *read;
    assert_int_equal(cache_read(model->world->volume.cache, &identity, &read), 0);
    return read;
}

// Makes a node, in place on the LUN, and then changes it: it alone is dirty.
static uint64_t make_node(struct model *model)
{
    struct operation operation = {.nodes_wanted = 1};
    assert_int_equal(model_perform(model, &operation), 0);
    model_account(model, &operation, 0);
    uint64_t block = operation.runs[0].start_block;
    struct cache_identity identity = {block, 99, BLOCK_TYPE_TREE_NODE, lock_name_inode(99)};
    struct journal_handle *handle = structure_world_begin(model->world, 1);
    struct cache_block *made;
    assert_int_equal(cache_create(model->world->volume.cache, handle, &identity, &made), 0);
    journal_transaction_end(handle);
    cache_put(made);
    assert_int_equal(journal_checkpoint(model->world->volume.journal), 0);
    made = read_node(model, block);
    handle = structure_world_begin(model->world, 1);
    cache_change(made, handle);
    made->bytes[100] = 1;
    journal_transaction_end(handle);
    cache_put(made);
    return block;
}

static void free_node(struct model *model, uint64_t block)
{
    struct allocator_reservation space;
    struct journal_handle *handle;
    allocator_reservation_init(&space, &model->world->volume, 0);
    assert_true(allocator_want_free(&space, block));
    assert_int_equal(allocator_reserve(&space), 0);
    assert_int_equal(allocator_begin(&space, 1, 1, &handle), 0);
    assert_int_equal(allocator_free_node(&space, handle, block), 0);
    allocator_end(&space, handle);
    allocator_release(&space);
}

static void run_slow_write_back(void *argument)
{
    struct slow *slow = argument;
    struct structure_world *world = slow->model->world;
    uint64_t block = make_node(slow->model);
    world->memory.held_offset = block * BLOCK_BYTES;
    structure_world_start(world, run_checkpoint, slow);
    environment_sleep(&world->environment, 1000);
    free_node(slow->model, block);
    assert_int_equal(journal_sync(world->volume.journal), 0);
    structure_world_start(world, run_take_lock, slow);
    environment_sleep(&world->environment, UINT64_C(60000000000));
    assert_false(slow->is_gone);
    world->memory.held_offset = UINT64_MAX;
    environment_sleep(&world->environment, 1000);
    assert_true(slow->is_gone);
}

static void hand_over_waits_for_write_back(void **state)
{
    (void)state;
    static struct structure_world world;
    static struct model model;
    structure_world_open(&world, &(struct structure_options){.seed = 17});
    model_init(&model, &world, 17);
    struct slow slow = {.model = &model};
    structure_world_run(&world, run_slow_write_back, &slow);
    model_deinit(&model);
    structure_world_close(&world);
}

// --- what other nodes see --------------------------------------------------------------------

static void settles(void *argument)
{
    struct structure_world *world = argument;
    struct inode inode;
    uint32_t group;
    structure_world_create(world, S_IFREG | 0644, &inode);
    assert_true(geometry_ag_of_block(&world->volume.geometry, inode.number, &group));
    inode_unload(&inode);
    struct allocator_summary summary;
    allocator_summary_get(&world->volume, &summary);
    const struct ag_header_disk *header = (const struct ag_header_disk *)structure_world_block(
        world, geometry_ag_first_block(&world->volume.geometry, group));
    uint64_t begin_ns = world->now_ns;
    uint64_t ours = free_extents_count(&world->volume.allocator->groups[group]->extents);
    while (le64_get(header->free_block_count) != ours)
        environment_sleep(&world->environment, 100000000);
    assert_true(world->now_ns - begin_ns <= UINT64_C(3000000000));
}

static void totals_are_in_place_soon_after_the_last_change(void **state)
{
    (void)state;
    struct structure_world world;
    structure_world_open(&world, &(struct structure_options){.seed = 5});
    structure_world_run(&world, settles, &world);
    structure_world_close(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hand_over_leaves_nothing_busy),
        cmocka_unit_test(hand_over_waits_for_write_back),
        cmocka_unit_test(totals_are_in_place_soon_after_the_last_change),
    };
    return cmocka_run_group_tests_name("allocator: locks", tests, NULL, NULL);
}
