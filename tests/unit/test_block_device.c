// SPDX-License-Identifier: Apache-2.0
// The block devices over a plain file: every operation through both of them, more requests at once
// than the queue is deep, errors, and what opening refuses.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/base/block_device_aio.h"
#include "fs/base/block_device_file.h"
#include "fs/base/random.h"

enum { FILE_BLOCKS = 1024, REQUESTS = 900 };

struct fixture {
    char path[64];
};

static int make_file(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    strcpy(fixture->path, "./test_block_device.XXXXXX");
    int fd = mkstemp(fixture->path);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, (off_t)FILE_BLOCKS * BLOCK_BYTES), 0);
    close(fd);
    *state = fixture;
    return 0;
}

static int remove_file(void **state)
{
    struct fixture *fixture = *state;
    unlink(fixture->path);
    free(fixture);
    return 0;
}

static struct block_device *open_file(const struct fixture *fixture, unsigned flags)
{
    struct block_device *device = NULL;
    assert_int_equal(
        block_device_file_open(fixture->path, flags | BLOCK_DEVICE_ALLOW_BUFFERED, &device), 0);
    return device;
}

static struct block_device *open_aio(const struct fixture *fixture, unsigned flags)
{
    struct block_device *device = NULL;
    assert_int_equal(
        block_device_aio_open(fixture->path, flags | BLOCK_DEVICE_ALLOW_BUFFERED, &device), 0);
    return device;
}

// --- the synchronous device ------------------------------------------------------------------

static void test_file_reads_what_was_written(void **state)
{
    struct block_device *device = open_file(*state, 0);
    uint8_t *out = block_buffer_new(BLOCK_BYTES), *in = block_buffer_new(BLOCK_BYTES);
    memset(out, 0x5a, BLOCK_BYTES);
    assert_int_equal(device->size_bytes, (uint64_t)FILE_BLOCKS * BLOCK_BYTES);
    assert_true(device->has_volatile_cache);
    assert_int_equal(block_device_write(device, NULL, 7 * BLOCK_BYTES, out, BLOCK_BYTES), 0);
    assert_int_equal(block_device_flush(device, NULL), 0);
    assert_int_equal(block_device_read(device, NULL, 7 * BLOCK_BYTES, in, BLOCK_BYTES), 0);
    assert_memory_equal(in, out, BLOCK_BYTES);
    assert_int_equal(block_device_file_written_bytes(device), BLOCK_BYTES);
    free(out);
    free(in);
    block_device_close(device);
}

static void test_file_that_shrank_gives_eio(void **state)
{
    struct fixture *fixture = *state;
    struct block_device *device = open_file(fixture, 0);
    uint8_t *buffer = block_buffer_new(BLOCK_BYTES);
    assert_int_equal(truncate(fixture->path, BLOCK_BYTES), 0);
    assert_int_equal(block_device_read(device, NULL, BLOCK_BYTES, buffer, BLOCK_BYTES), -EIO);
    free(buffer);
    block_device_close(device);
}

static void test_open_refuses(void **state)
{
    struct fixture *fixture = *state;
    struct block_device *device;
    char path[80];
    assert_int_equal(block_device_file_open("./no/such/file", 0, &device), -ENOENT);
    assert_int_equal(block_device_file_open("/", 0, &device), -ENOTBLK);
    assert_int_equal(block_device_file_open("/dev/null", 0, &device), -ENOTBLK);
    snprintf(path, sizeof(path), "%s.fifo", fixture->path);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(block_device_file_open(path, 0, &device), -ENOTBLK);
    unlink(path);
}

// --- the asynchronous device -----------------------------------------------------------------

struct countdown {
    unsigned left;
    int first_error;
};

static void count_completion(struct block_request *request, int result)
{
    struct countdown *countdown = request->context;
    countdown->left--;
    if (result < 0 && countdown->first_error == 0)
        countdown->first_error = result;
}

static void reap_until(struct block_device *device, const unsigned *left)
{
    struct pollfd wait = {.fd = block_device_aio_event_fd(device), .events = POLLIN};
    while (*left > 0) {
        assert_int_equal(poll(&wait, 1, 30000), 1);
        block_device_aio_reap(device);
    }
}

// All at once: more than the kernel's queue holds.
static int transfer_all(struct block_device *device, enum block_operation operation,
                        uint8_t *buffers)
{
    static struct block_request requests[REQUESTS];
    struct countdown countdown = {.left = REQUESTS};
    for (unsigned i = 0; i < REQUESTS; i++) {
        requests[i] = (struct block_request){
            .operation = operation,
            .offset = (uint64_t)i * BLOCK_BYTES,
            .length = BLOCK_BYTES,
            .buffer = buffers + (size_t)i * BLOCK_BYTES,
            .complete = count_completion,
            .context = &countdown,
        };
        block_device_submit(device, &requests[i]);
    }
    reap_until(device, &countdown.left);
    assert_int_equal(block_device_aio_in_flight(device), 0);
    return countdown.first_error;
}

