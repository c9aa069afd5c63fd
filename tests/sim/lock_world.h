// SPDX-License-Identifier: Apache-2.0
// Ring 1 of the simulator: two to five lock cores with their sessions in one process. One seed is
// one history: virtual time, every delay and every fault drawn from one generator. Cores work in
// slices of very few pieces, so that everything else happens between two of them too.
//
//   lock_world.c       time, lives of nodes, what becomes of a core's effects
//   lock_step.c        steps of a core; events that wait while it is busy
//   lock_network.c     links: in order each, of any delay, cut and reconnected
//   lock_membership.c  the ordered log of views and `recovered`; crashes, expulsions, leaves, joins
//   lock_clients.c     random users of locks, who answer callbacks after a while
//   lock_ranges.c      random users of byte ranges
//   lock_probe.c       after a death, what nobody has is granted before the recovery
//   lock_check.c       the truth: who was told that it holds what; invariants after each step
//   lock_agreement.c   holders and masters compared when nothing is under way
//   lock_history.c     one history from the first view to the last release
#pragma once

#include "dlm/dlm.h"
#include "dlm/session.h"
#include "fs/base/random.h"

#include <stdio.h>

enum {
    SLOTS_MAX = 5,  // nodes
    LIVES_MAX = 24, // incarnations of all nodes in one history
    LOCKS_PER_LIFE = 5,
    OWNERS_PER_LIFE = 3,
    RESOURCES = 4,
    RESOURCE_FRESH = RESOURCES, // another name each time (lock_probe.c)
    RANGE_FILES = 2,
    RANGE_UNITS = 16, // granularity of the truth about byte ranges
    EVENTS_PER_STEP = 4,
    TEXT_BYTES = 4096,
};

enum life_state {
    LIFE_RUNNING,
    LIFE_LEAVING, // gives everything back, then leaves
    LIFE_ZOMBIE,  // expelled, does not know it, not fenced yet
    LIFE_DEAD,    // stopped; what it held counts until it is recovered
    LIFE_OVER,    // recovered, or left cleanly
};

enum lock_state { LOCK_FREE, LOCK_REQUESTED, LOCK_GRANTED, LOCK_CONVERTING };

struct sim_lock {
    enum lock_state state;
    uint64_t cookie;
    uint32_t resource;
    enum dlm_mode granted; // the truth: DLM_MODE_NONE or what its life may rely on
    enum dlm_mode requested;
    enum dlm_mode blocks; // of the last callback not answered yet, or DLM_MODE_NONE
};

struct sim_owner {
    uint64_t owner;
    enum dlm_range_space space;
    bool is_pending;
    bool is_test;
    bool is_crossed; // unlocked while it was pending: what it holds then is open
    uint64_t cookie;
    uint32_t file;
    struct dlm_range wanted;
    uint8_t held[RANGE_FILES][RANGE_UNITS]; // the truth: 0, or a unit_held() value
};

// An event that its core is too busy to take; its view or frame is a copy.
struct sim_waiting {
    struct dlm_event event;
    void *copy; // NULL: none
};

struct sim_life {
    enum life_state state;
    struct dlm_node node;
    struct dlm_core *core; // NULL once it stopped
    struct lamport_clock clock;
    struct dlm_effects effects;
    bool is_stepping;
    bool goes_on; // a step without events is scheduled
    struct sim_waiting *waiting;
    size_t waiting_count;
    size_t waiting_capacity;
    size_t log_next;   // of the membership log
    uint64_t log_time; // when the last scheduled entry is delivered
    uint64_t cookie;   // last given
    struct sim_lock locks[LOCKS_PER_LIFE];
    struct sim_owner owners[OWNERS_PER_LIFE];
};

// Between two lives; ends[0] is that of the lower index.
struct sim_link {
    struct session *ends[2];
    bool is_up;
    bool is_slow;
    uint64_t generation; // of the connection
    uint64_t arrival[2]; // of the last frame sent by ends[i]
};

struct membership_entry {
    bool is_view;
    struct dlm_view view;
    struct dlm_node recovered;
};

// A wait that must end before `dead` is recovered.
struct sim_probe {
    bool is_on;
    uint32_t dead; // life
    uint32_t life; // who asks
    uint64_t epoch;
    uint64_t cookie; // 0: has not asked yet
    uint64_t deadline;
};

struct world;

struct sim_event {
    uint64_t time;
    uint64_t order; // of scheduling: ties are broken by it
    void (*run)(struct world *world, const struct sim_event *event);
    uint32_t life;
    uint32_t peer;
    uint64_t number; // connection generation, log index, cookie ...
    struct session_frame_wire header;
    uint8_t *bytes; // freed after the run
    size_t length;
};

