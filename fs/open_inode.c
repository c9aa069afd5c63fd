// SPDX-License-Identifier: Apache-2.0
// Life, passes and the view of an open inode; how it gets to the disk is open_inode_flush.c.
//
//   a lane writes                  the core takes the right away (quiesce, truncate, ...)
//     pass_enter: counted            pass_revoke
//     pwrite ...                     waits: the count, and writes_in_flight of the core
//     modified_ns = now
//     pass_leave: 0 ──drained──►     goes on: what was written is complete, its time is noted
#include "fs/open_inode.h"

#include <stdlib.h>

#include "fs/base/block_device.h"
#include "fs/base/check.h"
#include "fs/base/coroutine.h"
#include "fs/base/environment.h"
#include "fs/base/memory.h"
#include "fs/base/sabotage.h"
#include "fs/cluster_lock.h"
#include "fs/file_blocks.h"
#include "fs/file_map.h"
#include "fs/freeze.h"
#include "fs/inode_table_private.h"
#include "fs/lock_types.h"
#include "fs/operation.h"
#include "fs/reaper.h"
#include "fs/relatime.h"
#include "fs/volume.h"

enum {
    WRITTEN_RANGES_MAX = 4096, // then they are flushed
    PUBLISH_PAUSE = 4096,      // extents between two pauses
};

// Longer than between two flushes of times, for which each node needs the file alone for a moment.
static const uint64_t rivals_ns = 20000000000;

// --- life --------------------------------------------------------------------------------------

static void on_drained(struct pass *pass)
{
    inode_table_wake(pass->context);
}

struct open_inode *open_inode_new(struct volume *volume, const struct inode *inode,
                                  struct cluster_lock *open_lock)
{
    struct open_inode *open = calloc(1, sizeof(*open));
    CHECK(open != NULL && cluster_lock_is_held(open_lock, LOCK_SHARED));
    open->table = volume->inodes;
    open->volume = volume;
    open->number = inode->number;
    open->generation = inode_generation(inode);
    open->handles = 1;
    open->open_lock = open_lock;
    open->has_unknown_changes = true;
    pass_init(&open->pass, on_drained, volume->inodes);
    written_ranges_init(&open->written);
    block_ranges_init(&open->block_ranges, volume->scheduler);
    inode_table_enter(volume->inodes, open);
    return open;
}

static void destroy(struct open_inode *open)
{
    struct volume *volume = open->volume;
    uint64_t number = open->number, generation = open->generation;
    bool is_unlinked = open->is_unlinked;
    inode_table_leave(open->table, open);
    pass_deinit(&open->pass);
    written_ranges_deinit(&open->written);
    cluster_lock_release(open->open_lock, LOCK_SHARED);
    cluster_lock_put(open->open_lock);
    free(open);
    if (is_unlinked)
        reaper_add(inode_table_reaper(volume), number, generation);
}

void open_inode_get(struct open_inode *open)
{
    open->users++;
}

void open_inode_put(struct open_inode *open)
{
    CHECK(open->users > 0);
    if (--open->users == 0 && open->handles == 0)
        destroy(open);
}

// --- closing -----------------------------------------------------------------------------------

// Blocks allocated ahead that lie behind the end and hold nothing.
static int trim_ahead(struct open_inode *open, struct inode *inode)
{
    uint64_t size_blocks = (open_inode_size(open, inode) + BLOCK_BYTES - 1) / BLOCK_BYTES;
    uint64_t first = open->ahead_first > size_blocks ? open->ahead_first : size_blocks;
    uint64_t end = open->ahead_end;
    open->ahead_first = open->ahead_end = 0;
    if (first >= end)
        return 0;
    open_inode_drain(open);
    return file_blocks_remove(inode, first, end - first);
}

void open_inode_trim_ahead(struct open_inode *open)
{
    struct inode inode;
    if (open->ahead_end == 0 || inode_load(&inode, open->volume, open->number) != 0)
        return;
    trim_ahead(open, &inode);
    inode_unload(&inode);
}

// With the lock held EXCLUSIVE if anything is to be changed.
static int settle_loaded(struct open_inode *open, struct inode *inode, bool changes)
{
    open->is_unlinked = inode_link_count(inode) == 0;
    if (!changes)
        return 0;
    // An unlinked file is flushed, too: another node may have it open.
    int result = open_inode_flush(open, inode);
    return result != 0 ? result : trim_ahead(open, inode);
}

