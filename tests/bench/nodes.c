// SPDX-License-Identifier: Apache-2.0
//
// What it costs that another node had it last: nodes VERB AMOUNT DIRECTORY...
//
// Each DIRECTORY is one directory as another node sees it. Verbs; AMOUNT is rounds or seconds:
//
//   write-read    the first writes 4 KiB of a file, the second reads them        rounds, two nodes
//   write-write   both write the same 4 KiB in turn                              rounds, two nodes
//   create-stat   the first creates a file, the second stats it                  rounds, two nodes
//   append        both append 4 KiB to one file in turn                          rounds, two nodes
//   lock          a lock on a file that nobody has locked yet                    rounds, one node
//   create        every node creates files in its directory, all at once         seconds
//   stat          the first makes AMOUNT files, the second stats them all        files, two nodes
//   round-trip    attributes of the directory itself, one after the other        seconds, one node
//
// Prints "median_us p99_us" of a hand-off for the first four, of a lock the percentiles 17, 50, 67
// and 99 (see lock_rows in bench), "rate" a second for the last three.
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/bench/bench.h"

enum { BLOCK = 4096, NODES_MAX = 8 };

struct bench {
    long amount;
    unsigned count;
    int directories[NODES_MAX];
    int64_t *samples_ns; // amount of them
    void *buffer;        // BLOCK bytes, aligned
};

