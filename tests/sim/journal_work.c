// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/journal_work.h"

#include <inttypes.h>

#include "fs/base/check.h"

// --- locks and reading ---------------------------------------------------------------------------

bool work_take(struct work *work, uint32_t lock, enum lock_mode mode)
{
    if (!lock_acquire(work->life, lock, mode))
        return false;
    work->locks[work->lock_count++] = lock;
    return true;
}

void work_let_go(struct work *work)
{
    while (work->lock_count > 0)
        lock_release(work->life, work->locks[--work->lock_count]);
}

static uint32_t lock_mask(const struct work *work)
{
    uint32_t mask = 0;
    for (uint32_t i = 0; i < work->lock_count; i++)
        mask |= 1u << work->locks[i];
    return mask;
}

// Reads a block from the disk; it must be what the truth says. False if the node ends.
bool work_read_block(struct work *work, uint32_t block, struct test_block *bytes)
{
    struct life *life = work->life;
    struct sim *sim = work->sim;
    int result = block_device_read(life->path, sim->world.scheduler,
                                   sim_address(sim, block) * BLOCK_BYTES, bytes, sizeof(*bytes));
    if (result < 0 || life->is_dead)
        return false;
    const struct block_truth *truth = &sim->truth[block];
    if (truth_holds(sim, block, truth, bytes))
        return true;
    sim_fail(sim,
             "node %u reads block %u (%s of lock %u), expects serial %" PRIu64 ", finds %" PRIu64
             ", version %" PRIu64,
             life->slot, block, truth->kind == KIND_DATA ? "data" : "metadata", truth->lock,
             truth->serial, bytes->serial, bytes->version);
    return false;
}

bool work_is_reusable(struct work *work, uint32_t block)
{
    const struct cached_block *cached = &work->life->cache[block];
    if (!journal_block_is_busy(&cached->block))
        return true;
    sim_fail(work->sim, "node %u: block %u is busy when it is read or made anew", work->life->slot,
             block);
    return false;
}

bool work_load(struct work *work, uint32_t block)
{
    struct cached_block *cached = &work->life->cache[block];
    const struct block_truth *truth = &work->sim->truth[block];
    if (cached->is_loaded)
        return true;
    if (!work_is_reusable(work, block) || !work_read_block(work, block, cached->bytes))
        return false;
    lamport_observe(&work->life->clock, cached->bytes->version);
    journal_block_init(&cached->block, sim_address(work->sim, block), sim_lock_name(truth->lock),
                       (uint8_t *)cached->bytes);
    cached->is_loaded = true;
    return true;
}

// --- changing ------------------------------------------------------------------------------------

bool work_begin(struct work *work, uint32_t credits)
{
    credits += (uint32_t)sim_random(work->sim, 2); // an upper bound need not be exact
    uint32_t most = journal_credits_max(work->life->journal);
    work->serial = work->sim->next_serial++;
    return journal_transaction_begin(work->life->journal, credits < most ? credits : most,
                                     &work->handle) == 0;
}

void work_plan(struct work *work, uint32_t block, struct block_truth after)
{
    CHECK(work->planned_count < CHANGES_MAX);
    work->planned[work->planned_count++] =
        (struct operation_change){block, work->sim->truth[block], after};
}

void work_change(struct work *work, uint32_t block, uint32_t lock)
{
    struct cached_block *cached = &work->life->cache[block];
    journal_transaction_change(work->handle, &cached->block);
    test_block_fill(cached->bytes, sim_address(work->sim, block), lock, work->serial);
    cached->bytes->checksum = 0; // not sealed
    work_plan(work, block, (struct block_truth){KIND_METADATA, lock, work->serial});
}

void work_change_root(struct work *work, uint32_t lock)
{
    work_change(work, lock, lock);
}

void work_abort(struct work *work)
{
    journal_transaction_abort(work->handle);
    for (uint32_t i = 0; i < work->planned_count; i++) {
        const struct operation_change *change = &work->planned[i];
        const struct cached_block *cached = &work->life->cache[change->block];
        if (change->before.kind == KIND_METADATA && cached->is_loaded &&
            cached->bytes->serial != change->before.serial)
            sim_fail(work->sim, "node %u: block %u was not restored by abort", work->life->slot,
                     change->block);
    }
}