// A time of access alone does not take the inode away from another node, but once a day; and it is
// not waited for a thaw with it.
static bool has_due_access(const struct open_inode *open, const struct cluster_lock *lock)
{
    if (atomic_load(&open->pass.accessed_ns) == 0 || !freeze_lets_write(open->volume->freeze))
        return false;
    return open->volume->options.strict_atime || cluster_lock_is_cached(lock, LOCK_EXCLUSIVE);
}

// The last handle was closed.
static int settle(struct open_inode *open)
{
    struct inode inode;
    struct volume *volume = open->volume;
    struct cluster_lock *lock = cluster_lock_get(volume->locks, lock_name_inode(open->number));
    bool changes = volume->journal != NULL && (open_inode_is_dirty(open) || open->ahead_end != 0 ||
                                               has_due_access(open, lock));
    enum lock_mode mode = changes ? LOCK_EXCLUSIVE : LOCK_SHARED;
    int result = changes ? freeze_enter(volume->freeze) : 0;
    bool has_entered = changes && result == 0;
    if (result == 0)
        result = cluster_lock_acquire(lock, mode, 0);
    if (result == 0) {
        result = inode_load(&inode, volume, open->number);
        if (result == 0) {
            result = settle_loaded(open, &inode, changes);
            inode_unload(&inode);
        }
        cluster_lock_release(lock, mode);
    }
    if (has_entered)
        freeze_leave(volume->freeze);
    cluster_lock_put(lock);
    return result;
}

int open_inode_close(struct open_inode *open)
{
    int result = 0;
    CHECK(open->handles > 0);
    open_inode_get(open);
    if (--open->handles == 0)
        result = settle(open);
    if (result == 0)
        result = open->write_error;
    open_inode_put(open);
    return result;
}

// --- looking -----------------------------------------------------------------------------------

uint64_t open_inode_size(const struct open_inode *open, const struct inode *inode)
{
    return open != NULL && open->has_size ? open->size : inode_size(inode);
}

bool open_inode_time_counts(const struct open_inode *open, uint64_t modified_ns,
                            struct timespec changed)
{
    if (modified_ns == 0 || !open->has_late_time)
        return modified_ns != 0;
    return timespec_is_after(timespec_from_ns(modified_ns), changed);
}

void open_inode_overlay(const struct open_inode *open, struct attributes *attributes)
{
    struct stat *stat = &attributes->stat;
    if (open->has_size)
        stat->st_size = (off_t)open->size;
    uint64_t modified_ns = atomic_load(&open->pass.modified_ns);
    struct timespec modified = timespec_from_ns(modified_ns);
    bool counts = open_inode_time_counts(open, modified_ns, stat->st_ctim);
    if (counts && timespec_is_after(modified, stat->st_mtim))
        stat->st_mtim = modified;
    if (counts && timespec_is_after(modified, stat->st_ctim))
        stat->st_ctim = modified;
    uint64_t accessed_ns = atomic_load(&open->pass.accessed_ns);
    if (accessed_ns != 0 && relatime_is_due(&open->volume->options, stat->st_atim, stat->st_mtim,
                                            stat->st_ctim, timespec_from_ns(accessed_ns)))
        stat->st_atim = timespec_from_ns(accessed_ns);
}

// --- passes ------------------------------------------------------------------------------------

struct collection {
    struct scheduler *scheduler;
    struct pass_extent *extents;
    size_t count, capacity;
};

static int collect(void *context, const struct extent *run)
{
    struct collection *collection = context;
    if (collection->count == collection->capacity) {
        collection->capacity = collection->capacity == 0 ? 16 : collection->capacity * 2;
        collection->extents = memory_resize(collection->extents, collection->capacity,
                                            sizeof(collection->extents[0]));
    }
    collection->extents[collection->count++] = (struct pass_extent){
        .file_block = run->file_block,
        .volume_block = run->volume_block,
        .block_count = run->block_count,
    };
    if (collection->count % PUBLISH_PAUSE == 0)
        coroutine_pause(collection->scheduler);
    return 0;
}

// What the node's right covers, and what the core does not keep to itself: writes of pages that the
// kernel keeps, for it must be told.
static unsigned kinds_covered(const struct open_inode *open)
{
    struct lock_table *locks = open->volume->locks;
    struct cluster_lock *lock = cluster_lock_get(locks, lock_name_inode(open->number));
    unsigned kinds = 0;
    bool has_pages = (cluster_lock_loans(lock) & LOAN_PAGES) != 0;
    if (cluster_lock_is_cached(lock, LOCK_SHARED))
        kinds |= PASS_READ;
    if (kinds != 0 && page_loans_cover(&open->pages, lock))
        kinds |= PASS_FILL;
    if (cluster_lock_may_write_data(lock) && open->part_writers == 0 &&
        open->volume->journal != NULL && !open->is_protected && !has_pages &&
        freeze_lets_write(open->volume->freeze))
        kinds |= PASS_WRITE;
    cluster_lock_put(lock);
    return kinds;
}