static int by_value(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

static void sort_samples(struct bench *bench)
{
    qsort(bench->samples_ns, (size_t)bench->amount, sizeof(int64_t), by_value);
}

// Of sorted samples, in microseconds.
static double percentile(const struct bench *bench, unsigned percent)
{
    return (double)bench->samples_ns[(size_t)bench->amount * percent / 100] / 1000;
}

static void print_samples(struct bench *bench)
{
    sort_samples(bench);
    printf("%.1f %.1f\n", percentile(bench, 50), percentile(bench, 99));
}

static int open_on(const struct bench *bench, unsigned node, const char *name, int flags)
{
    int file = openat(bench->directories[node], name, flags | O_CREAT | O_CLOEXEC, 0600);

    must(file, name);
    return file;
}

// --- hand-offs -------------------------------------------------------------------------------

static void write_read(struct bench *bench)
{
    int a = open_on(bench, 0, "write-read", O_RDWR), b = open_on(bench, 1, "write-read", O_RDWR);

    for (long i = 0; i < bench->amount; i++) {
        int64_t begin_ns = clock_ns();

        memset(bench->buffer, (int)i, BLOCK);
        must(pwrite(a, bench->buffer, BLOCK, 0), "write");
        must(pread(b, bench->buffer, BLOCK, 0), "read");
        bench->samples_ns[i] = clock_ns() - begin_ns;
    }
    print_samples(bench);
}

static void write_write(struct bench *bench)
{
    int files[2] = {open_on(bench, 0, "write-write", O_RDWR),
                    open_on(bench, 1, "write-write", O_RDWR)};

    must(pwrite(files[0], bench->buffer, BLOCK, 0), "write");
    for (long i = 0; i < bench->amount; i++) {
        int64_t begin_ns = clock_ns();

        must(pwrite(files[(i + 1) & 1], bench->buffer, BLOCK, 0), "write");
        bench->samples_ns[i] = clock_ns() - begin_ns;
    }
    print_samples(bench);
}

static void create_stat(struct bench *bench)
{
    struct stat attributes;
    char name[40];

    for (long i = 0; i < bench->amount; i++) {
        int64_t begin_ns = clock_ns();

        snprintf(name, sizeof(name), "create-stat-%ld", i);
        close(open_on(bench, 0, name, O_WRONLY | O_EXCL));
        must(fstatat(bench->directories[1], name, &attributes, 0), name);
        bench->samples_ns[i] = clock_ns() - begin_ns;
    }
    print_samples(bench);
}

static void append(struct bench *bench)
{
    int files[2] = {open_on(bench, 0, "append", O_WRONLY | O_APPEND),
                    open_on(bench, 1, "append", O_WRONLY | O_APPEND)};

    for (long i = 0; i < bench->amount; i++) {
        int64_t begin_ns = clock_ns();

        must(write(files[i & 1], bench->buffer, BLOCK), "append");
        bench->samples_ns[i] = clock_ns() - begin_ns;
    }
    print_samples(bench);
}

static void lock(struct bench *bench)
{
    struct flock request = {.l_whence = SEEK_SET};
    char name[32];

    for (long i = 0; i < bench->amount; i++) {
        int64_t begin_ns;
        int file;

        snprintf(name, sizeof(name), "lock-%ld", i);
        file = open_on(bench, 0, name, O_RDWR);
        begin_ns = clock_ns();
        request.l_type = F_WRLCK;
        must(fcntl(file, F_OFD_SETLK, &request), "lock");
        bench->samples_ns[i] = clock_ns() - begin_ns;
        close(file);
    }
    sort_samples(bench);
    printf("%.1f %.1f %.1f %.1f\n", percentile(bench, 17), percentile(bench, 50),
           percentile(bench, 67), percentile(bench, 99));
}

// --- rates -----------------------------------------------------------------------------------

struct creator {
    const struct bench *bench;
    unsigned node;
    long created;
    pthread_t thread;
};

static void *creator_run(void *argument)
{
    struct creator *self = argument;
    int64_t end_ns = clock_ns() + self->bench->amount * 1000000000;
    char name[48];

    while (clock_ns() < end_ns) {
        snprintf(name, sizeof(name), "created-%u-%ld", self->node, self->created++);
        close(open_on(self->bench, self->node, name, O_WRONLY | O_EXCL));
    }
    return NULL;
}

static void create(struct bench *bench)
{
    struct creator creators[NODES_MAX];
    long created = 0;

    for (unsigned i = 0; i < bench->count; i++) {
        creators[i] = (struct creator){.bench = bench, .node = i};
        errno = pthread_create(&creators[i].thread, NULL, creator_run, &creators[i]);
        must(-errno, "thread");
    }
    for (unsigned i = 0; i < bench->count; i++) {
        pthread_join(creators[i].thread, NULL);
        created += creators[i].created;
    }
    printf("%.0f\n", (double)created / (double)bench->amount);
}

static void stat_others(struct bench *bench)
{
    struct stat attributes;
    char name[32];
    int64_t begin_ns;

    for (long i = 0; i < bench->amount; i++) {
        snprintf(name, sizeof(name), "stat-%ld", i);
        close(open_on(bench, 0, name, O_WRONLY | O_EXCL));
    }
    begin_ns = clock_ns();
    for (long i = 0; i < bench->amount; i++) {
        snprintf(name, sizeof(name), "stat-%ld", i);
        must(fstatat(bench->directories[1], name, &attributes, 0), name);
    }
    printf("%.0f\n", (double)bench->amount * 1e9 / (double)(clock_ns() - begin_ns));
}

// Nothing of it is cached by the null file system: what one question and its answer cost.
static void round_trip(struct bench *bench)
{
    struct stat attributes;
    long count = 0;
    int64_t begin_ns = clock_ns(), end_ns = begin_ns + bench->amount * 1000000000;

    for (; clock_ns() < end_ns; count++)
        must(fstat(bench->directories[0], &attributes), "stat");
    printf("%.0f\n", (double)count * 1e9 / (double)(clock_ns() - begin_ns));
}

static const struct verb {
    const char *name;
    unsigned nodes_min;
    void (*run)(struct bench *bench);
} verbs[] = {
    {"write-read", 2, write_read},
    {"write-write", 2, write_write},
    {"create-stat", 2, create_stat},
    {"append", 2, append},
    {"lock", 1, lock},
    {"create", 1, create},
    {"stat", 2, stat_others},
    {"round-trip", 1, round_trip},
};

static const struct verb *verb_find(const char *name)
{
    for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
        if (strcmp(verbs[i].name, name) == 0)
            return &verbs[i];
    }
    return NULL;
}

int main(int argc, char **argv)
{
    struct bench bench = {.count = argc > 3 ? (unsigned)argc - 3 : 0};
    const struct verb *verb = argc > 3 ? verb_find(argv[1]) : NULL;

    if (!verb || bench.count < verb->nodes_min || bench.count > NODES_MAX ||
        (bench.amount = strtol(argv[2], NULL, 10)) < 1) {
        fputs("usage: nodes VERB AMOUNT DIRECTORY...\n", stderr);
        return 2;
    }
    bench.samples_ns = calloc((size_t)bench.amount, sizeof(int64_t));
    bench.buffer = aligned_alloc(BLOCK, BLOCK);
    if (!bench.samples_ns || !bench.buffer)
        return 1;
    memset(bench.buffer, 'b', BLOCK);
    for (unsigned i = 0; i < bench.count; i++) {
        bench.directories[i] = open(argv[3 + i], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        must(bench.directories[i], argv[3 + i]);
    }
    verb->run(&bench);
    free(bench.samples_ns);
    free(bench.buffer);
    return 0;
}
