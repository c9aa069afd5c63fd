// SPDX-License-Identifier: Apache-2.0
// The allocator against a model that knows who owns each block, what is busy, and what is
// committed. After each history the LUN is read without the allocator: every block of every group
// is exactly one of header, allocated, free, reserve or tree node.
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include <cmocka.h>

#include "fs/allocator.h"
#include "fs/allocator_group.h"
#include "fs/base/check.h"
#include "fs/base/error.h"
#include "fs/cluster_lock.h"
#include "fs/format_decode.h"
#include "fs/lock_types.h"
#include "tests/lib/structure_world.h"

enum { OWNED_MAX = 20000, BATCH_MAX = 8 };

enum block_use { USE_FREE, USE_OWNED, USE_BUSY, USE_TREE, USE_HEADER };

struct owned {
    uint64_t start_block, block_count;
};

struct model {
    struct structure_world *world;
    struct random random;
    bool is_hostile;   // the LUN lies: what is given out cannot be judged
    uint8_t *uses;     // by block of the volume
    uint64_t *tickets; // by block, if busy: of the transaction that freed it
    struct owned owned[OWNED_MAX];
    unsigned owned_count;
    uint64_t owned_blocks;
};

static void model_init(struct model *model, struct structure_world *world, uint64_t seed)
{
    memset(model, 0, sizeof(*model));
    model->world = world;
    model->uses = calloc(world->volume.geometry.block_count, 1);
    model->tickets = calloc(world->volume.geometry.block_count, sizeof(model->tickets[0]));
    random_init(&model->random, seed);
}

static void model_deinit(struct model *model)
{
    free(model->uses);
    free(model->tickets);
}

static void model_own(struct model *model, struct block_run run)
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

static struct owned model_disown(struct model *model, unsigned index, enum block_use use)
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

static void model_commit(struct model *model)
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

