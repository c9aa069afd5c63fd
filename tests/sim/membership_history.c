// SPDX-License-Identifier: Apache-2.0
// A history: nodes mount, then a fault every now and then, then all is healed and all must run.
#include <stdlib.h>
#include <string.h>

#include "fs/base/check.h"
#include "tests/sim/membership_world.h"

#define HISTORY_NS (90 * (uint64_t)1000 * MS)
#define HEALING_NS (120 * (uint64_t)1000 * MS)
#define SETTLED_NS (2 * SIM_LEASE_NS)

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

// --- faults ----------------------------------------------------------------------------------

static struct sim_node *any_node(struct sim *sim)
{
    return &sim->nodes[sim_below(sim, sim->node_count)];
}

static void reform_whole(struct sim *sim)
{
    uint32_t component[SIM_NODES_MAX] = {0};
    totem_reform(&sim->totem, component);
}

static void reform_parts(struct sim *sim)
{
    uint32_t component[SIM_NODES_MAX];
    uint32_t parts = 2 + (uint32_t)sim_below(sim, 2);
    for (uint32_t i = 0; i < sim->node_count; i++)
        component[i] = (uint32_t)sim_below(sim, parts) % sim->node_count;
    totem_reform(&sim->totem, component);
}

static void reform_any(struct sim *sim)
{
    if (sim_one_in(sim, 3))
        reform_parts(sim);
    else
        reform_whole(sim);
}

static void mount_soon(struct sim_node *node, uint64_t in_ns)
{
    if (node->wants_mount)
        world_event_arm(&node->sim->world, &node->mount, node->sim->world.now_ns + in_ns);
}

static void power_off(struct sim_node *node)
{
    if (!node->is_up)
        return;
    sim_trace(node->sim, "n%u loses its power", node->node_id);
    node->is_up = false;
    if (node->life != NULL) {
        node->life->guard_is_alive = false;
        life_die(node->life, true);
    }
    totem_stop(&node->totem);
}

static void power_on(struct sim_node *node)
{
    if (node->is_up && node->totem.has_corosync)
        return;
    sim_trace(node->sim, "n%u comes up", node->node_id);
    node->is_up = node->totem.has_corosync = true;
    node->totem.restarted = true;
}

// Corosync dies on a live node; it comes back soon or late. The worker connects again.
static void corosync_dies(struct sim_node *node)
{
    struct membership_event lost = {.type = MEMBERSHIP_EVENT_LOST};
    struct sim_life *life = node->life;
    if (!node->totem.has_corosync)
        return;
    sim_trace(node->sim, "corosync dies on n%u", node->node_id);
    totem_stop(&node->totem);
    if (life == NULL)
        return;
    life->is_connected = false;
    if (!life->is_paused)
        life_event(life, &lost);
    else
        life_die(life, true);
}

static void corosync_returns(struct sim_node *node)
{
    if (!node->is_up || node->totem.has_corosync)
        return;
    node->totem.has_corosync = true;
    node->totem.restarted = true;
}

static void reconnect(struct sim_node *node)
{
    struct membership_event event = {.type = MEMBERSHIP_EVENT_RECONNECTED};
    struct sim_life *life = node->life;
    if (life == NULL || life->is_connected || !node->totem.has_corosync || life->says_left)
        return;
    life->is_connected = true;
    totem_worker_connects(&node->totem, life->process.pid);
    life_event(life, &event);
}

static void kill_worker(struct sim_node *node)
{
    if (node->life != NULL)
        life_die(node->life, false);
}

static void bring_back(struct sim *sim)
{
    for (uint32_t i = 0; i < sim->node_count; i++) {
        if (sim->is_healing || sim_one_in(sim, 2)) {
            power_on(&sim->nodes[i]);
            corosync_returns(&sim->nodes[i]);
        }
    }
    if (sim->is_healing)
        reform_whole(sim);
    else
        reform_any(sim);
    for (uint32_t i = 0; i < sim->node_count; i++) {
        reconnect(&sim->nodes[i]);
        if (sim->nodes[i].life == NULL)
            mount_soon(&sim->nodes[i], sim_between(sim, 0, 2000 * MS));
    }
}

void sim_isolate(struct sim_node *node)
{
    uint32_t component[SIM_NODES_MAX] = {0};
    component[node->node_id - 1] = node->node_id == 1 ? 1 : node->node_id - 1;
    totem_reform(&node->sim->totem, component);
}

