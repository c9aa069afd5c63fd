// SPDX-License-Identifier: Apache-2.0
// An attribute's items: minor = collision << 16 | chunk. Chunk 0 holds the length of the value, the
// name and the value's first bytes, the others hold bytes alone, TREE_VALUE_BYTES_MAX each but the
// last.
#include "fs/xattr.h"

#include <errno.h>
#include <string.h>
#include <sys/xattr.h>

#include "fs/base/check.h"
#include "fs/base/error.h"
#include "fs/directory.h"
#include "fs/format_decode.h"
#include "fs/volume.h"

enum { COLLISION_MAX = 255, CHUNK_BITS = 16, CHUNK_MASK = (1 << CHUNK_BITS) - 1 };

static int corrupt(const struct inode *inode, uint64_t hash, const char *reason)
{
    return cache_report_damage(inode->volume->cache, -ERROR_CORRUPT_INODE,
                               "inode %llu, attribute %#llx: %s", (unsigned long long)inode->number,
                               (unsigned long long)hash, reason);
}

// One attribute: where its items stand, and what its first one says.
struct attribute {
    uint64_t hash;
    uint32_t collision;
    uint32_t value_length;
    uint32_t chunk_count;
    uint8_t name_length;
    char name[XATTR_NAME_BYTES_MAX + 1];
};

static struct tree_key chunk_key(const struct attribute *attribute, uint32_t chunk)
{
    return TREE_KEY(ITEM_XATTR, attribute->hash, attribute->collision << CHUNK_BITS | chunk);
}

static uint32_t first_part(size_t name_length, size_t value_length)
{
    size_t room = TREE_VALUE_BYTES_MAX - sizeof(struct xattr_disk) - name_length;
    return (uint32_t)(value_length < room ? value_length : room);
}

static uint32_t count_chunks(size_t name_length, size_t value_length)
{
    size_t rest = value_length - first_part(name_length, value_length);
    return 1 + (uint32_t)((rest + TREE_VALUE_BYTES_MAX - 1) / TREE_VALUE_BYTES_MAX);
}

// --- finding ---------------------------------------------------------------------------------

// The attribute whose first chunk stands at the cursor; -ENOENT if no attribute's item does.
static int decode(const struct inode *inode, const struct tree_cursor *cursor,
                  struct attribute *attribute)
{
    if (cursor->key.kind != ITEM_XATTR)
        return -ENOENT;
    struct format_item item = {
        .key = {cursor->key.kind, cursor->key.minor, cursor->key.major},
        .value = cursor->value,
        .length = (uint16_t)cursor->length,
    };
    struct format_xattr decoded;
    const char *reason = NULL;
    if ((cursor->key.minor & CHUNK_MASK) != 0)
        return corrupt(inode, cursor->key.major, "an attribute lacks its first chunk");
    if (format_xattr_decode(&item, &decoded, &reason) != 0)
        return corrupt(inode, cursor->key.major, reason);
    if (decoded.value_length > XATTR_VALUE_BYTES_MAX ||
        decoded.part_length != first_part(decoded.name_length, decoded.value_length))
        return corrupt(inode, cursor->key.major, "an attribute's lengths do not agree");
    attribute->hash = cursor->key.major;
    attribute->collision = cursor->key.minor >> CHUNK_BITS;
    attribute->value_length = decoded.value_length;
    attribute->chunk_count = count_chunks(decoded.name_length, decoded.value_length);
    attribute->name_length = decoded.name_length;
    memcpy(attribute->name, decoded.name, decoded.name_length);
    attribute->name[decoded.name_length] = 0;
    return 0;
}

// The first attribute at or behind `from`; -ENOENT.
static int find_from(struct inode *inode, struct tree_key from, struct attribute *attribute)
{
    TREE_CURSOR(cursor, &inode->tree);
    int result = tree_cursor_seek(&cursor, from, TREE_CEILING);
    return result != 0 ? result : decode(inode, &cursor, attribute);
}

