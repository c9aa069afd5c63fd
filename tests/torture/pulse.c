// SPDX-License-Identifier: Apache-2.0
//
// How long a node's I/O stands still: pulse FILE COUNT
//
// Ten times a second overwrites 4 KiB of FILE, on the volume, with fsync, and makes and removes
// a file beside it, until one of them fails. COUNT, elsewhere, holds the number of rounds so far,
// in decimal. A round that took longer than PAUSE_MS is said on standard output, `END_MS
// LENGTH_MS`, in milliseconds of CLOCK_BOOTTIME.
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { BLOCK = 4096, PERIOD_US = 100000, PAUSE_MS = 250, FULL_RETRY_US = 20000 };

static int64_t clock_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_BOOTTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

// A full volume is no failure.
static int make_and_remove(const char *path)
{
    int made;
    while ((made = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600)) < 0 && errno == ENOSPC)
        usleep(FULL_RETRY_US);
    if (made < 0 || close(made) < 0)
        return -1;
    return unlink(path);
}

static int beat(int file, const char *beside)
{
    static char block[BLOCK];
    memset(block, (int)clock_ms(), sizeof(block));
    if (pwrite(file, block, BLOCK, 0) != BLOCK || fsync(file) < 0)
        return -1;
    return make_and_remove(beside);
}

static int run(int file, int count_file, const char *beside)
{
    char text[32];
    for (uint64_t rounds = 1;; rounds++) {
        int64_t begin_ms = clock_ms();
        if (beat(file, beside) < 0)
            return -1;
        int64_t end_ms = clock_ms();
        if (end_ms - begin_ms > PAUSE_MS)
            printf("%" PRId64 " %" PRId64 "\n", end_ms, end_ms - begin_ms);
        int length = snprintf(text, sizeof(text), "%" PRIu64 "\n", rounds);
        if (pwrite(count_file, text, (size_t)length, 0) != length)
            return -1;
        usleep(PERIOD_US);
    }
}

int main(int argc, char **argv)
{
    char beside[4096];
    if (argc != 3) {
        fputs("usage: pulse FILE COUNT\n", stderr);
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    snprintf(beside, sizeof(beside), "%.4000s.beside", argv[1]);
    int file = open(argv[1], O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    int count = open(argv[2], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (file >= 0 && count >= 0)
        run(file, count, beside);
    perror("pulse");
    return 1;
}
