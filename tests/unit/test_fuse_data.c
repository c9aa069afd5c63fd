// SPDX-License-Identifier: Apache-2.0
// Data through the front end: what lanes serve alone (I5), and what goes to the core.
#include <fcntl.h>
#include <string.h>

#include "tests/unit/fuse_world.h"

static void read_and_write_lun(void)
{
    uint8_t block[8192];
    int fd = open("lun", O_RDWR);
    EXPECT(fd >= 0);
    fuse_client_check_lun(fd, 0, 4096);
    fuse_client_check_lun(fd, 777, 5000); // neither end on a sector
    fuse_client_check_lun(fd, LUN_BYTES - 100, 100);
    fuse_client_check_lun(fd, 0, 1 << 20);
    EXPECT(pread(fd, block, 4096, LUN_BYTES - 10) == 10);
    EXPECT(pread(fd, block, 4096, LUN_BYTES) == 0);
    EXPECT(pread(fd, block, 4096, LUN_BYTES + 4096) == 0);
    memset(block, 'w', sizeof(block));
    EXPECT(pwrite(fd, block, 8192, 65536) == 8192);
    EXPECT(pread(fd, block, 1, 65535) == 1 && block[0] == fuse_client_lun_byte(65535));
    EXPECT(pread(fd, block, 1, 65536) == 1 && block[0] == 'w');
    EXPECT(close(fd) == 0);
}

static void test_lane_serves_mapped_data(void **state)
{
    (void)state;
    fuse_world_run(read_and_write_lun, NULL);
    // I5: nothing of it went through the core.
    assert_int_equal(world.counters.core_reads, 0);
    assert_int_equal(world.counters.core_writes, 0);
    assert_true(world.counters.lane_reads >= 8);
    assert_true(world.counters.lane_writes >= 1);
    assert_int_equal(world.counters.lane_errors, 0);
}

static void write_what_lanes_may_not(void)
{
    char bytes[600] = {0};
    int fd = open("lun", O_RDWR);
    EXPECT(pwrite(fd, bytes, 100, 512) == 100);       // part of a sector
    EXPECT(pwrite(fd, bytes, 512, LUN_BYTES) == 512); // behind the size
    EXPECT(fcntl(fd, F_SETFL, O_APPEND) == 0);
    EXPECT(write(fd, bytes, 512) == 512);
    close(fd);
    fd = open("lun", O_RDWR | O_DSYNC);
    EXPECT(pwrite(fd, bytes, 512, 0) == 512);
    close(fd);
}

static void test_core_gets_the_rest(void **state)
{
    (void)state;
    fuse_world_run(write_what_lanes_may_not, NULL);
    assert_int_equal(world.counters.core_writes, 4);
    assert_int_equal(world.counters.lane_writes, 0);
    assert_int_equal(world.fake.syncs, 1); // O_DSYNC
}

static void read_without_pass(void)
{
    int fd = open("lun", O_RDONLY);
    fuse_client_check_lun(fd, 4096, 4096);
    close(fd);
}

static void test_revoked_pass_goes_to_core(void **state)
{
    (void)state;
    pass_revoke(&world.fake.files[0].pass, PASS_READ);
    fuse_world_run(read_without_pass, NULL);
    assert_int_equal(world.counters.lane_reads, 0);
    assert_int_equal(world.counters.core_reads, 1);
}

static void test_write_drops_set_id(void **state)
{
    (void)state;
    fuse_world_run(fuse_client_write_as_nobody, NULL);
    assert_int_equal(world.counters.core_writes, 1);
    assert_int_equal(world.counters.lane_writes, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FUSE_TEST(test_lane_serves_mapped_data),
        FUSE_TEST(test_core_gets_the_rest),
        FUSE_TEST(test_revoked_pass_goes_to_core),
        FUSE_TEST(test_write_drops_set_id),
    };
    return fuse_world_run_tests("test_fuse_data", tests);
}
