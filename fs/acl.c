// SPDX-License-Identifier: Apache-2.0
#include "fs/acl.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "fs/base/check.h"
#include "fs/base/endian.h"

enum { VERSION = 2, PERMISSIONS = 07, OWNER_SHIFT = 6, GROUP_SHIFT = 3 };

#define NOBODY UINT32_MAX

struct head_linux {
    le32_t version;
};

struct entry_linux {
    le16_t tag;
    le16_t permissions;
    le32_t id;
};
_Static_assert(sizeof(struct head_linux) == 4 && sizeof(struct entry_linux) == 8, "ACL");

// --- form ----------------------------------------------------------------------------------------

// The order of entries: by tag, of which each but the named ones stands once. The named ones come
// in the order of their numbers from the tools; nobody else relies on it.
static int check_list(const struct acl *acl)
{
    unsigned seen = 0, last = 0;
    for (unsigned i = 0; i < acl->count; i++) {
        const struct acl_entry *entry = &acl->entries[i];
        bool is_named = entry->tag == ACL_USER || entry->tag == ACL_GROUP_NAMED;
        bool is_known = is_named || entry->tag == ACL_OWNER || entry->tag == ACL_GROUP ||
                        entry->tag == ACL_MASK || entry->tag == ACL_OTHERS;
        if (!is_known || (entry->permissions & ~PERMISSIONS) != 0)
            return -EINVAL;
        if (entry->tag < last || (entry->tag == last && !is_named))
            return -EINVAL;
        if (is_named && entry->id == NOBODY)
            return -EINVAL;
        seen |= entry->tag;
        last = entry->tag;
    }
    unsigned needed = ACL_OWNER | ACL_GROUP | ACL_OTHERS;
    if ((seen & (ACL_USER | ACL_GROUP_NAMED)) != 0)
        needed |= ACL_MASK;
    return (seen & needed) == needed ? 0 : -EINVAL;
}

int acl_decode(const void *value, size_t size, struct acl *acl)
{
    struct head_linux head;
    struct entry_linux from;
    acl->count = 0;
    if (size < sizeof(head) || (size - sizeof(head)) % sizeof(from) != 0)
        return -EINVAL;
    memcpy(&head, value, sizeof(head));
    if (le32_get(head.version) != VERSION)
        return -EINVAL;
    size_t count = (size - sizeof(head)) / sizeof(from);
    if (count > ACL_ENTRIES_MAX)
        return -E2BIG;
    for (size_t i = 0; i < count; i++) {
        memcpy(&from, (const uint8_t *)value + sizeof(head) + i * sizeof(from), sizeof(from));
        struct acl_entry *entry = &acl->entries[i];
        *entry = (struct acl_entry){le16_get(from.tag), le16_get(from.permissions), NOBODY};
        if (entry->tag == ACL_USER || entry->tag == ACL_GROUP_NAMED)
            entry->id = le32_get(from.id);
    }
    acl->count = (uint16_t)count;
    int result = count > 0 ? check_list(acl) : 0;
    if (result != 0)
        acl->count = 0;
    return result;
}

size_t acl_encode(const struct acl *acl, void *value)
{
    struct head_linux head = {le32_make(VERSION)};
    memcpy(value, &head, sizeof(head));
    for (unsigned i = 0; i < acl->count; i++) {
        const struct acl_entry *entry = &acl->entries[i];
        struct entry_linux to = {le16_make(entry->tag), le16_make(entry->permissions),
                                 le32_make(entry->id)};
        memcpy((uint8_t *)value + sizeof(head) + i * sizeof(to), &to, sizeof(to));
    }
    return sizeof(head) + acl->count * sizeof(struct entry_linux);
}

// --- the list and the mode -----------------------------------------------------------------------

static struct acl_entry *find(const struct acl *acl, enum acl_tag tag)
{
    for (unsigned i = 0; i < acl->count; i++) {
        if (acl->entries[i].tag == tag)
            return (struct acl_entry *)&acl->entries[i];
    }
    return NULL;
}

// Of those that every list has (check_list).
static struct acl_entry *get(const struct acl *acl, enum acl_tag tag)
{
    struct acl_entry *entry = find(acl, tag);
    CHECK(entry != NULL);
    return entry;
}

// What the group bits of the mode stand for.
static struct acl_entry *find_group_class(const struct acl *acl)
{
    struct acl_entry *mask = find(acl, ACL_MASK);
    return mask != NULL ? mask : get(acl, ACL_GROUP);
}

bool acl_is_mode(const struct acl *acl)
{
    return find(acl, ACL_MASK) == NULL;
}

mode_t acl_to_mode(const struct acl *acl, mode_t mode)
{
    if (acl->count == 0)
        return mode;
    mode &= ~(mode_t)(S_IRWXU | S_IRWXG | S_IRWXO);
    mode |= (mode_t)get(acl, ACL_OWNER)->permissions << OWNER_SHIFT;
    mode |= (mode_t)find_group_class(acl)->permissions << GROUP_SHIFT;
    return mode | get(acl, ACL_OTHERS)->permissions;
}

void acl_follow_mode(struct acl *acl, mode_t mode)
{
    if (acl->count == 0)
        return;
    get(acl, ACL_OWNER)->permissions = mode >> OWNER_SHIFT & PERMISSIONS;
    find_group_class(acl)->permissions = mode >> GROUP_SHIFT & PERMISSIONS;
    get(acl, ACL_OTHERS)->permissions = mode & PERMISSIONS;
}

mode_t acl_inherit(struct acl *acl, mode_t mode)
{
    mode_t permissions = acl_to_mode(acl, mode) & mode & (S_IRWXU | S_IRWXG | S_IRWXO);
    mode = (mode & ~(mode_t)(S_IRWXU | S_IRWXG | S_IRWXO)) | permissions;
    acl_follow_mode(acl, mode);
    return mode;
}
