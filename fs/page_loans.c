// SPDX-License-Identifier: Apache-2.0
#include "fs/page_loans.h"

#include "fs/base/check.h"
#include "fs/base/sabotage.h"
#include "fs/cluster_lock.h"
#include "fs/lock_types.h"

unsigned page_loans_fill_flags(const struct page_loans *loans)
{
    bool is_exclusive = loans->mappers > 0 && !SABOTAGE(pages_fill_under_shared);
    return LOCK_FOR_KERNEL_READ | (is_exclusive ? LOCK_WITH_EXCLUSIVE_RIGHT : 0);
}

// What comes with less while pages are called in is dropped with them.
bool page_loans_may_fill(const struct page_loans *loans, const struct cluster_lock *lock)
{
    return loans->mappers == 0 || cluster_lock_is_cached(lock, LOCK_EXCLUSIVE) ||
           cluster_lock_is_recalling_pages(lock) || SABOTAGE(pages_fill_under_shared);
}

bool page_loans_lend(const struct page_loans *loans, struct cluster_lock *lock, uint64_t node)
{
    bool is_writable = loans->mappers > 0;
    if (is_writable && !cluster_lock_is_cached(lock, LOCK_EXCLUSIVE) &&
        !SABOTAGE(pages_fill_under_shared))
        return false;
    return cluster_lock_lend_pages(lock, node, LOAN_PAGES | (is_writable ? LOAN_WRITABLE : 0));
}

bool page_loans_cover(const struct page_loans *loans, const struct cluster_lock *lock)
{
    unsigned lent = cluster_lock_loans(lock);
    if ((lent & LOAN_PAGES) == 0 || cluster_lock_is_recalling_pages(lock))
        return false;
    return loans->mappers == 0 ||
           ((lent & LOAN_WRITABLE) != 0 && cluster_lock_is_cached(lock, LOCK_EXCLUSIVE));
}

bool page_loans_may_be_changed(const struct page_loans *loans, struct lock_table *table,
                               uint64_t inode)
{
    struct cluster_lock *lock = cluster_lock_get(table, lock_name_inode(inode));
    unsigned lent = cluster_lock_loans(lock);
    cluster_lock_put(lock);
    return (lent & LOAN_WRITABLE) != 0 || (loans->mappers > 0 && (lent & LOAN_PAGES) != 0);
}

// The right stays while the kernel is told: what is told may wait for reads, and these then wait
// for nobody.
static int recall(const struct page_loans *loans, struct lock_table *table, uint64_t inode,
                  uint64_t offset, uint64_t length)
{
    struct cluster_lock *lock = cluster_lock_get(table, lock_name_inode(inode));
    int result = 0;
    if ((cluster_lock_loans(lock) & LOAN_PAGES) != 0) {
        unsigned flags = length > 0 ? page_loans_fill_flags(loans) & LOCK_WITH_EXCLUSIVE_RIGHT : 0;
        result = cluster_lock_acquire(lock, LOCK_SHARED, flags);
        if (result == 0) {
            cluster_lock_recall_pages(lock, offset, length);
            cluster_lock_release(lock, LOCK_SHARED);
        }
    }
    cluster_lock_put(lock);
    return result;
}

int page_loans_add_mapper(struct page_loans *loans, struct lock_table *table, uint64_t inode)
{
    struct cluster_lock *lock = cluster_lock_get(table, lock_name_inode(inode));
    loans->mappers++;
    cluster_lock_raise_reads(lock);
    cluster_lock_put(lock);
    return SABOTAGE(pages_map_keeps_shared) ? 0 : recall(loans, table, inode, 0, 0);
}

void page_loans_remove_mapper(struct page_loans *loans)
{
    CHECK(loans->mappers > 0);
    loans->mappers--;
}

int page_loans_written(const struct page_loans *loans, struct lock_table *table, uint64_t inode,
                       uint64_t offset, uint64_t length)
{
    if (length == 0 || SABOTAGE(pages_write_beside))
        return 0;
    return recall(loans, table, inode, offset, length);
}

int page_loans_drop(const struct page_loans *loans, struct lock_table *table, uint64_t inode)
{
    return recall(loans, table, inode, 0, 0);
}
