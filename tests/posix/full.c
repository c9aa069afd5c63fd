// SPDX-License-Identifier: Apache-2.0
//
// A full volume: ENOSPC, never half an operation; what is there stays good; deleting works.
// TEST_DIRECTORY must be on a small volume (some hundred MiB) that nothing else uses.
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "tests/posix/workplace.h"

enum { CHUNK = 1 << 20, BLOCK = 4096, ROOM_FOR_NAMES = 4 << 20, FILES_MAX = 1 << 20 };

static uint64_t free_bytes(void)
{
    struct statvfs fs;

    MUST(statvfs(".", &fs));
    return (uint64_t)fs.f_bavail * fs.f_frsize;
}

// Appends to the file until nothing fits any more, ever smaller pieces; returns its size.
static off_t fill(int file)
{
    static const size_t pieces[] = {CHUNK, 64 << 10, BLOCK};
    char *chunk = malloc(CHUNK);
    off_t at = 0;

    memset(chunk, 'f', CHUNK);
    for (size_t i = 0; i < 3; i++) {
        for (;;) {
            ssize_t done = pwrite(file, chunk, pieces[i], at);

            if (done <= 0) {
                assert_int_equal(errno, ENOSPC);
                break;
            }
            at += done;
        }
    }
    free(chunk);
    return at;
}

static void a_full_volume_says_so(void **state)
{
    int keep = workplace_file("keep", "precious"), file = workplace_file("fill", "");
    struct stat attributes;
    char buffer[16] = "";
    off_t size = fill(file);

    (void)state;
    MUST(fstat(file, &attributes));
    assert_int_equal(attributes.st_size, size);
    MUST_FAIL(fallocate(keep, 0, 0, 64 << 20), ENOSPC);
    MUST(fstat(keep, &attributes));
    if (workplace_is_lunfs()) // ext4 does half of it
        assert_int_equal(attributes.st_size, 8);
    MUST_MOVE(pread(keep, buffer, 8, 0), 8);
    assert_string_equal(buffer, "precious");
    // In place there is room for ever.
    MUST_MOVE(pwrite(keep, "PRECIOUS", 8, 0), 8);
    MUST_MOVE(pwrite(file, "overwritten", 11, 0), 11);
    MUST(fsync(keep));
    MUST(fsync(file));
    close(keep);
    close(file);
}

static void deleting_makes_room(void **state)
{
    int file = workplace_file("fill", "");
    uint64_t before;

    (void)state;
    fill(file);
    MUST(fsync(file));
    before = free_bytes();
    MUST(ftruncate(file, 64 << 20));
    MUST(fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 32 << 20));
    close(file);
    MUST(unlink("fill"));
    MUST(mkdir("room", 0700));
    file = workplace_file("room/new", "fits again");
    MUST(fallocate(file, 0, 0, 16 << 20));
    MUST(fsync(file));
    assert_true(free_bytes() > before);
    close(file);
}

// Names until nothing fits, in the little room that is left: each one is there or is not, and all
// can be removed.
static void a_full_directory_is_whole(void **state)
{
    int file = workplace_file("fill", ""), made;
    char name[64];

    (void)state;
    MUST(ftruncate(file, fill(file) - ROOM_FOR_NAMES));
    for (made = 0; made < FILES_MAX; made++) {
        int new_file;

        snprintf(name, sizeof(name), "a-name-that-takes-some-room-%d", made);
        new_file = open(name, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
        if (new_file < 0)
            break;
        close(new_file);
    }
    assert_int_equal(errno, ENOSPC);
    assert_true(made > 0);
    MUST_FAIL(access(name, F_OK), ENOENT);
    print_message("# %d names fitted\n", made);
    for (int i = 0; i < made; i++) {
        snprintf(name, sizeof(name), "a-name-that-takes-some-room-%d", i);
        MUST(unlink(name));
    }
    close(file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORKPLACE_TEST(a_full_volume_says_so),
        WORKPLACE_TEST(deleting_makes_room),
        WORKPLACE_TEST(a_full_directory_is_whole),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
