// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/allocator_model.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "fs/base/check.h"
#include "fs/base/error.h"
#include "fs/cluster_lock.h"
#include "fs/format_decode.h"
#include "fs/lock_types.h"

void model_init(struct model *model, struct structure_world *world, uint64_t seed)
{
    memset(model, 0, sizeof(*model));
    model->world = world;
    model->uses = calloc(world->volume.geometry.block_count, 1);
    model->tickets = calloc(world->volume.geometry.block_count, sizeof(model->tickets[0]));
    random_init(&model->random, seed);
}

void model_deinit(struct model *model)
{
    free(model->uses);
    free(model->tickets);
}

void model_own(struct model *model, struct block_run run)
{
    const struct geometry *g = &model->world->volume.geometry;
    assert_true(geometry_is_data_range(g, run.start_block, run.block_count));
    for (uint64_t i = 0; i < run.block_count; i++) {
        assert_int_not_equal(model->uses[run.start_block + i], USE_OWNED);
        model->uses[run.start_block + i] = USE_OWNED;
    }
    assert_true(model->owned_count < OWNED_MAX);
    model->owned[model->owned_count++] = (struct owned){run.start_block, run.block_count};
    model->owned_blocks += run.block_count;
}

struct owned model_disown(struct model *model, unsigned index, enum block_use use)
{
    struct owned owned = model->owned[index];
    model->owned[index] = model->owned[--model->owned_count];
    for (uint64_t i = 0; i < owned.block_count; i++) {
        model->uses[owned.start_block + i] = (uint8_t)use;
        model->tickets[owned.start_block + i] = UINT64_MAX;
    }
    model->owned_blocks -= owned.block_count;
    return owned;
}

// A block that was given out: what freed it is durable by now.
static void model_check_given(struct model *model, struct block_run run)
{
    struct journal_status status;
    if (model->is_hostile)
        return;
    journal_status_get(model->world->volume.journal, &status);
    for (uint64_t i = run.start_block; i < run.start_block + run.block_count; i++) {
        assert_int_not_equal(model->uses[i], USE_OWNED);
        assert_true(model->uses[i] != USE_BUSY || model->tickets[i] <= status.ticket_durable);
    }
}

void model_commit(struct model *model)
{
    assert_int_equal(journal_sync(model->world->volume.journal), 0);
    for (uint64_t i = 0; i < model->world->volume.geometry.block_count; i++) {
        if (model->uses[i] == USE_BUSY)
            model->uses[i] = USE_FREE;
    }
}

// --- the LUN without the allocator -------------------------------------------------------------

static void mark(struct model *model, uint8_t *seen, uint64_t block, uint64_t count,
                 enum block_use use)
{
    (void)model;
    for (uint64_t i = 0; i < count; i++) {
        assert_int_equal(seen[block + i], 0xff);
        seen[block + i] = (uint8_t)use;
    }
}

static uint64_t read_free_node(struct model *model, uint8_t *seen, const uint8_t *area,
                               size_t bytes)
{
    struct format_node node;
    const char *reason = NULL;
    assert_int_equal(format_node_open(&node, area, bytes, &reason), 0);
    uint64_t total = 0;
    for (unsigned i = 0; i < node.item_count; i++) {
        struct format_item item = format_node_item(&node, i);
        uint64_t count;
        if (node.level > 0) {
            uint64_t child = format_node_child(&node, i);
            mark(model, seen, child, 1, USE_TREE);
            total += read_free_node(model, seen, structure_world_block(model->world, child) + 64,
                                    BLOCK_BYTES - 64);
            continue;
        }
        assert_int_equal(format_free_decode(&item, &count, &reason), 0);
        // Neighbours are merged: what stands before is not free, as far as it was read.
        assert_int_not_equal(seen[item.key.major - 1], USE_FREE);
        mark(model, seen, item.key.major, count, USE_FREE);
        total += count;
    }
    return total;
}

bool model_group_is_initialised(struct structure_world *world, uint32_t ag)
{
    struct ag_map_disk *map =
        (struct ag_map_disk *)structure_world_block(world, FORMAT_AG_MAP_BLOCK);
    return map->bits[ag / 8] & (1u << ag % 8);
}

