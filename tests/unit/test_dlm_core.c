// SPDX-License-Identifier: Apache-2.0
// The lock core, one story a test: modes, conversions, callbacks, value blocks, cancellation.
#include "tests/unit/test_dlm_cluster.h"

#include <errno.h>

// The linker sends every allocation of this program through these (see module.mk).
void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *bytes, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *bytes, size_t size);

static uint64_t allocations;

void *__wrap_malloc(size_t size)
{
    allocations++;
    return __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    allocations++;
    return __real_calloc(count, size);
}

void *__wrap_realloc(void *bytes, size_t size)
{
    allocations++;
    return __real_realloc(bytes, size);
}

static void test_matrix_is_symmetric_and_down_agrees(void **state)
{
    (void)state;
    for (int a = 0; a < DLM_MODE_COUNT; a++) {
        for (int b = 0; b < DLM_MODE_COUNT; b++) {
            assert_int_equal(dlm_mode_is_compatible(a, b), dlm_mode_is_compatible(b, a));
            bool excludes_less = true; // b is no obstacle where a is none
            for (int c = 0; c < DLM_MODE_COUNT; c++)
                excludes_less = excludes_less &&
                                (!dlm_mode_is_compatible(a, c) || dlm_mode_is_compatible(b, c));
            assert_int_equal(dlm_mode_is_down(a, b), excludes_less);
        }
    }
}

static void test_strongest_beside_survivors(void **state)
{
    (void)state;
    assert_int_equal(dlm_mode_strongest_beside(0), DLM_EX);
    assert_int_equal(dlm_mode_strongest_beside(1 << DLM_NL), DLM_EX);
    assert_int_equal(dlm_mode_strongest_beside(1 << DLM_CR), DLM_PW);
    assert_int_equal(dlm_mode_strongest_beside(1 << DLM_CW), DLM_CW);
    assert_int_equal(dlm_mode_strongest_beside(1 << DLM_PR), DLM_PR);
    assert_int_equal(dlm_mode_strongest_beside(1 << DLM_PR | 1 << DLM_CR), DLM_PR);
    assert_int_equal(dlm_mode_strongest_beside(1 << DLM_PW), DLM_CR);
    assert_int_equal(dlm_mode_strongest_beside(1 << DLM_EX), DLM_NL);
}

static void test_kept_while_converting(void **state)
{
    (void)state;
    assert_int_equal(dlm_mode_kept(DLM_PR, DLM_EX), DLM_PR);
    assert_int_equal(dlm_mode_kept(DLM_CW, DLM_PR), DLM_CR);
    assert_int_equal(dlm_mode_kept(DLM_PR, DLM_CW), DLM_CR);
}

// Alone, nothing is said. With others, the lock would die with its master, so the shadow is told.
static void test_local_master_tells_the_shadow_alone(void **state)
{
    struct cluster cluster;

    (void)state;
    cluster_init(&cluster, 2);
    cluster_view(&cluster, 1, 0);
    cluster_request(&cluster, 0, cluster_name_of(&cluster, 0), 1, DLM_EX, 0);
    assert_int_equal(cluster.frame_count, 0);
    cluster_expect_grant(&cluster, 0, 1, DLM_EX);
    cluster_view(&cluster, 3, 0);
    cluster_settle(&cluster);
    cluster_release(&cluster, 0, 1, 0, 0);
    cluster_settle(&cluster);
    cluster_request(&cluster, 0, cluster_name_of(&cluster, 0), 2, DLM_EX, 0);
    assert_int_equal(cluster.frame_count, 1);
    cluster_expect_silence(&cluster, 0);
    cluster_settle(&cluster);
    cluster_expect_grant(&cluster, 0, 2, DLM_EX);
    assert_int_equal(dlm_core_counters(cluster.cores[0])->requests_local, 2);
    cluster_deinit(&cluster);
}

