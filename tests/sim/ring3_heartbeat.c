// SPDX-License-Identifier: Apache-2.0
// dlm/heartbeat.h over simulated time: the production machine, with events where production has a
// thread. Its I/O goes one at a time over a path of its own; what it has to tell the core comes an
// event later, as posts do.
#include "dlm/heartbeat.h"

#include <stdlib.h>
#include <string.h>

#include "fs/base/block_device.h"
#include "fs/base/check.h"
#include "fs/base/error.h"
#include "tests/sim/ring3.h"

struct heartbeat {
    struct heartbeat_thread_config config;
    struct ring3_life *life;
    struct heartbeat_machine machine;
    uint8_t *buffer;
    struct block_request request; // the I/O under way
    struct world_event wake;      // the thread's sleep is over
    struct world_event post;      // the core is told
    bool io_is_out;
    bool change_is_due, end_is_due;
    bool has_told_ended;
    bool is_ending; // no more I/O
    uint64_t submitted_ns;
    uint64_t lease_told_ns;
    uint64_t beat_us_max;
};

static void go_on(struct heartbeat *heartbeat);

static uint64_t now_ns(const struct heartbeat *heartbeat)
{
    return environment_boot_ns(heartbeat->config.environment);
}

// --- to the core -----------------------------------------------------------------------------

static void post(struct heartbeat *heartbeat)
{
    if (heartbeat->post.heap_slot == 0)
        ring3_arm_in(heartbeat->life->ring3, &heartbeat->post, 1000);
}

static void posted(struct world_event *event)
{
    struct heartbeat *heartbeat =
        (struct heartbeat *)(void *)((char *)event - offsetof(struct heartbeat, post));
    struct ring3_life *life = heartbeat->life;
    if (life->is_killed)
        return;
    if (ring3_life_is_paused(life)) {
        world_event_arm(life->ring3->world, event, life->world_node.paused_until_ns);
        return;
    }
    bool has_ended = heartbeat->end_is_due, has_changed = heartbeat->change_is_due;
    heartbeat->end_is_due = heartbeat->change_is_due = false;
    if (has_ended)
        heartbeat->config.ended(heartbeat->config.context,
                                heartbeat_end_error(heartbeat->machine.end),
                                heartbeat->machine.end_reason);
    if (has_changed)
        heartbeat->config.changed(heartbeat->config.context);
}

// --- on the heartbeat's thread ---------------------------------------------------------------

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
    ring3_trace(heartbeat->life->ring3, "life %u: its heartbeat ends: %s", heartbeat->life->number,
                heartbeat->machine.end_reason);
    heartbeat->config.ended_now(heartbeat->config.context,
                                heartbeat_end_error(heartbeat->machine.end));
    heartbeat->end_is_due = true;
    post(heartbeat);
}

static void completed(struct block_request *request, int result)
{
    struct heartbeat *heartbeat = request->context;
    heartbeat->io_is_out = false;
    if (heartbeat->life->is_killed)
        return;
    struct heartbeat_noticed before = heartbeat_machine_notice(&heartbeat->machine);
    uint64_t us = (now_ns(heartbeat) - heartbeat->submitted_ns) / 1000;
    if (heartbeat->machine.io.type == HEARTBEAT_IO_WRITE_BEAT && us > heartbeat->beat_us_max)
        heartbeat->beat_us_max = us;
    heartbeat_machine_completed(&heartbeat->machine, result, now_ns(heartbeat));
    struct heartbeat_noticed after = heartbeat_machine_notice(&heartbeat->machine);
    if (memcmp(&before, &after, sizeof(before)) != 0) {
        heartbeat->change_is_due = true;
        post(heartbeat);
    }
    tell_lease(heartbeat);
    tell_end(heartbeat);
    go_on(heartbeat);
}

static void sleep_until(struct heartbeat *heartbeat, uint64_t wake_ns)
{
    uint64_t longest_ns = now_ns(heartbeat) + heartbeat->config.heartbeat.lease.beat_ns;
    uint64_t until_ns = wake_ns < longest_ns ? wake_ns : longest_ns;
    world_event_arm(heartbeat->life->ring3->world, &heartbeat->wake,
                    world_node_time_ns(&heartbeat->life->world_node, until_ns));
}

static void go_on(struct heartbeat *heartbeat)
{
    if (heartbeat->io_is_out || heartbeat->is_ending || heartbeat->life->is_killed)
        return;
    heartbeat->machine.wall_ns = environment_wall_ns(heartbeat->config.environment);
    const struct heartbeat_io *io = heartbeat_machine_next(&heartbeat->machine, now_ns(heartbeat));
    tell_end(heartbeat);
    if (io->type == HEARTBEAT_IO_NONE) {
        sleep_until(heartbeat, io->wake_ns);
        return;
    }
    heartbeat->io_is_out = true;
    heartbeat->submitted_ns = now_ns(heartbeat);
    heartbeat->request = (struct block_request){
        .operation = io->is_write ? BLOCK_WRITE : BLOCK_READ,
        .offset = io->block * BLOCK_BYTES,
        .length = BLOCK_BYTES,
        .buffer = io->buffer,
        .complete = completed,
        .context = heartbeat,
    };
    block_device_submit(heartbeat->life->beat_path, &heartbeat->request);
}

