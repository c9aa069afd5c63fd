// SPDX-License-Identifier: Apache-2.0
// The plan of a new volume: sound at every size, generous at the sizes that people use, refused
// with the least size that would do where nothing fits.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>

#include "fs/base/error.h"
#include "fs/base/random.h"
#include "mkfs/geometry.h"

#define MIB ((uint64_t)1 << 20)
#define GIB ((uint64_t)1 << 30)
#define TIB ((uint64_t)1 << 40)

static int plan(uint64_t bytes, uint32_t slots, uint64_t journal, struct geometry *g, char *why)
{
    char buffer[256];
    struct text text;
    struct mkfs_request request = {
        .device_bytes = bytes, .slot_count = slots, .journal_bytes = journal};
    text_init(&text, why != NULL ? why : buffer, 256);
    return mkfs_geometry_plan(&request, g, &text);
}

static uint64_t group_bytes(const struct geometry *g)
{
    return (uint64_t)BLOCK_BYTES << g->ag_block_shift;
}

static uint64_t journal_bytes(const struct geometry *g)
{
    return (uint64_t)BLOCK_BYTES * g->journal_block_count;
}

static void test_usual_sizes(void **state)
{
    (void)state;
    static const struct {
        uint64_t bytes;
        uint32_t slots;
        uint64_t journal, group_max;
    } rows[] = {
        {64 * MIB, 4, 8 * MIB, 4 * MIB},  {256 * MIB, 4, 8 * MIB, 16 * MIB},
        {GIB, 16, 8 * MIB, 16 * MIB},     {8 * GIB, 32, 8 * MIB, 64 * MIB},
        {100 * GIB, 32, 50 * MIB, GIB},   {64 * TIB, 32, 128 * MIB, 512 * GIB},
        {1024 * TIB, 32, 128 * MIB, TIB}, {1024 * 1024 * TIB, 32, 128 * MIB, TIB},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct geometry g;
        assert_int_equal(plan(rows[i].bytes, 0, 0, &g, NULL), 0);
        assert_int_equal(g.slot_count, rows[i].slots);
        assert_int_equal(journal_bytes(&g), rows[i].journal);
        assert_true(group_bytes(&g) <= rows[i].group_max);
        assert_true(group_bytes(&g) >= rows[i].group_max / 2);
        if (rows[i].bytes >= GIB)
            assert_true(g.ag_count >= MKFS_GROUPS_PER_SLOT * g.slot_count);
    }
}

static void test_every_plan_is_sound_and_wastes_little(void **state)
{
    (void)state;
    struct random random;
    random_init(&random, 42);
    for (int round = 0; round < 100000; round++) {
        struct geometry g;
        uint64_t bytes = random_u64(&random) >> (4 + random_below(&random, 42));
        uint32_t slots = (uint32_t)random_below(&random, FORMAT_SLOT_COUNT_MAX + 1);
        uint64_t journal =
            random_one_in(&random, 2) ? 0 : 8 * MIB + random_below(&random, 64 * MIB);
        int result = plan(bytes, slots, journal, &g, NULL);
        if (result == -ERROR_VOLUME_TOO_SMALL)
            continue;
        assert_int_equal(result, 0);
        assert_int_equal(geometry_check(&g, NULL), 0);
        uint64_t used = 0;
        for (uint32_t ag = 0; ag < g.ag_count; ag++)
            used += geometry_ag_block_count(&g, ag);
        assert_true(g.ag_base_block + used + FORMAT_AG_BLOCKS_MIN >= g.block_count - 1);
        assert_true(g.ag_base_block * BLOCK_BYTES <=
                    2 * MIB + MIB + slots * FORMAT_SLOT_BLOCKS * (uint64_t)BLOCK_BYTES +
                        g.slot_count * journal_bytes(&g));
    }
}

static void test_least_size_is_the_least(void **state)
{
    (void)state;
    for (uint32_t slots = 1; slots <= FORMAT_SLOT_COUNT_MAX; slots++) {
        struct geometry g;
        char why[256] = "";
        assert_int_equal(plan(MIB, slots, 8 * MIB, &g, why), -ERROR_VOLUME_TOO_SMALL);
        const char *needs = strstr(why, "at least ");
        assert_non_null(needs);
        needs = strchr(needs, '(');
        assert_non_null(needs);
        uint64_t least = strtoull(needs + 1, NULL, 10);
        // A short last group counts too, so a little less may do as well.
        assert_int_equal(plan(least, slots, 8 * MIB, &g, NULL), 0);
        assert_int_equal(plan(least - 4 * MIB, slots, 8 * MIB, &g, NULL), -ERROR_VOLUME_TOO_SMALL);
    }
}

static void test_numbers_out_of_range_are_refused(void **state)
{
    (void)state;
    struct geometry g;
    char why[256];
    assert_int_equal(plan(GIB, 65, 0, &g, why), -EINVAL);
    assert_non_null(strstr(why, "at most 64"));
    assert_int_equal(plan(GIB, 1, 8 * MIB - 1, &g, why), -EINVAL);
    assert_non_null(strstr(why, "at least 8 MiB"));
    assert_int_equal(plan(GIB, 1, 8 * MIB, &g, why), 0);
    assert_int_equal(plan(64 * TIB, 1, 4 * GIB + 1, &g, why), -EINVAL);
    assert_int_equal(plan((uint64_t)1 << 61, 1, 0, &g, why), -EINVAL);
    assert_int_equal(plan(0, 0, 0, &g, why), -ERROR_VOLUME_TOO_SMALL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_usual_sizes),
        cmocka_unit_test(test_every_plan_is_sound_and_wastes_little),
        cmocka_unit_test(test_least_size_is_the_least),
        cmocka_unit_test(test_numbers_out_of_range_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
