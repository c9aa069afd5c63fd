// SPDX-License-Identifier: Apache-2.0
// What one membership machine does alone; what several do together is the simulator's.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "dlm/membership.h"
#include "dlm/membership_message.h"
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

// --- a starter that does not start -----------------------------------------------------------

static const struct membership_ring ring = {.node_id = 1, .sequence = 4};

// Node 3 of three in a quorate ring at `now_ns`; they wait for node 1 to begin a round.
static int setup_group(void **state)
{
    struct membership_config config = {
        .self = {.node_id = 3, .pid = 300}, .patience_ns = PATIENCE_NS, .version_max = 1};
    static const struct membership_process members[] = {{1, 100}, {2, 200}, {3, 300}};
    struct membership_event group = {.type = MEMBERSHIP_EVENT_GROUP,
                                     .now_ns = SECOND_NS,
                                     .group = {.members = members, .member_count = 3}};
    struct membership_event reports[] = {
        {.type = MEMBERSHIP_EVENT_RING, .now_ns = SECOND_NS, .ring = ring},
        {.type = MEMBERSHIP_EVENT_QUORUM,
         .now_ns = SECOND_NS,
         .quorum = {.ring = ring, .is_quorate = true}},
    };
    (void)state;
    machine = membership_new(&config);
    membership_step(machine, &group, &effects);
    for (size_t i = 0; i < sizeof(reports) / sizeof(reports[0]); i++)
        membership_step(machine, &reports[i], &effects);
    return 0;
}

// Node 2 has node 1 expelled: everybody hears it at `now_ns`.
static void deliver_expulsion(uint64_t now_ns)
{
    static uint8_t bytes[MEMBERSHIP_MESSAGE_BYTES_MAX];
    static const uint8_t format_id[16];
    static struct membership_message message;
    message = (struct membership_message){.type = MEMBERSHIP_MESSAGE_EXPEL, .ring = ring};
    message.expel.process = (struct membership_process){1, 100};
    struct membership_event event = {.type = MEMBERSHIP_EVENT_DELIVERED, .now_ns = now_ns};
    event.delivered.from = (struct membership_process){2, 200};
    event.delivered.length = membership_message_encode(&message, format_id, bytes);
    event.delivered.bytes = bytes;
    membership_step(machine, &event, &effects);
}

// The node that the last step's effects have expelled; 0: nobody.
static uint32_t expelled_node(void)
{
    static struct membership_message message;
    static const uint8_t format_id[16];
    for (size_t i = 0; i < effects.count; i++) {
        const struct membership_effect *effect = &effects.items[i];
        if (effect->type != MEMBERSHIP_EFFECT_SEND)
            continue;
        assert_int_equal(membership_message_decode(&message, format_id,
                                                   membership_effects_bytes(&effects, effect),
                                                   effect->send.length),
                         0);
        if (message.type == MEMBERSHIP_MESSAGE_EXPEL)
            return message.expel.process.node_id;
    }
    return 0;
}

static void test_silent_starter_is_expelled(void **state)
{
    (void)state;
    step(MEMBERSHIP_EVENT_TICK, SECOND_NS + PATIENCE_NS - 1);
    assert_int_equal(expelled_node(), 0);
    step(MEMBERSHIP_EVENT_TICK, SECOND_NS + PATIENCE_NS);
    assert_int_equal(expelled_node(), 1);
}

// Who is to begin after it has not been waited for yet.
static void test_next_starter_has_its_own_patience(void **state)
{
    uint64_t expelled_ns = SECOND_NS + PATIENCE_NS;
    (void)state;
    deliver_expulsion(expelled_ns);
    assert_int_equal(expelled_node(), 0);
    assert_true(membership_deadline_ns(machine) > expelled_ns);
    step(MEMBERSHIP_EVENT_TICK, expelled_ns + PATIENCE_NS - 1);
    assert_int_equal(expelled_node(), 0);
    step(MEMBERSHIP_EVENT_TICK, expelled_ns + PATIENCE_NS);
    assert_int_equal(expelled_node(), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_corosync_does_not_come_back, setup, teardown),
        cmocka_unit_test_setup_teardown(test_corosync_comes_back, setup, teardown),
        cmocka_unit_test_setup_teardown(test_silent_starter_is_expelled, setup_group, teardown),
        cmocka_unit_test_setup_teardown(test_next_starter_has_its_own_patience, setup_group,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