static struct tree_key key_behind(const struct attribute *attribute)
{
    uint32_t minor = attribute->collision << CHUNK_BITS | CHUNK_MASK;
    return TREE_KEY(ITEM_XATTR, attribute->hash, minor);
}

// 0 and the attribute, or -ENODATA and the place where it would go.
static int find(struct inode *inode, const char *name, struct attribute *attribute)
{
    size_t length = strlen(name);
    if (length == 0 || length > XATTR_NAME_BYTES_MAX)
        return -ERANGE;
    uint64_t hash = directory_hash(inode->volume->geometry.hash_key, name, length);
    uint32_t free_collision = 0;
    struct tree_key from = TREE_KEY(ITEM_XATTR, hash, 0);
    int result;
    while ((result = find_from(inode, from, attribute)) == 0 && attribute->hash == hash) {
        if (attribute->name_length == length && memcmp(attribute->name, name, length) == 0)
            return 0;
        if (attribute->collision == free_collision)
            free_collision++;
        from = key_behind(attribute);
    }
    if (result != 0 && result != -ENOENT)
        return result;
    *attribute = (struct attribute){
        .hash = hash, .collision = free_collision, .name_length = (uint8_t)length};
    memcpy(attribute->name, name, length);
    return -ENODATA;
}

static bool is_namespace_known(const char *name)
{
    static const char *const prefixes[] = {"user.", "trusted.", "security.", "system."};
    for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++) {
        size_t length = strlen(prefixes[i]);
        if (strncmp(name, prefixes[i], length) == 0 && name[length] != 0)
            return true;
    }
    return false;
}

// --- reading ---------------------------------------------------------------------------------

static int read_chunks(struct inode *inode, const struct attribute *attribute, uint8_t *value)
{
    uint8_t chunk[TREE_VALUE_BYTES_MAX];
    uint32_t done = 0;
    for (uint32_t i = 0; i < attribute->chunk_count; i++) {
        size_t skip = i == 0 ? sizeof(struct xattr_disk) + attribute->name_length : 0;
        int length = tree_get(&inode->tree, chunk_key(attribute, i), chunk, sizeof(chunk));
        if (length < 0 && length != -ENOENT)
            return length;
        if (length == -ENOENT || (size_t)length < skip ||
            (size_t)length - skip > attribute->value_length - done)
            return corrupt(inode, attribute->hash, "an attribute's chunks do not fit its length");
        memcpy(value + done, chunk + skip, (size_t)length - skip);
        done += (uint32_t)((size_t)length - skip);
    }
    if (done != attribute->value_length)
        return corrupt(inode, attribute->hash, "an attribute's chunks are shorter than its length");
    return 0;
}

ssize_t xattr_get(struct inode *inode, const char *name, void *value, size_t size)
{
    if (!is_namespace_known(name))
        return -EOPNOTSUPP;
    struct attribute attribute;
    int result = find(inode, name, &attribute);
    if (result != 0)
        return result;
    if (size == 0)
        return (ssize_t)attribute.value_length;
    if (size < attribute.value_length)
        return -ERANGE;
    result = read_chunks(inode, &attribute, value);
    return result != 0 ? result : (ssize_t)attribute.value_length;
}

static bool is_trusted(const struct attribute *attribute)
{
    return strncmp(attribute->name, "trusted.", strlen("trusted.")) == 0;
}

ssize_t xattr_list(struct inode *inode, bool with_trusted, char *names, size_t size)
{
    size_t length = 0;
    struct attribute attribute;
    struct tree_key from = TREE_KEY(ITEM_XATTR, 0, 0);
    int result;
    while ((result = find_from(inode, from, &attribute)) == 0) {
        size_t bytes = (size_t)attribute.name_length + 1;
        from = key_behind(&attribute);
        if (!with_trusted && is_trusted(&attribute))
            continue;
        if (size > 0 && bytes > size - length)
            return -ERANGE;
        if (size > 0)
            memcpy(names + length, attribute.name, bytes);
        length += bytes;
    }
    return result == -ENOENT ? (ssize_t)length : result;
}

