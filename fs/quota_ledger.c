// SPDX-License-Identifier: Apache-2.0
// Ledgers in memory, and the charge: what stands between it and the end of its handle waits for
// nothing, so no two handles have a ledger block open, though many transactions hold the ledger.
#include "fs/base/memory.h"
#include "fs/quota_private.h"

#include <errno.h>
#include <stdlib.h>

#include "fs/base/check.h"
#include "fs/base/error.h"
#include "fs/base/sabotage.h"
#include "fs/cache.h"
#include "fs/lock_types.h"
#include "fs/volume.h"

// How long errors of a path are waited out.
enum { PATIENCE_TRIES = 50 };
#define PATIENCE_NS UINT64_C(5000000000)

// --- in memory -----------------------------------------------------------------------------------

static struct quota_ledger_disk *disk_of(const struct quota_ledger *ledger, int index)
{
    return (struct quota_ledger_disk *)ledger->blocks[index / QUOTA_LEDGER_ENTRIES]->bytes;
}

void quota_entry_read(const struct quota_ledger *ledger, int index,
                      struct format_quota_entry *entry)
{
    format_quota_entry_decode(disk_of(ledger, index), (unsigned)index % QUOTA_LEDGER_ENTRIES,
                              entry);
}

void quota_entry_write(struct quota_ledger *ledger, struct journal_handle *handle, int index,
                       const struct format_quota_entry *entry)
{
    cache_change(ledger->blocks[index / QUOTA_LEDGER_ENTRIES], handle);
    format_quota_entry_encode(disk_of(ledger, index), (unsigned)index % QUOTA_LEDGER_ENTRIES,
                              entry);
}

static uint64_t key_of(struct quota_owner owner)
{
    return quota_key(owner.kind, owner.id) + 1;
}

void quota_entry_note(struct quota_ledger *ledger, int index,
                      const struct format_quota_entry *entry)
{
    struct quota_owner owner = {entry->kind, entry->id};
    ledger->keys[index] = entry->is_used ? key_of(owner) : 0;
}

void quota_ledger_use(struct quota *quota, struct quota_ledger *ledger, int index)
{
    ledger->used_ns[index] = environment_boot_ns(quota->volume->environment);
    ledger->uses[index] = ++ledger->use_count;
}

struct quota_owner quota_ledger_owner(const struct quota_ledger *ledger, int index)
{
    uint64_t key = ledger->keys[index] - 1;
    return (struct quota_owner){(enum quota_kind)(key >> 32), (uint32_t)key};
}

static int find_key(const struct quota_ledger *ledger, uint64_t key)
{
    for (int i = 0; i < LEDGER_ENTRIES_ALL; i++) {
        if (ledger->keys[i] == key)
            return i;
    }
    return -1;
}

int quota_ledger_find(const struct quota_ledger *ledger, struct quota_owner owner)
{
    return find_key(ledger, key_of(owner));
}

int quota_ledger_find_free(const struct quota_ledger *ledger)
{
    return find_key(ledger, 0);
}

// --- load, forget --------------------------------------------------------------------------------

static void unload(struct quota_ledger *ledger)
{
    for (unsigned i = 0; i < QUOTA_LEDGER_BLOCKS; i++) {
        if (ledger->blocks[i] != NULL)
            cache_put(ledger->blocks[i]);
    }
    free(ledger);
}

static int load_block(struct volume *volume, struct quota_ledger *ledger, unsigned number)
{
    struct cache_identity identity = {
        .address = geometry_quota_ledger_block(&volume->geometry, ledger->slot, number),
        .owner = ledger->slot,
        .type = BLOCK_TYPE_QUOTA_LEDGER,
        .lock = lock_name_ledger(ledger->slot),
    };
    int result = cache_read(volume->cache, &identity, &ledger->blocks[number]);
    if (result != 0) {
        ledger->blocks[number] = NULL;
        return result;
    }
    const char *reason = NULL;
    const struct quota_ledger_disk *disk =
        (const struct quota_ledger_disk *)ledger->blocks[number]->bytes;
    result = format_quota_ledger_check(disk, &reason);
    if (result != 0)
        cache_report_damage(volume->cache, result, "quota ledger of slot %u, block %llu: %s",
                            ledger->slot, (unsigned long long)identity.address, reason);
    return result;
}

static int load(struct volume *volume, uint32_t slot, struct quota_ledger **out)
{
    struct quota_ledger *ledger = memory_new(sizeof(*ledger));
    ledger->slot = slot;
    int result = 0;
    for (unsigned i = 0; i < QUOTA_LEDGER_BLOCKS && result == 0; i++)
        result = load_block(volume, ledger, i);
    if (result != 0) {
        unload(ledger);
        return result;
    }
    for (int i = 0; i < LEDGER_ENTRIES_ALL; i++) {
        struct format_quota_entry entry;
        quota_entry_read(ledger, i, &entry);
        quota_entry_note(ledger, i, &entry);
    }
    *out = ledger;
    return 0;
}

// Several may read it at once: the first one's stays.
int quota_ledger_get(struct volume *volume, struct cluster_lock *lock, uint32_t slot,
                     struct quota_ledger **out)
{
    *out = cluster_lock_object(lock);
    if (*out != NULL)
        return 0;
    struct quota_ledger *ledger;
    int result = load(volume, slot, &ledger);
    if (result != 0)
        return result;
    *out = cluster_lock_object(lock);
    if (*out != NULL) {
        unload(ledger);
        return 0;
    }
    cluster_lock_set_object(lock, ledger);
    *out = ledger;
    return 0;
}