// --- aimed faults ----------------------------------------------------------------------------

// Whoever replays a journal is cut off while it does.
static void isolate_recoverer(struct sim *sim)
{
    for (uint32_t i = 0; i < sim->node_count; i++) {
        const struct sim_life *life = sim->nodes[i].life;
        for (uint32_t j = 0; life != NULL && j < life->replay_count; j++) {
            if (life->replays[j].is_freeing || life->replays[j].writes_left == 0)
                continue;
            sim_isolate(&sim->nodes[i]);
            return;
        }
    }
}

// The heartbeat's path stalls; when the late answer comes, the node is cut off (rule 10a).
static void stall(struct sim_node *node)
{
    if (node->life == NULL)
        return;
    node->life->stall_has_begun = false;
    node->life->stall_until_ns = node->sim->world.now_ns + 12000 * MS;
}

// ... or none of its beats lands from now on, so that it does not look into its mailbox either.
static void stall_writes(struct sim_node *node)
{
    stall(node);
    if (node->life != NULL)
        node->life->stall_has_begun = true;
}

static void cut_off(struct world_event *event)
{
    struct sim *sim = (struct sim *)(void *)((char *)event - offsetof(struct sim, cutting));
    struct sim_node *node = sim->cut;
    sim->cut = NULL;
    if (sim->is_healing || sim->survivor != NULL)
        return;
    if (node->life != NULL && sim_one_in(sim, 2))
        node->life->deaf_until_ns = sim->world.now_ns + 12000 * MS;
    sim_isolate(node);
}

// The ring breaks in the middle of a round.
static void rip(struct world_event *event)
{
    struct sim *sim = (struct sim *)(void *)((char *)event - offsetof(struct sim, ripping));
    if (sim->is_healing)
        return;
    if (sim->rip_heals) {
        sim->rip_heals = false;
        reform_whole(sim);
        return;
    }
    if (sim_one_in(sim, 2))
        reform_parts(sim);
    else
        reform_any(sim);
    if (!sim_one_in(sim, 3)) // and what comes of it breaks again
        sim->rip_in = 1 + (uint32_t)sim_below(sim, 60);
}

// One has heard all ACKs and is cut off; the others begin another round, and in the middle of it
// all come together again.
void sim_view_installed(struct sim_life *life)
{
    struct sim *sim = life->sim;
    if (sim->is_healing || sim->survivor != NULL || sim->torn != NULL || !sim_one_in(sim, 10))
        return;
    sim->torn = life->node;
    sim->torn_with = NULL;
    world_event_arm(&sim->world, &sim->tearing, sim->world.now_ns + sim_between(sim, 0, 3 * MS));
}

// A joiner and one more hear what it says, and before anything comes of it the two are parted.
void sim_proved_delivered(struct sim_node *node)
{
    struct sim *sim = node->sim;
    struct sim_node *with = any_node(sim);
    if (sim->is_healing || sim->survivor != NULL || sim->torn != NULL || with == node ||
        !sim_one_in(sim, 5))
        return;
    sim->torn = node;
    sim->torn_with = with;
    world_event_arm(&sim->world, &sim->tearing, sim->world.now_ns);
}

static void tear(struct world_event *event)
{
    struct sim *sim = (struct sim *)(void *)((char *)event - offsetof(struct sim, tearing));
    struct sim_node *torn = sim->torn, *with = sim->torn_with;
    uint32_t component[SIM_NODES_MAX] = {0};
    sim->torn = NULL;
    if (sim->is_healing || sim->survivor != NULL)
        return;
    sim_trace(sim, "n%u is torn off", torn->node_id);
    if (with == NULL) {
        sim_isolate(torn);
        sim->rip_heals = true;
        sim->rip_in = 1 + (uint32_t)sim_below(sim, 7 * sim->node_count);
        return;
    }
    component[torn->node_id - 1] = component[with->node_id - 1] = 1;
    totem_reform(&sim->totem, component);
    sim->torn = with;
    sim->torn_with = NULL;
    sim->rip_heals = false;
    world_event_arm(&sim->world, event, sim->world.now_ns + sim_between(sim, 1 * MS, 20 * MS));
}

// The node is cut off; its fencers have written their note when they all die and the ring heals.
// Nothing else is done to it meanwhile, and it does not read the note soon (rule 18).
static bool all_run(struct sim *sim)
{
    for (uint32_t i = 0; i < sim->node_count; i++)
        if (sim->nodes[i].life == NULL || !sim->nodes[i].life->runs)
            return false;
    return true;
}

