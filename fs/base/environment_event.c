// SPDX-License-Identifier: Apache-2.0
// libevent waits for descriptors; everything else is here: timers in a heap under one timerfd of
// CLOCK_BOOTTIME (libevent's own count CLOCK_MONOTONIC, which stands still while the machine
// sleeps), and a list of posts under one eventfd.
#include "fs/base/environment_event.h"

#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "fs/base/check.h"
#include "fs/base/coroutine.h"
#include "fs/base/memory.h"
#include "fs/base/random.h"

// An armed timer; `index` is its place in the heap.
struct armed {
    struct environment_timer *timer;
    uint64_t at_ns;
    size_t index;
};

struct event_environment {
    struct environment environment; // first: the environment is this
    struct event_base *base;
    struct event *timer_event;
    struct event *post_event;
    int timer_fd;
    int post_fd;
    struct armed **heap;
    size_t heap_count;
    size_t heap_capacity;
    uint64_t timer_set_ns;                    // what the timerfd stands at; 0: off
    _Atomic(struct environment_post *) posts; // newest first
    struct environment_post *taken;           // the core's, oldest first
    _Atomic bool is_stopping;
    uint64_t turn_began_ns; // first callback of this turn; 0: none yet
    struct environment_event_counters counters;
    struct random random;
};

struct environment_watch {
    struct event_environment *environment;
    struct event *event; // NULL while paused
    int fd;
    void (*ready)(void *argument, unsigned what);
    void *argument;
};

static struct event_environment *event_environment(struct environment *environment)
{
    return (struct event_environment *)environment;
}

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t environment_event_now_ns(void)
{
    return clock_ns(CLOCK_BOOTTIME);
}

static void turn_begin(struct event_environment *self)
{
    if (self->turn_began_ns == 0)
        self->turn_began_ns = environment_event_now_ns();
}

static void turn_end(struct event_environment *self)
{
    turn_begin(self);
    scheduler_run(self->environment.scheduler);
    uint64_t us = (environment_event_now_ns() - self->turn_began_ns) / 1000;
    if (us > atomic_load_explicit(&self->counters.core_slice_us_max, memory_order_relaxed))
        atomic_store_explicit(&self->counters.core_slice_us_max, us, memory_order_relaxed);
    atomic_fetch_add_explicit(&self->counters.turns, 1, memory_order_relaxed);
    self->turn_began_ns = 0;
}

// --- timers ----------------------------------------------------------------------------------

static void heap_put(struct event_environment *self, size_t index, struct armed *armed)
{
    self->heap[index] = armed;
    armed->index = index;
}

static void heap_rise(struct event_environment *self, struct armed *armed)
{
    size_t index = armed->index;
    while (index > 0 && self->heap[(index - 1) / 2]->at_ns > armed->at_ns) {
        heap_put(self, index, self->heap[(index - 1) / 2]);
        index = (index - 1) / 2;
    }
    heap_put(self, index, armed);
}

static void heap_sink(struct event_environment *self, struct armed *armed)
{
    size_t index = armed->index;
    for (;;) {
        size_t child = 2 * index + 1;
        if (child + 1 < self->heap_count && self->heap[child + 1]->at_ns < self->heap[child]->at_ns)
            child++;
        if (child >= self->heap_count || self->heap[child]->at_ns >= armed->at_ns)
            break;
        heap_put(self, index, self->heap[child]);
        index = child;
    }
    heap_put(self, index, armed);
}

static struct armed *heap_add(struct event_environment *self)
{
    if (self->heap_count == self->heap_capacity) {
        self->heap_capacity = self->heap_capacity ? 2 * self->heap_capacity : 64;
        self->heap = memory_resize(self->heap, self->heap_capacity, sizeof(*self->heap));
    }
    struct armed *armed = calloc(1, sizeof(*armed));
    CHECK(armed != NULL);
    heap_put(self, self->heap_count++, armed);
    return armed;
}

static void heap_remove(struct event_environment *self, struct armed *armed)
{
    struct armed *last = self->heap[--self->heap_count];
    if (last != armed) {
        heap_put(self, armed->index, last);
        heap_rise(self, last);
        heap_sink(self, last);
    }
    armed->timer->implementation = NULL;
    free(armed);
}

static void timer_set(struct event_environment *self)
{
    uint64_t at_ns = self->heap_count ? self->heap[0]->at_ns : 0;
    if (self->heap_count && at_ns == 0)
        at_ns = 1; // 0 would switch the timerfd off
    if (at_ns == self->timer_set_ns)
        return;
    self->timer_set_ns = at_ns;
    struct itimerspec spec = {.it_value = {.tv_sec = (time_t)(at_ns / 1000000000u),
                                           .tv_nsec = (long)(at_ns % 1000000000u)}};
    CHECK(timerfd_settime(self->timer_fd, TFD_TIMER_ABSTIME, &spec, NULL) == 0);
}

