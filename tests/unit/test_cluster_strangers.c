// SPDX-License-Identifier: Apache-2.0
// What a look at all slots tells the membership, and when a resume may go on. All that
// cluster_strangers.c calls stands here.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "fs/base/environment.h"
#include "fs/base/log.h"
#include "fs/cluster_state.h"

enum { SELF_SLOT = 1, SLOTS = 4, PERIOD_S = 5 };

#define SECOND_NS ((uint64_t)1000000000)

static struct world {
    struct cluster cluster;
    struct volume volume;
    struct environment environment;
    struct log log;
    uint64_t now_ns, changed_ns;
    struct slot_survey survey;
    int survey_result;
    bool knows[SLOTS]; // the life that the slot shows
    struct membership_node told[SLOTS];
    unsigned told_count, clean_count, look_count;
    void (*look)(void *cluster); // started, and not run yet
    void (*meanwhile)(void);     // happens while the slots are read
} world;

// --- what cluster_strangers.c calls ----------------------------------------------------------

int slot_survey_read(struct slot_survey *survey, struct block_device *device,
                     struct scheduler *scheduler, const struct geometry *geometry, uint64_t *block)
{
    (void)device, (void)scheduler, (void)geometry, (void)block;
    *survey = world.survey;
    world.look_count++;
    if (world.meanwhile != NULL)
        world.meanwhile();
    world.meanwhile = NULL;
    return world.survey_result;
}

bool membership_knows(const struct membership *membership, uint32_t node_id, uint64_t incarnation)
{
    (void)membership, (void)incarnation;
    return world.knows[node_id - 1];
}

uint64_t membership_changed_ns(const struct membership *membership)
{
    (void)membership;
    return world.changed_ns;
}

uint32_t presence_slot(const struct presence *presence)
{
    (void)presence;
    return SELF_SLOT;
}

void cluster_node_event(struct cluster *cluster, enum membership_event_type type,
                        const struct membership_node *node)
{
    (void)cluster;
    assert_int_equal(type, MEMBERSHIP_EVENT_STRANGER);
    assert_true(world.told_count < SLOTS);
    world.told[world.told_count++] = *node;
}

void cluster_simple_event(struct cluster *cluster, enum membership_event_type type)
{
    (void)cluster;
    assert_int_equal(type, MEMBERSHIP_EVENT_MAILBOX_CLEAN);
    world.clean_count++;
}

void cluster_helper_start(struct cluster *cluster, const char *name, void (*function)(void *),
                          void *argument)
{
    (void)name;
    assert_ptr_equal(argument, cluster);
    assert_null(world.look);
    world.look = function;
}

void cluster_helper_ended(struct cluster *cluster)
{
    (void)cluster;
}

// --- the world -------------------------------------------------------------------------------

static uint64_t boot_ns(struct environment *environment)
{
    (void)environment;
    return world.now_ns;
}

static const struct environment_operations operations = {.boot_ns = boot_ns};

static void slot_shows(uint32_t slot, bool is_known)
{
    world.survey.slots[slot].is_in_use = true;
    world.survey.slots[slot].heartbeat.node_id = slot + 1;
    world.survey.slots[slot].heartbeat.incarnation = 100 + slot;
    world.knows[slot] = is_known;
}

static int setup(void **state)
{
    (void)state;
    memset(&world, 0, sizeof(world));
    world.environment.operations = &operations;
    log_init_null(&world.log);
    world.volume.environment = &world.environment;
    world.cluster.config.environment = &world.environment;
    world.cluster.config.volume = &world.volume;
    world.cluster.config.log = &world.log;
    world.cluster.has_view = true;
    world.survey.slot_count = SLOTS;
    world.now_ns = 100 * SECOND_NS;
    slot_shows(SELF_SLOT, false); // whoever looks does not look at itself
    slot_shows(2, true);
    return 0;
}

static void asks_for_mailbox(bool is_clean)
{
    world.cluster.checks_mailbox = true;
    world.cluster.mailbox_is_clean = is_clean;
    world.cluster.mailbox_clean_ns = world.now_ns;
}

static void finish_look(void)
{
    void (*look)(void *) = world.look;
    assert_non_null(look);
    world.look = NULL;
    look(&world.cluster);
}

// --- tests -----------------------------------------------------------------------------------

