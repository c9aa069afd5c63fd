// SPDX-License-Identifier: Apache-2.0
// The arithmetic of leases and of fencing by lease, one test a timeline. Times in milliseconds.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "dlm/lease.h"
#include "fs/format.h"

static uint64_t ms(uint64_t n)
{
    return n * 1000000;
}

static struct lease lease_new(void)
{
    struct lease_config config = lease_config_default(ms(1000));
    struct lease lease;
    lease_init(&lease, &config);
    return lease;
}

static void test_defaults(void **state)
{
    (void)state;
    struct lease_config config = lease_config_default(ms(700));
    assert_int_equal(config.beat_ns, ms(1000));
    assert_int_equal(config.lease_ns, ms(5000));
    assert_int_equal(config.drift_ns, ms(500));
    assert_int_equal(config.io_max_ns, ms(700));
}

static void test_no_lease_before_the_first_round(void **state)
{
    (void)state;
    struct lease lease = lease_new();
    assert_false(lease_is_valid(&lease, ms(1)));
    assert_false(lease_has_run_out(&lease, ms(100000)));
    lease_beat_acknowledged(&lease, ms(100), ms(110));
    assert_false(lease_is_valid(&lease, ms(120)));
    assert_true(lease_extend(&lease, ms(110), ms(120)));
    assert_true(lease_is_valid(&lease, ms(120)));
}

// Submitted at 100, the reply comes at 4000: the lease ends at 5100, not at 9000 (rule 10a).
static void test_lease_counts_from_submission(void **state)
{
    (void)state;
    struct lease lease = lease_new();
    lease_beat_acknowledged(&lease, ms(100), ms(4000));
    assert_true(lease_extend(&lease, ms(4000), ms(4010)));
    assert_int_equal(lease.until_ns, ms(5100));
    assert_true(lease_is_valid(&lease, ms(5099)));
    assert_false(lease_is_valid(&lease, ms(5100)));
}

static void test_reply_later_than_the_lease_moves_nothing(void **state)
{
    (void)state;
    struct lease lease = lease_new();
    lease_beat_acknowledged(&lease, ms(100), ms(6000));
    assert_false(lease_extend(&lease, ms(6000), ms(6010)));
    assert_false(lease_is_valid(&lease, ms(6010)));
}

// A mailbox read that began before the beat was submitted proves nothing about that beat.
static void test_extend_needs_a_later_mailbox_read(void **state)
{
    (void)state;
    struct lease lease = lease_new();
    lease_beat_acknowledged(&lease, ms(100), ms(110));
    assert_false(lease_extend(&lease, ms(90), ms(120)));
    assert_true(lease_extend(&lease, ms(111), ms(120)));
    assert_false(lease_extend(&lease, ms(200), ms(210))); // each beat counts once
}

static void test_an_expired_lease_never_revives(void **state)
{
    (void)state;
    struct lease lease = lease_new();
    lease_beat_acknowledged(&lease, ms(0) + 1, ms(1));
    assert_true(lease_extend(&lease, ms(2), ms(3)));
    lease_beat_acknowledged(&lease, ms(4900), ms(5050));
    assert_false(lease_extend(&lease, ms(5050), ms(5060)));
    assert_true(lease.is_over);
    lease_beat_acknowledged(&lease, ms(5100), ms(5110));
    assert_false(lease_extend(&lease, ms(5111), ms(5112)));
    assert_false(lease_is_valid(&lease, ms(4000)));
}

// --- the fencer's side -----------------------------------------------------------------------

static struct lease_sighting beat(uint64_t number, uint32_t state)
{
    return (struct lease_sighting){
        .incarnation = 7, .beat = number, .version = number, .state = state, .is_valid = true};
}

static void see(struct lease_watch *watch, uint64_t number, uint64_t at_ms)
{
    struct lease_sighting sighting = beat(number, HEARTBEAT_RUNNING);
    lease_watch_observe(watch, &sighting, ms(at_ms), ms(at_ms + 1));
}

static enum lease_fence_verdict judge(const struct lease_fence *fence,
                                      const struct lease_watch *watch)
{
    struct lease_config config = lease_config_default(ms(1000)); // wait 6500 in all
    return lease_fence_judge(fence, &config, watch);
}

static void test_fence_counts_from_the_last_beat(void **state)
{
    (void)state;
    struct lease_watch watch;
    struct lease_fence fence;
    lease_watch_init(&watch);
    lease_fence_init(&fence, 7);
    see(&watch, 1, 1000); // changed at 1001
    lease_fence_note_durable(&fence, ms(4000));
    see(&watch, 1, 7500);
    assert_int_equal(judge(&fence, &watch), LEASE_FENCE_WAITING);
    see(&watch, 1, 7501);
    assert_int_equal(judge(&fence, &watch), LEASE_FENCE_DONE);
}

