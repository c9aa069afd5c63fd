// SPDX-License-Identifier: Apache-2.0
// A life's guard: the production rules (fs/guard_rules.c) over events. It hears its worker over a
// real socket pair, with the production packets; it kills the worker before its lease ends, waits
// for its last I/O, and says that it has drained.
#include "fs/guard.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "dlm/fence.h"
#include "fs/base/check.h"
#include "fs/base/environment_event.h"
#include "fs/guard_rules.h"
#include "tests/sim/ring3.h"

// What the worker's core watches: its end of the guard's sockets.
struct environment_watch {
    struct ring3_life *life;
    void (*ready)(void *argument, unsigned what);
    void *argument;
};

struct ring3_guard {
    struct ring3_life *life;
    struct guard_rules rules;
    struct world_event step;
    int sockets[2];  // the worker's, ours
    int description; // of the LUN, a second one, to try the worker's lock with
    bool has_slot, has_left, is_hung, announced;
    struct environment_watch *watch; // of the worker's core
    struct world_event command;      // the fence command ends
    struct guard_message fence;      // ... that was asked for
};

int ring3_guard_socket(const struct ring3_guard *guard)
{
    return guard->sockets[0];
}

// A board that turns machines off: mostly at once, sometimes it fails.
static void run_command(struct ring3_guard *guard, const struct guard_message *message)
{
    struct ring3 *ring3 = guard->life->ring3;
    guard->fence = *message;
    ring3_arm_in(ring3, &guard->command, ring3_between(ring3, 200 * RING3_MS, 3000 * RING3_MS));
}

static void command_ends(struct world_event *event)
{
    struct ring3_guard *guard =
        (struct ring3_guard *)(void *)((char *)event - offsetof(struct ring3_guard, command));
    struct ring3 *ring3 = guard->life->ring3;
    struct ring3_machine *victim = ring3_machine_of(ring3, guard->fence.node_id);
    struct guard_message answer = guard->fence;
    answer.type = GUARD_FENCE_RESULT;
    answer.status = random_one_in(&ring3->world->random, 4) ? 1 : 0;
    if (answer.status == 0 && victim->life != NULL &&
        victim->life->incarnation == guard->fence.incarnation)
        ring3_machine_power(victim, false);
    if (answer.status == 0) {
        ring3_trace(ring3, "life %u: the fence command has turned n%u off", guard->life->number,
                    guard->fence.node_id);
        ring3_lives_drain(ring3, guard->fence.node_id);
        if (ring3->is_healing) // nobody else turns it on again
            ring3_machine_power(victim, true);
    }
    guard_message_send(guard->sockets[1], &answer);
    if (guard->watch != NULL && !guard->life->is_killed)
        guard->watch->ready(guard->watch->argument, ENVIRONMENT_READABLE);
}

static void hear(struct ring3_guard *guard)
{
    struct guard_message message;
    while (guard_message_receive(guard->sockets[1], &message) == 1) {
        if (message.type == GUARD_IDENTITY) {
            guard->has_slot = true;
            guard->life->slot = message.slot;
            CHECK(message.incarnation == guard->life->incarnation);
        }
        guard->has_left |= message.type == GUARD_LEFT;
        guard->is_hung |= message.type == GUARD_CORE_HUNG;
        if (message.type == GUARD_FENCE_RUN)
            run_command(guard, &message);
    }
}

// The worker's description is closed with its last I/O; then its lock is free.
static bool try_lock(struct ring3_guard *guard)
{
    struct ring3_life *life = guard->life;
    ring3_life_close_if_drained(life);
    return guard_slot_lock(guard->description, life->slot) == 0;
}

