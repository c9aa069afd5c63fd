// SPDX-License-Identifier: Apache-2.0
// Which proofs count against a victim (rule 10): a lease only where the device's timeouts are known
// or an administrator said so, else what the victim or somebody who can see it says.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "dlm/fence.h"
#include "dlm/heartbeat.h"

enum { VICTIM_SLOT = 3, VICTIM_NODE = 2, VICTIM_INCARNATION = 77 };

static struct world {
    struct environment environment;
    struct log log;
    struct fence *fence;
    struct heartbeat_slot_info info; // as the victim's slot shows it
    bool is_noted;                   // the order for its mailbox stands
    unsigned fenced_count;
    enum fence_method method;
} world;

// --- what dlm/fence*.c calls -----------------------------------------------------------------

void heartbeat_fence(struct heartbeat *heartbeat, uint32_t slot, uint64_t incarnation,
                     uint64_t yield_until_ns, const char *reason)
{
    (void)heartbeat, (void)yield_until_ns, (void)reason;
    assert_int_equal(slot, VICTIM_SLOT);
    assert_int_equal(incarnation, VICTIM_INCARNATION);
    world.is_noted = true;
}

void heartbeat_fence_cancel(struct heartbeat *heartbeat, uint32_t slot)
{
    (void)heartbeat, (void)slot;
    world.is_noted = false;
}

void heartbeat_slot_get(struct heartbeat *heartbeat, uint32_t slot,
                        struct heartbeat_slot_info *info)
{
    (void)heartbeat;
    assert_int_equal(slot, VICTIM_SLOT);
    *info = world.info;
}

static uint64_t boot_ns(struct environment *environment)
{
    (void)environment;
    return 0;
}

static void timer_ignore(struct environment *environment, struct environment_timer *timer)
{
    (void)environment, (void)timer;
}

// --- the world -------------------------------------------------------------------------------

static void fenced(void *context, uint32_t slot, uint64_t incarnation, enum fence_method method)
{
    assert_ptr_equal(context, &world);
    assert_int_equal(slot, VICTIM_SLOT);
    assert_int_equal(incarnation, VICTIM_INCARNATION);
    world.fenced_count++;
    world.method = method;
}

static void start(bool allows_lease)
{
    static const struct environment_operations operations = {.boot_ns = boot_ns,
                                                             .timer_disarm = timer_ignore};
    struct fence_config config = {.environment = &world.environment,
                                  .log = &world.log,
                                  .guard_socket = -1,
                                  .allows_lease = allows_lease,
                                  .context = &world,
                                  .fenced = fenced};
    struct fence_victim victim = {.slot = VICTIM_SLOT,
                                  .node_id = VICTIM_NODE,
                                  .incarnation = VICTIM_INCARNATION,
                                  .name = "n2"};
    memset(&world, 0, sizeof(world));
    world.environment.operations = &operations;
    log_init_null(&world.log);
    world.info = (struct heartbeat_slot_info){
        .fences = true,
        .fence_verdict = LEASE_FENCE_WAITING,
        .sighting = {.incarnation = VICTIM_INCARNATION,
                     .state = HEARTBEAT_RUNNING,
                     .is_valid = true},
    };
    world.fence = fence_new(&config);
    fence_start(world.fence, &victim);
    assert_true(world.is_noted);
    fence_heartbeat_changed(world.fence);
    assert_int_equal(world.fenced_count, 0);
}

static void expect_fenced(enum fence_method method)
{
    assert_int_equal(world.fenced_count, 1);
    assert_int_equal(world.method, method);
    assert_false(world.is_noted);
    fence_free(world.fence);
}

// --- the tests -------------------------------------------------------------------------------

static void test_lease(void **state)
{
    (void)state;
    start(true);
    world.info.fence_verdict = LEASE_FENCE_DONE;
    fence_heartbeat_changed(world.fence);
    expect_fenced(FENCE_METHOD_LEASE);
}

static void test_unbounded_device_needs_another_proof(void **state)
{
    TEXT(text, 200);
    (void)state;
    start(false);
    world.info.fence_verdict = LEASE_FENCE_DONE;
    fence_heartbeat_changed(world.fence);
    assert_int_equal(world.fenced_count, 0);
    fence_progress_to_text(world.fence, VICTIM_SLOT, VICTIM_INCARNATION, &text);
    assert_non_null(strstr(text.bytes, "waiting for the fence command or an administrator"));
    assert_false(fence_confirm(world.fence, VICTIM_NODE + 1));
    assert_true(fence_confirm(world.fence, VICTIM_NODE));
    expect_fenced(FENCE_METHOD_CONFIRMED);
}

// The note alone is not lost on such a device: whoever reads it drains and says so.
static void test_victim_says_that_it_has_stopped(void **state)
{
    (void)state;
    start(false);
    world.info.sighting.state = HEARTBEAT_STOPPED;
    world.info.fence_verdict = LEASE_FENCE_DONE;
    fence_heartbeat_changed(world.fence);
    expect_fenced(FENCE_METHOD_LEASE);
}

static void test_another_life_proves_nothing(void **state)
{
    (void)state;
    start(true);
    world.info.sighting.incarnation++;
    world.info.fence_verdict = LEASE_FENCE_ABORTED;
    fence_heartbeat_changed(world.fence);
    assert_int_equal(world.fenced_count, 0);
    fence_cancel(world.fence, VICTIM_SLOT, VICTIM_INCARNATION);
    assert_false(world.is_noted);
    fence_free(world.fence);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lease),
        cmocka_unit_test(test_unbounded_device_needs_another_proof),
        cmocka_unit_test(test_victim_says_that_it_has_stopped),
        cmocka_unit_test(test_another_life_proves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
