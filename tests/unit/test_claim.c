// SPDX-License-Identifier: Apache-2.0
// The claim on a volume (rule 15): who is seen, who is not, and who gets it. The world changes
// while the code under test waits: `world.step` runs once in each of its waits. Times in
// milliseconds.
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "dlm/claim.h"
#include "dlm/heartbeat_block.h"
#include "fs/base/check.h"
#include "fs/base/error.h"
#include "mkfs/geometry.h"
#include "tests/lib/sparse_device.h"

enum { DEVICE_BYTES = 256 << 20, IO_MAX_MS = 1000, WATCH_MS = 2 * 1000 + IO_MAX_MS };

static struct world {
    struct sparse_device sparse;
    struct geometry geometry;
    uint64_t now_ms;
    void (*step)(unsigned wait); // how many waits were before
    unsigned waits;
    struct heartbeat_content beats[2]; // of the slots 0 and 1
} world;

// --- the world -------------------------------------------------------------------------------

static uint64_t boot_ns(void *context)
{
    (void)context;
    return world.now_ms * 1000000;
}

static int64_t wall_ns(void *context)
{
    (void)context;
    return (int64_t)world.now_ms * 1000000;
}

static void wait_ns(void *context, uint64_t ns)
{
    (void)context;
    world.now_ms += ns / 1000000;
    if (world.step != NULL)
        world.step(world.waits);
    world.waits++;
}

static struct claim_config config_of(enum claim_purpose purpose, uint8_t holder)
{
    struct claim_config config = {
        .device = &world.sparse.device,
        .geometry = &world.geometry,
        .clock = {.boot_ns = boot_ns, .wall_ns = wall_ns, .wait_ns = wait_ns},
        .purpose = purpose,
        .io_max_ns = (uint64_t)IO_MAX_MS * 1000000,
        .host_name = "host",
    };
    memset(config.holder, holder, sizeof(config.holder));
    return config;
}

static void write_block(uint64_t block, const void *bytes)
{
    _Alignas(BLOCK_BYTES) uint8_t aligned[BLOCK_BYTES];
    memcpy(aligned, bytes, BLOCK_BYTES);
    CHECK(block_device_write(&world.sparse.device, NULL, block * BLOCK_BYTES, aligned,
                             BLOCK_BYTES) == 0);
}

// A claim as somebody else writes it.
static void write_claim(enum claim_purpose purpose, uint64_t version)
{
    struct claim_disk disk = {.purpose = le32_make((uint32_t)purpose), .beat = le64_make(version)};
    struct block_expectation is = {.format_id = world.geometry.format_id,
                                   .address = FORMAT_CLAIM_BLOCK,
                                   .type = BLOCK_TYPE_CLAIM};
    if (purpose != CLAIM_IDLE)
        memset(disk.holder, 0xee, sizeof(disk.holder));
    format_block_init(&disk, &is);
    format_block_seal(&disk, version);
    write_block(FORMAT_CLAIM_BLOCK, &disk);
}

static void read_claim(struct claim_disk *disk)
{
    _Alignas(BLOCK_BYTES) uint8_t aligned[BLOCK_BYTES];
    CHECK(block_device_read(&world.sparse.device, NULL, (uint64_t)FORMAT_CLAIM_BLOCK * BLOCK_BYTES,
                            aligned, BLOCK_BYTES) == 0);
    memcpy(disk, aligned, BLOCK_BYTES);
}

static void beat(uint32_t slot, enum heartbeat_state state)
{
    struct heartbeat_content *content = &world.beats[slot];
    _Alignas(8) uint8_t block[BLOCK_BYTES];
    content->beat++;
    content->version++;
    content->state = state;
    heartbeat_encode(block, &world.geometry, slot, content);
    write_block(geometry_heartbeat_block(&world.geometry, slot), block);
}

// A volume that was left cleanly.
static int setup(void **state)
{
    struct mkfs_request request = {.device_bytes = DEVICE_BYTES, .slot_count = 2};
    TEXT(why, 256);
    (void)state;
    memset(&world, 0, sizeof(world));
    sparse_device_init(&world.sparse, DEVICE_BYTES);
    assert_int_equal(mkfs_geometry_plan(&request, &world.geometry, &why), 0);
    memset(world.geometry.format_id, 0x5a, sizeof(world.geometry.format_id));
    write_claim(CLAIM_IDLE, 1);
    for (uint32_t slot = 0; slot < 2; slot++) {
        world.beats[slot] = (struct heartbeat_content){
            .incarnation = 1, .node_id = slot + 1, .lease_ms = 5000, .beat_ms = 1000};
        strcpy(world.beats[slot].node_name, slot == 0 ? "n1" : "n2");
        beat(slot, HEARTBEAT_FREE);
    }
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    sparse_device_deinit(&world.sparse);
    return 0;
}

static int watch(struct claim_users *users)
{
    struct claim_config config = config_of(CLAIM_FSCK, 1);
    return claim_watch_live(&config, users);
}

static int acquire(struct claim *claim, struct claim_users *users)
{
    struct claim_config config = config_of(CLAIM_FSCK, 1);
    return claim_acquire(claim, &config, users);
}

// --- nobody there ----------------------------------------------------------------------------

static void test_cleanly_left_is_quick(void **state)
{
    struct claim_users users;
    struct claim claim;
    struct claim_config config = config_of(CLAIM_FSCK, 1);
    (void)state;
    assert_int_equal(watch(&users), 0);
    assert_int_equal(world.waits, 0);
    assert_int_equal(claim_is_cleanly_left(&config), 1);
    assert_int_equal(acquire(&claim, &users), 0);
    assert_int_equal(world.now_ms, 50);
    assert_int_equal(claim_is_cleanly_left(&config), 0);
    assert_int_equal(claim_release(&claim), 0);
    assert_int_equal(claim_is_cleanly_left(&config), 1);
}

