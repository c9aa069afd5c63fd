// SPDX-License-Identifier: Apache-2.0
// Crashes and what comes after: late landing until the fence, replay alone, together, in any order,
// cut off and done again; then a look at the disk, and the locks of the dead are free.
#include "tests/sim/journal_world.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "fs/base/check.h"
#include "fs/base/error.h"

// A recovery under way: for one dead slot, or for all after a power cut.
struct recovery {
    struct sim *sim;
    bool is_cold; // all nodes are down
    uint32_t slot;
    uint64_t power_cuts; // when it began
    struct world_node node;
    struct lamport_clock clock;
    struct block_device *path;
    struct world_event cut; // ends the replay
};

static bool is_overtaken(const struct recovery *recovery)
{
    return recovery->power_cuts != recovery->sim->power_cuts || recovery->sim->failure[0] != '\0';
}

// --- one replay ----------------------------------------------------------------------------------

static void cut_replay(struct world_event *event)
{
    struct recovery *recovery = (struct recovery *)((char *)event - offsetof(struct recovery, cut));
    sim_disk_stop(recovery->path);
}

// A replay of some slots' journals by one process, which may be cut off. 0, or its error.
static int replay_once(struct recovery *recovery, const uint32_t *slots, uint32_t count,
                       bool may_be_cut)
{
    struct sim *sim = recovery->sim;
    struct journal_config configs[NODES_MAX];
    struct journal_replay_report report;
    recovery->path = sim_disk_attach(sim->disk, "recovery");
    for (uint32_t i = 0; i < count; i++)
        configs[i] = sim_journal_config(sim, slots[i], recovery->path, &recovery->node.environment,
                                        &recovery->clock);
    recovery->cut.fire = cut_replay;
    if (may_be_cut && sim_random(sim, 3) == 0)
        world_event_arm(&sim->world, &recovery->cut, sim->world.now_ns + sim_random(sim, 1500000));
    int result = journal_replay(configs, count, &report);
    world_event_disarm(&sim->world, &recovery->cut);
    if (is_overtaken(recovery))
        sim_disk_stop(recovery->path);
    block_device_close(recovery->path); // fences it
    recovery->path = NULL;
    sim->replay_count++;
    sim->image_count += report.written_count;
    sim->interrupted_count += result == -EIO;
    sim_trace(sim, "replay of %u journals (first: %u): %d, %" PRIu64 " images of %" PRIu64, count,
              slots[0], result, report.written_count, report.scanned_count);
    return result;
}

// Until it got through; errors other than the cut are findings.
static bool replay_until_done(struct recovery *recovery, const uint32_t *slots, uint32_t count)
{
    for (uint32_t attempt = 0;; attempt++) {
        int result = replay_once(recovery, slots, count, attempt < 3);
        if (is_overtaken(recovery))
            return false;
        if (result == 0)
            return true;
        if (result != -EIO) {
            sim_fail(recovery->sim, "replay of node %u's journal: %s", slots[0],
                     error_text(result));
            return false;
        }
    }
}

// --- after the replay ----------------------------------------------------------------------------

static void settle_slot(struct recovery *recovery, uint32_t slot)
{
    struct sim *sim = recovery->sim;
    truth_settle_dead(sim->slots[slot].life);
    TAILQ_INSERT_TAIL(&sim->dead_lives, sim->slots[slot].life, link);
    for (uint32_t lock = 0; lock < sim->lock_count; lock++) {
        if (recovery->clock.now > sim->lock_clocks[lock])
            sim->lock_clocks[lock] = recovery->clock.now;
    }
    sim->slots[slot] = (struct slot){.state = SLOT_CLEAN};
    lock_drop_all(sim, slot);
    truth_check_disk(sim, "after a recovery");
}

static void recover(struct recovery *recovery, const uint32_t *slots, uint32_t count)
{
    struct sim *sim = recovery->sim;
    bool is_joint = sim_random(sim, 2) == 0;
    for (uint32_t i = 0; i < count; i += is_joint ? count : 1) {
        if (!replay_until_done(recovery, slots + i, is_joint ? count : 1))
            return;
    }
    if (sim_random(sim, 4) == 0 && !replay_until_done(recovery, slots, count)) // harmless
        return;
    for (uint32_t i = 0; i < count && sim->failure[0] == '\0'; i++)
        settle_slot(recovery, slots[i]);
    for (uint32_t i = 0; i < count && sim->failure[0] == '\0'; i++) {
        if (sim->operations_left > 0)
            life_start(sim, slots[i]);
    }
}

static void shuffle(struct sim *sim, uint32_t *slots, uint32_t count)
{
    for (uint32_t i = count; i > 1; i--) {
        uint32_t other = (uint32_t)sim_random(sim, i), kept = slots[other];
        slots[other] = slots[i - 1];
        slots[i - 1] = kept;
    }
}

static uint32_t collect_dead(struct sim *sim, uint32_t slots[NODES_MAX])
{
    uint32_t count = 0;
    for (uint32_t slot = 0; slot < sim->node_count; slot++) {
        if (sim->slots[slot].state == SLOT_DEAD)
            slots[count++] = slot;
    }
    shuffle(sim, slots, count);
    return count;
}

// --- the coroutines ------------------------------------------------------------------------------

