// SPDX-License-Identifier: Apache-2.0
// The first of all: a life that takes the volume, and every life's first beat.
#include "tests/sim/membership_life.h"

#include <stdlib.h>
#include <string.h>

#include "fs/base/check.h"

void life_start_heartbeat(struct sim_life *life, uint32_t slot)
{
    struct heartbeat_config config = {
        .lease = lease_config_of(SIM_LEASE_NS, SIM_IO_MAX_NS),
        .geometry = &life->sim->geometry,
        .slot = slot,
        .node_id = life->process.node_id,
        .incarnation = life->incarnation,
        .state = HEARTBEAT_JOINING,
        .watch_ns = SIM_LEASE_NS / 10,
    };
    life->slot = slot;
    life->heartbeat = calloc(1, sizeof(*life->heartbeat));
    life->buffer = block_buffer_new(BLOCK_BYTES);
    CHECK(life->heartbeat != NULL);
    heartbeat_machine_init(life->heartbeat, &config, life->buffer, life_now(life));
    for (uint32_t i = 0; i < SIM_SLOTS; i++)
        heartbeat_machine_watch(life->heartbeat, i, i != slot);
    life_arm_in(life, &life->beat, 0);
}

// Every slot was left behind: under its claim, after a lease's length in which nothing moved, the
// founder replays one journal and takes that slot.
static void free_one_slot(struct sim_life *life, const struct membership_node *node)
{
    struct sim *sim = life->sim;
    struct heartbeat_content content = {.incarnation = node->incarnation,
                                        .recovered_incarnation = node->incarnation,
                                        .node_id = node->node_id,
                                        .state = HEARTBEAT_FREE};
    check_replay_begins(life, node);
    sim->disk.is_dirty[node->slot] = false;
    heartbeat_encode(sim->disk.heartbeats[node->slot], &sim->geometry, node->slot, &content);
}

void life_found_fires(struct world_event *event)
{
    struct sim_life *life = life_of_event(event, offsetof(struct sim_life, found));
    struct sim *sim = life->sim;
    struct membership_node dead[SIM_SLOTS];
    uint32_t count = 0, slot = MEMBERSHIP_NO_SLOT;
    if (life->is_paused) {
        life_arm_in(life, event, 50 * MS);
        return;
    }
    for (uint32_t i = 0; i < sim->life_count; i++) { // somebody's heartbeat moves
        struct sim_life *other = &sim->lives[i];
        if (other != life && other->is_alive && other->heartbeat != NULL && !other->is_paused &&
            !other->on_other_lun && other->heartbeat->end == HEARTBEAT_ALIVE &&
            !other->heartbeat->is_silent) {
            life_ends(life, "the volume is in use");
            return;
        }
    }
    for (uint32_t i = 0; i < SIM_SLOTS; i++) {
        struct heartbeat_content content;
        bool is_read = disk_slot(sim, i, &content);
        CHECK(is_read);
        if (content.state != HEARTBEAT_FREE)
            dead[count++] = (struct membership_node){content.node_id, i, content.incarnation};
        else if (slot == MEMBERSHIP_NO_SLOT)
            slot = i;
    }
    if (slot == MEMBERSHIP_NO_SLOT) {
        life_arm_in(life, event, SIM_LEASE_NS + SIM_LEASE_NS / 5 + SIM_IO_MAX_NS);
        if (life->has_waited)
            free_one_slot(life, &dead[0]);
        life->has_waited = true;
        return;
    }
    life_start_heartbeat(life, slot);
    memcpy(life->found_dead, dead, count * sizeof(dead[0]));
    life->found_count = count;
    life->is_founding = true;
}

// Nobody is told of a founder before its first beat is durable: who comes after it must find it.
void life_report_founded(struct sim_life *life)
{
    if (!life->is_founding || life->heartbeat->state_durable != HEARTBEAT_JOINING)
        return;
    life->is_founding = false;
    struct membership_event founded = {
        .type = MEMBERSHIP_EVENT_FOUNDED,
        .founded = {.slot = life->slot, .dead = life->found_dead, .dead_count = life->found_count}};
    life_event(life, &founded);
}

void life_begin_found(struct sim_life *life)
{
    struct sim *sim = life->sim;
    if (life->on_other_lun) {
        life_ends(life,
                  "it has another LUN, and found it so"); // by what nobody else has to do with
        return;
    }
    if (sim->disk.claimer != NULL && sim->disk.claimer->is_alive) {
        life_ends(life, "another one claims the volume");
        return;
    }
    sim->disk.claimer = life;
    // Not left cleanly: two beats and io_max are watched (rule 15).
    life_arm_in(life, &life->found, 2000 * MS + SIM_IO_MAX_NS + sim_below(sim, 1000 * MS));
}
