// SPDX-License-Identifier: Apache-2.0
// Taking over a slot when all were left behind: how long is watched, and who is never touched. The
// world changes while the code under test waits. Times in milliseconds.
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "dlm/heartbeat_block.h"
#include "fs/base/check.h"
#include "fs/base/error.h"
#include "fs/slot_takeover.h"
#include "mkfs/geometry.h"
#include "tests/lib/sparse_device.h"

enum { DEVICE_BYTES = 256 << 20, SLOTS = 3, LEASE_MS = 5000, IO_MAX_MS = 1000, OUR_NODE = 2 };

static struct world {
    struct sparse_device sparse;
    struct geometry geometry;
    struct slot_survey survey;
    uint64_t now_ms;
    uint64_t beat_at_ms;       // slot 1 beats once at this time; 0: never
    uint64_t claim_lost_at_ms; // 0: never
    unsigned claim_beats;
} world;

static void beat(uint32_t slot, uint64_t number)
{
    _Alignas(BLOCK_BYTES) uint8_t block[BLOCK_BYTES];
    struct heartbeat_content content = {.incarnation = 70 + slot,
                                        .node_id = 1 + slot,
                                        .beat = number,
                                        .version = number,
                                        .state = HEARTBEAT_RUNNING};
    heartbeat_encode(block, &world.geometry, slot, &content);
    CHECK(block_device_write(&world.sparse.device, NULL,
                             geometry_heartbeat_block(&world.geometry, slot) * BLOCK_BYTES, block,
                             BLOCK_BYTES) == 0);
}

static uint64_t boot_ns(void *context)
{
    (void)context;
    return world.now_ms * 1000000;
}

static void wait_ns(void *context, uint64_t ns)
{
    uint64_t before_ms = world.now_ms;
    (void)context;
    world.now_ms += ns / 1000000;
    if (before_ms < world.beat_at_ms && world.beat_at_ms <= world.now_ms)
        beat(1, 2);
}

static int keep_claim(void *context)
{
    (void)context;
    world.claim_beats++;
    bool is_lost = world.claim_lost_at_ms != 0 && world.now_ms >= world.claim_lost_at_ms;
    return is_lost ? -ERROR_CLAIM_HELD : 0;
}

static int setup(void **state)
{
    struct mkfs_request request = {.device_bytes = DEVICE_BYTES, .slot_count = SLOTS};
    TEXT(why, 256);
    (void)state;
    memset(&world, 0, sizeof(world));
    world.now_ms = 1000;
    sparse_device_init(&world.sparse, DEVICE_BYTES);
    assert_int_equal(mkfs_geometry_plan(&request, &world.geometry, &why), 0);
    memset(world.geometry.format_id, 0x5a, sizeof(world.geometry.format_id));
    world.survey = (struct slot_survey){.slot_count = SLOTS, .in_use_count = SLOTS};
    for (uint32_t slot = 0; slot < SLOTS; slot++) {
        beat(slot, 1);
        world.survey.slots[slot].is_in_use = true;
        world.survey.slots[slot].heartbeat.node_id = 1 + slot;
    }
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    sparse_device_deinit(&world.sparse);
    return 0;
}

static int take_over(uint32_t node_id, uint32_t *slot)
{
    struct slot_takeover takeover = {
        .device = &world.sparse.device,
        .clock = {.boot_ns = boot_ns, .wait_ns = wait_ns},
        .geometry = &world.geometry,
        .lease = lease_config_of((uint64_t)LEASE_MS * 1000000, (uint64_t)IO_MAX_MS * 1000000),
        .node_id = node_id,
        .keep_claim = keep_claim,
    };
    return slot_takeover_wait(&takeover, &world.survey, slot);
}

static void test_waits_for_every_lease(void **state)
{
    uint32_t slot = SLOTS;
    uint64_t begun_ms = world.now_ms;
    (void)state;
    assert_int_equal(take_over(OUR_NODE, &slot), 0);
    assert_int_equal(slot, 1); // the one it had
    assert_true(world.now_ms - begun_ms >= LEASE_MS + LEASE_MS / 10 + IO_MAX_MS);
    assert_true(world.claim_beats >= (world.now_ms - begun_ms) / 1000);
}

static void test_stranger_gets_the_first(void **state)
{
    uint32_t slot = SLOTS;
    (void)state;
    assert_int_equal(take_over(9, &slot), 0);
    assert_int_equal(slot, 0);
}

// It stood still for most of a lease, and goes on: nothing of it is touched.
static void test_one_that_beats_ends_the_try(void **state)
{
    uint32_t slot = SLOTS;
    (void)state;
    world.beat_at_ms = world.now_ms + LEASE_MS;
    assert_int_equal(take_over(OUR_NODE, &slot), -ERROR_CLAIM_HELD);
    assert_int_equal(slot, SLOTS);
}

static void test_unreadable_slot_ends_the_try(void **state)
{
    _Alignas(BLOCK_BYTES) uint8_t garbage[BLOCK_BYTES];
    uint32_t slot = SLOTS;
    (void)state;
    memset(garbage, 0xee, sizeof(garbage));
    CHECK(block_device_write(&world.sparse.device, NULL,
                             geometry_heartbeat_block(&world.geometry, 2) * BLOCK_BYTES, garbage,
                             BLOCK_BYTES) == 0);
    assert_true(take_over(OUR_NODE, &slot) < 0);
    assert_int_equal(slot, SLOTS);
}

static void test_lost_claim_ends_the_try(void **state)
{
    uint32_t slot = SLOTS;
    (void)state;
    world.claim_lost_at_ms = world.now_ms + LEASE_MS;
    assert_int_equal(take_over(OUR_NODE, &slot), -ERROR_CLAIM_HELD);
    assert_int_equal(slot, SLOTS);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_waits_for_every_lease),       TEST(test_stranger_gets_the_first),
        TEST(test_one_that_beats_ends_the_try), TEST(test_unreadable_slot_ends_the_try),
        TEST(test_lost_claim_ends_the_try),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
