// SPDX-License-Identifier: Apache-2.0
// Inodes whose items are damaged, and directories that hold entries which cannot stay.
#include "fsck/check.h"
#include "fsck/rebuild.h"
#include "fsck/repair.h"

// Any of these may have entries in any directory: all of those are looked at.
static bool entries_are_suspect(const struct check *check)
{
    static const enum problem problems[] = {
        PROBLEM_INODE_BLOCK,       PROBLEM_DIRENT,           PROBLEM_DIRENT_HASH,
        PROBLEM_DIRENT_DOUBLE,     PROBLEM_DIRENT_TARGET,    PROBLEM_DIRENT_TYPE,
        PROBLEM_DIRENT_GENERATION, PROBLEM_DIRECTORY_DOUBLE,
    };
    for (size_t i = 0; i < sizeof(problems) / sizeof(problems[0]); i++) {
        if (check->problems.counts[problems[i]] > 0)
            return true;
    }
    return false;
}

int repair_trees(struct check *check)
{
    bool is_suspect = entries_are_suspect(check);
    const struct inode_record *root = inode_table_find(&check->inodes, check->geometry.root_inode);
    int result = 0;
    if (!(root->seen & INODE_SEEN_VALID))
        repair_make_root(check);
    for (size_t i = 0; i < check->inodes.count && result == 0; i++) {
        const struct inode_record *record = &check->inodes.records[i];
        struct rebuild_request request = {.check = check, .number = record->number};
        bool is_looked_at = record->seen & INODE_SEEN_BAD_TREE ||
                            (is_suspect && record->seen & INODE_SEEN_DIRECTORY);
        if (record->seen & INODE_SEEN_VALID && is_looked_at)
            result = rebuild_inode(&request);
    }
    return result;
}