static void test_request_before_the_first_view_waits(void **state)
{
    struct cluster cluster;
    struct lock_name name = {1, 7};

    (void)state;
    cluster_init(&cluster, 1);
    cluster_request(&cluster, 0, name, 1, DLM_PR, 0);
    cluster_request(&cluster, 0, name, 2, DLM_PR, 0);
    cluster_cancel(&cluster, 0, 2);
    cluster_expect_denied(&cluster, 0, 2, -ECANCELED);
    cluster_view(&cluster, 1, 0);
    cluster_expect_grant(&cluster, 0, 1, DLM_PR);
    cluster_deinit(&cluster);
}

// A holds EX; B and C wait for PR: one callback, then both are served.
static void test_callback_and_queue(void **state)
{
    struct cluster cluster;

    (void)state;
    cluster_init(&cluster, 3);
    cluster_view(&cluster, 7, 0);
    cluster_settle(&cluster);
    struct lock_name name = cluster_name_of(&cluster, 2);
    cluster_request(&cluster, 0, name, 1, DLM_EX, 0);
    cluster_settle(&cluster);
    cluster_expect_grant(&cluster, 0, 1, DLM_EX);
    cluster_request(&cluster, 1, name, 1, DLM_PR, 0);
    cluster_request(&cluster, 2, name, 1, DLM_PR, 0);
    cluster_settle(&cluster);
    cluster_expect_blocking(&cluster, 0, 1, DLM_PR);
    cluster_expect_silence(&cluster, 0);
    cluster_convert(&cluster, 0, 1, DLM_PR, 0, 0);
    cluster_settle(&cluster);
    cluster_expect_grant(&cluster, 0, 1, DLM_PR);
    cluster_expect_grant(&cluster, 1, 1, DLM_PR);
    cluster_expect_grant(&cluster, 2, 1, DLM_PR);
    cluster_deinit(&cluster);
}

static void test_nobody_overtakes(void **state)
{
    struct cluster cluster;
    struct lock_name name = {1, 7};

    (void)state;
    cluster_init(&cluster, 1);
    cluster_view(&cluster, 1, 0);
    cluster_request(&cluster, 0, name, 1, DLM_PR, 0);
    cluster_request(&cluster, 0, name, 2, DLM_EX, 0);
    cluster_request(&cluster, 0, name, 3, DLM_PR, 0); // compatible with 1, but behind 2
    cluster_request(&cluster, 0, name, 4, DLM_PR, DLM_NOQUEUE);
    cluster_expect_grant(&cluster, 0, 1, DLM_PR);
    cluster_expect_denied(&cluster, 0, 4, -EAGAIN);
    cluster_expect_blocking(&cluster, 0, 1, DLM_EX);
    cluster_expect_silence(&cluster, 0);
    cluster_release(&cluster, 0, 1, 0, 0);
    cluster_expect_grant(&cluster, 0, 2, DLM_EX);
    cluster_expect_blocking(&cluster, 0, 2, DLM_PR);
    cluster_release(&cluster, 0, 2, 0, 0);
    cluster_expect_grant(&cluster, 0, 3, DLM_PR);
    cluster_deinit(&cluster);
}

static void test_conversion_goes_first_and_deadlock_is_refused(void **state)
{
    struct cluster cluster;
    struct lock_name name = {1, 7};

    (void)state;
    cluster_init(&cluster, 1);
    cluster_view(&cluster, 1, 0);
    cluster_request(&cluster, 0, name, 1, DLM_PR, 0);
    cluster_request(&cluster, 0, name, 2, DLM_PR, 0);
    cluster_expect_grant(&cluster, 0, 1, DLM_PR);
    cluster_expect_grant(&cluster, 0, 2, DLM_PR);
    cluster_request(&cluster, 0, name, 3, DLM_EX, 0);
    cluster_convert(&cluster, 0, 1, DLM_EX, 0, 0);
    cluster_convert(&cluster, 0, 2, DLM_EX, 0, 0);
    cluster_expect_denied(&cluster, 0, 2, -EDEADLK);
    cluster_release(&cluster, 0, 2, 0, 0);
    cluster_expect_grant(&cluster, 0, 1, DLM_EX);
    cluster_release(&cluster, 0, 1, 0, 0);
    cluster_expect_grant(&cluster, 0, 3, DLM_EX);
    cluster_deinit(&cluster);
}

