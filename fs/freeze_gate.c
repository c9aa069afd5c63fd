// SPDX-License-Identifier: Apache-2.0
#include "fs/freeze_gate.h"

#include "fs/base/check.h"
#include "fs/base/environment.h"
#include "fs/base/sabotage.h"
#include "fs/cluster_lock.h"

// Else a process that has pages written back again and again would never let the settling come to
// an end.
static const uint64_t let_in_pause_ns = 20000000;

void freeze_gate_init(struct freeze_gate *gate, struct environment *environment,
                      struct cluster_lock *lock)
{
    *gate = (struct freeze_gate){.environment = environment, .lock = lock};
    wait_queue_init(&gate->quiet);
}

bool freeze_gate_is_open(const struct freeze_gate *gate)
{
    if (SABOTAGE(freeze_lanes_go_on))
        return true;
    return cluster_lock_is_cached(gate->lock, LOCK_SHARED) && !cluster_lock_is_going(gate->lock) &&
           !cluster_lock_is_held(gate->lock, LOCK_EXCLUSIVE);
}

static bool lets_in(const struct freeze_gate *gate)
{
    return !gate->is_shut && cluster_lock_is_cached(gate->lock, LOCK_SHARED);
}

int freeze_gate_enter(struct freeze_gate *gate, unsigned flags, bool *is_let_in)
{
    if (lets_in(gate) && !freeze_gate_is_open(gate))
        environment_sleep(gate->environment, let_in_pause_ns);
    *is_let_in = lets_in(gate);
    if (!*is_let_in)
        return cluster_lock_acquire(gate->lock, LOCK_SHARED, flags);
    gate->kernel_writes++;
    gate->let_in_count++;
    return 0;
}

void freeze_gate_leave(struct freeze_gate *gate, bool is_let_in)
{
    if (!is_let_in) {
        cluster_lock_release(gate->lock, LOCK_SHARED);
        return;
    }
    CHECK(gate->kernel_writes > 0);
    if (--gate->kernel_writes == 0)
        wait_queue_wake_all(gate->environment->scheduler, &gate->quiet);
}
