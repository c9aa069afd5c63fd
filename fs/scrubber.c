// SPDX-License-Identifier: Apache-2.0
#include "fs/scrubber.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fs/base/check.h"
#include "fs/base/coroutine.h"
#include "fs/base/error.h"
#include "fs/cache.h"
#include "fs/format_decode.h"
#include "fs/live_inode.h"
#include "fs/lock_set.h"
#include "fs/lock_types.h"
#include "fs/orphans.h"
#include "fs/volume.h"
#include "journal/journal.h"

struct scrubber {
    struct volume *volume;
    struct scrub *scrub; // of the last run; NULL before the first
    struct lock_set held;
    bool is_running, is_stopped;
    int result;
    uint64_t begun_ns, ended_ns;
    char *lines[SCRUBBER_LINES_MAX];
    uint64_t line_count;
    struct wait_queue idle;
};

// --- holding an object -------------------------------------------------------------------------

static struct lock_name lock_name_of(const struct scrub_object *object)
{
    switch (object->kind) {
    case SCRUB_SUPERBLOCK:
        return lock_name_superblock();
    case SCRUB_ORPHANS:
        return lock_name_orphans((uint32_t)object->id);
    case SCRUB_QUOTA:
        return lock_name_quota((uint32_t)object->id);
    case SCRUB_LEDGER:
        return lock_name_ledger((uint32_t)object->id);
    case SCRUB_MAP:
        return lock_name_ag_map();
    case SCRUB_GROUP:
        return lock_name_ag((uint32_t)object->id);
    default:
        return lock_name_inode(object->id);
    }
}

// Transactions of this node share the lock of its ledger while they change it (fs/quota_ledger.c).
static enum lock_mode lock_mode_of(const struct volume *volume, const struct scrub_object *object)
{
    bool is_own_ledger = object->kind == SCRUB_LEDGER && object->id == volume->slot;
    return is_own_ledger ? LOCK_EXCLUSIVE : LOCK_SHARED;
}

// Others have written theirs in place when the lock comes; this node may have kept what it changed.
static int take(void *context, const struct scrub_object *objects, size_t count)
{
    struct scrubber *scrubber = context;
    struct volume *volume = scrubber->volume;
    struct lock_name names[2];
    CHECK(count <= 2);
    scrubber->held = (struct lock_set){.count = 0};
    for (size_t i = 0; i < count; i++) {
        names[i] = lock_name_of(&objects[i]);
        lock_set_add(&scrubber->held, names[i], lock_mode_of(volume, &objects[i]));
    }
    int result = lock_set_acquire(&scrubber->held, volume);
    if (result != 0)
        return result;
    if (volume->journal != NULL)
        result = journal_lock_write_back(volume->journal, names, count);
    if (result == 0)
        result = volume_check(volume);
    if (result != 0)
        lock_set_release(&scrubber->held);
    return result;
}

static void drop(void *context)
{
    struct scrubber *scrubber = context;
    lock_set_release(&scrubber->held);
}

// --- who names an inode --------------------------------------------------------------------------

static bool names_it(const struct tree_cursor *cursor, uint64_t inode,
                     struct scrub_promise *promise)
{
    struct format_item item = {
        .key = {cursor->key.kind, cursor->key.minor, cursor->key.major},
        .value = cursor->value,
        .length = (uint16_t)cursor->length,
    };
    struct format_dirent entry;
    const char *reason;
    if (format_dirent_decode(&item, &entry, &reason) != 0 || entry.inode != inode)
        return false;
    *promise = (struct scrub_promise){.generation = entry.generation, .type = entry.type};
    return true;
}

static int search(struct inode *directory, uint64_t hash, uint64_t inode,
                  struct scrub_promise *promise)
{
    TREE_CURSOR(cursor, &directory->tree);
    int result = tree_cursor_seek(&cursor, TREE_KEY(ITEM_DIRENT, hash, 0), TREE_CEILING);
    while (result == 0 && cursor.key.kind == ITEM_DIRENT && cursor.key.major == hash) {
        if (names_it(&cursor, inode, promise))
            return 1;
        result = tree_cursor_next(&cursor);
    }
    return result == -ENOENT ? 0 : result;
}

// A directory that is damaged itself was reported, and names nothing for certain.
static int find_entry(void *context, uint64_t directory, uint64_t hash, uint64_t inode,
                      struct scrub_promise *promise)
{
    struct scrubber *scrubber = context;
    struct inode found;
    int result = live_inode_load(&found, scrubber->volume, directory);
    if (result == 0) {
        result = S_ISDIR(inode_mode(&found)) ? search(&found, hash, inode, promise) : 0;
        inode_unload(&found);
    }
    bool is_nothing = result == -ESTALE || error_is_check(result);
    return is_nothing && volume_check(scrubber->volume) == 0 ? 0 : result;
}

