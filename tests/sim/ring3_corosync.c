// SPDX-License-Identifier: Apache-2.0
// dlm/membership_corosync.h over the corosync that the membership simulator plays
// (membership_totem.c): its struct sim here is nothing but the totem's, and each of its lives only
// says what a worker's connection is like.
#include "dlm/membership_corosync.h"

#include <stdlib.h>
#include <string.h>

#include "fs/base/check.h"
#include "fs/base/error.h"
#include "fs/base/text.h"
#include "tests/sim/membership_world.h"
#include "tests/sim/ring3.h"

struct corosync {
    struct corosync_open_config config;
    struct ring3_life *life;
    bool has_left;
};

struct ring3_totem {
    struct sim sim; // first: lives, slots and epochs of it stay empty
    struct ring3 *ring3;
    struct sim_life connections[SIM_NODES_MAX];
    bool waits_for_ring[SIM_NODES_MAX]; // came while its corosync was in none: joins with the next
};

static struct ring3_totem *totem_of(struct sim *sim)
{
    return (struct ring3_totem *)sim;
}

static struct sim_node *node_of(const struct ring3_machine *machine)
{
    return &machine->ring3->totem->sim.nodes[machine->node_id - 1];
}

// --- what membership_totem.c asks for ----------------------------------------------------------

uint64_t sim_below(struct sim *sim, uint64_t bound)
{
    return bound > 0 ? random_below(&sim->world.random, bound) : 0;
}

bool sim_one_in(struct sim *sim, uint64_t n)
{
    return random_one_in(&sim->world.random, n);
}

uint64_t sim_between(struct sim *sim, uint64_t low_ns, uint64_t high_ns)
{
    return low_ns + sim_below(sim, high_ns - low_ns + 1);
}

void sim_proved_delivered(struct sim_node *node)
{
    (void)node; // the membership simulator aims a fault there
}

void sim_trace(struct sim *sim, const char *format, ...)
{
    char line[300];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof(line), format, arguments);
    va_end(arguments);
    ring3_trace(totem_of(sim)->ring3, "%s", line);
}

void life_event(struct sim_life *connection, const struct membership_event *event)
{
    const struct ring3_machine *machine =
        &totem_of(connection->sim)->ring3->machines[connection->node->node_id - 1];
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
    struct ring3_totem *totem = life->ring3->totem;
    struct sim_node *node = node_of(life->machine);
    CHECK(corosync != NULL);
    if (!node->has_corosync) {
        free(corosync);
        return -ERROR_COROSYNC;
    }
    corosync->config = *config;
    corosync->life = life;
    life->corosync = corosync;
    *out = corosync;
    if (life->is_killed)
        return 0;
    struct sim_life *connection = &totem->connections[node->node_id - 1];
    *connection = (struct sim_life){.sim = &totem->sim,
                                    .node = node,
                                    .process = {node->node_id, life->pid},
                                    .is_alive = true,
                                    .is_connected = true,
                                    .is_paused = ring3_life_is_paused(life)};
    node->life = connection;
    totem->waits_for_ring[node->node_id - 1] = node->ring == NULL;
    if (node->ring != NULL)
        totem_worker_connects(node, life->pid);
    return 0;
}

static void disconnect(struct ring3_life *life, bool is_clean)
{
    struct sim_node *node = node_of(life->machine);
    if (node->life == NULL || node->life->process.pid != life->pid)
        return;
    node->life = NULL;
    totem_worker_gone(node, life->pid, is_clean);
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
        totem_send(node_of(life->machine), corosync_self(corosync), TOTEM_BYTES, bytes, length);
}

void corosync_leave(struct corosync *corosync)
{
    corosync->has_left = true;
}

bool corosync_is_connected(const struct corosync *corosync)
{
    return !corosync->life->is_killed && node_of(corosync->life->machine)->has_corosync;
}

struct membership_process corosync_self(const struct corosync *corosync)
{
    return (struct membership_process){corosync->life->machine->node_id, corosync->life->pid};
}

// --- ring 3's side -----------------------------------------------------------------------------

