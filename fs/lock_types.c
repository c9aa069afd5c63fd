// SPDX-License-Identifier: Apache-2.0
#include "fs/lock_types.h"

#include <stddef.h>

#include "fs/allocator.h"
#include "fs/base/check.h"
#include "fs/damage.h"
#include "fs/freeze.h"
#include "fs/inode_table.h"
#include "fs/quota.h"

static const struct lock_type lock_types[LOCK_TYPE_COUNT] = {
    // name, rank, yields, is held long, quiesce, stop filling, forget
    [LOCK_THAW] = {"thaw", 5, true, false, freeze_thaw_asked, NULL, NULL},
    [LOCK_RENAME] = {"rename", 10, true, false, NULL, NULL, NULL},
    [LOCK_SUPERBLOCK] = {"superblock", 20, true, false, NULL, NULL, damage_superblock_forget},
    [LOCK_OWNER] = {"owner", 30, false, true, NULL, NULL, NULL},
    [LOCK_OPEN] = {"open", 35, true, true, NULL, NULL, NULL},
    [LOCK_FREEZE] = {"freeze", 37, true, false, freeze_quiesce, NULL, freeze_forget},
    [LOCK_INODE] = {"inode", 40, true, false, inode_table_quiesce, inode_table_stop_filling,
                    inode_table_forget},
    [LOCK_ORPHANS] = {"orphans", 50, true, false, NULL, NULL, NULL},
    [LOCK_QUOTA] = {"quota", 52, true, false, NULL, NULL, NULL},
    [LOCK_LEDGER] = {"ledger", 54, true, false, NULL, NULL, quota_ledger_forget},
    [LOCK_AG_MAP] = {"group map", 60, true, false, NULL, NULL, NULL},
    [LOCK_AG] = {"group", 70, true, false, NULL, NULL, allocator_group_forget},
    [LOCK_RANGES] = {"ranges", 80, true, false, NULL, NULL, NULL},
};

const struct lock_type *lock_type_of(uint32_t id)
{
    CHECK(id > 0 && id < LOCK_TYPE_COUNT);
    return &lock_types[id];
}
