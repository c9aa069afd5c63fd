// SPDX-License-Identifier: Apache-2.0
// What workers do: an operation takes its locks in order, reads what it needs, changes blocks in
// one handle, and ends or aborts it. What ends becomes the truth at once.
#include "tests/sim/journal_world.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/check.h"

// One operation under way.
struct work {
    struct life *life;
    struct sim *sim;
    uint32_t locks[LOCKS_MAX]; // held, ascending
    uint32_t lock_count;
    struct journal_handle *handle;
    uint64_t serial;
    struct operation operation; // the changes so far; the truth follows at the end
    struct operation_change planned[CHANGES_MAX];
    uint32_t planned_count;
};

// --- locks and reading ---------------------------------------------------------------------------

static bool take(struct work *work, uint32_t lock, enum lock_mode mode)
{
    if (!lock_acquire(work->life, lock, mode))
        return false;
    work->locks[work->lock_count++] = lock;
    return true;
}

static void let_go(struct work *work)
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
static bool read_block(struct work *work, uint32_t block, struct test_block *bytes)
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

static bool is_reusable(struct work *work, const struct cached_block *cached, uint32_t block)
{
    if (!journal_block_is_busy(&cached->block))
        return true;
    sim_fail(work->sim, "node %u: block %u is busy when it is read or made anew", work->life->slot,
             block);
    return false;
}

static bool load(struct work *work, uint32_t block)
{
    struct cached_block *cached = &work->life->cache[block];
    const struct block_truth *truth = &work->sim->truth[block];
    if (cached->is_loaded)
        return true;
    if (!is_reusable(work, cached, block) || !read_block(work, block, cached->bytes))
        return false;
    lamport_observe(&work->life->clock, cached->bytes->version);
    journal_block_init(&cached->block, sim_address(work->sim, block), sim_lock_name(truth->lock),
                       (uint8_t *)cached->bytes);
    cached->is_loaded = true;
    return true;
}

// --- changing ------------------------------------------------------------------------------------

static bool begin(struct work *work, uint32_t credits)
{
    credits += (uint32_t)sim_random(work->sim, 2); // an upper bound need not be exact
    uint32_t most = journal_credits_max(work->life->journal);
    work->serial = work->sim->next_serial++;
    return journal_transaction_begin(work->life->journal, credits < most ? credits : most,
                                     &work->handle) == 0;
}

static void plan(struct work *work, uint32_t block, struct block_truth after)
{
    CHECK(work->planned_count < CHANGES_MAX);
    work->planned[work->planned_count++] =
        (struct operation_change){block, work->sim->truth[block], after};
}

static void change(struct work *work, uint32_t block, uint32_t lock)
{
    struct cached_block *cached = &work->life->cache[block];
    journal_transaction_change(work->handle, &cached->block);
    test_block_fill(cached->bytes, sim_address(work->sim, block), lock, work->serial);
    cached->bytes->checksum = 0; // not sealed
    plan(work, block, (struct block_truth){KIND_METADATA, lock, work->serial});
}

static void change_root(struct work *work, uint32_t lock)
{
    change(work, lock, lock);
}

static void abort_handle(struct work *work)
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

static void end_handle(struct work *work)
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

static bool wants_abort(struct work *work)
{
    return sim_random(work->sim, 12) == 0;
}

// --- choosing ------------------------------------------------------------------------------------

static uint32_t some_object(struct work *work)
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

static uint32_t find_allocatable(struct work *work)
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

static bool is_our_metadata(const struct work *work, uint32_t block)
{
    return is_ours(work, block) && work->sim->truth[block].kind == KIND_METADATA;
}

// An old write to it may still be under way when it is free and somebody else's.
static bool is_our_in_write_back(const struct work *work, uint32_t block)
{
    return is_our_metadata(work, block) && work->life->cache[block].is_loaded &&
           work->life->cache[block].block.is_in_write_back;
}

// Its newest image is in the log alone.
static bool is_our_dirty(const struct work *work, uint32_t block)
{
    const struct cached_block *cached = &work->life->cache[block];
    return is_our_metadata(work, block) && cached->is_loaded && cached->block.dirty != NULL &&
           cached->block.running == NULL;
}

static bool is_our_data(const struct work *work, uint32_t block)
{
    return is_ours(work, block) && work->sim->truth[block].kind == KIND_DATA;
}

