// SPDX-License-Identifier: Apache-2.0
// Opening and closing; what is done through an open handle is in ring2_files.c.
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "fs/base/error.h"
#include "fs/operation.h"
#include "tests/sim/ring2_attempt.h"

static struct ring2_handle *free_handle(struct ring2_client *client)
{
    for (int i = 0; i < RING2_HANDLES; i++) {
        if (client->handles[i].open == NULL)
            return &client->handles[i];
    }
    return NULL;
}

void ring2_handles_take(struct ring2_client *client, struct ring2_handle *handle,
                        struct open_file *open, struct ring2_file *file, uint64_t inode, int flags)
{
    *handle = (struct ring2_handle){
        .open = open, .file = file, .inode = inode, .flags = flags, .node = client->node};
}

bool ring2_is_open(const struct ring2_client *client, const struct ring2_file *file)
{
    for (int i = 0; file != NULL && i < RING2_HANDLES; i++) {
        if (client->handles[i].open != NULL && client->handles[i].file == file)
            return true;
    }
    return false;
}

static bool has_name(const struct ring2_client *client, const struct ring2_file *file)
{
    for (unsigned i = 0; i < RING2_NODES_MAX; i++) {
        if (client->tree.nodes[i].file == file)
            return true;
    }
    return false;
}

// --- O_CREAT -------------------------------------------------------------------------------------

static void create_and_open(struct ring2_client *client, struct ring2_handle *handle)
{
    struct ring2_attempt attempt = {.client = client, .what = "create"};
    unsigned directory = ring2_choose_directory(client), name = ring2_choose_name(client);
    struct credentials who = {.uid = 1000, .gid = 100 + client->number};
    struct ring2_tree_node node = {
        .mode = S_IFREG | (mode_t)ring2_choose(client, 01000), .uid = who.uid, .gid = who.gid};
    struct attributes made = {0};
    struct open_file *open = NULL;
    node.file = ring2_history_new_file(client->history);
    client->pending = client->tree;
    if (node.file == NULL || !ring2_attempt_begin(&attempt, ring2_make(&client->pending, directory,
                                                                       name, &node, &attempt.node)))
        return;
    handle->is_busy = true;
    int result = operation_create(ring2_volume_of(client), ring2_inode_of(client, directory),
                                  ring2_name(name), node.mode, 0, &who, O_RDWR | O_CREAT | O_EXCL,
                                  &made, &open);
    handle->is_busy = false;
    client->pending.nodes[attempt.node].inode = node.file->inode = made.inode;
    ring2_attempt_end(&attempt, result);
    if (result == 0)
        ring2_handles_take(client, handle, open, node.file, made.inode, O_RDWR);
    ring2_did(client->history, result == 0 ? RING2_ROW_create_open : RING2_ROW_create_exclusive);
}

static void create_existing(struct ring2_client *client, struct ring2_handle *handle,
                            const struct ring2_tree_entry *entry)
{
    struct credentials who = {.uid = 0, .gid = 0};
    struct attributes made = {0};
    struct open_file *open = NULL;
    const struct ring2_tree_node node = client->tree.nodes[entry->node];
    uint64_t directory = ring2_inode_of(client, entry->directory);
    handle->is_busy = true;
    int result = operation_create(ring2_volume_of(client), directory, ring2_name(entry->name),
                                  S_IFREG | 0600, 0, &who, O_RDWR | O_CREAT, &made, &open);
    handle->is_busy = false;
    if (result == 0)
        ring2_handles_take(client, handle, open, node.file, node.inode, O_RDWR);
    if (!ring2_goes_on(client->history))
        return;
    if (result != 0 || made.inode != node.inode)
        ring2_fail(client->history, "O_CREAT of a file that is there answered %d", result);
    ring2_did(client->history, RING2_ROW_create_open_existing);
}

// --- open and close ------------------------------------------------------------------------------