static void outlive_the_others(struct sim_node *node)
{
    struct sim *sim = node->sim;
    if (!all_run(sim))
        return;
    sim->survivor = node;
    stall_writes(node);
    sim_isolate(node);
    world_event_arm(&sim->world, &sim->second,
                    sim->world.now_ns + sim_between(sim, 450 * MS, 900 * MS));
}

static void second_act(struct world_event *event)
{
    struct sim *sim = (struct sim *)(void *)((char *)event - offsetof(struct sim, second));
    struct sim_node *survivor = sim->survivor;
    if (survivor == NULL || sim->is_healing)
        return;
    if (sim->survivor_waits) { // third act: other faults again
        sim->survivor = NULL;
        sim->survivor_waits = false;
        return;
    }
    sim_trace(sim, "n%u outlives the others", survivor->node_id);
    reform_whole(sim); // it sees them go, in a ring in which their guards can speak
    for (uint32_t i = 0; i < sim->node_count; i++) {
        if (&sim->nodes[i] == survivor)
            continue;
        if (sim->nodes[i].life != NULL) { // quickly recovered: drained, and little to replay
            sim->nodes[i].life->guard_is_alive = true;
            if (sim->nodes[i].life->slot != MEMBERSHIP_NO_SLOT)
                sim->disk.is_dirty[sim->nodes[i].life->slot] = false;
        }
        kill_worker(&sim->nodes[i]);
        mount_soon(&sim->nodes[i], sim_between(sim, 50 * MS, 300 * MS));
    }
    sim->survivor_waits = true;
    world_event_arm(&sim->world, event, sim->world.now_ns + 5000 * MS);
}

// Somebody leaves; one of the others is cut off and does not hear that it joins again; and all who
// let it in die. Back in a ring, the one has its say again, and gives slots away (rule 27).
static void join_behind_the_back(struct sim *sim)
{
    uint32_t newcomer = (uint32_t)sim_below(sim, sim->node_count);
    uint32_t behind = 1 + (uint32_t)sim_below(sim, sim->node_count - 1);
    if (!all_run(sim))
        return;
    sim->newcomer = &sim->nodes[newcomer];
    sim->apart = &sim->nodes[(newcomer + behind) % sim->node_count];
    sim->backs_act = BACK_LEAVE;
    sim->backs_until_ns = sim->world.now_ns + 12000 * MS;
    world_event_arm(&sim->world, &sim->backs_turn, sim->world.now_ns);
}

void sim_has_left(struct sim_life *life)
{
    struct sim *sim = life->sim;
    if (sim->apart == NULL || life->node != sim->newcomer || sim->backs_act != BACK_LEAVE)
        return;
    sim->backs_act = BACK_PART;
    world_event_arm(&sim->world, &sim->backs_turn, sim->world.now_ns + 10 * MS);
}

void sim_slot_taken(struct sim_life *life)
{
    struct sim *sim = life->sim;
    if (sim->apart == NULL || life->node != sim->newcomer || sim->backs_act != BACK_PART)
        return;
    sim->backs_act = BACK_DIE;
    world_event_arm(&sim->world, &sim->backs_turn,
                    sim->world.now_ns + sim_between(sim, 30 * MS, 300 * MS));
}

static void all_die_but(struct sim_node *apart)
{
    struct sim *sim = apart->sim;
    sim_trace(sim, "all die but n%u", apart->node_id);
    for (uint32_t i = 0; i < sim->node_count; i++) {
        if (&sim->nodes[i] == apart || sim->nodes[i].life == NULL)
            continue;
        sim->nodes[i].life->guard_is_alive = false;
        kill_worker(&sim->nodes[i]);
    }
    reform_whole(sim);
    mount_soon(sim->newcomer, sim_between(sim, 10 * MS, 300 * MS));
}

static void next_act_behind_the_back(struct world_event *event)
{
    struct sim *sim = (struct sim *)(void *)((char *)event - offsetof(struct sim, backs_turn));
    struct sim_life *leaves = sim->apart != NULL ? sim->newcomer->life : NULL;
    if (sim->is_healing || sim->apart == NULL)
        return;
    if (sim->backs_act == BACK_LEAVE && leaves != NULL) {
        life_leave(leaves); // as soon as nothing of it is under way
        if (!leaves->is_leaving)
            world_event_arm(&sim->world, event, sim->world.now_ns + MS);
    } else if (sim->backs_act == BACK_PART) {
        stall_writes(sim->apart); // it does not read the note against it soon
        sim_isolate(sim->apart);
    } else if (sim->backs_act == BACK_DIE) {
        all_die_but(sim->apart);
        sim->apart = NULL;
    }
}