static void test_dead_slot_is_watched_to_the_end(void **state)
{
    struct claim_users users;
    struct claim claim;
    (void)state;
    beat(0, HEARTBEAT_RUNNING);
    assert_int_equal(watch(&users), 0);
    assert_int_equal(world.now_ms, WATCH_MS);
    assert_int_equal(acquire(&claim, &users), 0);
    assert_int_equal(world.now_ms, 3 * WATCH_MS); // before the write and after it
}

// --- somebody there --------------------------------------------------------------------------

static void beat_now_and_then(unsigned wait)
{
    if (wait % 4 == 3)
        beat(0, HEARTBEAT_RUNNING);
}

static void test_running_node_is_named(void **state)
{
    struct claim_users users;
    struct claim claim;
    (void)state;
    beat(0, HEARTBEAT_RUNNING);
    world.step = beat_now_and_then;
    assert_int_equal(watch(&users), -ERROR_CLAIM_HELD);
    assert_int_equal(users.count, 1);
    assert_string_equal(users.users[0].name, "n1");
    assert_int_equal(acquire(&claim, &users), -ERROR_CLAIM_HELD);
    assert_false(claim.is_held);
}

// --- somebody leaves -------------------------------------------------------------------------

// As a mount ends: the slot first, then the claim, between two looks of ours.
static void leave(unsigned wait)
{
    if (wait == 0)
        beat(0, HEARTBEAT_RUNNING);
    if (wait == 1)
        beat(0, HEARTBEAT_FREE);
    if (wait == 2)
        write_claim(CLAIM_IDLE, 10);
}

static void start_leaving(void)
{
    write_claim(CLAIM_CLUSTER, 9);
    beat(0, HEARTBEAT_RUNNING);
    world.step = leave;
    world.waits = 0;
}

static void test_who_leaves_is_no_user(void **state)
{
    struct claim_users users;
    struct claim claim;
    (void)state;
    start_leaving();
    assert_int_equal(watch(&users), 0);
    assert_int_equal(users.count, 0);
    start_leaving();
    assert_int_equal(acquire(&claim, &users), 0);
}

static void leave_one_of_two(unsigned wait)
{
    leave(wait);
    if (wait == 2)
        write_claim(CLAIM_CLUSTER, 10);
    if (wait % 4 == 3)
        beat(1, HEARTBEAT_RUNNING);
}

static void test_who_stays_is_a_user(void **state)
{
    struct claim_users users;
    (void)state;
    start_leaving();
    beat(1, HEARTBEAT_RUNNING);
    world.step = leave_one_of_two;
    assert_int_equal(watch(&users), -ERROR_CLAIM_HELD);
}

// --- a rival ---------------------------------------------------------------------------------

static bool we_have_written(void)
{
    struct claim_disk disk;
    read_claim(&disk);
    return le32_get(disk.purpose) == CLAIM_FSCK;
}

// Between two looks of ours it writes over our claim and takes its own away: all seems left
// cleanly, and ours is not there any more.
static void write_and_back_off(unsigned wait)
{
    if (wait == 0)
        beat(0, HEARTBEAT_FREE);
    if (!we_have_written())
        return;
    write_claim(CLAIM_IDLE, 100);
    world.step = NULL;
}

static void test_rival_that_backs_off_took_ours_away(void **state)
{
    struct claim_users users;
    struct claim claim;
    (void)state;
    beat(0, HEARTBEAT_RUNNING);
    world.step = write_and_back_off;
    assert_int_equal(acquire(&claim, &users), -ERROR_CLAIM_HELD);
    assert_false(claim.is_held);
}

// --- somebody loses patience -----------------------------------------------------------------

static bool asks_to_stop(void *context)
{
    const unsigned *after = context;
    return world.waits >= *after;
}

static int acquire_until(struct claim *claim, struct claim_users *users, unsigned waits)
{
    struct claim_config config = config_of(CLAIM_FSCK, 1);
    config.clock.is_cancelled = asks_to_stop;
    config.clock.context = &waits;
    world.waits = 0;
    return claim_acquire(claim, &config, users);
}

// Given up anywhere in the two watches: what was written is taken away again.
static void test_a_try_that_is_given_up_leaves_nothing(void **state)
{
    struct claim_users users;
    struct claim claim;
    unsigned waits = 0, idle_before = 0;
    (void)state;
    beat(0, HEARTBEAT_RUNNING);
    while (acquire_until(&claim, &users, waits) == -ECANCELED) {
        struct claim_disk disk;
        read_claim(&disk);
        assert_false(claim.is_held);
        assert_int_equal(le32_get(disk.purpose), CLAIM_IDLE);
        idle_before += format_block_version(&disk) == 1;
        waits++;
    }
    assert_true(claim.is_held);
    assert_true(idle_before > 0 && idle_before < waits); // in the second watch, too
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_cleanly_left_is_quick, setup, teardown),
        cmocka_unit_test_setup_teardown(test_dead_slot_is_watched_to_the_end, setup, teardown),
        cmocka_unit_test_setup_teardown(test_running_node_is_named, setup, teardown),
        cmocka_unit_test_setup_teardown(test_who_leaves_is_no_user, setup, teardown),
        cmocka_unit_test_setup_teardown(test_who_stays_is_a_user, setup, teardown),
        cmocka_unit_test_setup_teardown(test_rival_that_backs_off_took_ours_away, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_try_that_is_given_up_leaves_nothing, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
