// SPDX-License-Identifier: Apache-2.0
// Assumes the whole inode table. Compares what each inode says of its place in the tree of
// directories with what was found: parents, link counts, orphan lists. Reads nothing.
#include "fsck/check.h"

typedef unsigned long long ull;

static bool is_directory(const struct inode_record *record)
{
    return record->seen & INODE_SEEN_DIRECTORY;
}

// A directory has one name, "." and the ".." of each of its own; the root has its own "..".
static uint32_t links_wanted(const struct inode_record *record)
{
    if (!is_directory(record))
        return record->links_found;
    bool is_root = record->seen & INODE_SEEN_ROOT;
    bool is_linked = is_root || record->links_found > 0;
    return is_linked ? 2 + record->subdirectories_found : 0;
}

static void compare_links(struct check *check, const struct inode_record *record)
{
    uint32_t wanted = links_wanted(record);
    if (record->link_count != wanted)
        problem_report(&check->problems, PROBLEM_LINK_COUNT, record->number,
                       "inode %llu says %u, has %u", (ull)record->number, record->link_count,
                       wanted);
}

static void compare_parent(struct check *check, const struct inode_record *record)
{
    uint64_t wanted = record->seen & INODE_SEEN_ROOT ? record->number : record->linked_from;
    if (!is_directory(record) || wanted == 0 || record->parent == wanted)
        return;
    problem_report(&check->problems, PROBLEM_DIRECTORY_PARENT, record->number,
                   "directory %llu says %llu, stands in %llu", (ull)record->number,
                   (ull)record->parent, (ull)wanted);
}

static void compare_orphan(struct check *check, const struct inode_record *record)
{
    bool is_listed = record->seen & INODE_SEEN_LISTED;
    bool is_marked = record->seen & INODE_SEEN_ORPHAN;
    if (is_listed && (!is_marked || record->slot != record->listed_by))
        problem_report(&check->problems, PROBLEM_ORPHAN_UNMARKED, record->number,
                       "inode %llu, list of slot %u", (ull)record->number, record->listed_by);
    else if (is_marked && !is_listed)
        problem_report(&check->problems, PROBLEM_ORPHAN_UNLISTED, record->number,
                       "inode %llu, list of slot %u", (ull)record->number, record->slot);
    else if (is_listed)
        problem_report(&check->problems, PROBLEM_ORPHAN, record->number,
                       record->link_count == 0 ? "inode %llu is to be deleted"
                                               : "inode %llu is to be truncated",
                       (ull)record->number);
}

void pass4_directories(struct check *check)
{
    progress_begin(&check->progress, "links");
    for (size_t i = 0; i < check->inodes.count; i++) {
        const struct inode_record *record = &check->inodes.records[i];
        if (!(record->seen & INODE_SEEN_VALID))
            continue;
        compare_links(check, record);
        compare_parent(check, record);
        compare_orphan(check, record);
    }
}
