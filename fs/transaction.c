// SPDX-License-Identifier: Apache-2.0
#include "fs/transaction.h"

#include <errno.h>

#include "fs/base/environment.h"
#include "fs/base/error.h"
#include "fs/base/sabotage.h"
#include "fs/inode.h"
#include "fs/inode_table.h"
#include "fs/quota.h"
#include "fs/volume.h"
#include "journal/journal.h"

enum {
    TAKES_AT_ONCE = 2, // of shares, for one transaction; then pauses, each longer than the last
    PAUSE_DOUBLINGS_MAX = 8,
};

static const uint64_t pause_ns = 500 * 1000;

struct timespec transaction_clock(struct volume *volume)
{
    int64_t now_ns = environment_wall_ns(volume->environment);
    return (struct timespec){.tv_sec = now_ns / 1000000000, .tv_nsec = now_ns % 1000000000};
}

int transaction_check_writable(const struct volume *volume)
{
    if (volume_check(volume) != 0)
        return volume_check(volume);
    return volume->journal == NULL ? -EROFS : 0;
}

void transaction_init(struct transaction *transaction, struct volume *volume, uint64_t goal)
{
    *transaction = (struct transaction){.volume = volume, .now = transaction_clock(volume)};
    allocator_reservation_init(&transaction->space, volume, goal);
}

void transaction_add_credits(struct transaction *transaction, uint32_t credits)
{
    transaction->credits += credits;
}

void transaction_add_cost(struct transaction *transaction, struct tree_cost cost)
{
    transaction->credits += cost.credits;
    transaction->space_changes += cost.node_blocks;
}

void transaction_add_space_changes(struct transaction *transaction, uint32_t count)
{
    transaction->space_changes += count;
}

void transaction_change_inode(struct transaction *transaction, struct inode *inode)
{
    inode_use_space(inode, &transaction->space);
    inode->charge = &transaction->charge;
    inode_change(inode, transaction->handle);
    inode_table_note_change(transaction->volume, inode->number,
                            journal_transaction_ticket(transaction->handle));
}

void transaction_adopt_inode(struct transaction *transaction, struct inode *inode)
{
    inode_use_space(inode, &transaction->space);
    inode->charge = &transaction->charge;
    quota_charge_add(inode->charge, inode_uid(inode), inode_gid(inode), inode_project(inode),
                     (int64_t)inode_block_count(inode), 1);
}

// A charge in a transaction of its own, for the simulator to find.
static void charge_apart(struct transaction *transaction)
{
    struct volume *volume = transaction->volume;
    struct quota_charge *charge = &transaction->charge;
    journal_sync(volume->journal);
    if (journal_transaction_begin(volume->journal, QUOTA_LEDGER_BLOCKS, &transaction->handle) != 0)
        return;
    if (quota_charge_is_covered(volume->quota, charge))
        quota_charge_apply(volume->quota, charge, transaction->handle);
    journal_transaction_end(transaction->handle);
}

static int run_change(struct transaction *transaction,
                      int (*change)(struct transaction *transaction, void *context), void *context)
{
    struct quota *quota = transaction->volume->quota;
    struct quota_charge *charge = &transaction->charge;
    charge->count = 0;
    int result = change(transaction, context);
    if (result != 0 || charge->count == 0)
        return result;
    if (quota_charge_is_covered(quota, charge)) {
        if (!SABOTAGE(quota_charge_apart))
            quota_charge_apply(quota, charge, transaction->handle);
        return 0;
    }
    if (transaction->undo != NULL)
        transaction->undo(transaction, context);
    return TRANSACTION_SHORT;
}

static int attempt(struct transaction *transaction,
                   int (*change)(struct transaction *transaction, void *context), void *context)
{
    uint32_t credits = transaction->credits + quota_charge_credits(&transaction->charge);
    int result = allocator_begin(&transaction->space, credits, transaction->space_changes,
                                 &transaction->handle);
    if (result != 0)
        return result;
    result = run_change(transaction, change, context);
    if (result == 0)
        allocator_end(&transaction->space, transaction->handle);
    else
        allocator_abort(&transaction->space, transaction->handle);
    if (result == 0 && SABOTAGE(quota_charge_apart) && transaction->charge.count > 0)
        charge_apart(transaction);
    transaction->handle = NULL;
    return result;
}

// What was just taken may be settled by somebody who is short before it is used, and so on for
// ever:
//
//   n1  takes 52 ──────────► settled          takes 52 ─► ...
//   n2           short: settles n1's, takes 40 ──► settled by n1, who is short again
//
// Whoever has taken in vain comes back at a time of his own.
static void pause_before_taking(struct transaction *transaction)
{
    struct environment *environment = transaction->volume->environment;
    unsigned doublings = transaction->take_count < PAUSE_DOUBLINGS_MAX ? transaction->take_count
                                                                       : PAUSE_DOUBLINGS_MAX;
    if (transaction->take_count++ >= TAKES_AT_ONCE)
        environment_sleep(environment,
                          environment_random_u64(environment) % (pause_ns << doublings));
}

static int take_shares(struct transaction *transaction)
{
    pause_before_taking(transaction);
    return quota_take(transaction->volume->quota, &transaction->charge);
}

// Before locks of lower rank are waited for the ledger goes.
static int wait_or_take(struct transaction *transaction, int result, void *context)
{
    struct quota *quota = transaction->volume->quota;
    quota_charge_end(quota, &transaction->charge);
    result = result == TRANSACTION_WAIT ? transaction->wait(transaction, context)
                                        : take_shares(transaction);
    transaction->space.retry_count = 0;
    return result != 0 ? result : quota_charge_begin(quota, &transaction->charge);
}

// Whether `change` is to run again; the groups are let go.
static bool goes_on(struct transaction *transaction, int *result, void *context)
{
    if (*result != TRANSACTION_WAIT && *result != TRANSACTION_SHORT)
        return allocator_must_retry(&transaction->space, *result);
    *result = wait_or_take(transaction, *result, context);
    return *result == 0;
}

int transaction_run(struct transaction *transaction,
                    int (*change)(struct transaction *transaction, void *context), void *context)
{
    struct quota *quota = transaction->volume->quota;
    transaction->charge.is_unrefusable = transaction->space.uses_margin && !transaction->must_fit;
    int result = transaction_check_writable(transaction->volume);
    if (result == 0)
        result = quota_charge_begin(quota, &transaction->charge);
    if (result != 0)
        return result;
    do {
        result = allocator_reserve(&transaction->space);
        if (result != 0)
            break;
        result = attempt(transaction, change, context);
        allocator_release(&transaction->space);
    } while (goes_on(transaction, &result, context));
    quota_charge_end(quota, &transaction->charge);
    return result;
}