static int find_orphan(void *context, uint32_t slot, uint64_t inode, struct scrub_promise *promise)
{
    struct scrubber *scrubber = context;
    struct orphan_list list;
    uint64_t found = 0;
    int result = orphan_list_load(&list, scrubber->volume, slot);
    if (result != 0)
        return error_is_check(result) && volume_check(scrubber->volume) == 0 ? 0 : result;
    result = orphan_list_next(&list, inode - 1, &found, &promise->generation);
    orphan_list_unload(&list);
    if (result != 0)
        return result == -ENOENT || volume_check(scrubber->volume) == 0 ? 0 : result;
    return found == inode;
}

// --- a run ---------------------------------------------------------------------------------------

static void found(void *context, const char *line)
{
    struct scrubber *scrubber = context;
    cache_report_damage(scrubber->volume->cache, -ERROR_SCRUB, "%s", line);
    if (scrubber->line_count == SCRUBBER_LINES_MAX)
        return;
    scrubber->lines[scrubber->line_count] = strdup(line);
    CHECK(scrubber->lines[scrubber->line_count] != NULL);
    scrubber->line_count++;
}

static const struct scrub_hooks hooks = {
    .take = take,
    .drop = drop,
    .find_entry = find_entry,
    .find_orphan = find_orphan,
    .found = found,
};

static uint64_t now_ns(const struct scrubber *scrubber)
{
    return environment_boot_ns(scrubber->volume->environment);
}

static void run(void *argument)
{
    struct scrubber *scrubber = argument;
    struct scrub_status status;
    scrubber->result = scrub_run(scrubber->scrub);
    scrubber->ended_ns = now_ns(scrubber);
    scrubber->is_running = false;
    scrub_status_get(scrubber->scrub, &status);
    log_notice(scrubber->volume->log, "%s: scrub %s: %llu blocks read, %llu problems, %llu s",
               scrubber->volume->device->name,
               scrubber->result == 0 ? "done" : error_text(scrubber->result),
               (unsigned long long)status.blocks_read, (unsigned long long)status.problem_count,
               (unsigned long long)(scrubber->ended_ns - scrubber->begun_ns) / 1000000000);
    wait_queue_wake_all(scrubber->volume->scheduler, &scrubber->idle);
}

static void forget(struct scrubber *scrubber)
{
    for (uint64_t i = 0; i < scrubber->line_count; i++)
        free(scrubber->lines[i]);
    scrubber->line_count = 0;
    if (scrubber->scrub != NULL)
        scrub_free(scrubber->scrub);
    scrubber->scrub = NULL;
}

int scrubber_start(struct scrubber *scrubber, uint64_t blocks_per_second)
{
    struct volume *volume = scrubber->volume;
    if (scrubber->is_running)
        return -EALREADY;
    if (scrubber->is_stopped || volume_check(volume) != 0)
        return -EIO;
    forget(scrubber);
    scrubber->scrub = scrub_new(&(struct scrub_config){
        .device = volume->device,
        .environment = volume->environment,
        .log = volume->log,
        .geometry = &volume->geometry,
        .hooks = &hooks,
        .context = scrubber,
        .blocks_per_second = blocks_per_second,
    });
    scrubber->begun_ns = now_ns(scrubber);
    scrubber->is_running = true;
    coroutine_start(volume->scheduler, "scrub", run, scrubber);
    return 0;
}

void scrubber_cancel(struct scrubber *scrubber)
{
    if (scrubber->is_running)
        scrub_cancel(scrubber->scrub);
}

// --- life ----------------------------------------------------------------------------------------

struct scrubber *scrubber_new(struct volume *volume)
{
    struct scrubber *scrubber = calloc(1, sizeof(*scrubber));
    CHECK(scrubber != NULL);
    scrubber->volume = volume;
    wait_queue_init(&scrubber->idle);
    return scrubber;
}

void scrubber_stop(struct scrubber *scrubber)
{
    scrubber->is_stopped = true;
    scrubber_cancel(scrubber);
    while (scrubber->is_running)
        wait_queue_wait(scrubber->volume->scheduler, &scrubber->idle);
}

void scrubber_free(struct scrubber *scrubber)
{
    if (scrubber == NULL)
        return;
    CHECK(!scrubber->is_running);
    forget(scrubber);
    free(scrubber);
}

void scrubber_status_get(const struct scrubber *scrubber, struct scrubber_status *status)
{
    *status = (struct scrubber_status){
        .is_running = scrubber->is_running,
        .result = scrubber->result,
        .line_count = scrubber->line_count,
    };
    if (scrubber->scrub == NULL)
        return;
    scrub_status_get(scrubber->scrub, &status->scrub);
    status->elapsed_ns =
        (scrubber->is_running ? now_ns(scrubber) : scrubber->ended_ns) - scrubber->begun_ns;
}

const char *scrubber_line(const struct scrubber *scrubber, uint64_t number)
{
    CHECK(number < scrubber->line_count);
    return scrubber->lines[number];
}
