// SPDX-License-Identifier: Apache-2.0
// Byte ranges: split and merge against a byte map, POSIX and flock behaviour, deadlocks over
// several masters.
#include "tests/unit/test_dlm_cluster.h"

#include "dlm/core_ranges.h"
#include "fs/base/random.h"

#include <errno.h>

enum { A = 0, B = 1, C = 2, BYTES = 64, OWNERS = 3, ROUNDS = 20000 };

// ---- the set ----------------------------------------------------------------------------------

struct map {
    uint8_t held[OWNERS][BYTES]; // 0, 1 shared, 2 exclusive
};

static void check_set(const struct core_range_set *set, const struct map *map)
{
    struct map seen = {{{0}}};
    const struct core_range *held;
    uint64_t start = 0;

    TAILQ_FOREACH (held, set, link) {
        assert_true(held->range.start >= start);
        start = held->range.start;
        assert_true(held->range.end < BYTES);
        for (uint64_t b = held->range.start; b <= held->range.end; b++) {
            assert_int_equal(seen.held[held->range.owner][b], 0); // no overlap of one owner
            seen.held[held->range.owner][b] = 1 + held->range.type;
        }
    }
    assert_memory_equal(&seen, map, sizeof(seen));
}

static size_t count(const struct core_range_set *set)
{
    const struct core_range *held;
    size_t total = 0;

    TAILQ_FOREACH (held, set, link)
        total++;
    return total;
}

static void test_set_against_a_byte_map(void **state)
{
    struct core_range_set set = TAILQ_HEAD_INITIALIZER(set);
    struct pool pool = {.object_bytes = sizeof(struct core_range)};
    struct dlm_node node = {1, 1};
    struct random random;
    struct map map = {{{0}}};

    (void)state;
    random_init(&random, 2026);
    for (int i = 0; i < ROUNDS; i++) {
        uint64_t start = random_below(&random, BYTES);
        struct dlm_range range = {
            .owner = random_below(&random, OWNERS),
            .start = start,
            .end = start + random_below(&random, BYTES - start),
            .type = (uint8_t)random_below(&random, 2),
        };
        bool is_unlock = random_one_in(&random, 3);
        for (uint64_t b = range.start; b <= range.end; b++)
            map.held[range.owner][b] = is_unlock ? 0 : 1 + range.type;
        if (is_unlock)
            core_range_set_remove(&set, &pool, node, &range, DLM_SCOPE_RANGE);
        else
            core_range_set_add(&set, &pool, node, false, &range);
        check_set(&set, &map);
    }
    core_range_set_clear(&set, &pool);
    assert_int_equal(count(&set), 0);
    pool_deinit(&pool);
}

static void test_neighbours_merge_and_unlock_splits(void **state)
{
    struct core_range_set set = TAILQ_HEAD_INITIALIZER(set);
    struct pool pool = {.object_bytes = sizeof(struct core_range)};
    struct dlm_node node = {1, 1};
    struct dlm_range range = {.owner = 1, .start = 0, .end = 9};

    (void)state;
    core_range_set_add(&set, &pool, node, false, &range);
    range.start = 20, range.end = UINT64_MAX;
    core_range_set_add(&set, &pool, node, false, &range);
    assert_int_equal(count(&set), 2);
    range.start = 10, range.end = 19;
    core_range_set_add(&set, &pool, node, false, &range);
    assert_int_equal(count(&set), 1);
    assert_int_equal(TAILQ_FIRST(&set)->range.end, UINT64_MAX);
    range.start = 5, range.end = 5;
    core_range_set_remove(&set, &pool, node, &range, DLM_SCOPE_RANGE);
    assert_int_equal(count(&set), 2);
    range.handle = 7; // nothing was taken by it
    assert_false(core_range_set_remove(&set, &pool, node, &range, DLM_SCOPE_HANDLE));
    range.handle = 0;
    assert_true(core_range_set_remove(&set, &pool, node, &range, DLM_SCOPE_OWNER));
    assert_int_equal(count(&set), 0);
    pool_deinit(&pool);
}

// ---- in the core ------------------------------------------------------------------------------

static void lock(struct cluster *cluster, uint32_t node, struct lock_name name, uint64_t cookie,
                 struct dlm_range range, bool wait)
{
    struct dlm_event event = {
        .type = DLM_EVENT_RANGE_LOCK,
        .range_lock = {name, cookie, range, wait},
    };
    cluster_step(cluster, node, &event);
}