static void recovery_ended(struct recovery *recovery)
{
    struct sim *sim = recovery->sim;
    sim->recoveries--;
    wait_queue_wake_all(sim->world.scheduler, &sim->recovery_done);
    free(recovery);
}

static void run_recovery(void *argument)
{
    struct recovery *recovery = argument;
    struct sim *sim = recovery->sim;
    environment_sleep(&recovery->node.environment, sim_random(sim, 500000));
    if (!is_overtaken(recovery)) {
        sim_disk_fence(sim->slots[recovery->slot].life->path);
        recover(recovery, &recovery->slot, 1);
    }
    recovery_ended(recovery);
}

// Power comes back: first all that was under way has ended.
static void run_cold_start(void *argument)
{
    struct recovery *recovery = argument;
    struct sim *sim = recovery->sim;
    while (sim->recoveries > 1 && !is_overtaken(recovery))
        wait_queue_wait(sim->world.scheduler, &sim->recovery_done);
    if (!is_overtaken(recovery)) {
        uint32_t slots[NODES_MAX];
        uint32_t count = collect_dead(sim, slots);
        sim->is_power_off = false;
        if (count > 0)
            recover(recovery, slots, count);
        for (uint32_t slot = 0; slot < sim->node_count; slot++) {
            if (sim->slots[slot].state == SLOT_CLEAN && sim->operations_left > 0)
                life_start(sim, slot);
        }
    }
    recovery_ended(recovery);
}

static void start(struct sim *sim, uint32_t slot, bool is_cold)
{
    struct recovery *recovery = calloc(1, sizeof(*recovery));
    CHECK(recovery != NULL);
    recovery->sim = sim;
    recovery->slot = slot;
    recovery->is_cold = is_cold;
    recovery->power_cuts = sim->power_cuts;
    world_node_init(&recovery->node, &sim->world);
    sim->recoveries++;
    coroutine_start(sim->world.scheduler, is_cold ? "cold start" : "recovery",
                    is_cold ? run_cold_start : run_recovery, recovery);
}

void recovery_start(struct sim *sim, uint32_t slot)
{
    if (!sim->is_power_off)
        start(sim, slot, false);
}

// --- crashes -------------------------------------------------------------------------------------

void recovery_power_cut(struct sim *sim)
{
    if (sim->is_being_cut) // by a write that lands torn
        return;
    sim->is_being_cut = true;
    sim_trace(sim, "power cut");
    sim->power_cuts++;
    sim->is_power_off = true;
    for (uint32_t slot = 0; slot < sim->node_count; slot++) {
        if (sim->slots[slot].state == SLOT_RUNNING)
            life_crash(sim->slots[slot].life, "no power");
    }
    sim_disk_stop_all(sim->disk);
    sim_disk_power_cut(sim->disk);
    sim->is_being_cut = false;
    wait_queue_wake_all(sim->world.scheduler, &sim->recovery_done); // a cold start under way
    start(sim, 0, true);
}

// The node whose write it was, or any that runs.
static struct life *crash_victim(struct sim *sim, const struct block_device *path)
{
    struct life *running[NODES_MAX];
    uint32_t count = 0;
    for (uint32_t slot = 0; slot < sim->node_count; slot++) {
        if (sim->slots[slot].state != SLOT_RUNNING)
            continue;
        if (sim->slots[slot].life->path == path)
            return sim->slots[slot].life;
        running[count++] = sim->slots[slot].life;
    }
    return count == 0 ? NULL : running[sim_random(sim, count)];
}

static enum write_region region_of(const struct sim *sim, const struct sim_disk_write *write)
{
    uint64_t block = write->offset / BLOCK_BYTES;
    if (block >= sim_address(sim, 0))
        return REGION_PLACE;
    uint64_t in_journal = (block - sim_journal_start(sim, 0)) % sim->journal_block_count;
    return in_journal < 2 ? REGION_HEADER : REGION_RING; // two copies of the header
}

static void crash_now(struct sim *sim, const struct crash *crash,
                      const struct sim_disk_write *write)
{
    struct life *victim = crash_victim(sim, write->path);
    if (crash->kind == CRASH_ALL)
        recovery_power_cut(sim);
    else if (victim != NULL)
        life_crash(victim, "killed");
}

static bool is_aimed_at(const struct crash *crash, enum write_region region,
                        enum write_region last_region)
{
    if (crash->region == REGION_BEHIND_HEADER)
        return last_region == REGION_HEADER && region != REGION_HEADER;
    return crash->region == REGION_ANY || crash->region == region;
}

void recovery_after_write(void *context, const struct sim_disk_write *write)
{
    struct sim *sim = context;
    enum write_region region = region_of(sim, write), last_region = sim->last_region;
    sim->last_region = region;
    bool is_in_event = coroutine_current(sim->world.scheduler) == NULL;
    if (is_in_event && !sim->is_being_cut && sim_random(sim, 100) < sim->options.shadow_percent)
        shadow_power_cut(sim);
    if (sim->crashes_done == sim->crash_count)
        return;
    struct crash *crash = &sim->crashes[sim->crashes_done];
    if (!is_aimed_at(crash, region, last_region) || --crash->writes_left > 0)
        return;
    sim->crashes_done++;
    crash_now(sim, crash, write);
}
