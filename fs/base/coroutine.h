// SPDX-License-Identifier: Apache-2.0
// Stackful coroutines: the core runs every operation as one, straight-line code that yields where
// it waits for a lock, a block, a commit or a timer. One runs at a time, on one thread, so there
// are no data races in the core; between two yields nothing else of the core runs.
//
// A scheduler belongs to one thread. Nothing here is thread-safe; other threads hand work to the
// core through the environment.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/queue.h>

struct coroutine;
struct scheduler;

struct scheduler *scheduler_new(void);
// Keeps the stacks of so many coroutines that have ended for the next ones; at first 64. Memory
// that they have touched stays theirs.
void scheduler_keep(struct scheduler *scheduler, size_t stack_count_max);
// No coroutine may be alive.
void scheduler_free(struct scheduler *scheduler);

// Runs what is ready until nothing is. Called by the event loop after each batch of events, and
// never from inside a coroutine.
void scheduler_run(struct scheduler *scheduler);
bool scheduler_has_ready(const struct scheduler *scheduler);
// How many coroutines are alive, the ready and the waiting.
size_t scheduler_alive(const struct scheduler *scheduler);

// Starts `function(argument)` as a coroutine: it is made ready, and runs when the scheduler comes
// to it. `name` is a constant string, for the dump of what waits for what.
struct coroutine *coroutine_start(struct scheduler *scheduler, const char *name,
                                  void (*function)(void *argument), void *argument);

// The running coroutine, NULL outside of one.
struct coroutine *coroutine_current(const struct scheduler *scheduler);

// A pointer of the running coroutine's own, NULL when it starts: for what all that it calls must
// know and none of it hands on.
void coroutine_set_local(struct scheduler *scheduler, const void *local);
// NULL outside of one.
const void *coroutine_local(const struct scheduler *scheduler);

// Suspends the running coroutine until somebody wakes it.
void coroutine_wait(struct scheduler *scheduler);
// Makes a waiting coroutine ready. It must be waiting and not be woken twice.
void coroutine_wake(struct scheduler *scheduler, struct coroutine *coroutine);
// Lets the others that are ready run first, then goes on: for long work (rule P4).
void coroutine_pause(struct scheduler *scheduler);

// Coroutines that wait for one condition, in order of arrival. Recheck the condition after a wait.
struct wait_queue {
    TAILQ_HEAD(wait_queue_head, wait_entry) waiting;
};

void wait_queue_init(struct wait_queue *queue);
bool wait_queue_is_empty(const struct wait_queue *queue);
void wait_queue_wait(struct scheduler *scheduler, struct wait_queue *queue);
void wait_queue_wake_one(struct scheduler *scheduler, struct wait_queue *queue);
void wait_queue_wake_all(struct scheduler *scheduler, struct wait_queue *queue);
// Takes one waiting coroutine out of the queue and wakes it (interrupt); false if not there.
bool wait_queue_wake_this(struct scheduler *scheduler, struct wait_queue *queue,
                          struct coroutine *coroutine);
