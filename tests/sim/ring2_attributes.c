// SPDX-License-Identifier: Apache-2.0
// Modes, owners, times, extended attributes.
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "fs/acl.h"
#include "fs/base/check.h"
#include "fs/base/error.h"
#include "fs/operation.h"
#include "tests/sim/ring2_attempt.h"

enum {
    TIME_SET = 12345,
    XATTR_BYTES_MAX = 65536,
    GUARANTEED_BYTES = 10240, // fit in the smallest journal
};

// --- modes, owners, times ------------------------------------------------------------------------

static unsigned choose_change(struct ring2_client *client, struct ring2_tree_node *node,
                              struct attributes *wanted)
{
    struct stat *stat = &wanted->stat;
    switch (ring2_choose(client, 4)) {
    case 0:
        stat->st_atim.tv_sec = stat->st_mtim.tv_sec = stat->st_ctim.tv_sec = TIME_SET;
        return SET_ATIME | SET_MTIME | SET_CTIME;
    case 1:
        return SET_ATIME_NOW | SET_MTIME_NOW;
    case 2:
        if (!S_ISDIR(node->mode))
            node->mode &= ~(mode_t)(S_ISUID | ((node->mode & S_IXGRP) != 0 ? S_ISGID : 0));
        return SET_KILL_SUID;
    default:
        node->mode = (node->mode & S_IFMT) | (mode_t)ring2_choose(client, 010000);
        node->uid = (uid_t)ring2_choose(client, 5);
        node->gid = (gid_t)ring2_choose(client, 5);
        node->project = node->uid * 3 + node->gid;
        ring2_acl_follow_mode(node);
        stat->st_mode = node->mode;
        stat->st_uid = node->uid;
        stat->st_gid = node->gid;
        wanted->project = node->project;
        return SET_MODE | SET_UID | SET_GID | SET_PROJECT;
    }
}

static void count_change(struct ring2_history *history, unsigned fields)
{
    if ((fields & SET_MODE) != 0) {
        ring2_did(history, RING2_ROW_set_mode);
        ring2_did(history, RING2_ROW_set_owner);
        ring2_did(history, RING2_ROW_set_project);
    }
    if ((fields & SET_MTIME) != 0)
        ring2_did(history, RING2_ROW_set_times);
    if ((fields & SET_MTIME_NOW) != 0)
        ring2_did(history, RING2_ROW_set_times_now);
    if ((fields & SET_KILL_SUID) != 0)
        ring2_did(history, RING2_ROW_set_kill_suid);
}

static void change_attributes(struct ring2_client *client)
{
    struct ring2_attempt attempt = {.client = client, .what = "set attributes", .frees = true};
    struct ring2_tree_entry *entry = ring2_choose_entry(client);
    struct attributes wanted = {0}, out;
    if (entry == NULL || S_ISLNK(client->tree.nodes[entry->node].mode))
        return;
    client->pending = client->tree;
    attempt.node = entry->node;
    unsigned fields = choose_change(client, &client->pending.nodes[entry->node], &wanted);
    ring2_attempt_begin(&attempt, 0);
    int result = operation_set_attributes(
        ring2_volume_of(client), ring2_inode_of(client, entry->node), &wanted, fields, &out);
    if (!ring2_attempt_end(&attempt, result))
        return;
    count_change(client->history, fields);
    const struct ring2_tree_node *node = &client->tree.nodes[attempt.node];
    if (out.stat.st_mode != node->mode || out.stat.st_uid != node->uid ||
        out.stat.st_gid != node->gid || out.project != node->project)
        ring2_fail(client->history, "mode, owner or project are not what was set");
    if ((fields & SET_MTIME) != 0 &&
        (out.stat.st_mtim.tv_sec != TIME_SET || out.stat.st_ctim.tv_sec != TIME_SET))
        ring2_fail(client->history, "a time that was set is %lld",
                   (long long)out.stat.st_mtim.tv_sec);
}

// --- extended attributes -------------------------------------------------------------------------

static uint32_t choose_xattr_size(struct ring2_client *client, unsigned xattr)
{
    if (xattr != 1)
        return (uint32_t)(1 + ring2_choose(client, 60));
    return ring2_choose(client, 6) == 0 ? XATTR_BYTES_MAX
                                        : (uint32_t)(1000 + ring2_choose(client, 9000));
}

static void remove_xattr(struct ring2_client *client, unsigned entry_node, unsigned xattr)
{
    struct ring2_attempt attempt = {
        .client = client, .what = "removexattr", .node = entry_node, .frees = true};
    client->pending = client->tree;
    uint32_t *size = &client->pending.nodes[entry_node].xattr_sizes[xattr];
    ring2_attempt_begin(&attempt, *size == 0 ? -ENODATA : 0);
    *size = 0;
    if (ring2_attempt_end(&attempt, operation_remove_xattr(ring2_volume_of(client),
                                                           ring2_inode_of(client, entry_node),
                                                           ring2_xattr_name(xattr))))
        ring2_did(client->history, RING2_ROW_xattr_remove);
}

