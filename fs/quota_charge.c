// SPDX-License-Identifier: Apache-2.0
#include "fs/quota_charge.h"

#include "fs/base/check.h"

static void add(struct quota_charge *charge, enum quota_kind kind, uint32_t id, int64_t blocks,
                int64_t inodes)
{
    struct quota_owner owner = {kind, id};
    unsigned i = 0;
    while (i < charge->count && !quota_owner_equal(charge->deltas[i].owner, owner))
        i++;
    CHECK(i < QUOTA_CHARGE_OWNERS_MAX);
    if (i == charge->count)
        charge->deltas[charge->count++] = (struct quota_delta){.owner = owner};
    charge->deltas[i].blocks += blocks;
    charge->deltas[i].inodes += inodes;
}

void quota_charge_add(struct quota_charge *charge, uint32_t uid, uint32_t gid, uint32_t project,
                      int64_t blocks, int64_t inodes)
{
    if (charge == NULL || !charge->is_counting)
        return;
    add(charge, QUOTA_USER, uid, blocks, inodes);
    add(charge, QUOTA_GROUP, gid, blocks, inodes);
    add(charge, QUOTA_PROJECT, project, blocks, inodes);
}