// --- operations ----------------------------------------------------------------------------------

// Some of the first object's metadata blocks, ready to be changed.
static uint32_t load_children(struct work *work, uint32_t *children, uint32_t count_max)
{
    uint32_t first = work->sim->lock_count, count = 0;
    uint32_t wanted = (uint32_t)sim_random(work->sim, count_max + 1);
    for (uint32_t block = first; block < work->sim->block_count && count < wanted; block++) {
        if (!is_our_metadata(work, block))
            continue;
        if (!load(work, block))
            return count;
        children[count++] = block;
    }
    return count;
}

static bool take_for_space(struct work *work)
{
    uint32_t object = some_object(work);
    return take(work, object, MODE_EXCLUSIVE) &&
           take(work, sim_allocator_lock(work->sim), MODE_EXCLUSIVE) && load(work, object) &&
           load(work, sim_allocator_lock(work->sim));
}

// As many as one handle may change beside two roots.
static uint32_t children_max(const struct work *work)
{
    uint32_t credits = journal_credits_max(work->life->journal);
    return (credits < CHANGES_MAX ? credits : CHANGES_MAX) - 2;
}

// Changes the roots of one or two objects, perhaps metadata of the first.
static void operation_update(struct work *work)
{
    uint32_t first = some_object(work), second = some_object(work);
    uint32_t children[CHANGES_MAX - 2];
    bool is_pair = second > first && sim_random(work->sim, 2) == 0;
    if (!take(work, first, MODE_EXCLUSIVE) || !load(work, first))
        return;
    if (is_pair && (!take(work, second, MODE_EXCLUSIVE) || !load(work, second)))
        return;
    uint32_t child_count = load_children(work, children, children_max(work));
    if (work->life->is_dead || !begin(work, 2 + child_count))
        return;
    change_root(work, first);
    if (is_pair)
        change_root(work, second);
    for (uint32_t i = 0; i < child_count; i++)
        change(work, children[i], first);
    if (wants_abort(work))
        abort_handle(work);
    else
        end_handle(work);
}

static void allocate_metadata(struct work *work, uint32_t block)
{
    struct cached_block *cached = &work->life->cache[block];
    uint32_t object = work->locks[0];
    if (!is_reusable(work, cached, block) || !begin(work, 3))
        return;
    memset(cached->bytes, 0, sizeof(*cached->bytes));
    journal_block_init(&cached->block, sim_address(work->sim, block), sim_lock_name(object),
                       (uint8_t *)cached->bytes);
    cached->is_loaded = true;
    change_root(work, object);
    change_root(work, sim_allocator_lock(work->sim));
    change(work, block, object);
    if (wants_abort(work)) {
        abort_handle(work);
        cached->is_loaded = false;
    } else {
        end_handle(work);
    }
}

// The data is written before the handle ends; its flush is the journal's.
static int write_data(struct work *work, uint32_t block, uint64_t serial)
{
    struct test_block *bytes = block_buffer_new(sizeof(*bytes));
    truth_fill_data(work->sim, block, serial, bytes);
    int result =
        block_device_write(work->life->path, work->sim->world.scheduler,
                           sim_address(work->sim, block) * BLOCK_BYTES, bytes, sizeof(*bytes));
    free(bytes);
    return result;
}

static void allocate_data(struct work *work, uint32_t block)
{
    uint32_t object = work->locks[0];
    if (!begin(work, 2))
        return;
    if (write_data(work, block, work->serial) < 0 || wants_abort(work)) {
        abort_handle(work);
        return;
    }
    change_root(work, object);
    change_root(work, sim_allocator_lock(work->sim));
    plan(work, block, (struct block_truth){KIND_DATA, object, work->serial});
    journal_transaction_needs_data_flush(work->handle);
    end_handle(work);
}

// Space that a transaction frees, until the journal says that it may be used.
struct freed_space {
    struct journal_on_durable on_durable; // first
    struct life *life;
    uint32_t block;
};

static void freed_space_is_durable(struct journal_on_durable *on_durable, int result)
{
    struct freed_space *freed = (struct freed_space *)on_durable;
    if (result == 0) {
        freed->life->is_reserved[freed->block] = false;
        sim_trace(freed->life->sim, "node %u: block %u may be used again", freed->life->slot,
                  freed->block);
    }
    free(freed);
}

