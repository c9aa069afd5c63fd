// SPDX-License-Identifier: Apache-2.0
// Which slots a member watches, and whom it expels, as views come and go. All that cluster_watch.c
// calls stands here.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "fs/base/environment.h"
#include "fs/cluster_state.h"
#include "fs/gated_device.h"

enum { SELF = 2, SLOTS = 4 };

#define SECOND_NS ((uint64_t)1000000000)

static struct world {
    struct cluster cluster;
    struct membership_view view;
    bool is_watched[SLOTS];
    uint64_t silent_ns[SLOTS]; // as a watched slot shows it
    struct membership_node expelled[SLOTS];
    unsigned expelled_count;
} world;

// --- what cluster_watch.c calls --------------------------------------------------------------

void heartbeat_watch(struct heartbeat *heartbeat, uint32_t slot, bool on)
{
    (void)heartbeat;
    world.is_watched[slot] = on;
}

void heartbeat_slot_get(struct heartbeat *heartbeat, uint32_t slot,
                        struct heartbeat_slot_info *info)
{
    (void)heartbeat;
    *info = (struct heartbeat_slot_info){.changed_ns = world.is_watched[slot] ? 1 : 0};
    if (world.is_watched[slot])
        info->silent_ns = world.silent_ns[slot];
}

void cluster_expel(struct cluster *cluster, const struct membership_node *node, const char *reason)
{
    (void)cluster, (void)reason;
    assert_true(world.expelled_count < SLOTS);
    world.expelled[world.expelled_count++] = *node;
}

void heartbeat_status_get(struct heartbeat *heartbeat, struct heartbeat_status *status)
{
    (void)heartbeat;
    *status = (struct heartbeat_status){.mailbox_rounds = 0};
}

void heartbeat_set_lamport(struct heartbeat *heartbeat, uint64_t lamport)
{
    (void)heartbeat, (void)lamport;
}

struct heartbeat *presence_heartbeat(struct presence *presence)
{
    (void)presence;
    return NULL;
}

uint32_t presence_slot(const struct presence *presence)
{
    (void)presence;
    return SELF - 1;
}

void transport_peer_remove(struct transport *transport, struct dlm_node peer)
{
    (void)transport, (void)peer;
}

uint32_t cluster_node_id(const struct cluster *cluster)
{
    (void)cluster;
    return SELF;
}

void cluster_event(struct cluster *cluster, const struct membership_event *event)
{
    (void)cluster, (void)event;
}

void cluster_simple_event(struct cluster *cluster, enum membership_event_type type)
{
    (void)cluster, (void)type;
}

void cluster_node_event(struct cluster *cluster, enum membership_event_type type,
                        const struct membership_node *node)
{
    (void)cluster, (void)type, (void)node;
}

void cluster_strangers_tick(struct cluster *cluster)
{
    (void)cluster;
}

void cluster_claim_keep(struct cluster *cluster)
{
    (void)cluster;
}

void fence_heartbeat_changed(struct fence *fence)
{
    (void)fence;
}

void gated_device_gate_moved(struct block_device *device)
{
    (void)device;
}

// --- the world -------------------------------------------------------------------------------

static uint64_t boot_ns(struct environment *environment)
{
    (void)environment;
    return 100 * SECOND_NS;
}

// Node N has slot N - 1; a view is told as the lives of its nodes, 0: not in it.
static void install(const uint64_t incarnations[SLOTS])
{
    world.view.member_count = 0;
    for (uint32_t slot = 0; slot < SLOTS; slot++) {
        if (incarnations[slot] != 0)
            world.view.members[world.view.member_count++] = (struct membership_member){
                .node_id = slot + 1, .incarnation = incarnations[slot], .slot = slot};
    }
    cluster_peers_set_view(&world.cluster, &world.view);
}

static int setup(void **state)
{
    static const struct environment_operations operations = {.boot_ns = boot_ns};
    static struct environment environment = {.operations = &operations};
    (void)state;
    memset(&world, 0, sizeof(world));
    world.cluster.config.environment = &environment;
    world.cluster.config.lease.lease_ns = 5 * SECOND_NS;
    world.cluster.presence = (struct presence *)(void *)&world; // only asked whether it is there
    world.cluster.runs = true;
    return 0;
}

// --- tests -----------------------------------------------------------------------------------

static void test_silent_member_is_expelled_once(void **state)
{
    (void)state;
    install((uint64_t[SLOTS]){11, 12, 13, 0});
    cluster_watch_heartbeats(&world.cluster);
    assert_int_equal(world.expelled_count, 0);
    world.silent_ns[0] = 5 * SECOND_NS + 1;
    cluster_watch_heartbeats(&world.cluster);
    cluster_watch_heartbeats(&world.cluster);
    assert_int_equal(world.expelled_count, 1);
    assert_int_equal(world.expelled[0].incarnation, 11);
}

static void test_who_left_is_not_watched(void **state)
{
    (void)state;
    install((uint64_t[SLOTS]){11, 12, 13, 0});
    install((uint64_t[SLOTS]){11, 12, 0, 0});
    assert_true(world.is_watched[0]);
    assert_false(world.is_watched[2]);
    assert_int_equal(world.cluster.peer_count, 1);
}

// The dead are watched until they are recovered: their fence looks at the slot.
static void test_the_dead_are_watched(void **state)
{
    (void)state;
    install((uint64_t[SLOTS]){11, 12, 13, 0});
    world.view.dead_count = 1;
    world.view.dead[0] = (struct membership_dead){.node_id = 1, .incarnation = 11, .slot = 0};
    install((uint64_t[SLOTS]){0, 12, 13, 0});
    assert_true(world.is_watched[0]);
    world.silent_ns[0] = 60 * SECOND_NS;
    cluster_watch_heartbeats(&world.cluster);
    assert_int_equal(world.expelled_count, 0);
}

//   life 11 dead ── recovered, life 15 asked to be seen: watched ── view: 15 is in, 11 is forgotten
static void rejoin(void)
{
    struct membership_node next = {.node_id = 1, .slot = 0, .incarnation = 15};
    install((uint64_t[SLOTS]){11, 12, 13, 0});
    world.view.dead_count = 1;
    world.view.dead[0] = (struct membership_dead){.node_id = 1, .incarnation = 11, .slot = 0};
    install((uint64_t[SLOTS]){0, 12, 13, 0});
    heartbeat_watch(NULL, next.slot, true);
    cluster_peer_get(&world.cluster, &next)->is_joiner = true;
    world.view.dead_count = 0;
}

static void test_next_life_in_the_slot_is_watched(void **state)
{
    (void)state;
    rejoin();
    install((uint64_t[SLOTS]){15, 12, 13, 0});
    assert_true(world.is_watched[0]);
    world.silent_ns[0] = 6 * SECOND_NS;
    cluster_watch_heartbeats(&world.cluster);
    assert_int_equal(world.expelled_count, 1);
    assert_int_equal(world.expelled[0].incarnation, 15);
}

// Another view comes while the next life is still a joiner.
static void test_joiner_in_the_slot_is_watched(void **state)
{
    (void)state;
    rejoin();
    install((uint64_t[SLOTS]){0, 12, 13, 0});
    assert_true(world.is_watched[0]);
    assert_int_equal(world.cluster.peer_count, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_silent_member_is_expelled_once, setup),
        cmocka_unit_test_setup(test_who_left_is_not_watched, setup),
        cmocka_unit_test_setup(test_the_dead_are_watched, setup),
        cmocka_unit_test_setup(test_next_life_in_the_slot_is_watched, setup),
        cmocka_unit_test_setup(test_joiner_in_the_slot_is_watched, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
