// SPDX-License-Identifier: Apache-2.0
// What a replay must write: fed with the entries of the scanned logs, each log in its order, it
// keeps the newest live image of each block. Pure; every call is short, so the caller can pause
// between them (rule P4).
//
// An image is dead once a later record of the same log revokes its block or retires its lock. Only
// the newest image of a block counts: where that one is dead, the older ones are too (a block
// changes its lock only by way of a revoke).
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "fs/base/lock_name.h"
#include "journal/journal.h"

struct journal_plan;

struct journal_plan *journal_plan_new(void);
void journal_plan_free(struct journal_plan *plan);

// `journal` says whose log the entry comes from, `sequence` from which of its records (from 1,
// never falling). The entries of one record come in the order retires, revokes, images.
void journal_plan_add_image(struct journal_plan *plan, const struct journal_image *image,
                            uint64_t sequence);
void journal_plan_add_retire(struct journal_plan *plan, uint32_t journal, struct lock_name lock,
                             uint64_t sequence);
void journal_plan_add_revoke(struct journal_plan *plan, uint32_t journal, uint64_t address);

// How many images are left in the plan, the dead ones included.
size_t journal_plan_size(const struct journal_plan *plan);
// Looks at the next `count` blocks and moves the images to write into `images`, in order of
// address, one an address: the highest version among the logs wins. Returns how many; all was taken
// once the size is 0. Nothing is added any more once this was called.
size_t journal_plan_take(struct journal_plan *plan, struct journal_image *images, size_t count);
