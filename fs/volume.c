// SPDX-License-Identifier: Apache-2.0
#include "fs/volume.h"

#include <errno.h>
#include <stdlib.h>

#include "fs/allocator.h"
#include "fs/base/check.h"
#include "fs/base/error.h"
#include "fs/base/sabotage.h"
#include "fs/cache.h"
#include "fs/cluster_lock.h"
#include "fs/damage.h"
#include "fs/freeze.h"
#include "fs/inode_table.h"
#include "fs/lock_types.h"
#include "fs/quota.h"
#include "journal/journal.h"

// --- the superblock --------------------------------------------------------------------------

static int read_superblock_at(struct block_device *device, struct scheduler *scheduler,
                              uint64_t address, void *buffer, struct geometry *geometry)
{
    int result = block_device_read(device, scheduler, address * BLOCK_BYTES, buffer, BLOCK_BYTES);
    if (result != 0)
        return result;
    const struct superblock_disk *disk = buffer;
    struct block_expectation expected = {
        .format_id = disk->header.format_id, // the superblock is where it comes from
        .address = address,
        .owner = 0,
        .type = BLOCK_TYPE_SUPERBLOCK,
    };
    result = format_block_verify(buffer, &expected);
    if (result == 0)
        result = format_superblock_decode(disk, device->size_bytes / BLOCK_BYTES, geometry);
    return result;
}

// Whether another copy may be better than one that failed with `error`.
static bool is_worth_a_copy(int error)
{
    return error != 0 && error != -ERROR_SUPERBLOCK_FEATURE && error != -ERROR_VOLUME_SHRUNK &&
           error != -ERROR_BLOCK_FORMAT_VERSION;
}

int volume_read_geometry(struct block_device *device, struct scheduler *scheduler, struct log *log,
                         struct geometry *geometry)
{
    const uint64_t places[] = {FORMAT_SUPERBLOCK_BLOCK, FORMAT_SUPERBLOCK_COPY_BLOCK,
                               device->size_bytes / BLOCK_BYTES - 1};
    if (device->size_bytes / BLOCK_BYTES <= FORMAT_SUPERBLOCK_COPY_BLOCK)
        return -ERROR_SUPERBLOCK_NONE;
    void *buffer = block_buffer_new(BLOCK_BYTES);
    int first = 0, result = 0;
    for (int i = 0; i < 3; i++) {
        result = read_superblock_at(device, scheduler, places[i], buffer, geometry);
        if (i == 0)
            first = result;
        if (!is_worth_a_copy(result))
            break;
    }
    free(buffer);
    if (result == 0 && first != 0)
        log_line(log, LOG_LEVEL_WARNING, -first,
                 "%s: block %d: %s; the volume goes on with a copy of the superblock: run fsck",
                 device->name, FORMAT_SUPERBLOCK_BLOCK, error_text(first));
    if (is_worth_a_copy(result))
        result = first == -ERROR_BLOCK_MAGIC ? -ERROR_SUPERBLOCK_NONE : first;
    return result;
}

// --- life ------------------------------------------------------------------------------------

static void journal_failed(void *user, int error)
{
    volume_fail(user, error, "writing the journal");
}

struct volume *volume_new(const struct volume_config *config)
{
    struct volume *volume = calloc(1, sizeof(*volume));
    CHECK(volume != NULL);
    volume->environment = config->environment;
    volume->scheduler = config->environment->scheduler;
    volume->device = config->device;
    volume->recovery_device =
        config->recovery_device != NULL ? config->recovery_device : config->device;
    volume->log = config->log;
    volume->gate = config->gate;
    volume->options = config->options;
    volume->geometry = config->geometry;
    volume->failed = config->failed;
    volume->context = config->context;
    volume->journal_context = (struct journal_format_context){
        .user = volume,
        .failed = journal_failed,
    };
    for (int i = 0; i < 16; i++)
        volume->journal_context.format_id[i] = config->geometry.format_id[i];
    return volume;
}

void volume_free(struct volume *volume)
{
    CHECK(volume->journal == NULL && volume->locks == NULL);
    free(volume);
}

void volume_journal_config(struct volume *volume, uint32_t slot, struct journal_config *config)
{
    *config = (struct journal_config){
        .device = volume->device,
        .environment = volume->environment,
        .log = volume->log,
        .clock = &volume->clock,
        .callbacks = &journal_format_callbacks,
        .context = &volume->journal_context,
        .start_block = geometry_journal_block(&volume->geometry, slot),
        .block_count = volume->geometry.journal_block_count,
        .slot = slot,
    };
    for (int i = 0; i < 16; i++)
        config->format_id[i] = volume->geometry.format_id[i];
}

static void found_damage(void *context)
{
    struct volume *volume = context;
    if (volume->damage != NULL)
        damage_found(volume->damage);
}

