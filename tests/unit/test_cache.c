// SPDX-License-Identifier: Apache-2.0
// The block cache: sharing of reads, verification, eviction, what handles do, and the lock that
// goes.
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fs/base/error.h"
#include "fs/cache.h"
#include "fs/lock_types.h"
#include "tests/lib/structure_world.h"

enum { BASE = 20000, BLOCKS = 3000 };

static struct structure_world world;

static struct cache_identity identity_of(uint64_t address)
{
    uint64_t owner = BASE + address % 7;
    return (struct cache_identity){address, owner, BLOCK_TYPE_TREE_NODE, lock_name_inode(owner)};
}

static uint32_t *counter_of(struct cache_block *block)
{
    return (uint32_t *)(block->bytes + 128);
}

static struct cache_block *read_block(uint64_t address)
{
    struct cache_identity identity = identity_of(address);
    struct cache_block *block;
    int result = cache_read(world.volume.cache, &identity, &block);
    assert_int_equal(result, 0);
    return block;
}

static struct cache_block *create_block(struct journal_handle *handle, uint64_t address)
{
    struct cache_identity identity = identity_of(address);
    struct cache_block *block;
    int result = cache_create(world.volume.cache, handle, &identity, &block);
    assert_int_equal(result, 0);
    return block;
}

static void create_all(void *argument)
{
    (void)argument;
    for (uint64_t address = BASE; address < BASE + BLOCKS; address++) {
        struct journal_handle *handle = structure_world_begin(&world, 1);
        struct cache_block *block = create_block(handle, address);
        *counter_of(block) = (uint32_t)address;
        journal_transaction_end(handle);
        cache_put(block);
    }
}

static struct cache_status status_of_cache(void)
{
    struct cache_status status;
    cache_status_get(world.volume.cache, &status);
    return status;
}

static void open_world(uint64_t cache_bytes)
{
    structure_world_open(&world,
                         &(struct structure_options){.cache_bytes = cache_bytes, .seed = 3});
    structure_world_run(&world, create_all, NULL);
    structure_world_remount(&world);
}

// --- reading ---------------------------------------------------------------------------------

struct readers {
    unsigned done, wanted;
    int expected;
    struct wait_queue finished;
};

static void run_reader(void *argument)
{
    struct readers *readers = argument;
    struct cache_identity identity = identity_of(BASE + 5);
    struct cache_block *block;
    int result = cache_read(world.volume.cache, &identity, &block);
    assert_int_equal(result, readers->expected);
    if (result == 0) {
        assert_int_equal(*counter_of(block), BASE + 5);
        cache_put(block);
    }
    readers->done++;
    wait_queue_wake_all(world.environment.scheduler, &readers->finished);
}

static void wait_for_readers(void *argument)
{
    struct readers *readers = argument;
    while (readers->done < readers->wanted)
        wait_queue_wait(world.environment.scheduler, &readers->finished);
}

static void run_readers(unsigned count, int expected)
{
    struct readers readers = {.wanted = count, .expected = expected};
    wait_queue_init(&readers.finished);
    for (unsigned i = 0; i < count; i++)
        structure_world_start(&world, run_reader, &readers);
    structure_world_run(&world, wait_for_readers, &readers);
}

static void readers_share_a_read(void **state)
{
    (void)state;
    open_world(0);
    uint64_t before = world.memory.read_count;
    run_readers(20, 0);
    assert_int_equal(world.memory.read_count - before, 1);
    structure_world_close(&world);
}

static void failures_are_shared_and_not_kept(void **state)
{
    (void)state;
    open_world(0);
    world.memory.failing_offset = (BASE + 5) * (uint64_t)BLOCK_BYTES;
    run_readers(5, -EIO);
    assert_int_equal(world.log_error_count, 1);
    world.memory.failing_offset = UINT64_MAX;
    run_readers(5, 0);
    structure_world_close(&world);
}

static void damage(uint64_t address, size_t offset, uint8_t bits, bool seals)
{
    uint8_t *block = structure_world_block(&world, address);
    block[offset] ^= bits;
    if (seals)
        format_block_seal(block, 50);
}

