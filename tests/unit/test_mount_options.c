// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>

#include <cmocka.h>

#include "fs/base/random.h"
#include "fs/base/text.h"
#include "fs/mount_options.h"

static bool parse(struct mount_options *options, const char *list, char why[256])
{
    struct text text;
    text_init(&text, why, 256);
    mount_options_init(options);
    return mount_options_parse(options, list, &text) && mount_options_verify(options, &text);
}

static void test_defaults(void **state)
{
    struct mount_options options;
    char why[256];
    (void)state;
    assert_true(parse(&options, "", why));
    assert_int_equal(options.beat_ms, 1000);
    assert_int_equal(options.lease_ms, 5000);
    assert_int_equal(options.port, MOUNT_PORT_DEFAULT);
    assert_int_equal(options.mount_flags, 0);
    assert_false(options.is_local);
}

static void test_all_of_ours(void **state)
{
    struct mount_options options;
    char why[256];
    (void)state;
    assert_true(
        parse(&options,
              "local,ro,norecovery,port=9,lease=8s,beat=250ms,lanes=3,cache=96MiB,noatime,debug,"
              "fence=/sbin/f,watchdog=/dev/watchdog,log=/tmp/l",
              why));
    assert_true(options.is_local && options.is_read_only && options.no_recovery && options.debug);
    assert_int_equal(options.mount_flags, MS_RDONLY);
    assert_int_equal(options.port, 9);
    assert_int_equal(options.lease_ms, 8000);
    assert_int_equal(options.beat_ms, 250);
    assert_int_equal(options.lanes, 3);
    assert_int_equal(options.cache_bytes, 96 << 20);
    assert_int_equal(options.atime, MOUNT_NOATIME);
    assert_int_equal(options.log, MOUNT_LOG_FILE);
    assert_string_equal(options.fence, "/sbin/f");
    assert_string_equal(options.watchdog, "/dev/watchdog");
}

static void test_generic_ones(void **state)
{
    struct mount_options options;
    char why[256];
    (void)state;
    assert_true(parse(&options,
                      "rw,nofail,_netdev,x-systemd.requires=corosync.service,nosuid,"
                      "nodev,,noexec,exec,comment=a b,user",
                      why));
    assert_int_equal(options.mount_flags, MS_NOSUID | MS_NODEV);
    assert_true(parse(&options, "ro,rw", why)); // the later one counts
    assert_false(options.is_read_only);
}

static void test_refused(void **state)
{
    static const struct {
        const char *list, *names;
    } rows[] = {
        {"nonsense", "'nonsense'"},
        {"locals", "'locals'"},
        {"port=0", "port"},
        {"port=65536", "port"},
        {"cache=7M", "cache"},
        {"cache=lots", "cache"},
        {"cache=99999999T", "cache"},
        {"port=-1", "port"},
        {"port=", "port"},
        {"port", "port"},
        {"port=1x", "port"},
        {"port=99999999999999999999", "port"},
        {"lanes=65", "lanes"},
        {"lease=5m", "lease"},
        {"lease=0", "lease"},
        {"lease=99999999", "lease"},
        {"lease=2,beat=1", "three beats"},
        {"beat=1ms", "beat"},
        {"fence=relative", "fence"},
        {"watchdog=", "watchdog"},
        {"log=somewhere", "log"},
        {"norecovery", "norecovery needs ro"},
        {"remount", "'remount'"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct mount_options options;
        char why[256];
        assert_false(parse(&options, rows[i].list, why));
        assert_non_null(strstr(why, rows[i].names));
    }
}

static void test_long_option(void **state)
{
    struct mount_options options;
    char why[256], list[2000];
    (void)state;
    memset(list, 'x', sizeof(list));
    list[sizeof(list) - 1] = '\0';
    assert_false(parse(&options, list, why));
    memcpy(list, "fence=/", 7);
    list[400] = '\0';
    assert_false(parse(&options, list, why));
}

static void test_text_parses_to_the_same(void **state)
{
    struct mount_options options, again;
    char why[256];
    (void)state;
    TEXT(text, 1024);
    assert_true(parse(
        &options,
        "local,ro,nosuid,lease=9,lanes=2,direct,keep-names,strictatime,log=syslog,fence=/f", why));
    mount_options_to_text(&options, &text);
    assert_true(parse(&again, text.bytes, why));
    assert_memory_equal(&options, &again, sizeof(options));
}

// Any bytes: an answer, no crash.
static void test_garbage(void **state)
{
    static const char alphabet[] = "localport=,9sm/fencewatchdog\\\"' \t\x80\xff-_.";
    struct random random;
    (void)state;
    random_init(&random, 1);
    for (unsigned round = 0; round < 20000; round++) {
        struct mount_options options;
        char list[64], why[256];
        size_t length = random_below(&random, sizeof(list));
        for (size_t i = 0; i < length; i++)
            list[i] = alphabet[random_below(&random, sizeof(alphabet) - 1)];
        list[length] = '\0';
        if (!parse(&options, list, why))
            assert_true(strlen(why) > 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),     cmocka_unit_test(test_all_of_ours),
        cmocka_unit_test(test_generic_ones), cmocka_unit_test(test_refused),
        cmocka_unit_test(test_long_option),  cmocka_unit_test(test_text_parses_to_the_same),
        cmocka_unit_test(test_garbage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