static bool is_initialised(struct structure_world *world, uint32_t ag)
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
    if (!is_initialised(model->world, ag)) {
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
static void check_lun(struct model *model)
{
    const struct geometry *g = &model->world->volume.geometry;
    uint8_t *seen = malloc(g->block_count);
    memset(seen, 0xff, g->block_count);
    for (uint32_t ag = 0; ag < g->ag_count; ag++)
        check_group(model, seen, ag);
    free(seen);
}

static void settle(void *argument)
{
    model_commit(argument);
}

static void check_after_remount(struct model *model)
{
    structure_world_run(model->world, settle, model);
    structure_world_remount(model->world);
    check_lun(model);
}

// --- one operation -----------------------------------------------------------------------------

struct operation {
    struct owned frees[BATCH_MAX]; // taken out of the model; put back if it is aborted
    unsigned free_count;
    struct block_run runs[BATCH_MAX];
    unsigned run_count;
    uint64_t nodes_wanted, data_wanted;
    bool is_aborted;
};

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

static int perform(struct model *model, struct operation *operation)
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
static void account(struct model *model, struct operation *operation, int result)
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

static void pick_frees(struct model *model, struct operation *operation, unsigned count_max)
{
    unsigned count = (unsigned)random_below(&model->random, count_max + 1);
    while (operation->free_count < count && model->owned_count > 0) {
        unsigned index = (unsigned)random_below(&model->random, model->owned_count);
        operation->frees[operation->free_count++] = model_disown(model, index, USE_BUSY);
    }
}

struct history {
    struct model model;
    unsigned operations;
    uint64_t run_max;
    unsigned full_count; // operations that found the volume full
};

static void run_history(void *argument)
{
    struct history *history = argument;
    struct model *model = &history->model;
    struct random *random = &model->random;
    for (unsigned i = 0; i < history->operations; i++) {
        bool grows = (i / 500) % 3 != 2;
        struct operation operation = {0};
        operation.is_aborted = random_one_in(random, 10);
        pick_frees(model, &operation, grows ? 1 : 4);
        operation.nodes_wanted = random_below(random, grows ? 4 : 2);
        if (grows && random_one_in(random, 2))
            operation.data_wanted = 1 + random_below(random, history->run_max);
        int result = perform(model, &operation);
        assert_true(result == 0 || result == -ECANCELED || result == -ENOSPC);
        account(model, &operation, result);
        history->full_count += result == -ENOSPC;
        // A full volume commits by itself: what was busy came free.
        if (result == -ENOSPC || random_one_in(random, 12))
            model_commit(model);
    }
}

// The allocator may have committed on its own, so busy blocks of the model may be had: tell the
// model.
static void random_history(struct structure_options options, unsigned operations, uint64_t run_max,
                           bool must_get_full)
{
    static struct structure_world world;
    static struct history history;
    structure_world_open(&world, &options);
    model_init(&history.model, &world, options.seed);
    history.operations = operations;
    history.run_max = run_max;
    history.full_count = 0;
    for (int round = 0; round < 3; round++) {
        structure_world_run(&world, run_history, &history);
        check_after_remount(&history.model);
    }
    print_message("seed %llu: %u operations, %u times full, %llu blocks owned at the end\n",
                  (unsigned long long)options.seed, 3 * operations, history.full_count,
                  (unsigned long long)history.model.owned_blocks);
    assert_true(!must_get_full || history.full_count > 0);
    model_deinit(&history.model);
    structure_world_close(&world);
}

static void random_histories(void **state)
{
    (void)state;
    random_history((struct structure_options){.block_count = 1 << 16, .seed = 1}, 3000, 300, false);
    random_history(
        (struct structure_options){.block_count = 14000, .ag_block_shift = 10, .seed = 2}, 3000,
        200, true);
    random_history(
        (struct structure_options){.block_count = 12000, .ag_block_shift = 13, .seed = 3}, 3000, 3,
        true);
    random_history(
        (struct structure_options){
            .block_count = 40000, .ag_block_shift = 11, .seed = 4, .slot_count = 5},
        3000, 1000, true);
}

// --- full, fragmented, and freed again -----------------------------------------------------------

static int take_single(struct model *model)
{
    struct operation operation = {.data_wanted = 1};
    int result = perform(model, &operation);
    account(model, &operation, result);
    return result;
}

static int free_index(struct model *model, unsigned index)
{
    struct operation operation = {.free_count = 1};
    operation.frees[0] = model_disown(model, index, USE_BUSY);
    int result = perform(model, &operation);
    account(model, &operation, result);
    return result;
}

static int compare_owned(const void *a, const void *b)
{
    const struct owned *x = a, *y = b;
    return x->start_block < y->start_block ? -1 : x->start_block > y->start_block;
}

// Every other block of a full volume is freed, without a commit in between: the free trees must
// grow though no block is free to grow into but the reserve.
static void run_full(void *argument)
{
    struct model *model = argument;
    int result;
    while ((result = take_single(model)) == 0)
        ;
    assert_int_equal(result, -ENOSPC);
    struct allocator_summary summary;
    allocator_summary_get(&model->world->volume, &summary);
    assert_int_equal(summary.available_block_count, 0);
    qsort(model->owned, model->owned_count, sizeof(model->owned[0]), compare_owned);
    unsigned before = model->owned_count;
    for (unsigned i = before; i > 1; i -= 2)
        assert_int_equal(free_index(model, i - 2), 0);
    model_commit(model);
    for (unsigned i = 0; i < before / 4; i++)
        assert_int_equal(take_single(model), 0);
}

static void frees_on_a_full_volume(void **state)
{
    (void)state;
    static struct structure_world world;
    static struct model model;
    structure_world_open(
        &world, &(struct structure_options){.block_count = 22000, .ag_block_shift = 12, .seed = 9});
    model_init(&model, &world, 9);
    structure_world_run(&world, run_full, &model);
    check_after_remount(&model);
    model_deinit(&model);
    structure_world_close(&world);
}

// Random operations in a group with thousands of free extents: trees of three levels, and the
// credits that changes in them may cost (the journal checks that they suffice).
static void run_fragmented(void *argument)
{
    struct history *history = argument;
    struct model *model = &history->model;
    while (take_single(model) == 0)
        ;
    qsort(model->owned, model->owned_count, sizeof(model->owned[0]), compare_owned);
    for (unsigned i = model->owned_count; i > 1; i -= 2)
        assert_int_equal(free_index(model, i - 2), 0);
    model_commit(model);
    run_history(history);
}

static unsigned level_on_lun(struct structure_world *world, uint32_t ag)
{
    const struct geometry *g = &world->volume.geometry;
    struct ag_header_disk *header =
        (struct ag_header_disk *)structure_world_block(world, geometry_ag_first_block(g, ag));
    return ((struct tree_node_disk *)header->free_root)->level;
}

static void fragmented_groups(void **state)
{
    (void)state;
    static struct structure_world world;
    static struct history history;
    structure_world_open(&world, &(struct structure_options){
                                     .block_count = 25400, .ag_block_shift = 14, .seed = 19});
    model_init(&history.model, &world, 19);
    history.operations = 6000;
    history.run_max = 5;
    structure_world_run(&world, run_fragmented, &history);
    check_after_remount(&history.model);
    print_message("levels above the leaves: %u\n", level_on_lun(&world, 0));
    model_deinit(&history.model);
    structure_world_close(&world);
}

// --- busy ------------------------------------------------------------------------------------

static void run_busy(void *argument)
{
    struct model *model = argument;
    struct journal_status before, after;
    while (take_single(model) == 0)
        ;
    model_commit(model);
    unsigned count = model->owned_count;
    for (unsigned i = 0; i < 40; i++)
        assert_int_equal(free_index(model, model->owned_count - 1), 0);
    // All that is free is busy: the reservation commits, waits, and is served.
    journal_status_get(model->world->volume.journal, &before);
    assert_int_equal(take_single(model), 0);
    journal_status_get(model->world->volume.journal, &after);
    assert_true(after.commit_count > before.commit_count);
    assert_int_equal(model->owned_count, count - 39);
}

static void busy_space_waits_for_its_commit(void **state)
{
    (void)state;
    static struct structure_world world;
    static struct model model;
    structure_world_open(&world, &(struct structure_options){.block_count = 12000, .seed = 11});
    model_init(&model, &world, 11);
    structure_world_run(&world, run_busy, &model);
    check_after_remount(&model);
    model_deinit(&model);
    structure_world_close(&world);
}

// --- where short runs go -----------------------------------------------------------------------

static void run_small_cursor(void *argument)
{
    struct model *model = argument;
    for (int i = 0; i < 100; i++)
        assert_int_equal(take_single(model), 0);
    uint64_t lowest = model->owned[0].start_block;
    assert_int_equal(free_index(model, 0), 0);
    model_commit(model);
    assert_int_equal(take_single(model), 0);
    assert_int_equal(model->owned[model->owned_count - 1].start_block, lowest);
}

static void short_runs_fill_gaps(void **state)
{
    (void)state;
    static struct structure_world world;
    static struct model model;
    structure_world_open(&world, &(struct structure_options){.seed = 18});
    model_init(&model, &world, 18);
    structure_world_run(&world, run_small_cursor, &model);
    model_deinit(&model);
    structure_world_close(&world);
}

// --- the lock goes -----------------------------------------------------------------------------

static void run_hand_over(void *argument)
{
    struct model *model = argument;
    for (int i = 0; i < 30; i++) {
        assert_int_equal(take_single(model), 0);
        assert_int_equal(take_single(model), 0);
        assert_int_equal(free_index(model, 0), 0);
        // Another node takes all groups: nothing busy may be left behind, and all is read anew.
        structure_world_take_lock(model->world, lock_name_ag(0));
        model_commit(model);
        check_lun(model);
    }
}

static void hand_over_leaves_nothing_busy(void **state)
{
    (void)state;
    static struct structure_world world;
    static struct model model;
    structure_world_open(&world, &(struct structure_options){.seed = 12});
    model_init(&model, &world, 12);
    structure_world_run(&world, run_hand_over, &model);
    model_deinit(&model);
    structure_world_close(&world);
}

// A node's block is freed while its write-back is slow: the group stays until that has landed (rule
// 4).
struct slow {
    struct model *model;
    bool is_gone;
};

static void run_checkpoint(void *argument)
{
    struct slow *slow = argument;
    assert_int_equal(journal_checkpoint(slow->model->world->volume.journal), 0);
}

static void run_take_lock(void *argument)
{
    struct slow *slow = argument;
    structure_world_take_lock(slow->model->world, lock_name_ag(0));
    slow->is_gone = true;
}

static struct cache_block *read_node(struct model *model, uint64_t block)
{
    struct cache_identity identity = {block, 99, BLOCK_TYPE_TREE_NODE, lock_name_inode(99)};
    struct cache_block *read;
    assert_int_equal(cache_read(model->world->volume.cache, &identity, &read), 0);
    return read;
}

// Makes a node, in place on the LUN, and then changes it: it alone is dirty.
static uint64_t make_node(struct model *model)
{
    struct operation operation = {.nodes_wanted = 1};
    assert_int_equal(perform(model, &operation), 0);
    account(model, &operation, 0);
    uint64_t block = operation.runs[0].start_block;
    struct cache_identity identity = {block, 99, BLOCK_TYPE_TREE_NODE, lock_name_inode(99)};
    struct journal_handle *handle = structure_world_begin(model->world, 1);
    struct cache_block *made;
    assert_int_equal(cache_create(model->world->volume.cache, handle, &identity, &made), 0);
    journal_transaction_end(handle);
    cache_put(made);
    assert_int_equal(journal_checkpoint(model->world->volume.journal), 0);
    made = read_node(model, block);
    handle = structure_world_begin(model->world, 1);
    cache_change(made, handle);
    made->bytes[100] = 1;
    journal_transaction_end(handle);
    cache_put(made);
    return block;
}

static void free_node(struct model *model, uint64_t block)
{
    struct allocator_reservation space;
    struct journal_handle *handle;
    allocator_reservation_init(&space, &model->world->volume, 0);
    assert_true(allocator_want_free(&space, block));
    assert_int_equal(allocator_reserve(&space), 0);
    assert_int_equal(allocator_begin(&space, 1, 1, &handle), 0);
    assert_int_equal(allocator_free_node(&space, handle, block), 0);
    allocator_end(&space, handle);
    allocator_release(&space);
}

static void run_slow_write_back(void *argument)
{
    struct slow *slow = argument;
    struct structure_world *world = slow->model->world;
    uint64_t block = make_node(slow->model);
    world->memory.held_offset = block * BLOCK_BYTES;
    structure_world_start(world, run_checkpoint, slow);
    environment_sleep(&world->environment, 1000);
    free_node(slow->model, block);
    assert_int_equal(journal_sync(world->volume.journal), 0);
    structure_world_start(world, run_take_lock, slow);
    environment_sleep(&world->environment, UINT64_C(60000000000));
    assert_false(slow->is_gone);
    world->memory.held_offset = UINT64_MAX;
    environment_sleep(&world->environment, 1000);
    assert_true(slow->is_gone);
}

static void hand_over_waits_for_write_back(void **state)
{
    (void)state;
    static struct structure_world world;
    static struct model model;
    structure_world_open(&world, &(struct structure_options){.seed = 17});
    model_init(&model, &world, 17);
    struct slow slow = {.model = &model};
    structure_world_run(&world, run_slow_write_back, &slow);
    model_deinit(&model);
    structure_world_close(&world);
}

// --- several at once -----------------------------------------------------------------------------

struct crowd {
    struct model *model;
    unsigned done;
    struct wait_queue finished;
};

static void run_one_of_crowd(void *argument)
{
    struct crowd *crowd = argument;
    struct model *model = crowd->model;
    for (int i = 0; i < 200; i++) {
        struct operation operation = {.nodes_wanted = 2, .data_wanted = 1 + (uint64_t)i % 40};
        pick_frees(model, &operation, 2);
        int result = perform(model, &operation);
        assert_int_equal(result, 0);
        account(model, &operation, 0);
    }
    crowd->done++;
    wait_queue_wake_all(model->world->environment.scheduler, &crowd->finished);
}

static void run_crowd(void *argument)
{
    struct crowd *crowd = argument;
    while (crowd->done < 8)
        wait_queue_wait(crowd->model->world->environment.scheduler, &crowd->finished);
}

static void several_at_once(void **state)
{
    (void)state;
    static struct structure_world world;
    static struct model model;
    structure_world_open(&world, &(struct structure_options){
                                     .block_count = 1 << 17, .ag_block_shift = 10, .seed = 13});
    model_init(&model, &world, 13);
    struct crowd crowd = {.model = &model};
    wait_queue_init(&crowd.finished);
    for (int i = 0; i < 8; i++)
        structure_world_start(&world, run_one_of_crowd, &crowd);
    structure_world_run(&world, run_crowd, &crowd);
    check_after_remount(&model);
    model_deinit(&model);
    structure_world_close(&world);
}

// --- bad input ---------------------------------------------------------------------------------

static void run_double_free(void *argument)
{
    struct model *model = argument;
    assert_int_equal(take_single(model), 0);
    struct owned owned = model->owned[0];
    assert_int_equal(free_index(model, 0), 0);
    model_commit(model);
    struct operation operation = {.frees = {owned}, .free_count = 1};
    assert_int_equal(perform(model, &operation), -ERROR_CORRUPT_FREE_SPACE);
    operation.frees[0].start_block = 3;
    assert_int_equal(perform(model, &operation), -ERROR_BLOCK_RANGE);
    uint32_t last = model->world->volume.geometry.ag_count - 1;
    operation.frees[0].start_block =
        geometry_ag_first_block(&model->world->volume.geometry, last) + 5;
    assert_int_equal(perform(model, &operation), -ERROR_CORRUPT_FREE_SPACE);
    assert_int_equal(take_single(model), 0);
}

static void wrong_frees_are_refused(void **state)
{
    (void)state;
    static struct structure_world world;
    static struct model model;
    structure_world_open(&world, &(struct structure_options){.seed = 14});
    model_init(&model, &world, 14);
    structure_world_run(&world, run_double_free, &model);
    check_after_remount(&model);
    model_deinit(&model);
    structure_world_close(&world);
}

static void take_some(void *argument)
{
    struct model *model = argument;
    for (int i = 0; i < 100; i++)
        assert_int_equal(take_single(model), 0);
}

// Rule 16: a bad header of an initialised group is corruption, never a group to make anew.
static void run_bad_header(void *argument)
{
    struct model *model = argument;
    struct owned owned = model->owned[0];
    struct operation operation = {.frees = {owned}, .free_count = 1};
    assert_int_equal(perform(model, &operation), -ERROR_BLOCK_MAGIC);
    assert_true(model->world->log_error_count > 0);
    // Allocation goes on elsewhere.
    assert_int_equal(take_single(model), 0);
    uint32_t ag;
    const struct geometry *g = &model->world->volume.geometry;
    struct owned *last = &model->owned[model->owned_count - 1];
    assert_true(geometry_ag_of_block(g, last->start_block, &ag) && ag != 0);
}

static void bad_header_is_corruption(void **state)
{
    (void)state;
    static struct structure_world world;
    static struct model model;
    structure_world_open(&world, &(struct structure_options){.seed = 15});
    model_init(&model, &world, 15);
    structure_world_run(&world, take_some, &model);
    structure_world_remount(&world);
    uint8_t *header =
        structure_world_block(&world, geometry_ag_first_block(&world.volume.geometry, 0));
    memset(header, 0, BLOCK_BYTES);
    structure_world_run(&world, run_bad_header, &model);
    for (int i = 0; i < BLOCK_BYTES; i++)
        assert_int_equal(header[i], 0);
    model_deinit(&model);
    structure_world_close(&world);
}

static void run_hostile(void *argument)
{
    struct model *model = argument;
    for (int i = 0; i < 30; i++) {
        struct operation operation = {.nodes_wanted = random_below(&model->random, 3),
                                      .data_wanted = random_below(&model->random, 50)};
        if (model->owned_count > 0 && random_one_in(&model->random, 2)) {
            unsigned index = (unsigned)random_below(&model->random, model->owned_count);
            operation.frees[operation.free_count++] = model->owned[index];
        }
        perform(model, &operation);
    }
    journal_sync(model->world->volume.journal);
}

// Headers and nodes that are sealed but lie: errors, perhaps blocks given out twice, but no crash.
static void hostile_groups(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 300; seed++) {
        static struct structure_world world;
        static struct model model;
        structure_world_open(&world, &(struct structure_options){
                                         .block_count = 14000, .ag_block_shift = 11, .seed = seed});
        model_init(&model, &world, seed);
        struct history history = {.model = model, .operations = 300, .run_max = 4};
        structure_world_run(&world, run_history, &history);
        structure_world_remount(&world);
        for (int i = 0; i < 4; i++) {
            uint64_t address = geometry_ag_first_block(&world.volume.geometry, (uint32_t)i % 2);
            uint8_t *block = structure_world_block(&world, address);
            size_t at =
                64 + random_below(&model.random, random_one_in(&model.random, 2) ? 400 : 4032);
            block[at] = (uint8_t)random_below(&model.random, 256);
            if (is_initialised(&world, (uint32_t)i % 2))
                format_block_seal(block, 100);
        }
        history.model.is_hostile = true;
        structure_world_run(&world, run_hostile, &history.model);
        model_deinit(&history.model);
        structure_world_close(&world);
    }
}