static void check_refused(void *argument)
{
    int expected = *(int *)argument;
    struct cache_identity identity = identity_of(BASE + 9);
    struct cache_block *block;
    unsigned before = world.log_error_count;
    assert_int_equal(cache_read(world.volume.cache, &identity, &block), expected);
    assert_int_equal(world.log_error_count, before + 1);
    assert_int_equal(world.log_last_code, -expected);
    assert_int_equal(status_of_cache().referenced_count, 0);
}

static void what_is_wrong_does_not_come_in(void **state)
{
    (void)state;
    static const struct {
        size_t offset;
        uint8_t bits;
        bool seals;
        int expected;
    } damages[] = {
        {2000, 1, false, -ERROR_BLOCK_CHECKSUM},    {8, 1, true, -ERROR_BLOCK_TYPE},
        {10, 4, true, -ERROR_BLOCK_FORMAT_VERSION}, {16, 1, true, -ERROR_BLOCK_FORMAT_ID},
        {32, 1, true, -ERROR_BLOCK_ADDRESS},        {40, 1, true, -ERROR_BLOCK_OWNER},
        {12, 1, true, -ERROR_BLOCK_CONTENT},
    };
    open_world(0);
    for (size_t i = 0; i < sizeof(damages) / sizeof(damages[0]); i++) {
        damage(BASE + 9, damages[i].offset, damages[i].bits, damages[i].seals);
        int expected = damages[i].expected;
        structure_world_run(&world, check_refused, &expected);
        damage(BASE + 9, damages[i].offset, damages[i].bits, true);
    }
    // A version that would end the clock.
    format_block_seal(structure_world_block(&world, BASE + 9), UINT64_MAX);
    int expected = -ERROR_BLOCK_CONTENT;
    structure_world_run(&world, check_refused, &expected);
    assert_true(world.volume.clock.now < UINT64_C(1) << 40);
    structure_world_close(&world);
}

static void run_range(void *argument)
{
    (void)argument;
    struct cache_identity identity = identity_of(BASE);
    struct cache_block *block;
    identity.address = UINT64_MAX / BLOCK_BYTES + 1;
    assert_int_equal(cache_read(world.volume.cache, &identity, &block), -ERROR_BLOCK_RANGE);
    identity.address = world.volume.geometry.block_count;
    assert_int_equal(cache_read(world.volume.cache, &identity, &block), -ERROR_BLOCK_RANGE);
}

static void addresses_outside_are_refused(void **state)
{
    (void)state;
    open_world(0);
    structure_world_run(&world, run_range, NULL);
    structure_world_close(&world);
}

// --- eviction --------------------------------------------------------------------------------

static void run_eviction(void *argument)
{
    (void)argument;
    struct random random;
    random_init(&random, 4);
    static uint32_t expected[BLOCKS];
    struct cache_block *held[50];
    for (uint32_t i = 0; i < BLOCKS; i++)
        expected[i] = BASE + i;
    for (unsigned i = 0; i < 50; i++)
        held[i] = read_block(BASE + i);
    for (unsigned i = 0; i < 20000; i++) {
        uint64_t address = BASE + random_below(&random, BLOCKS);
        struct cache_block *block = read_block(address);
        assert_int_equal(*counter_of(block), expected[address - BASE]);
        if (random_one_in(&random, 10)) {
            struct journal_handle *handle = structure_world_begin(&world, 1);
            cache_change(block, handle);
            expected[address - BASE] += 65536;
            *counter_of(block) = expected[address - BASE];
            journal_transaction_end(handle);
        }
        cache_put(block);
    }
    struct cache_status status = status_of_cache();
    assert_int_equal(status.referenced_count, 50);
    assert_true(status.eviction_count > 1000);
    assert_int_equal(journal_checkpoint(world.volume.journal), 0);
    for (unsigned i = 0; i < 50; i++)
        cache_put(held[i]);
    cache_put(read_block(BASE));
    // Nothing is busy any more: the bound holds, but for the steps in which it is sought.
    for (unsigned i = 0; i < 200; i++)
        cache_put(read_block(BASE + 2000 + i));
    assert_true(status_of_cache().block_count <= 1 << 8);
}

static void eviction_spares_what_is_needed(void **state)
{
    (void)state;
    open_world(1 << 20); // 256 blocks
    structure_world_run(&world, run_eviction, NULL);
    structure_world_close(&world);
}

