// SPDX-License-Identifier: Apache-2.0
#include "fs/base/environment_tool.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/queue.h>
#include <sys/random.h>
#include <time.h>

#include "fs/base/check.h"
#include "fs/base/coroutine.h"
#include "fs/base/memory.h"

struct armed_timer {
    struct environment_timer *timer; // its `implementation` points back here
    uint64_t at_boot_ns;
    LIST_ENTRY(armed_timer) link;
};

struct environment_tool {
    struct environment environment;              // first: an environment is its tool
    LIST_HEAD(armed_timers, armed_timer) timers; // a handful, in no order
};

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec now;
    CHECK(clock_gettime(clock, &now) == 0);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static uint64_t tool_boot_ns(struct environment *environment)
{
    (void)environment;
    return clock_ns(CLOCK_BOOTTIME);
}

static int64_t tool_wall_ns(struct environment *environment)
{
    (void)environment;
    return (int64_t)clock_ns(CLOCK_REALTIME);
}

static uint64_t tool_random_u64(struct environment *environment)
{
    (void)environment;
    uint64_t value;
    ssize_t got;
    do {
        got = getrandom(&value, sizeof(value), 0);
    } while (got < 0 && errno == EINTR);
    CHECK(got == sizeof(value));
    return value;
}

static void forget(struct armed_timer *armed)
{
    armed->timer->implementation = NULL;
    LIST_REMOVE(armed, link);
    free(armed);
}

static void tool_timer_disarm(struct environment *environment, struct environment_timer *timer)
{
    (void)environment;
    if (timer->implementation != NULL)
        forget(timer->implementation);
}

static void tool_timer_arm(struct environment *environment, struct environment_timer *timer,
                           uint64_t at_boot_ns)
{
    struct environment_tool *tool = (struct environment_tool *)environment;
    struct armed_timer *armed = timer->implementation;
    if (armed == NULL) {
        armed = calloc(1, sizeof(*armed));
        CHECK(armed != NULL);
        armed->timer = timer;
        timer->implementation = armed;
        LIST_INSERT_HEAD(&tool->timers, armed, link);
    }
    armed->at_boot_ns = at_boot_ns;
}

static const struct environment_operations tool_operations = {
    .boot_ns = tool_boot_ns,
    .wall_ns = tool_wall_ns,
    .random_u64 = tool_random_u64,
    .timer_arm = tool_timer_arm,
    .timer_disarm = tool_timer_disarm,
};

struct environment *environment_tool_new(void)
{
    struct environment_tool *tool = memory_new(sizeof(*tool));
    tool->environment.operations = &tool_operations;
    tool->environment.scheduler = scheduler_new();
    LIST_INIT(&tool->timers);
    return &tool->environment;
}

void environment_tool_free(struct environment *environment)
{
    struct environment_tool *tool = (struct environment_tool *)environment;
    CHECK(LIST_EMPTY(&tool->timers));
    scheduler_free(environment->scheduler);
    free(tool);
}

// --- running ---------------------------------------------------------------------------------

static struct armed_timer *next_timer(const struct environment_tool *tool)
{
    struct armed_timer *armed, *next = NULL;
    LIST_FOREACH (armed, &tool->timers, link) {
        if (next == NULL || armed->at_boot_ns < next->at_boot_ns)
            next = armed;
    }
    return next;
}

// Only those due on entry: one that arms itself for at once does not keep us here.
static void fire_due(struct environment_tool *tool)
{
    uint64_t now = clock_ns(CLOCK_BOOTTIME);
    struct armed_timer *armed;
    while ((armed = next_timer(tool)) != NULL && armed->at_boot_ns <= now) {
        struct environment_timer *timer = armed->timer;
        forget(armed);
        timer->fire(timer);
        if (timer->implementation != NULL &&
            ((struct armed_timer *)timer->implementation)->at_boot_ns <= now)
            return;
    }
}

// CLOCK_BOOTTIME cannot be slept on everywhere, so sleep for the difference.
static void sleep_until(uint64_t at_boot_ns)
{
    uint64_t now = clock_ns(CLOCK_BOOTTIME);
    if (at_boot_ns <= now)
        return;
    uint64_t ns = at_boot_ns - now;
    struct timespec wait = {.tv_sec = (time_t)(ns / 1000000000u),
                            .tv_nsec = (long)(ns % 1000000000u)};
    nanosleep(&wait, NULL); // woken early by a signal, the caller looks at the clock again
}

struct main_coroutine {
    int (*function)(void *argument);
    void *argument;
    int result;
    bool is_done;
};

static void run_main(void *argument)
{
    struct main_coroutine *self = argument;
    self->result = self->function(self->argument);
    self->is_done = true;
}

int environment_tool_run(struct environment *environment, int (*function)(void *argument),
                         void *argument)
{
    struct environment_tool *tool = (struct environment_tool *)environment;
    struct main_coroutine self = {.function = function, .argument = argument};
    coroutine_start(environment->scheduler, "tool", run_main, &self);
    scheduler_run(environment->scheduler);
    while (!self.is_done) {
        struct armed_timer *next = next_timer(tool);
        CHECK(next != NULL); // else nothing could ever wake it
        sleep_until(next->at_boot_ns);
        fire_due(tool);
        scheduler_run(environment->scheduler);
    }
    CHECK(scheduler_alive(environment->scheduler) == 0);
    return self.result;
}

void environment_tool_poll(struct environment *environment)
{
    fire_due((struct environment_tool *)environment);
    if (scheduler_has_ready(environment->scheduler))
        coroutine_pause(environment->scheduler);
}
