// SPDX-License-Identifier: Apache-2.0
// Assumes the whole inode table. Compares what each inode says of its place in the tree of
// directories with what was found: parents, link counts, orphan lists. Reads nothing.
#include "fsck/check.h"

typedef unsigned long long ull;

// --- the way to the root -----------------------------------------------------------------------

static struct inode_record *directory_of(struct check *check, const struct inode_record *record)
{
    bool has_none = record->seen & INODE_SEEN_ROOT || record->links_found == 0;
    return has_none ? NULL : inode_table_find(&check->inodes, record->linked_from);
}

// Follows the names up. A directory that comes upon itself stands in a circle of lost ones, and is
// the one that gets a new name.
static void find_way(struct check *check, struct inode_record *record)
{
    struct inode_record *at = record;
    while (at != NULL && !(at->seen & (INODE_SEEN_HAS_WAY | INODE_SEEN_ON_WAY))) {
        at->seen |= INODE_SEEN_ON_WAY;
        at = directory_of(check, at);
    }
    if (at != NULL && at->seen & INODE_SEEN_ON_WAY)
        at->seen |= INODE_SEEN_LOST;
    for (at = record; at != NULL && at->seen & INODE_SEEN_ON_WAY; at = directory_of(check, at))
        at->seen = (uint16_t)((at->seen & ~INODE_SEEN_ON_WAY) | INODE_SEEN_HAS_WAY);
}

static void find_lost(struct check *check, struct inode_record *record)
{
    bool has_name = record->links_found > 0 || record->seen & INODE_SEEN_ROOT;
    if (!has_name && record->link_count > 0)
        record->seen |= INODE_SEEN_LOST;
    if (has_name && record->seen & INODE_SEEN_FOUND && record->seen & INODE_SEEN_DIRECTORY)
        find_way(check, record);
    if (record->seen & INODE_SEEN_LOST)
        problem_report(&check->problems, PROBLEM_INODE_LOST, record->number,
                       "inode %llu, with %u links", (ull)record->number, record->link_count);
}

// --- links and parents -------------------------------------------------------------------------

static void compare_links(struct check *check, const struct inode_record *record)
{
    uint32_t wanted = inode_record_links_wanted(record);
    if (record->link_count != wanted && !(record->seen & INODE_SEEN_LOST))
        problem_report(&check->problems, PROBLEM_LINK_COUNT, record->number,
                       "inode %llu says %u, has %u", (ull)record->number, record->link_count,
                       wanted);
}

static void compare_parent(struct check *check, const struct inode_record *record)
{
    uint64_t wanted = inode_record_parent_wanted(record);
    if (record->parent != wanted && !(record->seen & INODE_SEEN_LOST))
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
    progress_begin(&check->progress, "links", NULL);
    for (size_t i = 0; i < check->inodes.count; i++) {
        if (check->inodes.records[i].seen & INODE_SEEN_VALID)
            find_lost(check, &check->inodes.records[i]);
    }
    for (size_t i = 0; i < check->inodes.count; i++) {
        const struct inode_record *record = &check->inodes.records[i];
        if (!(record->seen & INODE_SEEN_VALID))
            continue;
        compare_links(check, record);
        compare_parent(check, record);
        compare_orphan(check, record);
    }
}
