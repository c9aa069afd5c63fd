// SPDX-License-Identifier: Apache-2.0
// A slot's quota blocks, read and judged by themselves: for the check, which reports what is wrong,
// and for the repair, which writes such a block anew.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "fs/format_quota.h"

struct check;

// Whether the volume has such blocks, and whether what they say counts.
bool quota_blocks_exist(const struct check *check);
bool quota_blocks_count(const struct check *check);

// What is wrong with the block, which is read to `disk`; NULL: nothing. The bucket's tree is not
// looked at.
const char *quota_blocks_read_bucket(struct check *check, uint32_t slot,
                                     struct quota_bucket_disk *disk);
const char *quota_blocks_read_ledger(struct check *check, uint32_t slot, unsigned index,
                                     struct quota_ledger_disk *disk);
