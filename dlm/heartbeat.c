// SPDX-License-Identifier: Apache-2.0
// The machine under a lock, a thread that does its I/O outside of the lock, and posts to the core.
#include "dlm/heartbeat.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "fs/base/check.h"
#include "fs/base/environment_event.h"
#include "fs/base/error.h"

enum {
    IOPRIO_WHO_THREAD = 1,
    IOPRIO_REALTIME_HIGHEST = 1 << 13, // class real-time, level 0
    FIFO_PRIORITY = 50,
};

// A post that is sent again and again: not before the core has taken the last one.
struct signal {
    struct environment_post post; // first
    struct heartbeat *heartbeat;
    _Atomic bool is_under_way;
};

struct heartbeat {
    struct heartbeat_thread_config config;
    pthread_t thread;
    pthread_mutex_t lock; // the machine, but not the buffer while an I/O is under way
    pthread_cond_t changed;
    struct heartbeat_machine machine;
    uint8_t *buffer;
    int descriptor;
    int wake_fd;
    bool is_ending;      // under the lock
    bool has_told_ended; // thread only
    uint64_t lease_told_ns;
    uint64_t beat_us_max;
    uint64_t ping_sent_ns;
    struct signal ping;
    struct signal change;
    struct signal end;
};

static void signal_send(struct signal *signal)
{
    if (!atomic_exchange(&signal->is_under_way, true))
        environment_event_post(signal->heartbeat->config.environment, &signal->post);
}

// --- on the core's thread --------------------------------------------------------------------

static void core_pinged(struct environment_post *post)
{
    struct signal *signal = (struct signal *)post;
    atomic_store(&signal->is_under_way, false);
}

static void core_changed(struct environment_post *post)
{
    struct signal *signal = (struct signal *)post;
    atomic_store(&signal->is_under_way, false);
    signal->heartbeat->config.changed(signal->heartbeat->config.context);
}

static void core_ended(struct environment_post *post)
{
    struct heartbeat *heartbeat = ((struct signal *)post)->heartbeat;
    enum heartbeat_end end;
    char reason[HEARTBEAT_REASON_BYTES];
    pthread_mutex_lock(&heartbeat->lock);
    end = heartbeat->machine.end;
    memcpy(reason, heartbeat->machine.end_reason, sizeof(reason));
    pthread_mutex_unlock(&heartbeat->lock);
    heartbeat->config.ended(heartbeat->config.context, heartbeat_end_error(end), reason);
}

// --- on the heartbeat's thread ---------------------------------------------------------------

static void become_important(struct log *log)
{
    struct sched_param param = {.sched_priority = FIFO_PRIORITY};
    if (pthread_setschedparam(pthread_self(), SCHED_FIFO, &param) != 0)
        log_notice(log, "the heartbeat runs without real-time CPU priority");
    if (syscall(SYS_ioprio_set, IOPRIO_WHO_THREAD, 0, IOPRIO_REALTIME_HIGHEST) != 0)
        log_notice(log, "the heartbeat runs without real-time I/O priority");
}

static int do_io(const struct heartbeat *heartbeat, const struct heartbeat_io *io)
{
    struct iovec vector = {.iov_base = io->buffer, .iov_len = BLOCK_BYTES};
    off_t offset = (off_t)(io->block * BLOCK_BYTES);
    int flags = io->is_write && heartbeat->config.uses_fua ? RWF_DSYNC : 0;
    ssize_t done = io->is_write ? pwritev2(heartbeat->descriptor, &vector, 1, offset, flags)
                                : preadv2(heartbeat->descriptor, &vector, 1, offset, flags);
    if (done == BLOCK_BYTES)
        return 0;
    return done < 0 ? -errno : -EIO;
}

static void tell_lease(struct heartbeat *heartbeat)
{
    uint64_t until_ns = heartbeat->machine.lease.until_ns;
    if (heartbeat->machine.end != HEARTBEAT_ALIVE || until_ns == heartbeat->lease_told_ns)
        return;
    heartbeat->lease_told_ns = until_ns;
    heartbeat->config.lease_extended(heartbeat->config.context, until_ns);
}

