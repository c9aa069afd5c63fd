// SPDX-License-Identifier: Apache-2.0
// What every block must hold. Operations of a node become durable in their order, so what a crash
// leaves is the state after some number k of them: at least those that were acknowledged (by sync,
// or by giving a lock away), and all of it at once.
#include "tests/sim/journal_world.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/check.h"

// --- content -------------------------------------------------------------------------------------

void truth_fill_data(const struct sim *sim, uint32_t block, uint64_t serial,
                     struct test_block *bytes)
{
    const uint64_t nobody = 1000;
    memset(bytes, 0, sizeof(*bytes));
    test_block_fill(bytes, sim_address(sim, block), nobody, serial);
    // A guest can write what it wants: every second one would pass for metadata of somebody else.
    if (serial % 2 == 0)
        test_block_seal(bytes, UINT64_C(1) << 40);
    else
        bytes->magic = 0;
}

bool truth_holds(const struct sim *sim, uint32_t block, const struct block_truth *truth,
                 const struct test_block *bytes)
{
    if (truth->kind == KIND_FREE)
        return true;
    if (truth->kind == KIND_METADATA)
        return test_block_is_valid(bytes, sim_address(sim, block)) && bytes->owner == truth->lock &&
               bytes->serial == truth->serial;
    struct test_block expected;
    truth_fill_data(sim, block, truth->serial, &expected);
    return memcmp(&expected, bytes, sizeof(expected)) == 0;
}

static bool is_on_disk(const struct sim *sim, uint32_t block, struct test_block *bytes)
{
    sim_disk_peek(sim->disk, sim_address(sim, block) * BLOCK_BYTES, bytes, sizeof(*bytes));
    return truth_holds(sim, block, &sim->truth[block], bytes);
}

// --- operations ----------------------------------------------------------------------------------

void truth_change(struct sim *sim, struct operation *operation, uint32_t block,
                  struct block_truth after)
{
    CHECK(operation->change_count < 2 * CHANGES_MAX);
    operation->changes[operation->change_count++] =
        (struct operation_change){block, sim->truth[block], after};
    sim->truth[block] = after;
}

static void note_touched(struct life *life, uint32_t lock_mask)
{
    for (uint32_t lock = 0; lock < life->sim->lock_count; lock++) {
        if (lock_mask & 1u << lock)
            life->locks[lock].last_operation = life->operation_count;
    }
}

void truth_operation_ended(struct life *life, struct operation *operation, uint32_t lock_mask)
{
    operation->number = ++life->operation_count;
    note_touched(life, lock_mask);
    struct operation *kept = malloc(sizeof(*kept));
    CHECK(kept != NULL);
    *kept = *operation;
    TAILQ_INSERT_TAIL(&life->operations, kept, link);
}

void truth_durable_up_to(struct life *life, uint64_t number)
{
    struct operation *operation;
    if (number > life->durable_count)
        life->durable_count = number;
    while ((operation = TAILQ_FIRST(&life->operations)) != NULL &&
           operation->number <= life->durable_count) {
        TAILQ_REMOVE(&life->operations, operation, link);
        free(operation);
    }
}

static void undo(struct sim *sim, const struct operation *operation)
{
    for (uint32_t i = operation->change_count; i-- > 0;) {
        const struct operation_change *change = &operation->changes[i];
        sim->truth[change->block] = change->before;
    }
}

// --- after a recovery ----------------------------------------------------------------------------

// Whether all that the dead life held is on disk as the truth has it. `wrong`: a block that is not.
static bool is_dead_state_on_disk(const struct sim *sim, const struct life *life, uint32_t *wrong)
{
    struct test_block bytes;
    for (uint32_t block = 0; block < sim->block_count; block++) {
        const struct block_truth *truth = &sim->truth[block];
        if (truth->kind == KIND_FREE || sim->modes[truth->lock][life->slot] != MODE_EXCLUSIVE)
            continue;
        if (!is_on_disk(sim, block, &bytes)) {
            *wrong = block;
            return false;
        }
    }
    return true;
}

// Rolls the truth of `sim`, which may be a copy of the life's, back to what is on its disk. Returns
// how many operations are left.
static uint64_t roll_back(struct sim *sim, const struct life *life)
{
    const struct operation *operation = TAILQ_LAST(&life->operations, operation_list);
    uint32_t wrong = 0, first_wrong = UINT32_MAX;
    while (!is_dead_state_on_disk(sim, life, &wrong)) {
        if (first_wrong == UINT32_MAX)
            first_wrong = wrong;
        if (operation == NULL) {
            sim_fail(sim,
                     "node %u: no prefix of its operations is on disk (%" PRIu64 " ended, %" PRIu64
                     " must survive): block %u is wrong in the newest state, %u "
                     "in the oldest",
                     life->slot, life->operation_count, life->durable_count, first_wrong, wrong);
            return 0;
        }
        undo(sim, operation);
        operation = TAILQ_PREV(operation, operation_list, link);
    }
    return operation != NULL ? operation->number : life->durable_count;
}

void truth_check_dead(struct sim *view, const struct life *life)
{
    roll_back(view, life);
}

void truth_settle_dead(struct life *life)
{
    struct operation *operation;
    uint64_t left = roll_back(life->sim, life);
    while ((operation = TAILQ_LAST(&life->operations, operation_list)) != NULL &&
           operation->number > left) {
        TAILQ_REMOVE(&life->operations, operation, link);
        free(operation);
    }
    sim_trace(life->sim, "node %u: recovered, %" PRIu64 " of %" PRIu64 " operations are left",
              life->slot, left, life->operation_count);
}

static bool is_held_exclusively(const struct sim *sim, uint32_t lock)
{
    for (uint32_t slot = 0; slot < sim->node_count; slot++) {
        if (sim->modes[lock][slot] == MODE_EXCLUSIVE)
            return true;
    }
    return false;
}

void truth_check_disk(struct sim *sim, const char *when)
{
    struct test_block bytes;
    for (uint32_t block = 0; block < sim->block_count; block++) {
        const struct block_truth *truth = &sim->truth[block];
        if (truth->kind == KIND_FREE || is_held_exclusively(sim, truth->lock))
            continue;
        if (!is_on_disk(sim, block, &bytes)) {
            sim_fail(sim,
                     "%s: block %u (%s of lock %u) should hold serial %" PRIu64
                     ", but holds %" PRIu64 ", version %" PRIu64,
                     when, block, truth->kind == KIND_DATA ? "data" : "metadata", truth->lock,
                     truth->serial, bytes.serial, bytes.version);
            return;
        }
    }
}
