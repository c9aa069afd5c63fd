// SPDX-License-Identifier: Apache-2.0
// The command line of `lunfs quota`, and its table.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "fs/base/text.h"
#include "fs/tool_quota_request.h"

enum { WORDS_MAX = 16, WHY_BYTES = 256 };

// Takes a line apart at its blanks.
static bool parse(const char *line, struct tool_quota_request *request, char why[WHY_BYTES])
{
    static char words[512];
    char *arguments[WORDS_MAX], *rest = words;
    int count = 0;
    struct text text;
    text_init(&text, why, WHY_BYTES);
    text_copy(words, sizeof(words), line);
    for (char *word; (word = strtok_r(rest, " ", &rest)) != NULL;)
        arguments[count++] = word;
    return tool_quota_parse(count, arguments, request, &text);
}

static void test_report_takes_kinds(void **state)
{
    struct tool_quota_request request;
    char why[WHY_BYTES];
    (void)state;
    assert_true(parse("report /vm", &request, why));
    assert_int_equal(request.action, TOOL_QUOTA_REPORT);
    assert_string_equal(request.mount, "/vm");
    assert_true(request.kinds[QUOTA_USER] && request.kinds[QUOTA_GROUP] &&
                request.kinds[QUOTA_PROJECT] && !request.json);
    assert_true(parse("report --users --json /vm --projects", &request, why));
    assert_true(request.kinds[QUOTA_USER] && !request.kinds[QUOTA_GROUP] &&
                request.kinds[QUOTA_PROJECT] && request.json);
}

static void test_set_takes_all_limits(void **state)
{
    struct tool_quota_request request;
    char why[WHY_BYTES];
    const uint64_t wanted[] = {
        UINT64_C(500) << 30, UINT64_C(450) << 30, 10000, 0, 3 * 24 * 3600, 90};
    (void)state;
    assert_true(parse("set /vm --project 7 --hard 500G --soft 450GiB --inodes-hard 10000 "
                      "--inodes-soft none --grace 3d --inodes-grace 90",
                      &request, why));
    assert_int_equal(request.kind, QUOTA_PROJECT);
    assert_string_equal(request.owner, "7");
    for (int i = 0; i < TOOL_QUOTA_LIMIT_COUNT; i++) {
        assert_true(request.is_given[i]);
        assert_int_equal(request.limits[i], wanted[i]);
    }
    assert_true(parse("set /vm --user alice --soft 1", &request, why));
    assert_true(request.is_given[TOOL_QUOTA_SOFT] && !request.is_given[TOOL_QUOTA_HARD]);
}

static void test_others(void **state)
{
    struct tool_quota_request request;
    char why[WHY_BYTES];
    (void)state;
    assert_true(parse("on /vm", &request, why) && request.action == TOOL_QUOTA_ON);
    assert_true(parse("off /vm", &request, why) && request.action == TOOL_QUOTA_OFF);
    assert_true(parse("show /vm", &request, why) && request.owner == NULL);
    assert_true(parse("show /vm --group kvm", &request, why));
    assert_int_equal(request.kind, QUOTA_GROUP);
    assert_true(parse("set --help", &request, why) && request.is_help);
}

static void test_what_is_wrong_is_named(void **state)
{
    static const struct {
        const char *line, *names;
    } lines[] = {
        {"", "report, show, set, on and off"},
        {"repot /vm", "report, show, set, on and off"},
        {"report", "mount is missing"},
        {"on /vm /vm2", "'/vm2'"},
        {"on /vm --force", "--force"},
        {"on /vm --json", "--json"},
        {"show /vm --hard 5G", "limits go with set"},
        {"show /vm --users", "--users"},
        {"report /vm --user alice", "show and set"},
        {"set /vm --hard 5G", "needs --user"},
        {"set /vm --user alice", "needs a limit"},
        {"set /vm --user", "--user needs"},
        {"set /vm --user alice --group kvm --hard 5G", "--group"},
        {"set /vm --user alice --hard", "--hard needs a size"},
        {"set /vm --user alice --hard 5X", "'5X'"},
        {"set /vm --user alice --hard -5", "'-5'"},
        {"set /vm --user alice --hard 99999999999999999999", "--hard needs"},
        {"set /vm --user alice --inodes-hard 1.5", "'1.5'"},
        {"set /vm --user alice --inodes-hard 9G", "'9G'"},
        {"set /vm --user alice --inodes-hard 9223372036854775807", "number of files"},
        {"set /vm --user alice --grace none", "--grace needs a time"},
        {"set /vm --user alice --grace 4294967296", "--grace needs a time"},
        {"set /vm --user alice --grace 99999999w", "--grace needs a time"},
        {"set /vm --user alice --hard 5G --soft 6G", "soft limit lies above"},
        {"set /vm --user alice --inodes-hard 5 --inodes-soft 6", "soft limit lies above"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        struct tool_quota_request request;
        char why[WHY_BYTES] = "";
        assert_false(parse(lines[i].line, &request, why));
        if (strstr(why, lines[i].names) == NULL)
            fail_msg("'%s' says: %s", lines[i].line, why);
    }
}

static void test_times(void **state)
{
    static const struct {
        uint64_t seconds;
        const char *text;
    } times[] = {{0, "0s"},
                 {59, "59s"},
                 {60, "1m0s"},
                 {3599, "59m59s"},
                 {3600, "1h0m"},
                 {7 * 86400, "7d0h"},
                 {86400 * 6 + 86399, "6d23h"}};
    uint64_t seconds;
    (void)state;
    for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
        TEXT(text, 32);
        tool_quota_time_to_text(times[i].seconds, &text);
        assert_string_equal(text.bytes, times[i].text);
    }
    assert_true(tool_quota_parse_time("2w", &seconds) && seconds == 14 * 86400);
    assert_true(tool_quota_parse_time("0", &seconds) && seconds == 0);
    assert_false(tool_quota_parse_time("", &seconds) || tool_quota_parse_time("h", &seconds) ||
                 tool_quota_parse_time("1h30m", &seconds) || tool_quota_parse_time("1y", &seconds));
}

static void test_table(void **state)
{
    const struct tool_quota_row row = {
        .owner = "alice",
        .bytes = 5 << 20,
        .bytes_soft = 4 << 20,
        .bytes_hard = 10 << 20,
        .bytes_until_s = 1000 + 3600,
        .inodes = 12,
        .inodes_soft = 10,
        .inodes_until_s = 900,
    };
    TEXT(head, 256);
    TEXT(line, 256);
    (void)state;
    tool_quota_head_to_text(QUOTA_USER, &head);
    tool_quota_row_to_text(&row, 1000, &line);
    assert_string_equal(head.bytes, "user                   used       soft       hard   grace  "
                                    "     files       soft       hard   grace");
    assert_string_equal(line.bytes, "alice              5.00 MiB   4.00 MiB   10.0 MiB    1h0m  "
                                    "        12         10       none    over");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_report_takes_kinds),
        cmocka_unit_test(test_set_takes_all_limits),
        cmocka_unit_test(test_others),
        cmocka_unit_test(test_what_is_wrong_is_named),
        cmocka_unit_test(test_times),
        cmocka_unit_test(test_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
