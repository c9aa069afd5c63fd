// SPDX-License-Identifier: Apache-2.0
//
// Byte-range locks under fire: lock_load FILE ID
//
// FILE, shared by all nodes, has RECORDS records. Again and again locks one of them, or a few that
// follow each other, writes ID and a number there, waits a moment, and reads them back: nobody else
// can have written there meanwhile. Ends when an operation fails (1), or when the record is not its
// own (3), which it says.
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/base/random.h"

enum { RECORDS = 12, RECORD_BYTES = 4096, RUN_MAX = 3, HOLD_US = 10000, STRANGER = 3 };

struct record {
    uint64_t id, number;
    uint8_t rest[RECORD_BYTES - 16];
};

static int set_lock(int file, short type, uint64_t first, uint64_t count)
{
    struct flock lock = {
        .l_type = type,
        .l_whence = SEEK_SET,
        .l_start = (off_t)(first * RECORD_BYTES),
        .l_len = (off_t)(count * RECORD_BYTES),
    };
    return fcntl(file, F_OFD_SETLKW, &lock);
}

static int write_record(int file, uint64_t at, uint64_t id, uint64_t number)
{
    struct record record = {.id = id, .number = number};
    ssize_t done;
    while ((done = pwrite(file, &record, sizeof(record), (off_t)(at * RECORD_BYTES))) < 0 &&
           errno == ENOSPC)
        usleep(HOLD_US);
    return done == sizeof(record) ? 0 : -1;
}

// 0, -1, or STRANGER.
static int read_record(int file, uint64_t at, uint64_t id, uint64_t number)
{
    struct record record;
    if (pread(file, &record, sizeof(record), (off_t)(at * RECORD_BYTES)) != sizeof(record))
        return -1;
    if (record.id == id && record.number == number)
        return 0;
    printf("record %" PRIu64 ", locked by %" PRIu64 ": %" PRIu64 " wrote %" PRIu64
           " into it, expected %" PRIu64 "\n",
           at, id, record.id, record.number, number);
    return STRANGER;
}

static int use(int file, uint64_t first, uint64_t count, uint64_t id, uint64_t number)
{
    int result = 0;
    for (uint64_t i = 0; result == 0 && i < count; i++)
        result = write_record(file, first + i, id, number);
    usleep(HOLD_US);
    for (uint64_t i = 0; result == 0 && i < count; i++)
        result = read_record(file, first + i, id, number);
    return result;
}

static int run(int file, uint64_t id)
{
    struct random random;
    int result = 0;
    random_init(&random, id);
    for (uint64_t number = 1; result == 0; number++) {
        uint64_t first = random_below(&random, RECORDS);
        uint64_t count = 1 + random_below(&random, RUN_MAX);
        result = set_lock(file, F_WRLCK, first, count);
        if (result == 0)
            result = use(file, first, count, id, number);
        if (result == 0)
            result = set_lock(file, F_UNLCK, first, count);
    }
    return result;
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fputs("usage: lock_load FILE ID\n", stderr);
        return 2;
    }
    int file = open(argv[1], O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    int result = file < 0 ? -1 : run(file, strtoull(argv[2], NULL, 10));
    if (result < 0)
        perror("lock_load");
    return result == STRANGER ? STRANGER : 1;
}
