// SPDX-License-Identifier: Apache-2.0
// View changes, one timeline of docs/protocols.md a test.
#include "tests/unit/test_dlm_cluster.h"

#include <errno.h>

enum { A = 0, B = 1, C = 2, D = 3 };

static void start(struct cluster *cluster, uint32_t nodes, unsigned members)
{
    cluster_init(cluster, nodes);
    cluster_view(cluster, members, 0);
    cluster_settle(cluster);
    for (uint32_t i = 0; i < nodes; i++)
        if (cluster->cores[i])
            cluster_expect_silence(cluster, i);
}

static void take(struct cluster *cluster, uint32_t node, struct lock_name name, uint64_t cookie,
                 enum dlm_mode mode)
{
    cluster_request(cluster, node, name, cookie, mode, 0);
    cluster_settle(cluster);
    cluster_expect_grant(cluster, node, cookie, mode);
}

// Rule 1: A masters R and holds it; nobody else knows. It is not free before A is recovered.
static void test_dead_master_that_was_the_holder(void **state)
{
    struct cluster cluster;

    (void)state;
    start(&cluster, 3, 7);
    struct lock_name name = cluster_name_of(&cluster, A);
    take(&cluster, A, name, 1, DLM_EX);
    cluster_crash(&cluster, A);
    cluster_view(&cluster, 6, 1);
    cluster_settle(&cluster);
    cluster_request(&cluster, B, name, 1, DLM_EX, 0);
    cluster_request(&cluster, C, name, 1, DLM_CR, 0);
    cluster_settle(&cluster);
    cluster_expect_silence(&cluster, B);
    cluster_expect_silence(&cluster, C);
    cluster_recovered(&cluster, A);
    cluster_settle(&cluster);
    cluster_expect_grant(&cluster, B, 1, DLM_EX);
    cluster_deinit(&cluster);
}

// Rule 1: a survivor's PR says that the dead hold PR at most; its EX, that they hold nothing.
static void test_survivors_say_what_the_dead_can_hold(void **state)
{
    struct cluster cluster;

    (void)state;
    start(&cluster, 3, 7);
    struct lock_name name = cluster_name_of(&cluster, A), other = {2, name.id};
    while (dlm_core_master_of(cluster.cores[A], other).node_id != A + 1)
        other.id++;
    take(&cluster, B, name, 1, DLM_PR);
    take(&cluster, B, other, 2, DLM_EX);
    cluster_crash(&cluster, A);
    cluster_view(&cluster, 6, 1);
    cluster_settle(&cluster);
    take(&cluster, C, name, 1, DLM_PR);
    cluster_request(&cluster, C, name, 2, DLM_EX, DLM_NOQUEUE);
    cluster_settle(&cluster);
    cluster_expect_denied(&cluster, C, 2, -EAGAIN);
    cluster_release(&cluster, B, 2, 0, 0);
    take(&cluster, C, other, 3, DLM_EX);
    cluster_deinit(&cluster);
}

// What the dead held on a resource that a survivor masters stays held; the rest goes on.
static void test_dead_holder_on_a_living_master(void **state)
{
    struct cluster cluster;

    (void)state;
    start(&cluster, 3, 7);
    struct lock_name name = cluster_name_of(&cluster, B), free_name = {9, 1};
    while (dlm_core_master_of(cluster.cores[B], free_name).node_id != B + 1)
        free_name.id++;
    take(&cluster, A, name, 1, DLM_PW);
    cluster_crash(&cluster, A);
    cluster_view(&cluster, 6, 1);
    cluster_request(&cluster, B, free_name, 5, DLM_EX, 0);
    cluster_settle(&cluster);
    cluster_expect_grant(&cluster, B, 5, DLM_EX);
    take(&cluster, C, name, 1, DLM_CR);
    cluster_request(&cluster, C, name, 2, DLM_PR, 0);
    cluster_settle(&cluster);
    cluster_expect_silence(&cluster, C);
    cluster_recovered(&cluster, A);
    cluster_settle(&cluster);
    cluster_expect_grant(&cluster, C, 2, DLM_PR);
    cluster_deinit(&cluster);
}

