// SPDX-License-Identifier: Apache-2.0
// fsync, fdatasync, syncfs: what is in memory goes into the journal, the journal and the LUN's
// cache to the medium.
#include <stdatomic.h>

#include "fs/base/block_device.h"
#include "fs/base/sabotage.h"
#include "fs/inode_table.h"
#include "fs/open_file.h"
#include "fs/open_inode.h"
#include "fs/operation_private.h"
#include "fs/volume.h"
#include "journal/journal.h"

// For the data alone times may stay behind.
static bool needs_flush(const struct open_inode *open, bool data_only)
{
    if (!written_ranges_is_empty(&open->written) || open->has_size)
        return true;
    return !data_only && atomic_load(&open->pass.modified_ns) != 0;
}

// Concurrent syncs each wait for all that ended before them.
static int sync_journal(struct volume *volume, struct open_inode *open)
{
    if (SABOTAGE(fsync_skip_commit))
        return block_device_flush(volume->device, volume->scheduler);
    if (!open->has_unknown_changes)
        return journal_sync_ticket(volume->journal, open->ticket);
    int result = journal_sync(volume->journal);
    if (result == 0)
        open->has_unknown_changes = false;
    return result;
}

int operation_sync_file(struct volume *volume, struct open_file *file, bool data_only)
{
    struct open_inode *open = file->inode;
    int result = transaction_check_writable(volume);
    if (result != 0)
        return volume_check(volume);
    if (needs_flush(open, data_only))
        result = open_inode_flush_unlocked(open);
    if (result == 0)
        result = sync_journal(volume, open);
    if (result == 0) {
        result = open->write_error;
        open->write_error = 0;
    }
    return result;
}

int operation_sync_volume(struct volume *volume)
{
    if (transaction_check_writable(volume) != 0)
        return volume_check(volume);
    int flushed = inode_table_flush_all(volume->inodes);
    int result = journal_sync(volume->journal);
    return flushed != 0 ? flushed : result;
}
