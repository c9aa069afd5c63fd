// SPDX-License-Identifier: Apache-2.0
#include "tests/crashlog/history.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fs/base/cleanup.h"

int history_load(struct history *history, const char *path)
{
    CLEANUP_CLOSE int file = open(path, O_RDONLY | O_CLOEXEC);
    struct stat found;
    if (file < 0 || fstat(file, &found) < 0)
        return -errno;
    size_t size = (size_t)found.st_size;
    history->count = (unsigned)(size / sizeof(struct history_operation));
    if (history->count == 0 || history->count > HISTORY_OPERATIONS_MAX)
        return -EINVAL;
    history->operations = malloc(size);
    if (history->operations == NULL)
        return -ENOMEM;
    if (read(file, history->operations, size) != (ssize_t)size)
        return -EIO;
    history->client = history->operations[0].client;
    return history->operations[0].kind == HISTORY_BEGIN ? 0 : -EINVAL;
}

void history_name_path(uint32_t name, char path[HISTORY_PATH_BYTES])
{
    snprintf(path, HISTORY_PATH_BYTES, "d%u/n%u", name / HISTORY_FOLDER_NAMES,
             name % HISTORY_FOLDER_NAMES);
}

void history_client_path(uint32_t client, char path[HISTORY_PATH_BYTES])
{
    snprintf(path, HISTORY_PATH_BYTES, "client-%u", client);
}

void history_target(uint32_t object, char target[HISTORY_PATH_BYTES])
{
    snprintf(target, HISTORY_PATH_BYTES, "object-%u", object);
}

// --- content ---------------------------------------------------------------------------------

enum { SECTOR_WORDS = HISTORY_SECTOR_BYTES / 4 };

void history_sector_fill(void *sector, uint32_t client, uint32_t object, uint32_t number,
                         uint32_t version)
{
    uint32_t words[SECTOR_WORDS] = {version, client, object, number};
    for (uint32_t i = 4; i < SECTOR_WORDS; i++)
        words[i] = (version * 2654435761u) ^ (object << 20) ^ (number << 8) ^ i;
    memcpy(sector, words, sizeof(words));
}

uint32_t history_sector_version(const void *sector, uint32_t client, uint32_t object,
                                uint32_t number)
{
    static const uint8_t zeros[HISTORY_SECTOR_BYTES];
    uint8_t expected[HISTORY_SECTOR_BYTES];
    uint32_t version;
    if (memcmp(sector, zeros, sizeof(zeros)) == 0)
        return 0;
    memcpy(&version, sector, sizeof(version));
    history_sector_fill(expected, client, object, number, version);
    return memcmp(sector, expected, sizeof(expected)) == 0 && version != 0 ? version
                                                                           : HISTORY_SECTOR_FOREIGN;
}

// --- names -----------------------------------------------------------------------------------

static void move(struct history_tree *tree, uint32_t from, uint32_t to)
{
    tree->objects[to] = tree->objects[from];
    tree->kinds[to] = tree->kinds[from];
}

static void clear(struct history_tree *tree, uint32_t name)
{
    tree->objects[name] = 0;
    tree->kinds[name] = 0;
}

void history_tree_apply(struct history_tree *tree, const struct history_operation *operation)
{
    struct history_tree before = *tree;
    uint32_t name = operation->name, other = operation->other;
    switch ((enum history_kind)operation->kind) {
    case HISTORY_CREATE:
    case HISTORY_MKDIR:
    case HISTORY_SYMLINK:
        tree->objects[name] = operation->object;
        tree->kinds[name] = (uint8_t)operation->kind;
        break;
    case HISTORY_LINK:
        move(tree, name, other);
        break;
    case HISTORY_UNLINK:
    case HISTORY_RMDIR:
        clear(tree, name);
        break;
    case HISTORY_RENAME:
        move(tree, name, other);
        clear(tree, name);
        break;
    case HISTORY_EXCHANGE:
        move(tree, name, other);
        tree->objects[name] = before.objects[other];
        tree->kinds[name] = before.kinds[other];
        break;
    case HISTORY_BEGIN:
    case HISTORY_WRITE:
    case HISTORY_TRUNCATE:
    case HISTORY_FSYNC:
    case HISTORY_SYNC_NAMES:
        break;
    }
}

uint8_t history_kind_of(mode_t mode)
{
    if (S_ISDIR(mode))
        return HISTORY_MKDIR;
    return S_ISLNK(mode) ? HISTORY_SYMLINK : HISTORY_CREATE;
}

unsigned history_tree_links(const struct history_tree *tree, uint32_t object)
{
    unsigned links = 0;
    for (uint32_t name = 0; name < HISTORY_NAMES; name++)
        links += tree->objects[name] == object;
    return links;
}
