// SPDX-License-Identifier: Apache-2.0
// Files that are made without a name (O_TMPFILE), and the name that such a file may get once.
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "fs/base/error.h"
#include "fs/operation.h"
#include "tests/sim/ring2_attempt.h"

static void check_created(struct ring2_client *client, int result)
{
    struct ring2_history *history = client->history;
    if (!ring2_goes_on(history) || (result == -ENOSPC && ring2_no_space(history, client->node)))
        return;
    if (result != 0)
        ring2_fail(history, "a file without a name: %d (%s)", result, error_text(result));
    ring2_did(history, RING2_ROW_create_unnamed);
}

void ring2_unnamed_create(struct ring2_client *client, struct ring2_handle *handle)
{
    unsigned directory = ring2_choose_directory(client);
    int flags = O_RDWR | (ring2_choose(client, 4) == 0 ? O_EXCL : 0);
    struct credentials who = {.uid = 1000, .gid = 100 + client->number};
    struct ring2_tree_node node = {
        .mode = S_IFREG | (mode_t)ring2_choose(client, 01000), .uid = who.uid, .gid = who.gid};
    struct attributes made = {0};
    struct open_file *open = NULL;
    node.file = ring2_history_new_file(client->history);
    if (node.file == NULL)
        return;
    ring2_inherit(&client->tree.nodes[directory], &node);
    handle->is_busy = true;
    int result =
        operation_create_unnamed(ring2_volume_of(client), ring2_inode_of(client, directory),
                                 node.mode, &who, flags, &made, &open);
    handle->is_busy = false;
    node.inode = node.file->inode = made.inode;
    if (result == 0) {
        ring2_handles_take(client, handle, open, node.file, made.inode, O_RDWR);
        handle->unnamed = node;
        handle->has_no_name = (flags & O_EXCL) == 0;
    }
    check_created(client, result);
}

static void refuse_link(struct ring2_client *client, const struct ring2_handle *handle,
                        unsigned directory, unsigned name)
{
    struct attributes out;
    int result = operation_link(ring2_volume_of(client), handle->inode,
                                ring2_inode_of(client, directory), ring2_name(name), &out);
    if (!ring2_goes_on(client->history))
        return;
    if (result != -ENOENT)
        ring2_fail(client->history, "link of a file that must stay without a name answered %d",
                   result);
    ring2_did(client->history, RING2_ROW_link_unnamed_refused);
}

void ring2_unnamed_link(struct ring2_client *client, struct ring2_handle *handle)
{
    struct ring2_attempt attempt = {.client = client, .what = "link of a file without a name"};
    unsigned directory = ring2_choose_directory(client), name = ring2_choose_name(client);
    struct attributes out;
    if (!handle->has_no_name) {
        refuse_link(client, handle, directory, name);
        return;
    }
    client->pending = client->tree;
    int expected = ring2_make(&client->pending, directory, name, &handle->unnamed, &attempt.node);
    if (!ring2_attempt_begin(&attempt, expected))
        return;
    if (expected == 0)
        client->pending.nodes[attempt.node] = handle->unnamed; // a name hands nothing down
    handle->is_busy = true;
    int result = operation_link(ring2_volume_of(client), handle->inode,
                                ring2_inode_of(client, directory), ring2_name(name), &out);
    handle->is_busy = false;
    if (!ring2_attempt_end(&attempt, result))
        return;
    handle->has_no_name = false;
    ring2_did(client->history, RING2_ROW_link_unnamed);
}

static ssize_t copy_from(struct ring2_client *client, struct open_file *from,
                         struct ring2_handle *handle, uint64_t offset, const void *buffer,
                         uint64_t length)
{
    struct volume *volume = ring2_volume_of(client);
    uint64_t place = ring2_choose(client, 3) * 1000;
    ssize_t result = operation_write(volume, from, place, buffer, length);
    if (result != (ssize_t)length)
        return result < 0 ? result : -ENOSPC;
    result = operation_copy(volume, from, place, handle->open, offset, length + 1);
    if (result == (ssize_t)length)
        ring2_did(client->history, RING2_ROW_copy);
    return result;
}

ssize_t ring2_unnamed_copy(struct ring2_client *client, struct ring2_handle *handle,
                           uint64_t offset, const void *buffer, uint64_t length)
{
    struct credentials who = {.uid = 0, .gid = 0};
    struct attributes made;
    struct open_file *from;
    ssize_t result = operation_create_unnamed(ring2_volume_of(client), client->top_inode, 0600,
                                              &who, O_RDWR, &made, &from);
    if (result != 0)
        return result;
    result = copy_from(client, from, handle, offset, buffer, length);
    operation_release(ring2_volume_of(client), from);
    return result;
}
