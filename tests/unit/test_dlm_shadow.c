// SPDX-License-Identifier: Apache-2.0
// Notes at the shadow (rule 1, dlm/core_note.c): one timeline of a failure a test.
#include "tests/unit/test_dlm_cluster.h"

#include <errno.h>

enum { A = 0, B = 1, C = 2, D = 3, NOBODY = 9 };
enum { AB = 3, ABC = 7, BC = 6, CD = 12, ACD = 13, BCD = 14, ABCD = 15 };

static void start(struct cluster *cluster, unsigned members)
{
    cluster_init(cluster, CLUSTER_NODES);
    cluster_view(cluster, members, 0);
    cluster_settle(cluster);
}

static void take(struct cluster *cluster, uint32_t node, struct lock_name name, uint64_t cookie,
                 enum dlm_mode mode)
{
    cluster_request(cluster, node, name, cookie, mode, 0);
    cluster_settle(cluster);
    cluster_expect_grant(cluster, node, cookie, mode);
}

// Who masters and who shadows a name among some nodes.
struct place {
    unsigned members;
    uint32_t master;
    uint32_t shadow; // NOBODY: whoever it is
};

static bool is_placed(const struct cluster *cluster, struct lock_name name, struct place place)
{
    uint32_t node = place.master;

    return dlm_core_master_of(cluster->cores[node], name).node_id == place.master + 1 &&
           (place.shadow == NOBODY ||
            dlm_core_shadow_of(cluster->cores[node], name).node_id == place.shadow + 1);
}

// A name that is placed so before and so after a view change.
static struct lock_name name_placed(struct place before, struct place after)
{
    struct cluster first, second;
    struct lock_name name = {1, 0};

    start(&first, before.members);
    start(&second, after.members);
    do
        name.id++;
    while (!is_placed(&first, name, before) || !is_placed(&second, name, after));
    cluster_deinit(&first);
    cluster_deinit(&second);
    return name;
}

static size_t notes_of(const struct cluster *cluster, uint32_t node)
{
    return dlm_core_status_get(cluster->cores[node]).note_count;
}

static void die(struct cluster *cluster, uint32_t node, unsigned left)
{
    cluster_crash(cluster, node);
    cluster_view(cluster, left, 1U << node);
    cluster_settle(cluster);
}

// I6: what nobody was noted on is free as soon as the view is complete.
static void test_what_nobody_has_is_free(void **state)
{
    struct cluster cluster;

    (void)state;
    start(&cluster, ABC);
    struct lock_name name = cluster_name_of(&cluster, A);
    die(&cluster, A, BC);
    take(&cluster, C, name, 1, DLM_EX);
    cluster_deinit(&cluster);
}

// The dead master held PR: that it is PR, and no more, its shadow knows.
static void test_lock_of_the_dead_master(void **state)
{
    struct cluster cluster;

    (void)state;
    start(&cluster, ABC);
    struct lock_name name = cluster_name_of(&cluster, A);
    take(&cluster, A, name, 1, DLM_EX);
    cluster_convert(&cluster, A, 1, DLM_PR, 0, 0);
    cluster_settle(&cluster);
    die(&cluster, A, BC);
    take(&cluster, B, name, 1, DLM_PR);
    cluster_request(&cluster, C, name, 1, DLM_PW, 0);
    cluster_settle(&cluster);
    cluster_expect_silence(&cluster, C);
    cluster_release(&cluster, B, 1, 0, 0);
    cluster_settle(&cluster);
    cluster_expect_silence(&cluster, C);
    cluster_recovered(&cluster, A);
    cluster_settle(&cluster);
    cluster_expect_grant(&cluster, C, 1, DLM_PW);
    cluster_deinit(&cluster);
}

// A grants C, whose note is lost with it: C never relied on the grant, so nothing is held.
static void test_client_dies_before_its_note_arrives(void **state)
{
    struct cluster cluster;
    struct lock_name name = name_placed((struct place){ABCD, A, B}, (struct place){BC, B, C});

    (void)state;
    start(&cluster, ABCD);
    cluster_request(&cluster, D, name, 1, DLM_EX, 0);
    while (cluster_deliver(&cluster, D, A))
        ;
    while (cluster_deliver(&cluster, A, D))
        ;
    cluster_expect_silence(&cluster, D);
    cluster_crash(&cluster, D);
    cluster_crash(&cluster, A);
    cluster_view(&cluster, BC, 1U << A | 1U << D);
    cluster_settle(&cluster);
    take(&cluster, C, name, 1, DLM_EX);
    cluster_deinit(&cluster);
}

