// SPDX-License-Identifier: Apache-2.0
//
// What fsync promised, and whether it was kept: witness write|verify DIRECTORY PROMISES [REST_US]
//
// `write` works in DIRECTORY until it is killed or an operation fails, but waits for space on a
// full volume: it appends numbered records to a few files, with an fsync each and REST_US of rest
// after it, and every so often makes a new file, syncs it and its directory, and deletes an old
// one. PROMISES is a small file elsewhere (not on the volume under test), mapped shared: after each
// fsync that returned, what it promised is noted there, so that the note survives the writer's
// SIGKILL.
//
// `verify` looks at the same directory, through any node: every promised record must be there and
// whole, every promised file must exist, and no file may hold anything but its own records.
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    FILES = 6,
    RECORD_BYTES = 4096,
    SECTOR_BYTES = 512,
    RECORDS_PER_MARK = 8,
    MARKS_KEPT = 10,
    FULL_RETRY_US = 50000,
};

struct promises {
    _Atomic uint64_t records[FILES]; // the file's records 1..n are promised
    _Atomic uint64_t marks; // the newest promised mark; those MARKS_KEPT / 2 before it, too
};

struct record {
    uint64_t file;
    uint64_t number;
    uint64_t words[RECORD_BYTES / 8 - 2];
};
_Static_assert(sizeof(struct record) == RECORD_BYTES, "a record is one block");

struct witness {
    int directory;
    int files[FILES];
    struct promises *promises;
    useconds_t rest_us;
};

static void record_fill(struct record *record, uint64_t file, uint64_t number)
{
    record->file = file;
    record->number = number;
    for (size_t i = 0; i < sizeof(record->words) / 8; i++)
        record->words[i] = (number * 1000003 + file) ^ i;
}

static int say(const char *what, uint64_t number)
{
    int error = errno ? errno : EIO;

    fprintf(stderr, "witness: %s %" PRIu64 ": %s\n", what, number, strerror(error));
    return -error;
}

