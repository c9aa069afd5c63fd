// SPDX-License-Identifier: Apache-2.0
// What the progress bar of fsck.lunfs says: share, rate, what is left.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "fs/base/text.h"
#include "fsck/progress.h"

static const uint64_t second_ns = 1000000000;

static void expect_text(const struct progress *progress, uint64_t seconds, uint64_t done,
                        uint64_t total, const char *wanted)
{
    TEXT(text, 160);
    progress_to_text(progress, (1 + seconds) * second_ns, done, total, &text);
    assert_string_equal(text.bytes, wanted);
}

static void test_share_rate_and_estimate(void **state)
{
    struct progress progress = {.what = "files", .unit = "blocks", .begun_ns = second_ns};
    (void)state;
    expect_text(&progress, 0, 0, 100, "[                                        ]   0 %");
    expect_text(&progress, 2, 250000, 1000000,
                "[##########                              ]  25 %  125 k blocks/s  0:06 left");
    expect_text(&progress, 10, 50, 100000,
                "[                                        ]   0 %  5 blocks/s  5:33:10 left");
    expect_text(&progress, 4, 123456, 123456,
                "[########################################] 100 %  30.9 k blocks/s");
    // More than was thought: the estimate of the total was one.
    expect_text(&progress, 4, 200, 100,
                "[########################################] 100 %  50 blocks/s");
}

static void test_without_total_or_unit(void **state)
{
    struct progress progress = {.what = "files", .unit = "blocks", .begun_ns = second_ns};
    (void)state;
    expect_text(&progress, 2, 3000000, 0, "3000000  1.50 M blocks/s");
    progress.unit = NULL;
    expect_text(&progress, 2, 7, 0, "7");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_share_rate_and_estimate),
        cmocka_unit_test(test_without_total_or_unit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