static void test_fence_needs_the_note_first(void **state)
{
    (void)state;
    struct lease_watch watch;
    struct lease_fence fence;
    lease_watch_init(&watch);
    lease_fence_init(&fence, 7);
    see(&watch, 1, 1000);
    see(&watch, 1, 60000);
    assert_int_equal(judge(&fence, &watch), LEASE_FENCE_WAITING);
    lease_fence_note_durable(&fence, ms(60005)); // the read of 60000 began before it
    assert_int_equal(judge(&fence, &watch), LEASE_FENCE_WAITING);
    see(&watch, 1, 60010);
    assert_int_equal(judge(&fence, &watch), LEASE_FENCE_DONE);
}

static void test_any_change_begins_the_wait_anew(void **state)
{
    (void)state;
    struct lease_watch watch;
    struct lease_fence fence;
    lease_watch_init(&watch);
    lease_fence_init(&fence, 7);
    see(&watch, 1, 1000);
    lease_fence_note_durable(&fence, ms(1500));
    see(&watch, 2, 7000);
    see(&watch, 2, 8000);
    assert_int_equal(judge(&fence, &watch), LEASE_FENCE_WAITING);
    struct lease_sighting torn = {.is_valid = false}; // a torn block is a change too
    lease_watch_observe(&watch, &torn, ms(9000), ms(9001));
    see(&watch, 3, 9100);
    see(&watch, 3, 15600);
    assert_int_equal(judge(&fence, &watch), LEASE_FENCE_WAITING);
    see(&watch, 3, 15601);
    assert_int_equal(judge(&fence, &watch), LEASE_FENCE_DONE);
}

static void test_stopped_ends_the_wait(void **state)
{
    (void)state;
    struct lease_watch watch;
    struct lease_fence fence;
    lease_watch_init(&watch);
    lease_fence_init(&fence, 7);
    see(&watch, 1, 1000);
    struct lease_sighting stopped = beat(2, HEARTBEAT_STOPPED);
    lease_watch_observe(&watch, &stopped, ms(1100), ms(1101));
    assert_int_equal(judge(&fence, &watch), LEASE_FENCE_DONE);
}

static void test_another_incarnation_aborts(void **state)
{
    (void)state;
    struct lease_watch watch;
    struct lease_fence fence;
    lease_watch_init(&watch);
    lease_fence_init(&fence, 6); // the block says 7
    see(&watch, 1, 1000);
    lease_fence_note_durable(&fence, ms(1001));
    see(&watch, 1, 60000);
    assert_int_equal(judge(&fence, &watch), LEASE_FENCE_ABORTED);
}

// The victim was given the slot and died, or hangs, before its first beat.
static void test_a_victim_that_never_beat_is_waited_for_from_the_note(void **state)
{
    (void)state;
    struct lease_watch watch;
    struct lease_fence fence;
    lease_watch_init(&watch);
    lease_fence_init(&fence, 8); // the block still says 7, which left
    struct lease_sighting old = beat(1, HEARTBEAT_FREE);
    lease_watch_observe(&watch, &old, ms(1000), ms(1001));
    lease_watch_observe(&watch, &old, ms(60000), ms(60001));
    lease_fence_note_durable(&fence, ms(60001));
    lease_watch_observe(&watch, &old, ms(66500), ms(66501));
    assert_int_equal(judge(&fence, &watch), LEASE_FENCE_WAITING);
    lease_watch_observe(&watch, &old, ms(66501), ms(66502));
    assert_int_equal(judge(&fence, &watch), LEASE_FENCE_DONE);
}

static void test_time_left(void **state)
{
    (void)state;
    struct lease_config config = lease_config_default(ms(1000));
    struct lease_watch watch;
    struct lease_fence fence;
    lease_watch_init(&watch);
    lease_fence_init(&fence, 7);
    assert_int_equal(lease_fence_left_ns(&fence, &config, &watch, ms(10)), ms(6500));
    see(&watch, 1, 1000);
    assert_int_equal(lease_fence_left_ns(&fence, &config, &watch, ms(3001)), ms(4500));
    assert_int_equal(lease_fence_left_ns(&fence, &config, &watch, ms(9000)), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_no_lease_before_the_first_round),
        cmocka_unit_test(test_lease_counts_from_submission),
        cmocka_unit_test(test_reply_later_than_the_lease_moves_nothing),
        cmocka_unit_test(test_extend_needs_a_later_mailbox_read),
        cmocka_unit_test(test_an_expired_lease_never_revives),
        cmocka_unit_test(test_fence_counts_from_the_last_beat),
        cmocka_unit_test(test_fence_needs_the_note_first),
        cmocka_unit_test(test_any_change_begins_the_wait_anew),
        cmocka_unit_test(test_stopped_ends_the_wait),
        cmocka_unit_test(test_another_incarnation_aborts),
        cmocka_unit_test(test_a_victim_that_never_beat_is_waited_for_from_the_note),
        cmocka_unit_test(test_time_left),
    };
    return cmocka_run_group_tests_name("lease", tests, NULL, NULL);
}
