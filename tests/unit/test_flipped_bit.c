// SPDX-License-Identifier: Apache-2.0
// One wrong bit anywhere in a block is put back; more are not touched.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "fs/base/random.h"
#include "fs/format.h"
#include "fsck/flipped_bit.h"

static const uint8_t format_id[16] = "some volume's id";

static void make_block(uint8_t *block)
{
    struct random random;
    struct block_expectation is = {
        .format_id = format_id, .address = 77, .owner = 77, .type = BLOCK_TYPE_INODE};
    random_init(&random, 1);
    for (size_t i = 0; i < BLOCK_BYTES; i++)
        block[i] = (uint8_t)random_u64(&random);
    format_block_init(block, &is);
    format_block_seal(block, 5);
}

static void flip(uint8_t *block, size_t bit)
{
    block[bit / 8] ^= (uint8_t)(1u << (bit % 8));
}

static void test_one_bit_anywhere(void **state)
{
    uint8_t block[BLOCK_BYTES] __attribute__((aligned(8))), whole[BLOCK_BYTES];
    (void)state;
    make_block(block);
    memcpy(whole, block, sizeof(whole));
    for (size_t bit = 0; bit < BLOCK_BYTES * 8; bit += bit < 1024 ? 1 : 61) {
        flip(block, bit);
        assert_true(flipped_bit_put_back(block));
        assert_memory_equal(block, whole, sizeof(whole));
    }
    flip(block, BLOCK_BYTES * 8 - 1);
    assert_true(flipped_bit_put_back(block));
    assert_memory_equal(block, whole, sizeof(whole));
}

static void test_two_bits_are_not_touched(void **state)
{
    uint8_t block[BLOCK_BYTES] __attribute__((aligned(8))), broken[BLOCK_BYTES];
    (void)state;
    make_block(block);
    for (size_t bit = 0; bit + 4000 < BLOCK_BYTES * 8; bit += 331) {
        flip(block, bit);
        flip(block, bit + 1 + bit % 3999);
        memcpy(broken, block, sizeof(broken));
        assert_false(flipped_bit_put_back(block));
        assert_memory_equal(block, broken, sizeof(broken));
        flip(block, bit);
        flip(block, bit + 1 + bit % 3999);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_bit_anywhere),
        cmocka_unit_test(test_two_bits_are_not_touched),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
