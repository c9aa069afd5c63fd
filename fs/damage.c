// SPDX-License-Identifier: Apache-2.0
#include "fs/damage.h"

#include <stdlib.h>

#include "fs/base/check.h"
#include "fs/base/coroutine.h"
#include "fs/base/error.h"
#include "fs/base/sabotage.h"
#include "fs/cluster_lock.h"
#include "fs/format_find.h"
#include "fs/freeze.h"
#include "fs/lock_types.h"
#include "fs/superblock.h"
#include "fs/volume.h"

// A write that tears must leave one whole superblock.
_Static_assert(offsetof(struct superblock_disk, state) + sizeof(le32_t) <= FORMAT_SECTOR_BYTES_MIN,
               "what the mark changes stands in one sector");

struct damage {
    struct volume *volume;
    bool is_met;    // by this node
    bool is_marked; // on the disk, as this node last read or wrote it
    bool is_working;
    bool is_again; // look once more: something came while it worked
    bool is_stopped;
    struct wait_queue idle;
};

static bool may_write(const struct volume *volume)
{
    return volume->journal != NULL;
}

// --- the superblock, under its lock ------------------------------------------------------------

static bool has_mark(const struct format_superblock_place *place)
{
    return (place->geometry.state & SUPERBLOCK_STATE_DAMAGED) != 0;
}

static int write_place(struct volume *volume, const struct format_superblock_place *place)
{
    struct geometry geometry = place->geometry;
    geometry.state |= SUPERBLOCK_STATE_DAMAGED;
    return superblock_write(volume, place, &geometry);
}

static int write_mark(struct damage *damage, const struct format_superblock_finding *found)
{
    int result = 0;
    for (int i = 0; i < FORMAT_SUPERBLOCK_COUNT && result == 0; i++) {
        if (!superblock_is_ours(damage->volume, &found->places[i]) || has_mark(&found->places[i]))
            continue;
        result = write_place(damage->volume, &found->places[i]);
        damage->is_marked = damage->is_marked || (result == 0 && i == found->chosen);
    }
    return result;
}

static int look(struct damage *damage, bool marks)
{
    struct format_superblock_finding found;
    int result = format_superblock_find(damage->volume->device, damage->volume->scheduler, &found);
    if (result != 0)
        return result;
    if (!superblock_is_ours(damage->volume, &found.places[found.chosen]))
        return -ERROR_BLOCK_FORMAT_ID;
    damage->is_marked = has_mark(&found.places[found.chosen]);
    return marks && !SABOTAGE(damage_no_mark) ? write_mark(damage, &found) : 0;
}

// A volume that is frozen for a copy gets its mark after the thaw.
static int look_thawed(struct damage *damage)
{
    int result = freeze_enter(damage->volume->freeze);
    if (result != 0)
        return result;
    result = look(damage, true);
    freeze_leave(damage->volume->freeze);
    return result;
}

static int look_locked(struct damage *damage, bool marks)
{
    struct volume *volume = damage->volume;
    enum lock_mode mode = marks ? LOCK_EXCLUSIVE : LOCK_SHARED;
    struct cluster_lock *lock = cluster_lock_get(volume->locks, lock_name_superblock());
    int result = cluster_lock_acquire(lock, mode, 0);
    if (result == 0) {
        result = marks ? look_thawed(damage) : look(damage, false);
        cluster_lock_release(lock, mode);
    }
    cluster_lock_put(lock);
    return result;
}

// --- in the background -------------------------------------------------------------------------

static void tell(const struct damage *damage, bool was_marked, int result)
{
    struct volume *volume = damage->volume;
    if (volume_check(volume) != 0)
        return;
    if (result != 0)
        log_line(volume->log, LOG_LEVEL_WARNING, error_is_check(result) ? -result : 0,
                 "%s: the superblock: %s", volume->device->name, error_text(result));
    else if (damage->is_marked && !was_marked)
        log_line(volume->log, LOG_LEVEL_WARNING, ERROR_VOLUME_NEEDS_FSCK,
                 "%s: damage was found on this volume, %s: unmount it everywhere when you can and "
                 "run fsck.lunfs",
                 volume->device->name, damage->is_met ? "by this node" : "by another node");
    else if (damage->is_met && !may_write(volume))
        log_line(volume->log, LOG_LEVEL_WARNING, ERROR_VOLUME_NEEDS_FSCK,
                 "%s: this mount is read-only and does not mark the volume: run fsck.lunfs",
                 volume->device->name);
}

static void work(void *argument)
{
    struct damage *damage = argument;
    do {
        bool was_marked = damage->is_marked;
        damage->is_again = false;
        int result = look_locked(damage, damage->is_met && may_write(damage->volume));
        tell(damage, was_marked, result);
    } while (damage->is_again && !damage->is_stopped);
    damage->is_working = false;
    wait_queue_wake_all(damage->volume->scheduler, &damage->idle);
}

static void start(struct damage *damage)
{
    damage->is_again = true;
    if (damage->is_working || damage->is_stopped || volume_check(damage->volume) != 0)
        return;
    damage->is_working = true;
    coroutine_start(damage->volume->scheduler, "look at the superblock", work, damage);
}

// --- life --------------------------------------------------------------------------------------

struct damage *damage_new(struct volume *volume)
{
    struct damage *damage = calloc(1, sizeof(*damage));
    CHECK(damage != NULL);
    damage->volume = volume;
    wait_queue_init(&damage->idle);
    start(damage);
    return damage;
}

void damage_stop(struct damage *damage)
{
    damage->is_stopped = true;
    while (damage->is_working)
        wait_queue_wait(damage->volume->scheduler, &damage->idle);
}

void damage_free(struct damage *damage)
{
    CHECK(!damage->is_working);
    free(damage);
}

// Once is enough: nobody takes the mark away while this node is mounted. What failed is tried again
// with the next damage.
void damage_found(struct damage *damage)
{
    bool is_done = damage->is_marked || (damage->is_met && !may_write(damage->volume));
    damage->is_met = true;
    if (!is_done)
        start(damage);
}

bool damage_is_known(const struct damage *damage)
{
    return damage->is_met || damage->is_marked;
}

void damage_superblock_forget(struct volume *volume, struct cluster_lock *lock)
{
    (void)lock;
    if (volume->damage != NULL && !volume->damage->is_marked)
        start(volume->damage);
}