static struct guard_sight look(struct ring3_guard *guard)
{
    struct ring3_life *life = guard->life;
    bool is_gone = life->is_killed || life->is_over;
    return (struct guard_sight){
        .now_ms = environment_boot_ns(&life->world_node.environment) / RING3_MS,
        .lease_until_ms = atomic_load(&life->gate.lease_until_ns) / RING3_MS,
        .lease_ms = (uint32_t)(life->lease.lease_ns / RING3_MS),
        .has_ended = gate_has_ended(&life->gate),
        .is_drained = life->is_drained,
        .is_hung = guard->is_hung,
        .has_slot = guard->has_slot,
        .has_left = guard->has_left,
        .worker_gone = is_gone,
        .got_lock = is_gone && guard->has_slot && try_lock(guard),
        .announced = guard->announced,
    };
}

static void step(struct world_event *event)
{
    struct ring3_guard *guard =
        (struct ring3_guard *)(void *)((char *)event - offsetof(struct ring3_guard, step));
    struct ring3_life *life = guard->life;
    hear(guard);
    struct guard_sight sight = look(guard);
    struct guard_decision decision = guard_rules_step(&guard->rules, &sight);
    uint64_t wait_ms = decision.wait_ms;
    switch (decision.action) {
    case GUARD_KILL:
        ring3_trace(life->ring3, "life %u: its guard kills it", life->number);
        ring3_life_kill(life, false);
        wait_ms = 1;
        break;
    case GUARD_ANNOUNCE:
        guard->announced = ring3_totem_drained(life);
        if (guard->announced)
            ring3_trace(life->ring3, "life %u: its guard says that it has drained", life->number);
        break;
    case GUARD_END: // the process ends, and its descriptions with it
        close(guard->description);
        guard->description = -1;
        return;
    case GUARD_WAIT:
    case GUARD_ABORT: // the front end's
    case GUARD_TRY_LOCK:
        break;
    }
    ring3_arm_in(life->ring3, event, (wait_ms > 0 ? wait_ms : 1) * RING3_MS);
}

void ring3_guard_poke(struct ring3_guard *guard)
{
    if (guard->description >= 0)
        ring3_arm_in(guard->life->ring3, &guard->step, 100000);
}

void ring3_guard_start(struct ring3_life *life)
{
    struct ring3_guard *guard = calloc(1, sizeof(*guard));
    CHECK(guard != NULL);
    CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, guard->sockets) ==
          0);
    guard->life = life;
    guard->description = ring3_machine_open_lun(life->machine);
    guard->step.fire = step;
    guard->command.fire = command_ends;
    guard_rules_init(&guard->rules);
    life->guard = guard;
    ring3_guard_poke(guard);
}

void ring3_guard_stop(struct ring3_guard *guard)
{
    world_event_disarm(guard->life->ring3->world, &guard->step);
    world_event_disarm(guard->life->ring3->world, &guard->command);
    if (guard->description >= 0)
        close(guard->description);
    guard->description = -1;
}

// The worker's memory refers to it until it is given back.
void ring3_guard_free(struct ring3_guard *guard)
{
    ring3_guard_stop(guard);
    close(guard->sockets[0]);
    close(guard->sockets[1]);
    free(guard);
}

// --- for fs/cluster.c ----------------------------------------------------------------------------

struct environment_watch *environment_event_watch_fd(struct environment *environment, int fd,
                                                     unsigned interest,
                                                     void (*ready)(void *argument, unsigned what),
                                                     void *argument)
{
    struct environment_watch *watch = calloc(1, sizeof(*watch));
    CHECK(watch != NULL && interest == ENVIRONMENT_READABLE);
    *watch = (struct environment_watch){(struct ring3_life *)environment, ready, argument};
    CHECK(fd == ring3_guard_socket(watch->life->guard));
    watch->life->guard->watch = watch;
    return watch;
}

void environment_event_watch_change(struct environment_watch *watch, unsigned interest)
{
    if (interest == 0)
        watch->life->guard->watch = NULL;
}

void environment_event_unwatch(struct environment_watch *watch)
{
    watch->life->guard->watch = NULL;
    free(watch);
}
