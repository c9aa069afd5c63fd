// SPDX-License-Identifier: Apache-2.0
// Inodes without a name get one: /lost+found/#NUMBER. What stands in a lost directory keeps its
// names there. Counts of links and parents are put right by the next stage.
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fs/base/check.h"
#include "fsck/block_reader.h"
#include "fsck/check.h"
#include "fsck/rebuild.h"
#include "fsck/repair.h"
#include "fsck/tree_walk.h"

typedef unsigned long long ull;

static const char lost_and_found[] = "lost+found";

// --- the directory ---------------------------------------------------------------------------

struct search {
    const char *name;
    uint64_t inode; // 0: not found
    uint8_t type;
};

static bool compare_name(struct tree_walk *walk, uint64_t block, const struct format_item *item)
{
    struct search *search = walk->context;
    struct format_dirent entry;
    (void)block;
    if (item->key.kind == ITEM_DIRENT && format_dirent_decode(item, &entry, NULL) == 0 &&
        entry.name_length == strlen(search->name) &&
        memcmp(entry.name, search->name, entry.name_length) == 0) {
        search->inode = entry.inode;
        search->type = entry.type;
    }
    return search->inode == 0;
}

static int find_in_root(struct check *check, struct search *search)
{
    struct inode_disk disk;
    uint64_t root = check->geometry.root_inode;
    int result = block_reader_read_verified(check->reader, BLOCK_TYPE_INODE, root, root, &disk);
    struct tree_walk walk = {
        .check = check,
        .root_block = root,
        .area = disk.root,
        .area_bytes = sizeof(disk.root),
        .owner = root,
        .item = compare_name,
        .context = search,
    };
    if (result == 0)
        tree_walk_run(&walk);
    return result;
}

static int make_directory(struct check *check, const char *name, uint64_t *number)
{
    uint64_t root = check->geometry.root_inode;
    struct repair_directory directory = {
        .number = space_pool_take(&check->pool),
        .generation = environment_random_u64(check->environment) | 1,
        .parent = root,
        .permissions = 0700,
    };
    struct rebuild_name entry = {
        .inode = directory.number, .generation = directory.generation, .type = DT_DIR};
    struct rebuild_request request = {
        .check = check, .number = root, .names = &entry, .name_count = 1};
    if (directory.number == 0)
        return -ENOSPC;
    snprintf(entry.name, sizeof(entry.name), "%s", name);
    repair_make_directory(check, &directory);
    change_log_barrier(&check->changes);
    *number = directory.number;
    return rebuild_inode(&request);
}

// If lost+found is no directory there, the first of lost+found-1, ... that is one or is free.
static int find_directory(struct check *check, uint64_t *number)
{
    char name[32];
    for (unsigned i = 0;; i++) {
        struct search search = {.name = name};
        snprintf(name, sizeof(name), i == 0 ? "%s" : "%s-%u", lost_and_found, i);
        int result = find_in_root(check, &search);
        if (result < 0)
            return result;
        if (search.inode == 0)
            return make_directory(check, name, number);
        *number = search.inode;
        if (search.type == DT_DIR)
            return 0;
    }
}

// --- the names -------------------------------------------------------------------------------

static void name_lost(struct check *check, const struct inode_record *record,
                      struct rebuild_name *name)
{
    *name = (struct rebuild_name){
        .inode = record->number, .generation = record->generation, .type = record->type};
    snprintf(name->name, sizeof(name->name), "#%llu", (ull)record->number);
    check_tell(check, "inode %llu is now /%s/%s", (ull)record->number, lost_and_found, name->name);
}

int repair_names(struct check *check)
{
    struct rebuild_request request = {.check = check};
    struct rebuild_name *names =
        calloc(check->problems.counts[PROBLEM_INODE_LOST] + 1, sizeof(*names));
    CHECK(names != NULL);
    int result = find_directory(check, &request.number);
    for (size_t i = 0; i < check->inodes.count && result == 0; i++) {
        if (check->inodes.records[i].seen & INODE_SEEN_LOST)
            name_lost(check, &check->inodes.records[i], &names[request.name_count++]);
    }
    request.names = names;
    if (result == 0)
        result = rebuild_inode(&request);
    free(names);
    return result;
}
