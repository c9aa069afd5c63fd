// SPDX-License-Identifier: Apache-2.0
//
// When may another node write a file: open_for_write SECONDS FILE
//
// Opens FILE for writing and takes a lock on all of it, as a program that is about to run a virtual
// machine from it would, trying again every 10 ms for SECONDS. On success prints the milliseconds
// it took. Exit: 0 it has the file, 1 it has not.
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static int64_t clock_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_BOOTTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

// 0, or -errno of the call that failed; the descriptor closes with the process.
static int try_once(const char *path)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    int file = open(path, O_RDWR | O_CLOEXEC);

    if (file < 0)
        return -errno;
    if (fcntl(file, F_OFD_SETLK, &lock) == 0)
        return 0;
    close(file);
    return -errno;
}

int main(int argc, char **argv)
{
    const struct timespec pause = {.tv_nsec = 10 * 1000000};
    int64_t begin_ms = clock_ms(), end_ms;
    int result;

    if (argc != 3) {
        fputs("usage: open_for_write SECONDS FILE\n", stderr);
        return 2;
    }
    end_ms = begin_ms + strtol(argv[1], NULL, 10) * 1000;
    while ((result = try_once(argv[2])) != 0 && clock_ms() < end_ms)
        nanosleep(&pause, NULL);
    if (result != 0) {
        fprintf(stderr, "open_for_write: %s: %s\n", argv[2], strerror(-result));
        return 1;
    }
    printf("%lld\n", (long long)(clock_ms() - begin_ms));
    return 0;
}
