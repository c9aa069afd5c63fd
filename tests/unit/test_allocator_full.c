// SPDX-License-Identifier: Apache-2.0
// The allocator on volumes that are full, or have their free space in single blocks.
#include "tests/unit/allocator_model.h"

#include <errno.h>
#include <stdlib.h>

// Every other block of a full volume is freed, without a commit in between: the free trees must
// grow though no block is free to grow into but the reserve.
static void run_full(void *argument)
{
    struct model *model = argument;
    int result;
    while ((result = model_take_single(model)) == 0)
        ;
    assert_int_equal(result, -ENOSPC);
    struct allocator_summary summary;
    allocator_summary_get(&model->world->volume, &summary);
    assert_int_equal(summary.available_block_count, 0);
    qsort(model->owned, model->owned_count, sizeof(model->owned[0]), model_compare_owned);
    unsigned before = model->owned_count;
    for (unsigned i = before; i > 1; i -= 2)
        assert_int_equal(model_free_index(model, i - 2), 0);
    model_commit(model);
    for (unsigned i = 0; i < before / 4; i++)
        assert_int_equal(model_take_single(model), 0);
}

static void frees_on_a_full_volume(void **state)
{
    (void)state;
    model_test((struct structure_options){.block_count = 22000, .ag_block_shift = 12, .seed = 9},
               run_full, true);
}

// Random operations in a group with thousands of free extents: trees of three levels, and the
// credits that changes in them may cost (the journal checks that they suffice).
static void run_fragmented(void *argument)
{
    struct history *history = argument;
    struct model *model = &history->model;
    while (model_take_single(model) == 0)
        ;
    qsort(model->owned, model->owned_count, sizeof(model->owned[0]), model_compare_owned);
    for (unsigned i = model->owned_count; i > 1; i -= 2)
        assert_int_equal(model_free_index(model, i - 2), 0);
    model_commit(model);
    model_run_history(history);
}

static unsigned level_on_lun(struct structure_world *world, uint32_t ag)
{
    const struct geometry *g = &world->volume.geometry;
    struct ag_header_disk *header =
        (struct ag_header_disk *)structure_world_block(world, geometry_ag_first_block(g, ag));
    return ((struct tree_node_disk *)header->free_root)->level;
}

static void fragmented_groups(void **state)
{
    (void)state;
    static struct structure_world world;
    static struct history history;
    structure_world_open(&world, &(struct structure_options){
                                     .block_count = 25400, .ag_block_shift = 14, .seed = 19});
    model_init(&history.model, &world, 19);
    history.operations = 6000;
    history.run_max = 5;
    structure_world_run(&world, run_fragmented, &history);
    model_check_after_remount(&history.model);
    print_message("levels above the leaves: %u\n", level_on_lun(&world, 0));
    model_deinit(&history.model);
    structure_world_close(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frees_on_a_full_volume),
        cmocka_unit_test(fragmented_groups),
    };
    return cmocka_run_group_tests_name("allocator: full", tests, NULL, NULL);
}
