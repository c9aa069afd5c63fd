// SPDX-License-Identifier: Apache-2.0
// A lock as operations use it. Two layers in one: among the coroutines of this node a lock is a
// fair reader-writer lock; among the nodes it is a DLM lock (SHARED = PR, EXCLUSIVE = EX; CW to
// write in place together with others) that is kept after use until another node asks for it. What
// must happen before it goes (write-back, retire, draining of passes) is in the coherence table,
// fs/lock_types.c.
//
//   acquire: local turn -> cluster mode suffices? no: request, wait for the grant -> hold
//   callback: no new holders -> the holders end -> quiesce -> write back -> (retire) -> let go
//
// After a callback the waiters that were already there when the lock came are served before it goes
// again, so each hand-over does some work.
//
// All functions run on the core; acquire from a coroutine.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fs/base/lock_name.h"

struct cluster_lock;
struct coroutine;
struct lock_service;
struct lock_table;
struct text;
struct volume;

enum lock_mode { LOCK_SHARED, LOCK_EXCLUSIVE };

enum {
    LOCK_TRY = 1u << 0, // -EAGAIN instead of waiting for another node or coroutine
    LOCK_INTERRUPTIBLE =
        1u << 1, // lock_table_interrupt may end the wait: the caller has changed
                 // nothing yet, or nothing but whole steps, and passes the error on
    // The kernel fills pages, writes dirty ones back, or cuts the file off: is let in while loans
    // are called in (fs/lock_loans.c).
    LOCK_FOR_KERNEL_READ = 1u << 2,
    LOCK_FOR_KERNEL_WRITE = 1u << 3,
    // SHARED among this node's coroutines, but the node must have the exclusive right.
    LOCK_WITH_EXCLUSIVE_RIGHT = 1u << 4,
    // SHARED among this node's coroutines, but the node must have the right to write data in place,
    // which other nodes may have, too.
    LOCK_TO_WRITE_TOGETHER = 1u << 5,
};

// The table asks `service` for rights; it becomes the service's client.
struct lock_table *lock_table_new(struct volume *volume, struct lock_service *service);
void lock_table_free(struct lock_table *table);

// The lock of that name, with a reference; it is made on first use. The reference keeps the object
// in memory, not the right. Release with cluster_lock_put.
struct cluster_lock *cluster_lock_get(struct lock_table *table, struct lock_name name);
void cluster_lock_put(struct cluster_lock *lock);

// Waits for the right and holds it. 0; -EAGAIN (LOCK_TRY); the error of lock_table_interrupt
// (LOCK_INTERRUPTIBLE); the volume's failure when the mount has ended. Not recursive.
int cluster_lock_acquire(struct cluster_lock *lock, enum lock_mode mode, unsigned flags);
// Ends the wait of a coroutine in cluster_lock_acquire with `error`; false if it does not wait
// there.
bool cluster_lock_interrupt(struct cluster_lock *lock, const struct coroutine *waiter, int error);
// The same by the coroutine alone, and only if it waits with LOCK_INTERRUPTIBLE.
bool lock_table_interrupt(struct lock_table *table, const struct coroutine *waiter, int error);
// Ends the hold; the node keeps the right until somebody asks.
void cluster_lock_release(struct cluster_lock *lock, enum lock_mode mode);

// Gives the right back now if nobody uses it, for one that would only stand in others' way. The
// caller has a reference, or not.
void cluster_lock_give_back(struct cluster_lock *lock);

struct lock_name cluster_lock_name(const struct cluster_lock *lock);
// Whether this node's cached cluster mode covers `mode` (held or idle).
bool cluster_lock_is_cached(const struct cluster_lock *lock, enum lock_mode mode);
// Whether this node may write data in place, alone or together with others.
bool cluster_lock_may_write_data(const struct cluster_lock *lock);
bool cluster_lock_is_held(const struct cluster_lock *lock, enum lock_mode mode);
// Whether the right is being given up.
bool cluster_lock_is_going(const struct cluster_lock *lock);

// A pointer of the lock's user that lives as long as the right is cached (for LOCK_INODE the
// in-memory inode, for LOCK_AG the group's state); the type's `forget` frees it.
void *cluster_lock_object(const struct cluster_lock *lock);
void cluster_lock_set_object(struct cluster_lock *lock, void *object);

