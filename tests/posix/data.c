// SPDX-License-Identifier: Apache-2.0
//
// Data: reading, writing, sizes, holes, allocation, O_DIRECT, O_APPEND, the fsync family, mmap.
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "tests/posix/workplace.h"

enum { BLOCK = 4096, MODEL_BYTES = 1 << 20, RANDOM_STEPS = 600 };

static off_t size_of(int file)
{
    struct stat attributes;

    MUST(fstat(file, &attributes));
    return attributes.st_size;
}

static int64_t allocated_bytes(int file)
{
    struct stat attributes;

    MUST(fsync(file));
    MUST(fstat(file, &attributes));
    return (int64_t)attributes.st_blocks * 512;
}

// A new file of `count` blocks, each filled with a letter of its own.
static int blocks_file(const char *name, int count)
{
    int file = workplace_file(name, "");
    char block[BLOCK];

    for (int i = 0; i < count; i++) {
        memset(block, 'a' + i % 26, sizeof(block));
        MUST_MOVE(pwrite(file, block, BLOCK, (off_t)i * BLOCK), BLOCK);
    }
    return file;
}

// The block is all `byte`.
static void expect_block(int file, int number, char byte)
{
    char block[BLOCK];

    MUST_MOVE(pread(file, block, BLOCK, (off_t)number * BLOCK), BLOCK);
    assert_int_equal(block[0], byte);
    assert_memory_equal(block, block + 1, BLOCK - 1);
}

static void reads_end_at_the_size(void **state)
{
    int file = workplace_file("file", "0123456789");
    char buffer[32] = "";

    (void)state;
    MUST_MOVE(pread(file, buffer, sizeof(buffer), 4), 6);
    assert_string_equal(buffer, "456789");
    MUST_MOVE(pread(file, buffer, sizeof(buffer), 10), 0);
    MUST_MOVE(pread(file, buffer, sizeof(buffer), 1 << 20), 0);
    MUST_FAIL(pread(file, buffer, 1, -1), EINVAL);
    close(file);
}

static void writes_beyond_the_end_leave_zeros(void **state)
{
    int file = workplace_file("file", "start");
    char buffer[BLOCK], zero[BLOCK] = "";

    (void)state;
    MUST_MOVE(pwrite(file, "end", 3, 5 * BLOCK + 17), 3);
    assert_int_equal(size_of(file), 5 * BLOCK + 20);
    MUST_MOVE(pread(file, buffer, 100, 0), 100);
    assert_memory_equal(buffer, "start\0\0", 7);
    MUST_MOVE(pread(file, buffer, BLOCK, 2 * BLOCK), BLOCK);
    assert_memory_equal(buffer, zero, BLOCK);
    MUST_MOVE(pread(file, buffer, 20, 5 * BLOCK), 20);
    assert_memory_equal(buffer, zero, 17);
    assert_memory_equal(buffer + 17, "end", 3);
    close(file);
}

// Rule 33: what was cut off does not come back when the file grows again.
static void truncate_forgets(void **state)
{
    int file = blocks_file("file", 4);
    char buffer[BLOCK], zero[BLOCK] = "";

    (void)state;
    MUST(ftruncate(file, BLOCK + 100));
    MUST(ftruncate(file, 4 * BLOCK));
    MUST_MOVE(pread(file, buffer, BLOCK, BLOCK), BLOCK);
    assert_int_equal(buffer[99], 'b');
    assert_memory_equal(buffer + 100, zero, BLOCK - 100);
    expect_block(file, 3, 0);
    MUST(ftruncate(file, 10));
    MUST_MOVE(pwrite(file, "x", 1, 20), 1);
    MUST_MOVE(pread(file, buffer, BLOCK, 0), 21);
    assert_memory_equal(buffer, "aaaaaaaaaa\0\0\0\0\0\0\0\0\0\0x", 21);
    MUST_FAIL(ftruncate(file, -1), EINVAL);
    MUST(truncate("file", 0));
    assert_int_equal(size_of(file), 0);
    close(file);
}

static void appends(void **state)
{
    int file, other = workplace_file("file", "");
    char buffer[16] = "";

    (void)state;
    file = MUST(open("file", O_RDWR | O_APPEND | O_CLOEXEC));
    MUST_MOVE(write(file, "one", 3), 3);
    MUST_MOVE(pwrite(other, "two", 3, 3), 3);
    MUST_MOVE(lseek(file, 0, SEEK_SET), 0);
    MUST_MOVE(write(file, "three", 5), 5);
    MUST_MOVE(pread(file, buffer, sizeof(buffer), 0), 11);
    assert_string_equal(buffer, "onetwothree");
    close(file);
    close(other);
}

