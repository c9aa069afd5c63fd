// SPDX-License-Identifier: Apache-2.0
#include "fs/base/stop_request.h"

#include <signal.h>
#include <stddef.h>
#include <time.h>

static void stop_signals(sigset_t *set)
{
    sigemptyset(set);
    sigaddset(set, SIGINT);
    sigaddset(set, SIGTERM);
    sigaddset(set, SIGHUP);
}

void stop_request_init(struct stop_request *request)
{
    sigset_t set;
    *request = (struct stop_request){.has_come = false};
    stop_signals(&set);
    sigprocmask(SIG_BLOCK, &set, NULL);
}

bool stop_request_has_come(struct stop_request *request)
{
    const struct timespec at_once = {0};
    sigset_t set;
    if (request == NULL || request->has_come)
        return request != NULL;
    stop_signals(&set);
    if (sigtimedwait(&set, NULL, &at_once) < 0)
        return false;
    request->has_come = true;
    sigprocmask(SIG_UNBLOCK, &set, NULL);
    return true;
}
