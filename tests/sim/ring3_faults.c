// SPDX-License-Identifier: Apache-2.0
// Which fault comes when. Half of them come in the middle of what another one has caused; one in
// three is aimed at a phase of a recovery: it waits until somebody's view says so, in a history
// where nothing else leads there after a machine has lost its power for it.
#include "tests/sim/ring3_faults.h"

#include <stdlib.h>

#include "fs/base/check.h"

enum { AIM_STEPS_MAX = 60 }; // of the world, into the phase

static const struct {
    const char *name, *sentence;
    unsigned share;
    bool (*happen)(struct ring3 *ring3, struct ring3_machine *machine);
} faults[] = {
#define RING3_FAULT(name, share, sentence) {#name, sentence, share, ring3_fault_##name},
#include "tests/sim/ring3_faults.def"
#undef RING3_FAULT
};

const char *ring3_fault_name(enum ring3_fault fault)
{
    return faults[fault].name;
}

const char *ring3_fault_sentence(enum ring3_fault fault)
{
    return faults[fault].sentence;
}

uint64_t ring3_fault_choose(struct ring3 *ring3, uint64_t bound)
{
    return random_below(&ring3->fault_random, bound);
}

uint64_t ring3_fault_between(struct ring3 *ring3, uint64_t low_ms, uint64_t high_ms)
{
    return (low_ms + ring3_fault_choose(ring3, high_ms - low_ms + 1)) * RING3_MS;
}

struct ring3_machine *ring3_fault_machine(struct ring3 *ring3)
{
    return &ring3->machines[ring3_fault_choose(ring3, ring3->machine_count)];
}

// --- something later -------------------------------------------------------------------------

static void sequel_fires(struct world_event *event)
{
    struct sequel *sequel = (struct sequel *)event;
    sequel->again_in_ns = 0;
    sequel->act(sequel);
    if (sequel->again_in_ns > 0) {
        ring3_arm_in(sequel->ring3, event, sequel->again_in_ns);
        return;
    }
    LIST_REMOVE(sequel, link);
    free(sequel);
}

struct sequel *ring3_later(struct ring3 *ring3, struct ring3_machine *machine,
                           void (*act)(struct sequel *sequel), uint64_t in_ns)
{
    struct sequel *sequel = calloc(1, sizeof(*sequel));
    CHECK(sequel != NULL);
    *sequel =
        (struct sequel){.event.fire = sequel_fires, .ring3 = ring3, .machine = machine, .act = act};
    LIST_INSERT_HEAD(&ring3->sequels, sequel, link);
    ring3_arm_in(ring3, &sequel->event, in_ns);
    return sequel;
}

void ring3_faults_end(struct ring3 *ring3)
{
    struct sequel *sequel;
    world_event_disarm(ring3->world, &ring3->fault);
    ring3->aim.is_on = false;
    while ((sequel = LIST_FIRST(&ring3->sequels)) != NULL) {
        world_event_disarm(ring3->world, &sequel->event);
        LIST_REMOVE(sequel, link);
        free(sequel);
    }
}

// --- causing one -----------------------------------------------------------------------------

static enum ring3_phase phase_of(const struct ring3 *ring3)
{
    enum ring3_phase phase = RING3_QUIET;
    for (unsigned i = 0; i < ring3->machine_count; i++) {
        const struct ring3_life *life = ring3->machines[i].life;
        enum ring3_phase seen = life != NULL ? ring3_life_phase(life) : RING3_QUIET;
        phase = seen > phase ? seen : phase;
    }
    return phase;
}

struct ring3_machine *ring3_machine_that_replays(struct ring3 *ring3)
{
    for (unsigned i = 0; i < ring3->machine_count; i++) {
        struct ring3_machine *machine = &ring3->machines[i];
        if (machine->life != NULL && ring3_life_replays(machine->life))
            return machine;
    }
    return NULL;
}

// To some machine, or to the next one where it can happen. False: to none.
static bool cause(struct ring3 *ring3, enum ring3_fault fault)
{
    enum ring3_phase phase = phase_of(ring3);
    struct ring3_machine *machine = ring3_machine_that_replays(ring3);
    if (machine == NULL || ring3_fault_choose(ring3, 3) != 0)
        machine = ring3_fault_machine(ring3);
    for (unsigned i = 0; i < ring3->machine_count; i++) {
        if (faults[fault].happen(ring3, machine)) {
            ring3_trace(ring3, "fault: %s", faults[fault].name);
            ring3->result.faults[fault][phase]++;
            return true;
        }
        machine = &ring3->machines[machine->node_id % ring3->machine_count];
    }
    return false;
}

