// SPDX-License-Identifier: Apache-2.0
#include "fs/solo.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "dlm/claim.h"
#include "fs/base/check.h"
#include "fs/base/coroutine.h"
#include "fs/base/error.h"
#include "fs/dlm_service.h"
#include "fs/gated_device.h"
#include "fs/presence.h"
#include "fs/recovery.h"
#include "fs/slot_takeover.h"
#include "fs/slots.h"

enum { SOLO_NODE_ID = 1 };

// How far a join is, for who asks why it takes so long.
enum solo_step {
    SOLO_CLAIMING,
    SOLO_TAKING_OVER,
    SOLO_JOINING,
    SOLO_FENCING,
    SOLO_REPLAYING,
    SOLO_RUNNING,
};

struct solo {
    struct solo_config config;
    struct presence *presence;
    struct dlm_service *locks;
    struct claim claim;
    struct slot_survey survey;
    struct environment_timer tick;
    enum solo_step step;
    uint64_t incarnation;
    uint32_t slot;
    uint64_t replaced; // whose slot was taken over, with its journal; 0: it was free
    bool is_beating;   // a claim beat is under way
    bool is_closing;
    int failure;
    struct wait_queue moved;
};

static struct scheduler *scheduler_of(const struct solo *solo)
{
    return solo->config.environment->scheduler;
}

static void fail(struct solo *solo, int error, const char *reason)
{
    if (solo->failure != 0)
        return;
    solo->failure = error;
    volume_fail(solo->config.volume, error, reason);
    gated_device_gate_moved(solo->config.gated_device);
    gated_device_gate_moved(solo->config.volume->recovery_device);
    wait_queue_wake_all(scheduler_of(solo), &solo->moved);
    solo->config.ended(solo->config.context, error);
}

// --- the claim -------------------------------------------------------------------------------

static int take_claim(struct solo *solo)
{
    struct environment *environment = solo->config.environment;
    struct claim_config config = {
        .device = solo->config.device,
        .scheduler = environment->scheduler,
        .geometry = &solo->config.volume->geometry,
        .clock = claim_clock_environment(environment),
        .purpose = CLAIM_LOCAL,
        .io_max_ns = solo->config.lease.io_max_ns,
    };
    uint64_t words[2] = {environment_random_u64(environment), environment_random_u64(environment)};
    memcpy(config.holder, words, sizeof(words));
    gethostname(config.host_name, sizeof(config.host_name) - 1);
    struct claim_users users = {0};
    int result = claim_acquire(&solo->claim, &config, &users);
    if (result == -ERROR_CLAIM_HELD) {
        TEXT(text, 512);
        claim_users_to_text(&users, &text);
        log_error(solo->config.log, ERROR_CLAIM_HELD, "%s is in use by %s",
                  solo->config.device->name, text.bytes);
    }
    return result;
}

static void beat(void *argument)
{
    struct solo *solo = argument;
    int result = claim_beat(&solo->claim);
    solo->is_beating = false;
    wait_queue_wake_all(scheduler_of(solo), &solo->moved);
    if (result != 0 && error_is_check(result))
        fail(solo, result, "keeping the claim on the volume");
}

static void tick(struct environment_timer *timer)
{
    struct solo *solo = (struct solo *)(void *)((char *)timer - offsetof(struct solo, tick));
    struct environment *environment = solo->config.environment;
    if (solo->is_closing || solo->failure != 0)
        return;
    environment_timer_arm(environment, timer,
                          environment_boot_ns(environment) + solo->config.lease.beat_ns);
    if (solo->presence != NULL)
        heartbeat_set_lamport(presence_heartbeat(solo->presence), solo->config.volume->clock.now);
    gated_device_gate_moved(solo->config.gated_device);
    gated_device_gate_moved(solo->config.volume->recovery_device);
    if (solo->is_beating)
        return;
    solo->is_beating = true;
    coroutine_start(environment->scheduler, "claim beat", beat, solo);
}

// --- presence --------------------------------------------------------------------------------

static void presence_ended(void *context, int error, const char *reason)
{
    fail(context, error, reason);
}

static void presence_changed(void *context)
{
    struct solo *solo = context;
    wait_queue_wake_all(scheduler_of(solo), &solo->moved);
}

