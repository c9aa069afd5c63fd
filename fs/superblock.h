// SPDX-License-Identifier: Apache-2.0
// Changing the superblock and its copies in place, under LOCK_SUPERBLOCK EXCLUSIVE.
#pragma once

#include <stdbool.h>

#include "fs/format_find.h"

struct volume;

// Whether the copy can be read and is this volume's. A bad one is left to fsck.lunfs.
bool superblock_is_ours(const struct volume *volume, const struct format_superblock_place *place);
// Writes `geometry` where the copy stands, and flushes: one by one, so that two are never torn
// together. Waits.
int superblock_write(struct volume *volume, const struct format_superblock_place *place,
                     const struct geometry *geometry);
// Sets bits of feature_ro_compat and clears others in all copies; the one that decides comes last.
// Nothing is written where they are so. Waits.
int superblock_change_ro_compat(struct volume *volume, uint64_t set, uint64_t clear);
