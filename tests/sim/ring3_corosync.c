// SPDX-License-Identifier: Apache-2.0
// dlm/membership_corosync.h over the simulated corosync (totem.h), whose workers are the machines'
// lives.
#include "dlm/membership_corosync.h"

#include <stdlib.h>
#include <string.h>

#include "fs/base/check.h"
#include "fs/base/error.h"
#include "fs/base/text.h"
#include "tests/sim/ring3.h"
#include "tests/sim/totem.h"

struct corosync {
    struct corosync_open_config config;
    struct ring3_life *life;
    bool has_left;
};

// A machine's corosync, and the connection of the worker there.
struct ring3_node {
    struct totem_node totem; // first
    struct ring3_machine *machine;
    uint32_t pid; // of the worker; 0: none
    struct totem_worker worker;
    bool waits_for_ring; // came while its corosync was in none: joins with the next
};

struct ring3_totem {
    struct totem totem; // first
    struct world world;
    struct ring3 *ring3;
    struct ring3_node nodes[TOTEM_NODES_MAX];
};

static struct ring3_node *node_of(const struct ring3_machine *machine)
{
    return &machine->ring3->totem->nodes[machine->node_id - 1];
}

// --- what totem.c asks for ---------------------------------------------------------------------

static bool worker(const struct totem_node *totem_node, struct totem_worker *worker)
{
    const struct ring3_node *node = (const struct ring3_node *)totem_node;
    *worker = node->worker;
    return node->pid != 0;
}

static void tell(struct totem_node *totem_node, const struct membership_event *event)
{
    const struct ring3_machine *machine = ((const struct ring3_node *)totem_node)->machine;
    const struct ring3_life *life = machine->life;
    if (life == NULL || life->is_killed || life->corosync == NULL)
        return;
    if (life->ring3->options.trace != NULL) {
        TEXT(text, 300);
        membership_event_to_text(event, &text);
        ring3_trace(life->ring3, "life %u <- %s", life->number, text.bytes);
    }
    life->corosync->config.event(life->corosync->config.context, event);
}

static void trace(struct totem *totem, const char *line)
{
    ring3_trace(((struct ring3_totem *)totem)->ring3, "%s", line);
}

// --- the contract ----------------------------------------------------------------------------

int corosync_config_read(struct corosync_config *config, struct log *log)
{
    const struct ring3_life *life = ((const struct ring3_log *)log)->life;
    *config = (struct corosync_config){
        .cluster_name = "ring3",
        .cluster_id = "ring 3 cluster",
        .node_id = life->machine->node_id,
        .node_count = life->ring3->machine_count,
        .token_ms = 1000,
        .is_two_node = life->ring3->machine_count == 2,
        .has_wait_for_all = life->ring3->machine_count == 2,
        .key_bytes = 1,
    };
    for (uint32_t i = 0; i < config->node_count; i++) {
        config->nodes[i].node_id = i + 1;
        snprintf(config->nodes[i].name, sizeof(config->nodes[i].name), "n%u", i + 1);
    }
    return 0;
}

const struct transport_node *corosync_config_node(const struct corosync_config *config,
                                                  uint32_t node_id)
{
    return node_id >= 1 && node_id <= config->node_count ? &config->nodes[node_id - 1] : NULL;
}

void corosync_config_wipe(struct corosync_config *config)
{
    config->key_bytes = 0;
}

int corosync_open(const struct corosync_open_config *config, struct corosync **out)
{
    struct corosync *corosync = calloc(1, sizeof(*corosync));
    struct ring3_life *life = (struct ring3_life *)config->environment;
    struct ring3_node *node = node_of(life->machine);
    CHECK(corosync != NULL);
    if (!node->totem.has_corosync) {
        free(corosync);
        return -ERROR_COROSYNC;
    }
    corosync->config = *config;
    corosync->life = life;
    life->corosync = corosync;
    *out = corosync;
    if (life->is_killed)
        return 0;
    node->pid = life->pid;
    node->worker = (struct totem_worker){true, ring3_life_is_paused(life), 0};
    node->waits_for_ring = node->totem.ring == NULL;
    if (node->totem.ring != NULL)
        totem_worker_connects(&node->totem, life->pid);
    return 0;
}

static void disconnect(struct ring3_life *life, bool is_clean)
{
    struct ring3_node *node = node_of(life->machine);
    if (node->pid != life->pid)
        return;
    node->pid = 0;
    totem_worker_gone(&node->totem, life->pid, is_clean);
}

void corosync_close(struct corosync *corosync)
{
    if (!corosync->life->is_killed)
        disconnect(corosync->life, corosync->has_left);
    corosync->life->corosync = NULL;
    free(corosync);
}