// The claim is kept by tick().
static int take_over(struct solo *solo)
{
    const struct slot_takeover takeover = {
        .device = solo->config.device,
        .scheduler = solo->config.environment->scheduler,
        .clock = claim_clock_environment(solo->config.environment),
        .geometry = &solo->config.volume->geometry,
        .lease = solo->config.lease,
    };
    log_notice(solo->config.log, SLOT_TAKEOVER_NOTICE, solo->survey.slot_count);
    solo->step = SOLO_TAKING_OVER;
    int result = slot_takeover_wait(&takeover, &solo->survey, &solo->slot);
    solo->step = SOLO_JOINING;
    if (result == 0)
        solo->replaced = solo->survey.slots[solo->slot].heartbeat.incarnation;
    return result;
}

static int take_slot(struct solo *solo)
{
    uint64_t block = 0;
    int result = slot_survey_read(&solo->survey, solo->config.device, scheduler_of(solo),
                                  &solo->config.volume->geometry, &block);
    if (result != 0) {
        log_error(solo->config.log, error_is_check(result) ? -result : 0,
                  "%s: block %llu of the slot table: %s: run fsck.lunfs", solo->config.device->name,
                  (unsigned long long)block, error_text(result));
        return result;
    }
    result = slot_survey_choose(&solo->survey, 0, &solo->slot);
    if (result == -ERROR_VOLUME_SLOTS)
        result = take_over(solo);
    if (result != 0)
        return result;
    lamport_observe(&solo->config.volume->clock, solo->survey.lamport_max);
    solo->incarnation = solo->survey.incarnation_max + 1;
    struct presence_config config = {
        .environment = solo->config.environment,
        .log = solo->config.log,
        .gate = solo->config.volume->gate,
        .geometry = &solo->config.volume->geometry,
        .lease = solo->config.lease,
        .descriptor = solo->config.descriptor,
        .has_volatile_cache = solo->config.device->has_volatile_cache,
        .guard_socket = solo->config.guard_socket,
        .replaced_incarnation = solo->replaced,
        .context = solo,
        .ended = presence_ended,
        .changed = presence_changed,
    };
    gethostname(config.node_name, sizeof(config.node_name) - 1);
    uint64_t before = solo->survey.slots[solo->slot].heartbeat.recovered_incarnation;
    return presence_start(&config, solo->slot, solo->incarnation, before, &solo->presence);
}

// --- recovery of whoever was here ----------------------------------------------------------------

static bool is_fenced(struct solo *solo, const struct recovery_victim *victim)
{
    struct heartbeat_slot_info info;
    heartbeat_slot_get(presence_heartbeat(solo->presence), victim->slot, &info);
    return info.fence_verdict == LEASE_FENCE_DONE;
}

static int wait_until_fenced(struct solo *solo, const struct recovery_victim *victims, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        while (solo->failure == 0 && !is_fenced(solo, &victims[i]))
            wait_queue_wait(scheduler_of(solo), &solo->moved);
    }
    return solo->failure;
}

static int recover_own(struct solo *solo)
{
    struct recovery_victim before = {solo->slot, solo->replaced};
    if (solo->replaced == 0)
        return 0;
    solo->survey.slots[solo->slot].is_in_use = false;
    solo->step = SOLO_REPLAYING;
    return recovery_replay_own(solo->config.volume, &before);
}

static int recover_all(struct solo *solo)
{
    struct recovery_victim victims[FORMAT_SLOT_COUNT_MAX];
    size_t count = 0;
    struct heartbeat *heartbeat = presence_heartbeat(solo->presence);
    int result = recover_own(solo);
    if (result != 0)
        return result;
    for (uint32_t slot = 0; slot < solo->survey.slot_count; slot++) {
        uint64_t incarnation = solo->survey.slots[slot].heartbeat.incarnation;
        if (!solo->survey.slots[slot].is_in_use)
            continue;
        victims[count++] = (struct recovery_victim){slot, incarnation};
        heartbeat_fence(heartbeat, slot, incarnation, 0, "a local mount takes the volume over");
    }
    if (count == 0)
        return 0;
    log_notice(solo->config.log, "%zu nodes did not leave cleanly: waiting for their leases",
               count);
    solo->step = SOLO_FENCING;
    result = wait_until_fenced(solo, victims, count);
    solo->step = SOLO_REPLAYING;
    if (result == 0)
        result = recovery_replay_and_free(solo->config.volume, heartbeat, victims, count);
    return result;
}

// --- life ------------------------------------------------------------------------------------