static void check_many(struct fixture *fixture, unsigned flags)
{
    struct block_device *device = open_aio(fixture, flags);
    uint8_t *out = block_buffer_new((size_t)REQUESTS * BLOCK_BYTES);
    uint8_t *in = block_buffer_new((size_t)REQUESTS * BLOCK_BYTES);
    struct random random;
    random_init(&random, 7);
    for (size_t i = 0; i < (size_t)REQUESTS * BLOCK_BYTES; i++)
        out[i] = (uint8_t)random_u64(&random);
    assert_int_equal(transfer_all(device, BLOCK_WRITE, out), 0);
    assert_int_equal(transfer_all(device, BLOCK_READ, in), 0);
    assert_memory_equal(in, out, (size_t)REQUESTS * BLOCK_BYTES);
    free(out);
    free(in);
    block_device_close(device);
}

static void test_aio_serves_more_than_its_depth(void **state)
{
    check_many(*state, 0);
}

static void test_aio_prompt_serves_more_than_its_depth(void **state)
{
    check_many(*state, BLOCK_DEVICE_PROMPT);
}

static int perform(struct block_device *device, enum block_operation operation, uint64_t offset,
                   void *buffer)
{
    struct countdown countdown = {.left = 1};
    struct block_request request = {
        .operation = operation,
        .offset = offset,
        .length = BLOCK_BYTES,
        .buffer = buffer,
        .complete = count_completion,
        .context = &countdown,
    };
    block_device_submit(device, &request);
    reap_until(device, &countdown.left);
    return countdown.first_error;
}

static void test_aio_flush_and_discard(void **state)
{
    struct block_device *device = open_aio(*state, 0);
    uint8_t *buffer = block_buffer_new(BLOCK_BYTES);
    memset(buffer, 1, BLOCK_BYTES);
    assert_int_equal(perform(device, BLOCK_WRITE, 0, buffer), 0);
    assert_int_equal(perform(device, BLOCK_FLUSH, 0, NULL), 0);
    assert_int_equal(perform(device, BLOCK_DISCARD, 0, NULL), 0);
    assert_int_equal(perform(device, BLOCK_READ, 0, buffer), 0);
    free(buffer);
    block_device_close(device);
}

static void test_aio_that_shrank_gives_eio(void **state)
{
    struct fixture *fixture = *state;
    struct block_device *device = open_aio(fixture, 0);
    uint8_t *buffer = block_buffer_new(BLOCK_BYTES);
    assert_int_equal(truncate(fixture->path, 0), 0);
    assert_int_equal(perform(device, BLOCK_READ, 0, buffer), -EIO);
    free(buffer);
    block_device_close(device);
}

struct chain {
    struct block_device *device;
    struct block_request request;
    unsigned left;
};

static void submit_next(struct block_request *request, int result)
{
    struct chain *chain = request->context;
    assert_int_equal(result, 0);
    if (--chain->left > 0)
        block_device_submit(chain->device, request);
}

static void test_aio_request_may_be_submitted_again_when_it_completes(void **state)
{
    struct chain chain = {.device = open_aio(*state, 0), .left = 500};
    chain.request = (struct block_request){
        .operation = BLOCK_READ,
        .length = BLOCK_BYTES,
        .buffer = block_buffer_new(BLOCK_BYTES),
        .complete = submit_next,
        .context = &chain,
    };
    block_device_submit(chain.device, &chain.request);
    reap_until(chain.device, &chain.left);
    free(chain.request.buffer);
    block_device_close(chain.device);
}

#define OVER_FILE(test) cmocka_unit_test_setup_teardown(test, make_file, remove_file)

int main(void)
{
    const struct CMUnitTest tests[] = {
        OVER_FILE(test_file_reads_what_was_written),
        OVER_FILE(test_file_that_shrank_gives_eio),
        OVER_FILE(test_open_refuses),
        OVER_FILE(test_aio_serves_more_than_its_depth),
        OVER_FILE(test_aio_prompt_serves_more_than_its_depth),
        OVER_FILE(test_aio_flush_and_discard),
        OVER_FILE(test_aio_that_shrank_gives_eio),
        OVER_FILE(test_aio_request_may_be_submitted_again_when_it_completes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
