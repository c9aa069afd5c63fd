// SPDX-License-Identifier: Apache-2.0
// Pages of files that the kernel keeps (docs/caching.md): what this node's open files ask of the
// loan beyond what the lock does by itself. Core; all that waits is called in a coroutine.
//
//   nobody here may map it to write      SHARED is enough to fill pages; they go with SHARED
//   somebody may (open O_RDWR)           the kernel does not say when a page is written: pages are
//                                        filled under the exclusive right, and go with it
//   this node writes past the kernel     then the kernel is told to drop those pages, before the
//                                        write is complete
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct cluster_lock;
struct lock_table;

struct page_loans {
    unsigned mappers; // open files that may be mapped to be written
};

// How LOCK_INODE is to be acquired, beside SHARED, to fill pages.
unsigned page_loans_fill_flags(const struct page_loans *loans);
// The lock is held so. False if that is not enough any more, since somebody may map the file to
// write: it must be acquired anew.
bool page_loans_may_fill(const struct page_loans *loans, const struct cluster_lock *lock);
// The lock is held so: what is read now may be kept by the kernel, whose name for the inode is
// `node`. False if it may not: it is called in already.
bool page_loans_lend(const struct page_loans *loans, struct cluster_lock *lock, uint64_t node);
// Whether all that could be filled now is lent, so that nobody needs to ask.
bool page_loans_cover(const struct page_loans *loans, const struct cluster_lock *lock);

// Whether processes may be changing pages that the kernel keeps.
bool page_loans_may_be_changed(const struct page_loans *loans, struct lock_table *table,
                               uint64_t inode);

// An open file more, and less, that may be mapped to be written. Before its opener hears of it
// nothing is left that was filled under less than it needs. 0, or the volume's failure.
int page_loans_add_mapper(struct page_loans *loans, struct lock_table *table, uint64_t inode);
void page_loans_remove_mapper(struct page_loans *loans);
// The file's bytes were changed, and the kernel may keep older ones. 0, or the volume's failure.
int page_loans_written(const struct page_loans *loans, struct lock_table *table, uint64_t inode,
                       uint64_t offset, uint64_t length);
// The kernel keeps none of the inode's pages after it, unless others fill them anew.
int page_loans_drop(const struct page_loans *loans, struct lock_table *table, uint64_t inode);
