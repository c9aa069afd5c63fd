// SPDX-License-Identifier: Apache-2.0
#include "fs/directory.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>

#include "fs/base/error.h"
#include "fs/base/siphash.h"
#include "fs/format_decode.h"
#include "fs/volume.h"

enum {
    HASH_BITS = 55,
    COLLISION_BITS = 8,
    COLLISION_MAX = (1 << COLLISION_BITS) - 1,
    CURSOR_FIRST = 3, // of the entry at position 0; what is below are the cursors of the dots
};

uint64_t directory_hash(const uint8_t hash_key[16], const char *name, size_t length)
{
    return siphash24(hash_key, name, length) >> (64 - HASH_BITS);
}

static int corrupt(const struct inode *directory, uint64_t hash, const char *reason)
{
    return cache_report_damage(
        directory->volume->cache, -ERROR_CORRUPT_DIRECTORY, "directory %llu, hash %#llx: %s",
        (unsigned long long)directory->number, (unsigned long long)hash, reason);
}

// --- positions and cursors -------------------------------------------------------------------

static uint64_t position_of(struct tree_key key)
{
    return key.major << COLLISION_BITS | key.minor;
}

static struct tree_key key_at(uint64_t position)
{
    return TREE_KEY(ITEM_DIRENT, position >> COLLISION_BITS, position & COLLISION_MAX);
}

// Cursors are signed 64-bit numbers to user space; the last positions share the last one.
static uint64_t cursor_of(uint64_t position)
{
    uint64_t cursor = position + CURSOR_FIRST;
    return cursor < INT64_MAX ? cursor : INT64_MAX;
}

// --- entries ---------------------------------------------------------------------------------

// The entry at a cursor; -ENOENT if an item of another kind stands there.
static int decode(const struct inode *directory, const struct tree_cursor *cursor,
                  struct directory_item *item)
{
    if (cursor->key.kind != ITEM_DIRENT)
        return -ENOENT;
    struct format_item raw = {
        .key = {cursor->key.kind, cursor->key.minor, cursor->key.major},
        .value = cursor->value,
        .length = (uint16_t)cursor->length,
    };
    struct format_dirent dirent;
    const char *reason = NULL;
    if (cursor->key.minor > COLLISION_MAX || cursor->key.major >> HASH_BITS != 0)
        return corrupt(directory, cursor->key.major, "an entry's key is out of range");
    if (format_dirent_decode(&raw, &dirent, &reason) != 0)
        return corrupt(directory, cursor->key.major, reason);
    item->inode = dirent.inode;
    item->generation = dirent.generation;
    item->type = dirent.type;
    item->name_length = dirent.name_length;
    item->cursor = cursor_of(position_of(cursor->key));
    memcpy(item->name, dirent.name, dirent.name_length);
    item->name[dirent.name_length] = 0;
    return 0;
}

struct encoded {
    uint8_t bytes[sizeof(struct dirent_disk) + FORMAT_NAME_BYTES_MAX];
    size_t length;
};

static void encode(struct encoded *encoded, const char *name, size_t length, uint64_t inode,
                   uint64_t generation, uint8_t type)
{
    struct dirent_disk disk = {
        .inode = le64_make(inode),
        .generation = le64_make(generation),
        .type = type,
        .name_length = (uint8_t)length,
    };
    memcpy(encoded->bytes, &disk, sizeof(disk));
    memcpy(encoded->bytes + sizeof(disk), name, length);
    encoded->length = sizeof(disk) + length;
}

// --- finding a name --------------------------------------------------------------------------

struct search {
    const char *name;
    size_t length;
    uint64_t hash;
    struct tree_key key;     // of the entry, if found
    uint32_t free_collision; // the least that no name of this hash has
};

static int search_init(struct search *search, const struct inode *directory, const char *name)
{
    *search = (struct search){.name = name, .length = strlen(name)};
    if (search->length > FORMAT_NAME_BYTES_MAX)
        return -ENAMETOOLONG;
    const uint8_t *key = directory->volume->geometry.hash_key;
    search->hash = directory_hash(key, name, search->length);
    return 0;
}

// Goes over the names of one hash. 0 if the name is among them.
static int find(struct inode *directory, struct search *search, struct directory_item *item)
{
    TREE_CURSOR(cursor, &directory->tree);
    struct tree_key first = TREE_KEY(ITEM_DIRENT, search->hash, 0);
    int result = tree_cursor_seek(&cursor, first, TREE_CEILING);
    for (; result == 0; result = tree_cursor_next(&cursor)) {
        if (cursor.key.kind != ITEM_DIRENT || cursor.key.major != search->hash)
            return -ENOENT;
        result = decode(directory, &cursor, item);
        if (result != 0)
            return result;
        search->key = cursor.key;
        if (item->name_length == search->length &&
            memcmp(item->name, search->name, search->length) == 0)
            return 0;
        if (cursor.key.minor == search->free_collision)
            search->free_collision++;
    }
    return result;
}

int directory_lookup(struct inode *directory, const char *name, struct directory_item *item)
{
    struct search search;
    int result = search_init(&search, directory, name);
    return result != 0 ? result : find(directory, &search, item);
}