static enum ring3_fault draw(struct ring3 *ring3)
{
    unsigned sum = 0, i = 0;
    for (unsigned j = 0; j < RING3_FAULT_COUNT; j++)
        sum += ring3->options.faults >> j & 1 ? faults[j].share : 0;
    uint64_t dice = ring3_fault_choose(ring3, sum);
    for (;; i++) {
        unsigned share = ring3->options.faults >> i & 1 ? faults[i].share : 0;
        if (dice < share)
            return (enum ring3_fault)i;
        dice -= share;
    }
}

// --- aiming ------------------------------------------------------------------------------------

// What leads to a recovery. Of the faults that are allowed, or it is left to chance.
static void prime(struct ring3 *ring3)
{
    enum ring3_fault fault =
        ring3_fault_choose(ring3, 2) == 0 ? RING3_FAULT_power : RING3_FAULT_worker;
    if (ring3->options.faults >> fault & 1)
        cause(ring3, fault);
}

static void aim(struct ring3 *ring3)
{
    ring3->faults_left--;
    ring3->aim = (struct ring3_aim){
        .is_on = true,
        .fault = draw(ring3),
        .phase = ring3_fault_choose(ring3, 2) == 0 ? RING3_FENCING : RING3_REPLAYING,
        .steps_left = (unsigned)ring3_fault_choose(ring3, AIM_STEPS_MAX),
    };
    if (phase_of(ring3) == RING3_QUIET)
        prime(ring3);
}

void ring3_faults_look(struct ring3 *ring3)
{
    if (!ring3->aim.is_on || phase_of(ring3) != ring3->aim.phase)
        return;
    if (ring3->aim.steps_left > 0) {
        ring3->aim.steps_left--;
        return;
    }
    ring3->aim.is_on = !cause(ring3, ring3->aim.fault);
}

bool ring3_faults_are_due(const struct ring3 *ring3)
{
    return !ring3->is_healing && (ring3->faults_left > 0 || ring3->aim.is_on);
}

// What was aimed and has not come by now comes anyhow.
static void fault_fires(struct world_event *event)
{
    struct ring3 *ring3 = (struct ring3 *)(void *)((char *)event - offsetof(struct ring3, fault));
    if (!ring3_faults_are_due(ring3))
        return;
    if (ring3->aim.is_on)
        ring3->aim.is_on = !cause(ring3, ring3->aim.fault);
    else if (ring3_fault_choose(ring3, 3) == 0)
        aim(ring3);
    else
        ring3->faults_left -= cause(ring3, draw(ring3));
    // Often one fault comes in the middle of what another one caused.
    uint64_t lease_ms = ring3->lease_ns / RING3_MS, work_ms = ring3->work_ns / RING3_MS;
    uint64_t in_ns = ring3_fault_choose(ring3, 2) == 0
                         ? ring3_fault_between(ring3, 1, 2 * lease_ms)
                         : ring3_fault_between(ring3, 1000, work_ms / 3);
    ring3_arm_in(ring3, event, ring3->aim.is_on ? 4 * ring3->lease_ns : in_ns);
}

void ring3_faults_start(struct ring3 *ring3)
{
    ring3->fault.fire = fault_fires;
    if (ring3->faults_left > 0)
        ring3_arm_in(ring3, &ring3->fault,
                     ring3_fault_between(ring3, 50, ring3->work_ns / RING3_MS * 2 / 3));
}

void ring3_heal(struct ring3 *ring3)
{
    ring3_trace(ring3, "all is well from here on");
    ring3->is_healing = true;
    ring3->healed_ns = ring3->world->now_ns;
    ring3_faults_end(ring3);
    ring3_network_heal(ring3);
    for (unsigned i = 0; i < ring3->machine_count; i++) {
        struct ring3_machine *machine = &ring3->machines[i];
        ring3_machine_set_path(machine, &(struct ring3_path){0});
        ring3_machine_power(machine, true);
        ring3_totem_corosync(machine, true);
        if (machine->life != NULL)
            ring3_life_pause(machine->life, 0);
    }
}
