// SPDX-License-Identifier: Apache-2.0
//
// How long a node stalls in a directory of its own: survivor SECONDS RATE DIRECTORY
//
// RATE times a second (0: as fast as it goes) makes a file, writes 4 KiB, fsyncs, and removes a
// file: the one made KEPT rounds before, so that it is not always the same inode. Ends after
// SECONDS, or on SIGTERM. Prints "rounds longest_ms create_ms write_ms fsync_ms unlink_ms at_ms":
// the longest single call of all, and of each kind, and when the longest round began.
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tests/bench/bench.h"

enum { BLOCK = 4096, KEPT = 100 };

enum call { CREATE, WRITE, FSYNC, UNLINK, CALLS };

static volatile sig_atomic_t is_over;

static void on_signal(int signal)
{
    (void)signal;
    is_over = 1;
}

// Notes how long the call took that began at *begin_ns; the next begins now.
static void note(int64_t *longest_ns, int64_t *begin_ns)
{
    int64_t now_ns = clock_ns();

    if (now_ns - *begin_ns > *longest_ns)
        *longest_ns = now_ns - *begin_ns;
    *begin_ns = now_ns;
}

static void round_run(int directory, long number, int64_t longest_ns[CALLS])
{
    static char block[BLOCK];
    int64_t begin_ns = clock_ns();
    char name[32];
    int file;

    snprintf(name, sizeof(name), "survivor-%ld", number);
    file = openat(directory, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    must(file, name);
    note(&longest_ns[CREATE], &begin_ns);
    must(pwrite(file, block, BLOCK, 0), "write");
    note(&longest_ns[WRITE], &begin_ns);
    must(fsync(file), "fsync");
    note(&longest_ns[FSYNC], &begin_ns);
    close(file);
    if (number < KEPT)
        return;
    snprintf(name, sizeof(name), "survivor-%ld", number - KEPT);
    begin_ns = clock_ns();
    must(unlinkat(directory, name, 0), "unlink");
    note(&longest_ns[UNLINK], &begin_ns);
}

static void pause_until(int64_t at_ns)
{
    struct timespec at = {at_ns / 1000000000, at_ns % 1000000000};

    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL);
}

int main(int argc, char **argv)
{
    int64_t longest_ns[CALLS] = {0}, most_ns = 0, longest_round_ns = 0, longest_at_ns = 0;
    int64_t begin_ns, interval_ns;
    long seconds, rate, rounds = 0;
    int directory;

    if (argc != 4 || (seconds = strtol(argv[1], NULL, 10)) < 1 ||
        (rate = strtol(argv[2], NULL, 10)) < 0) {
        fputs("usage: survivor SECONDS RATE DIRECTORY\n", stderr);
        return 2;
    }
    signal(SIGTERM, on_signal);
    directory = open(argv[3], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    must(directory, argv[3]);
    interval_ns = rate > 0 ? 1000000000 / rate : 0;
    begin_ns = clock_ns();
    for (int64_t at_ns = begin_ns; !is_over && at_ns < begin_ns + seconds * 1000000000;) {
        int64_t round_begin_ns = clock_ns();

        round_run(directory, rounds++, longest_ns);
        if (clock_ns() - round_begin_ns > longest_round_ns) {
            longest_round_ns = clock_ns() - round_begin_ns;
            longest_at_ns = round_begin_ns - begin_ns;
        }
        // What a stall has missed is not made up for.
        at_ns = clock_ns() + interval_ns;
        if (interval_ns > 0)
            pause_until(at_ns);
    }
    for (int i = 0; i < CALLS; i++)
        most_ns = longest_ns[i] > most_ns ? longest_ns[i] : most_ns;
    printf("%ld %.1f", rounds, (double)most_ns / 1e6);
    for (int i = 0; i < CALLS; i++)
        printf(" %.1f", (double)longest_ns[i] / 1e6);
    printf(" %.0f\n", (double)longest_at_ns / 1e6);
    return 0;
}