static int publish(struct open_inode *open, struct inode *inode, unsigned kinds)
{
    struct collection collection = {.scheduler = open->volume->scheduler};
    uint64_t changes;
    int result;
    if (pass_resume(&open->pass, kinds))
        return 0;
    do { // a write that holds no lock may end while we collect
        changes = open->written_changes;
        collection.count = 0;
        result = file_map_iterate_written(inode, open, collect, &collection);
    } while (result == 0 && changes != open->written_changes);
    if (result == 0)
        pass_publish(&open->pass, kinds, open_inode_size(open, inode), collection.extents,
                     collection.count);
    free(collection.extents);
    return result;
}

int open_inode_publish(struct open_inode *open, struct inode *inode)
{
    open->is_protected = inode_is_protected(inode);
    unsigned kinds = kinds_covered(open);
    if ((kinds & ~pass_kinds(&open->pass)) == 0)
        return 0;
    return publish(open, inode, kinds);
}

int open_inode_publish_under(struct open_inode *open, struct inode *inode, enum lock_right keep)
{
    unsigned covered = keep == RIGHT_TOGETHER ? PASS_READ | PASS_WRITE : PASS_READ;
    return publish(open, inode, kinds_covered(open) & covered);
}

void open_inode_note_rivals(struct open_inode *open)
{
    struct environment *environment = open->volume->environment;
    open->rivals_until_ns = environment_boot_ns(environment) + rivals_ns;
}

bool open_inode_has_rivals(const struct open_inode *open)
{
    return environment_boot_ns(open->volume->environment) < open->rivals_until_ns;
}

void open_inode_drain(struct open_inode *open)
{
    if (open == NULL)
        return;
    pass_revoke(&open->pass, PASS_ALL);
    if (SABOTAGE(pass_skip_drain))
        return;
    while (!pass_is_idle(&open->pass) || open->writes_in_flight > 0)
        inode_table_wait_drained(open->table);
}

void open_inode_begin_part_write(struct open_inode *open)
{
    open->part_writers++;
    if (SABOTAGE(part_write_beside_lanes))
        return;
    pass_rest(&open->pass);
    while (!pass_is_idle(&open->pass))
        inode_table_wait_drained(open->table);
}

void open_inode_end_part_write(struct open_inode *open)
{
    if (--open->part_writers == 0)
        pass_resume(&open->pass, kinds_covered(open));
}

// --- what is only in memory --------------------------------------------------------------------

void open_inode_add_written(struct open_inode *open, uint64_t file_block, uint64_t volume_block,
                            uint64_t block_count)
{
    struct pass_extent extent = {file_block, volume_block, block_count};
    written_ranges_add(&open->written, file_block, block_count);
    open->written_changes++;
    pass_extend(&open->pass, 0, &extent);
    inode_table_note_dirty(open->table);
}

void open_inode_grow(struct open_inode *open, const struct inode *inode, uint64_t size)
{
    if (size <= open_inode_size(open, inode))
        return;
    open->has_size = true;
    open->size = size;
    pass_grow(&open->pass, size);
    inode_table_note_dirty(open->table);
}

void open_inode_note_write(struct open_inode *open)
{
    atomic_store(&open->pass.modified_ns, (uint64_t)environment_wall_ns(open->volume->environment));
    inode_table_note_dirty(open->table);
}

void open_inode_note_read(struct open_inode *open)
{
    if (open->volume->options.no_atime)
        return;
    atomic_store(&open->pass.accessed_ns, (uint64_t)environment_wall_ns(open->volume->environment));
}

bool open_inode_is_dirty(const struct open_inode *open)
{
    return !written_ranges_is_empty(&open->written) || open->has_size ||
           atomic_load(&open->pass.modified_ns) != 0;
}

bool open_inode_is_long(const struct open_inode *open)
{
    return open->written.count >= WRITTEN_RANGES_MAX;
}

void open_inode_cut(struct open_inode *open, uint64_t size)
{
    uint64_t end_block = (size + BLOCK_BYTES - 1) / BLOCK_BYTES;
    written_ranges_remove(&open->written, end_block, EXTENT_FILE_BLOCKS);
    if (open->has_size && open->size > size)
        open->size = size;
}

void open_inode_discard(struct open_inode *open, int error)
{
    written_ranges_deinit(&open->written);
    open->has_size = false;
    if (error != 0)
        open->write_error = error;
}