static void unlock(struct cluster *cluster, uint32_t node, struct lock_name name,
                   struct dlm_range range, enum dlm_range_scope scope)
{
    struct dlm_event event = {
        .type = DLM_EVENT_RANGE_UNLOCK,
        .range_unlock = {name, range, scope},
    };
    cluster_step(cluster, node, &event);
}

static void expect_result(struct cluster *cluster, uint32_t node, uint64_t cookie, int error)
{
    const struct dlm_effect *effect = cluster_take(cluster, node, DLM_EFFECT_RANGE_RESULT);

    assert_non_null(effect);
    assert_int_equal(effect->range_result.cookie, cookie);
    assert_int_equal(effect->range_result.error, error);
}

static struct dlm_range posix(uint64_t owner, uint64_t start, uint64_t end, uint8_t type)
{
    return (struct dlm_range){
        .owner = owner, .handle = owner, .start = start, .end = end, .type = type};
}

static void start(struct cluster *cluster)
{
    cluster_init(cluster, 3);
    cluster_view(cluster, 7, 0);
    cluster_settle(cluster);
}

static void test_conflict_wait_test_and_cancel(void **state)
{
    struct cluster cluster;

    (void)state;
    start(&cluster);
    struct lock_name name = cluster_name_of(&cluster, C);
    lock(&cluster, A, name, 1, posix(1, 0, 9, DLM_RANGE_EXCLUSIVE), false);
    cluster_settle(&cluster);
    expect_result(&cluster, A, 1, 0);
    lock(&cluster, B, name, 1, posix(1, 9, 20, DLM_RANGE_SHARED), false); // same number, other node
    cluster_settle(&cluster);
    const struct dlm_effect *effect = cluster_take(&cluster, B, DLM_EFFECT_RANGE_RESULT);
    assert_int_equal(effect->range_result.error, -EAGAIN);
    assert_int_equal(effect->range_result.conflict_node.node_id, 1);
    assert_int_equal(effect->range_result.conflict.end, 9);
    lock(&cluster, B, name, 2, posix(1, 9, 20, DLM_RANGE_SHARED), true);
    lock(&cluster, B, name, 3, posix(2, 0, 0, DLM_RANGE_SHARED), true);
    cluster_settle(&cluster);
    cluster_expect_silence(&cluster, B);
    struct dlm_event cancel = {.type = DLM_EVENT_RANGE_CANCEL, .range_cancel = {name, 3}};
    cluster_step(&cluster, B, &cancel);
    cluster_settle(&cluster);
    expect_result(&cluster, B, 3, -ECANCELED);
    unlock(&cluster, A, name, posix(1, 5, 9, 0), DLM_SCOPE_RANGE);
    cluster_settle(&cluster);
    expect_result(&cluster, B, 2, 0);
    cluster_deinit(&cluster);
}

// A asks shared over its exclusive range: B gets its share only when A knows.
static void test_downgrade_lets_others_in_after_its_owner_knows(void **state)
{
    struct cluster cluster;

    (void)state;
    start(&cluster);
    struct lock_name name = cluster_name_of(&cluster, C);
    lock(&cluster, A, name, 1, posix(1, 0, 9, DLM_RANGE_EXCLUSIVE), false);
    cluster_settle(&cluster);
    expect_result(&cluster, A, 1, 0);
    lock(&cluster, B, name, 1, posix(1, 0, 9, DLM_RANGE_SHARED), true);
    cluster_settle(&cluster);
    lock(&cluster, A, name, 2, posix(1, 0, 9, DLM_RANGE_SHARED), false);
    while (cluster_deliver(&cluster, A, C))
        ;
    while (cluster_deliver(&cluster, C, B))
        ;
    cluster_expect_silence(&cluster, B); // C has granted A, A has not heard
    cluster_settle(&cluster);
    expect_result(&cluster, A, 2, 0);
    expect_result(&cluster, B, 1, 0);
    cluster_deinit(&cluster);
}

