// SPDX-License-Identifier: Apache-2.0
#include "tests/cluster/fight.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static atomic_bool failed;
static _Atomic int64_t end_ms, longest_ms;
static _Atomic long operations;

void expect(bool condition, const char *what, long round)
{
    if (condition)
        return;
    fprintf(stderr, "round %ld: %s (%s)\n", round, what, strerror(errno));
    atomic_store(&failed, true);
}

bool has_failed(void)
{
    return atomic_load(&failed);
}

void must(long result, const char *what)
{
    if (result >= 0)
        return;
    fprintf(stderr, "%s: %s\n", what, strerror(errno));
    exit(1);
}

int64_t clock_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void fight_begin(long seconds)
{
    atomic_store(&end_ms, clock_ms() + seconds * 1000);
}

bool fight_goes_on(void)
{
    return clock_ms() < atomic_load(&end_ms) && !has_failed();
}

void fight_done(int64_t begin_ms)
{
    int64_t took_ms = clock_ms() - begin_ms, longest = atomic_load(&longest_ms);

    atomic_fetch_add(&operations, 1);
    while (took_ms > longest && !atomic_compare_exchange_weak(&longest_ms, &longest, took_ms)) {
    }
}

long fight_operations(void)
{
    return atomic_load(&operations);
}

long fight_longest_ms(void)
{
    expect(atomic_load(&longest_ms) <= FIGHT_LONGEST_MS, "an operation took too long", 0);
    return (long)atomic_load(&longest_ms);
}