static void tell_end(struct heartbeat *heartbeat)
{
    if (heartbeat->machine.end == HEARTBEAT_ALIVE || heartbeat->has_told_ended)
        return;
    heartbeat->has_told_ended = true;
    heartbeat->config.ended_now(heartbeat->config.context,
                                heartbeat_end_error(heartbeat->machine.end));
    signal_send(&heartbeat->end);
}

static void take_completion(struct heartbeat *heartbeat, enum heartbeat_io_type type, int result,
                            uint64_t submitted_ns)
{
    uint64_t now_ns = environment_event_now_ns();
    uint64_t us = (now_ns - submitted_ns) / 1000;
    struct heartbeat_noticed before = heartbeat_machine_notice(&heartbeat->machine);
    if (type == HEARTBEAT_IO_WRITE_BEAT && us > heartbeat->beat_us_max)
        heartbeat->beat_us_max = us;
    heartbeat_machine_completed(&heartbeat->machine, result, now_ns);
    struct heartbeat_noticed after = heartbeat_machine_notice(&heartbeat->machine);
    if (memcmp(&before, &after, sizeof(before)) != 0) {
        signal_send(&heartbeat->change);
        pthread_cond_broadcast(&heartbeat->changed);
    }
}

// The core answers a post in each of its turns; one that stays unanswered shows that it hangs.
static void check_core(struct heartbeat *heartbeat, uint64_t now_ns)
{
    uint64_t patience_ns = heartbeat->config.core_patience_ns;
    if (!atomic_load(&heartbeat->ping.is_under_way)) {
        heartbeat->ping_sent_ns = now_ns;
        signal_send(&heartbeat->ping);
        return;
    }
    uint64_t hung_ns = now_ns - heartbeat->ping_sent_ns;
    if (hung_ns <= patience_ns || heartbeat->machine.end != HEARTBEAT_ALIVE)
        return;
    log_error(heartbeat->config.log, ERROR_LEASE_LOST,
              "the core has not turned for %llu ms: this node stops",
              (unsigned long long)(hung_ns / 1000000));
    heartbeat_machine_end(&heartbeat->machine, HEARTBEAT_END_CORE, "the core hangs");
    heartbeat->config.core_hung(heartbeat->config.context, hung_ns);
}

static void sleep_until(const struct heartbeat *heartbeat, uint64_t wake_ns)
{
    // Never long: the core is to be looked at too.
    uint64_t now_ns = environment_event_now_ns();
    uint64_t longest_ns = heartbeat->config.heartbeat.lease.beat_ns;
    uint64_t ns = wake_ns > now_ns ? wake_ns - now_ns : 0;
    if (ns > longest_ns)
        ns = longest_ns;
    struct timespec timeout = {.tv_sec = (time_t)(ns / 1000000000u),
                               .tv_nsec = (long)(ns % 1000000000u)};
    struct pollfd wake = {.fd = heartbeat->wake_fd, .events = POLLIN};
    uint64_t count;
    if (ppoll(&wake, 1, &timeout, NULL) > 0 && read(heartbeat->wake_fd, &count, 8) == 8)
        return;
}

static int64_t wall_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void *heartbeat_run(void *argument)
{
    struct heartbeat *heartbeat = argument;
    pthread_setname_np(pthread_self(), "lunfs-heartbeat");
    become_important(heartbeat->config.log);
    pthread_mutex_lock(&heartbeat->lock);
    while (!heartbeat->is_ending) {
        uint64_t now_ns = environment_event_now_ns();
        check_core(heartbeat, now_ns);
        heartbeat->machine.wall_ns = wall_now_ns();
        struct heartbeat_io io = *heartbeat_machine_next(&heartbeat->machine, now_ns);
        tell_end(heartbeat);
        pthread_mutex_unlock(&heartbeat->lock);
        int result = 0;
        if (io.type == HEARTBEAT_IO_NONE)
            sleep_until(heartbeat, io.wake_ns);
        else
            result = do_io(heartbeat, &io);
        pthread_mutex_lock(&heartbeat->lock);
        if (io.type == HEARTBEAT_IO_NONE)
            continue;
        take_completion(heartbeat, io.type, result, now_ns);
        tell_lease(heartbeat);
        tell_end(heartbeat);
    }
    pthread_mutex_unlock(&heartbeat->lock);
    return NULL;
}

