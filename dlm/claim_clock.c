// SPDX-License-Identifier: Apache-2.0
// The worlds in which a claim is taken: a plain program's, and that of a coroutine.
#include <errno.h>
#include <time.h>

#include "dlm/claim.h"
#include "fs/base/environment.h"

// --- a plain program -------------------------------------------------------------------------

static uint64_t system_boot_ns(void *context)
{
    struct timespec now;
    (void)context;
    clock_gettime(CLOCK_BOOTTIME, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static int64_t system_wall_ns(void *context)
{
    struct timespec now;
    (void)context;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void system_wait_ns(void *context, uint64_t ns)
{
    struct timespec left = {.tv_sec = (time_t)(ns / 1000000000u),
                            .tv_nsec = (long)(ns % 1000000000u)};
    (void)context;
    while (nanosleep(&left, &left) != 0 && errno == EINTR)
        continue;
}

struct claim_clock claim_clock_system(void)
{
    return (struct claim_clock){
        .boot_ns = system_boot_ns, .wall_ns = system_wall_ns, .wait_ns = system_wait_ns};
}

// --- a coroutine -----------------------------------------------------------------------------

static uint64_t environment_clock_boot_ns(void *context)
{
    return environment_boot_ns(context);
}

static int64_t environment_clock_wall_ns(void *context)
{
    return environment_wall_ns(context);
}

static void environment_clock_wait_ns(void *context, uint64_t ns)
{
    environment_sleep(context, ns);
}

struct claim_clock claim_clock_environment(struct environment *environment)
{
    return (struct claim_clock){.boot_ns = environment_clock_boot_ns,
                                .wall_ns = environment_clock_wall_ns,
                                .wait_ns = environment_clock_wait_ns,
                                .context = environment};
}
