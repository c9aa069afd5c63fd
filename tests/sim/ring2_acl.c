// SPDX-License-Identifier: Apache-2.0
// Access control lists: set, taken away, refused; what they do to modes and to new files is in the
// model of the tree.
#include <errno.h>
#include <sys/stat.h>

#include "fs/acl.h"
#include "fs/base/error.h"
#include "fs/operation.h"
#include "tests/sim/ring2_attempt.h"

static struct ring2_acl choose_acl(struct ring2_client *client)
{
    uint64_t dice = ring2_choose(client, 8 * 8 * 8 * 8 * 8);
    return (struct ring2_acl){
        .is_there = true,
        .owner = dice & 7,
        .named = dice >> 3 & 7,
        .group = dice >> 6 & 7,
        .mask = dice >> 9 & 7,
        .others = dice >> 12 & 7,
    };
}

static int set_on(struct ring2_client *client, unsigned node, const char *name, const void *value,
                  size_t size)
{
    return operation_set_xattr(ring2_volume_of(client), ring2_inode_of(client, node), name, value,
                               size, 0);
}

static void set_access(struct ring2_client *client, unsigned index)
{
    struct ring2_attempt attempt = {.client = client, .what = "set an access list", .node = index};
    bool is_whole = ring2_choose(client, 4) != 0;
    uint8_t value[RING2_ACL_BYTES_MAX];
    client->pending = client->tree;
    struct ring2_tree_node *node = &client->pending.nodes[index];
    node->access = choose_acl(client);
    node->access.is_there = is_whole;
    ring2_mode_follow_acl(node);
    size_t size = ring2_acl_value(&node->access, is_whole, value);
    ring2_attempt_begin(&attempt, 0);
    if (ring2_attempt_end(&attempt, set_on(client, index, ACL_ACCESS_NAME, value, size)))
        ring2_did(client->history, is_whole ? RING2_ROW_acl_access : RING2_ROW_acl_access_as_mode);
}

static void set_defaults(struct ring2_client *client, unsigned index)
{
    struct ring2_attempt attempt = {.client = client, .what = "set a default list", .node = index};
    uint8_t value[RING2_ACL_BYTES_MAX];
    client->pending = client->tree;
    struct ring2_tree_node *node = &client->pending.nodes[index];
    int expected = S_ISDIR(node->mode) ? 0 : -EACCES;
    node->defaults = choose_acl(client);
    size_t size = ring2_acl_value(&node->defaults, true, value);
    ring2_attempt_begin(&attempt, expected);
    int result = set_on(client, index, ACL_DEFAULT_NAME, value, size);
    if (ring2_attempt_end(&attempt, result) || result == -EACCES)
        ring2_did(client->history,
                  result == 0 ? RING2_ROW_acl_default : RING2_ROW_acl_default_refused);
}

static void remove_lists(struct ring2_client *client, unsigned index)
{
    struct ring2_attempt attempt = {
        .client = client, .what = "take a list away", .node = index, .frees = true};
    bool is_default = ring2_choose(client, 2) == 0;
    client->pending = client->tree;
    struct ring2_tree_node *node = &client->pending.nodes[index];
    if (is_default)
        node->defaults.is_there = false;
    else
        node->access.is_there = false;
    ring2_attempt_begin(&attempt, 0);
    int result = operation_remove_xattr(ring2_volume_of(client), ring2_inode_of(client, index),
                                        is_default ? ACL_DEFAULT_NAME : ACL_ACCESS_NAME);
    if (ring2_attempt_end(&attempt, result))
        ring2_did(client->history, RING2_ROW_acl_remove);
}

static void set_nonsense(struct ring2_client *client, unsigned index)
{
    uint8_t value[RING2_ACL_BYTES_MAX];
    struct ring2_acl acl = choose_acl(client);
    size_t size = ring2_acl_value(&acl, true, value);
    value[4 + 8 * ring2_choose(client, 5)] ^= 0x40; // a tag that there is not
    int result = set_on(client, index, ACL_ACCESS_NAME, value, size);
    if (!ring2_goes_on(client->history))
        return;
    if (result != -EINVAL)
        ring2_fail(client->history, "a list with an unknown tag: %d (%s)", result,
                   error_text(result));
    ring2_did(client->history, RING2_ROW_acl_refused);
}

void ring2_acl_step(struct ring2_client *client, unsigned node)
{
    uint64_t dice = ring2_choose(client, 10);
    if (S_ISLNK(client->tree.nodes[node].mode))
        return;
    if (dice < 4)
        set_access(client, node);
    else if (dice < 7)
        set_defaults(client, node);
    else if (dice < 9)
        remove_lists(client, node);
    else
        set_nonsense(client, node);
}