static void vectors(void **state)
{
    int file = workplace_file("file", "");
    char a[3] = "abc", b[5000], back[5003];
    struct iovec vector[2] = {{a, 3}, {b, sizeof(b)}};

    (void)state;
    memset(b, 'b', sizeof(b));
    MUST_MOVE(pwritev(file, vector, 2, 1), 5003);
    MUST_MOVE(pread(file, back, sizeof(back), 1), 5003);
    assert_memory_equal(back, "abc", 3);
    assert_memory_equal(back + 3, b, sizeof(b));
    close(file);
}

static void direct_io(void **state)
{
    char *buffer = aligned_alloc(BLOCK, 16 * BLOCK);
    int file;

    (void)state;
    assert_non_null(buffer);
    file = MUST(open("file", O_RDWR | O_CREAT | O_DIRECT | O_CLOEXEC, 0600));
    memset(buffer, 'd', 16 * BLOCK);
    MUST_MOVE(pwrite(file, buffer, 16 * BLOCK, 0), 16 * BLOCK);
    MUST_MOVE(pwrite(file, buffer, BLOCK, 40 * BLOCK), BLOCK);
    memset(buffer, 0, 16 * BLOCK);
    MUST_MOVE(pread(file, buffer, 16 * BLOCK, 0), 16 * BLOCK);
    assert_int_equal(buffer[16 * BLOCK - 1], 'd');
    MUST_MOVE(pread(file, buffer, 16 * BLOCK, 30 * BLOCK), 11 * BLOCK);
    assert_int_equal(buffer[0], 0);
    assert_int_equal(buffer[10 * BLOCK], 'd');
    close(file);
    free(buffer);
}

// Small writes into one block from many places: each keeps its neighbours (rule 25).
static void unaligned_writes(void **state)
{
    int file = blocks_file("file", 2);
    char buffer[2 * BLOCK];

    (void)state;
    for (int at = 0; at < 2 * BLOCK; at += 512)
        MUST_MOVE(pwrite(file, "\n", 1, at + 7), 1);
    MUST_MOVE(pwrite(file, "----------", 10, BLOCK - 5), 10);
    MUST_MOVE(pread(file, buffer, sizeof(buffer), 0), 2 * BLOCK);
    for (int at = 0; at < 2 * BLOCK; at++) {
        char wanted = at < BLOCK ? 'a' : 'b';

        if (at >= BLOCK - 5 && at < BLOCK + 5)
            wanted = '-';
        else if (at % 512 == 7)
            wanted = '\n';
        assert_int_equal(buffer[at], wanted);
    }
    close(file);
}

// --- allocation and holes --------------------------------------------------------------------

static void allocate(void **state)
{
    int file = workplace_file("file", "x");

    (void)state;
    MUST(fallocate(file, 0, 0, 64 * BLOCK));
    assert_int_equal(size_of(file), 64 * BLOCK);
    assert_true(allocated_bytes(file) >= 64 * BLOCK);
    expect_block(file, 63, 0);
    MUST(fallocate(file, FALLOC_FL_KEEP_SIZE, 64 * BLOCK, 64 * BLOCK));
    assert_int_equal(size_of(file), 64 * BLOCK);
    assert_true(allocated_bytes(file) >= 128 * BLOCK);
    MUST_MOVE(pwrite(file, "x", 1, 100 * BLOCK), 1);
    expect_block(file, 99, 0);
    MUST_FAIL(fallocate(file, 0, 0, 0), EINVAL);
    MUST_FAIL(fallocate(file, 0, -1, 10), EINVAL);
    MUST_FAIL(fallocate(file, FALLOC_FL_PUNCH_HOLE, 0, BLOCK), EOPNOTSUPP);
    close(file);
}

static void punch(void **state)
{
    int file = blocks_file("file", 16);
    int64_t before = allocated_bytes(file);
    char buffer[BLOCK];

    (void)state;
    MUST(fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4 * BLOCK + 100, 4 * BLOCK));
    assert_int_equal(size_of(file), 16 * BLOCK);
    assert_true(allocated_bytes(file) <= before - 3 * BLOCK);
    MUST_MOVE(pread(file, buffer, BLOCK, 4 * BLOCK), BLOCK);
    assert_int_equal(buffer[99], 'e');
    assert_int_equal(buffer[100], 0);
    expect_block(file, 6, 0);
    MUST_MOVE(pread(file, buffer, BLOCK, 8 * BLOCK), BLOCK);
    assert_int_equal(buffer[99], 0);
    assert_int_equal(buffer[100], 'i');
    MUST(fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 1 << 30));
    assert_int_equal(size_of(file), 16 * BLOCK);
    expect_block(file, 15, 0);
    close(file);
}