// Whoever only reads is served by the kernel, which reads ahead for it.
static int witness_open(struct witness *witness, const char *directory, const char *promises,
                        bool writes)
{
    int flags = writes ? O_RDWR | O_CREAT : O_RDONLY;
    int file = open(promises, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    char name[32];

    if (file < 0 || ftruncate(file, sizeof(struct promises)) < 0)
        return say(promises, 0);
    witness->promises =
        mmap(NULL, sizeof(struct promises), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    witness->directory = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (witness->promises == MAP_FAILED || witness->directory < 0)
        return say(directory, 0);
    for (int i = 0; i < FILES; i++) {
        snprintf(name, sizeof(name), "records-%d", i);
        witness->files[i] = openat(witness->directory, name, flags | O_CLOEXEC, 0600);
        if (witness->files[i] < 0 && (writes || errno != ENOENT))
            return say(name, 0);
    }
    return 0;
}

// The files' names must be durable before any record in them is promised.
static int names_promise(const struct witness *witness)
{
    for (int i = 0; i < FILES; i++) {
        if (fsync(witness->files[i]) < 0)
            return say("fsync of records", 0);
    }
    return fsync(witness->directory) < 0 ? say("fsync of the directory", 0) : 0;
}

static int record_write(struct witness *witness, uint64_t file)
{
    uint64_t number = atomic_load(&witness->promises->records[file]) + 1;
    struct record record;

    record_fill(&record, file, number);
    if (pwrite(witness->files[file], &record, sizeof(record),
               (off_t)((number - 1) * RECORD_BYTES)) != RECORD_BYTES)
        return say("write of record", number);
    if (fsync(witness->files[file]) < 0)
        return say("fsync of record", number);
    atomic_store(&witness->promises->records[file], number);
    return 0;
}

static int mark_make(struct witness *witness)
{
    uint64_t number = atomic_load(&witness->promises->marks) + 1;
    char name[32];
    int file;

    snprintf(name, sizeof(name), "mark-%" PRIu64, number);
    file = openat(witness->directory, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (file < 0)
        return say("create of mark", number);
    if (fsync(file) < 0 || close(file) < 0 || fsync(witness->directory) < 0)
        return say("fsync of mark", number);
    atomic_store(&witness->promises->marks, number);
    if (number <= MARKS_KEPT)
        return 0;
    snprintf(name, sizeof(name), "mark-%" PRIu64, number - MARKS_KEPT);
    if (unlinkat(witness->directory, name, 0) < 0 && errno != ENOENT)
        return say("unlink of mark", number - MARKS_KEPT);
    return 0;
}

static int write_on(struct witness *witness)
{
    int result = names_promise(witness);

    for (uint64_t i = 0; result == 0; i++) {
        while ((result = record_write(witness, i % FILES)) == -ENOSPC)
            usleep(FULL_RETRY_US);
        usleep(witness->rest_us);
        if (result < 0 || i % RECORDS_PER_MARK != 0)
            continue;
        while ((result = mark_make(witness)) == -ENOSPC)
            usleep(FULL_RETRY_US);
    }
    return result;
}

// What a record that was not promised may look like: each sector its own or never written.
static bool is_partly_written(const struct record *record, const struct record *wanted, size_t size)
{
    static const uint8_t zero[SECTOR_BYTES];

    for (size_t at = 0; at + SECTOR_BYTES <= size; at += SECTOR_BYTES) {
        const uint8_t *sector = (const uint8_t *)record + at;

        if (memcmp(sector, (const uint8_t *)wanted + at, SECTOR_BYTES) != 0 &&
            memcmp(sector, zero, SECTOR_BYTES) != 0)
            return false;
    }
    return true;
}

// A file may hold more than was promised, but nothing that is not its own, and the promised records
// must be there.
static int file_verify(const struct witness *witness, uint64_t file)
{
    uint64_t promised = atomic_load(&witness->promises->records[file]);
    struct record record, wanted;

    if (witness->files[file] < 0 && promised == 0)
        return 0; // the writer was killed before it made the file
    errno = 0;
    for (uint64_t number = 1;; number++) {
        ssize_t size = pread(witness->files[file], &record, sizeof(record),
                             (off_t)((number - 1) * RECORD_BYTES));

        if (size <= 0 && number > promised)
            return size < 0 ? say("read of record", number) : 0;
        record_fill(&wanted, file, number);
        if (size == RECORD_BYTES && memcmp(&record, &wanted, sizeof(record)) == 0)
            continue;
        if (number <= promised)
            return say("promised, but not there: record", number);
        if (size < 0 || !is_partly_written(&record, &wanted, (size_t)size))
            return say("another's data in record", number);
    }
}

static int marks_verify(const struct witness *witness)
{
    uint64_t newest = atomic_load(&witness->promises->marks);
    uint64_t oldest = newest > MARKS_KEPT / 2 ? newest - MARKS_KEPT / 2 : 1;
    char name[32];

    for (uint64_t number = oldest; number <= newest; number++) {
        snprintf(name, sizeof(name), "mark-%" PRIu64, number);
        if (faccessat(witness->directory, name, F_OK, 0) < 0)
            return say("promised, but not there: mark", number);
    }
    return 0;
}

static int verify(const struct witness *witness)
{
    uint64_t promised = 0;
    int result = marks_verify(witness);

    for (uint64_t file = 0; file < FILES; file++) {
        int of_file = file_verify(witness, file);

        result = result ? result : of_file;
        promised += atomic_load(&witness->promises->records[file]);
    }
    printf("witness: %" PRIu64 " records and %" PRIu64 " marks were promised\n", promised,
           atomic_load(&witness->promises->marks));
    return result;
}

int main(int argc, char **argv)
{
    struct witness witness = {0};
    bool writes = argc >= 4 && strcmp(argv[1], "write") == 0;

    if (!writes && (argc != 4 || strcmp(argv[1], "verify") != 0)) {
        fputs("usage: witness write|verify DIRECTORY PROMISES [REST_US]\n", stderr);
        return 2;
    }
    if (argc > 4)
        witness.rest_us = (useconds_t)atol(argv[4]);
    if (witness_open(&witness, argv[2], argv[3], writes) < 0)
        return 1;
    return (writes ? write_on(&witness) : verify(&witness)) < 0 ? 1 : 0;
}