// --- speed -----------------------------------------------------------------------------------

static double now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void run_speed(void *argument)
{
    struct model *model = argument;
    enum { COUNT = 16000 };
    double start = now_s();
    for (int i = 0; i < COUNT; i++)
        assert_int_equal(take_single(model), 0);
    double fresh = (now_s() - start) / COUNT;
    qsort(model->owned, model->owned_count, sizeof(model->owned[0]), compare_owned);
    start = now_s();
    for (unsigned i = COUNT; i > 1; i -= 2)
        assert_int_equal(free_index(model, i - 2), 0);
    double freeing = (now_s() - start) / (COUNT / 2);
    model_commit(model);
    start = now_s();
    for (int i = 0; i < COUNT / 2; i++)
        assert_int_equal(take_single(model), 0);
    double fragmented = (now_s() - start) / (COUNT / 2);
    print_message("one block a transaction: fresh %.2f us, free %.2f us, fragmented %.2f us\n",
                  fresh * 1e6, freeing * 1e6, fragmented * 1e6);
}

static void speed(void **state)
{
    (void)state;
    static struct structure_world world;
    static struct model model;
    structure_world_open(&world, &(struct structure_options){.block_count = 1 << 17,
                                                             .ag_block_shift = 16,
                                                             .journal_block_count = 16384,
                                                             .seed = 16});
    model_init(&model, &world, 16);
    structure_world_run(&world, run_speed, &model);
    check_after_remount(&model);
    model_deinit(&model);
    structure_world_close(&world);
}

