// SPDX-License-Identifier: Apache-2.0
// Working through a slot's orphan list, after its node died or before ours goes to work:
// truncations are ended, unlinked inodes handed to the reaper. Those of another slot come to our
// list first, so that our death would not leave them to a slot that nobody looks at (rule 14).
#include <errno.h>

#include "fs/base/coroutine.h"
#include "fs/base/sabotage.h"
#include "fs/file_size.h"
#include "fs/inode_free.h"
#include "fs/inode_table.h"
#include "fs/live_inode.h"
#include "fs/operation_private.h"
#include "fs/reaper.h"
#include "fs/volume.h"

static int process_loaded(struct inode *inode)
{
    if (inode_link_count(inode) > 0)
        return file_size_settle(inode);
    uint64_t number = inode->number, generation = inode_generation(inode);
    struct volume *volume = inode->volume;
    int result = inode_adopt_orphan(inode);
    if (result == 0)
        reaper_add(inode_table_reaper(volume), number, generation);
    return result;
}

static int process_one(struct volume *volume, uint64_t number, uint64_t generation)
{
    struct inode inode;
    LOCK_SET(set);
    lock_set_add(&set, lock_name_inode(number), LOCK_EXCLUSIVE);
    int result = lock_set_acquire(&set, volume);
    if (result != 0)
        return result;
    result = live_inode_load_orphan(&inode, volume, number, generation);
    if (result == 0) {
        result = process_loaded(&inode);
        inode_unload(&inode);
    }
    lock_set_release(&set);
    return result == -ESTALE ? 0 : result; // somebody was faster
}

int operation_process_orphans(struct volume *volume, uint32_t slot)
{
    uint64_t number = 0, generation;
    int first_error = 0;
    int result = transaction_check_writable(volume);
    if (result != 0 || SABOTAGE(orphans_forgotten))
        return result;
    while ((result = live_inode_next_orphan(volume, slot, number, &number, &generation)) == 0) {
        // One that cannot be processed does not keep the others.
        int processed = process_one(volume, number, generation);
        if (first_error == 0)
            first_error = processed;
        coroutine_pause(volume->scheduler);
        if (volume_check(volume) != 0)
            return volume_check(volume);
    }
    return result == -ENOENT ? first_error : result;
}

bool operation_reclaim(struct volume *volume)
{
    return reaper_catch_up(inode_table_reaper(volume));
}