static void test_flock_is_another_space_and_drops_first(void **state)
{
    struct cluster cluster;
    struct dlm_range whole = {.owner = 1,
                              .handle = 1,
                              .end = UINT64_MAX,
                              .space = DLM_RANGE_FLOCK,
                              .type = DLM_RANGE_SHARED};

    (void)state;
    start(&cluster);
    struct lock_name name = cluster_name_of(&cluster, C);
    lock(&cluster, A, name, 1, posix(1, 0, UINT64_MAX, DLM_RANGE_EXCLUSIVE), false);
    lock(&cluster, A, name, 2, whole, false);
    lock(&cluster, B, name, 1, whole, false);
    cluster_settle(&cluster);
    expect_result(&cluster, A, 1, 0);
    expect_result(&cluster, A, 2, 0);
    expect_result(&cluster, B, 1, 0);
    whole.type = DLM_RANGE_EXCLUSIVE; // both go up: with fcntl a deadlock, with flock not
    lock(&cluster, A, name, 3, whole, true);
    lock(&cluster, B, name, 2, whole, true);
    cluster_settle(&cluster);
    expect_result(&cluster, A, 3, 0);
    unlock(&cluster, A, name, whole, DLM_SCOPE_HANDLE); // RELEASE: both spaces
    cluster_settle(&cluster);
    expect_result(&cluster, B, 2, 0);
    lock(&cluster, B, name, 3, posix(9, 0, 0, DLM_RANGE_EXCLUSIVE), false);
    cluster_settle(&cluster);
    expect_result(&cluster, B, 3, 0);
    cluster_deinit(&cluster);
}

// Three owners on three nodes, three files of three masters, a ring: the last edge is refused.
static void test_deadlock_over_three_masters(void **state)
{
    struct cluster cluster;
    struct lock_name names[3];

    (void)state;
    start(&cluster);
    for (uint32_t i = 0; i < 3; i++) {
        names[i] = cluster_name_of(&cluster, (i + 1) % 3);
        lock(&cluster, i, names[i], 1, posix(7, 0, 9, DLM_RANGE_EXCLUSIVE), false);
        cluster_settle(&cluster);
        expect_result(&cluster, i, 1, 0);
    }
    lock(&cluster, A, names[B], 2, posix(7, 0, 0, DLM_RANGE_SHARED), true);
    lock(&cluster, B, names[C], 2, posix(7, 0, 0, DLM_RANGE_SHARED), true);
    cluster_settle(&cluster);
    cluster_expect_silence(&cluster, A);
    lock(&cluster, C, names[A], 2, posix(7, 9, 9, DLM_RANGE_EXCLUSIVE), true);
    cluster_settle(&cluster);
    expect_result(&cluster, C, 2, -EDEADLK);
    unlock(&cluster, C, names[C], posix(7, 0, 0, 0), DLM_SCOPE_OWNER);
    cluster_settle(&cluster);
    expect_result(&cluster, B, 2, 0);
    cluster_expect_silence(&cluster, A);
    cluster_deinit(&cluster);
}

// The ring is closed by a grant to a third owner that slipped in, not by a new wait.
static void test_deadlock_closed_by_a_grant(void **state)
{
    struct cluster cluster;

    (void)state;
    start(&cluster);
    struct lock_name x = cluster_name_of(&cluster, A), y = cluster_name_of(&cluster, B);
    lock(&cluster, A, x, 1, posix(1, 0, 0, DLM_RANGE_SHARED), false);
    lock(&cluster, B, y, 1, posix(2, 0, 0, DLM_RANGE_EXCLUSIVE), false);
    cluster_settle(&cluster);
    lock(&cluster, B, x, 2, posix(2, 0, 0, DLM_RANGE_EXCLUSIVE), true); // 2 waits for 1
    lock(&cluster, C, x, 1, posix(3, 0, 0, DLM_RANGE_SHARED), true);    // 3 slips in beside 1
    cluster_settle(&cluster);
    expect_result(&cluster, C, 1, 0);
    lock(&cluster, C, y, 2, posix(3, 0, 0, DLM_RANGE_SHARED), true); // 3 waits for 2, 2 for 3
    cluster_settle(&cluster);
    expect_result(&cluster, C, 2, -EDEADLK);
    cluster_deinit(&cluster);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_set_against_a_byte_map),
        cmocka_unit_test(test_neighbours_merge_and_unlock_splits),
        cmocka_unit_test(test_conflict_wait_test_and_cancel),
        cmocka_unit_test(test_downgrade_lets_others_in_after_its_owner_knows),
        cmocka_unit_test(test_flock_is_another_space_and_drops_first),
        cmocka_unit_test(test_deadlock_over_three_masters),
        cmocka_unit_test(test_deadlock_closed_by_a_grant),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
