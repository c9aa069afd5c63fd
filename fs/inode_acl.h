// SPDX-License-Identifier: Apache-2.0
// Where an inode's access control lists stand: in extended attributes of the names that the kernel
// uses for them. The caller holds LOCK_INODE, EXCLUSIVE to change; the mode is the caller's to keep
// with the access list.
#pragma once

#include "fs/acl.h"
#include "fs/tree.h"

struct inode;
struct journal_handle;

// `name`: ACL_ACCESS_NAME or ACL_DEFAULT_NAME. No list: 0 and a count of 0. -ERROR_CORRUPT_INODE if
// what stands there is none (logged). Waits.
int inode_acl_get(struct inode *inode, const char *name, struct acl *acl);
// Puts the list in the place of the one that is there; an empty one takes it away. The inode's
// change was announced. As xattr_set. Waits.
int inode_acl_put(struct inode *inode, struct journal_handle *handle, const char *name,
                  const struct acl *acl);
// Of inode_acl_put, as xattr_change_cost. Waits.
int inode_acl_cost(struct inode *inode, const char *name, const struct acl *acl,
                   struct tree_cost *cost);
// Of putting both into a new inode.
struct tree_cost inode_acl_cost_of_new(void);
