// SPDX-License-Identifier: Apache-2.0
// The gate in front of the LUN, over a device that completes at once with whatever is wanted.
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fs/base/environment_event.h"
#include "fs/gated_device.h"

struct world {
    struct block_device inner; // first
    struct environment *environment;
    struct gate gate;
    struct block_device *gated;
    int answer;
    unsigned submitted, completed, conflicts;
    int result;
};

static void submit_inner(struct block_device *device, struct block_request *request)
{
    struct world *world = (struct world *)device;
    world->submitted++;
    request->complete(request, world->answer);
}

static void conflict(void *context)
{
    struct world *world = context;
    world->conflicts++;
    assert_int_equal(world->completed, 0); // who reads the result finds the mount ended
}

static struct world world;

static void on_complete(struct block_request *request, int result)
{
    (void)request;
    world.completed++;
    world.result = result;
}

static int setup(void **state)
{
    static const struct block_device_operations operations = {.submit = submit_inner};
    (void)state;
    world = (struct world){
        .inner = {.operations = &operations, .size_bytes = 1 << 20, .sector_bytes = 512}};
    world.environment = environment_event_new(scheduler_new());
    gate_init(&world.gate);
    world.gated = gated_device_new(&world.inner, &world.gate, world.environment, GATED_ORDINARY);
    gated_device_on_conflict(world.gated, conflict, &world);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    struct scheduler *scheduler = world.environment->scheduler;
    block_device_close(world.gated);
    environment_event_free(world.environment);
    scheduler_free(scheduler);
    return 0;
}

static struct block_request request;
static _Alignas(4096) uint8_t buffer[4096];

static void submit(void)
{
    request = (struct block_request){
        .operation = BLOCK_READ, .length = 4096, .buffer = buffer, .complete = on_complete};
    world.gated->operations->submit(world.gated, &request);
}

static void open_gate(void)
{
    atomic_store(&world.gate.lease_until_ns, UINT64_MAX);
    atomic_store(&world.gate.state, GATE_RUNNING);
    gated_device_gate_moved(world.gated);
}

static void test_waits_for_the_gate(void **state)
{
    (void)state;
    submit();
    assert_int_equal(world.submitted, 0);
    open_gate();
    assert_int_equal(world.submitted, 1);
    assert_int_equal(world.completed, 1);
    assert_int_equal(world.result, 0);
}

static void test_refuses_after_the_end(void **state)
{
    (void)state;
    submit();
    atomic_store(&world.gate.state, GATE_ENDED);
    gated_device_gate_moved(world.gated);
    assert_int_equal(world.result, -EIO);
    submit();
    assert_int_equal(world.completed, 2);
    assert_int_equal(world.submitted, 0);
}

static void test_conflict_is_told_first(void **state)
{
    (void)state;
    open_gate();
    world.answer = -EBADE;
    submit();
    assert_int_equal(world.conflicts, 1);
    assert_int_equal(world.result, -EBADE);
}

static void test_other_errors_are_passed_on(void **state)
{
    (void)state;
    open_gate();
    world.answer = -EIO;
    submit();
    assert_int_equal(world.conflicts, 0);
    assert_int_equal(world.result, -EIO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_waits_for_the_gate, setup, teardown),
        cmocka_unit_test_setup_teardown(test_refuses_after_the_end, setup, teardown),
        cmocka_unit_test_setup_teardown(test_conflict_is_told_first, setup, teardown),
        cmocka_unit_test_setup_teardown(test_other_errors_are_passed_on, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