static void check_opened(struct ring2_client *client, uint64_t inode, int flags, int result)
{
    if (!ring2_goes_on(client->history))
        return;
    if (result != 0)
        ring2_fail(client->history, "open of inode %llu answered %d", (unsigned long long)inode,
                   result);
    ring2_did(client->history, (flags & O_TRUNC) != 0            ? RING2_ROW_open_truncate
                               : (flags & O_APPEND) != 0         ? RING2_ROW_open_append
                               : (flags & O_ACCMODE) == O_RDONLY ? RING2_ROW_open_read
                                                                 : RING2_ROW_open);
}

static void open_file_of(struct ring2_client *client, struct ring2_handle *handle,
                         const struct ring2_tree_node *node, int flags)
{
    struct open_file *open = NULL;
    struct ring2_data_operation *truncation = NULL;
    if ((flags & O_TRUNC) != 0) {
        if (!ring2_may_begin(node->file, RING2_TRUNCATE, 0, RING2_FILE_BYTES_MAX))
            return;
        truncation = ring2_begin(node->file, RING2_TRUNCATE, 0, RING2_FILE_BYTES_MAX);
    }
    handle->is_busy = true;
    int result = operation_open(ring2_volume_of(client), node->inode, flags, &open);
    handle->is_busy = false;
    if (result == 0)
        ring2_handles_take(client, handle, open, node->file, node->inode, flags);
    if (ring2_goes_on(client->history) && truncation != NULL && result == 0)
        ring2_end(node->file, truncation, RING2_FILE_BYTES_MAX);
    check_opened(client, node->inode, flags, result);
}

static void open_name(struct ring2_client *client, struct ring2_handle *handle)
{
    static const int all_flags[] = {O_RDWR,           O_RDWR,  O_RDWR, O_RDWR | O_APPEND,
                                    O_RDWR | O_TRUNC, O_RDONLY};
    struct ring2_tree_entry *entry = ring2_choose_entry(client);
    if (entry == NULL || client->tree.nodes[entry->node].file == NULL)
        return;
    const struct ring2_tree_node node = client->tree.nodes[entry->node];
    if (ring2_choose(client, 8) == 0)
        create_existing(client, handle, entry);
    else
        open_file_of(client, handle, &node, all_flags[ring2_choose(client, 6)]);
}

static void close_handle(struct ring2_client *client, struct ring2_handle *handle)
{
    struct ring2_history *history = client->history;
    struct open_file *open = handle->open;
    if (handle->lane_users > 0 || handle->is_busy)
        return;
    handle->open = NULL;
    client->node = handle->node;
    bool is_unlinked = !has_name(client, handle->file);
    int result = operation_release(ring2_volume_of(client), open);
    if (!ring2_goes_on(history) || (result == -ENOSPC && ring2_no_space(history, client->node)))
        return;
    if (result != 0)
        ring2_fail(history, "close of inode %llu answered %d", (unsigned long long)handle->inode,
                   result);
    ring2_did(history, is_unlinked ? RING2_ROW_close_unlinked : RING2_ROW_close);
}

void ring2_client_close_all(struct ring2_client *client)
{
    for (int i = 0; i < RING2_HANDLES; i++) {
        if (client->handles[i].open != NULL)
            close_handle(client, &client->handles[i]);
    }
}

void ring2_handles_step(struct ring2_client *client)
{
    struct ring2_handle *handle = &client->handles[ring2_choose(client, RING2_HANDLES)];
    if (handle->open == NULL) {
        struct ring2_handle *free_one = free_handle(client);
        uint64_t dice = ring2_choose(client, 8);
        if (dice == 0)
            ring2_unnamed_create(client, free_one);
        else if (dice < 4)
            create_and_open(client, free_one);
        else
            open_name(client, free_one);
        return;
    }
    bool is_unlinked = !has_name(client, handle->file);
    client->node = handle->node;
    if (ring2_choose(client, 12) == 0)
        close_handle(client, handle);
    else if (is_unlinked && ring2_choose(client, 12) == 0)
        ring2_unnamed_link(client, handle);
    else
        ring2_files_step(client, handle, is_unlinked);
}