static void check_group(struct model *model, uint8_t *seen, uint32_t ag)
{
    const struct geometry *g = &model->world->volume.geometry;
    uint64_t first = geometry_ag_first_block(g, ag);
    uint64_t count = geometry_ag_block_count(g, ag);
    if (!model_group_is_initialised(model->world, ag)) {
        for (uint64_t i = 0; i < count; i++)
            assert_int_equal(model->uses[first + i], USE_FREE);
        return;
    }
    struct ag_header_disk *header =
        (struct ag_header_disk *)structure_world_block(model->world, first);
    struct format_ag decoded;
    const char *reason = NULL;
    assert_int_equal(format_ag_decode(header, g, ag, &decoded, &reason), 0);
    mark(model, seen, first, 1, USE_HEADER);
    for (uint32_t i = 0; i < decoded.reserve_count; i++)
        mark(model, seen, decoded.reserve[i], 1, USE_TREE);
    uint64_t total = read_free_node(model, seen, header->free_root, sizeof(header->free_root));
    assert_int_equal(total, decoded.free_block_count);
    for (uint64_t i = 1; i < count; i++) {
        bool is_owned = model->uses[first + i] == USE_OWNED;
        assert_true(is_owned == (seen[first + i] == 0xff));
    }
}

// After a clean unmount.
void model_check_lun(struct model *model)
{
    const struct geometry *g = &model->world->volume.geometry;
    uint8_t *seen = malloc(g->block_count);
    memset(seen, 0xff, g->block_count);
    for (uint32_t ag = 0; ag < g->ag_count; ag++)
        check_group(model, seen, ag);
    free(seen);
}

static void model_settle(void *argument)
{
    model_commit(argument);
}

void model_check_after_remount(struct model *model)
{
    structure_world_run(model->world, model_settle, model);
    structure_world_remount(model->world);
    model_check_lun(model);
}

// --- one operation -----------------------------------------------------------------------------

static int take_data(struct model *model, struct operation *operation,
                     struct allocator_reservation *space, struct journal_handle *handle)
{
    uint64_t alignment = (uint64_t)1 << random_below(&model->random, 6);
    struct block_run *run = &operation->runs[operation->run_count++];
    int result = allocator_allocate(space, handle, 0, 1, operation->data_wanted, alignment, run);
    if (result == 0)
        model_check_given(model, *run);
    return result;
}

static int do_changes(struct model *model, struct operation *operation,
                      struct allocator_reservation *space, struct journal_handle *handle)
{
    int result = 0;
    operation->run_count = 0;
    for (unsigned i = 0; i < operation->free_count && result == 0; i++)
        result = allocator_free(space, handle, operation->frees[i].start_block,
                                operation->frees[i].block_count);
    // Data must leave what was wanted for nodes.
    bool data_first = operation->data_wanted > 0 && random_one_in(&model->random, 2);
    if (result == 0 && data_first)
        result = take_data(model, operation, space, handle);
    for (uint64_t i = 0; i < operation->nodes_wanted && result == 0; i++) {
        struct block_run *run = &operation->runs[operation->run_count++];
        run->block_count = 1;
        result = allocator_allocate_node(space, handle, &run->start_block);
        if (result == 0)
            model_check_given(model, *run);
    }
    if (result == 0 && operation->data_wanted > 0 && !data_first)
        result = take_data(model, operation, space, handle);
    return result;
}

static void note_tickets(struct model *model, const struct operation *operation, uint64_t ticket)
{
    for (unsigned i = 0; i < operation->free_count; i++) {
        const struct owned *freed = &operation->frees[i];
        for (uint64_t j = 0; j < freed->block_count; j++)
            model->tickets[freed->start_block + j] = ticket;
    }
}

static int attempt(struct model *model, struct operation *operation,
                   struct allocator_reservation *space)
{
    struct journal_handle *handle;
    // Sometimes fewer changes are announced than come: the reservation learns.
    uint32_t changes = operation->free_count + 1 - (uint32_t)random_one_in(&model->random, 4);
    int result = allocator_begin(space, 1, changes, &handle);
    if (result != 0)
        return result;
    result = do_changes(model, operation, space, handle);
    if (result == 0 && !operation->is_aborted) {
        note_tickets(model, operation, journal_transaction_ticket(handle));
        allocator_end(space, handle);
        return 0;
    }
    allocator_abort(space, handle);
    return result == 0 ? -ECANCELED : result;
}