static void reserve_until_durable(struct work *work, uint32_t block)
{
    struct freed_space *freed = malloc(sizeof(*freed));
    CHECK(freed != NULL);
    *freed = (struct freed_space){{.run = freed_space_is_durable}, work->life, block};
    work->life->is_reserved[block] = true;
    journal_transaction_on_durable(work->handle, &freed->on_durable);
}

static void free_block(struct work *work, uint32_t block)
{
    struct cached_block *cached = &work->life->cache[block];
    bool is_metadata = work->sim->truth[block].kind == KIND_METADATA;
    change_root(work, work->locks[0]);
    change_root(work, sim_allocator_lock(work->sim));
    if (is_metadata && cached->is_loaded && sim_random(work->sim, 3) == 0)
        change(work, block, work->locks[0]); // changed and freed by one handle
    if (is_metadata)
        journal_transaction_revoke(work->handle, sim_address(work->sim, block),
                                   cached->is_loaded ? &cached->block : NULL);
    if (wants_abort(work)) {
        abort_handle(work);
        return;
    }
    plan(work, block, (struct block_truth){.kind = KIND_FREE});
    work->sim->last_freed = block;
    reserve_until_durable(work, block);
    end_handle(work);
    cached->is_loaded = false;
}

static void free_some(struct work *work, uint32_t block)
{
    bool is_metadata = work->sim->truth[block].kind == KIND_METADATA;
    if (is_metadata && sim_random(work->sim, 4) != 0 && !load(work, block))
        return;
    if (begin(work, 3))
        free_block(work, block);
}

// A block to free: best one in a state where the journal must take care.
static uint32_t find_used(struct work *work)
{
    uint32_t block = find_in_pool(work, is_our_in_write_back);
    if (block == UINT32_MAX && sim_random(work->sim, 2) == 0)
        block = find_in_pool(work, is_our_dirty);
    return block != UINT32_MAX ? block : find_in_pool(work, is_ours);
}

// Allocates or frees a block of an object, as there are any.
static void operation_space(struct work *work)
{
    if (!take_for_space(work))
        return;
    uint32_t used = find_used(work), free = find_allocatable(work);
    bool frees = used != UINT32_MAX && (free == UINT32_MAX || is_our_in_write_back(work, used) ||
                                        sim_random(work->sim, 2) == 0);
    if (frees)
        free_some(work, used);
    else if (free != UINT32_MAX && sim_random(work->sim, 2) == 0)
        allocate_metadata(work, free);
    else if (free != UINT32_MAX)
        allocate_data(work, free);
}

static void operation_read(struct work *work)
{
    uint32_t object = some_object(work);
    struct test_block *bytes = block_buffer_new(sizeof(*bytes));
    if (take(work, object, MODE_SHARED) && load(work, object)) {
        uint32_t child = find_in_pool(work, is_our_metadata);
        uint32_t data = find_in_pool(work, is_our_data);
        if (child == UINT32_MAX || load(work, child)) {
            if (data != UINT32_MAX)
                read_block(work, data, bytes);
        }
    }
    free(bytes);
}

static void operation_sync(struct work *work)
{
    struct life *life = work->life;
    uint64_t ended = life->operation_count;
    int result = journal_sync(life->journal);
    if (life->is_dead)
        return;
    if (result == 0) {
        truth_durable_up_to(life, ended);
        sim_trace(work->sim, "node %u: synced up to operation %" PRIu64, life->slot, ended);
    } else {
        life_crash(life, "its journal failed");
    }
}

static void operation_checkpoint(struct work *work)
{
    uint64_t ended = work->life->operation_count;
    if (journal_checkpoint(work->life->journal) == 0 && !work->life->is_dead)
        truth_durable_up_to(work->life, ended);
}

static bool happens(struct work *work, uint32_t percent)
{
    return sim_random(work->sim, 100) < percent;
}

void operation_run(struct life *life)
{
    struct work work = {.life = life, .sim = life->sim};
    if (happens(&work, life->sim->sync_percent))
        operation_sync(&work);
    else if (happens(&work, life->sim->sync_percent / 4))
        operation_checkpoint(&work);
    else if (happens(&work, life->sim->space_percent))
        operation_space(&work);
    else if (happens(&work, 70))
        operation_update(&work);
    else
        operation_read(&work);
    let_go(&work);
}