static int answer_of_set(uint32_t size_before, int flags)
{
    if (flags == XATTR_CREATE && size_before != 0)
        return -EEXIST;
    return flags == XATTR_REPLACE && size_before == 0 ? -ENODATA : 0;
}

static void count_set(struct ring2_history *history, int result, uint32_t size)
{
    if (result == -EEXIST)
        ring2_did(history, RING2_ROW_xattr_create_refused);
    else if (result == -ENODATA)
        ring2_did(history, RING2_ROW_xattr_replace_refused);
    else if (result == 0)
        ring2_did(history, size == XATTR_BYTES_MAX ? RING2_ROW_xattr_largest
                           : size >= 1000          ? RING2_ROW_xattr_large
                                                   : RING2_ROW_xattr_small);
}

static void set_xattr(struct ring2_client *client, unsigned entry_node, unsigned xattr)
{
    static const int all_flags[] = {0, 0, 0, XATTR_CREATE, XATTR_REPLACE};
    struct ring2_attempt attempt = {.client = client, .what = "setxattr", .node = entry_node};
    int flags = all_flags[ring2_choose(client, 5)];
    char *value = malloc(XATTR_BYTES_MAX + 1);
    CHECK(value != NULL);
    client->pending = client->tree;
    uint32_t *in_model = &client->pending.nodes[entry_node].xattr_sizes[xattr];
    uint32_t size = choose_xattr_size(client, xattr), before = *in_model;
    ring2_attempt_begin(&attempt, answer_of_set(before, flags));
    *in_model = size;
    ring2_text(value, size);
    int result = operation_set_xattr(ring2_volume_of(client), ring2_inode_of(client, entry_node),
                                     ring2_xattr_name(xattr), value, size, flags);
    free(value);
    if (result == -ERROR_JOURNAL_FULL && (size > GUARANTEED_BYTES || before > GUARANTEED_BYTES)) {
        client->has_pending = false;
        ring2_did(client->history, RING2_ROW_xattr_too_large);
        return;
    }
    ring2_attempt_end(&attempt, result);
    if (ring2_goes_on(client->history))
        count_set(client->history, result, size);
}

static void get_xattr(struct ring2_client *client, unsigned entry_node, unsigned xattr)
{
    uint32_t size = client->tree.nodes[entry_node].xattr_sizes[xattr];
    char *value = malloc(XATTR_BYTES_MAX), *expected = malloc(XATTR_BYTES_MAX + 1);
    CHECK(value != NULL && expected != NULL);
    ssize_t result =
        operation_get_xattr(ring2_volume_of(client), ring2_inode_of(client, entry_node),
                            ring2_xattr_name(xattr), value, XATTR_BYTES_MAX);
    ring2_text(expected, size);
    bool is_right = size == 0 ? result == -ENODATA
                              : result == (ssize_t)size && memcmp(value, expected, size) == 0;
    free(value);
    free(expected);
    if (!ring2_goes_on(client->history))
        return;
    if (!is_right)
        ring2_fail(client->history, "getxattr answered %zd, expected %u bytes", result, size);
    ring2_did(client->history, RING2_ROW_xattr_get);
}

static void list_xattrs(struct ring2_client *client, unsigned entry_node)
{
    char names[256];
    ssize_t expected = 0;
    for (unsigned i = 0; i < RING2_XATTRS; i++) {
        if (client->tree.nodes[entry_node].xattr_sizes[i] != 0)
            expected += (ssize_t)strlen(ring2_xattr_name(i)) + 1;
    }
    if (client->tree.nodes[entry_node].access.is_there)
        expected += (ssize_t)strlen(ACL_ACCESS_NAME) + 1;
    if (client->tree.nodes[entry_node].defaults.is_there)
        expected += (ssize_t)strlen(ACL_DEFAULT_NAME) + 1;
    ssize_t result = operation_list_xattr(
        ring2_volume_of(client), ring2_inode_of(client, entry_node), true, names, sizeof(names));
    if (!ring2_goes_on(client->history))
        return;
    if (result != expected)
        ring2_fail(client->history, "listxattr answered %zd, expected %zd", result, expected);
    ring2_did(client->history, RING2_ROW_xattr_list);
}

void ring2_attributes_step(struct ring2_client *client)
{
    struct ring2_tree_entry *entry = ring2_choose_entry(client);
    unsigned xattr = (unsigned)ring2_choose(client, RING2_XATTRS);
    uint64_t dice = ring2_choose(client, 13);
    if (entry == NULL || dice < 3)
        change_attributes(client);
    else if (dice >= 10)
        ring2_acl_step(client, entry->node);
    else if (dice < 5)
        remove_xattr(client, entry->node, xattr);
    else if (dice < 8)
        set_xattr(client, entry->node, xattr);
    else if (dice < 9)
        get_xattr(client, entry->node, xattr);
    else
        list_xattrs(client, entry->node);
}
