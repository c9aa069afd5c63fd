// SPDX-License-Identifier: Apache-2.0
// Waits for a condition that only another node can make true, in an operation that has changed
// nothing yet: who waits there for a process that is killed meanwhile need not wait on (rule 34).
//
// Core, in a coroutine.
#pragma once

#include <stdbool.h>

struct coroutine;
struct volume;
struct wait_queue;

// As wait_queue_wait: 0. Or the error of interruptible_end, with the condition not looked at.
int interruptible_wait(struct volume *volume, struct wait_queue *queue);
// Ends the wait of a coroutine in interruptible_wait with `error`; false if it does not wait there.
bool interruptible_end(struct volume *volume, const struct coroutine *waiter, int error);