// The lock link of two nodes is cut, or one of its ends hangs and the other one hears all.
static void cut_link(struct sim *sim)
{
    uint32_t a = (uint32_t)sim_below(sim, sim->node_count);
    uint32_t b = (a + 1 + (uint32_t)sim_below(sim, sim->node_count - 1)) % sim->node_count;
    sim->link_down_ns[a][b] = sim->world.now_ns;
    if (sim_one_in(sim, 2))
        sim->link_down_ns[b][a] = sim->world.now_ns;
}

// --- any fault -------------------------------------------------------------------------------

static void cause_fault(struct sim *sim)
{
    struct sim_node *node = any_node(sim);
    switch (sim_below(sim, 17)) {
    case 16:
        cut_link(sim);
        break;
    case 12:
    case 13:
        isolate_recoverer(sim);
        break;
    case 14:
        if (sim_one_in(sim, 3)) {
            stall_writes(node);
            sim_isolate(node);
        } else {
            stall(node);
        }
        break;
    case 15:
        outlive_the_others(node);
        break;
    case 0:
    case 1:
        reform_parts(sim);
        break;
    case 2:
    case 3:
        bring_back(sim);
        break;
    case 4:
        power_off(node);
        if (sim_one_in(sim, 3))
            power_off(any_node(sim));
        if (!sim_one_in(sim, 4))
            reform_any(sim); // noticed at once; else with the next ring
        break;
    case 5:
    case 6:
        kill_worker(node);
        if (sim_one_in(sim, 5))
            kill_worker(any_node(sim));
        break;
    case 7:
        if (node->life != NULL)
            life_pause(node->life, sim_between(sim, 100 * MS, 30000 * MS));
        break;
    case 8:
        if (node->life != NULL)
            life_leave(node->life);
        break;
    case 9:
        corosync_dies(node);
        if (sim_one_in(sim, 2))
            corosync_returns(node);
        reform_any(sim);
        reconnect(node);
        break;
    case 10:
        if (node->life != NULL && sim_one_in(sim, 2)) {
            node->life->deaf_until_ns = sim->world.now_ns + sim_between(sim, 0, 12000 * MS);
            sim_isolate(node);
            break;
        }
        sim->disk.is_bad = !sim->disk.is_bad && sim_one_in(sim, 3);
        break;
    default:
        reform_any(sim); // a ring that breaks and comes together at once
        break;
    }
}

static void fault_fires(struct world_event *event)
{
    struct sim *sim = (struct sim *)(void *)((char *)event - offsetof(struct sim, fault));
    if (sim->is_healing)
        return;
    if (sim->world.now_ns > sim->backs_until_ns)
        sim->apart = NULL;                                                 // it came to nothing
    if (sim->begins_with_survivor && sim->world.now_ns < HISTORY_NS / 3) { // once all run
        sim->begins_with_survivor = !all_run(sim);
        outlive_the_others(any_node(sim));
    } else if (sim->begins_apart && sim->world.now_ns < HISTORY_NS / 3) {
        sim->begins_apart = !all_run(sim);
        join_behind_the_back(sim);
    } else if (sim->survivor == NULL && sim->apart == NULL) {
        cause_fault(sim);
    }
    if (sim->survivor == NULL && sim->apart == NULL && sim_one_in(sim, 3))
        sim->rip_in = 1 + (uint32_t)sim_below(sim, 60);
    // Often one fault comes in the middle of what another one caused.
    uint64_t in_ns = sim_one_in(sim, 3) ? sim_between(sim, 1 * MS, 60 * MS)
                                        : sim_between(sim, 200 * MS, 9000 * MS);
    world_event_arm(&sim->world, event, sim->world.now_ns + in_ns);
}

static void mount_fires(struct world_event *event)
{
    struct sim_node *node =
        (struct sim_node *)(void *)((char *)event - offsetof(struct sim_node, mount));
    if (node->is_up && node->totem.has_corosync && node->wants_mount)
        life_start(node);
    if (node->life == NULL)
        mount_soon(node, 1000 * MS);
}

// --- the whole -------------------------------------------------------------------------------

