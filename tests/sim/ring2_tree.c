// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/ring2_tree.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

void ring2_tree_init(struct ring2_tree *tree, uint64_t top_inode)
{
    *tree = (struct ring2_tree){0};
    tree->nodes[RING2_TREE_TOP].mode = S_IFDIR | 0755;
    tree->nodes[RING2_TREE_TOP].inode = top_inode;
}

const char *ring2_name(unsigned name)
{
    static const char *const names[RING2_NAMES] = {
        "a",
        "b",
        "c",
        "d",
        "e",
        "f",
        "g",
        "h",
        "a name with spaces",
        "a-long-name-0123456789-0123456789-0123456789-0123456789-0123456789-0123456789-0123456789"
        "-0123456789-0123456789-0123456789-0123456789-0123456789-0123456789-0123456789-0123456789",
    };
    return names[name];
}

const char *ring2_xattr_name(unsigned xattr)
{
    static const char *const names[RING2_XATTRS] = {"user.small", "trusted.large",
                                                    "security.small"};
    return names[xattr];
}

void ring2_text(char *text, uint32_t length)
{
    for (uint32_t i = 0; i < length; i++)
        text[i] = (char)('a' + (i * 7 + length) % 26);
    text[length] = '\0';
}

bool ring2_is_directory(const struct ring2_tree_node *node)
{
    return S_ISDIR(node->mode);
}

struct ring2_tree_entry *ring2_find(struct ring2_tree *tree, unsigned directory, unsigned name)
{
    for (unsigned i = 0; i < RING2_ENTRIES_MAX; i++) {
        struct ring2_tree_entry *entry = &tree->entries[i];
        if (entry->is_used && entry->directory == directory && entry->name == name)
            return entry;
    }
    return NULL;
}

unsigned ring2_links(const struct ring2_tree *tree, unsigned node)
{
    bool is_directory = ring2_is_directory(&tree->nodes[node]);
    unsigned links = is_directory ? 2 : 0;
    for (unsigned i = 0; i < RING2_ENTRIES_MAX; i++) {
        const struct ring2_tree_entry *entry = &tree->entries[i];
        if (!entry->is_used)
            continue;
        if (is_directory)
            links += entry->directory == node && ring2_is_directory(&tree->nodes[entry->node]);
        else
            links += entry->node == node;
    }
    return links;
}

bool ring2_is_empty(const struct ring2_tree *tree, unsigned directory)
{
    for (unsigned i = 0; i < RING2_ENTRIES_MAX; i++) {
        if (tree->entries[i].is_used && tree->entries[i].directory == directory)
            return false;
    }
    return true;
}

static struct ring2_tree_entry *free_entry(struct ring2_tree *tree)
{
    for (unsigned i = 0; i < RING2_ENTRIES_MAX; i++) {
        if (!tree->entries[i].is_used)
            return &tree->entries[i];
    }
    return NULL;
}

static void drop_if_unused(struct ring2_tree *tree, unsigned node)
{
    for (unsigned i = 0; i < RING2_ENTRIES_MAX; i++) {
        if (tree->entries[i].is_used && tree->entries[i].node == node)
            return;
    }
    tree->nodes[node] = (struct ring2_tree_node){0};
}

static int enter(struct ring2_tree *tree, unsigned directory, unsigned name, unsigned node)
{
    struct ring2_tree_entry *entry = free_entry(tree);
    if (entry == NULL)
        return -E2BIG;
    *entry = (struct ring2_tree_entry){true, (uint8_t)directory, (uint8_t)name, (uint8_t)node};
    return 0;
}

// --- access control lists ------------------------------------------------------------------------

static uint8_t *put(uint8_t *at, uint64_t number, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        *at++ = (uint8_t)(number >> 8 * i);
    return at;
}

static uint8_t *put_entry(uint8_t *at, unsigned tag, unsigned permissions, uint32_t id)
{
    return put(put(put(at, tag, 2), permissions, 2), id, 4);
}

size_t ring2_acl_value(const struct ring2_acl *acl, bool is_whole, uint8_t *value)
{
    uint8_t *at = put(value, 2, 4);
    at = put_entry(at, 1, acl->owner, UINT32_MAX);
    if (is_whole)
        at = put_entry(at, 2, acl->named, 7);
    at = put_entry(at, 4, is_whole ? acl->group : acl->mask, UINT32_MAX);
    if (is_whole)
        at = put_entry(at, 16, acl->mask, UINT32_MAX);
    at = put_entry(at, 32, acl->others, UINT32_MAX);
    return (size_t)(at - value);
}

void ring2_acl_follow_mode(struct ring2_tree_node *node)
{
    node->access.owner = node->mode >> 6 & 7;
    node->access.mask = node->mode >> 3 & 7;
    node->access.others = node->mode & 7;
}

void ring2_mode_follow_acl(struct ring2_tree_node *node)
{
    const struct ring2_acl *acl = &node->access;
    node->mode = (node->mode & ~(mode_t)0777) | (mode_t)acl->owner << 6 | (mode_t)acl->mask << 3 |
                 acl->others;
}

static void inherit_acl(const struct ring2_tree_node *parent, struct ring2_tree_node *child)
{
    mode_t asked = child->mode;
    if (!parent->defaults.is_there || S_ISLNK(asked))
        return;
    child->access = parent->defaults;
    ring2_mode_follow_acl(child);
    child->mode &= asked | ~(mode_t)0777;
    ring2_acl_follow_mode(child);
    if (S_ISDIR(asked))
        child->defaults = parent->defaults;
}

