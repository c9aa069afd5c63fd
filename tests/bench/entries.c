// SPDX-License-Identifier: Apache-2.0
//
// What an entry costs in a large directory and in small ones: entries DIRECTORY COUNT
//
// Fills a directory to COUNT entries but for the last few thousand, then makes these and, in turns
// with them, directories of 1,000 entries; then looks up names at random, in turns, too. Prints
// "create_small create_large lookup_small lookup_large", microseconds an entry, medians of the
// rounds: what else the machine does hits both.
#include <fcntl.h>
#include <stdbool.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/bench/bench.h"

enum { ROUNDS = 9, SMALL = 1000, LOOKUPS = 2000 };

static int open_directory(int parent, const char *name)
{
    must(mkdirat(parent, name, 0755), name);
    int directory = openat(parent, name, O_RDONLY | O_DIRECTORY);
    must(directory, name);
    return directory;
}

static double create(int directory, unsigned first, unsigned count)
{
    char name[32];
    int64_t begin_ns = clock_ns();
    for (unsigned i = first; i < first + count; i++) {
        snprintf(name, sizeof(name), "entry-%08u", i);
        int file = openat(directory, name, O_CREAT | O_EXCL | O_WRONLY, 0644);
        must(file, name);
        close(file);
    }
    return (double)(clock_ns() - begin_ns) / 1000 / count;
}

static double look_up(int directory, unsigned count)
{
    char name[32];
    struct stat status;
    int64_t begin_ns = clock_ns();
    for (unsigned i = 0; i < LOOKUPS; i++) {
        snprintf(name, sizeof(name), "entry-%08u", (unsigned)random() % count);
        must(fstatat(directory, name, &status, 0), name);
    }
    return (double)(clock_ns() - begin_ns) / 1000 / LOOKUPS;
}

static int compare(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;
    return a < b ? -1 : a > b;
}

static double median(double *values)
{
    qsort(values, ROUNDS, sizeof(*values), compare);
    return values[ROUNDS / 2];
}

int main(int argc, char **argv)
{
    unsigned count = argc == 3 ? (unsigned)strtoul(argv[2], NULL, 10) : 0;
    double small[ROUNDS], large[ROUNDS];
    int parent, small_directory = -1;
    if (count < ROUNDS * SMALL) {
        fprintf(stderr, "usage: entries DIRECTORY COUNT (at least %d)\n", ROUNDS * SMALL);
        return 2;
    }
    parent = open(argv[1], O_RDONLY | O_DIRECTORY);
    must(parent, argv[1]);
    int large_directory = open_directory(parent, "large");
    create(large_directory, 0, count - ROUNDS * SMALL);
    for (unsigned i = 0; i < ROUNDS; i++) {
        char name[32];
        snprintf(name, sizeof(name), "small-%u", i);
        if (small_directory >= 0)
            close(small_directory);
        small_directory = open_directory(parent, name);
        small[i] = create(small_directory, 0, SMALL);
        large[i] = create(large_directory, count - (ROUNDS - i) * SMALL, SMALL);
    }
    printf("%.1f %.1f ", median(small), median(large));
    for (unsigned i = 0; i < ROUNDS; i++) {
        small[i] = look_up(small_directory, SMALL);
        large[i] = look_up(large_directory, count);
    }
    printf("%.1f %.1f\n", median(small), median(large));
    return 0;
}
