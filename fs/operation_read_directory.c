// SPDX-License-Identifier: Apache-2.0
// Listing a directory: entries are copied in batches under its lock, and handed out without it, so
// that the lock of an entry's inode can be taken for its attributes whatever its number.
#include <errno.h>
#include <stdlib.h>

#include "fs/base/check.h"
#include "fs/cluster_lock.h"
#include "fs/operation_private.h"
#include "fs/volume.h"

enum { BATCH_ENTRIES = 64 };

struct batch {
    struct directory_item items[BATCH_ENTRIES];
    size_t count;
};

struct listing {
    struct volume *volume;
    uint64_t directory;
    uint64_t cursor; // of the last entry handed out
    enum directory_listing kind;
    bool (*emit)(void *context, const struct directory_entry *entry);
    void *context;
};

static bool collect(void *context, const struct directory_item *item)
{
    struct batch *batch = context;
    if (batch->count == BATCH_ENTRIES)
        return false;
    batch->items[batch->count++] = *item;
    return true;
}

static int fill_batch(const struct listing *listing, struct batch *batch)
{
    struct inode directory;
    LOCK_SET(set);
    batch->count = 0;
    int result = operation_acquire_directory(&directory, &set, listing->volume, listing->directory,
                                             LOCK_SHARED);
    if (result != 0)
        return result;
    result = directory_iterate(&directory, listing->cursor, collect, batch);
    live_inode_release(&directory, &set);
    return result == -ENOENT ? 0 : result;
}

// One round for the locks of all. Their holders are called back together, and so give way in one
// commit: each entry's turn comes anyway.
static void ask_ahead(const struct listing *listing, const struct batch *batch)
{
    struct lock_name names[BATCH_ENTRIES];
    for (size_t i = 0; i < batch->count; i++)
        names[i] = lock_name_inode(batch->items[i].inode);
    cluster_lock_prefetch(listing->volume->locks, names, batch->count, LOCK_SHARED, 0);
}

// -ESTALE: it was removed since it was listed.
static int get_attributes(const struct listing *listing, const struct directory_item *item,
                          struct attributes *out)
{
    int result = operation_get_attributes(listing->volume, item->inode, out);
    if (result == 0 && item->generation != 0 && out->generation != item->generation)
        return -ESTALE;
    return result;
}

// 1: handed out, or gone since; 0: refused.
static int hand_out(struct listing *listing, const struct directory_item *item)
{
    struct attributes attributes;
    struct directory_entry entry = {
        .inode = item->inode,
        .generation = item->generation,
        .type = item->type,
        .cursor = item->cursor,
        .name = item->name,
    };
    bool is_stored = item->cursor > DIRECTORY_CURSOR_DOTDOT;
    if (listing->kind == LIST_ATTRIBUTES && is_stored) {
        // An inode that cannot be read was logged; its name is listed all the same.
        int result = get_attributes(listing, item, &attributes);
        entry.attributes = result == 0 ? &attributes : NULL;
        if (result == -ESTALE) {
            listing->cursor = item->cursor;
            return 1;
        }
    }
    if (!listing->emit(listing->context, &entry))
        return 0;
    listing->cursor = item->cursor;
    return 1;
}

static int list(struct listing *listing, struct batch *batch)
{
    int result = fill_batch(listing, batch);
    while (result == 0 && batch->count > 0) {
        int goes_on = 1;
        if (listing->kind != LIST_NAMES)
            ask_ahead(listing, batch);
        for (size_t i = 0; i < batch->count && goes_on == 1; i++)
            goes_on = hand_out(listing, &batch->items[i]);
        if (goes_on == 0)
            return 0;
        result = fill_batch(listing, batch);
    }
    return result;
}

int operation_read_directory(struct volume *volume, uint64_t number, uint64_t cursor,
                             enum directory_listing kind,
                             bool (*emit)(void *context, const struct directory_entry *entry),
                             void *context)
{
    struct listing listing = {volume, number, cursor, kind, emit, context};
    struct batch *batch = malloc(sizeof(*batch));
    CHECK(batch != NULL);
    int result = list(&listing, batch);
    free(batch);
    return result;
}