// --- changing --------------------------------------------------------------------------------

static bool is_name_allowed(const char *name)
{
    return name[0] != 0 && strcmp(name, ".") != 0 && strcmp(name, "..") != 0 &&
           strchr(name, '/') == NULL;
}

static void count_entry(struct inode *directory, struct journal_handle *handle, bool is_new)
{
    inode_change(directory, handle);
    uint64_t size = inode_size(directory);
    if (is_new)
        inode_set_size(directory, size + 1);
    else if (size > 0)
        inode_set_size(directory, size - 1);
}

int directory_insert(struct inode *directory, struct journal_handle *handle, const char *name,
                     uint64_t inode, uint64_t generation, uint8_t type)
{
    if (!is_name_allowed(name))
        return -EINVAL;
    struct search search;
    struct directory_item item;
    int result = search_init(&search, directory, name);
    if (result == 0)
        result = find(directory, &search, &item);
    if (result != -ENOENT)
        return result == 0 ? -EEXIST : result;
    if (search.free_collision > COLLISION_MAX)
        return -ENOSPC;
    struct encoded encoded;
    encode(&encoded, name, search.length, inode, generation, type);
    struct tree_key key = TREE_KEY(ITEM_DIRENT, search.hash, search.free_collision);
    result = tree_insert(&directory->tree, handle, key, encoded.bytes, encoded.length);
    if (result == 0)
        count_entry(directory, handle, true);
    return result;
}

int directory_remove(struct inode *directory, struct journal_handle *handle, const char *name)
{
    struct search search;
    struct directory_item item;
    int result = search_init(&search, directory, name);
    if (result == 0)
        result = find(directory, &search, &item);
    if (result == 0)
        result = tree_delete(&directory->tree, handle, search.key);
    if (result == 0)
        count_entry(directory, handle, false);
    return result;
}

int directory_replace(struct inode *directory, struct journal_handle *handle, const char *name,
                      uint64_t inode, uint64_t generation, uint8_t type)
{
    struct search search;
    struct directory_item item;
    int result = search_init(&search, directory, name);
    if (result == 0)
        result = find(directory, &search, &item);
    if (result != 0)
        return result;
    struct encoded encoded;
    encode(&encoded, name, search.length, inode, generation, type);
    return tree_replace(&directory->tree, handle, search.key, encoded.bytes, encoded.length);
}

// --- listing ---------------------------------------------------------------------------------

int directory_is_empty(struct inode *directory)
{
    TREE_CURSOR(cursor, &directory->tree);
    int result = tree_cursor_seek(&cursor, key_at(0), TREE_CEILING);
    if (result != 0 && result != -ENOENT)
        return result;
    return result == -ENOENT || cursor.key.kind != ITEM_DIRENT;
}

static void make_dots(const struct inode *directory, uint64_t cursor, struct directory_item *item)
{
    bool is_parent = cursor == DIRECTORY_CURSOR_DOT;
    *item = (struct directory_item){
        .inode = is_parent ? inode_parent(directory) : directory->number,
        .generation = is_parent ? 0 : inode_generation(directory),
        .type = DT_DIR,
        .name_length = is_parent ? 2 : 1,
        .cursor = is_parent ? DIRECTORY_CURSOR_DOTDOT : DIRECTORY_CURSOR_DOT,
        .name = "..",
    };
    item->name[item->name_length] = 0;
}

struct one_item {
    struct directory_item *item;
    bool is_found;
};

static bool take_one(void *context, const struct directory_item *item)
{
    struct one_item *one = context;
    *one->item = *item;
    one->is_found = true;
    return false;
}

int directory_next(struct inode *directory, uint64_t cursor, struct directory_item *item)
{
    struct one_item one = {.item = item};
    int result = directory_iterate(directory, cursor, take_one, &one);
    return result != 0 || one.is_found ? result : -ENOENT;
}

static int iterate_stored(struct inode *directory, uint64_t position,
                          bool (*emit)(void *context, const struct directory_item *item),
                          void *context)
{
    TREE_CURSOR(cursor, &directory->tree);
    struct directory_item item;
    int result = tree_cursor_seek(&cursor, key_at(position), TREE_CEILING);
    for (; result == 0; result = tree_cursor_next(&cursor)) {
        result = decode(directory, &cursor, &item);
        if (result != 0 || !emit(context, &item))
            break;
    }
    return result == -ENOENT ? 0 : result;
}

int directory_iterate(struct inode *directory, uint64_t cursor,
                      bool (*emit)(void *context, const struct directory_item *item), void *context)
{
    for (; cursor < DIRECTORY_CURSOR_DOTDOT; cursor++) {
        struct directory_item dots;
        make_dots(directory, cursor, &dots);
        if (!emit(context, &dots))
            return 0;
    }
    if (cursor >= INT64_MAX)
        return 0;
    return iterate_stored(directory, cursor - DIRECTORY_CURSOR_DOTDOT, emit, context);
}

struct tree_cost directory_change_cost(const struct inode *directory)
{
    return tree_change_cost(&directory->tree, 1);
}
