// SPDX-License-Identifier: Apache-2.0
#include "fsck/rebuild_entries.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/check.h"
#include "fs/base/memory.h"
#include "fs/base/siphash.h"
#include "fsck/check.h"
#include "fsck/tree_build.h"

enum { HASH_SHIFT = 9 };

void rebuild_entries_deinit(struct rebuild_entries *entries)
{
    for (size_t i = 0; i < entries->count; i++) {
        struct inode_record *record =
            inode_table_find(&entries->check->inodes, entries->entries[i].inode);
        if (record != NULL)
            record->seen &= (uint16_t)~INODE_SEEN_KEPT;
    }
    free(entries->entries);
}

static uint64_t hash_of(const struct check *check, const uint8_t *name, size_t length)
{
    return siphash24(check->geometry.hash_key, name, length) >> HASH_SHIFT;
}

static struct rebuild_entry *new_entry(struct rebuild_entries *entries)
{
    if (entries->count == entries->capacity) {
        entries->capacity = entries->capacity == 0 ? 64 : entries->capacity * 2;
        entries->entries =
            memory_resize(entries->entries, entries->capacity, sizeof(*entries->entries));
    }
    return &entries->entries[entries->count++];
}

// --- which stay ------------------------------------------------------------------------------

// A directory stands in one place: where it was met first, on the way from the root. So no circle
// can come of it.
static bool is_the_place(struct inode_record *record, uint64_t directory)
{
    if (record->type != DT_DIR)
        return true;
    if (record->seen & (INODE_SEEN_ROOT | INODE_SEEN_KEPT) || record->linked_from != directory)
        return false;
    record->seen |= INODE_SEEN_KEPT;
    return true;
}

// An entry of another generation is one of a former owner of the number, if the present one has a
// name elsewhere.
static bool is_its_name(const struct inode_record *record, const struct format_dirent *dirent)
{
    return record->generation == dirent->generation || record->links_found == 1;
}

static struct inode_record *target_of(const struct rebuild_entries *entries,
                                      const struct format_dirent *dirent)
{
    struct inode_record *record = inode_table_find(&entries->check->inodes, dirent->inode);
    bool stays = record != NULL && record->seen & INODE_SEEN_VALID && is_its_name(record, dirent) &&
                 is_the_place(record, entries->directory);
    return stays ? record : NULL;
}

void rebuild_entries_take(struct rebuild_entries *entries, const struct format_item *item)
{
    struct format_dirent dirent;
    struct inode_record *record = NULL;
    if (format_dirent_decode(item, &dirent, NULL) == 0)
        record = target_of(entries, &dirent);
    if (record == NULL) {
        entries->is_changed = true;
        return;
    }
    struct rebuild_entry *entry = new_entry(entries);
    *entry = (struct rebuild_entry){
        .hash = hash_of(entries->check, dirent.name, dirent.name_length),
        .order = item->key.minor,
        .inode = dirent.inode,
        .generation = record->generation,
        .type = record->type,
        .name_length = dirent.name_length,
    };
    memcpy(entry->name, dirent.name, dirent.name_length);
    if (entry->hash != item->key.major || item->key.minor > UINT8_MAX ||
        entry->generation != dirent.generation || entry->type != dirent.type)
        entries->is_changed = true;
}

void rebuild_entries_add(struct rebuild_entries *entries, const struct rebuild_entry *entry)
{
    struct rebuild_entry *own = new_entry(entries);
    *own = *entry;
    own->hash = hash_of(entries->check, entry->name, entry->name_length);
    own->order = UINT64_MAX; // behind those that were there
    entries->new_count++;
    entries->is_changed = true;
}

bool rebuild_entries_have(const struct rebuild_entries *entries, const char *name)
{
    for (size_t i = 0; i < entries->count - entries->new_count; i++) {
        const struct rebuild_entry *entry = &entries->entries[i];
        if (entry->name_length == strlen(name) &&
            memcmp(entry->name, name, entry->name_length) == 0)
            return true;
    }
    return false;
}

// --- giving them -----------------------------------------------------------------------------

static int compare_entries(const void *a, const void *b)
{
    const struct rebuild_entry *x = a, *y = b;
    if (x->hash != y->hash)
        return x->hash < y->hash ? -1 : 1;
    if (x->order != y->order)
        return x->order < y->order ? -1 : 1;
    return x->inode < y->inode ? -1 : x->inode > y->inode;
}

// Among those of the same hash before it.
static bool name_was_there(const struct rebuild_entries *entries, size_t index)
{
    const struct rebuild_entry *entry = &entries->entries[index];
    for (size_t i = index; i-- > 0 && entries->entries[i].hash == entry->hash;) {
        const struct rebuild_entry *before = &entries->entries[i];
        if (before->name_length == entry->name_length &&
            memcmp(before->name, entry->name, entry->name_length) == 0)
            return true;
    }
    return false;
}

static void give(const struct rebuild_entry *entry, uint32_t minor, struct tree_build_items *items)
{
    uint8_t value[sizeof(struct dirent_disk) + FORMAT_NAME_BYTES_MAX];
    struct format_key key = {.kind = ITEM_DIRENT, .major = entry->hash, .minor = minor};
    struct dirent_disk head = {
        .inode = le64_make(entry->inode),
        .generation = le64_make(entry->generation),
        .type = entry->type,
        .name_length = entry->name_length,
    };
    memcpy(value, &head, sizeof(head));
    memcpy(value + sizeof(head), entry->name, entry->name_length);
    tree_build_items_add(items, &key, value, (uint16_t)(sizeof(head) + entry->name_length));
}

// Collision numbers stay as they are where they can: they are seek positions, too.
void rebuild_entries_give(struct rebuild_entries *entries, struct tree_build_items *items)
{
    uint64_t minor = 0;
    if (entries->count > 1)
        qsort(entries->entries, entries->count, sizeof(*entries->entries), compare_entries);
    for (size_t i = 0; i < entries->count; i++) {
        const struct rebuild_entry *entry = &entries->entries[i];
        if (i == 0 || entry->hash != entry[-1].hash)
            minor = 0;
        if (name_was_there(entries, i) || minor > UINT8_MAX) {
            entries->is_changed = true;
            continue;
        }
        if (entry->order > minor && entry->order <= UINT8_MAX)
            minor = entry->order;
        give(entry, (uint32_t)minor++, items);
    }
}