static struct dlm_service *locks_of_one(struct volume *volume, uint64_t incarnation)
{
    struct dlm_node self = {SOLO_NODE_ID, incarnation};
    struct dlm_service_config config = {.self = self, .clock = &volume->clock};
    struct dlm_service *locks = dlm_service_new(&config);
    struct dlm_view view = {.epoch = 1, .member_count = 1, .members = {self}};
    dlm_service_view(locks, &view);
    return locks;
}

struct dlm_service *solo_locks_alone(struct volume *volume)
{
    return locks_of_one(volume, 1);
}

static void open_gate(struct solo *solo)
{
    int suspended = GATE_SUSPENDED;
    atomic_compare_exchange_strong(&solo->config.volume->gate->state, &suspended, GATE_RUNNING);
    gated_device_gate_moved(solo->config.gated_device);
    gated_device_gate_moved(solo->config.volume->recovery_device);
}

int solo_join(struct solo *solo)
{
    struct environment *environment = solo->config.environment;
    solo->step = SOLO_CLAIMING;
    int result = take_claim(solo);
    if (result != 0)
        return result;
    solo->step = SOLO_JOINING;
    environment_timer_arm(environment, &solo->tick,
                          environment_boot_ns(environment) + solo->config.lease.beat_ns);
    result = take_slot(solo);
    if (result != 0)
        return result;
    open_gate(solo); // replay writes through it
    result = recover_all(solo);
    if (result != 0)
        return result;
    heartbeat_set_state(presence_heartbeat(solo->presence), HEARTBEAT_RUNNING);
    solo->locks = locks_of_one(solo->config.volume, solo->incarnation);
    solo->step = SOLO_RUNNING;
    return 0;
}

static void solo_free(struct solo *solo)
{
    solo->is_closing = true;
    environment_timer_disarm(solo->config.environment, &solo->tick);
    while (solo->is_beating)
        wait_queue_wait(scheduler_of(solo), &solo->moved);
    if (solo->locks != NULL)
        dlm_service_free(solo->locks);
    free(solo);
}

struct solo *solo_new(const struct solo_config *config)
{
    struct solo *solo = calloc(1, sizeof(*solo));
    CHECK(solo != NULL);
    solo->config = *config;
    solo->tick.fire = tick;
    wait_queue_init(&solo->moved);
    return solo;
}

static void waits_to_text(const struct solo *solo, struct text *text)
{
    for (uint32_t slot = 0; slot < solo->survey.slot_count; slot++) {
        const struct heartbeat_content *found = &solo->survey.slots[slot].heartbeat;
        struct heartbeat_slot_info info;
        if (!solo->survey.slots[slot].is_in_use)
            continue;
        heartbeat_slot_get(presence_heartbeat(solo->presence), slot, &info);
        if (info.fence_verdict != LEASE_FENCE_DONE)
            text_add(text, "fencing %s (slot %u) by lease, %llu s left\n", found->node_name, slot,
                     (unsigned long long)((info.fence_left_ns + 999999999u) / 1000000000u));
    }
}

void solo_status_to_text(const struct solo *solo, struct text *text)
{
    if (solo->step == SOLO_CLAIMING)
        text_add(text, "taking the volume\n");
    else if (solo->step == SOLO_TAKING_OVER)
        text_add(text, "waiting until the leases of all slots are certainly over\n");
    else if (solo->step == SOLO_FENCING)
        waits_to_text(solo, text);
    else if (solo->step == SOLO_REPLAYING)
        text_add(text, "replaying the journals of who did not leave cleanly\n");
}

uint32_t solo_slot(const struct solo *solo)
{
    return solo->slot;
}

uint64_t solo_incarnation(const struct solo *solo)
{
    return solo->incarnation;
}

struct dlm_service *solo_locks(struct solo *solo)
{
    return solo->locks;
}

static void wait_for_claim_beat(struct solo *solo)
{
    solo->is_closing = true;
    environment_timer_disarm(solo->config.environment, &solo->tick);
    while (solo->is_beating)
        wait_queue_wait(scheduler_of(solo), &solo->moved);
}

int solo_leave(struct solo *solo)
{
    wait_for_claim_beat(solo);
    int result = presence_stop(solo->presence);
    int released = claim_release(&solo->claim);
    solo_free(solo);
    return result != 0 ? result : released;
}

// A mount that never began gives the claim back; one that failed leaves it to run out.
void solo_abandon(struct solo *solo)
{
    wait_for_claim_beat(solo);
    if (solo->presence != NULL)
        presence_abandon(solo->presence);
    else if (solo->claim.is_held)
        claim_release(&solo->claim);
    solo_free(solo);
}
