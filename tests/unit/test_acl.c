// SPDX-License-Identifier: Apache-2.0
// Access control lists: their form, and how list and mode follow each other.
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "fs/acl.h"
#include "fs/base/random.h"

static const struct acl plain = {
    .count = 3,
    .entries = {{ACL_OWNER, 6, UINT32_MAX},
                {ACL_GROUP, 4, UINT32_MAX},
                {ACL_OTHERS, 0, UINT32_MAX}},
};

static const struct acl full = {
    .count = 6,
    .entries = {{ACL_OWNER, 7, UINT32_MAX},
                {ACL_USER, 6, 1000},
                {ACL_GROUP, 5, UINT32_MAX},
                {ACL_GROUP_NAMED, 4, 50},
                {ACL_MASK, 6, UINT32_MAX},
                {ACL_OTHERS, 1, UINT32_MAX}},
};

static int decode_of(const struct acl *from, struct acl *to)
{
    uint8_t value[ACL_VALUE_BYTES_MAX];
    return acl_decode(value, acl_encode(from, value), to);
}

static void test_form(void **state)
{
    static const uint8_t expected[] = {2,    0,    0, 0, 1,    0,    6,    0,    0xff, 0xff,
                                       0xff, 0xff, 4, 0, 4,    0,    0xff, 0xff, 0xff, 0xff,
                                       32,   0,    0, 0, 0xff, 0xff, 0xff, 0xff};
    uint8_t value[ACL_VALUE_BYTES_MAX];
    struct acl read;
    (void)state;
    assert_int_equal(acl_encode(&plain, value), sizeof(expected));
    assert_memory_equal(value, expected, sizeof(expected));
    assert_int_equal(decode_of(&full, &read), 0);
    assert_int_equal(read.count, full.count);
    assert_memory_equal(read.entries, full.entries, full.count * sizeof(full.entries[0]));
}

static void expect_refused(struct acl broken, int error)
{
    struct acl read;
    assert_int_equal(decode_of(&broken, &read), error);
    assert_int_equal(read.count, 0);
}

static void test_lists_that_are_none(void **state)
{
    struct acl broken;
    (void)state;
    for (unsigned gone = 0; gone < full.count; gone++) {
        broken = full;
        memmove(&broken.entries[gone], &broken.entries[gone + 1],
                (size_t)(full.count - gone - 1) * sizeof(broken.entries[0]));
        broken.count--;
        bool is_needed =
            full.entries[gone].tag != ACL_USER && full.entries[gone].tag != ACL_GROUP_NAMED;
        struct acl read;
        assert_int_equal(decode_of(&broken, &read), is_needed ? -EINVAL : 0);
    }
    broken = full;
    broken.entries[0].tag = ACL_GROUP; // twice, and the owner gone
    expect_refused(broken, -EINVAL);
    broken = full;
    broken.entries[1] = full.entries[2]; // out of order
    broken.entries[2] = full.entries[1];
    expect_refused(broken, -EINVAL);
    broken = full;
    broken.entries[3].permissions = 8;
    expect_refused(broken, -EINVAL);
    broken = full;
    broken.entries[1].id = UINT32_MAX;
    expect_refused(broken, -EINVAL);
    broken = full;
    broken.entries[4].tag = 3;
    expect_refused(broken, -EINVAL);
}

// I7: any bytes give an answer, and what is taken for a list is written as it was read.
static void test_any_bytes(void **state)
{
    struct random random;
    uint8_t value[64], again[ACL_VALUE_BYTES_MAX];
    struct acl read;
    unsigned taken = 0;
    (void)state;
    random_init(&random, 1);
    for (int round = 0; round < 200000; round++) {
        size_t size = acl_encode(&full, again);
        memcpy(value, again, size);
        for (unsigned i = 0; i < 1 + random_below(&random, 3); i++)
            value[random_below(&random, size)] ^= (uint8_t)(1u << random_below(&random, 8));
        if (random_one_in(&random, 4))
            size = random_below(&random, size + 1);
        int result = acl_decode(value, size, &read);
        assert_true(result == 0 || result == -EINVAL);
        if (result != 0)
            continue;
        taken++;
        assert_int_equal(acl_encode(&read, again), size);
        acl_to_mode(&read, 0777);
    }
    assert_true(taken > 100);
    assert_int_equal(acl_decode(value, 3, &read), -EINVAL);
    uint8_t *many = calloc(1, 4 + 8 * (ACL_ENTRIES_MAX + 1));
    many[0] = 2;
    assert_int_equal(acl_decode(many, 4 + 8 * (ACL_ENTRIES_MAX + 1), &read), -E2BIG);
    assert_int_equal(acl_decode(many, 4, &read), 0);
    assert_int_equal(read.count, 0);
    free(many);
}

static void test_list_and_mode(void **state)
{
    struct acl list = full;
    (void)state;
    assert_true(acl_is_mode(&plain));
    assert_false(acl_is_mode(&full));
    assert_int_equal(acl_to_mode(&plain, S_IFREG | 02777), S_IFREG | 02640);
    assert_int_equal(acl_to_mode(&full, S_IFDIR | 01000), S_IFDIR | 01761);
    acl_follow_mode(&list, S_IFREG | 0531); // the mask stands for the group
    assert_int_equal(list.entries[0].permissions, 5);
    assert_int_equal(list.entries[2].permissions, 5);
    assert_int_equal(list.entries[4].permissions, 3);
    assert_int_equal(list.entries[5].permissions, 1);
    list = plain;
    acl_follow_mode(&list, 0531);
    assert_int_equal(list.entries[1].permissions, 3);
}

static void test_inheritance(void **state)
{
    struct acl list = full;
    (void)state;
    assert_int_equal(acl_inherit(&list, S_IFREG | 0640), S_IFREG | 0640);
    assert_int_equal(list.entries[0].permissions, 6);
    assert_int_equal(list.entries[1].permissions, 6); // named ones are held down by the mask
    assert_int_equal(list.entries[4].permissions, 4);
    assert_int_equal(list.entries[5].permissions, 0);
    list = plain;
    assert_int_equal(acl_inherit(&list, S_IFDIR | 02777), S_IFDIR | 02640);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_form),        cmocka_unit_test(test_lists_that_are_none),
        cmocka_unit_test(test_any_bytes),   cmocka_unit_test(test_list_and_mode),
        cmocka_unit_test(test_inheritance),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