// --- changing --------------------------------------------------------------------------------

static int insert_first(struct inode *inode, struct journal_handle *handle,
                        const struct attribute *attribute, const uint8_t *value)
{
    uint8_t chunk[TREE_VALUE_BYTES_MAX];
    struct xattr_disk disk = {
        .value_length = le32_make(attribute->value_length),
        .name_length = attribute->name_length,
    };
    size_t head = sizeof(disk) + attribute->name_length;
    uint32_t part = first_part(attribute->name_length, attribute->value_length);
    memcpy(chunk, &disk, sizeof(disk));
    memcpy(chunk + sizeof(disk), attribute->name, attribute->name_length);
    if (part > 0)
        memcpy(chunk + head, value, part);
    return tree_insert(&inode->tree, handle, chunk_key(attribute, 0), chunk, head + part);
}

static int insert_chunks(struct inode *inode, struct journal_handle *handle,
                         const struct attribute *attribute, const uint8_t *value)
{
    int result = insert_first(inode, handle, attribute, value);
    uint32_t done = first_part(attribute->name_length, attribute->value_length);
    for (uint32_t i = 1; i < attribute->chunk_count && result == 0; i++) {
        uint32_t rest = attribute->value_length - done;
        uint32_t part = rest < TREE_VALUE_BYTES_MAX ? rest : TREE_VALUE_BYTES_MAX;
        result = tree_insert(&inode->tree, handle, chunk_key(attribute, i), value + done, part);
        done += part;
    }
    return result;
}

static int delete_chunks(struct inode *inode, struct journal_handle *handle,
                         const struct attribute *attribute)
{
    for (uint32_t i = attribute->chunk_count; i > 0; i--) {
        int result = tree_delete(&inode->tree, handle, chunk_key(attribute, i - 1));
        if (result == -ENOENT)
            return corrupt(inode, attribute->hash, "an attribute lacks a chunk");
        if (result != 0)
            return result;
    }
    return 0;
}

static int check_set(const char *name, size_t size)
{
    if (!is_namespace_known(name))
        return -EOPNOTSUPP;
    return size > XATTR_VALUE_BYTES_MAX ? -E2BIG : 0;
}

static int check_flags(int found, int flags)
{
    if (found != 0 && found != -ENODATA)
        return found;
    if (found == 0 && (flags & XATTR_CREATE))
        return -EEXIST;
    return found == -ENODATA && (flags & XATTR_REPLACE) ? -ENODATA : 0;
}

int xattr_set(struct inode *inode, struct journal_handle *handle, const char *name,
              const void *value, size_t size, int flags)
{
    struct attribute attribute;
    int result = check_set(name, size);
    if (result != 0)
        return result;
    int found = find(inode, name, &attribute);
    result = check_flags(found, flags);
    if (result == 0 && attribute.collision > COLLISION_MAX)
        result = -ENOSPC;
    if (result == 0 && found == 0)
        result = delete_chunks(inode, handle, &attribute);
    if (result != 0)
        return result;
    attribute.value_length = (uint32_t)size;
    attribute.chunk_count = count_chunks(attribute.name_length, size);
    result = insert_chunks(inode, handle, &attribute, value);
    if (result == 0 && found == -ENODATA) {
        inode_change(inode, handle);
        inode_add_xattrs(inode, 1);
    }
    return result;
}

static int remove_attribute(struct inode *inode, struct journal_handle *handle,
                            const struct attribute *attribute)
{
    int result = delete_chunks(inode, handle, attribute);
    if (result != 0)
        return result;
    inode_change(inode, handle);
    inode_add_xattrs(inode, -1);
    return 0;
}

int xattr_remove(struct inode *inode, struct journal_handle *handle, const char *name)
{
    if (!is_namespace_known(name))
        return -EOPNOTSUPP;
    struct attribute attribute;
    int result = find(inode, name, &attribute);
    return result != 0 ? result : remove_attribute(inode, handle, &attribute);
}

