// SPDX-License-Identifier: Apache-2.0
// POSIX access control lists (POSIX 1003.1e, draft 17), in the form that Linux gives the values of
// system.posix_acl_access and system.posix_acl_default, which is also how they are stored:
//
//   offset  bytes
//   0       4      version, 2
//   4       8 an entry: 2 tag, 2 permissions (rwx), 4 the user's or group's number, or ~0
//
// An access list is one with the mode: owner, mask (without one: group) and others stand in both
// and are kept the same. A list that says no more than a mode is not stored. Pure.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define ACL_ACCESS_NAME  "system.posix_acl_access"
#define ACL_DEFAULT_NAME "system.posix_acl_default"

enum acl_tag {
    ACL_OWNER = 0x01,
    ACL_USER = 0x02,
    ACL_GROUP = 0x04, // the owning one
    ACL_GROUP_NAMED = 0x08,
    ACL_MASK = 0x10,
    ACL_OTHERS = 0x20,
};

enum {
    ACL_ENTRIES_MAX = 500,
    ACL_VALUE_BYTES_MAX = 4 + 8 * ACL_ENTRIES_MAX,
};

struct acl {
    uint16_t count; // 0: no list
    struct acl_entry {
        uint16_t tag; // enum acl_tag
        uint16_t permissions;
        uint32_t id;
    } entries[ACL_ENTRIES_MAX];
};

// 0, or -EINVAL: not of this form, or not a list (one entry each for owner, owning group and
// others, a mask if anybody is named, in this order). -E2BIG: too many entries. No entry at all is
// no list, and no error.
int acl_decode(const void *value, size_t size, struct acl *acl);
// The value's length; `value` has room for ACL_VALUE_BYTES_MAX.
size_t acl_encode(const struct acl *acl, void *value);

// A mode says all that the list says.
bool acl_is_mode(const struct acl *acl);
// `mode` with the permissions that the list shows there.
mode_t acl_to_mode(const struct acl *acl, mode_t mode);
// chmod: the list follows the mode.
void acl_follow_mode(struct acl *acl, mode_t mode);
// A new file inherits a default list as its access list: at most what was asked for in `mode` is
// granted. The mode of the file.
mode_t acl_inherit(struct acl *acl, mode_t mode);