struct world {
    struct random random;
    FILE *trace; // NULL: none
    uint64_t now;
    uint64_t order;
    struct sim_event *heap;
    size_t heap_count;
    size_t heap_capacity;
    struct sim_life lives[LIVES_MAX];
    uint32_t life_count;
    struct sim_link *links[LIVES_MAX][LIVES_MAX]; // [lower][higher]
    struct membership_entry *log;
    size_t log_count;
    size_t log_capacity;
    uint32_t members[SLOTS_MAX]; // lives
    uint32_t member_count;
    uint32_t dead[LIVES_MAX]; // lives that died or were expelled, not recovered
    uint32_t dead_count;
    uint64_t epoch;
    uint32_t slot_count;
    struct lock_name names[RESOURCES + 1];
    uint64_t value_truth[RESOURCES + 1]; // version that a valid value block must carry
    uint64_t value_last;                 // version last given out
    struct sim_probe probe;
    uint64_t fresh_id;   // last given out
    uint64_t faults_end; // no fault begins and no new request is made after it
    bool is_frozen;      // nobody does anything
    bool is_draining;    // everything is to be given back
    uint32_t delay_max;  // of a message, mostly
    uint32_t slice;      // of all cores
    uint64_t steps;
    uint64_t grants;
    bool is_failed;
    char failure[512];
};

// lock_world.c
void world_init(struct world *world, uint64_t seed, FILE *trace);
void world_deinit(struct world *world);
// Runs events until `time` or a failure; true if any event is left.
bool world_run(struct world *world, uint64_t time);
struct sim_event *world_schedule(struct world *world, uint64_t delay,
                                 void (*run)(struct world *, const struct sim_event *));
void world_fail(struct world *world, const char *format, ...) __attribute__((format(printf, 2, 3)));
void world_trace(struct world *world, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
uint64_t world_between(struct world *world, uint64_t low, uint64_t high);
bool world_one_in(struct world *world, uint64_t n);
uint32_t life_new(struct world *world, uint32_t node_id);
bool life_is_up(const struct sim_life *life); // its core runs
// No core any more; the truth about what it held stays.
void life_stop(struct world *world, uint32_t index);
// At once, or as soon as the core is not busy any more.
void life_step(struct world *world, uint32_t index, const struct dlm_event *events, size_t count);
bool life_is_busy(const struct sim_life *life);
void life_take_effect(struct world *world, uint32_t index, const struct dlm_effect *effect);
void life_forget_waiting(struct sim_life *life);
// UINT32_MAX: unknown.
uint32_t life_find(const struct world *world, struct dlm_node node);

// lock_network.c
void network_send(struct world *world, uint32_t from, uint32_t to, const uint8_t *bytes,
                  size_t length);
void network_cut(struct world *world, uint32_t a, uint32_t b);
void network_connect(struct world *world, uint32_t a, uint32_t b);
void network_deinit(struct world *world);

// lock_membership.c
void membership_start(struct world *world, uint32_t count);
void membership_fault(struct world *world); // one fault or change, drawn at random
void membership_left(struct world *world, uint32_t life);
bool membership_is_settled(const struct world *world); // nobody dead, all views delivered

// lock_clients.c
size_t clients_act(struct world *world, uint32_t life, struct dlm_event *events);
void clients_granted(struct world *world, uint32_t life, const struct dlm_effect_grant *grant);
void clients_denied(struct world *world, uint32_t life, const struct dlm_effect_denied *denied);
void clients_blocking(struct world *world, uint32_t life,
                      const struct dlm_effect_blocking *blocking);
// The event that asks for `lock`, which is free.
void clients_ask(struct world *world, uint32_t life, struct sim_lock *lock, uint32_t resource,
                 enum dlm_mode mode, struct dlm_event *event);
// Anything pending or held?
bool clients_are_pending(const struct sim_life *life);
bool clients_hold(const struct sim_life *life);

// lock_ranges.c
size_t ranges_act(struct world *world, uint32_t life, struct dlm_event *events);
void ranges_result(struct world *world, uint32_t life,
                   const struct dlm_effect_range_result *result);
void ranges_init(struct sim_life *life);
bool ranges_are_pending(const struct sim_life *life);
bool ranges_hold(const struct sim_life *life);

// lock_probe.c
// One member is about to be declared dead: nobody else is, and all others have a complete view.
bool probe_can_start(const struct world *world);
// It was, and no survivor has heard of it yet.
void probe_start(struct world *world, uint32_t dead);
// Must `recovered` of this life wait?
bool probe_holds_back(struct world *world, uint32_t dead);

// lock_check.c
void check_grant(struct world *world, uint32_t life, const struct sim_lock *lock);
// Answered by a grant, not a conversion down.
void check_noted(struct world *world, uint32_t life, const struct sim_lock *lock);
void check_value(struct world *world, uint32_t life, const struct sim_lock *lock,
                 const struct dlm_effect_grant *grant);
void check_range(struct world *world, uint32_t life, const struct sim_owner *owner, uint32_t file);
// What a stopped life held is free now; values that it may have changed are nobody's.
void check_forget(struct world *world, uint32_t life);
void check_core(struct world *world, uint32_t life); // after each step
// With nothing under way: what each life holds and what its masters believe are the same.
void check_agreement(struct world *world);
void check_empty(struct world *world); // at the end

// lock_history.c
struct history_result {
    bool is_failed;
    char failure[512];
    uint64_t steps;
    uint64_t grants;
    uint64_t views;
    uint64_t ended_at; // virtual time
};

void history_run(uint64_t seed, FILE *trace, struct history_result *result);