static void test_cancel_of_request_and_conversion(void **state)
{
    struct cluster cluster;

    (void)state;
    cluster_init(&cluster, 2);
    cluster_view(&cluster, 3, 0);
    cluster_settle(&cluster);
    struct lock_name name = cluster_name_of(&cluster, 1);
    cluster_request(&cluster, 1, name, 1, DLM_PR, 0);
    cluster_request(&cluster, 0, name, 1, DLM_PR, 0);
    cluster_settle(&cluster);
    cluster_expect_grant(&cluster, 0, 1, DLM_PR);
    cluster_convert(&cluster, 0, 1, DLM_EX, 0, 0);
    cluster_settle(&cluster);
    cluster_cancel(&cluster, 0, 1);
    cluster_settle(&cluster);
    cluster_expect_denied(&cluster, 0, 1, -ECANCELED);
    cluster_release(&cluster, 0, 1, 0, 0); // PR was kept
    cluster_cancel(&cluster, 0, 99);       // nothing pending: nothing happens
    cluster_settle(&cluster);
    cluster_expect_silence(&cluster, 0);
    cluster_deinit(&cluster);
}

static void test_value_block(void **state)
{
    struct cluster cluster;

    (void)state;
    cluster_init(&cluster, 2);
    cluster_view(&cluster, 3, 0);
    cluster_settle(&cluster);
    struct lock_name name = cluster_name_of(&cluster, 1);
    cluster_request(&cluster, 1, name, 9, DLM_NL, 0); // keeps the resource
    cluster_request(&cluster, 0, name, 1, DLM_EX, 0);
    cluster_settle(&cluster);
    const struct dlm_effect *effect = cluster_take(&cluster, 0, DLM_EFFECT_GRANT);
    assert_false(effect->grant.value_valid); // nobody has written one
    cluster_release(&cluster, 0, 1, DLM_WRITE_VALUE, 42);
    cluster_request(&cluster, 0, name, 2, DLM_PR, 0);
    cluster_settle(&cluster);
    effect = cluster_take(&cluster, 0, DLM_EFFECT_GRANT);
    assert_true(effect->grant.value_valid);
    assert_int_equal(effect->grant.value.bytes[0], 42);
    cluster_release(&cluster, 0, 2, DLM_WRITE_VALUE, 43); // PR may not write
    cluster_request(&cluster, 0, name, 3, DLM_PR, 0);
    cluster_settle(&cluster);
    effect = cluster_take(&cluster, 0, DLM_EFFECT_GRANT);
    assert_int_equal(effect->grant.value.bytes[0], 42);
    cluster_deinit(&cluster);
}

static void test_idle_core_keeps_nothing(void **state)
{
    struct cluster cluster;

    (void)state;
    cluster_init(&cluster, 1);
    cluster_view(&cluster, 1, 0);
    for (uint64_t i = 1; i <= 1000; i++) {
        cluster_request(&cluster, 0, (struct lock_name){1, i}, i, DLM_PR, 0);
        cluster_expect_grant(&cluster, 0, i, DLM_PR);
    }
    assert_int_equal(dlm_core_status_get(cluster.cores[0]).resource_count, 1000);
    for (uint64_t i = 1; i <= 1000; i++)
        cluster_release(&cluster, 0, i, 0, 0);
    assert_int_equal(dlm_core_status_get(cluster.cores[0]).resource_count, 0);
    assert_int_equal(dlm_core_status_get(cluster.cores[0]).lock_count, 0);
    cluster_deinit(&cluster);
}