struct ring3_totem *ring3_totem_new(struct ring3 *ring3, uint64_t seed, struct scheduler *scheduler)
{
    struct ring3_totem *totem = calloc(1, sizeof(*totem));
    CHECK(totem != NULL);
    totem->ring3 = ring3;
    totem->sim.node_count = ring3->machine_count;
    totem->sim.is_two_node = ring3->machine_count == 2;
    world_init(&totem->sim.world, seed, scheduler);
    for (uint32_t i = 0; i < ring3->machine_count; i++) {
        totem->sim.nodes[i].sim = &totem->sim;
        totem->sim.nodes[i].node_id = i + 1;
    }
    totem_init(&totem->sim);
    return totem;
}

void ring3_totem_free(struct ring3_totem *totem)
{
    totem_deinit(&totem->sim);
    world_deinit(&totem->sim.world);
    free(totem);
}

struct world *ring3_totem_world(struct ring3_totem *totem)
{
    return &totem->sim.world;
}

void ring3_totem_machine(struct ring3_machine *machine, bool is_up)
{
    struct sim_node *node = node_of(machine);
    if (!is_up) {
        node->life = NULL;
        totem_stop(node);
        return;
    }
    node->has_corosync = true;
    node->restarted = true;
}

void ring3_totem_corosync(struct ring3_machine *machine, bool is_up)
{
    struct membership_event lost = {.type = MEMBERSHIP_EVENT_LOST};
    struct sim_node *node = node_of(machine);
    if (!machine->is_up || node->has_corosync == is_up)
        return;
    ring3_trace(machine->ring3, "n%u: corosync %s", machine->node_id, is_up ? "returns" : "dies");
    if (is_up) {
        ring3_totem_machine(machine, true);
        return;
    }
    totem_stop(node);
    if (node->life == NULL)
        return;
    node->life->is_connected = false;
    life_event(node->life, &lost);
}

static void reconnect(struct sim_node *node)
{
    struct membership_event event = {.type = MEMBERSHIP_EVENT_RECONNECTED};
    bool *waits_for_ring = &totem_of(node->sim)->waits_for_ring[node->node_id - 1];
    if (node->life == NULL || !node->has_corosync)
        return;
    if (node->life->is_connected) {
        if (*waits_for_ring)
            totem_worker_connects(node, node->life->process.pid);
        *waits_for_ring = false;
        return;
    }
    *waits_for_ring = false;
    node->life->is_connected = true;
    totem_worker_connects(node, node->life->process.pid);
    life_event(node->life, &event);
}

void ring3_totem_reform(struct ring3 *ring3)
{
    uint32_t component[SIM_NODES_MAX] = {0};
    for (uint32_t i = 0; i < ring3->machine_count; i++)
        component[i] = ring3->machines[i].component;
    totem_reform(&ring3->totem->sim, component);
    for (uint32_t i = 0; i < ring3->machine_count; i++)
        reconnect(node_of(&ring3->machines[i]));
}

void ring3_totem_worker_gone(struct ring3_life *life)
{
    disconnect(life, false);
}

void ring3_totem_pause(struct ring3_life *life, bool is_paused)
{
    struct sim_node *node = node_of(life->machine);
    if (node->life != NULL && node->life->process.pid == life->pid)
        node->life->is_paused = is_paused;
}

bool ring3_totem_drained(struct ring3_life *life)
{
    struct ring3 *ring3 = life->ring3;
    const struct sim_node *from = node_of(life->machine);
    struct membership_event drained = {
        .type = MEMBERSHIP_EVENT_DRAINED,
        .drained = {.node = {life->machine->node_id, life->slot, life->incarnation}}};
    if (from->ring == NULL)
        return false;
    drained.drained.ring = from->ring->id;
    for (uint32_t i = 0; i < ring3->machine_count; i++) {
        const struct sim_node *node = node_of(&ring3->machines[i]);
        if (node->ring == from->ring && node->life != NULL && !node->life->is_paused)
            life_event(node->life, &drained);
    }
    return true;
}
