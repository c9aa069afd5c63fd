// SPDX-License-Identifier: Apache-2.0
#include "fs/base/environment.h"

#include "fs/base/coroutine.h"

struct sleeper {
    struct environment_timer timer; // first: the timer is the sleeper
    struct scheduler *scheduler;
    struct coroutine *coroutine;
};

static void wake_sleeper(struct environment_timer *timer)
{
    struct sleeper *sleeper = (struct sleeper *)timer;
    coroutine_wake(sleeper->scheduler, sleeper->coroutine);
}

void environment_sleep(struct environment *environment, uint64_t ns)
{
    struct sleeper sleeper = {
        .timer.fire = wake_sleeper,
        .scheduler = environment->scheduler,
        .coroutine = coroutine_current(environment->scheduler),
    };
    environment_timer_arm(environment, &sleeper.timer, environment_boot_ns(environment) + ns);
    coroutine_wait(environment->scheduler);
}
