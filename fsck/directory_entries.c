// SPDX-License-Identifier: Apache-2.0
#include "fsck/directory_entries.h"

#include <dirent.h>
#include <string.h>

#include "fs/base/siphash.h"
#include "fs/base/text.h"
#include "fs/format_text.h"
#include "fsck/check.h"
#include "fsck/inode_items.h"

typedef unsigned long long ull;

enum { HASH_SHIFT = 9, COLLISION_MAX = 255 };

static void report(const struct inode_items *items, enum problem problem, uint64_t block,
                   const struct format_dirent *entry, const char *reason)
{
    TEXT(name, 4 * FORMAT_NAME_BYTES_MAX + 8);
    format_name_to_text(entry->name, entry->name_length, &name);
    problem_report(&items->check->problems, problem, block, "directory %llu, entry %s: %s",
                   (ull)items->number, name.bytes, reason);
}

// --- the name --------------------------------------------------------------------------------

static bool place_is_right(const struct inode_items *items, const struct format_item *item,
                           const struct format_dirent *entry)
{
    uint64_t hash = siphash24(items->check->geometry.hash_key, entry->name, entry->name_length);
    return item->key.major == hash >> HASH_SHIFT && item->key.minor <= COLLISION_MAX;
}

// Names of one hash follow each other, so only they need be compared.
static bool name_is_new(struct inode_items *items, const struct format_item *item,
                        const struct format_dirent *entry)
{
    if (item->key.major != items->entry_major) {
        items->entry_major = item->key.major;
        items->name_count = 0;
    }
    for (uint32_t i = 0; i < items->name_count; i++) {
        if (items->names[i].length == entry->name_length &&
            memcmp(items->names[i].bytes, entry->name, entry->name_length) == 0)
            return false;
    }
    if (items->name_count < SAME_HASH_NAMES_MAX) {
        items->names[items->name_count].length = entry->name_length;
        memcpy(items->names[items->name_count].bytes, entry->name, entry->name_length);
        items->name_count++;
    }
    return true;
}

// --- the target ------------------------------------------------------------------------------

// Not looked at yet and not met before: the entry's word is taken, and checked when it is read.
static bool is_new(const struct inode_record *record)
{
    return record->links_found == 0 && !(record->seen & (INODE_SEEN_VALID | INODE_SEEN_LISTED));
}

void directory_promise_compare(struct check *check, const struct directory_promise *promise,
                               uint64_t inode, uint8_t type, uint64_t generation)
{
    if (promise->type != type)
        problem_report(&check->problems, PROBLEM_DIRENT_TYPE, promise->block,
                       "inode %llu is of another type than its entry in directory %llu says",
                       (ull)inode, (ull)promise->directory);
    if (promise->generation != generation)
        problem_report(&check->problems, PROBLEM_DIRENT_GENERATION, promise->block,
                       "inode %llu has generation %llu, its entry in directory %llu says %llu",
                       (ull)inode, (ull)generation, (ull)promise->directory,
                       (ull)promise->generation);
}

// The first entry that names it decides what is expected of it.
static void take_link(struct inode_items *items, uint64_t hash, const struct format_dirent *entry)
{
    struct inode_record *record = inode_table_find(&items->check->inodes, entry->inode);
    if (record->links_found++ == 0) {
        record->linked_from = items->number;
        record->linked_hash = hash;
    }
    record->seen |= INODE_SEEN_LINKED;
    if (entry->type == DT_DIR)
        inode_table_find(&items->check->inodes, items->number)->subdirectories_found++;
}

static void take_target(struct inode_items *items, uint64_t block,
                        const struct format_dirent *entry)
{
    struct check *check = items->check;
    struct inode_record *record = inode_table_add(&check->inodes, entry->inode);
    if (is_new(record)) {
        record->generation = entry->generation;
        record->type = entry->type;
    } else if (check->online == NULL) {
        struct directory_promise promise = {
            .type = entry->type,
            .generation = entry->generation,
            .block = block,
            .directory = items->number,
        };
        directory_promise_compare(check, &promise, entry->inode, record->type, record->generation);
    }
    if (entry->type == DT_DIR && check->online == NULL &&
        (record->links_found > 0 || record->seen & INODE_SEEN_ROOT))
        report(items, PROBLEM_DIRECTORY_DOUBLE, block, entry, "it is linked elsewhere already");
}

void directory_entries_take(struct inode_items *items, uint64_t block,
                            const struct format_item *item)
{
    struct format_dirent entry;
    const char *reason = NULL;
    items->entry_count++;
    if (format_dirent_decode(item, &entry, &reason) < 0) {
        problem_report(&items->check->problems, PROBLEM_DIRENT, block, "directory %llu: %s",
                       (ull)items->number, reason);
        return;
    }
    if (!place_is_right(items, item, &entry))
        report(items, PROBLEM_DIRENT_HASH, block, &entry, "its key is not its name's hash");
    if (!name_is_new(items, item, &entry))
        report(items, PROBLEM_DIRENT_DOUBLE, block, &entry, "it was there already");
    if (!geometry_is_data_range(&items->check->geometry, entry.inode, 1)) {
        report(items, PROBLEM_DIRENT_TARGET, block, &entry, "its inode's number is out of range");
        return;
    }
    take_target(items, block, &entry);
    take_link(items, item->key.major, &entry);
}
