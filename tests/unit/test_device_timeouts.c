// SPDX-License-Identifier: Apache-2.0
// How long I/O may be on its way: canned tables of multipath, and trees that look like /sys.
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

#include <cmocka.h>

#include "fs/base/device_multipath.h"
#include "fs/base/device_timeouts.h"

// As `dmsetup table` prints them behind "0 <sectors> multipath".
static void test_tables(void **state)
{
    static const struct {
        const char *table;
        bool queues;
    } rows[] = {
        {"0 0 1 1 service-time 0 2 2 8:16 1 1 8:32 1 1 ", false},
        {"0 1 alua 1 1 round-robin 0 1 1 8:16 1000 ", false},
        {"1 queue_if_no_path 1 alua 2 1 service-time 0 1 2 8:16 1 1 service-time 0 1 2 8:32 1 1 ",
         true},
        {"2 queue_if_no_path retain_attached_hw_handler 0 1 1 service-time 0 1 2 8:16 1 1 ", true},
        {"3 pg_init_retries 50 queue_if_no_path 0 1 1 service-time 0 1 2 8:16 1 1 ", true},
        {"1 retain_attached_hw_handler 0 1 1 queue_if_no_path 0 1 2 8:16 1 1 ", false},
        {"2 queue_mode bio 0 1 1 service-time 0 1 2 8:16 1 1 ", false},
        {"1 queue_if_no_path_else 0 0 ", false},
        {"", true},
        {"nonsense", true},
        {"2 alone", true},
        {"99999999999 x", true},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (device_multipath_table_queues(rows[i].table) != rows[i].queues)
            fail_msg("wrong about: %s", rows[i].table);
    }
}

static char sys[] = "/tmp/lunfs-unit-XXXXXX";

// A file of the tree with its folders.
static void put(const char *path, const char *line)
{
    char command[PATH_MAX];
    snprintf(command, sizeof(command), "mkdir -p \"$(dirname %s/%s)\" && echo '%s' > %s/%s", sys,
             path, line, sys, path);
    assert_int_equal(system(command), 0);
}

static void link_to(const char *path, const char *target)
{
    char command[PATH_MAX];
    snprintf(command, sizeof(command), "mkdir -p \"$(dirname %s/%s)\" && ln -s %s/%s %s/%s", sys,
             path, sys, target, sys, path);
    assert_int_equal(system(command), 0);
}

// An iSCSI disk under multipath, as the kernel shows them.
static int setup(void **state)
{
    (void)state;
    strcpy(sys + sizeof(sys) - 7, "XXXXXX");
    assert_non_null(mkdtemp(sys));
    put("devices/host2/session1/target2:0:0/2:0:0:1/timeout", "30");
    put("devices/host2/session1/target2:0:0/2:0:0:1/block/sda/dev", "8:0");
    link_to("devices/host2/session1/target2:0:0/2:0:0:1/block/sda/device",
            "devices/host2/session1/target2:0:0/2:0:0:1");
    link_to("class/block/sda", "devices/host2/session1/target2:0:0/2:0:0:1/block/sda");
    put("class/iscsi_session/session1/recovery_tmo", "120");
    put("devices/virtual/block/dm-0/dev", "253:0");
    put("devices/virtual/block/dm-0/dm/uuid", "mpath-3600");
    link_to("devices/virtual/block/dm-0/slaves/sda",
            "devices/host2/session1/target2:0:0/2:0:0:1/block/sda");
    link_to("class/block/dm-0", "devices/virtual/block/dm-0");
    link_to("dev/block/253:0", "devices/virtual/block/dm-0");
    return 0;
}

static int teardown(void **state)
{
    char command[64];
    (void)state;
    snprintf(command, sizeof(command), "rm -rf %s", sys);
    return system(command);
}

static bool queues_never(dev_t device)
{
    assert_true(device == makedev(253, 0));
    return false;
}

static bool queues_always(dev_t device)
{
    (void)device;
    return true;
}

static struct device_timeouts read_dm(device_queues *queues)
{
    struct device_timeouts timeouts;
    TEXT(layers, 300);
    device_timeouts_read_in(sys, makedev(253, 0), queues, &timeouts, &layers);
    return timeouts;
}

static void test_multipath_that_fails_is_bounded(void **state)
{
    (void)state;
    struct device_timeouts timeouts = read_dm(queues_never);
    assert_true(timeouts.is_bounded);
    assert_int_equal(timeouts.io_max_ms, 150000);
}

static void test_multipath_that_queues_is_not(void **state)
{
    (void)state;
    assert_false(read_dm(queues_always).is_bounded);
}

static void test_queueing_with_an_end_is_bounded(void **state)
{
    (void)state;
    put("module/dm_multipath/parameters/queue_if_no_path_timeout_secs", "60");
    struct device_timeouts timeouts = read_dm(queues_always);
    assert_true(timeouts.is_bounded);
    assert_int_equal(timeouts.io_max_ms, 210000);
}

static void test_recovery_switched_off_is_not_bounded(void **state)
{
    (void)state;
    put("class/iscsi_session/session1/recovery_tmo", "off");
    assert_false(read_dm(queues_never).is_bounded);
}

// No such device: nothing can be read, and that counts as queueing.
static void test_unreadable_queues(void **state)
{
    (void)state;
    assert_true(device_multipath_queues(makedev(253, 1048575)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tables),
        cmocka_unit_test_setup_teardown(test_multipath_that_fails_is_bounded, setup, teardown),
        cmocka_unit_test_setup_teardown(test_multipath_that_queues_is_not, setup, teardown),
        cmocka_unit_test_setup_teardown(test_queueing_with_an_end_is_bounded, setup, teardown),
        cmocka_unit_test_setup_teardown(test_recovery_switched_off_is_not_bounded, setup, teardown),
        cmocka_unit_test(test_unreadable_queues),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
