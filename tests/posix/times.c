// SPDX-License-Identifier: Apache-2.0
//
// Times: their range, to the nanosecond; birth; when reading moves them.
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "tests/posix/workplace.h"

static struct stat attributes_of(const char *name)
{
    struct stat attributes;

    MUST(lstat(name, &attributes));
    return attributes;
}

static void expect_time(struct timespec found, struct timespec expected)
{
    assert_int_equal(found.tv_sec, expected.tv_sec);
    assert_int_equal(found.tv_nsec, expected.tv_nsec);
}

// Before 1970, behind 2038 and 2106, and where 32 bits end on either side. ext4 ends in 2446.
static void times_have_no_era(void **state)
{
    static const time_t seconds[] = {
        -1, -86400, -2147483647, 2147483647, 2147483648, 4294967295, 4294967296, 9999999999,
    };

    (void)state;
    close(workplace_file("file", "x"));
    MUST(mkdir("directory", 0755));
    MUST(symlink("file", "link"));
    for (size_t i = 0; i < sizeof(seconds) / sizeof(seconds[0]); i++) {
        const struct timespec times[2] = {{seconds[i], 999999999}, {seconds[i], 1}};
        const char *names[] = {"file", "directory", "link"};

        for (size_t j = 0; j < 3; j++) {
            MUST(utimensat(AT_FDCWD, names[j], times, AT_SYMLINK_NOFOLLOW));
            expect_time(attributes_of(names[j]).st_atim, times[0]);
            expect_time(attributes_of(names[j]).st_mtim, times[1]);
        }
    }
}

static void far_times(void **state)
{
    static const time_t seconds[] = {-62135596800, 32503680000,
                                     253402300799}; // years 1, 3000, 9999

    (void)state;
    if (!workplace_is_lunfs())
        skip();
    close(workplace_file("file", "x"));
    for (size_t i = 0; i < sizeof(seconds) / sizeof(seconds[0]); i++) {
        const struct timespec times[2] = {{seconds[i], 5}, {seconds[i], 6}};

        MUST(utimensat(AT_FDCWD, "file", times, 0));
        expect_time(attributes_of("file").st_atim, times[0]);
        expect_time(attributes_of("file").st_mtim, times[1]);
    }
}

static struct statx birth_of(const char *name)
{
    struct statx found;

    MUST(statx(AT_FDCWD, name, AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS | STATX_BTIME, &found));
    return found;
}

// Nothing moves it, not even the settings of the other times. Kernels before 6.6 do not ask.
static void birth_is_kept(void **state)
{
    const struct timespec old[2] = {{1000, 1}, {2000, 2}};
    struct timespec before, after;
    struct statx first, second;

    (void)state;
    MUST(clock_gettime(CLOCK_REALTIME, &before));
    close(workplace_file("file", "x"));
    MUST(clock_gettime(CLOCK_REALTIME, &after));
    first = birth_of("file");
    if ((first.stx_mask & STATX_BTIME) == 0)
        skip();
    assert_in_range(first.stx_btime.tv_sec, before.tv_sec - 1, after.tv_sec);
    MUST(utimensat(AT_FDCWD, "file", old, 0));
    MUST(truncate("file", 100));
    MUST(rename("file", "other"));
    second = birth_of("other");
    assert_int_equal(second.stx_btime.tv_sec, first.stx_btime.tv_sec);
    assert_int_equal(second.stx_btime.tv_nsec, first.stx_btime.tv_nsec);
    assert_int_equal(second.stx_size, 100);
    assert_int_equal(second.stx_atime.tv_sec, 1000);
    assert_int_equal(second.stx_ino, first.stx_ino);
    assert_int_equal(second.stx_mode, S_IFREG | 0644);
}

static void read_a_byte(const char *name)
{
    char byte;
    int file = MUST(open(name, O_RDONLY | O_CLOEXEC));

    MUST_MOVE(read(file, &byte, 1), 1);
    close(file);
}

// relatime: a read moves the time of access if that is not behind the last change. With noatime
// nothing does but utimensat.
static void reading_moves_an_older_time(void **state)
{
    const struct timespec old[2] = {{1000, 0}, {2000, 0}};
    const char *no_access_times = getenv("TEST_NOATIME");
    struct timespec now;
    struct stat before, after;

    (void)state;
    close(workplace_file("file", "content"));
    MUST(utimensat(AT_FDCWD, "file", old, 0));
    before = attributes_of("file");
    read_a_byte("file");
    MUST(clock_gettime(CLOCK_REALTIME, &now));
    after = attributes_of("file");
    if (no_access_times != NULL)
        expect_time(after.st_atim, old[0]);
    else
        assert_in_range(after.st_atim.tv_sec, now.tv_sec - 10, now.tv_sec);
    expect_time(after.st_mtim, old[1]);
    expect_time(after.st_ctim, before.st_ctim);
}

// Further reads do not move it: it is behind the last change by then.
static void a_newer_time_stays(void **state)
{
    const struct timespec future[2] = {{4000000000, 0}, {.tv_nsec = UTIME_OMIT}};

    (void)state;
    close(workplace_file("file", "content"));
    MUST(utimensat(AT_FDCWD, "file", future, 0));
    read_a_byte("file");
    expect_time(attributes_of("file").st_atim, future[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORKPLACE_TEST(times_have_no_era),  WORKPLACE_TEST(far_times),
        WORKPLACE_TEST(birth_is_kept),      WORKPLACE_TEST(reading_moves_an_older_time),
        WORKPLACE_TEST(a_newer_time_stays),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
