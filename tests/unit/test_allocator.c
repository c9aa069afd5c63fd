// SPDX-License-Identifier: Apache-2.0
// The allocator against its model: random histories, what is busy, short runs, several operations
// at once, and its speed.
#include "tests/unit/allocator_model.h"

#include <stdlib.h>
#include <time.h>

static void random_history(struct structure_options options, unsigned operations, uint64_t run_max,
                           bool must_get_full)
{
    static struct structure_world world;
    static struct history history;
    structure_world_open(&world, &options);
    model_init(&history.model, &world, options.seed);
    history.operations = operations;
    history.run_max = run_max;
    history.full_count = 0;
    for (int round = 0; round < 3; round++) {
        structure_world_run(&world, model_run_history, &history);
        model_check_after_remount(&history.model);
    }
    print_message("seed %llu: %u operations, %u times full, %llu blocks owned at the end\n",
                  (unsigned long long)options.seed, 3 * operations, history.full_count,
                  (unsigned long long)history.model.owned_blocks);
    assert_true(!must_get_full || history.full_count > 0);
    model_deinit(&history.model);
    structure_world_close(&world);
}

static void random_histories(void **state)
{
    (void)state;
    random_history((struct structure_options){.block_count = 1 << 16, .seed = 1}, 3000, 300, false);
    random_history(
        (struct structure_options){.block_count = 14000, .ag_block_shift = 10, .seed = 2}, 3000,
        200, true);
    random_history(
        (struct structure_options){.block_count = 12000, .ag_block_shift = 13, .seed = 3}, 3000, 3,
        true);
    random_history(
        (struct structure_options){
            .block_count = 40000, .ag_block_shift = 11, .seed = 4, .slot_count = 5},
        3000, 1000, true);
}

// --- busy ------------------------------------------------------------------------------------

static void run_busy(void *argument)
{
    struct model *model = argument;
    struct journal_status before, after;
    while (model_take_single(model) == 0)
        ;
    model_commit(model);
    unsigned count = model->owned_count;
    for (unsigned i = 0; i < 40; i++)
        assert_int_equal(model_free_index(model, model->owned_count - 1), 0);
    // All that is free is busy: the reservation commits, waits, and is served.
    journal_status_get(model->world->volume.journal, &before);
    assert_int_equal(model_take_single(model), 0);
    journal_status_get(model->world->volume.journal, &after);
    assert_true(after.commit_count > before.commit_count);
    assert_int_equal(model->owned_count, count - 39);
}

static void busy_space_waits_for_its_commit(void **state)
{
    (void)state;
    model_test((struct structure_options){.block_count = 12000, .seed = 11}, run_busy, true);
}

// --- where short runs go -----------------------------------------------------------------------

static void run_small_cursor(void *argument)
{
    struct model *model = argument;
    for (int i = 0; i < 100; i++)
        assert_int_equal(model_take_single(model), 0);
    uint64_t lowest = model->owned[0].start_block;
    assert_int_equal(model_free_index(model, 0), 0);
    model_commit(model);
    assert_int_equal(model_take_single(model), 0);
    assert_int_equal(model->owned[model->owned_count - 1].start_block, lowest);
}

static void short_runs_fill_gaps(void **state)
{
    (void)state;
    model_test((struct structure_options){.seed = 18}, run_small_cursor, false);
}

// --- several at once -----------------------------------------------------------------------------

struct crowd {
    struct model *model;
    unsigned done;
    struct wait_queue finished;
};

static void run_one_of_crowd(void *argument)
{
    struct crowd *crowd = argument;
    struct model *model = crowd->model;
    for (int i = 0; i < 200; i++) {
        struct operation operation = {.nodes_wanted = 2, .data_wanted = 1 + (uint64_t)i % 40};
        model_pick_frees(model, &operation, 2);
        int result = model_perform(model, &operation);
        assert_int_equal(result, 0);
        model_account(model, &operation, 0);
    }
    crowd->done++;
    wait_queue_wake_all(model->world->environment.scheduler, &crowd->finished);
}

static void run_crowd(void *argument)
{
    struct crowd *crowd = argument;
    while (crowd->done < 8)
        wait_queue_wait(crowd->model->world->environment.scheduler, &crowd->finished);
}

static void several_at_once(void **state)
{
    (void)state;
    static struct structure_world world;
    static struct model model;
    structure_world_open(&world, &(struct structure_options){
                                     .block_count = 1 << 17, .ag_block_shift = 10, .seed = 13});
    model_init(&model, &world, 13);
    struct crowd crowd = {.model = &model};
    wait_queue_init(&crowd.finished);
    for (int i = 0; i < 8; i++)
        structure_world_start(&world, run_one_of_crowd, &crowd);
    structure_world_run(&world, run_crowd, &crowd);
    model_check_after_remount(&model);
    model_deinit(&model);
    structure_world_close(&world);
}

// --- speed -----------------------------------------------------------------------------------

static double now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void run_speed(void *argument)
{
    struct model *model = argument;
    enum { COUNT = 16000 };
    double start = now_s();
    for (int i = 0; i < COUNT; i++)
        assert_int_equal(model_take_single(model), 0);
    double fresh = (now_s() - start) / COUNT;
    qsort(model->owned, model->owned_count, sizeof(model->owned[0]), model_compare_owned);
    start = now_s();
    for (unsigned i = COUNT; i > 1; i -= 2)
        assert_int_equal(model_free_index(model, i - 2), 0);
    double freeing = (now_s() - start) / (COUNT / 2);
    model_commit(model);
    start = now_s();
    for (int i = 0; i < COUNT / 2; i++)
        assert_int_equal(model_take_single(model), 0);
    double fragmented = (now_s() - start) / (COUNT / 2);
    print_message("one block a transaction: fresh %.2f us, free %.2f us, fragmented %.2f us\n",
                  fresh * 1e6, freeing * 1e6, fragmented * 1e6);
}

static void speed(void **state)
{
    (void)state;
    model_test(
        (struct structure_options){
            .block_count = 1 << 17, .ag_block_shift = 16, .journal_block_count = 16384, .seed = 16},
        run_speed, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_histories),
        cmocka_unit_test(busy_space_waits_for_its_commit),
        cmocka_unit_test(short_runs_fill_gaps),
        cmocka_unit_test(several_at_once),
        cmocka_unit_test(speed),
    };
    return cmocka_run_group_tests_name("allocator", tests, NULL, NULL);
}
