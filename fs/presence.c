// SPDX-License-Identifier: Apache-2.0
#include "fs/presence.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dlm/fence.h"
#include "fs/base/check.h"
#include "fs/guard.h"

struct presence {
    struct presence_config config;
    struct heartbeat *heartbeat;
    uint32_t slot;
    uint64_t incarnation;
};

// --- the heartbeat thread's callbacks ----------------------------------------------------------

static void lease_extended(void *context, uint64_t until_ns)
{
    struct presence *presence = context;
    atomic_store_explicit(&presence->config.gate->lease_until_ns, until_ns, memory_order_release);
}

static void tell_guard(const struct presence *presence, enum guard_message_type type)
{
    if (presence->config.guard_socket < 0)
        return;
    struct guard_message message = {
        .type = type,
        .node_id = presence->config.node_id,
        .slot = presence->slot,
        .incarnation = presence->incarnation,
    };
    guard_message_send(presence->config.guard_socket, &message);
}

static void core_hung(void *context, uint64_t hung_ns)
{
    struct presence *presence = context;
    (void)hung_ns;
    tell_guard(presence, GUARD_CORE_HUNG);
}

static void ended_now(void *context, int error)
{
    struct presence *presence = context;
    (void)error;
    atomic_store(&presence->config.gate->state, GATE_ENDED);
}

static void ended(void *context, int error, const char *reason)
{
    struct presence *presence = context;
    presence->config.ended(presence->config.context, error, reason);
}

static void changed(void *context)
{
    struct presence *presence = context;
    presence->config.changed(presence->config.context);
}

// --- life ------------------------------------------------------------------------------------

static int start_heartbeat(struct presence *presence, uint64_t recovered_incarnation)
{
    const struct presence_config *config = &presence->config;
    struct heartbeat_thread_config thread = {
        .heartbeat =
            {
                .lease = config->lease,
                .geometry = config->geometry,
                .slot = presence->slot,
                .node_id = config->node_id,
                .incarnation = presence->incarnation,
                .recovered_incarnation = recovered_incarnation,
                .replaced_incarnation = config->replaced_incarnation,
                .state = HEARTBEAT_JOINING,
                .watch_ns = config->lease.beat_ns / 2,
            },
        .descriptor = config->descriptor,
        .uses_fua = config->has_volatile_cache,
        .environment = config->environment,
        .log = config->log,
        .context = presence,
        .lease_extended = lease_extended,
        .core_hung = core_hung,
        .ended_now = ended_now,
        .ended = ended,
        .changed = changed,
    };
    memcpy(thread.heartbeat.cluster_id, config->cluster_id, 16);
    memcpy(thread.heartbeat.node_name, config->node_name, FORMAT_NODE_NAME_BYTES);
    return heartbeat_start(&thread, &presence->heartbeat);
}

int presence_start(const struct presence_config *config, uint32_t slot, uint64_t incarnation,
                   uint64_t recovered_incarnation, struct presence **out)
{
    int result = guard_slot_lock(config->descriptor, slot);
    if (result != 0)
        return result;
    struct presence *presence = calloc(1, sizeof(*presence));
    CHECK(presence != NULL);
    presence->config = *config;
    presence->slot = slot;
    presence->incarnation = incarnation;
    tell_guard(presence, GUARD_IDENTITY);
    result = start_heartbeat(presence, recovered_incarnation);
    if (result != 0) {
        free(presence);
        return result;
    }
    *out = presence;
    return 0;
}

int presence_stop(struct presence *presence)
{
    int result = heartbeat_stop(presence->heartbeat, HEARTBEAT_FREE);
    if (result == 0)
        tell_guard(presence, GUARD_LEFT);
    free(presence);
    return result;
}

void presence_abandon(struct presence *presence)
{
    heartbeat_stop(presence->heartbeat, HEARTBEAT_STOPPED);
    free(presence);
}

struct heartbeat *presence_heartbeat(struct presence *presence)
{
    return presence->heartbeat;
}

uint32_t presence_slot(const struct presence *presence)
{
    return presence->slot;
}