// A name that `before` masters in the cluster's view and `after` among the nodes of `members`.
static struct lock_name name_that_moves(const struct cluster *cluster, uint32_t before,
                                        unsigned members, uint32_t after)
{
    struct cluster other;
    struct lock_name name = {3, 0};

    cluster_init(&other, CLUSTER_NODES);
    cluster_view(&other, members, 0);
    do {
        name.id++;
    } while (dlm_core_master_of(cluster->cores[before], name).node_id != before + 1 ||
             dlm_core_master_of(other.cores[after], name).node_id != after + 1);
    cluster_deinit(&other);
    return name;
}

// Nothing moved is granted before each member has said that it has re-sent all.
static void test_end_of_holders(void **state)
{
    struct cluster cluster;

    (void)state;
    start(&cluster, 3, 7);
    struct lock_name name = name_that_moves(&cluster, C, 3, B);
    take(&cluster, A, name, 1, DLM_EX);
    cluster_crash(&cluster, C); // it had left cleanly: nobody is dead
    cluster_view(&cluster, 3, 0);
    cluster_request(&cluster, B, name, 1, DLM_EX, 0);
    cluster_expect_silence(&cluster, B); // B masters it, and has not heard of A
    cluster_settle(&cluster);
    cluster_expect_silence(&cluster, B);
    cluster_expect_blocking(&cluster, A, 1, DLM_EX);
    cluster_release(&cluster, A, 1, 0, 0);
    cluster_settle(&cluster);
    cluster_expect_grant(&cluster, B, 1, DLM_EX);
    cluster_deinit(&cluster);
}

// Rule 8: a release sent in epoch 1 arrives in epoch 2 at a master that did not change.
static void test_release_of_an_earlier_epoch(void **state)
{
    struct cluster cluster;

    (void)state;
    start(&cluster, 3, 7);
    struct lock_name name = name_that_moves(&cluster, B, 3, B); // it does not
    take(&cluster, A, name, 1, DLM_EX);
    cluster_release(&cluster, A, 1, 0, 0);
    cluster_crash(&cluster, C);
    cluster_view(&cluster, 3, 4); // B installs before the release is there
    cluster_settle(&cluster);
    take(&cluster, B, name, 1, DLM_EX);
    cluster_deinit(&cluster);
}

// Rule 8: a grant of a later epoch waits until its view is installed.
static void test_frame_of_a_later_epoch_waits(void **state)
{
    struct cluster cluster;
    struct dlm_view view = {
        .epoch = 2, .member_count = 2, .members = {{1, 1}, {2, 1}}, .dead_count = 1};
    struct dlm_event event = {.type = DLM_EVENT_VIEW, .view = &view};

    (void)state;
    start(&cluster, 3, 7);
    view.dead[0] = (struct dlm_node){3, 1};
    struct lock_name name = cluster_name_of(&cluster, B);
    cluster_request(&cluster, A, name, 1, DLM_PR, 0);
    cluster_crash(&cluster, C);
    cluster_step(&cluster, B, &event); // B is in epoch 2 and grants from there
    while (cluster_deliver(&cluster, A, B))
        ;
    while (cluster_deliver(&cluster, B, A))
        ;
    cluster_expect_silence(&cluster, A);
    assert_true(dlm_core_counters(cluster.cores[A])->frames_held > 0);
    cluster_step(&cluster, A, &event);
    cluster_expect_grant(&cluster, A, 1, DLM_PR);
    cluster_settle(&cluster);
    cluster_deinit(&cluster);
}

// Rule 19: the writer died with PW; its value block is not valid any more.
static void test_value_of_a_dead_writer(void **state)
{
    struct cluster cluster;

    (void)state;
    start(&cluster, 3, 7);
    struct lock_name name = cluster_name_of(&cluster, B);
    take(&cluster, B, name, 9, DLM_NL);
    take(&cluster, A, name, 1, DLM_PW);
    cluster_convert(&cluster, A, 1, DLM_PR, DLM_WRITE_VALUE, 42);
    cluster_convert(&cluster, A, 1, DLM_PW, 0, 0);
    cluster_settle(&cluster);
    cluster_crash(&cluster, A);
    cluster_view(&cluster, 6, 1);
    cluster_settle(&cluster);
    cluster_recovered(&cluster, A);
    cluster_request(&cluster, C, name, 1, DLM_PR, 0);
    cluster_settle(&cluster);
    const struct dlm_effect *effect = cluster_take(&cluster, C, DLM_EFFECT_GRANT);
    assert_non_null(effect);
    assert_false(effect->grant.value_valid);
    cluster_deinit(&cluster);
}

