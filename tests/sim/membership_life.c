// SPDX-License-Identifier: Apache-2.0
// A life of a node: how it begins, what its timers do, pauses and leaves, and its end.
#include "tests/sim/membership_life.h"

#include <inttypes.h>

// --- the end of a life -----------------------------------------------------------------------

// The guard waits until the worker's I/O has drained, and says so.
static void guard_fires(struct world_event *event)
{
    struct sim_life *life = life_of_event(event, offsetof(struct sim_life, guard));
    struct sim *sim = life->sim;
    if (!life->guard_is_alive || !life->node->is_up)
        return;
    if (life->is_alive) { // paused: killed before its lease is over
        if (life->is_paused)
            life_die(life, false);
        return;
    }
    if (life->in_flight > 0 || life->node->totem.ring == NULL) {
        life_arm_in(life, event, 20 * MS);
        return;
    }
    life->has_drained = true;
    for (uint32_t i = 0; i < sim->node_count; i++) {
        struct sim_node *node = &sim->nodes[i];
        if (node->totem.ring != life->node->totem.ring || node->life == NULL ||
            !node->life->is_connected || node->life->is_paused || node->life->is_stepping)
            continue;
        struct membership_event drained = {
            .type = MEMBERSHIP_EVENT_DRAINED,
            .drained = {.node = {life->process.node_id, life->slot, life->incarnation},
                        .ring = life->node->totem.ring->id}};
        life_event(node->life, &drained);
    }
}

static void forget_timers(struct sim_life *life)
{
    struct world *world = &life->sim->world;
    world_event_disarm(world, &life->tick);
    world_event_disarm(world, &life->beat);
    world_event_disarm(world, &life->data);
    world_event_disarm(world, &life->chore);
    world_event_disarm(world, &life->exit);
    world_event_disarm(world, &life->found);
}

void life_die(struct sim_life *life, bool with_node)
{
    struct sim_node *node = life->node;
    if (!life->is_alive)
        return;
    sim_trace(life->sim, "n%u.%" PRIu64 " dies%s", node->node_id, life->incarnation,
              with_node ? " with its node" : "");
    life->is_alive = false;
    life->is_paused = false;
    for (uint32_t i = 0; i < SIM_NODES_MAX; i++) // the next life connects anew
        life->sim->link_down_ns[node->node_id - 1][i] =
            life->sim->link_down_ns[i][node->node_id - 1] = 0;
    forget_timers(life);
    node->life = NULL;
    if (life->sim->disk.claimer == life)
        life->sim->disk.claimer = NULL;
    if (life->is_connected && !with_node)
        totem_worker_gone(&node->totem, life->process.pid, false);
    life->is_connected = false;
    if (life->guard_is_alive && !with_node && life->slot != MEMBERSHIP_NO_SLOT && !life->says_left)
        life_arm_in(life, &life->guard, 30 * MS);
    if (!with_node && node->wants_mount)
        world_event_arm(&life->sim->world, &node->mount,
                        life->sim->world.now_ns + sim_between(life->sim, 200 * MS, 3000 * MS));
}

static void exit_fires(struct world_event *event)
{
    struct sim_life *life = life_of_event(event, offsetof(struct sim_life, exit));
    life_die(life, false);
}

// This life is over: nothing is submitted any more; 'stopped' is written once all has landed.
void life_ends(struct sim_life *life, const char *why)
{
    if (life->has_ended)
        return;
    sim_trace(life->sim, "n%u.%" PRIu64 " ends: %s", life->process.node_id, life->incarnation, why);
    life->has_ended = true;
    life->runs = false;
    life_arm_in(life, &life->exit, sim_between(life->sim, 100 * MS, 2000 * MS));
}

// --- timers ----------------------------------------------------------------------------------

static void tick_fires(struct world_event *event)
{
    struct sim_life *life = life_of_event(event, offsetof(struct sim_life, tick));
    if (life->is_paused) {
        life_arm_in(life, event, 50 * MS);
        return;
    }
    life_simple_event(life, MEMBERSHIP_EVENT_TICK);
}

static void beat_fires(struct world_event *event)
{
    struct sim_life *life = life_of_event(event, offsetof(struct sim_life, beat));
    disk_pump(life);
}

static void data_fires(struct world_event *event)
{
    struct sim_life *life = life_of_event(event, offsetof(struct sim_life, data));
    if (!life->is_paused && life_may_write(life))
        disk_data_write(life, NULL);
    life_arm_in(life, event, sim_between(life->sim, 20 * MS, 300 * MS));
}

static void mark_clean(struct sim_life *life, struct sim_replay *replay)
{
    struct sim_slots *disk = &life->sim->disk;
    uint32_t slot = replay->node.slot;
    if (disk->dirty_node[slot] == replay->node.node_id &&
        disk->dirty_incarnation[slot] == replay->node.incarnation)
        disk->is_dirty[slot] = false;
    replay->is_freeing = true;
    heartbeat_machine_free(life->heartbeat, slot, replay->node.incarnation);
    life_arm_in(life, &life->beat, 0);
}

// Replays go on while this node is not suspended for good: the lease is what counts.
static bool may_replay(const struct sim_life *life)
{
    return life->is_alive && !life->has_ended && life->heartbeat != NULL &&
           lease_is_valid(&life->heartbeat->lease, life_now(life));
}