static void zero_range(void **state)
{
    int file = blocks_file("file", 8);
    char buffer[BLOCK];

    (void)state;
    MUST(fallocate(file, FALLOC_FL_ZERO_RANGE, BLOCK + 10, 2 * BLOCK));
    MUST_MOVE(pread(file, buffer, BLOCK, BLOCK), BLOCK);
    assert_int_equal(buffer[9], 'b');
    assert_int_equal(buffer[10], 0);
    expect_block(file, 2, 0);
    MUST_MOVE(pread(file, buffer, BLOCK, 3 * BLOCK), BLOCK);
    assert_int_equal(buffer[9], 0);
    assert_int_equal(buffer[10], 'd');
    MUST(fallocate(file, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, 7 * BLOCK, 3 * BLOCK));
    assert_int_equal(size_of(file), 8 * BLOCK);
    MUST(fallocate(file, FALLOC_FL_ZERO_RANGE, 7 * BLOCK, 3 * BLOCK));
    assert_int_equal(size_of(file), 10 * BLOCK);
    close(file);
}

static void holes_are_found(void **state)
{
    int file = workplace_file("file", "");
    char block[BLOCK];

    (void)state;
    memset(block, 'x', sizeof(block));
    MUST(ftruncate(file, 32 * BLOCK));
    MUST_MOVE(pwrite(file, block, BLOCK, 8 * BLOCK), BLOCK);
    MUST_MOVE(pwrite(file, block, BLOCK, 20 * BLOCK), BLOCK);
    MUST(fsync(file));
    assert_int_equal(lseek(file, 0, SEEK_DATA), 8 * BLOCK);
    assert_int_equal(lseek(file, 8 * BLOCK + 5, SEEK_DATA), 8 * BLOCK + 5);
    assert_int_equal(lseek(file, 8 * BLOCK, SEEK_HOLE), 9 * BLOCK);
    assert_int_equal(lseek(file, 9 * BLOCK, SEEK_DATA), 20 * BLOCK);
    assert_int_equal(lseek(file, 0, SEEK_HOLE), 0);
    assert_int_equal(lseek(file, 20 * BLOCK, SEEK_HOLE), 21 * BLOCK);
    MUST_FAIL(lseek(file, 21 * BLOCK, SEEK_DATA), ENXIO);
    MUST_FAIL(lseek(file, 32 * BLOCK, SEEK_HOLE), ENXIO);
    close(file);
}

// A very sparse file: far offsets work, and cost nothing in between.
static void far_offsets(void **state)
{
    const off_t far = (off_t)1 << 42;
    int file = workplace_file("file", "near");
    char buffer[8] = "";

    (void)state;
    MUST_MOVE(pwrite(file, "far", 3, far), 3);
    assert_int_equal(size_of(file), far + 3);
    MUST_MOVE(pread(file, buffer, 3, far), 3);
    assert_string_equal(buffer, "far");
    assert_true(allocated_bytes(file) < 1 << 20);
    close(file);
}

// --- durability, mapping ---------------------------------------------------------------------

static void sync_family(void **state)
{
    int file = workplace_file("file", "x"), directory = MUST(open(".", O_RDONLY | O_DIRECTORY));

    (void)state;
    MUST(fsync(file));
    MUST(fdatasync(file));
    MUST(fsync(directory));
    MUST(syncfs(file));
    close(file);
    file = MUST(open("file", O_RDWR | O_SYNC | O_CLOEXEC));
    MUST_MOVE(pwrite(file, "sync", 4, 0), 4);
    close(file);
    close(directory);
}

static void expect_byte(int file, off_t at, char expected)
{
    char byte = 1;

    assert_int_equal(pread(file, &byte, 1, at), 1);
    assert_int_equal(byte, expected);
}