// --- handles ---------------------------------------------------------------------------------

static void run_handles(void *argument)
{
    (void)argument;
    struct cache *cache = world.volume.cache;
    struct cache_identity fresh = identity_of(BASE + BLOCKS + 1);
    struct cache_block *block, *other;

    // A block that an aborted handle created is gone; the place can be created again.
    size_t before = status_of_cache().block_count;
    struct journal_handle *handle = structure_world_begin(&world, 1);
    block = create_block(handle, fresh.address);
    journal_transaction_abort(handle);
    cache_put(block);
    assert_int_equal(status_of_cache().block_count, before);
    assert_null(cache_find(cache, &fresh));
    assert_int_equal(cache_read(cache, &fresh, &block), -ERROR_BLOCK_MAGIC);
    handle = structure_world_begin(&world, 1);
    block = create_block(handle, fresh.address);
    journal_transaction_end(handle);

    // One in use is not given out a second time.
    handle = structure_world_begin(&world, 1);
    assert_int_equal(cache_create(cache, handle, &fresh, &other), -ERROR_CORRUPT_FREE_SPACE);
    journal_transaction_abort(handle);
    cache_put(block);

    // A revoke that is aborted leaves the block as it was.
    handle = structure_world_begin(&world, 1);
    assert_int_equal(cache_revoke(cache, handle, fresh.address), 0);
    assert_null(cache_find(cache, &fresh));
    assert_int_equal(cache_read(cache, &fresh, &block), -ERROR_BLOCK_OWNER);
    assert_int_equal(cache_revoke(cache, handle, fresh.address), -ERROR_CORRUPT_FREE_SPACE);
    journal_transaction_abort(handle);
    block = cache_find(cache, &fresh);
    assert_non_null(block);
    cache_put(block);

    // Freed for good, then durable, then somebody else's.
    handle = structure_world_begin(&world, 1);
    assert_int_equal(cache_revoke(cache, handle, fresh.address), 0);
    journal_transaction_end(handle);
    assert_int_equal(journal_sync(world.volume.journal), 0);
    struct cache_identity next = fresh;
    next.owner++;
    next.lock = lock_name_inode(next.owner);
    handle = structure_world_begin(&world, 1);
    assert_int_equal(cache_create(cache, handle, &next, &block), 0);
    journal_transaction_end(handle);
    cache_put(block);
    assert_int_equal(journal_checkpoint(world.volume.journal), 0);
    block = cache_find(cache, &next);
    assert_non_null(block);
    cache_put(block);
}

static void handles(void **state)
{
    (void)state;
    open_world(0);
    structure_world_run(&world, run_handles, NULL);
    structure_world_close(&world);
}

// A block that this node freed, and another gave to somebody else, is read as what it is now.
static void run_stale(void *argument)
{
    (void)argument;
    struct cache_identity old = identity_of(BASE + 3);
    struct journal_handle *handle = structure_world_begin(&world, 1);
    cache_put(read_block(old.address));
    assert_int_equal(cache_revoke(world.volume.cache, handle, old.address), 0);
    journal_transaction_end(handle);
    assert_int_equal(journal_sync(world.volume.journal), 0);
    struct cache_identity now = {old.address, 777, BLOCK_TYPE_INODE, lock_name_inode(777)};
    struct block_expectation is = {world.volume.geometry.format_id, now.address, now.owner,
                                   now.type};
    uint8_t *bytes = structure_world_block(&world, old.address);
    memset(bytes, 0, BLOCK_BYTES);
    format_block_init(bytes, &is);
    format_block_seal(bytes, 1 << 30);
    struct cache_block *block;
    assert_int_equal(cache_read(world.volume.cache, &now, &block), 0);
    cache_put(block);
    assert_true(world.volume.clock.now >= 1 << 30);
}

static void stale_blocks_are_read_anew(void **state)
{
    (void)state;
    open_world(0);
    structure_world_run(&world, run_stale, NULL);
    structure_world_close(&world);
}

// --- locks -----------------------------------------------------------------------------------