// One step of each replay: a write, or, once all have landed, the clean mark.
static void chore_fires(struct world_event *event)
{
    struct sim_life *life = life_of_event(event, offsetof(struct sim_life, chore));
    bool has_more = false;
    for (uint32_t i = 0; i < life->replay_count && !life->is_paused && may_replay(life); i++) {
        struct sim_replay *replay = &life->replays[i];
        if (replay->is_freeing)
            continue;
        has_more = true;
        if (replay->writes_left > 0) {
            replay->writes_left--;
            disk_data_write(life,
                            sim_life_of(life->sim, replay->node.node_id, replay->node.incarnation));
        } else if (life->in_flight == 0) {
            mark_clean(life, replay);
        }
    }
    if (has_more || life->is_paused)
        life_arm_in(life, event, sim_between(life->sim, 10 * MS, 200 * MS));
    else if (life->replay_count > 0 && !life->has_ended)
        life_arm_in(life, event, 300 * MS); // the lease may come back with the next round
}

// --- a life's beginning, faults ----------------------------------------------------------------

static uint64_t next_incarnation(struct sim *sim)
{
    uint64_t highest = 0;
    for (uint32_t i = 0; i < SIM_SLOTS; i++) {
        struct heartbeat_content content;
        struct mailbox_content note;
        if (disk_slot(sim, i, &content) && content.incarnation > highest)
            highest = content.incarnation;
        if (mailbox_decode(sim->disk.mailboxes[i], &sim->geometry, i, &note) == 0 &&
            note.victim_incarnation > highest)
            highest = note.victim_incarnation;
    }
    // A life that died before its first beat has left no trace: the clock keeps the next one apart.
    uint64_t clock = sim->world.now_ns / MS;
    return highest + 1 > clock ? highest + 1 : clock;
}

// Mostly none, as the daemon does: the lowest free one it is then, for everybody.
static uint32_t draw_slot_wish(struct sim *sim)
{
    return sim_one_in(sim, 3) ? (uint32_t)sim_below(sim, SIM_SLOTS) : MEMBERSHIP_NO_SLOT;
}

void life_start(struct sim_node *node)
{
    struct sim *sim = node->sim;
    if (node->life != NULL || !node->totem.has_corosync || sim->life_count == SIM_LIVES_MAX)
        return;
    struct sim_life *life = &sim->lives[sim->life_count++];
    *life = (struct sim_life){.sim = sim,
                              .node = node,
                              .process = {node->node_id, ++node->next_pid},
                              .incarnation = next_incarnation(sim),
                              .slot = MEMBERSHIP_NO_SLOT,
                              .is_alive = true,
                              .is_connected = true,
                              .guard_is_alive = !sim_one_in(sim, 4),
                              .on_other_lun = node->has_other_lun};
    life->tick.fire = tick_fires;
    life->beat.fire = beat_fires;
    life->data.fire = data_fires;
    life->chore.fire = chore_fires;
    life->exit.fire = exit_fires;
    life->guard.fire = guard_fires;
    life->found.fire = life_found_fires;
    struct membership_config config = {.self = life->process,
                                       .patience_ns = SIM_LEASE_NS,
                                       .is_two_node = sim->totem.is_two_node,
                                       .version_min = 1,
                                       .version_max = 1,
                                       .features = 3};
    life->membership = membership_new(&config);
    node->life = life;
    totem_worker_connects(&node->totem, life->process.pid);
    struct membership_event join = {.type = MEMBERSHIP_EVENT_JOIN,
                                    .join = {.incarnation = life->incarnation,
                                             .slot_wish = draw_slot_wish(sim),
                                             .slot_count = SIM_SLOTS}};
    life_event(life, &join);
}

static void pause_is_over(struct world_event *event)
{
    struct sim_life *life = life_of_event(event, offsetof(struct sim_life, data));
    life->is_paused = false;
    life->data.fire = data_fires;
    sim_trace(life->sim, "n%u.%" PRIu64 " wakes", life->process.node_id, life->incarnation);
    life_arm_in(life, &life->data, 0);
    life_arm_in(life, &life->beat, 0);
}

// Stopped as by SIGSTOP. Its guard kills it when its lease is about to end.
void life_pause(struct sim_life *life, uint64_t for_ns)
{
    struct sim *sim = life->sim;
    if (life->is_paused || !life->is_alive)
        return;
    sim_trace(sim, "n%u.%" PRIu64 " is paused", life->process.node_id, life->incarnation);
    life->is_paused = true;
    life->data.fire = pause_is_over;
    life_arm_in(life, &life->data, for_ns);
    if (life->heartbeat == NULL || !life->guard_is_alive || life->heartbeat->lease.until_ns == 0)
        return;
    uint64_t end_ns = life_at(life, life->heartbeat->lease.until_ns - 300 * MS);
    world_event_arm(&sim->world, &life->guard,
                    end_ns > sim->world.now_ns ? end_ns : sim->world.now_ns);
}

// Clean: everything of it has landed, its journal is clean, then its slot says 'left'.
void life_leave(struct sim_life *life)
{
    if (!life->runs || life->is_leaving || life->has_ended || life->in_flight > 0 ||
        life->is_paused || life->heartbeat == NULL)
        return;
    for (uint32_t i = 0; i < life->replay_count; i++)
        if (!life->replays[i].is_over)
            return;
    sim_trace(life->sim, "n%u.%" PRIu64 " leaves", life->process.node_id, life->incarnation);
    life->is_leaving = true;
    life->sim->disk.is_dirty[life->slot] = false;
    heartbeat_machine_set_state(life->heartbeat, HEARTBEAT_FREE);
    life_arm_in(life, &life->beat, 0);
}
