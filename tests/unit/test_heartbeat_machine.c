// SPDX-License-Identifier: Apache-2.0
// What a heartbeat does before its first beat; the rest of its life is the simulator's.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "dlm/heartbeat_machine.h"
#include "fs/base/block_device.h"

enum { SLOT = 1, OURS = 100, OTHERS = 99 };

static struct heartbeat_machine machine;
static const struct geometry geometry = {.slot_count = 4, .slot_table_block = 32};
static _Alignas(BLOCK_BYTES) uint8_t buffer[BLOCK_BYTES];

static int setup(void **state)
{
    struct heartbeat_config config = {.lease = lease_config_default(1000000000),
                                      .geometry = &geometry,
                                      .slot = SLOT,
                                      .node_id = 1,
                                      .incarnation = OURS,
                                      .state = HEARTBEAT_JOINING,
                                      .watch_ns = 500000000};
    (void)state;
    heartbeat_machine_init(&machine, &config, buffer, 0);
    return 0;
}

static void expect(enum heartbeat_io_type type)
{
    assert_int_equal(heartbeat_machine_next(&machine, 0)->type, type);
}

static void read_mailbox(uint64_t victim_incarnation)
{
    struct mailbox_content content = {.victim_incarnation = victim_incarnation};
    expect(HEARTBEAT_IO_READ_MAILBOX);
    mailbox_encode(buffer, &geometry, SLOT, &content);
    heartbeat_machine_completed(&machine, 0, 0);
}

static void read_slot(enum heartbeat_state state, uint64_t incarnation)
{
    struct heartbeat_content content = {.state = state, .incarnation = incarnation};
    expect(HEARTBEAT_IO_READ_BEAT);
    heartbeat_encode(buffer, &geometry, SLOT, &content);
    heartbeat_machine_completed(&machine, 0, 0);
}

// Whoever has not beaten has no last word either: the slot is somebody else's by now.
static void expect_silence(enum heartbeat_end end)
{
    assert_int_equal(machine.end, end);
    heartbeat_machine_set_state(&machine, HEARTBEAT_STOPPED);
    expect(HEARTBEAT_IO_NONE);
}

static void test_a_free_slot_is_taken(void **state)
{
    (void)state;
    read_mailbox(OTHERS);
    read_slot(HEARTBEAT_FREE, OTHERS);
    expect(HEARTBEAT_IO_WRITE_BEAT);
    assert_int_equal(machine.end, HEARTBEAT_ALIVE);
}

static void test_a_note_ends_it(void **state)
{
    (void)state;
    read_mailbox(OURS);
    expect_silence(HEARTBEAT_END_POISONED);
}

static void test_a_slot_in_use_is_left_alone(void **state)
{
    static const enum heartbeat_state states[] = {HEARTBEAT_JOINING, HEARTBEAT_RUNNING,
                                                  HEARTBEAT_SUSPENDED, HEARTBEAT_STOPPED};
    for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++) {
        setup(state);
        read_mailbox(0);
        read_slot(states[i], OTHERS);
        expect_silence(HEARTBEAT_END_SLOT);
    }
}

static void test_what_cannot_be_read_is_in_use(void **state)
{
    (void)state;
    read_mailbox(0);
    expect(HEARTBEAT_IO_READ_BEAT);
    memset(buffer, 0, sizeof(buffer));
    heartbeat_machine_completed(&machine, 0, 0);
    expect_silence(HEARTBEAT_END_SLOT);
}

static void test_an_error_is_no_answer(void **state)
{
    (void)state;
    read_mailbox(0);
    expect(HEARTBEAT_IO_READ_BEAT);
    heartbeat_machine_completed(&machine, -5, 0);
    const struct heartbeat_io *io = heartbeat_machine_next(&machine, 0);
    assert_int_equal(io->type, HEARTBEAT_IO_NONE);
    io = heartbeat_machine_next(&machine, io->wake_ns);
    assert_int_equal(io->type, HEARTBEAT_IO_READ_BEAT);
}

int main(void)
{
#define TEST(function) cmocka_unit_test_setup(function, setup)
    const struct CMUnitTest tests[] = {
        TEST(test_a_free_slot_is_taken),        TEST(test_a_note_ends_it),
        TEST(test_a_slot_in_use_is_left_alone), TEST(test_what_cannot_be_read_is_in_use),
        TEST(test_an_error_is_no_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
