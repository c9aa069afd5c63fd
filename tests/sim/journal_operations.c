// SPDX-License-Identifier: Apache-2.0
// What workers do: an operation takes its locks in order, reads what it needs, changes blocks in
// one handle, and ends or aborts it. What ends becomes the truth at once.
#include "tests/sim/journal_work.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/check.h"

// Some of the first object's metadata blocks, ready to be changed.
static uint32_t load_children(struct work *work, uint32_t *children, uint32_t count_max)
{
    uint32_t first = work->sim->lock_count, count = 0;
    uint32_t wanted = (uint32_t)sim_random(work->sim, count_max + 1);
    for (uint32_t block = first; block < work->sim->block_count && count < wanted; block++) {
        if (!work_is_our_metadata(work, block))
            continue;
        if (!work_load(work, block))
            return count;
        children[count++] = block;
    }
    return count;
}

static bool take_for_space(struct work *work)
{
    uint32_t object = work_some_object(work);
    return work_take(work, object, MODE_EXCLUSIVE) &&
           work_take(work, sim_allocator_lock(work->sim), MODE_EXCLUSIVE) &&
           work_load(work, object) && work_load(work, sim_allocator_lock(work->sim));
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
    uint32_t first = work_some_object(work), second = work_some_object(work);
    uint32_t children[CHANGES_MAX - 2];
    bool is_pair = second > first && sim_random(work->sim, 2) == 0;
    if (!work_take(work, first, MODE_EXCLUSIVE) || !work_load(work, first))
        return;
    if (is_pair && (!work_take(work, second, MODE_EXCLUSIVE) || !work_load(work, second)))
        return;
    uint32_t child_count = load_children(work, children, children_max(work));
    if (work->life->is_dead || !work_begin(work, 2 + child_count))
        return;
    work_change_root(work, first);
    if (is_pair)
        work_change_root(work, second);
    for (uint32_t i = 0; i < child_count; i++)
        work_change(work, children[i], first);
    if (work_wants_abort(work))
        work_abort(work);
    else
        work_end(work);
}

static void allocate_metadata(struct work *work, uint32_t block)
{
    struct cached_block *cached = &work->life->cache[block];
    uint32_t object = work->locks[0];
    if (!work_is_reusable(work, block) || !work_begin(work, 3))
        return;
    memset(cached->bytes, 0, sizeof(*cached->bytes));
    journal_block_init(&cached->block, sim_address(work->sim, block), sim_lock_name(object),
                       (uint8_t *)cached->bytes);
    cached->is_loaded = true;
    work_change_root(work, object);
    work_change_root(work, sim_allocator_lock(work->sim));
    work_change(work, block, object);
    if (work_wants_abort(work)) {
        work_abort(work);
        cached->is_loaded = false;
    } else {
        work_end(work);
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
    if (!work_begin(work, 2))
        return;
    if (write_data(work, block, work->serial) < 0 || work_wants_abort(work)) {
        work_abort(work);
        return;
    }
    work_change_root(work, object);
    work_change_root(work, sim_allocator_lock(work->sim));
    work_plan(work, block, (struct block_truth){KIND_DATA, object, work->serial});
    journal_transaction_needs_data_flush(work->handle);
    work_end(work);
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
    work_change_root(work, work->locks[0]);
    work_change_root(work, sim_allocator_lock(work->sim));
    if (is_metadata && cached->is_loaded && sim_random(work->sim, 3) == 0)
        work_change(work, block, work->locks[0]); // changed and freed by one handle
    if (is_metadata)
        journal_transaction_revoke(work->handle, sim_address(work->sim, block),
                                   cached->is_loaded ? &cached->block : NULL);
    if (work_wants_abort(work)) {
        work_abort(work);
        return;
    }
    work_plan(work, block, (struct block_truth){.kind = KIND_FREE});
    work->sim->last_freed = block;
    reserve_until_durable(work, block);
    work_end(work);
    cached->is_loaded = false;
}

static void free_some(struct work *work, uint32_t block)
{
    bool is_metadata = work->sim->truth[block].kind == KIND_METADATA;
    if (is_metadata && sim_random(work->sim, 4) != 0 && !work_load(work, block))
        return;
    if (work_begin(work, 3))
        free_block(work, block);
}

// Allocates or frees a block of an object, as there are any.
static void operation_space(struct work *work)
{
    if (!take_for_space(work))
        return;
    uint32_t used = work_find_used(work), free = work_find_allocatable(work);
    bool frees =
        used != UINT32_MAX && (free == UINT32_MAX || work_is_our_in_write_back(work, used) ||
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
    uint32_t object = work_some_object(work);
    struct test_block *bytes = block_buffer_new(sizeof(*bytes));
    if (work_take(work, object, MODE_SHARED) && work_load(work, object)) {
        uint32_t child = work_find_metadata(work);
        uint32_t data = work_find_data(work);
        if (child == UINT32_MAX || work_load(work, child)) {
            if (data != UINT32_MAX)
                work_read_block(work, data, bytes);
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
    work_let_go(&work);
}