// --- what other nodes see --------------------------------------------------------------------

static void settles(void *argument)
{
    struct structure_world *world = argument;
    struct inode inode;
    uint32_t group;
    structure_world_create(world, S_IFREG | 0644, &inode);
    assert_true(geometry_ag_of_block(&world->volume.geometry, inode.number, &group));
    inode_unload(&inode);
    struct allocator_summary summary;
    allocator_summary_get(&world->volume, &summary);
    const struct ag_header_disk *header = (const struct ag_header_disk *)structure_world_block(
        world, geometry_ag_first_block(&world->volume.geometry, group));
    uint64_t begin_ns = world->now_ns;
    uint64_t ours = free_extents_count(&world->volume.allocator->groups[group]->extents);
    while (le64_get(header->free_block_count) != ours)
        environment_sleep(&world->environment, 100000000);
    assert_true(world->now_ns - begin_ns <= UINT64_C(3000000000));
}

static void totals_are_in_place_soon_after_the_last_change(void **state)
{
    (void)state;
    struct structure_world world;
    structure_world_open(&world, &(struct structure_options){.seed = 5});
    structure_world_run(&world, settles, &world);
    structure_world_close(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_histories),
        cmocka_unit_test(frees_on_a_full_volume),
        cmocka_unit_test(fragmented_groups),
        cmocka_unit_test(busy_space_waits_for_its_commit),
        cmocka_unit_test(short_runs_fill_gaps),
        cmocka_unit_test(hand_over_leaves_nothing_busy),
        cmocka_unit_test(hand_over_waits_for_write_back),
        cmocka_unit_test(several_at_once),
        cmocka_unit_test(wrong_frees_are_refused),
        cmocka_unit_test(bad_header_is_corruption),
        cmocka_unit_test(hostile_groups),
        cmocka_unit_test(totals_are_in_place_soon_after_the_last_change),
        cmocka_unit_test(speed),
    };
    return cmocka_run_group_tests_name("allocator", tests, NULL, NULL);
}