static void woken(struct world_event *event)
{
    struct heartbeat *heartbeat =
        (struct heartbeat *)(void *)((char *)event - offsetof(struct heartbeat, wake));
    const struct ring3_life *life = heartbeat->life;
    if (!life->is_killed && ring3_life_is_paused(life))
        world_event_arm(life->ring3->world, event, life->world_node.paused_until_ns);
    else
        go_on(heartbeat);
}

// The process is gone: whoever still asks is told so.
void ring3_heartbeat_kill(struct heartbeat *heartbeat)
{
    heartbeat_machine_end(&heartbeat->machine, HEARTBEAT_END_CORE, "its process is gone");
}

// A poll that is cut short; what is under way is waited for.
void ring3_heartbeat_poke(struct heartbeat *heartbeat)
{
    if (!heartbeat->io_is_out && !heartbeat->is_ending)
        ring3_arm_in(heartbeat->life->ring3, &heartbeat->wake, 0);
}

// --- start and stop --------------------------------------------------------------------------

int heartbeat_start(const struct heartbeat_thread_config *config, struct heartbeat **out)
{
    struct heartbeat *heartbeat = calloc(1, sizeof(*heartbeat));
    CHECK(heartbeat != NULL);
    heartbeat->config = *config;
    heartbeat->life = (struct ring3_life *)config->environment;
    heartbeat->wake.fire = woken;
    heartbeat->post.fire = posted;
    heartbeat->buffer = block_buffer_new(BLOCK_BYTES);
    heartbeat_machine_init(&heartbeat->machine, &heartbeat->config.heartbeat, heartbeat->buffer,
                           now_ns(heartbeat));
    heartbeat->life->heartbeat = heartbeat;
    ring3_heartbeat_poke(heartbeat);
    *out = heartbeat;
    return 0;
}

// Production blocks the core here; the coroutine that waits comes to the same, as the node's other
// work is over.
int heartbeat_stop(struct heartbeat *heartbeat, enum heartbeat_state state)
{
    struct ring3_life *life = heartbeat->life;
    struct environment *environment = heartbeat->config.environment;
    uint64_t until_ns =
        now_ns(heartbeat) + heartbeat->config.heartbeat.lease.lease_ns + 1000 * RING3_MS;
    if (heartbeat->machine.state_durable != state && !life->is_killed) {
        heartbeat_machine_set_state(&heartbeat->machine, state);
        ring3_heartbeat_poke(heartbeat);
    }
    while (heartbeat->machine.state_durable != state && now_ns(heartbeat) < until_ns &&
           !life->is_killed)
        environment_sleep(environment, 5 * RING3_MS);
    int result = heartbeat->machine.state_durable == state ? 0 : -ERROR_HEARTBEAT_FAILED;
    heartbeat->is_ending = true;
    while (heartbeat->io_is_out)
        environment_sleep(environment, 5 * RING3_MS);
    world_event_disarm(life->ring3->world, &heartbeat->wake);
    world_event_disarm(life->ring3->world, &heartbeat->post);
    life->heartbeat = NULL;
    free(heartbeat->buffer);
    free(heartbeat);
    return result;
}

// --- orders and questions --------------------------------------------------------------------

void heartbeat_set_state(struct heartbeat *heartbeat, enum heartbeat_state state)
{
    heartbeat_machine_set_state(&heartbeat->machine, state);
    ring3_heartbeat_poke(heartbeat);
}

void heartbeat_set_lamport(struct heartbeat *heartbeat, uint64_t lamport)
{
    heartbeat->machine.lamport = lamport;
}

void heartbeat_watch(struct heartbeat *heartbeat, uint32_t slot, bool on)
{
    heartbeat_machine_watch(&heartbeat->machine, slot, on);
    ring3_heartbeat_poke(heartbeat);
}

void heartbeat_fence(struct heartbeat *heartbeat, uint32_t slot, uint64_t incarnation,
                     uint64_t yield_until_ns, const char *reason)
{
    heartbeat_machine_fence(&heartbeat->machine, slot, incarnation, yield_until_ns, reason);
    ring3_heartbeat_poke(heartbeat);
}

void heartbeat_fence_cancel(struct heartbeat *heartbeat, uint32_t slot)
{
    heartbeat_machine_fence_cancel(&heartbeat->machine, slot);
}

void heartbeat_free_slot(struct heartbeat *heartbeat, uint32_t slot, uint64_t incarnation)
{
    heartbeat_machine_free(&heartbeat->machine, slot, incarnation);
    ring3_heartbeat_poke(heartbeat);
}

void heartbeat_write_stopped(struct heartbeat *heartbeat)
{
    heartbeat_set_state(heartbeat, HEARTBEAT_STOPPED);
}

void heartbeat_status_get(struct heartbeat *heartbeat, struct heartbeat_status *status)
{
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
}

void heartbeat_slot_get(struct heartbeat *heartbeat, uint32_t slot,
                        struct heartbeat_slot_info *info)
{
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
                                             now_ns(heartbeat)),
    };
    memcpy(info->node_name, seen->node_name, sizeof(info->node_name));
}