static struct cache *make_cache(struct volume *volume)
{
    struct cache_config config = {
        .device = volume->device,
        .scheduler = volume->scheduler,
        .log = volume->log,
        .clock = &volume->clock,
        .block_count = volume->geometry.block_count,
        .bytes_max = volume->options.cache_bytes,
        .damaged = found_damage,
        .context = volume,
    };
    for (int i = 0; i < 16; i++)
        config.format_id[i] = volume->geometry.format_id[i];
    return cache_new(&config);
}

// What every change needs, and what the node that was here first may have in its cache: not to be
// asked for only when that node has died.
static void ask_for_own(struct volume *volume)
{
    const struct lock_name names[] = {lock_name_orphans(volume->slot), lock_name_ag(volume->slot),
                                      lock_name_ledger(volume->slot)};
    bool has_quotas = (volume->geometry.feature_ro_compat & FEATURE_RO_COMPAT_QUOTAS) != 0;
    cluster_lock_prefetch(volume->locks, names, has_quotas ? 3 : 2, LOCK_EXCLUSIVE, 0);
}

static void make_core(struct volume *volume, struct lock_service *service)
{
    volume->cache = make_cache(volume);
    volume->locks = lock_table_new(volume, service);
    volume->allocator = allocator_new(volume);
    volume->inodes = inode_table_new(volume);
    volume->freeze = freeze_new(volume);
    volume->quota = quota_new(volume);
    volume->damage = damage_new(volume);
}

static void free_core(struct volume *volume)
{
    damage_free(volume->damage);
    volume->damage = NULL;
    quota_free(volume->quota);
    volume->quota = NULL;
    freeze_free(volume->freeze);
    volume->freeze = NULL;
    lock_table_free(volume->locks);
    inode_table_free(volume->inodes);
    allocator_close(volume->allocator);
    cache_free(volume->cache);
    volume->locks = NULL;
    volume->inodes = NULL;
    volume->allocator = NULL;
    volume->cache = NULL;
}

static void stop_work(struct volume *volume)
{
    quota_stop(volume->quota);
    freeze_stop(volume->freeze);
    inode_table_stop(volume->inodes);
    allocator_stop(volume->allocator);
    damage_stop(volume->damage);
}

// A copy of a frozen volume may have our slot as it was and our journal as it is: whoever mounts
// the copy would find a free slot with a journal in use (rule 24).
static int open_journal(struct volume *volume)
{
    struct journal_config config;
    volume_journal_config(volume, volume->slot, &config);
    if (SABOTAGE(freeze_join_meanwhile))
        return journal_open(&config, &volume->journal);
    int result = freeze_enter_to_mount(volume->freeze);
    if (result != 0)
        return result;
    result = journal_open(&config, &volume->journal);
    freeze_leave(volume->freeze);
    return result;
}

// The journal may say that it is in use, though nobody has it open: the mount is not left cleanly,
// for others would take the slot for free, and nobody could open it again. As with a node that
// died, its (empty) journal is replayed, and until then its share of LOCK_FREEZE stays: what a
// replay writes would land in a frozen volume (rule 24). One that cannot be read would not be
// replayed either; it stays as it is.
static void fail_start(struct volume *volume, int result)
{
    if (!error_is_check(result) && result != -EBUSY)
        volume_fail(volume, result, "opening the journal");
}

int volume_start(struct volume *volume, uint32_t slot, uint64_t incarnation,
                 struct lock_service *service)
{
    volume->slot = slot;
    volume->incarnation = incarnation;
    make_core(volume, service);
    int result = volume->options.read_only ? 0 : open_journal(volume);
    if (result != 0) {
        stop_work(volume);
        fail_start(volume, result);
        lock_table_release_all(volume->locks);
        lock_table_wait_demotions(volume->locks);
        free_core(volume);
        return result;
    }
    if (volume->journal != NULL)
        ask_for_own(volume);
    return 0;
}

int volume_stop(struct volume *volume)
{
    stop_work(volume);
    int result = lock_table_release_all(volume->locks);
    if (volume->journal != NULL) {
        int closed = journal_close(volume->journal);
        if (result == 0)
            result = closed;
        volume->journal = NULL;
    }
    free_core(volume);
    return result;
}

void volume_abandon(struct volume *volume)
{
    CHECK(volume->failure != 0);
    if (volume->locks == NULL)
        return;
    stop_work(volume);
    lock_table_wait_demotions(volume->locks);
    if (volume->journal != NULL)
        journal_close(volume->journal);
    volume->journal = NULL;
    free_core(volume);
}

// --- failure ---------------------------------------------------------------------------------

void volume_fail(struct volume *volume, int error, const char *where)
{
    if (volume->failure != 0)
        return;
    volume->failure = error;
    atomic_store(&volume->gate->state, GATE_ENDED);
    log_error(volume->log, error_is_check(error) ? -error : ERROR_STATE_ENDED,
              "%s: the mount has ended: %s: %s", volume->device->name, where, error_text(error));
    if (volume->journal != NULL)
        journal_stop(volume->journal, error);
    if (volume->locks != NULL)
        lock_table_fail(volume->locks, error);
    if (volume->failed != NULL)
        volume->failed(volume->context, error);
}