// A dies with C's note under way to B: B masters the resource now and keeps no notes of it. C asks
// B and notes at D.
static void test_master_dies_with_a_note_under_way(void **state)
{
    struct cluster cluster;
    struct lock_name name = name_placed((struct place){ABCD, A, B}, (struct place){BCD, B, D});

    (void)state;
    start(&cluster, ABCD);
    cluster_request(&cluster, C, name, 1, DLM_EX, 0);
    cluster_crash(&cluster, A);
    cluster_view(&cluster, BCD, 1U << A);
    cluster_settle(&cluster);
    cluster_expect_grant(&cluster, C, 1, DLM_EX);
    assert_int_equal(notes_of(&cluster, B), 0);
    assert_int_equal(notes_of(&cluster, D), 1);
    cluster_deinit(&cluster);
}

// B, the shadow, dies: what C holds and what it waits for is noted at D, which vouches for it when
// A dies as well.
static void test_shadow_dies(void **state)
{
    struct cluster cluster;
    struct place before = {ABCD, A, B}, after = {ACD, A, D};
    struct lock_name held = name_placed(before, after), asked = {2, 0};

    (void)state;
    start(&cluster, ABCD);
    do
        asked.id++;
    while (!is_placed(&cluster, asked, before));
    take(&cluster, C, held, 1, DLM_EX);
    cluster_request(&cluster, C, asked, 2, DLM_EX, 0);
    while (cluster_deliver(&cluster, C, A))
        ;
    while (cluster_deliver(&cluster, A, C))
        ;
    cluster_expect_silence(&cluster, C); // B has not answered
    die(&cluster, B, ACD);
    cluster_expect_grant(&cluster, C, 2, DLM_EX);
    cluster_recovered(&cluster, B);
    cluster_crash(&cluster, A);
    cluster_crash(&cluster, C);
    cluster_view(&cluster, 1U << D, 1U << A | 1U << C);
    cluster_request(&cluster, D, held, 1, DLM_CR, 0);
    cluster_expect_silence(&cluster, D);
    cluster_recovered(&cluster, C);
    cluster_expect_grant(&cluster, D, 1, DLM_CR);
    cluster_deinit(&cluster);
}

// B joins between the master and the old shadow while C waits for the shadow's answer.
static void test_shadow_moves_to_a_joiner(void **state)
{
    struct cluster cluster;
    struct lock_name name = name_placed((struct place){ACD, A, D}, (struct place){ABCD, A, B});

    (void)state;
    start(&cluster, ACD);
    cluster_request(&cluster, C, name, 1, DLM_EX, 0);
    while (cluster_deliver(&cluster, C, A) || cluster_deliver(&cluster, A, C))
        ;
    while (cluster_deliver(&cluster, C, D))
        ;
    cluster_view(&cluster, ABCD, 0);
    assert_int_equal(notes_of(&cluster, D), 0);
    while (cluster_deliver(&cluster, D, C))
        ;
    cluster_expect_silence(&cluster, C); // D's answer is void
    cluster_settle(&cluster);
    cluster_expect_grant(&cluster, C, 1, DLM_EX);
    assert_int_equal(notes_of(&cluster, B), 1);
    cluster_deinit(&cluster);
}

// Master and holder die together: the shadow is what is left.
static void test_master_and_holder_die(void **state)
{
    struct cluster cluster;
    struct lock_name name = name_placed((struct place){ABCD, A, B}, (struct place){BC, B, C});

    (void)state;
    start(&cluster, ABCD);
    take(&cluster, D, name, 1, DLM_EX);
    cluster_crash(&cluster, A);
    cluster_crash(&cluster, D);
    cluster_view(&cluster, BC, 1U << A | 1U << D);
    cluster_settle(&cluster);
    cluster_request(&cluster, C, name, 1, DLM_CR, 0);
    cluster_recovered(&cluster, A);
    cluster_settle(&cluster);
    cluster_expect_silence(&cluster, C);
    cluster_recovered(&cluster, D);
    cluster_settle(&cluster);
    cluster_expect_grant(&cluster, C, 1, DLM_CR);
    cluster_deinit(&cluster);
}