static void run_drop(void *argument)
{
    (void)argument;
    struct cache *cache = world.volume.cache;
    for (uint64_t address = BASE; address < BASE + 70; address++)
        cache_put(read_block(address));
    size_t before = status_of_cache().block_count;
    struct cache_block *held = read_block(BASE + 7);
    cache_drop_lock(cache, identity_of(BASE + 7).lock);
    struct cache_status status = status_of_cache();
    assert_int_equal(before - status.block_count, 10);
    struct cache_identity identity = identity_of(BASE + 7);
    assert_null(cache_find(cache, &identity));
    cache_put(held);
    uint64_t reads = world.memory.read_count;
    cache_put(read_block(BASE + 7));
    assert_int_equal(world.memory.read_count, reads + 1);
    cache_drop_lock(cache, lock_name_inode(123456789));
}

static void a_lock_takes_its_blocks_along(void **state)
{
    (void)state;
    open_world(0);
    structure_world_run(&world, run_drop, NULL);
    structure_world_close(&world);
}

// --- without a lock ----------------------------------------------------------------------------

static void run_unlocked(void *argument)
{
    (void)argument;
    uint8_t *buffer = block_buffer_new(BLOCK_BYTES);
    struct cache_identity identity = identity_of(BASE + 11);
    assert_int_equal(cache_read_unlocked(world.volume.cache, &identity, buffer), 0);
    damage(BASE + 11, 300, 1, false);
    uint64_t reads = world.memory.read_count;
    assert_int_equal(cache_read_unlocked(world.volume.cache, &identity, buffer),
                     -ERROR_BLOCK_CHECKSUM);
    assert_int_equal(world.memory.read_count, reads + 2);
    assert_int_equal(world.log_error_count, 0);
    free(buffer);
}

static void unlocked_reads_try_twice(void **state)
{
    (void)state;
    open_world(0);
    structure_world_run(&world, run_unlocked, NULL);
    structure_world_close(&world);
}

static void read_past_the_cache_and_offer(const struct cache_identity *identity,
                                          void (*meanwhile)(const struct cache_identity *identity))
{
    uint8_t *buffer = block_buffer_new(BLOCK_BYTES);
    assert_int_equal(cache_read_unlocked(world.volume.cache, identity, buffer), 0);
    if (meanwhile != NULL)
        meanwhile(identity);
    cache_offer(world.volume.cache, identity, buffer);
    free(buffer);
}

static void change_to_99(const struct cache_identity *identity)
{
    struct cache_block *block = read_block(identity->address);
    struct journal_handle *handle = structure_world_begin(&world, 1);
    cache_change(block, handle);
    *counter_of(block) = 99;
    journal_transaction_end(handle);
    cache_put(block);
}

static void run_offered(void *argument)
{
    (void)argument;
    struct cache *cache = world.volume.cache;
    struct cache_identity identity = identity_of(BASE + 20);

    // What was read once is not read again.
    read_past_the_cache_and_offer(&identity, NULL);
    uint64_t reads = world.memory.read_count;
    cache_put(read_block(identity.address));
    assert_int_equal(world.memory.read_count, reads);

    // What is there already stays: it may be newer than what is offered.
    read_past_the_cache_and_offer(&identity, change_to_99);
    struct cache_block *block = read_block(identity.address);
    assert_int_equal(*counter_of(block), 99);
    cache_put(block);

    // It goes with its lock like any other.
    struct cache_identity next = identity_of(BASE + 31);
    cache_drop_lock(cache, next.lock);
    read_past_the_cache_and_offer(&next, NULL);
    cache_drop_lock(cache, next.lock);
    assert_null(cache_find(cache, &next));
}

static void what_was_read_past_it_can_stay(void **state)
{
    (void)state;
    open_world(0);
    structure_world_run(&world, run_offered, NULL);
    structure_world_close(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(readers_share_a_read),
        cmocka_unit_test(failures_are_shared_and_not_kept),
        cmocka_unit_test(what_is_wrong_does_not_come_in),
        cmocka_unit_test(addresses_outside_are_refused),
        cmocka_unit_test(eviction_spares_what_is_needed),
        cmocka_unit_test(handles),
        cmocka_unit_test(stale_blocks_are_read_anew),
        cmocka_unit_test(a_lock_takes_its_blocks_along),
        cmocka_unit_test(unlocked_reads_try_twice),
        cmocka_unit_test(what_was_read_past_it_can_stay),
    };
    return cmocka_run_group_tests_name("cache", tests, NULL, NULL);
}
