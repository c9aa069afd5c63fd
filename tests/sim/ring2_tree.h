// SPDX-License-Identifier: Apache-2.0
// What the names of one client's directory must be: a small tree, copied as a whole for each
// change, so that all states since the last durable one can be kept. After a crash the tree on disk
// must be one of them. Pure.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct ring2_file;

enum {
    RING2_NODES_MAX = 40,
    RING2_ENTRIES_MAX = 48,
    RING2_NAMES = 10,
    RING2_XATTRS = 3,
    RING2_TREE_TOP = 0, // the client's directory, a node like others
};

// An access control list: one user is named. An access list shares owner, mask and others with the
// mode of its inode.
struct ring2_acl {
    bool is_there;
    uint8_t owner, named, group, mask, others;
};

struct ring2_tree_node {
    mode_t mode; // with type; 0: unused
    uid_t uid;
    gid_t gid;
    uint32_t project;
    uint64_t inode;                     // 0: not known (made when the crash came)
    uint32_t target_length;             // of a symbolic link, its bytes follow from it
    uint32_t xattr_sizes[RING2_XATTRS]; // 0: not there; its bytes follow from it
    struct ring2_acl access, defaults;
    uint32_t protection;     // INODE_FLAG_IMMUTABLE or INODE_FLAG_APPEND
    struct ring2_file *file; // regular files
};

struct ring2_tree_entry {
    bool is_used;
    uint8_t directory, name, node;
};

struct ring2_tree {
    struct ring2_tree_node nodes[RING2_NODES_MAX];
    struct ring2_tree_entry entries[RING2_ENTRIES_MAX];
};

void ring2_tree_init(struct ring2_tree *tree, uint64_t top_inode);

// The text of a name, constant.
const char *ring2_name(unsigned name);
const char *ring2_xattr_name(unsigned xattr);
// Bytes of a target or value of that length.
void ring2_text(char *text, uint32_t length);

bool ring2_is_directory(const struct ring2_tree_node *node);
// NULL if the name is free.
struct ring2_tree_entry *ring2_find(struct ring2_tree *tree, unsigned directory, unsigned name);
unsigned ring2_links(const struct ring2_tree *tree, unsigned node);
// The value of the attribute that a list stands in; only what a mode says, or all of it.
enum { RING2_ACL_BYTES_MAX = 4 + 8 * 5 };
size_t ring2_acl_value(const struct ring2_acl *acl, bool is_whole, uint8_t *value);
// The list follows the mode, or the mode the list.
void ring2_acl_follow_mode(struct ring2_tree_node *node);
void ring2_mode_follow_acl(struct ring2_tree_node *node);

// What a new inode takes over from its directory: one with the set-group-id bit hands down its
// group, and to directories the bit; a default list becomes its access list.
void ring2_inherit(const struct ring2_tree_node *parent, struct ring2_tree_node *child);
bool ring2_is_empty(const struct ring2_tree *tree, unsigned directory);

// Each changes the tree and answers what the operation must answer: 0 or -errno (then nothing is
// changed). -E2BIG: the model is full, do something else.
int ring2_make(struct ring2_tree *tree, unsigned directory, unsigned name,
               const struct ring2_tree_node *what, unsigned *node);
int ring2_link(struct ring2_tree *tree, unsigned node, unsigned directory, unsigned name);
int ring2_unlink(struct ring2_tree *tree, unsigned directory, unsigned name);
int ring2_remove_directory(struct ring2_tree *tree, unsigned directory, unsigned name);
int ring2_rename(struct ring2_tree *tree, unsigned directory, unsigned name, unsigned new_directory,
                 unsigned new_name, unsigned flags);
