// SPDX-License-Identifier: Apache-2.0
// Whatever was expected, in whatever order, and whether threads read ahead or not: a block's bytes
// are what the file holds.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "fs/base/block_device_file.h"
#include "fs/base/random.h"
#include "fsck/chunk_cache.h"

enum { BLOCKS = 5003, STEPS = 20000 }; // the last chunk is a short one

static char path[] = "/tmp/lunfs-chunk-cache-XXXXXX";

static int make_file(void **state)
{
    uint64_t block[BLOCK_BYTES / sizeof(uint64_t)];
    int descriptor = mkstemp(path);
    (void)state;
    assert_true(descriptor >= 0);
    for (uint64_t i = 0; i < BLOCKS; i++) {
        for (size_t j = 0; j < sizeof(block) / sizeof(block[0]); j++)
            block[j] = i;
        assert_int_equal(write(descriptor, block, sizeof(block)), sizeof(block));
    }
    return close(descriptor);
}

static int remove_file(void **state)
{
    (void)state;
    return unlink(path);
}

static void assert_found(struct chunk_cache *cache, uint64_t block)
{
    uint64_t first, last;
    const uint8_t *bytes = chunk_cache_find(cache, block);
    assert_non_null(bytes);
    memcpy(&first, bytes, sizeof(first));
    memcpy(&last, bytes + BLOCK_BYTES - sizeof(last), sizeof(last));
    assert_int_equal(first, block);
    assert_int_equal(last, block);
}

// Some of what is expected is never asked for, some comes too late, and places collide.
static void ask_at_random(struct chunk_cache *cache, uint64_t seed)
{
    struct random random;
    uint64_t expected[CHUNK_CACHE_AHEAD] = {0};
    random_init(&random, seed);
    for (unsigned i = 0; i < STEPS; i++) {
        uint64_t block = random_below(&random, BLOCKS + 40);
        chunk_cache_expect(cache, block);
        expected[i % CHUNK_CACHE_AHEAD] = block;
        block = expected[random_below(&random, CHUNK_CACHE_AHEAD)];
        if (block < BLOCKS)
            assert_found(cache, block);
    }
}

static void run(bool has_threads)
{
    struct block_device *device;
    assert_int_equal(block_device_file_open(path, BLOCK_DEVICE_READ_ONLY, &device), 0);
    struct chunk_cache *cache = chunk_cache_new(device, NULL, has_threads);
    ask_at_random(cache, 1);
    for (uint64_t block = 0; block < BLOCKS; block++) {
        chunk_cache_expect(cache, block + 100);
        assert_found(cache, block);
    }
    chunk_cache_expect(cache, 7); // still on its way when the end comes
    chunk_cache_free(cache);
    block_device_close(device);
}

static void with_threads(void **state)
{
    (void)state;
    run(true);
}

static void without_threads(void **state)
{
    (void)state;
    run(false);
}

// The file is shorter than it was: the caller hears of it, and of nothing else.
static void unreadable_chunk(void **state)
{
    struct block_device *device;
    (void)state;
    assert_int_equal(block_device_file_open(path, BLOCK_DEVICE_READ_ONLY, &device), 0);
    assert_int_equal(truncate(path, 2000 * BLOCK_BYTES), 0);
    struct chunk_cache *cache = chunk_cache_new(device, NULL, true);
    for (uint64_t block = 0; block < BLOCKS; block += 16)
        chunk_cache_expect(cache, block);
    for (uint64_t block = 0; block < BLOCKS; block += 16) {
        if (block < 2000)
            assert_found(cache, block);
        else
            assert_null(chunk_cache_find(cache, block));
    }
    chunk_cache_free(cache);
    block_device_close(device);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(with_threads),
        cmocka_unit_test(without_threads),
        cmocka_unit_test(unreadable_chunk),
    };
    return cmocka_run_group_tests_name("chunk cache", tests, make_file, remove_file);
}
