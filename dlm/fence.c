// SPDX-License-Identifier: Apache-2.0
// One entry a victim. The lease fence runs in the heartbeat thread, the command in the guard; the
// first of them that proves the victim harmless ends the entry.
#include "dlm/fence.h"

#include <stdlib.h>
#include <string.h>

#include "dlm/heartbeat.h"
#include "fs/base/check.h"
#include "fs/base/error.h"

enum { VICTIMS_MAX = FORMAT_SLOT_COUNT_MAX };

struct fence_entry {
    struct environment_timer command_timer; // first: when to run the command
    struct fence *fence;
    struct fence_victim victim;
    uint32_t command_id; // of the run under way; 0: none
    bool is_used;
    bool command_failed;
};

struct fence {
    struct fence_config config;
    struct fence_entry entries[VICTIMS_MAX];
    uint32_t next_command_id;
};

const char *fence_method_text(enum fence_method method)
{
    static const char *const texts[] = {"nothing", "its guard proved that it has drained",
                                        "the fence command", "an administrator's word",
                                        "its lease is over"};
    return texts[method];
}

struct fence *fence_new(const struct fence_config *config)
{
    struct fence *fence = calloc(1, sizeof(*fence));
    CHECK(fence != NULL);
    fence->config = *config;
    fence->next_command_id = 1;
    return fence;
}

static struct fence_entry *find(struct fence *fence, uint32_t slot, uint64_t incarnation)
{
    for (int i = 0; i < VICTIMS_MAX; i++) {
        struct fence_entry *entry = &fence->entries[i];
        if (entry->is_used && entry->victim.slot == slot &&
            entry->victim.incarnation == incarnation)
            return entry;
    }
    return NULL;
}

static void forget(struct fence_entry *entry)
{
    struct fence *fence = entry->fence;
    environment_timer_disarm(fence->config.environment, &entry->command_timer);
    if (fence->config.allows_lease)
        heartbeat_fence_cancel(fence->config.heartbeat, entry->victim.slot);
    entry->is_used = false;
}

void fence_free(struct fence *fence)
{
    for (int i = 0; i < VICTIMS_MAX; i++) {
        if (fence->entries[i].is_used)
            forget(&fence->entries[i]);
    }
    free(fence);
}

static void succeed(struct fence_entry *entry, enum fence_method method)
{
    struct fence *fence = entry->fence;
    struct fence_victim victim = entry->victim;
    forget(entry);
    fence->config.fenced(fence->config.context, victim.slot, victim.incarnation, method);
}

// --- the command -----------------------------------------------------------------------------

static void run_command(struct environment_timer *timer)
{
    struct fence_entry *entry = (struct fence_entry *)timer;
    struct fence *fence = entry->fence;
    struct guard_message message = {
        .type = GUARD_FENCE_RUN,
        .id = fence->next_command_id++,
        .node_id = entry->victim.node_id,
        .slot = entry->victim.slot,
        .incarnation = entry->victim.incarnation,
    };
    text_copy(message.name, sizeof(message.name), entry->victim.name);
    int result = guard_message_send(fence->config.guard_socket, &message);
    if (result == 0)
        entry->command_id = message.id;
    else
        log_error(fence->config.log, 0, "the guard cannot be asked to fence %s: %s",
                  entry->victim.name, error_text(result));
}

void fence_guard_answered(struct fence *fence, const struct guard_message *message)
{
    if (message->type != GUARD_FENCE_RESULT)
        return;
    for (int i = 0; i < VICTIMS_MAX; i++) {
        struct fence_entry *entry = &fence->entries[i];
        if (!entry->is_used || entry->command_id != message->id)
            continue;
        entry->command_id = 0;
        if (message->status == 0) {
            succeed(entry, FENCE_METHOD_COMMAND);
            return;
        }
        entry->command_failed = true;
        log_error(fence->config.log, 0, "the fence command against %s ended with status %u",
                  entry->victim.name, message->status);
    }
}

// --- starting and stopping -------------------------------------------------------------------

static void start_lease_fence(struct fence *fence, const struct fence_victim *victim)
{
    uint64_t not_before =
        victim->yields ? environment_boot_ns(fence->config.environment) + victim->yield_ns : 0;
    heartbeat_fence(fence->config.heartbeat, victim->slot, victim->incarnation, not_before,
                    victim->reason);
}

void fence_start(struct fence *fence, const struct fence_victim *victim)
{
    if (find(fence, victim->slot, victim->incarnation) != NULL)
        return;
    struct fence_entry *entry = fence->entries;
    while (entry->is_used) {
        entry++;
        CHECK(entry < fence->entries + VICTIMS_MAX);
    }
    *entry = (struct fence_entry){
        .fence = fence, .victim = *victim, .is_used = true, .command_timer.fire = run_command};
    if (fence->config.allows_lease)
        start_lease_fence(fence, victim);
    if (!fence->config.has_command || fence->config.guard_socket < 0)
        return;
    // A worker that died on a live node is usually proved drained at once: no need to shoot it.
    uint64_t wait = victim->is_node_up ? fence->config.command_wait_ns : 0;
    environment_timer_arm(fence->config.environment, &entry->command_timer,
                          environment_boot_ns(fence->config.environment) + wait);
}

void fence_cancel(struct fence *fence, uint32_t slot, uint64_t incarnation)
{
    struct fence_entry *entry = find(fence, slot, incarnation);
    if (entry != NULL)
        forget(entry);
}

bool fence_confirm(struct fence *fence, uint32_t node_id)
{
    for (int i = 0; i < VICTIMS_MAX; i++) {
        struct fence_entry *entry = &fence->entries[i];
        if (!entry->is_used || entry->victim.node_id != node_id)
            continue;
        log_line(fence->config.log, LOG_LEVEL_WARNING, 0,
                 "an administrator vouches that %s is down", entry->victim.name);
        succeed(entry, FENCE_METHOD_CONFIRMED);
        return true;
    }
    return false;
}

void fence_heartbeat_changed(struct fence *fence)
{
    for (int i = 0; i < VICTIMS_MAX && fence->config.allows_lease; i++) {
        struct fence_entry *entry = &fence->entries[i];
        struct heartbeat_slot_info info;
        if (!entry->is_used)
            continue;
        heartbeat_slot_get(fence->config.heartbeat, entry->victim.slot, &info);
        if (info.fences && info.fence_verdict == LEASE_FENCE_DONE)
            succeed(entry, FENCE_METHOD_LEASE);
    }
}

void fence_status_to_text(struct fence *fence, struct text *text)
{
    for (int i = 0; i < VICTIMS_MAX; i++) {
        const struct fence_entry *entry = &fence->entries[i];
        struct heartbeat_slot_info info;
        if (!entry->is_used)
            continue;
        text_add(text, "%sfencing %s", text->length > 0 ? "\n" : "", entry->victim.name);
        if (fence->config.allows_lease) {
            heartbeat_slot_get(fence->config.heartbeat, entry->victim.slot, &info);
            text_add(text, " by lease, %llu s left",
                     (unsigned long long)(info.fence_left_ns + 999999999) / 1000000000);
        }
        if (entry->command_id != 0)
            text_add(text, ", the fence command runs");
        else if (entry->command_failed)
            text_add(text, ", the fence command failed");
        if (!fence->config.allows_lease && entry->command_id == 0)
            text_add(text, ": waits for `lunfs fence confirm %s`", entry->victim.name);
    }
}
