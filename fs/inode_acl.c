// SPDX-License-Identifier: Apache-2.0
#include "fs/inode_acl.h"

#include <errno.h>

#include "fs/base/error.h"
#include "fs/inode.h"
#include "fs/volume.h"
#include "fs/xattr.h"

static int corrupt(const struct inode *inode, const char *name)
{
    return cache_report_damage(inode->volume->cache, -ERROR_CORRUPT_INODE,
                               "inode %llu: %s is no access control list",
                               (unsigned long long)inode->number, name);
}

int inode_acl_get(struct inode *inode, const char *name, struct acl *acl)
{
    uint8_t value[ACL_VALUE_BYTES_MAX];
    acl->count = 0;
    if (inode_xattr_count(inode) == 0)
        return 0;
    ssize_t size = xattr_get(inode, name, value, sizeof(value));
    if (size == -ENODATA)
        return 0;
    if (size < 0 && size != -ERANGE)
        return (int)size;
    return size < 0 || acl_decode(value, (size_t)size, acl) != 0 ? corrupt(inode, name) : 0;
}

int inode_acl_put(struct inode *inode, struct journal_handle *handle, const char *name,
                  const struct acl *acl)
{
    uint8_t value[ACL_VALUE_BYTES_MAX];
    if (acl->count > 0)
        return xattr_set(inode, handle, name, value, acl_encode(acl, value), 0);
    int result = xattr_remove(inode, handle, name);
    return result == -ENODATA ? 0 : result;
}

int inode_acl_cost(struct inode *inode, const char *name, const struct acl *acl,
                   struct tree_cost *cost)
{
    uint8_t value[ACL_VALUE_BYTES_MAX];
    return xattr_change_cost(inode, name, acl_encode(acl, value), cost);
}

// tree_run_cost of two lists of the largest size in an empty tree.
struct tree_cost inode_acl_cost_of_new(void)
{
    return (struct tree_cost){.credits = 40, .node_blocks = 13};
}