void quota_ledger_forget(struct volume *volume, struct cluster_lock *lock)
{
    struct quota_ledger *ledger = cluster_lock_object(lock);
    (void)volume;
    if (ledger == NULL)
        return;
    cluster_lock_set_object(lock, NULL);
    unload(ledger);
}

// --- the charge ----------------------------------------------------------------------------------

// An error of a path passes, and says nothing of what is stored: who can fail fails with it, and
// what was acknowledged, or must be freed, waits it out. When it lasts, the node goes on.
//
//   n3  its path fails now and then ─ truncates a file: EIO for the ledger ─► went on without it
//       76 blocks freed, charged to nobody, and damage reported ─ unmounts
//   n1  the record has these 76 for good, and nothing is damaged
bool quota_waits_out(struct quota *quota, int result, unsigned *tries)
{
    if (result != -EIO || volume_check(quota->volume) != 0 || *tries == PATIENCE_TRIES)
        return false;
    ++*tries;
    environment_sleep(quota->volume->environment, PATIENCE_NS / PATIENCE_TRIES);
    return true;
}

// Without its ledger a node charges nothing: fsck.lunfs counts anew.
static int give_up(struct quota *quota, const struct quota_charge *charge, int error)
{
    bool must_go_on = error_is_check(error) || charge->is_unrefusable;
    if (!must_go_on || volume_check(quota->volume) != 0)
        return error;
    quota->is_ledger_bad = true;
    cache_report_damage(quota->volume->cache, error_is_check(error) ? error : -ERROR_BLOCK_CONTENT,
                        "quota ledger of slot %u: %s: this node goes on without quotas",
                        quota->volume->slot, error_text(error));
    return 0;
}

static int look(struct quota *quota, const struct quota_charge *charge)
{
    unsigned tries = 0;
    int result;
    do {
        result = quota_look(quota);
    } while (charge->is_unrefusable && quota_waits_out(quota, result, &tries));
    return result;
}

// 0 or why there is no right; `read`: why there is a right, but no ledger.
static int hold(struct quota *quota, struct quota_charge *charge, int *read)
{
    struct quota_ledger *ledger;
    *read = 0;
    int result = cluster_lock_acquire(quota->ledger_lock, LOCK_SHARED, LOCK_WITH_EXCLUSIVE_RIGHT);
    if (result != 0)
        return result;
    *read = quota_ledger_get(quota->volume, quota->ledger_lock, quota->volume->slot, &ledger);
    charge->is_counting = *read == 0;
    if (*read != 0)
        cluster_lock_release(quota->ledger_lock, LOCK_SHARED);
    return 0;
}

int quota_charge_begin(struct quota *quota, struct quota_charge *charge)
{
    unsigned tries = 0;
    int read;
    charge->is_counting = false;
    charge->count = 0;
    if (quota == NULL || charge->is_exempt || (quota->is_known && !quota->is_on))
        return 0;
    int result = look(quota, charge);
    if (result != 0 || !quota->is_on)
        return result;
    do {
        if (quota->is_ledger_bad)
            return 0;
        result = hold(quota, charge, &read);
        if (result != 0)
            return result;
    } while (charge->is_unrefusable && quota_waits_out(quota, read, &tries));
    return read == 0 ? 0 : give_up(quota, charge, read);
}

void quota_charge_end(struct quota *quota, struct quota_charge *charge)
{
    if (charge->is_counting)
        cluster_lock_release(quota->ledger_lock, LOCK_SHARED);
    charge->is_counting = false;
}

static bool fits(uint64_t share, int64_t spent, int64_t more)
{
    return more <= 0 || share == QUOTA_SHARE_ENDLESS || spent + more <= (int64_t)share;
}

// Whether the delta can be charged as things are; to the entry `index`, negative: it need not be.
static bool is_covered(const struct quota_ledger *ledger, const struct quota_charge *charge,
                       const struct quota_delta *delta, int *index)
{
    struct format_quota_entry entry;
    *index = -1;
    if (delta->blocks == 0 && delta->inodes == 0)
        return true;
    *index = quota_ledger_find(ledger, delta->owner);
    bool cannot_be_refused = charge->is_unrefusable || !quota_delta_is_more(delta);
    if (*index < 0)
        return charge->is_damaged && cannot_be_refused;
    quota_entry_read(ledger, *index, &entry);
    return cannot_be_refused || (fits(entry.block_share, entry.block_spent, delta->blocks) &&
                                 fits(entry.inode_share, entry.inode_spent, delta->inodes));
}

static void charge_entry(struct quota *quota, struct quota_ledger *ledger,
                         struct journal_handle *handle, int index, const struct quota_delta *delta)
{
    struct format_quota_entry entry;
    quota_entry_read(ledger, index, &entry);
    entry.block_spent += delta->blocks;
    entry.inode_spent += delta->inodes;
    quota_entry_write(ledger, handle, index, &entry);
    quota_ledger_use(quota, ledger, index);
}

bool quota_charge_is_covered(struct quota *quota, const struct quota_charge *charge)
{
    const struct quota_ledger *ledger = cluster_lock_object(quota->ledger_lock);
    int index;
    for (unsigned i = 0; i < charge->count; i++) {
        if (!is_covered(ledger, charge, &charge->deltas[i], &index))
            return false;
    }
    return true;
}

void quota_charge_apply(struct quota *quota, const struct quota_charge *charge,
                        struct journal_handle *handle)
{
    struct quota_ledger *ledger = cluster_lock_object(quota->ledger_lock);
    for (unsigned i = 0; i < charge->count; i++) {
        int index;
        CHECK(is_covered(ledger, charge, &charge->deltas[i], &index));
        if (index >= 0)
            charge_entry(quota, ledger, handle, index, &charge->deltas[i]);
    }
}
