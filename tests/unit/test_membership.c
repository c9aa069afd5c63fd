// SPDX-License-Identifier: Apache-2.0
// What one membership machine does alone; what several do together is the simulator's.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "dlm/membership.h"
#include "fs/base/error.h"

#define SECOND_NS   ((uint64_t)1000000000)
#define PATIENCE_NS (5 * SECOND_NS)

static struct membership *machine;
static struct membership_effects effects;

static void step(enum membership_event_type type, uint64_t now_ns)
{
    struct membership_event event = {.type = type, .now_ns = now_ns};
    if (type == MEMBERSHIP_EVENT_JOIN) {
        event.join.incarnation = 1;
        event.join.slot_wish = MEMBERSHIP_NO_SLOT;
        event.join.slot_count = 4;
    }
    membership_step(machine, &event, &effects);
}

static bool has_ended(void)
{
    for (size_t i = 0; i < effects.count; i++) {
        if (effects.items[i].type != MEMBERSHIP_EFFECT_ENDED)
            continue;
        assert_int_equal(effects.items[i].ended.error, -ERROR_COROSYNC);
        return true;
    }
    return false;
}

static int setup(void **state)
{
    struct membership_config config = {
        .self = {.node_id = 1, .pid = 100}, .patience_ns = PATIENCE_NS, .version_max = 1};
    (void)state;
    machine = membership_new(&config);
    step(MEMBERSHIP_EVENT_JOIN, SECOND_NS);
    step(MEMBERSHIP_EVENT_LOST, 2 * SECOND_NS);
    assert_false(has_ended());
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    membership_free(machine);
    membership_effects_deinit(&effects);
    return 0;
}

// Corosync's death is waited out for the length of a lease, no longer (rule 18).
static void test_corosync_does_not_come_back(void **state)
{
    (void)state;
    assert_true(membership_deadline_ns(machine) <= 2 * SECOND_NS + PATIENCE_NS);
    step(MEMBERSHIP_EVENT_TICK, 2 * SECOND_NS + PATIENCE_NS - 1);
    assert_false(has_ended());
    step(MEMBERSHIP_EVENT_TICK, 2 * SECOND_NS + PATIENCE_NS);
    assert_true(has_ended());
    assert_int_equal(membership_standing_get(machine), MEMBERSHIP_ENDED);
}

static void test_corosync_comes_back(void **state)
{
    (void)state;
    step(MEMBERSHIP_EVENT_RECONNECTED, 2 * SECOND_NS + PATIENCE_NS - 1);
    step(MEMBERSHIP_EVENT_TICK, 2 * SECOND_NS + 10 * PATIENCE_NS);
    assert_false(has_ended());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_corosync_does_not_come_back, setup, teardown),
        cmocka_unit_test_setup_teardown(test_corosync_comes_back, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
