// SPDX-License-Identifier: Apache-2.0
// What the allocator says to wrong frees, and to groups on the LUN that are not good.
#include "tests/unit/allocator_model.h"

#include <string.h>

#include "fs/base/error.h"
#include "fs/format_decode.h"

// --- bad input ---------------------------------------------------------------------------------

static void run_double_free(void *argument)
{
    struct model *model = argument;
    assert_int_equal(model_take_single(model), 0);
    struct owned owned = model->owned[0];
    assert_int_equal(model_free_index(model, 0), 0);
    model_commit(model);
    struct operation operation = {.frees = {owned}, .free_count = 1};
    assert_int_equal(model_perform(model, &operation), -ERROR_CORRUPT_FREE_SPACE);
    operation.frees[0].start_block = 3;
    assert_int_equal(model_perform(model, &operation), -ERROR_BLOCK_RANGE);
    uint32_t last = model->world->volume.geometry.ag_count - 1;
    operation.frees[0].start_block =
        geometry_ag_first_block(&model->world->volume.geometry, last) + 5;
    assert_int_equal(model_perform(model, &operation), -ERROR_CORRUPT_FREE_SPACE);
    assert_int_equal(model_take_single(model), 0);
}

static void wrong_frees_are_refused(void **state)
{
    (void)state;
    model_test((struct structure_options){.seed = 14}, run_double_free, true);
}

static void take_some(void *argument)
{
    struct model *model = argument;
    for (int i = 0; i < 100; i++)
        assert_int_equal(model_take_single(model), 0);
}

static void assert_goes_elsewhere(struct model *model)
{
    uint32_t ag;
    const struct geometry *g = &model->world->volume.geometry;
    assert_int_equal(model_take_single(model), 0);
    struct owned *last = &model->owned[model->owned_count - 1];
    assert_true(geometry_ag_of_block(g, last->start_block, &ag) && ag != 0);
}

// Rule 16: a bad header of an initialised group is corruption, never a group to make anew. What is
// freed there is nobody's until fsck.lunfs: who frees has done nothing wrong.
static void run_bad_header(void *argument)
{
    struct model *model = argument;
    struct owned owned = model->owned[0];
    struct operation operation = {.frees = {owned}, .free_count = 1};
    assert_int_equal(model_perform(model, &operation), 0);
    assert_int_equal(model->world->log_error_count, 1);
    assert_goes_elsewhere(model);
}

static void bad_header_is_corruption(void **state)
{
    (void)state;
    static struct structure_world world;
    static struct model model;
    structure_world_open(&world, &(struct structure_options){.seed = 15});
    model_init(&model, &world, 15);
    structure_world_run(&world, take_some, &model);
    structure_world_remount(&world);
    uint8_t *header =
        structure_world_block(&world, geometry_ag_first_block(&world.volume.geometry, 0));
    memset(header, 0, BLOCK_BYTES);
    structure_world_run(&world, run_bad_header, &model);
    for (int i = 0; i < BLOCK_BYTES; i++)
        assert_int_equal(header[i], 0);
    model_deinit(&model);
    structure_world_close(&world);
}

// The header is good, and a node of the free tree is not: found in the middle of a change.
static void run_bad_tree(void *argument)
{
    struct model *model = argument;
    assert_goes_elsewhere(model);
    assert_true(model->world->log_error_count > 0);
    unsigned errors = model->world->log_error_count;
    assert_goes_elsewhere(model);
    struct operation operation = {.frees = {model->owned[0]}, .free_count = 1};
    assert_int_equal(model_perform(model, &operation), 0);
    assert_int_equal(model->world->log_error_count, errors); // it is not even looked at any more
}

static void free_every_second(void *argument)
{
    struct model *model = argument;
    for (int i = 0; i < 1500; i++)
        assert_int_equal(model_take_single(model), 0);
    for (unsigned i = 700; i > 0; i--)
        assert_int_equal(model_free_index(model, 2 * i), 0);
}

static void damaged_tree_is_left_alone(void **state)
{
    (void)state;
    static struct structure_world world;
    static struct model model;
    structure_world_open(&world, &(struct structure_options){.seed = 16});
    model_init(&model, &world, 16);
    structure_world_run(&world, free_every_second, &model);
    structure_world_remount(&world);
    const struct ag_header_disk *header = (const void *)structure_world_block(
        &world, geometry_ag_first_block(&world.volume.geometry, 0));
    struct format_node root;
    assert_int_equal(format_node_open(&root, header->free_root, sizeof(header->free_root), NULL),
                     0);
    assert_true(root.level > 0);
    for (unsigned i = 0; i < root.item_count; i++)
        structure_world_block(&world, format_node_child(&root, i))[100] ^= 1;
    structure_world_run(&world, run_bad_tree, &model);
    model_deinit(&model);
    structure_world_close(&world);
}

static void run_hostile(void *argument)
{
    struct model *model = argument;
    for (int i = 0; i < 30; i++) {
        struct operation operation = {.nodes_wanted = random_below(&model->random, 3),
                                      .data_wanted = random_below(&model->random, 50)};
        if (model->owned_count > 0 && random_one_in(&model->random, 2)) {
            unsigned index = (unsigned)random_below(&model->random, model->owned_count);
            operation.frees[operation.free_count++] = model->owned[index];
        }
        model_perform(model, &operation);
    }
    journal_sync(model->world->volume.journal);
}

// Headers and nodes that are sealed but lie: errors, perhaps blocks given out twice, but no crash.
static void hostile_groups(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 300; seed++) {
        static struct structure_world world;
        static struct model model;
        structure_world_open(&world, &(struct structure_options){
                                         .block_count = 14000, .ag_block_shift = 11, .seed = seed});
        model_init(&model, &world, seed);
        struct history history = {.model = model, .operations = 300, .run_max = 4};
        structure_world_run(&world, model_run_history, &history);
        structure_world_remount(&world);
        for (int i = 0; i < 4; i++) {
            uint64_t address = geometry_ag_first_block(&world.volume.geometry, (uint32_t)i % 2);
            uint8_t *block = structure_world_block(&world, address);
            size_t at =
                64 + random_below(&model.random, random_one_in(&model.random, 2) ? 400 : 4032);
            block[at] = (uint8_t)random_below(&model.random, 256);
            if (model_group_is_initialised(&world, (uint32_t)i % 2))
                format_block_seal(block, 100);
        }
        history.model.is_hostile = true;
        structure_world_run(&world, run_hostile, &history.model);
        model_deinit(&history.model);
        structure_world_close(&world);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wrong_frees_are_refused),
        cmocka_unit_test(bad_header_is_corruption),
        cmocka_unit_test(damaged_tree_is_left_alone),
        cmocka_unit_test(hostile_groups),
    };
    return cmocka_run_group_tests_name("allocator: bad input", tests, NULL, NULL);
}
