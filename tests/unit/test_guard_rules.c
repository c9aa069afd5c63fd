// SPDX-License-Identifier: Apache-2.0
// The guard's decisions, played through second by second.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fs/guard_rules.h"

static struct guard_rules rules;
static struct guard_sight sight;

static int setup(void **state)
{
    (void)state;
    guard_rules_init(&rules);
    sight = (struct guard_sight){.now_ms = 1000000, .lease_ms = 5000};
    return 0;
}

static struct guard_decision at(uint64_t ms)
{
    sight.now_ms = 1000000 + ms;
    return guard_rules_step(&rules, &sight);
}

static void beat_at(uint64_t ms)
{
    sight.lease_until_ms = 1000000 + ms + sight.lease_ms;
}

static void test_no_lease_no_kill(void **state)
{
    (void)state;
    for (uint64_t ms = 0; ms < 100000; ms += 700)
        assert_int_equal(at(ms).action, GUARD_WAIT);
}

static void test_beating_worker_lives(void **state)
{
    (void)state;
    for (uint64_t ms = 0; ms < 100000; ms += 1000) {
        beat_at(ms);
        assert_int_equal(at(ms + 999).action, GUARD_WAIT);
        assert_true(guard_rules_is_safe(&rules, &sight));
    }
}

static void test_hung_worker_is_killed_in_time(void **state)
{
    (void)state;
    beat_at(0);
    struct guard_decision decision = at(4000);
    assert_int_equal(decision.action, GUARD_WAIT);
    assert_int_equal(decision.wait_ms, 500); // wakes by itself at the margin
    assert_int_equal(at(4499).action, GUARD_WAIT);
    assert_int_equal(at(4500).action, GUARD_KILL);
    assert_int_equal(at(4501).action, GUARD_WAIT);
    assert_true(guard_rules_is_safe(&rules, &sight));
}

// The margin shrinks with the lease: a tenth of it.
static void test_short_lease(void **state)
{
    (void)state;
    sight.lease_ms = 1000;
    beat_at(0);
    assert_int_equal(at(899).action, GUARD_WAIT);
    assert_int_equal(at(900).action, GUARD_KILL);
}

static void test_core_that_says_it_hangs(void **state)
{
    (void)state;
    beat_at(0);
    sight.is_hung = true;
    assert_int_equal(at(10).action, GUARD_KILL);
}

static void test_stuck_worker_gets_its_connection_aborted(void **state)
{
    (void)state;
    beat_at(0);
    assert_int_equal(at(4600).action, GUARD_KILL);
    assert_int_equal(at(6000).action, GUARD_WAIT);
    assert_false(guard_rules_is_safe(&rules, &sight)); // the watchdog is let go
    assert_int_equal(at(6100).action, GUARD_ABORT);
    assert_int_equal(at(6200).action, GUARD_WAIT); // once
    sight.worker_gone = true;
    assert_int_equal(at(6300).action, GUARD_END); // it never had a slot
}

static void test_drain_then_announce(void **state)
{
    (void)state;
    beat_at(0);
    sight.has_slot = sight.worker_gone = true;
    assert_int_equal(at(100).action, GUARD_TRY_LOCK);
    assert_int_equal(at(105).action, GUARD_TRY_LOCK); // its I/O is still in flight
    sight.got_lock = true;
    assert_int_equal(at(110).action, GUARD_ANNOUNCE);
    assert_true(guard_rules_is_safe(&rules, &sight));
    assert_int_equal(at(130).action, GUARD_ANNOUNCE); // corosync was busy
    sight.announced = true;
    assert_int_equal(at(131).action, GUARD_END);
}

// Never announced before the proof.
static void test_no_announcement_without_lock(void **state)
{
    (void)state;
    beat_at(0);
    sight.has_slot = sight.worker_gone = sight.announced = true;
    for (uint64_t ms = 0; ms < 60000; ms += 500)
        assert_int_equal(at(ms).action, GUARD_TRY_LOCK);
}

static void test_clean_leave_proves_nothing(void **state)
{
    (void)state;
    beat_at(0);
    sight.has_slot = sight.has_left = true;
    assert_int_equal(at(60000).action, GUARD_WAIT); // the lease is over and does not matter
    sight.worker_gone = true;
    assert_int_equal(at(60001).action, GUARD_END);
}

// Ended and drained: it answers EIO for as long as it is mounted. Ended but not drained: a lane may
// be about to write.
static void test_ended_worker(void **state)
{
    (void)state;
    beat_at(0);
    sight.has_slot = sight.has_ended = sight.is_drained = true;
    assert_int_equal(at(60000).action, GUARD_WAIT);
    sight.is_drained = false;
    assert_int_equal(at(60001).action, GUARD_KILL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_no_lease_no_kill, setup),
        cmocka_unit_test_setup(test_beating_worker_lives, setup),
        cmocka_unit_test_setup(test_hung_worker_is_killed_in_time, setup),
        cmocka_unit_test_setup(test_short_lease, setup),
        cmocka_unit_test_setup(test_core_that_says_it_hangs, setup),
        cmocka_unit_test_setup(test_stuck_worker_gets_its_connection_aborted, setup),
        cmocka_unit_test_setup(test_drain_then_announce, setup),
        cmocka_unit_test_setup(test_no_announcement_without_lock, setup),
        cmocka_unit_test_setup(test_clean_leave_proves_nothing, setup),
        cmocka_unit_test_setup(test_ended_worker, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
