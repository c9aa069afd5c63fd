// SPDX-License-Identifier: Apache-2.0
//
// Limits: file sizes and sparse files to 64 TiB, RLIMIT_FSIZE, many links, copy_file_range.
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/posix/workplace.h"

enum { BLOCK = 4096, LINKS = 3000 };

static const off_t terabyte = (off_t)1 << 40;

// ext4 ends at 16 TiB.
static off_t largest_place(void)
{
    return workplace_is_lunfs() ? 64 * terabyte : 15 * terabyte;
}

static void sparse_files(void **state)
{
    off_t places[] = {0, 2 * terabyte - 3, largest_place() / 2, largest_place() - BLOCK};
    int file = MUST(open("file", O_RDWR | O_CREAT | O_CLOEXEC, 0644));
    char buffer[8];
    struct stat attributes;

    (void)state;
    for (int i = 3; i >= 0; i--)
        MUST_MOVE(pwrite(file, "content", 7, places[i]), 7);
    MUST(fstat(file, &attributes));
    assert_int_equal(attributes.st_size, places[3] + 7);
    assert_true(attributes.st_blocks < 8 * 2048); // a MiB around each may be allocated ahead
    for (int i = 0; i < 4; i++) {
        MUST_MOVE(pread(file, buffer, 7, places[i]), 7);
        assert_memory_equal(buffer, "content", 7);
    }
    MUST_MOVE(pread(file, buffer, 7, places[2] - terabyte), 7);
    assert_memory_equal(buffer, "\0\0\0\0\0\0\0", 7);
    assert_int_equal(lseek(file, BLOCK * 1024, SEEK_DATA) / BLOCK, places[1] / BLOCK);
    assert_int_equal(lseek(file, places[2] + BLOCK * 1024, SEEK_DATA), places[3]);
    MUST(ftruncate(file, places[2]));
    MUST(ftruncate(file, largest_place()));
    MUST_MOVE(pread(file, buffer, 7, places[3]), 7);
    assert_memory_equal(buffer, "\0\0\0\0\0\0\0", 7);
    MUST_FAIL(lseek(file, places[2], SEEK_DATA), ENXIO);
    close(file);
}

static void beyond_the_largest(void **state)
{
    const off_t largest = (off_t)1 << 62;
    int file;

    (void)state;
    if (!workplace_is_lunfs())
        skip();
    file = workplace_file("file", "x");
    MUST(ftruncate(file, largest));
    MUST_FAIL(ftruncate(file, largest + 1), EFBIG);
    MUST_FAIL(pwrite(file, "x", 1, largest), EFBIG);
    MUST_MOVE(pwrite(file, "x", 1, largest - 1), 1);
    close(file);
}

// In a child, where the signal and the limit do no harm.
static int limited(int file)
{
    struct rlimit limit = {.rlim_cur = 10000, .rlim_max = 10000};
    char bytes[4096] = "";

    signal(SIGXFSZ, SIG_IGN);
    if (setrlimit(RLIMIT_FSIZE, &limit) < 0)
        return 1;
    if (pwrite(file, bytes, 4096, 8000) != 2000) // up to the limit
        return 2;
    if (pwrite(file, bytes, 1, 10000) != -1 || errno != EFBIG)
        return 3;
    if (ftruncate(file, 10001) != -1 || errno != EFBIG)
        return 4;
    if (fallocate(file, 0, 0, 20000) != -1 || errno != EFBIG)
        return 5;
    if (lseek(file, 0, SEEK_END) != 10000 || fcntl(file, F_SETFL, O_APPEND) < 0)
        return 6;
    if (write(file, "x", 1) != -1 || errno != EFBIG)
        return 7;
    signal(SIGXFSZ, SIG_DFL);
    pwrite(file, bytes, 1, 10000);
    return 8;
}

static void file_size_limit_of_a_process(void **state)
{
    int file = workplace_file("file", "x"), status;
    pid_t child = fork();

    (void)state;
    if (child == 0)
        _exit(limited(file));
    MUST(waitpid(child, &status, 0));
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGXFSZ);
    close(file);
}

static void many_links(void **state)
{
    struct stat attributes;
    char name[64];

    (void)state;
    close(workplace_file("file", "x"));
    for (int i = 1; i < LINKS; i++) {
        snprintf(name, sizeof(name), "link-%d", i);
        MUST(link("file", name));
    }
    MUST(stat("file", &attributes));
    assert_int_equal(attributes.st_nlink, LINKS);
    MUST(unlink("file"));
    MUST(stat("link-1", &attributes));
    assert_int_equal(attributes.st_nlink, LINKS - 1);
}

