// SPDX-License-Identifier: Apache-2.0
#include "fs/transaction.h"

#include <errno.h>

#include "fs/base/environment.h"
#include "fs/base/error.h"
#include "fs/inode.h"
#include "fs/inode_table.h"
#include "fs/volume.h"
#include "journal/journal.h"

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
    inode_change(inode, transaction->handle);
    inode_table_note_change(transaction->volume, inode->number,
                            journal_transaction_ticket(transaction->handle));
}

static int attempt(struct transaction *transaction,
                   int (*change)(struct transaction *transaction, void *context), void *context)
{
    int result = allocator_begin(&transaction->space, transaction->credits,
                                 transaction->space_changes, &transaction->handle);
    if (result != 0)
        return result;
    result = change(transaction, context);
    if (result == 0)
        allocator_end(&transaction->space, transaction->handle);
    else
        allocator_abort(&transaction->space, transaction->handle);
    transaction->handle = NULL;
    return result;
}

// Whether `change` is to run again; the groups are let go.
static bool goes_on(struct transaction *transaction, int *result, void *context)
{
    if (*result != TRANSACTION_WAIT)
        return allocator_must_retry(&transaction->space, *result);
    *result = transaction->wait(transaction, context);
    transaction->space.retry_count = 0;
    return *result == 0;
}

int transaction_run(struct transaction *transaction,
                    int (*change)(struct transaction *transaction, void *context), void *context)
{
    int result = transaction_check_writable(transaction->volume);
    if (result != 0)
        return result;
    do {
        result = allocator_reserve(&transaction->space);
        if (result != 0)
            break;
        result = attempt(transaction, change, context);
        allocator_release(&transaction->space);
    } while (goes_on(transaction, &result, context));
    return result;
}
