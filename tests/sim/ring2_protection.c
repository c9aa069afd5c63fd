// SPDX-License-Identifier: Apache-2.0
// Immutable and append-only inodes: made so, something refused, made as before. After a crash some
// may be left so.
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "fs/base/error.h"
#include "fs/format.h"
#include "fs/operation.h"
#include "tests/sim/ring2_attempt.h"

static bool protect(struct ring2_client *client, unsigned index, uint32_t protection)
{
    struct ring2_attempt attempt = {
        .client = client, .what = "protect", .node = index, .frees = true};
    struct attributes wanted = {.protection = protection}, out;
    client->pending = client->tree;
    client->pending.nodes[index].protection = protection;
    ring2_attempt_begin(&attempt, 0);
    struct ring2_file *file = client->tree.nodes[index].file;
    if (file != NULL)
        file->is_protected = false;
    int result = operation_set_attributes(ring2_volume_of(client), ring2_inode_of(client, index),
                                          &wanted, SET_PROTECTION, &out);
    if (!ring2_attempt_end(&attempt, result))
        return false;
    if (file != NULL)
        file->is_protected = protection != 0;
    if (out.protection != protection)
        ring2_fail(client->history, "protection is %#x and not %#x", out.protection, protection);
    return true;
}

// What both kinds refuse.
static int try_something(struct ring2_client *client, const struct ring2_tree_entry *entry)
{
    struct volume *volume = ring2_volume_of(client);
    uint64_t directory = ring2_inode_of(client, entry->directory);
    uint64_t inode = ring2_inode_of(client, entry->node);
    const char *name = ring2_name(entry->name);
    struct attributes wanted = {.stat = {.st_mode = 0111}}, out;
    struct open_file *file;
    bool is_directory = ring2_is_directory(&client->tree.nodes[entry->node]);
    switch (ring2_choose(client, 5)) {
    case 0:
        return is_directory ? operation_remove_directory(volume, directory, name)
                            : operation_unlink(volume, directory, name);
    case 1:
        return operation_rename(volume, directory, name, client->top_inode, "elsewhere", 0);
    case 2:
        return operation_set_attributes(volume, inode, &wanted, SET_MODE, &out);
    case 3:
        return operation_set_xattr(volume, inode, "user.other", "x", 1, 0);
    default:
        if (is_directory)
            return operation_link(volume, inode, client->top_inode, "elsewhere", &out);
        return operation_open(volume, inode, O_RDWR, &file);
    }
}

static int make_below(struct ring2_client *client, unsigned node)
{
    struct credentials who = {.uid = 0, .gid = 0};
    struct attributes made;
    return operation_make_directory(ring2_volume_of(client), ring2_inode_of(client, node),
                                    "not there", 0700, &who, &made);
}

static void be_refused(struct ring2_client *client, const struct ring2_tree_entry *entry,
                       uint32_t protection)
{
    bool makes = protection == INODE_FLAG_IMMUTABLE &&
                 ring2_is_directory(&client->tree.nodes[entry->node]) &&
                 ring2_choose(client, 2) == 0;
    int result = makes ? make_below(client, entry->node) : try_something(client, entry);
    if (!ring2_goes_on(client->history))
        return;
    if (result != -EPERM)
        ring2_fail(client->history, "a change of what is protected answered %d (%s)", result,
                   error_text(result));
    ring2_did(client->history, RING2_ROW_protected_refused);
}

void ring2_protection_step(struct ring2_client *client)
{
    struct ring2_tree_entry *found = ring2_choose_entry(client);
    if (found == NULL)
        return;
    const struct ring2_tree_entry entry = *found;
    mode_t mode = client->tree.nodes[entry.node].mode;
    uint32_t protection = ring2_choose(client, 2) == 0 ? INODE_FLAG_IMMUTABLE : INODE_FLAG_APPEND;
    if ((!S_ISREG(mode) && !S_ISDIR(mode)) || !protect(client, entry.node, protection))
        return;
    ring2_did(client->history, protection == INODE_FLAG_APPEND ? RING2_ROW_protect_append
                                                               : RING2_ROW_protect_immutable);
    if (ring2_choose(client, 2) == 0)
        ring2_client_sync(client);
    for (unsigned i = 0; i < 2 && ring2_goes_on(client->history); i++)
        be_refused(client, &entry, protection);
    if (ring2_goes_on(client->history))
        protect(client, entry.node, 0);
}

bool ring2_protection_undo(struct ring2_client *client)
{
    for (unsigned i = 0; i < RING2_NODES_MAX; i++) {
        if (client->tree.nodes[i].protection == 0)
            continue;
        protect(client, i, 0);
        return true;
    }
    return false;
}
