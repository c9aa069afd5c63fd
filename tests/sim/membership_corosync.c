// SPDX-License-Identifier: Apache-2.0
// The lives as workers of the simulated corosync (totem.h), and where rings rip.
#include "dlm/membership_message.h"
#include "tests/sim/membership_world.h"

static struct sim_node *node_of(const struct totem_node *node)
{
    return (struct sim_node *)node;
}

static bool worker(const struct totem_node *node, struct totem_worker *worker)
{
    const struct sim_life *life = node_of(node)->life;
    if (life != NULL)
        *worker = (struct totem_worker){life->is_connected, life->is_paused, life->deaf_until_ns};
    return life != NULL;
}

static void event(struct totem_node *node, const struct membership_event *event)
{
    life_event(node_of(node)->life, event);
}

static void own_delivered(struct totem_node *node, const struct totem_message *message)
{
    if (message->bytes[6] == MEMBERSHIP_MESSAGE_PROVED) // as its header says
        sim_proved_delivered(node_of(node));
}

static void delivered(struct totem_node *node)
{
    struct sim *sim = node_of(node)->sim;
    if (sim->rip_in > 0 && --sim->rip_in == 0)
        world_event_arm(&sim->world, &sim->ripping, sim->world.now_ns);
}

static void trace(struct totem *totem, const char *line)
{
    sim_trace(node_of(totem->nodes[0])->sim, "%s", line);
}

void sim_totem_init(struct sim *sim)
{
    static const struct totem_host host = {worker, event, own_delivered, delivered, trace};
    totem_init(&sim->totem, &sim->world, &host);
    for (uint32_t i = 0; i < sim->node_count; i++)
        totem_node_add(&sim->totem, &sim->nodes[i].totem);
}
