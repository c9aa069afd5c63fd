// SPDX-License-Identifier: Apache-2.0
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/base/cleanup.h"
#include "tests/crashlog/look.h"

static int look_at_content(int folder, const char *path, struct history_found *found)
{
    size_t room = (size_t)HISTORY_SECTORS_MAX * HISTORY_SECTOR_BYTES;
    CLEANUP_CLOSE int file = openat(folder, path, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return -errno;
    memset(found->content, 0, room);
    return pread(file, found->content, room, 0) < 0 ? -errno : 0;
}

static int look_at_name(int folder, uint32_t name, struct history_found *found)
{
    struct stat attributes;
    char path[HISTORY_PATH_BYTES];
    history_name_path(name, path);
    found->kind = 0;
    found->links = 0;
    memset(found->target, 0, sizeof(found->target));
    if (fstatat(folder, path, &attributes, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : -errno;
    found->links = (unsigned)attributes.st_nlink;
    found->size = (uint64_t)attributes.st_size;
    found->kind = history_kind_of(attributes.st_mode);
    if (found->kind == HISTORY_SYMLINK)
        return readlinkat(folder, path, found->target, sizeof(found->target) - 1) < 0 ? -errno : 0;
    return found->kind == HISTORY_CREATE ? look_at_content(folder, path, found) : 0;
}

static int count_entries(int folder, const char *path, unsigned *count)
{
    int opened = openat(folder, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *list = opened < 0 ? NULL : fdopendir(opened);
    const struct dirent *entry;
    if (list == NULL)
        return -errno;
    while ((entry = readdir(list)) != NULL)
        *count += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    closedir(list);
    return 0;
}

static int look_at_folder(int client_folder, unsigned number, struct history_view *view)
{
    char path[HISTORY_PATH_BYTES];
    unsigned listed = 0, known = 0;
    int result = 0;
    for (uint32_t i = 0; result == 0 && i < HISTORY_FOLDER_NAMES; i++) {
        uint32_t name = number * HISTORY_FOLDER_NAMES + i;
        result = look_at_name(client_folder, name, &view->found[name]);
        known += view->found[name].kind != 0;
    }
    snprintf(path, sizeof(path), "d%u", number);
    if (result == 0)
        result = count_entries(client_folder, path, &listed);
    view->has_strangers |= listed != known;
    return result;
}

int look_at_mount(const char *mount, uint32_t client, struct history_view *view)
{
    char path[HISTORY_PATH_BYTES];
    int result = 0;
    CLEANUP_CLOSE int top = open(mount, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    history_client_path(client, path);
    CLEANUP_CLOSE int folder = openat(top, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0)
        return -errno;
    view->has_strangers = false;
    for (unsigned i = 0; result == 0 && i < HISTORY_FOLDERS; i++)
        result = look_at_folder(folder, i, view);
    return result;
}