static void timer_arm(struct environment *environment, struct environment_timer *timer,
                      uint64_t at_boot_ns)
{
    struct event_environment *self = event_environment(environment);
    struct armed *armed = timer->implementation;
    if (armed == NULL) {
        armed = heap_add(self);
        armed->timer = timer;
        timer->implementation = armed;
    }
    armed->at_ns = at_boot_ns;
    heap_rise(self, armed);
    heap_sink(self, armed);
    timer_set(self);
}

static void timer_disarm(struct environment *environment, struct environment_timer *timer)
{
    struct event_environment *self = event_environment(environment);
    if (timer->implementation == NULL)
        return;
    heap_remove(self, timer->implementation);
    timer_set(self);
}

// Each timer that was due when this began fires at most once more than it was armed, so a timer
// that arms itself for a past moment cannot keep the loop here.
static void timers_fire(evutil_socket_t fd, short what, void *argument)
{
    struct event_environment *self = argument;
    (void)what;
    turn_begin(self);
    uint64_t expirations;
    if (read(fd, &expirations, sizeof(expirations)) == sizeof(expirations))
        self->timer_set_ns = 0;
    uint64_t now_ns = environment_event_now_ns();
    for (size_t left = self->heap_count; left > 0 && self->heap_count > 0; left--) {
        struct armed *armed = self->heap[0];
        if (armed->at_ns > now_ns)
            break;
        struct environment_timer *timer = armed->timer;
        heap_remove(self, armed);
        timer->fire(timer);
    }
    timer_set(self);
}

// --- posts -----------------------------------------------------------------------------------

void environment_event_post(struct environment *environment, struct environment_post *post)
{
    struct event_environment *self = event_environment(environment);
    struct environment_post *newest = atomic_load_explicit(&self->posts, memory_order_relaxed);
    do {
        post->next = newest;
    } while (!atomic_compare_exchange_weak_explicit(&self->posts, &newest, post,
                                                    memory_order_release, memory_order_relaxed));
    if (newest != NULL)
        return; // whoever found the list empty wakes the core
    uint64_t one = 1;
    CHECK(write(self->post_fd, &one, sizeof(one)) == sizeof(one));
}

// Moves what waits to the end of the core's own list, in the order in which it was posted.
static void posts_take(struct event_environment *self)
{
    struct environment_post *post =
        atomic_exchange_explicit(&self->posts, NULL, memory_order_acquire);
    struct environment_post *oldest = NULL;
    while (post != NULL) {
        struct environment_post *next = post->next;
        post->next = oldest;
        oldest = post;
        post = next;
    }
    struct environment_post **end = &self->taken;
    while (*end != NULL)
        end = &(*end)->next;
    *end = oldest;
}

static void posts_run(evutil_socket_t fd, short what, void *argument)
{
    struct event_environment *self = argument;
    (void)what;
    turn_begin(self);
    // The eventfd first: a post after the exchange finds the list empty and writes again.
    uint64_t count;
    ssize_t got = read(fd, &count, sizeof(count));
    (void)got;
    posts_take(self);
    while (self->taken != NULL) {
        struct environment_post *post = self->taken;
        self->taken = post->next;
        atomic_fetch_add_explicit(&self->counters.posts, 1, memory_order_relaxed);
        post->function(post); // may post it again: `next` was read
    }
}

void environment_event_post_cancel(struct environment *environment, struct environment_post *post)
{
    struct event_environment *self = event_environment(environment);
    CHECK(post != NULL);
    posts_take(self);
    struct environment_post **link = &self->taken;
    while (*link != NULL && *link != post)
        link = &(*link)->next;
    if (*link == post)
        *link = post->next;
    if (self->taken != NULL) { // the wake-up for these may have been used up
        uint64_t one = 1;
        CHECK(write(self->post_fd, &one, sizeof(one)) == sizeof(one));
    }
}

// --- descriptors -----------------------------------------------------------------------------

static void watch_ready(evutil_socket_t fd, short what, void *argument)
{
    struct environment_watch *watch = argument;
    (void)fd;
    turn_begin(watch->environment);
    unsigned interest = 0;
    if (what & EV_READ)
        interest |= ENVIRONMENT_READABLE;
    if (what & EV_WRITE)
        interest |= ENVIRONMENT_WRITABLE;
    watch->ready(watch->argument, interest); // the watch may be gone now
}

