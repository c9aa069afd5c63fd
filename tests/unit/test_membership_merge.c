// SPDX-License-Identifier: Apache-2.0
// Joiners that rings which broke have let ask for the same slot (dlm/membership_merge.c).
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "dlm/membership_state.h"
#include "tests/sim/merge_rivals.h"

enum { GENERATION = 7, SLOTS = 6 };

static const struct membership_ring ring = {1, 16};

static struct membership_member member_of(uint32_t node_id, uint32_t slot)
{
    return (struct membership_member){
        .node_id = node_id, .pid = 100 + node_id, .incarnation = 1000 + node_id, .slot = slot};
}

// The members 1, 2, 3 with the slots 0, 1, 2.
static struct membership_state *state_of_three(void)
{
    struct membership_state *state = calloc(1, sizeof(*state));
    assert_non_null(state);
    state->generation = GENERATION;
    state->slot_count = SLOTS;
    state->view.epoch = GENERATION;
    for (uint32_t i = 0; i < 3; i++)
        state->view.members[state->view.member_count++] = member_of(i + 1, i);
    return state;
}

static struct membership_joiner *add(struct membership_state *state, uint32_t node_id,
                                     uint32_t slot, uint64_t offered)
{
    struct membership_joiner *joiner = &state->joiners[state->joiner_count++];
    *joiner = (struct membership_joiner){.member = member_of(node_id, slot), .offered = offered};
    return joiner;
}

static const struct membership_joiner *joiner_of(struct membership_state *state, uint32_t node_id)
{
    return membership_state_joiner(state, node_id, 1000 + node_id);
}

static uint32_t slot_of(struct membership_state *state, uint32_t node_id)
{
    const struct membership_joiner *joiner = joiner_of(state, node_id);
    return joiner != NULL ? joiner->member.slot : MEMBERSHIP_NO_SLOT;
}

// What follows when `mine` is the base, of the two that are freed.
static struct membership_state *merged(struct membership_state *mine,
                                       struct membership_state *theirs)
{
    membership_state_merge(mine, theirs);
    free(theirs);
    return mine;
}

// One says 4 at slot 3, the other 5 at slot 3, with these offers: who has it afterwards, whichever
// of the two is the base, and both have one.
static void check_both_ways(uint64_t offer_of_4, uint64_t offer_of_5, uint32_t owner)
{
    for (int way = 0; way < 2; way++) {
        struct membership_state *a = state_of_three(), *b = state_of_three();
        add(a, 4, 3, offer_of_4);
        add(b, 5, 3, offer_of_5);
        struct membership_state *state = way == 0 ? merged(a, b) : merged(b, a);
        assert_int_equal(slot_of(state, owner), 3);
        assert_int_equal(slot_of(state, 9 - owner), 4);
        assert_int_equal(joiner_of(state, 9 - owner)->offered, 0);
        free(state);
    }
}

static void test_who_was_offered_the_slot_keeps_it(void **state)
{
    (void)state;
    check_both_ways(0, 100, 5);
    check_both_ways(100, 0, 4);
}

static void test_the_later_offer_counts(void **state)
{
    (void)state;
    check_both_ways(100, 200, 5);
    check_both_ways(200, 100, 4);
}

// 5 alone has heard all of the offer, and is gone: it may beat in its slot.
static void test_who_is_gone_with_an_offer_is_dead_in_its_slot(void **context)
{
    struct membership_presence present[4];
    struct membership_state next, *a = state_of_three(), *b = state_of_three();
    (void)context;
    add(a, 4, 3, 0);
    add(b, 5, 3, 100);
    struct membership_state *state = merged(a, b);
    for (uint32_t i = 0; i < 4; i++)
        present[i] = (struct membership_presence){{i + 1, 101 + i}, 1001 + i};
    membership_state_next(&next, state, present, 4, ring);
    assert_int_equal(next.view.dead_count, 1);
    assert_int_equal(next.view.dead[0].node_id, 5);
    assert_int_equal(next.view.dead[0].slot, 3);
    assert_true(joiner_of(&next, 4)->is_assigned);
    assert_int_not_equal(slot_of(&next, 4), 3);
    free(state);
}

// One joiner, whose JOIN two rings have answered differently.
static void test_a_joiner_has_the_slot_that_it_was_offered(void **state)
{
    (void)state;
    for (int way = 0; way < 2; way++) {
        struct membership_state *a = state_of_three(), *b = state_of_three();
        add(a, 4, 3, 0);
        add(b, 4, 5, 100);
        struct membership_state *result = way == 0 ? merged(a, b) : merged(b, a);
        assert_int_equal(result->joiner_count, 1);
        assert_int_equal(slot_of(result, 4), 5);
        assert_int_equal(joiner_of(result, 4)->offered, 100);
        free(result);
    }
}

static void test_facts_of_the_same_joiner_add_up(void **state)
{
    struct membership_state *a = state_of_three(), *b = state_of_three();
    (void)state;
    add(a, 4, 3, 100)->is_proved = true;
    add(b, 4, 3, 200)->is_seen = true;
    struct membership_state *result = merged(a, b);
    const struct membership_joiner *joiner = joiner_of(result, 4);
    assert_int_equal(result->joiner_count, 1);
    assert_true(joiner->is_proved && joiner->is_seen);
    assert_int_equal(joiner->offered, 200);
    free(result);
}

static void test_without_a_free_slot_the_other_one_asks_again(void **state)
{
    (void)state;
    for (int way = 0; way < 2; way++) {
        struct membership_state *a = state_of_three(), *b = state_of_three();
        a->slot_count = b->slot_count = 4;
        add(a, 4, 3, 0);
        add(b, 5, 3, 100);
        struct membership_state *result = way == 0 ? merged(a, b) : merged(b, a);
        assert_int_equal(result->joiner_count, 1);
        assert_int_equal(slot_of(result, 5), 3);
        free(result);
    }
}

// Of an older state nothing is known of joiners.
static void test_old_offers_do_not_count(void **state)
{
    struct membership_state *a = state_of_three(), *b = state_of_three();
    (void)state;
    b->generation = GENERATION - 1;
    add(b, 5, 3, 100);
    struct membership_state *result = merged(a, b);
    assert_int_equal(result->joiner_count, 0);
    free(result);
}

static void test_rings_that_break_at_random(void **state)
{
    char failure[MERGE_RIVALS_FAILURE_BYTES];
    (void)state;
    for (uint64_t seed = 1; seed <= 20000; seed++) {
        if (merge_rivals_run(seed, failure))
            fail_msg("seed %llu: %s", (unsigned long long)seed, failure);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_who_was_offered_the_slot_keeps_it),
        cmocka_unit_test(test_the_later_offer_counts),
        cmocka_unit_test(test_who_is_gone_with_an_offer_is_dead_in_its_slot),
        cmocka_unit_test(test_a_joiner_has_the_slot_that_it_was_offered),
        cmocka_unit_test(test_facts_of_the_same_joiner_add_up),
        cmocka_unit_test(test_without_a_free_slot_the_other_one_asks_again),
        cmocka_unit_test(test_old_offers_do_not_count),
        cmocka_unit_test(test_rings_that_break_at_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
