// SPDX-License-Identifier: Apache-2.0
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "fs/operation.h"
#include "tests/crashlog/look.h"
#include "tests/sim/ring2_node.h"

struct node_look {
    struct ring2_node *node;
    struct volume *volume;
    struct history_view *view;
    uint32_t client;
    int result;
};

static int look_at_content(struct node_look *look, uint64_t inode, struct history_found *found)
{
    size_t room = (size_t)HISTORY_SECTORS_MAX * HISTORY_SECTOR_BYTES;
    struct open_file *file;
    int result = operation_open(look->volume, inode, O_RDONLY, &file);
    if (result < 0)
        return result;
    memset(found->content, 0, room);
    ssize_t done = operation_read(look->volume, file, 0, found->content, room);
    if (done >= 0 && (uint64_t)done < found->size && found->size <= room)
        done = -EIO;
    if (done >= 0)
        memset(found->content + done, 0, room - (size_t)done);
    result = operation_release(look->volume, file);
    return done < 0 ? (int)done : result;
}

static int look_at_target(struct node_look *look, uint64_t inode, struct history_found *found)
{
    char target[4096];
    int result = operation_read_link(look->volume, inode, target);
    if (result == 0)
        snprintf(found->target, sizeof(found->target), "%.*s", HISTORY_PATH_BYTES - 1, target);
    return result;
}

static int look_at_name(struct node_look *look, uint64_t folder, uint32_t name)
{
    struct history_found *found = &look->view->found[name];
    struct attributes attributes;
    char path[HISTORY_PATH_BYTES];
    history_name_path(name, path);
    found->kind = 0;
    found->links = 0;
    found->target[0] = '\0';
    int result = operation_lookup(look->volume, folder, strchr(path, '/') + 1, &attributes);
    if (result != 0)
        return result == -ENOENT ? 0 : result;
    found->links = (unsigned)attributes.stat.st_nlink;
    found->size = (uint64_t)attributes.stat.st_size;
    found->kind = history_kind_of(attributes.stat.st_mode);
    if (found->kind == HISTORY_SYMLINK)
        return look_at_target(look, attributes.inode, found);
    return found->kind == HISTORY_CREATE ? look_at_content(look, attributes.inode, found) : 0;
}

static bool count_entry(void *context, const struct directory_entry *entry)
{
    unsigned *count = context;
    *count += strcmp(entry->name, ".") != 0 && strcmp(entry->name, "..") != 0;
    return true;
}

// The folder lists the names that look-ups found, and no others.
static int look_at_folder(struct node_look *look, uint64_t parent, unsigned number)
{
    struct attributes attributes;
    char path[HISTORY_PATH_BYTES];
    unsigned listed = 0, known = 0;
    snprintf(path, sizeof(path), "d%u", number);
    int result = operation_lookup(look->volume, parent, path, &attributes);
    for (uint32_t i = 0; result == 0 && i < HISTORY_FOLDER_NAMES; i++) {
        uint32_t name = number * HISTORY_FOLDER_NAMES + i;
        result = look_at_name(look, attributes.inode, name);
        known += look->view->found[name].kind != 0;
    }
    if (result == 0)
        result = operation_read_directory(look->volume, attributes.inode, 0, LIST_NAMES,
                                          count_entry, &listed);
    look->view->has_strangers |= listed != known;
    return result;
}

static void look_body(void *argument)
{
    struct node_look *look = argument;
    struct attributes attributes;
    char path[HISTORY_PATH_BYTES];
    history_client_path(look->client, path);
    look->result =
        operation_lookup(look->volume, look->volume->geometry.root_inode, path, &attributes);
    for (unsigned i = 0; look->result == 0 && i < HISTORY_FOLDERS; i++)
        look->result = look_at_folder(look, attributes.inode, i);
}

int look_at_node(struct ring2_node *node, uint32_t client, struct history_view *view)
{
    struct node_look look = {.node = node, .volume = node->volume, .view = view, .client = client};
    view->has_strangers = false;
    ring2_run(node->world, look_body, &look);
    return look.result;
}