// The first chunk as it is, but for the length of the value.
static int set_length(struct inode *inode, struct journal_handle *handle,
                      const struct attribute *attribute, uint32_t value_length)
{
    uint8_t chunk[TREE_VALUE_BYTES_MAX];
    struct tree_key key = chunk_key(attribute, 0);
    int length = tree_get(&inode->tree, key, chunk, sizeof(chunk));
    if (length < 0)
        return length;
    struct xattr_disk disk;
    memcpy(&disk, chunk, sizeof(disk));
    disk.value_length = le32_make(value_length);
    memcpy(chunk, &disk, sizeof(disk));
    return tree_replace(&inode->tree, handle, key, chunk, (size_t)length);
}

// Takes the last chunks out; what is left is an attribute with a shorter value.
static int shorten(struct inode *inode, struct journal_handle *handle,
                   const struct attribute *attribute)
{
    uint32_t left = attribute->chunk_count - XATTR_STEP_CHUNKS;
    for (uint32_t i = attribute->chunk_count; i > left; i--) {
        int result = tree_delete(&inode->tree, handle, chunk_key(attribute, i - 1));
        if (result == -ENOENT)
            return corrupt(inode, attribute->hash, "an attribute lacks a chunk");
        if (result != 0)
            return result;
    }
    uint32_t first = first_part(attribute->name_length, attribute->value_length);
    return set_length(inode, handle, attribute, first + (left - 1) * TREE_VALUE_BYTES_MAX);
}

static bool is_short_enough(const struct attribute *attribute)
{
    return attribute->chunk_count <= XATTR_STEP_CHUNKS;
}

int xattr_shorten(struct inode *inode, struct journal_handle *handle, const char *name,
                  bool *is_short)
{
    struct attribute attribute;
    int result = find(inode, name, &attribute);
    if (result != 0)
        return result;
    *is_short = is_short_enough(&attribute);
    return *is_short ? 0 : shorten(inode, handle, &attribute);
}

static int find_first(struct inode *inode, struct attribute *attribute)
{
    return find_from(inode, TREE_KEY(ITEM_XATTR, 0, 0), attribute);
}

int xattr_remove_some(struct inode *inode, struct journal_handle *handle, bool *has_more)
{
    struct attribute attribute;
    *has_more = false;
    int result = find_first(inode, &attribute);
    if (result == 0)
        result = is_short_enough(&attribute) ? remove_attribute(inode, handle, &attribute)
                                             : shorten(inode, handle, &attribute);
    if (result == 0) {
        result = find_first(inode, &attribute);
        *has_more = result == 0;
    }
    return result == -ENOENT ? 0 : result;
}

// --- costs -----------------------------------------------------------------------------------

static size_t bytes_of(const struct attribute *attribute)
{
    return sizeof(struct xattr_disk) + attribute->name_length + attribute->value_length;
}

static struct tree_cost cost_of(const struct inode *inode, uint32_t chunks, size_t bytes)
{
    return tree_run_cost(&inode->tree, chunks, bytes);
}

int xattr_change_cost(struct inode *inode, const char *name, size_t size, struct tree_cost *cost)
{
    struct attribute attribute;
    int result = check_set(name, size);
    if (result == 0)
        result = find(inode, name, &attribute);
    if (result != 0 && result != -ENODATA)
        return result;
    uint32_t chunks = result == 0 ? attribute.chunk_count : 0;
    size_t bytes = result == 0 ? bytes_of(&attribute) : 0;
    chunks += count_chunks(attribute.name_length, size);
    bytes += sizeof(struct xattr_disk) + attribute.name_length + size;
    *cost = cost_of(inode, chunks, bytes);
    return 0;
}

struct tree_cost xattr_step_cost(const struct inode *inode)
{
    uint32_t chunks = XATTR_STEP_CHUNKS + 1;
    return cost_of(inode, chunks, chunks * (size_t)TREE_VALUE_BYTES_MAX);
}