// --- start and stop --------------------------------------------------------------------------

static void signal_init(struct signal *signal, struct heartbeat *heartbeat,
                        void (*function)(struct environment_post *post))
{
    signal->heartbeat = heartbeat;
    signal->post.function = function;
}

static void locks_init(struct heartbeat *heartbeat)
{
    pthread_mutexattr_t attributes;
    pthread_condattr_t condition;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setprotocol(&attributes, PTHREAD_PRIO_INHERIT);
    pthread_mutex_init(&heartbeat->lock, &attributes);
    pthread_mutexattr_destroy(&attributes);
    pthread_condattr_init(&condition);
    pthread_condattr_setclock(&condition, CLOCK_MONOTONIC);
    pthread_cond_init(&heartbeat->changed, &condition);
    pthread_condattr_destroy(&condition);
}

static void heartbeat_free(struct heartbeat *heartbeat)
{
    if (heartbeat->descriptor >= 0)
        close(heartbeat->descriptor);
    if (heartbeat->wake_fd >= 0)
        close(heartbeat->wake_fd);
    pthread_mutex_destroy(&heartbeat->lock);
    pthread_cond_destroy(&heartbeat->changed);
    free(heartbeat->buffer);
    free(heartbeat);
}

int heartbeat_start(const struct heartbeat_thread_config *config, struct heartbeat **heartbeat)
{
    struct heartbeat *self = calloc(1, sizeof(*self));
    CHECK(self != NULL);
    self->config = *config;
    if (self->config.core_patience_ns == 0)
        self->config.core_patience_ns = config->heartbeat.lease.lease_ns / 2;
    locks_init(self);
    signal_init(&self->ping, self, core_pinged);
    signal_init(&self->change, self, core_changed);
    signal_init(&self->end, self, core_ended);
    self->buffer = block_buffer_new(BLOCK_BYTES);
    self->descriptor = fcntl(config->descriptor, F_DUPFD_CLOEXEC, 3);
    int result = self->descriptor < 0 ? -errno : 0;
    self->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (result == 0 && self->wake_fd < 0)
        result = -errno;
    heartbeat_machine_init(&self->machine, &config->heartbeat, self->buffer,
                           environment_event_now_ns());
    if (result == 0)
        result = -pthread_create(&self->thread, NULL, heartbeat_run, self);
    if (result != 0) {
        heartbeat_free(self);
        return result;
    }
    *heartbeat = self;
    return 0;
}

static void wake(struct heartbeat *heartbeat)
{
    uint64_t one = 1;
    CHECK(write(heartbeat->wake_fd, &one, sizeof(one)) == sizeof(one));
}

// Waits until the last state is durable; past the lease it cannot become so.
static int wait_for_state(struct heartbeat *heartbeat, enum heartbeat_state state)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += (time_t)(heartbeat->config.heartbeat.lease.lease_ns / 1000000000u) + 1;
    while (heartbeat->machine.state_durable != state) {
        if (pthread_cond_timedwait(&heartbeat->changed, &heartbeat->lock, &until) == ETIMEDOUT)
            return -ERROR_HEARTBEAT_FAILED;
    }
    return 0;
}

// Posts point into the heartbeat: the core must have taken them before it is freed.
static void forget_signals(struct heartbeat *heartbeat)
{
    struct signal *signals[] = {&heartbeat->ping, &heartbeat->change, &heartbeat->end};
    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
        environment_event_post_cancel(heartbeat->config.environment, &signals[i]->post);
}

int heartbeat_stop(struct heartbeat *heartbeat, enum heartbeat_state state)
{
    int result = 0;
    pthread_mutex_lock(&heartbeat->lock);
    if (heartbeat->machine.state_durable != state) {
        heartbeat_machine_set_state(&heartbeat->machine, state);
        wake(heartbeat);
        result = wait_for_state(heartbeat, state);
    }
    heartbeat->is_ending = true;
    pthread_mutex_unlock(&heartbeat->lock);
    wake(heartbeat);
    pthread_join(heartbeat->thread, NULL);
    forget_signals(heartbeat);
    heartbeat_free(heartbeat);
    return result;
}

