// SPDX-License-Identifier: Apache-2.0
// Buffers that the LUN writes into are not part of a fork's copy (rule 17).
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "fs/io_buffers.h"
#include "fs/lane.h"

// Whether the kernel leaves the mapping of `address` out of a fork: "dc" among its flags.
static bool is_left_out(const void *address)
{
    FILE *maps = fopen("/proc/self/smaps", "re");
    unsigned long begin, end, wanted = (unsigned long)(uintptr_t)address;
    bool is_inside = false, is_out = false;
    char line[512];
    assert_non_null(maps);
    while (fgets(line, sizeof(line), maps) != NULL) {
        if (sscanf(line, "%lx-%lx ", &begin, &end) == 2)
            is_inside = begin <= wanted && wanted < end;
        else if (is_inside && strncmp(line, "VmFlags:", 8) == 0)
            is_out = strstr(line, " dc ") != NULL;
    }
    fclose(maps);
    return is_out;
}

static void test_look(void **state)
{
    char here;
    (void)state;
    assert_false(is_left_out(&here));
}

static void test_buffers_are_left_out(void **state)
{
    struct io_buffers *buffers = io_buffers_new();
    static const size_t sizes[] = {1, 4096, 4097, 65536, 1 << 20};
    void *taken[sizeof(sizes) / sizeof(sizes[0])];
    (void)state;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        taken[i] = io_buffers_take(buffers, sizes[i]);
        assert_non_null(taken[i]);
        assert_true(is_left_out(taken[i]));
        assert_true(is_left_out((char *)taken[i] + sizes[i] + 4095)); // to its end
    }
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
        io_buffers_give(buffers, taken[i], sizes[i]);
    io_buffers_free(buffers);
}

static void test_a_lane_is_left_out(void **state)
{
    struct lane_volume volume = {0};
    struct lane lane = {0};
    (void)state;
    assert_int_equal(lane_init(&lane, &volume), 0);
    assert_true(is_left_out(lane.bounce));
    assert_true(is_left_out(lane.bounce + LANE_TRANSFER_BYTES_MAX));
    lane_deinit(&lane);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_look),
        cmocka_unit_test(test_buffers_are_left_out),
        cmocka_unit_test(test_a_lane_is_left_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