// A handle may be open for a while: others open and end theirs, a commit waits.
static void linger(struct work *work)
{
    if (sim_random(work->sim, 4) == 0)
        environment_sleep(&work->life->node.environment,
                          sim_random(work->sim, 2 * work->sim->think_ns_max));
}

void work_end(struct work *work)
{
    struct life *life = work->life;
    linger(work);
    journal_transaction_end(work->handle);
    if (life->is_dead)
        return;
    for (uint32_t i = 0; i < work->planned_count; i++)
        truth_change(work->sim, &work->operation, work->planned[i].block, work->planned[i].after);
    truth_operation_ended(life, &work->operation, lock_mask(work));
    sim_trace(work->sim, "node %u: operation %" PRIu64 ", serial %" PRIu64 ", %u blocks",
              life->slot, life->operation_count, work->serial, work->planned_count);
}

bool work_wants_abort(struct work *work)
{
    return sim_random(work->sim, 12) == 0;
}

// --- choosing ------------------------------------------------------------------------------------

uint32_t work_some_object(struct work *work)
{
    if (work->sim->has_affinity && sim_random(work->sim, 10) != 0)
        return work->life->slot % work->sim->object_count;
    return (uint32_t)sim_random(work->sim, work->sim->object_count);
}

// A block of the pool for which `fits`, from a random start; UINT32_MAX if there is none.
static uint32_t find_in_pool(struct work *work, bool (*fits)(const struct work *, uint32_t block))
{
    const struct sim *sim = work->sim;
    uint32_t start = (uint32_t)sim_random(work->sim, sim->pool_count);
    for (uint32_t i = 0; i < sim->pool_count; i++) {
        uint32_t block = sim->lock_count + (start + i) % sim->pool_count;
        if (fits(work, block))
            return block;
    }
    return UINT32_MAX;
}

static bool is_allocatable(const struct work *work, uint32_t block)
{
    return work->sim->truth[block].kind == KIND_FREE && !work->life->is_reserved[block];
}

uint32_t work_find_allocatable(struct work *work)
{
    uint32_t last = work->sim->last_freed;
    if (last != 0 && is_allocatable(work, last) && sim_random(work->sim, 4) != 0)
        return last;
    return find_in_pool(work, is_allocatable);
}

// Belongs to the object that was locked first.
static bool is_ours(const struct work *work, uint32_t block)
{
    const struct block_truth *truth = &work->sim->truth[block];
    return truth->kind != KIND_FREE && truth->lock == work->locks[0];
}

bool work_is_our_metadata(const struct work *work, uint32_t block)
{
    return is_ours(work, block) && work->sim->truth[block].kind == KIND_METADATA;
}

// An old write to it may still be under way when it is free and somebody else's.
bool work_is_our_in_write_back(const struct work *work, uint32_t block)
{
    return work_is_our_metadata(work, block) && work->life->cache[block].is_loaded &&
           work->life->cache[block].block.is_in_write_back;
}

// Its newest image is in the log alone.
static bool is_our_dirty(const struct work *work, uint32_t block)
{
    const struct cached_block *cached = &work->life->cache[block];
    return work_is_our_metadata(work, block) && cached->is_loaded && cached->block.dirty != NULL &&
           cached->block.running == NULL;
}

static bool is_our_data(const struct work *work, uint32_t block)
{
    return is_ours(work, block) && work->sim->truth[block].kind == KIND_DATA;
}

// A block to free: best one in a state where the journal must take care.
uint32_t work_find_used(struct work *work)
{
    uint32_t block = find_in_pool(work, work_is_our_in_write_back);
    if (block == UINT32_MAX && sim_random(work->sim, 2) == 0)
        block = find_in_pool(work, is_our_dirty);
    return block != UINT32_MAX ? block : find_in_pool(work, is_ours);
}

uint32_t work_find_metadata(struct work *work)
{
    return find_in_pool(work, work_is_our_metadata);
}

uint32_t work_find_data(struct work *work)
{
    return find_in_pool(work, is_our_data);
}