static void mappings(void **state)
{
    int file = blocks_file("file", 4);
    char *map = mmap(NULL, 4 * BLOCK, PROT_READ, MAP_PRIVATE, file, 0);

    (void)state;
    assert_ptr_not_equal(map, MAP_FAILED);
    assert_int_equal(map[3 * BLOCK], 'd');
    munmap(map, 4 * BLOCK);
    map = mmap(NULL, 4 * BLOCK, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (map == MAP_FAILED && workplace_is_lunfs() && errno == ENODEV) {
        close(file); // Linux before 6.6
        skip();
    }
    assert_ptr_not_equal(map, MAP_FAILED);
    map[BLOCK + 1] = 'x';
    expect_byte(file, BLOCK + 1, 'x');
    assert_int_equal(pwrite(file, "y", 1, BLOCK + 2), 1);
    assert_int_equal(map[BLOCK + 2], 'y');
    assert_int_equal(map[BLOCK + 1], 'x');
    map[2 * BLOCK] = 'z';
    assert_int_equal(msync(map, 4 * BLOCK, MS_SYNC), 0);
    assert_int_equal(ftruncate(file, 2 * BLOCK), 0);
    assert_int_equal(ftruncate(file, 4 * BLOCK), 0);
    assert_int_equal(map[2 * BLOCK], 0);
    map[3 * BLOCK] = 'w';
    munmap(map, 4 * BLOCK);
    expect_byte(file, 3 * BLOCK, 'w');
    expect_byte(file, 2 * BLOCK, 0);
    close(file);
}

// --- everything at once, against a model in memory -------------------------------------------

struct model {
    unsigned char bytes[MODEL_BYTES];
    off_t size;
    uint64_t random;
    unsigned char *map; // MAP_FAILED: the kernel has no shared mappings here
};

static uint64_t next(struct model *model, uint64_t bound)
{
    model->random ^= model->random << 13;
    model->random ^= model->random >> 7;
    model->random ^= model->random << 17;
    return (model->random >> 11) % bound;
}

static void model_write(struct model *model, int file, off_t at, size_t length)
{
    static const off_t align[3] = {1, 512, BLOCK};
    off_t unit = align[next(model, 3)];

    at -= at % unit;
    memset(model->bytes + at, 1 + (int)next(model, 255), length);
    MUST_MOVE(pwrite(file, model->bytes + at, length, at), length);
    if (at + (off_t)length > model->size)
        model->size = at + (off_t)length;
}

static void model_zero(struct model *model, int file, int mode, off_t at, size_t length)
{
    off_t end = at + (off_t)length;

    MUST(fallocate(file, mode | FALLOC_FL_KEEP_SIZE, at, (off_t)length));
    if (end > model->size)
        end = model->size;
    if (at < end)
        memset(model->bytes + at, 0, (size_t)(end - at));
}

static void model_truncate(struct model *model, int file, off_t size)
{
    MUST(ftruncate(file, size));
    if (size < model->size)
        memset(model->bytes + size, 0, (size_t)(model->size - size));
    model->size = size;
}

// Through a mapping, inside the file.
static void model_store(struct model *model, off_t at, size_t length)
{
    off_t end = at + (off_t)length < model->size ? at + (off_t)length : model->size;

    if (model->map == MAP_FAILED || at >= end)
        return;
    memset(model->bytes + at, 1 + (int)next(model, 255), (size_t)(end - at));
    memcpy(model->map + at, model->bytes + at, (size_t)(end - at));
}

static void model_step(struct model *model, int file)
{
    off_t at = (off_t)next(model, MODEL_BYTES / 2);
    size_t length = 1 + next(model, next(model, 4) ? 6000 : 200000);

    switch (next(model, 10)) {
    case 8:
    case 9:
        model_store(model, at, length);
        break;
    case 0:
        model_truncate(model, file, at);
        break;
    case 1:
        model_zero(model, file, FALLOC_FL_PUNCH_HOLE, at, length);
        break;
    case 2:
        model_zero(model, file, FALLOC_FL_ZERO_RANGE, at, length);
        break;
    case 3:
        MUST(fallocate(file, FALLOC_FL_KEEP_SIZE, at, (off_t)length));
        break;
    default:
        model_write(model, file, at, length);
    }
}

static void random_operations(void **state)
{
    struct model *model = calloc(1, sizeof(*model));
    unsigned char *seen = malloc(MODEL_BYTES);
    const char *seed = getenv("SEED");
    int file = workplace_file("file", "");

    (void)state;
    model->map = mmap(NULL, MODEL_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    model->random = (seed ? strtoull(seed, NULL, 10) : 1) * UINT64_C(0x9E3779B97F4A7C15) + 1;
    print_message("# random_operations: seed %s\n", seed ? seed : "1");
    for (int step = 0; step < RANDOM_STEPS; step++) {
        model_step(model, file);
        MUST_MOVE(pread(file, seen, MODEL_BYTES, 0), model->size);
        assert_memory_equal(seen, model->bytes, (size_t)model->size);
        if (model->map != MAP_FAILED)
            assert_memory_equal(model->map, model->bytes, (size_t)model->size);
    }
    if (model->map != MAP_FAILED)
        munmap(model->map, MODEL_BYTES);
    close(file);
    free(seen);
    free(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORKPLACE_TEST(reads_end_at_the_size),
        WORKPLACE_TEST(writes_beyond_the_end_leave_zeros),
        WORKPLACE_TEST(truncate_forgets),
        WORKPLACE_TEST(appends),
        WORKPLACE_TEST(vectors),
        WORKPLACE_TEST(direct_io),
        WORKPLACE_TEST(unaligned_writes),
        WORKPLACE_TEST(allocate),
        WORKPLACE_TEST(punch),
        WORKPLACE_TEST(zero_range),
        WORKPLACE_TEST(holes_are_found),
        WORKPLACE_TEST(far_offsets),
        WORKPLACE_TEST(sync_family),
        WORKPLACE_TEST(mappings),
        WORKPLACE_TEST(random_operations),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