// Master and shadow die together: nobody knows, so everything they had between them waits for both.
static void test_master_and_shadow_die(void **state)
{
    struct cluster cluster;
    struct lock_name name = name_placed((struct place){ABCD, A, B}, (struct place){ABCD, A, B});

    (void)state;
    start(&cluster, ABCD);
    cluster_crash(&cluster, A);
    cluster_crash(&cluster, B);
    cluster_view(&cluster, CD, AB);
    cluster_settle(&cluster);
    cluster_request(&cluster, C, name, 1, DLM_EX, 0);
    cluster_recovered(&cluster, A);
    cluster_settle(&cluster);
    cluster_expect_silence(&cluster, C);
    cluster_recovered(&cluster, B);
    cluster_settle(&cluster);
    cluster_expect_grant(&cluster, C, 1, DLM_EX);
    cluster_deinit(&cluster);
}

// D joins in the view that A's death makes, and masters what A did: B tells it.
static void test_joiner_becomes_master(void **state)
{
    struct cluster cluster;
    struct lock_name name = name_placed((struct place){ABC, A, B}, (struct place){BCD, D, B});

    (void)state;
    start(&cluster, ABC);
    take(&cluster, A, name, 1, DLM_PW);
    die(&cluster, A, BCD);
    take(&cluster, C, name, 1, DLM_CR);
    cluster_request(&cluster, D, name, 1, DLM_PR, 0);
    cluster_settle(&cluster);
    cluster_expect_silence(&cluster, D);
    cluster_recovered(&cluster, A);
    cluster_settle(&cluster);
    cluster_expect_grant(&cluster, D, 1, DLM_PR);
    cluster_deinit(&cluster);
}

// A died holding R, which B masters; then B dies. A's lock is in no note: R waits for both, though
// its shadow lives.
static void test_second_death(void **state)
{
    struct cluster cluster;
    struct lock_name name = name_placed((struct place){ABCD, B, C}, (struct place){BCD, B, C});

    (void)state;
    start(&cluster, ABCD);
    take(&cluster, A, name, 1, DLM_EX);
    die(&cluster, A, BCD);
    cluster_crash(&cluster, B);
    cluster_view(&cluster, CD, AB);
    cluster_settle(&cluster);
    cluster_request(&cluster, C, name, 1, DLM_EX, 0);
    cluster_recovered(&cluster, B);
    cluster_settle(&cluster);
    cluster_expect_silence(&cluster, C);
    cluster_recovered(&cluster, A);
    cluster_settle(&cluster);
    cluster_expect_grant(&cluster, C, 1, DLM_EX);
    cluster_deinit(&cluster);
}

// B, the shadow, leaves; D is told what C holds before the view is complete.
static void test_shadow_leaves(void **state)
{
    struct cluster cluster;
    struct lock_name name = name_placed((struct place){ABCD, A, B}, (struct place){ACD, A, D});

    (void)state;
    start(&cluster, ABCD);
    take(&cluster, C, name, 1, DLM_EX);
    cluster_crash(&cluster, B);
    cluster_view(&cluster, ACD, 0);
    cluster_settle(&cluster);
    assert_int_equal(notes_of(&cluster, D), 1);
    cluster_crash(&cluster, A);
    cluster_crash(&cluster, C);
    cluster_view(&cluster, 1U << D, 1U << A | 1U << C);
    cluster_request(&cluster, D, name, 1, DLM_EX, 0);
    cluster_recovered(&cluster, A);
    cluster_expect_silence(&cluster, D);
    cluster_recovered(&cluster, C);
    cluster_expect_grant(&cluster, D, 1, DLM_EX);
    cluster_deinit(&cluster);
}

// D asks for EX, is denied, asks again: the answer to the first note says nothing of the second.
static void test_answer_to_an_earlier_note(void **state)
{
    struct cluster cluster;
    struct lock_name name = name_placed((struct place){ABCD, A, B}, (struct place){ABCD, A, B});

    (void)state;
    start(&cluster, ABCD);
    take(&cluster, C, name, 1, DLM_PR);
    take(&cluster, D, name, 1, DLM_PR);
    cluster_convert(&cluster, D, 1, DLM_EX, DLM_NOQUEUE, 0);
    while (cluster_deliver(&cluster, D, B))
        ; // B's answer stays under way
    while (cluster_deliver(&cluster, D, A) || cluster_deliver(&cluster, A, D))
        ;
    cluster_expect_denied(&cluster, D, 1, -EAGAIN);
    cluster_release(&cluster, C, 1, 0, 0);
    while (cluster_deliver(&cluster, C, A))
        ;
    cluster_convert(&cluster, D, 1, DLM_EX, 0, 0);
    while (cluster_deliver(&cluster, D, A) || cluster_deliver(&cluster, A, D))
        ;
    while (cluster_deliver(&cluster, B, D))
        ;
    cluster_expect_silence(&cluster, D);
    cluster_settle(&cluster);
    cluster_expect_grant(&cluster, D, 1, DLM_EX);
    cluster_deinit(&cluster);
}