struct environment_watch *environment_event_watch_fd(struct environment *environment, int fd,
                                                     unsigned interest,
                                                     void (*ready)(void *argument, unsigned what),
                                                     void *argument)
{
    struct environment_watch *watch = calloc(1, sizeof(*watch));
    CHECK(watch != NULL);
    *watch = (struct environment_watch){.environment = event_environment(environment),
                                        .fd = fd,
                                        .ready = ready,
                                        .argument = argument};
    environment_event_watch_change(watch, interest);
    return watch;
}

void environment_event_watch_change(struct environment_watch *watch, unsigned interest)
{
    if (watch->event != NULL)
        event_free(watch->event);
    watch->event = NULL;
    if (interest == 0)
        return;
    short what = EV_PERSIST;
    if (interest & ENVIRONMENT_READABLE)
        what |= EV_READ;
    if (interest & ENVIRONMENT_WRITABLE)
        what |= EV_WRITE;
    watch->event = event_new(watch->environment->base, watch->fd, what, watch_ready, watch);
    CHECK(watch->event != NULL && event_add(watch->event, NULL) == 0);
}

void environment_event_unwatch(struct environment_watch *watch)
{
    environment_event_watch_change(watch, 0);
    free(watch);
}

// --- the loop --------------------------------------------------------------------------------

static uint64_t operation_boot_ns(struct environment *environment)
{
    (void)environment;
    return clock_ns(CLOCK_BOOTTIME);
}

static int64_t operation_wall_ns(struct environment *environment)
{
    (void)environment;
    return (int64_t)clock_ns(CLOCK_REALTIME);
}

static uint64_t operation_random_u64(struct environment *environment)
{
    return random_u64(&event_environment(environment)->random);
}

static const struct environment_operations operations = {
    .boot_ns = operation_boot_ns,
    .wall_ns = operation_wall_ns,
    .random_u64 = operation_random_u64,
    .timer_arm = timer_arm,
    .timer_disarm = timer_disarm,
};

static struct event *persistent_event(struct event_base *base, int fd, event_callback_fn function,
                                      void *argument)
{
    struct event *event = event_new(base, fd, EV_READ | EV_PERSIST, function, argument);
    CHECK(event != NULL && event_add(event, NULL) == 0);
    return event;
}

static struct event_base *base_new(void)
{
    struct event_config *config = event_config_new();
    CHECK(config != NULL);
    event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK); // one thread; others post
    struct event_base *base = event_base_new_with_config(config);
    event_config_free(config);
    CHECK(base != NULL);
    return base;
}

struct environment *environment_event_new(struct scheduler *scheduler)
{
    struct event_environment *self = calloc(1, sizeof(*self));
    CHECK(self != NULL);
    self->environment = (struct environment){.operations = &operations, .scheduler = scheduler};
    uint64_t seed;
    CHECK(getrandom(&seed, sizeof(seed), 0) == sizeof(seed));
    random_init(&self->random, seed);
    self->base = base_new();
    self->timer_fd = timerfd_create(CLOCK_BOOTTIME, TFD_NONBLOCK | TFD_CLOEXEC);
    self->post_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    CHECK(self->timer_fd >= 0 && self->post_fd >= 0);
    self->timer_event = persistent_event(self->base, self->timer_fd, timers_fire, self);
    self->post_event = persistent_event(self->base, self->post_fd, posts_run, self);
    return &self->environment;
}

void environment_event_free(struct environment *environment)
{
    struct event_environment *self = event_environment(environment);
    while (self->heap_count > 0)
        heap_remove(self, self->heap[self->heap_count - 1]);
    event_free(self->timer_event);
    event_free(self->post_event);
    event_base_free(self->base);
    close(self->timer_fd);
    close(self->post_fd);
    free(self->heap);
    free(self);
}

void environment_event_run(struct environment *environment)
{
    struct event_environment *self = event_environment(environment);
    turn_end(self); // what was made ready before the loop began
    while (!atomic_load_explicit(&self->is_stopping, memory_order_acquire)) {
        CHECK(event_base_loop(self->base, EVLOOP_ONCE) == 0);
        turn_end(self);
    }
    atomic_store_explicit(&self->is_stopping, false, memory_order_relaxed);
}

void environment_event_stop(struct environment *environment)
{
    struct event_environment *self = event_environment(environment);
    atomic_store_explicit(&self->is_stopping, true, memory_order_release);
    uint64_t one = 1;
    CHECK(write(self->post_fd, &one, sizeof(one)) == sizeof(one));
}

const struct environment_event_counters *
environment_event_counters(const struct environment *environment)
{
    return &((const struct event_environment *)environment)->counters;
}

void environment_event_slice_reset(struct environment *environment)
{
    struct event_environment *self = event_environment(environment);
    atomic_store_explicit(&self->counters.core_slice_us_max, 0, memory_order_relaxed);
}
