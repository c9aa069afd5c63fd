// SPDX-License-Identifier: Apache-2.0
#include "fs/interruptible.h"

#include "fs/base/check.h"
#include "fs/base/coroutine.h"
#include "fs/volume.h"

struct interruptible {
    LIST_ENTRY(interruptible) link;
    struct coroutine *coroutine;
    struct wait_queue *queue;
    int error;
};

int interruptible_wait(struct volume *volume, struct wait_queue *queue)
{
    struct interruptible wait = {.coroutine = coroutine_current(volume->scheduler), .queue = queue};
    CHECK(wait.coroutine != NULL);
    LIST_INSERT_HEAD(&volume->interruptibles, &wait, link);
    wait_queue_wait(volume->scheduler, queue);
    LIST_REMOVE(&wait, link);
    return wait.error;
}

bool interruptible_end(struct volume *volume, const struct coroutine *waiter, int error)
{
    struct interruptible *wait;
    LIST_FOREACH (wait, &volume->interruptibles, link) {
        if (wait->coroutine == waiter)
            break;
    }
    // One that was woken already goes on; it may come to wait again.
    if (wait == NULL || !wait_queue_wake_this(volume->scheduler, wait->queue, wait->coroutine))
        return false;
    wait->error = error;
    return true;
}