// A name of 255 bytes in each of many levels: a path far longer than one system call takes.
static void deep_directories(void **state)
{
    enum { LEVELS = 40 };
    char name[256];
    int directory = MUST(open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)), below;

    (void)state;
    memset(name, 'd', 255);
    name[255] = '\0';
    for (int i = 0; i < LEVELS; i++) {
        MUST(mkdirat(directory, name, 0755));
        below = MUST(openat(directory, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        close(directory);
        directory = below;
    }
    close(MUST(openat(directory, "file", O_CREAT | O_WRONLY | O_CLOEXEC, 0644)));
    MUST(unlinkat(directory, "file", 0));
    for (int i = 0; i < LEVELS; i++) {
        below = MUST(openat(directory, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        MUST(unlinkat(below, name, AT_REMOVEDIR));
        close(directory);
        directory = below;
    }
    close(directory);
}

// --- copies made by the kernel or the file system ----------------------------------------------

enum { COPY_BYTES = 5 * 1024 * 1024 + 1234 };

static void fill(char *bytes, size_t size, unsigned seed)
{
    for (size_t i = 0; i < size; i++)
        bytes[i] = (char)((i * 2654435761u + seed) >> 13);
}

static void expect_bytes(int file, const char *expected, size_t size, off_t offset)
{
    char *found = malloc(size);

    MUST_MOVE(pread(file, found, size, offset), size);
    assert_memory_equal(found, expected, size);
    free(found);
}

static void copy_all(int from, off_t from_offset, int to, off_t to_offset, size_t size)
{
    while (size > 0) {
        ssize_t done = MUST(copy_file_range(from, &from_offset, to, &to_offset, size, 0));

        assert_true(done > 0);
        size -= (size_t)done;
    }
}

static void ranges_are_copied(void **state)
{
    char *bytes = malloc(COPY_BYTES);
    int from = MUST(open("from", O_RDWR | O_CREAT | O_CLOEXEC, 0644));
    int to = MUST(open("to", O_RDWR | O_CREAT | O_CLOEXEC, 0644));
    struct stat attributes;
    off_t at = COPY_BYTES, zero = 0;

    (void)state;
    fill(bytes, COPY_BYTES, 1);
    MUST_MOVE(pwrite(from, bytes, COPY_BYTES, 0), COPY_BYTES);
    copy_all(from, 0, to, 0, COPY_BYTES);
    expect_bytes(to, bytes, COPY_BYTES, 0);
    MUST(fstat(to, &attributes));
    assert_int_equal(attributes.st_size, COPY_BYTES);
    copy_all(from, 1000, to, 3 * COPY_BYTES + 7, 1 << 20);
    expect_bytes(to, bytes + 1000, 1 << 20, 3 * COPY_BYTES + 7);
    copy_all(from, 0, from, COPY_BYTES, 4096); // inside a file
    expect_bytes(from, bytes, 4096, COPY_BYTES);
    MUST_FAIL(copy_file_range(from, &zero, from, &(off_t){100}, 4096, 0), EINVAL);
    at += 4096;
    assert_int_equal(MUST(copy_file_range(from, &at, to, &zero, 100, 0)), 0); // behind the end
    // What was copied from is read anew each time.
    fill(bytes, COPY_BYTES, 2);
    MUST_MOVE(pwrite(from, bytes, COPY_BYTES, 0), COPY_BYTES);
    copy_all(from, 0, to, 0, COPY_BYTES);
    expect_bytes(to, bytes, COPY_BYTES, 0);
    close(from);
    close(to);
    free(bytes);
}

static void refused_copies(void **state)
{
    int from = workplace_file("from", "content"), to = workplace_file("to", "");
    int read_only = MUST(open("to", O_RDONLY | O_CLOEXEC));
    int appending = MUST(open("to", O_WRONLY | O_APPEND | O_CLOEXEC));
    int directory = MUST(open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));

    (void)state;
    MUST_FAIL(copy_file_range(from, NULL, read_only, NULL, 1, 0), EBADF);
    MUST_FAIL(copy_file_range(from, NULL, appending, NULL, 1, 0), EBADF);
    MUST_FAIL(copy_file_range(directory, NULL, to, NULL, 1, 0), EISDIR);
    close(from);
    close(to);
    close(read_only);
    close(appending);
    close(directory);
}

static void sendfile_reads_what_is_there(void **state)
{
    enum { ROUNDS = 5 };
    int from = workplace_file("from", "content 0");
    char content[24];

    (void)state;
    for (int i = 0; i < ROUNDS; i++) {
        int to = workplace_file("to", "");
        off_t offset = 0;

        snprintf(content, sizeof(content), "content %d", i);
        MUST_MOVE(pwrite(from, content, 9, 0), 9);
        MUST_MOVE(sendfile(to, from, &offset, 9), 9);
        expect_bytes(to, content, 9, 0);
        close(to);
    }
    close(from);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORKPLACE_TEST(sparse_files),
        WORKPLACE_TEST(beyond_the_largest),
        WORKPLACE_TEST(file_size_limit_of_a_process),
        WORKPLACE_TEST(many_links),
        WORKPLACE_TEST(deep_directories),
        WORKPLACE_TEST(ranges_are_copied),
        WORKPLACE_TEST(refused_copies),
        WORKPLACE_TEST(sendfile_reads_what_is_there),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