// Rule 28: a node that left cleanly is purged at once, whatever overtook its releases.
static void test_clean_leave_purges(void **state)
{
    struct cluster cluster;

    (void)state;
    start(&cluster, 3, 7);
    struct lock_name name = cluster_name_of(&cluster, B);
    take(&cluster, A, name, 1, DLM_EX);
    cluster_request(&cluster, C, name, 1, DLM_EX, 0);
    cluster_settle(&cluster);
    cluster_crash(&cluster, A); // with its release under way
    cluster_view(&cluster, 6, 0);
    cluster_settle(&cluster);
    cluster_expect_grant(&cluster, C, 1, DLM_EX);
    cluster_deinit(&cluster);
}

// All members are new and somebody is dead: nothing is known, so nothing is free.
static void test_new_cluster_with_dead(void **state)
{
    struct cluster cluster;
    struct lock_name name = {1, 7};

    (void)state;
    cluster_init(&cluster, 2);
    cluster_view(&cluster, 3, 1 << D);
    cluster_request(&cluster, A, name, 1, DLM_CR, 0);
    cluster_settle(&cluster);
    cluster_expect_silence(&cluster, A);
    cluster_recovered(&cluster, D);
    cluster_settle(&cluster);
    cluster_expect_grant(&cluster, A, 1, DLM_CR);
    cluster_deinit(&cluster);
}

static struct dlm_event range_event(enum dlm_event_type type, struct lock_name name,
                                    uint64_t cookie, uint64_t start, uint64_t end)
{
    return (struct dlm_event){
        .type = type,
        .range_lock = {.name = name,
                       .cookie = cookie,
                       .range = {.owner = 1,
                                 .handle = 1,
                                 .start = start,
                                 .end = end,
                                 .type = DLM_RANGE_EXCLUSIVE},
                       .wait = false},
    };
}

// Rule 1 for ranges: of a dead master nothing is free; what survivors held is still theirs.
static void test_ranges_of_a_dead_master(void **state)
{
    struct cluster cluster;

    (void)state;
    start(&cluster, 3, 7);
    struct lock_name name = cluster_name_of(&cluster, A);
    struct dlm_event lock = range_event(DLM_EVENT_RANGE_LOCK, name, 1, 0, 9);
    cluster_step(&cluster, B, &lock);
    cluster_settle(&cluster);
    assert_int_equal(cluster_take(&cluster, B, DLM_EFFECT_RANGE_RESULT)->range_result.error, 0);
    cluster_crash(&cluster, A);
    cluster_view(&cluster, 6, 1);
    cluster_settle(&cluster);
    lock = range_event(DLM_EVENT_RANGE_LOCK, name, 2, 5, 5);
    cluster_step(&cluster, C, &lock);
    lock = range_event(DLM_EVENT_RANGE_LOCK, name, 3, 100, 100);
    cluster_step(&cluster, C, &lock);
    cluster_settle(&cluster);
    assert_int_equal(cluster_take(&cluster, C, DLM_EFFECT_RANGE_RESULT)->range_result.error,
                     -EAGAIN); // B has it
    cluster_expect_silence(&cluster, C);
    cluster_recovered(&cluster, A);
    cluster_settle(&cluster);
    assert_int_equal(cluster_take(&cluster, C, DLM_EFFECT_RANGE_RESULT)->range_result.error, 0);
    cluster_deinit(&cluster);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dead_master_that_was_the_holder),
        cmocka_unit_test(test_survivors_say_what_the_dead_can_hold),
        cmocka_unit_test(test_dead_holder_on_a_living_master),
        cmocka_unit_test(test_end_of_holders),
        cmocka_unit_test(test_release_of_an_earlier_epoch),
        cmocka_unit_test(test_frame_of_a_later_epoch_waits),
        cmocka_unit_test(test_value_of_a_dead_writer),
        cmocka_unit_test(test_clean_leave_purges),
        cmocka_unit_test(test_new_cluster_with_dead),
        cmocka_unit_test(test_ranges_of_a_dead_master),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