static void test_unknown_life_is_told(void **state)
{
    (void)state;
    slot_shows(3, false);
    cluster_strangers_tick(&world.cluster);
    finish_look();
    assert_int_equal(world.told_count, 1);
    assert_int_equal(world.told[0].slot, 3);
    assert_int_equal(world.told[0].node_id, 4);
    assert_int_equal(world.told[0].incarnation, 103);
}

static void test_free_slots_and_known_lives_are_not(void **state)
{
    (void)state;
    cluster_strangers_tick(&world.cluster);
    finish_look();
    assert_int_equal(world.told_count, 0);
    assert_int_equal(world.clean_count, 0); // nobody asked
}

static void test_looks_are_seconds_apart(void **state)
{
    (void)state;
    cluster_strangers_tick(&world.cluster);
    cluster_strangers_tick(&world.cluster); // one at a time
    finish_look();
    world.now_ns += PERIOD_S * SECOND_NS - 1;
    cluster_strangers_tick(&world.cluster);
    assert_null(world.look);
    world.now_ns += 1;
    cluster_strangers_tick(&world.cluster);
    finish_look();
    assert_int_equal(world.look_count, 2);
}

// A joiner may beat before this node has heard that it was let in.
static void joiner_is_let_in(void)
{
    world.changed_ns = ++world.now_ns;
}

static void test_look_from_before_a_change_says_nothing(void **state)
{
    (void)state;
    slot_shows(3, false);
    asks_for_mailbox(true);
    cluster_strangers_tick(&world.cluster);
    world.meanwhile = joiner_is_let_in;
    finish_look();
    assert_int_equal(world.told_count, 0);
    assert_int_equal(world.clean_count, 0);
    world.knows[3] = true;
    world.now_ns++;
    cluster_strangers_tick(&world.cluster); // a resume does not wait for the period
    finish_look();
    assert_int_equal(world.clean_count, 1);
    assert_false(world.cluster.checks_mailbox);
}

static void test_resume_waits_for_the_stranger(void **state)
{
    (void)state;
    slot_shows(3, false);
    asks_for_mailbox(true);
    cluster_strangers_tick(&world.cluster);
    finish_look();
    assert_int_equal(world.told_count, 1);
    assert_int_equal(world.clean_count, 0);
    world.knows[3] = true; // now one of the dead
    world.changed_ns = world.now_ns++;
    cluster_strangers_tick(&world.cluster);
    finish_look();
    assert_int_equal(world.clean_count, 1);
}

static void quorum_is_lost_and_back(void)
{
    world.now_ns++;
    asks_for_mailbox(true);
}

static void test_look_from_before_the_question_does_not_answer_it(void **state)
{
    (void)state;
    cluster_strangers_tick(&world.cluster);
    world.meanwhile = quorum_is_lost_and_back;
    finish_look();
    assert_int_equal(world.clean_count, 0);
    cluster_strangers_tick(&world.cluster);
    finish_look();
    assert_int_equal(world.clean_count, 1);
}

static void test_mailbox_comes_first(void **state)
{
    (void)state;
    asks_for_mailbox(false);
    cluster_strangers_tick(&world.cluster);
    finish_look();
    assert_int_equal(world.clean_count, 0);
}

static void test_unreadable_slot_keeps_the_resume_waiting(void **state)
{
    (void)state;
    asks_for_mailbox(true);
    world.survey_result = -5;
    cluster_strangers_tick(&world.cluster);
    finish_look();
    assert_int_equal(world.clean_count, 0);
    world.survey_result = 0;
    cluster_strangers_tick(&world.cluster);
    finish_look();
    assert_int_equal(world.clean_count, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_unknown_life_is_told, setup),
        cmocka_unit_test_setup(test_free_slots_and_known_lives_are_not, setup),
        cmocka_unit_test_setup(test_looks_are_seconds_apart, setup),
        cmocka_unit_test_setup(test_look_from_before_a_change_says_nothing, setup),
        cmocka_unit_test_setup(test_resume_waits_for_the_stranger, setup),
        cmocka_unit_test_setup(test_look_from_before_the_question_does_not_answer_it, setup),
        cmocka_unit_test_setup(test_mailbox_comes_first, setup),
        cmocka_unit_test_setup(test_unreadable_slot_keeps_the_resume_waiting, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