void corosync_multicast(struct corosync *corosync, const uint8_t *bytes, size_t length)
{
    const struct ring3_life *life = corosync->life;
    if (!life->is_killed && !corosync->has_left)
        totem_send(&node_of(life->machine)->totem, corosync_self(corosync), TOTEM_BYTES, bytes,
                   length);
}

void corosync_leave(struct corosync *corosync)
{
    corosync->has_left = true;
}

bool corosync_is_connected(const struct corosync *corosync)
{
    return !corosync->life->is_killed && node_of(corosync->life->machine)->totem.has_corosync;
}

struct membership_process corosync_self(const struct corosync *corosync)
{
    return (struct membership_process){corosync->life->machine->node_id, corosync->life->pid};
}

// --- ring 3's side -----------------------------------------------------------------------------

struct ring3_totem *ring3_totem_new(struct ring3 *ring3, uint64_t seed, struct scheduler *scheduler)
{
    static const struct totem_host host = {.worker = worker, .event = tell, .trace = trace};
    struct ring3_totem *totem = calloc(1, sizeof(*totem));
    CHECK(totem != NULL);
    totem->ring3 = ring3;
    world_init(&totem->world, seed, scheduler);
    totem_init(&totem->totem, &totem->world, &host);
    totem->totem.is_two_node = ring3->machine_count == 2;
    for (unsigned i = 0; i < ring3->machine_count; i++) {
        totem->nodes[i].machine = &ring3->machines[i];
        totem_node_add(&totem->totem, &totem->nodes[i].totem);
    }
    return totem;
}

void ring3_totem_free(struct ring3_totem *totem)
{
    totem_deinit(&totem->totem);
    world_deinit(&totem->world);
    free(totem);
}

struct world *ring3_totem_world(struct ring3_totem *totem)
{
    return &totem->world;
}

void ring3_totem_machine(struct ring3_machine *machine, bool is_up)
{
    struct ring3_node *node = node_of(machine);
    if (!is_up) {
        node->pid = 0;
        totem_stop(&node->totem);
        return;
    }
    node->totem.has_corosync = true;
    node->totem.restarted = true;
}

void ring3_totem_corosync(struct ring3_machine *machine, bool is_up)
{
    struct membership_event lost = {.type = MEMBERSHIP_EVENT_LOST};
    struct ring3_node *node = node_of(machine);
    if (!machine->is_up || node->totem.has_corosync == is_up)
        return;
    ring3_trace(machine->ring3, "n%u: corosync %s", machine->node_id, is_up ? "returns" : "dies");
    if (is_up) {
        ring3_totem_machine(machine, true);
        return;
    }
    totem_stop(&node->totem);
    if (node->pid == 0)
        return;
    node->worker.is_connected = false;
    tell(&node->totem, &lost);
}

static void reconnect(struct ring3_node *node)
{
    struct membership_event event = {.type = MEMBERSHIP_EVENT_RECONNECTED};
    bool waits_for_ring = node->waits_for_ring;
    if (node->pid == 0 || !node->totem.has_corosync)
        return;
    node->waits_for_ring = false;
    if (node->worker.is_connected) {
        if (waits_for_ring)
            totem_worker_connects(&node->totem, node->pid);
        return;
    }
    node->worker.is_connected = true;
    totem_worker_connects(&node->totem, node->pid);
    tell(&node->totem, &event);
}

void ring3_totem_reform(struct ring3 *ring3)
{
    uint32_t component[TOTEM_NODES_MAX] = {0};
    for (uint32_t i = 0; i < ring3->machine_count; i++)
        component[i] = ring3->machines[i].component;
    totem_reform(&ring3->totem->totem, component);
    for (uint32_t i = 0; i < ring3->machine_count; i++)
        reconnect(node_of(&ring3->machines[i]));
}

void ring3_totem_worker_gone(struct ring3_life *life)
{
    disconnect(life, false);
}

void ring3_totem_pause(struct ring3_life *life, bool is_paused)
{
    struct ring3_node *node = node_of(life->machine);
    if (node->pid == life->pid)
        node->worker.is_paused = is_paused;
}

// The guard says that the life's I/O has drained.
bool ring3_totem_drained(struct ring3_life *life)
{
    struct ring3 *ring3 = life->ring3;
    const struct totem_node *from = &node_of(life->machine)->totem;
    struct membership_event drained = {
        .type = MEMBERSHIP_EVENT_DRAINED,
        .drained = {.node = {life->machine->node_id, life->slot, life->incarnation}}};
    if (from->ring == NULL)
        return false;
    drained.drained.ring = from->ring->id;
    for (uint32_t i = 0; i < ring3->machine_count; i++) {
        struct ring3_node *node = node_of(&ring3->machines[i]);
        if (node->totem.ring == from->ring && node->pid != 0 && !node->worker.is_paused)
            tell(&node->totem, &drained);
    }
    return true;
}