// Asks ahead for rights that will be needed soon, in one message a master; does not wait. With
// LOCK_TRY others keep what they have; without, it comes when they have given it up.
void cluster_lock_prefetch(struct lock_table *table, const struct lock_name *names, size_t count,
                           enum lock_mode mode, unsigned flags);
// Counts what may make a try succeed that failed before: an answer came, a lock that was in use
// here is not any more, or was given up.
uint64_t lock_table_changes(const struct lock_table *table);
// Waits until the count is not `seen`, or for `ns` (0: for ever): 0, -ETIMEDOUT, or the volume's
// failure; the error of lock_table_interrupt (LOCK_INTERRUPTIBLE, the only flag).
int lock_table_wait_change(struct lock_table *table, uint64_t seen, uint64_t ns, unsigned flags);

// --- loans: what the kernel keeps of what a lock protects (fs/lock_loans.c) ---------------------

enum {
    LOAN_ATTRIBUTES = 1u << 0,
    LOAN_NAMES = 1u << 1,
    LOAN_PAGES = 1u << 2,
    LOAN_WRITABLE = 1u << 3, // pages that processes may change where they stand: beside LOAN_PAGES
};

// What the kernel is to drop.
struct loan_recall {
    struct cluster_lock *lock;
    uint64_t node;           // as it was lent
    unsigned loans;          // LOAN_*
    uint64_t offset, length; // of the pages, in bytes; length 0: to the end
};

// Keeps what was lent, for a volume.
struct borrower {
    // Drops it and returns when it is gone. In a coroutine; may wait for the kernel's reads and
    // writes of pages of that node, and for nothing else. If that takes long it says so with
    // cluster_lock_recall_is_stuck.
    void (*recall)(struct borrower *borrower, const struct loan_recall *recall);
};

// Notes that the kernel keeps `loans` of `node` from now on; they are called in before the right
// goes. False, and nothing is noted, if the right is not here or is going. What is lent must have
// been true at a moment since which the caller has not waited.
bool cluster_lock_lend(struct lock_table *table, struct lock_name name, uint64_t node,
                       unsigned loans);
// Calls in attributes and names that were lent under this lock: this node changed it, and the
// kernel does not know. Waits.
void lock_table_recall(struct lock_table *table, struct lock_name name);

// The same for pages (fs/page_loans.h). The caller holds the lock: what it reads after this is what
// the kernel will keep. False if other nodes may write, or if the right is going: then the kernel
// is told to drop them anyway.
bool cluster_lock_lend_pages(struct cluster_lock *lock, uint64_t node, unsigned loans);
// LOAN_* that the kernel may have now.
unsigned cluster_lock_loans(const struct cluster_lock *lock);
bool cluster_lock_is_recalling_pages(const struct cluster_lock *lock);
// Reads of the kernel that wait for the lock wait for the exclusive right from now on.
void cluster_lock_raise_reads(struct cluster_lock *lock);
// Calls in pages of the range (length 0: to the end); all of them have not been lent any more
// from the call on. The caller holds the lock SHARED, changes nothing, and lets go soon. Waits.
void cluster_lock_recall_pages(struct cluster_lock *lock, uint64_t offset, uint64_t length);
// The borrower: the kernel takes long to drop what it was told to. It may wait for reads that came
// since.
void cluster_lock_recall_is_stuck(struct cluster_lock *lock);
// Whether whoever fills a page, and holds the lock, must not wait for anything else: the kernel may
// be waiting for that page.
bool cluster_lock_recall_needs_fills(const struct cluster_lock *lock);

// Gives up every cached right, dirty ones in order, and takes back what was asked for ahead: at
// unmount. Waits; for a master that died until it is recovered.
int lock_table_release_all(struct lock_table *table);

// Wakes all waiters with `error`; later acquires answer it too. For a mount that ends.
void lock_table_fail(struct lock_table *table, int error);
// After it no right is on its way down any more: whoever does that works on cache and journal.
void lock_table_wait_demotions(struct lock_table *table);

// One line a lock, for `lunfs locks`.
void lock_table_to_text(const struct lock_table *table, struct text *text);