int model_perform(struct model *model, struct operation *operation)
{
    struct allocator_reservation space;
    allocator_reservation_init(&space, &model->world->volume, 0);
    allocator_want_nodes(&space, operation->nodes_wanted);
    if (operation->data_wanted > 0)
        allocator_want_data(&space, 1, operation->data_wanted);
    for (unsigned i = 0; i < operation->free_count; i++) {
        // Some groups are found out only inside of the handle.
        if (random_one_in(&model->random, 4))
            continue;
        assert_true(allocator_want_free(&space, operation->frees[i].start_block));
    }
    int result;
    do {
        result = allocator_reserve(&space);
        if (result != 0)
            break;
        result = attempt(model, operation, &space);
        allocator_release(&space);
    } while (allocator_must_retry(&space, result));
    return result;
}

// What an operation did, or its taking back, goes into the model.
void model_account(struct model *model, struct operation *operation, int result)
{
    for (unsigned i = 0; i < operation->free_count; i++) {
        struct owned *freed = &operation->frees[i];
        if (result == 0)
            continue;
        for (uint64_t j = 0; j < freed->block_count; j++)
            model->uses[freed->start_block + j] = USE_FREE;
        model_own(model, (struct block_run){freed->start_block, freed->block_count});
    }
    for (unsigned i = 0; result == 0 && i < operation->run_count; i++)
        model_own(model, operation->runs[i]);
}

void model_pick_frees(struct model *model, struct operation *operation, unsigned count_max)
{
    unsigned count = (unsigned)random_below(&model->random, count_max + 1);
    while (operation->free_count < count && model->owned_count > 0) {
        unsigned index = (unsigned)random_below(&model->random, model->owned_count);
        operation->frees[operation->free_count++] = model_disown(model, index, USE_BUSY);
    }
}

// --- the simplest operations -------------------------------------------------------------------

int model_take_single(struct model *model)
{
    struct operation operation = {.data_wanted = 1};
    int result = model_perform(model, &operation);
    model_account(model, &operation, result);
    return result;
}

int model_free_index(struct model *model, unsigned index)
{
    struct operation operation = {.free_count = 1};
    operation.frees[0] = model_disown(model, index, USE_BUSY);
    int result = model_perform(model, &operation);
    model_account(model, &operation, result);
    return result;
}

int model_compare_owned(const void *a, const void *b)
{
    const struct owned *x = a, *y = b;
    return x->start_block < y->start_block ? -1 : x->start_block > y->start_block;
}

// --- histories ---------------------------------------------------------------------------------

void model_run_history(void *argument)
{
    struct history *history = argument;
    struct model *model = &history->model;
    struct random *random = &model->random;
    for (unsigned i = 0; i < history->operations; i++) {
        bool grows = (i / 500) % 3 != 2;
        struct operation operation = {0};
        operation.is_aborted = random_one_in(random, 10);
        model_pick_frees(model, &operation, grows ? 1 : 4);
        operation.nodes_wanted = random_below(random, grows ? 4 : 2);
        if (grows && random_one_in(random, 2))
            operation.data_wanted = 1 + random_below(random, history->run_max);
        int result = model_perform(model, &operation);
        assert_true(result == 0 || result == -ECANCELED || result == -ENOSPC);
        model_account(model, &operation, result);
        history->full_count += result == -ENOSPC;
        // A full volume commits by itself: what was busy came free.
        if (result == -ENOSPC || random_one_in(random, 12))
            model_commit(model);
    }
}

// The allocator may have committed on its own, so busy blocks of the model may be had: tell the
// model.

// --- one test ----------------------------------------------------------------------------------

void model_test(struct structure_options options, void (*body)(void *model), bool checks_lun)
{
    struct structure_world *world = calloc(1, sizeof(*world));
    struct model *model = calloc(1, sizeof(*model));
    assert_non_null(world);
    assert_non_null(model);
    structure_world_open(world, &options);
    model_init(model, world, options.seed);
    structure_world_run(world, body, model);
    if (checks_lun)
        model_check_after_remount(model);
    model_deinit(model);
    structure_world_close(world);
    free(model);
    free(world);
}