// --- changes -------------------------------------------------------------------------------------

void ring2_inherit(const struct ring2_tree_node *parent, struct ring2_tree_node *child)
{
    inherit_acl(parent, child);
    if ((parent->mode & S_ISGID) == 0)
        return;
    child->gid = parent->gid;
    if (S_ISDIR(child->mode))
        child->mode |= S_ISGID;
}

int ring2_make(struct ring2_tree *tree, unsigned directory, unsigned name,
               const struct ring2_tree_node *what, unsigned *node)
{
    if (ring2_find(tree, directory, name) != NULL)
        return -EEXIST;
    for (*node = 1; *node < RING2_NODES_MAX && tree->nodes[*node].mode != 0;)
        ++*node;
    if (*node == RING2_NODES_MAX)
        return -E2BIG;
    int result = enter(tree, directory, name, *node);
    if (result == 0) {
        tree->nodes[*node] = *what;
        ring2_inherit(&tree->nodes[directory], &tree->nodes[*node]);
    }
    return result;
}

int ring2_link(struct ring2_tree *tree, unsigned node, unsigned directory, unsigned name)
{
    if (ring2_is_directory(&tree->nodes[node]))
        return -EPERM;
    if (ring2_find(tree, directory, name) != NULL)
        return -EEXIST;
    return enter(tree, directory, name, node);
}

int ring2_unlink(struct ring2_tree *tree, unsigned directory, unsigned name)
{
    struct ring2_tree_entry *entry = ring2_find(tree, directory, name);
    if (entry == NULL)
        return -ENOENT;
    if (ring2_is_directory(&tree->nodes[entry->node]))
        return -EISDIR;
    entry->is_used = false;
    drop_if_unused(tree, entry->node);
    return 0;
}

int ring2_remove_directory(struct ring2_tree *tree, unsigned directory, unsigned name)
{
    struct ring2_tree_entry *entry = ring2_find(tree, directory, name);
    if (entry == NULL)
        return -ENOENT;
    if (!ring2_is_directory(&tree->nodes[entry->node]))
        return -ENOTDIR;
    if (!ring2_is_empty(tree, entry->node))
        return -ENOTEMPTY;
    entry->is_used = false;
    drop_if_unused(tree, entry->node);
    return 0;
}

// --- rename --------------------------------------------------------------------------------------

static unsigned parent_of(const struct ring2_tree *tree, unsigned directory)
{
    for (unsigned i = 0; i < RING2_ENTRIES_MAX; i++) {
        if (tree->entries[i].is_used && tree->entries[i].node == directory)
            return tree->entries[i].directory;
    }
    return RING2_TREE_TOP;
}

static bool is_below(const struct ring2_tree *tree, unsigned directory, unsigned ancestor)
{
    while (directory != ancestor && directory != RING2_TREE_TOP)
        directory = parent_of(tree, directory);
    return directory == ancestor;
}

static bool moves_below_itself(const struct ring2_tree *tree, const struct ring2_tree_entry *entry,
                               unsigned new_directory)
{
    return ring2_is_directory(&tree->nodes[entry->node]) && entry->directory != new_directory &&
           is_below(tree, new_directory, entry->node);
}

static int check_replaced(const struct ring2_tree *tree, const struct ring2_tree_entry *from,
                          const struct ring2_tree_entry *to)
{
    bool from_directory = ring2_is_directory(&tree->nodes[from->node]);
    bool to_directory = ring2_is_directory(&tree->nodes[to->node]);
    if (from_directory != to_directory)
        return to_directory ? -EISDIR : -ENOTDIR;
    return to_directory && !ring2_is_empty(tree, to->node) ? -ENOTEMPTY : 0;
}

static int exchange(struct ring2_tree *tree, struct ring2_tree_entry *from,
                    struct ring2_tree_entry *to)
{
    if (to == NULL)
        return -ENOENT;
    if (moves_below_itself(tree, from, to->directory) ||
        moves_below_itself(tree, to, from->directory))
        return -EINVAL;
    uint8_t node = from->node;
    from->node = to->node;
    to->node = node;
    return 0;
}

int ring2_rename(struct ring2_tree *tree, unsigned directory, unsigned name, unsigned new_directory,
                 unsigned new_name, unsigned flags)
{
    struct ring2_tree_entry *from = ring2_find(tree, directory, name);
    struct ring2_tree_entry *to = ring2_find(tree, new_directory, new_name);
    if (from == NULL)
        return -ENOENT;
    if (flags == RENAME_EXCHANGE)
        return exchange(tree, from, to);
    if (to != NULL && flags == RENAME_NOREPLACE)
        return -EEXIST;
    if (moves_below_itself(tree, from, new_directory))
        return -EINVAL;
    if (to != NULL && to->node == from->node)
        return 0;
    int result = to != NULL ? check_replaced(tree, from, to) : 0;
    if (result != 0)
        return result;
    from->directory = (uint8_t)new_directory;
    from->name = (uint8_t)new_name;
    if (to != NULL) {
        to->is_used = false;
        drop_if_unused(tree, to->node);
    }
    return 0;
}