// The master calls back what its owner has not heard of yet: first the grant, then the callback.
static void test_callback_before_the_note(void **state)
{
    struct cluster cluster;
    struct lock_name name = name_placed((struct place){ABCD, A, B}, (struct place){ABCD, A, B});

    (void)state;
    start(&cluster, ABCD);
    cluster_request(&cluster, D, name, 1, DLM_EX, 0);
    while (cluster_deliver(&cluster, D, A))
        ;
    cluster_request(&cluster, C, name, 1, DLM_PR, 0);
    while (cluster_deliver(&cluster, C, A) || cluster_deliver(&cluster, A, D))
        ;
    cluster_expect_silence(&cluster, D);
    cluster_settle(&cluster);
    cluster_expect_grant(&cluster, D, 1, DLM_EX);
    cluster_expect_blocking(&cluster, D, 1, DLM_PR);
    cluster_release(&cluster, D, 1, 0, 0);
    cluster_settle(&cluster);
    cluster_expect_grant(&cluster, C, 1, DLM_PR);
    cluster_deinit(&cluster);
}

// D had PR and waited for EX when it died with the master. C's PR says that D did not get EX.
static void test_survivors_narrow_a_note(void **state)
{
    struct cluster cluster;
    struct lock_name name = name_placed((struct place){ABCD, A, B}, (struct place){BC, B, C});

    (void)state;
    start(&cluster, ABCD);
    take(&cluster, D, name, 1, DLM_PR);
    take(&cluster, C, name, 1, DLM_PR);
    cluster_convert(&cluster, D, 1, DLM_EX, 0, 0);
    cluster_settle(&cluster);
    cluster_crash(&cluster, A);
    cluster_crash(&cluster, D);
    cluster_view(&cluster, BC, 1U << A | 1U << D);
    cluster_settle(&cluster);
    take(&cluster, B, name, 1, DLM_PR);
    cluster_release(&cluster, C, 1, 0, 0);
    cluster_convert(&cluster, B, 1, DLM_PW, 0, 0);
    cluster_settle(&cluster);
    assert_null(cluster_take(&cluster, B, DLM_EFFECT_GRANT));
    cluster_recovered(&cluster, D);
    cluster_settle(&cluster);
    cluster_expect_grant(&cluster, B, 1, DLM_PW);
    cluster_deinit(&cluster);
}

// Notes go with their locks; NL, and what a node shadows itself, is not noted.
static void test_notes_follow_locks(void **state)
{
    struct cluster cluster;
    struct lock_name name = name_placed((struct place){ABCD, A, B}, (struct place){ABCD, A, B});

    (void)state;
    start(&cluster, ABCD);
    take(&cluster, A, name, 1, DLM_CR);
    take(&cluster, B, name, 1, DLM_CR);
    take(&cluster, C, name, 1, DLM_CR);
    take(&cluster, D, name, 1, DLM_NL);
    assert_int_equal(notes_of(&cluster, B), 2);
    cluster_convert(&cluster, C, 1, DLM_NL, 0, 0);
    cluster_settle(&cluster);
    assert_int_equal(notes_of(&cluster, B), 1);
    cluster_release(&cluster, A, 1, 0, 0);
    cluster_settle(&cluster);
    assert_int_equal(notes_of(&cluster, B), 0);
    cluster_deinit(&cluster);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_nobody_has_is_free),
        cmocka_unit_test(test_lock_of_the_dead_master),
        cmocka_unit_test(test_client_dies_before_its_note_arrives),
        cmocka_unit_test(test_master_dies_with_a_note_under_way),
        cmocka_unit_test(test_shadow_dies),
        cmocka_unit_test(test_shadow_moves_to_a_joiner),
        cmocka_unit_test(test_master_and_holder_die),
        cmocka_unit_test(test_master_and_shadow_die),
        cmocka_unit_test(test_joiner_becomes_master),
        cmocka_unit_test(test_second_death),
        cmocka_unit_test(test_shadow_leaves),
        cmocka_unit_test(test_answer_to_an_earlier_note),
        cmocka_unit_test(test_callback_before_the_note),
        cmocka_unit_test(test_survivors_narrow_a_note),
        cmocka_unit_test(test_notes_follow_locks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