static void make_nodes(struct sim *sim)
{
    bool is_two_node = sim_one_in(sim, 8);
    sim->node_count = is_two_node ? 2 : 3 + (uint32_t)sim_below(sim, SIM_NODES_MAX - 2);
    for (uint32_t i = 0; i < sim->node_count; i++) {
        struct sim_node *node = &sim->nodes[i];
        node->sim = sim;
        node->node_id = i + 1;
        node->is_up = node->totem.has_corosync = true;
        node->clock_base = (1 + sim_below(sim, 1000)) * 1000 * MS;
        node->clock_rate = 950 + sim_below(sim, 101);
        node->wants_mount = true;
        node->mount.fire = mount_fires;
    }
    if (sim_one_in(sim, 8))
        any_node(sim)->has_other_lun = true;
    sim_totem_init(sim);
    sim->totem.is_two_node = is_two_node;
    reform_whole(sim);
    for (uint32_t i = 0; i < sim->node_count; i++)
        mount_soon(&sim->nodes[i], sim_between(sim, 0, 3000 * MS));
}

static void run_until(struct sim *sim, uint64_t until_ns)
{
    while (!sim->is_failed && sim->world.now_ns < until_ns && world_step(&sim->world))
        continue;
}

// Lives that ended are started anew, and what hung is gone: after a while all must run, and go on
// for as long as anything old may still be under way.
static void heal(struct sim *sim)
{
    uint64_t settled_ns = 0;
    sim_trace(sim, "all is well from here on");
    sim->is_healing = true;
    sim->disk.is_bad = false;
    memset(sim->link_down_ns, 0, sizeof(sim->link_down_ns));
    for (uint32_t i = 0; i < sim->node_count; i++) {
        if (sim->nodes[i].has_other_lun)
            kill_worker(&sim->nodes[i]);
        sim->nodes[i].has_other_lun = false;
    }
    bring_back(sim);
    while (!sim->is_failed && sim->world.now_ns < HISTORY_NS + HEALING_NS) {
        run_until(sim, sim->world.now_ns + 500 * MS);
        if (!check_all_settled(sim))
            settled_ns = 0;
        else if (settled_ns == 0)
            settled_ns = sim->world.now_ns;
        else if (sim->world.now_ns - settled_ns > SETTLED_NS)
            break;
    }
    if (!sim->is_failed)
        check_all_run(sim);
}

static void free_lives(struct sim *sim)
{
    for (uint32_t i = 0; i < sim->life_count; i++) {
        membership_free(sim->lives[i].membership);
        membership_effects_deinit(&sim->lives[i].effects);
        free(sim->lives[i].heartbeat);
        free(sim->lives[i].buffer);
    }
}

void sim_run(uint64_t seed, struct scheduler *scheduler, FILE *trace, struct sim_result *result)
{
    struct sim *sim = calloc(1, sizeof(*sim));
    CHECK(sim != NULL);
    sim->trace = trace;
    sim->geometry.slot_count = SIM_SLOTS;
    sim->geometry.slot_table_block = 32;
    sim->lives = calloc(SIM_LIVES_MAX, sizeof(*sim->lives));
    sim->epochs = calloc(SIM_EPOCHS_MAX, sizeof(*sim->epochs));
    CHECK(sim->lives != NULL && sim->epochs != NULL);
    world_init(&sim->world, seed, scheduler);
    disk_init(sim);
    make_nodes(sim);
    sim->fault.fire = fault_fires;
    sim->begins_with_survivor = sim_one_in(sim, 4);
    sim->begins_apart = sim_one_in(sim, 4);
    sim->second.fire = second_act;
    sim->cutting.fire = cut_off;
    sim->ripping.fire = rip;
    sim->tearing.fire = tear;
    sim->backs_turn.fire = next_act_behind_the_back;
    world_event_arm(&sim->world, &sim->fault, 500 * MS + sim_below(sim, 8000 * MS));
    run_until(sim, HISTORY_NS);
    if (!sim->is_failed)
        heal(sim);
    *result = (struct sim_result){.is_failed = sim->is_failed,
                                  .steps = sim->steps,
                                  .views = sim->epoch_count,
                                  .lives = sim->life_count};
    memcpy(result->failure, sim->failure, sizeof(result->failure));
    totem_deinit(&sim->totem);
    disk_deinit(sim);
    free_lives(sim);
    world_deinit(&sim->world);
    free(sim->lives);
    free(sim->epochs);
    free(sim);
}