// A batch to one peer is one frame.
static void test_batch_is_one_frame(void **state)
{
    struct cluster cluster;
    struct dlm_event events[8];

    (void)state;
    cluster_init(&cluster, 2);
    cluster_view(&cluster, 3, 0);
    cluster_settle(&cluster);
    struct lock_name name = cluster_name_of(&cluster, 1);
    for (uint64_t i = 0; i < 8; i++)
        events[i] =
            (struct dlm_event){.type = DLM_EVENT_REQUEST, .request = {name, i + 1, DLM_PR, 0}};
    dlm_core_step(cluster.cores[0], events, 8, &cluster.effects);
    assert_int_equal(cluster.effects.count, 1);
    assert_int_equal(cluster.effects.items[0].type, DLM_EFFECT_SEND);
    cluster_deinit(&cluster);
}

// One core asks, converts and gives back; the other masters. Frames are handed over in place.
static void work(struct cluster *cluster, struct dlm_effects effects[2], struct lock_name name)
{
    const struct dlm_event events[] = {
        {.type = DLM_EVENT_REQUEST, .request = {name, 1, DLM_PR, 0}},
        {.type = DLM_EVENT_CONVERT, .convert = {.cookie = 1, .mode = DLM_EX}},
        {.type = DLM_EVENT_RELEASE, .release = {.cookie = 1}},
    };

    for (size_t i = 0; i < sizeof(events) / sizeof(events[0]); i++) {
        dlm_core_step(cluster->cores[0], &events[i], 1, &effects[0]);
        for (uint32_t node = 0; effects[node].count; node = 1 - node) {
            const struct dlm_effect *effect = &effects[node].items[0];
            if (effect->type != DLM_EFFECT_SEND)
                break;
            struct dlm_event frame = {
                .type = DLM_EVENT_FRAME,
                .frame = {{node + 1, 1},
                          dlm_effects_frame(&effects[node], &effect->send),
                          effect->send.length},
            };
            dlm_core_step(cluster->cores[1 - node], &frame, 1, &effects[1 - node]);
        }
    }
}

static void test_steady_state_allocates_nothing(void **state)
{
    struct cluster cluster;
    struct dlm_effects effects[2] = {{0}};

    (void)state;
    cluster_init(&cluster, 2);
    cluster_view(&cluster, 3, 0);
    cluster_settle(&cluster);
    struct lock_name here = cluster_name_of(&cluster, 0), there = cluster_name_of(&cluster, 1);
    work(&cluster, effects, here);
    work(&cluster, effects, there);
    uint64_t before = allocations, grants = dlm_core_counters(cluster.cores[0])->grants;
    for (int i = 0; i < 1000; i++) {
        work(&cluster, effects, here);
        work(&cluster, effects, there);
    }
    assert_int_equal(allocations, before);
    assert_int_equal(dlm_core_counters(cluster.cores[0])->grants, grants + 4000);
    for (int i = 0; i < 2; i++)
        dlm_effects_deinit(&effects[i]);
    cluster_deinit(&cluster);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_matrix_is_symmetric_and_down_agrees),
        cmocka_unit_test(test_strongest_beside_survivors),
        cmocka_unit_test(test_kept_while_converting),
        cmocka_unit_test(test_local_master_tells_the_shadow_alone),
        cmocka_unit_test(test_request_before_the_first_view_waits),
        cmocka_unit_test(test_callback_and_queue),
        cmocka_unit_test(test_nobody_overtakes),
        cmocka_unit_test(test_conversion_goes_first_and_deadlock_is_refused),
        cmocka_unit_test(test_cancel_of_request_and_conversion),
        cmocka_unit_test(test_value_block),
        cmocka_unit_test(test_idle_core_keeps_nothing),
        cmocka_unit_test(test_batch_is_one_frame),
        cmocka_unit_test(test_steady_state_allocates_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
