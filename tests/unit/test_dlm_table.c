// SPDX-License-Identifier: Apache-2.0
// The lock core's table while it grows and shrinks: everything is found, walked over once, and gone
// when it was removed.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "dlm/core_table.h"

#include <stdbool.h>

enum { ELEMENTS = 10000 };

struct element {
    struct table_link link;
    bool is_walked;
};

static bool is_found(const struct table *table, const struct element *element)
{
    const struct table_link *link = table_chain(table, element->link.hash);

    while (link && link != &element->link)
        link = link->next;
    return link != NULL;
}

static void test_grows_one_bucket_at_a_time(void **state)
{
    static struct element elements[ELEMENTS];
    struct table table = {0};
    struct table_link *link;
    size_t walked = 0;

    (void)state;
    for (uint64_t i = 0; i < ELEMENTS; i++) {
        size_t buckets = table.bucket_count;
        table_insert(&table, &elements[i].link, hash_u64(i / 2)); // two of each hash
        assert_true(i == 0 || table.bucket_count <= buckets + 1);
        for (uint64_t j = 0; j <= i; j += 1 + i / 16)
            assert_true(is_found(&table, &elements[j]));
    }
    for (struct table_cursor cursor = table_begin(&table); (link = table_next(&cursor)); walked++) {
        struct element *element = CONTAINER_OF(link, struct element, link);
        assert_false(element->is_walked);
        element->is_walked = true;
        if (walked % 2)
            table_remove(&table, link); // the one last returned
    }
    assert_int_equal(walked, ELEMENTS);
    assert_int_equal(table.count, ELEMENTS / 2);
    walked = 0;
    for (struct table_cursor cursor = table_begin(&table); (link = table_next(&cursor)); walked++)
        assert_true(is_found(&table, CONTAINER_OF(link, struct element, link)));
    assert_int_equal(walked, ELEMENTS / 2);
    table_deinit(&table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_grows_one_bucket_at_a_time)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
