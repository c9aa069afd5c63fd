// SPDX-License-Identifier: Apache-2.0
// What the simulated disk holds: pages of 4 KiB, each with its durable content, what is seen, and
// the writes between the two in the order in which they landed. Contents are counted and never
// changed once made, so pages, unflushed writes and clones share them.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "fs/base/random.h"

struct disk_page;
struct disk_unflushed;

struct disk_pages {
    struct disk_page *by_number; // uthash
    TAILQ_HEAD(disk_unflushed_list, disk_unflushed) unflushed;
    uint64_t landed; // counts what landed: the order of writes
    uint32_t sector_bytes;
    bool has_volatile_cache;
    size_t page_count, unflushed_count;
};

void disk_pages_init(struct disk_pages *pages, uint32_t sector_bytes, bool has_volatile_cache);
void disk_pages_deinit(struct disk_pages *pages);

// `bytes` NULL: a discard, whose range reads as zeros.
void disk_pages_write(struct disk_pages *pages, uint64_t offset, const uint8_t *bytes,
                      size_t length);
void disk_pages_read(const struct disk_pages *pages, uint64_t offset, void *buffer, size_t length);

// Everything up to `landed` is durable.
void disk_pages_flush(struct disk_pages *pages, uint64_t landed);
// What was not flushed survives as `random` says: all, nothing, or by luck.
void disk_pages_power_cut(struct disk_pages *pages, struct random *random);
// Puts into the empty `copy` what is seen, or, with `random`, what a power cut would leave.
void disk_pages_copy(const struct disk_pages *pages, struct disk_pages *copy,
                     struct random *random);
// Whether `other` shows the same where `pages` holds something, apart from bytes [first, last];
// else `differs` is where a page begins.
bool disk_pages_are_in(const struct disk_pages *pages, const struct disk_pages *other,
                       uint64_t first, uint64_t last, uint64_t *differs);
