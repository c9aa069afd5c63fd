// SPDX-License-Identifier: Apache-2.0
// What is not used any more goes back: entries that were idle for a while, and all of them when the
// node unmounts. A frozen volume is left alone: whoever is short finds them.
#include "fs/quota_private.h"

#include <stddef.h>

#include "fs/freeze.h"
#include "fs/volume.h"

static const uint64_t idle_ns = UINT64_C(10000000000);

static void fire(struct environment_timer *timer);

static uint64_t now_ns(const struct quota *quota)
{
    return environment_boot_ns(quota->volume->environment);
}

static void arm(struct quota *quota)
{
    if (quota->is_armed || quota->is_settling || quota->is_stopped)
        return;
    quota->is_armed = true;
    quota->timer.fire = fire;
    environment_timer_arm(quota->volume->environment, &quota->timer, now_ns(quota) + idle_ns);
}

void quota_idle_later(struct quota *quota)
{
    arm(quota);
}

// This node's entries that nobody has used since `until_ns`, as long as nobody asks for the ledger.
static unsigned list_idle(const struct quota *quota, uint64_t until_ns, struct quota_owner *owners,
                          unsigned *left)
{
    const struct quota_ledger *ledger = cluster_lock_object(quota->ledger_lock);
    unsigned count = 0;
    *left = 0;
    for (int i = 0; ledger != NULL && i < LEDGER_ENTRIES_ALL; i++) {
        if (ledger->keys[i] == 0)
            continue;
        if (ledger->used_ns[i] <= until_ns)
            owners[count++] = quota_ledger_owner(ledger, i);
        else
            ++*left;
    }
    return count;
}

// An error is met again by whoever needs the record, and told to him.
static unsigned settle_idle(struct quota *quota, uint64_t until_ns)
{
    struct quota_owner owners[LEDGER_ENTRIES_ALL];
    unsigned left = 0, count = 0;
    if (!freeze_try_enter(quota->volume->freeze))
        return 1;
    if (quota->is_known && quota->is_on)
        count = list_idle(quota, until_ns, owners, &left);
    for (unsigned i = 0; i < count && volume_check(quota->volume) == 0; i++)
        quota_settle_owner(quota, quota->volume->slot, owners[i]);
    freeze_leave(quota->volume->freeze);
    return left;
}

static void settle(void *argument)
{
    struct quota *quota = argument;
    uint64_t now = now_ns(quota);
    unsigned left = settle_idle(quota, now > idle_ns ? now - idle_ns : 0);
    quota->is_settling = false;
    wait_queue_wake_all(quota->volume->scheduler, &quota->idle);
    if (left > 0 && volume_check(quota->volume) == 0)
        arm(quota);
}

static void fire(struct environment_timer *timer)
{
    struct quota *quota = (struct quota *)(void *)((char *)timer - offsetof(struct quota, timer));
    quota->is_armed = false;
    quota->is_settling = true;
    coroutine_start(quota->volume->scheduler, "settle quotas", settle, quota);
}

void quota_stop(struct quota *quota)
{
    struct volume *volume = quota->volume;
    quota->is_stopped = true;
    if (quota->is_armed)
        environment_timer_disarm(volume->environment, &quota->timer);
    quota->is_armed = false;
    if (quota->is_switching)
        freeze_end(volume->freeze);
    while (quota->is_settling || quota->is_switching)
        wait_queue_wait(volume->scheduler, &quota->idle);
    if (volume->journal != NULL && volume_check(volume) == 0)
        settle_idle(quota, UINT64_MAX);
}
