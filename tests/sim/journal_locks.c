// SPDX-License-Identifier: Apache-2.0
// The oracle of the locks: it knows at once who holds what, and grants what conflicts with nobody.
// It is the holders who must obey the journal's rules before they let go; a dead node holds what it
// held until it is recovered.
#include "tests/sim/journal_world.h"

#include "fs/base/check.h"

static bool is_conflict(enum lock_mode a, enum lock_mode b)
{
    return a != MODE_NULL && b != MODE_NULL && (a == MODE_EXCLUSIVE || b == MODE_EXCLUSIVE);
}

static bool can_grant(const struct sim *sim, uint32_t lock, uint32_t slot, enum lock_mode mode)
{
    for (uint32_t other = 0; other < sim->node_count; other++) {
        if (other != slot && is_conflict(sim->modes[lock][other], mode))
            return false;
    }
    return true;
}

static void forget_cached(struct life *life, uint32_t lock)
{
    struct sim *sim = life->sim;
    for (uint32_t block = 0; block < sim->block_count; block++) {
        struct cached_block *cached = &life->cache[block];
        if (!cached->is_loaded || cached->block.lock.id != lock)
            continue;
        if (journal_block_is_busy(&cached->block))
            sim_fail(sim, "node %u: block %u is busy, its lock %u is given up", life->slot, block,
                     lock);
        cached->is_loaded = false;
    }
}

static void set_mode(struct sim *sim, uint32_t lock, uint32_t slot, enum lock_mode mode)
{
    sim->modes[lock][slot] = mode;
    wait_queue_wake_all(sim->world.scheduler, &sim->locks_changed);
}

static void wake_others(struct sim *sim, uint32_t slot)
{
    for (uint32_t other = 0; other < sim->node_count; other++) {
        if (other != slot && sim->slots[other].state == SLOT_RUNNING)
            wait_queue_wake_all(sim->world.scheduler, &sim->slots[other].life->changed);
    }
}

static void grant(struct life *life, uint32_t lock, enum lock_mode mode)
{
    struct sim *sim = life->sim;
    sim->wanted[lock][life->slot] = MODE_NULL;
    lamport_observe(&life->clock, sim->lock_clocks[lock]); // the grant carries the clock
    sim_trace(sim, "node %u: lock %u is granted %s", life->slot, lock,
              mode == MODE_SHARED ? "PR" : "EX");
    set_mode(sim, lock, life->slot, mode);
}

// A worker that waits for more rights than its node has lets the giver take what there is.
bool lock_acquire(struct life *life, uint32_t lock, enum lock_mode mode)
{
    struct sim *sim = life->sim;
    struct life_lock *local = &life->locks[lock];
    while (!life->is_dead) {
        if (local->is_used || local->is_giving_up) {
            wait_queue_wait(sim->world.scheduler, &life->changed);
        } else if (sim->modes[lock][life->slot] >= mode) {
            local->is_used = true;
            return true;
        } else if (can_grant(sim, lock, life->slot, mode)) {
            grant(life, lock, mode);
        } else {
            sim->wanted[lock][life->slot] = mode;
            wake_others(sim, life->slot);
            wait_queue_wait(sim->world.scheduler, &sim->locks_changed);
        }
    }
    return false;
}

void lock_release(struct life *life, uint32_t lock)
{
    life->locks[lock].is_used = false;
    wait_queue_wake_all(life->sim->world.scheduler, &life->changed);
}

// --- giving up -----------------------------------------------------------------------------------

static enum lock_mode strongest_wanted_by_others(const struct sim *sim, uint32_t lock,
                                                 uint32_t slot)
{
    enum lock_mode strongest = MODE_NULL;
    for (uint32_t other = 0; other < sim->node_count; other++) {
        if (other != slot && sim->wanted[lock][other] > strongest)
            strongest = sim->wanted[lock][other];
    }
    return strongest;
}

struct giving {
    struct lock_name names[LOCKS_MAX];
    uint32_t locks[LOCKS_MAX];
    uint32_t count;
};

static void add_giving(struct life *life, struct giving *giving, uint32_t lock)
{
    life->locks[lock].is_giving_up = true;
    giving->locks[giving->count] = lock;
    giving->names[giving->count++] = sim_lock_name(lock);
}

// What others want and nobody here uses, by the mode that it goes to; all at once.
static void collect(struct life *life, struct giving *to_shared, struct giving *to_null)
{
    struct sim *sim = life->sim;
    for (uint32_t lock = 0; lock < sim->lock_count; lock++) {
        enum lock_mode wanted = strongest_wanted_by_others(sim, lock, life->slot);
        const struct life_lock *local = &life->locks[lock];
        if (local->is_used || local->is_giving_up ||
            !is_conflict(sim->modes[lock][life->slot], wanted))
            continue;
        add_giving(life, wanted == MODE_SHARED ? to_shared : to_null, lock);
    }
}

// What touched the locks before is durable; that is a prefix of all operations.
static void note_durable(struct life *life, const struct giving *giving)
{
    for (uint32_t i = 0; i < giving->count; i++)
        truth_durable_up_to(life, life->locks[giving->locks[i]].last_operation);
}

static void finish_giving(struct life *life, const struct giving *giving, enum lock_mode mode)
{
    struct sim *sim = life->sim;
    if (life->is_dead)
        return;
    note_durable(life, giving);
    for (uint32_t i = 0; i < giving->count; i++) {
        uint32_t lock = giving->locks[i];
        if (mode == MODE_NULL)
            forget_cached(life, lock);
        if (life->clock.now > sim->lock_clocks[lock])
            sim->lock_clocks[lock] = life->clock.now;
        sim_trace(sim, "node %u: lock %u goes to %s", life->slot, lock,
                  mode == MODE_NULL ? "NL" : "PR");
        set_mode(sim, lock, life->slot, mode);
        life->locks[lock].is_giving_up = false;
    }
    wait_queue_wake_all(sim->world.scheduler, &life->changed);
}

static bool give_some(struct life *life)
{
    struct giving to_shared = {.count = 0}, to_null = {.count = 0};
    collect(life, &to_shared, &to_null);
    if (to_shared.count + to_null.count == 0)
        return false;
    int result = 0;
    if (to_null.count > 0)
        result = journal_lock_give_up(life->journal, to_null.names, to_null.count);
    if (result == 0) {
        finish_giving(life, &to_null, MODE_NULL);
        result = journal_lock_write_back(life->journal, to_shared.names, to_shared.count);
    }
    if (result == 0)
        finish_giving(life, &to_shared, MODE_SHARED);
    else if (!life->is_dead)
        life_crash(life, "its journal failed");
    return true;
}

void lock_giver_run(void *argument)
{
    struct life *life = argument;
    while (!life->is_dead && !(life->is_leaving && life->worker_count == 0)) {
        if (!give_some(life))
            wait_queue_wait(life->sim->world.scheduler, &life->changed);
    }
    life->is_giver_done = true;
    wait_queue_wake_all(life->sim->world.scheduler, &life->changed);
    life_coroutine_ended(life);
}

void lock_drop_all(struct sim *sim, uint32_t slot)
{
    for (uint32_t lock = 0; lock < sim->lock_count; lock++) {
        sim->modes[lock][slot] = MODE_NULL;
        sim->wanted[lock][slot] = MODE_NULL;
    }
    wait_queue_wake_all(sim->world.scheduler, &sim->locks_changed);
}