// --- orders and questions --------------------------------------------------------------------

void heartbeat_set_state(struct heartbeat *heartbeat, enum heartbeat_state state)
{
    pthread_mutex_lock(&heartbeat->lock);
    heartbeat_machine_set_state(&heartbeat->machine, state);
    pthread_mutex_unlock(&heartbeat->lock);
    wake(heartbeat);
}

void heartbeat_write_stopped(struct heartbeat *heartbeat)
{
    heartbeat_set_state(heartbeat, HEARTBEAT_STOPPED);
}

void heartbeat_set_lamport(struct heartbeat *heartbeat, uint64_t lamport)
{
    pthread_mutex_lock(&heartbeat->lock);
    heartbeat->machine.lamport = lamport;
    pthread_mutex_unlock(&heartbeat->lock);
}

void heartbeat_watch(struct heartbeat *heartbeat, uint32_t slot, bool on)
{
    pthread_mutex_lock(&heartbeat->lock);
    heartbeat_machine_watch(&heartbeat->machine, slot, on);
    pthread_mutex_unlock(&heartbeat->lock);
    wake(heartbeat);
}

void heartbeat_fence(struct heartbeat *heartbeat, uint32_t slot, uint64_t incarnation,
                     uint64_t yield_until_ns, const char *reason)
{
    pthread_mutex_lock(&heartbeat->lock);
    heartbeat_machine_fence(&heartbeat->machine, slot, incarnation, yield_until_ns, reason);
    pthread_mutex_unlock(&heartbeat->lock);
    wake(heartbeat);
}

void heartbeat_fence_cancel(struct heartbeat *heartbeat, uint32_t slot)
{
    pthread_mutex_lock(&heartbeat->lock);
    heartbeat_machine_fence_cancel(&heartbeat->machine, slot);
    pthread_mutex_unlock(&heartbeat->lock);
}

void heartbeat_free_slot(struct heartbeat *heartbeat, uint32_t slot, uint64_t incarnation)
{
    pthread_mutex_lock(&heartbeat->lock);
    heartbeat_machine_free(&heartbeat->machine, slot, incarnation);
    pthread_mutex_unlock(&heartbeat->lock);
    wake(heartbeat);
}

void heartbeat_status_get(struct heartbeat *heartbeat, struct heartbeat_status *status)
{
    pthread_mutex_lock(&heartbeat->lock);
    const struct heartbeat_machine *machine = &heartbeat->machine;
    *status = (struct heartbeat_status){
        .lease_until_ns = machine->lease.until_ns,
        .lamport_durable = machine->lamport_durable,
        .mailbox_clean_ns = machine->mailbox_clean_ns,
        .mailbox_rounds = machine->mailbox_rounds,
        .beat_us_max = heartbeat->beat_us_max,
        .state_durable = machine->state_durable,
        .end = machine->end,
    };
    for (uint32_t i = 0; i < machine->config.geometry->slot_count; i++)
        status->frees_pending |= machine->slots[i].frees;
    pthread_mutex_unlock(&heartbeat->lock);
}

void heartbeat_slot_get(struct heartbeat *heartbeat, uint32_t slot,
                        struct heartbeat_slot_info *info)
{
    pthread_mutex_lock(&heartbeat->lock);
    const struct heartbeat_machine *machine = &heartbeat->machine;
    CHECK(slot < machine->config.geometry->slot_count);
    const struct heartbeat_slot *seen = &machine->slots[slot];
    *info = (struct heartbeat_slot_info){
        .sighting = seen->watch.last,
        .changed_ns = seen->watch.changed_ns,
        .silent_ns = lease_watch_silent_ns(&seen->watch),
        .change_count = seen->watch.change_count,
        .fences = seen->fences,
        .frees = seen->frees,
        .fence_verdict = seen->fence_verdict,
        .fence_left_ns = lease_fence_left_ns(&seen->fence, &machine->config.lease, &seen->watch,
                                             environment_event_now_ns()),
    };
    memcpy(info->node_name, seen->node_name, sizeof(info->node_name));
    pthread_mutex_unlock(&heartbeat->lock);
}
