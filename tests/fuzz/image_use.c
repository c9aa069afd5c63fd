// SPDX-License-Identifier: Apache-2.0
#include "tests/fuzz/image_use.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/check.h"
#include "fs/base/random.h"
#include "fs/operation.h"

enum { FILES = 60, LARGE_PIECES = 90, DEPTH_MAX = 6, VISITS_MAX = 120, NAMES_MAX = 80 };
enum { NAME_BYTES = 256, DATA_BYTES = 8192 };

static const struct credentials user = {.uid = 1000, .gid = 1000};

struct visit {
    struct volume *volume;
    struct random random;
    unsigned count; // of inodes looked at
    uint8_t *data;  // DATA_BYTES, aligned
};

// --- filling ---------------------------------------------------------------------------------

static uint64_t make_file(struct visit *visit, uint64_t parent, const char *name, size_t bytes)
{
    struct attributes attributes;
    struct open_file *file;
    CHECK(operation_create(visit->volume, parent, name, S_IFREG | 0644, 0, &user, O_RDWR,
                           &attributes, &file) == 0);
    if (bytes > 0)
        CHECK(operation_write(visit->volume, file, 0, visit->data, bytes) == (ssize_t)bytes);
    CHECK(operation_release(visit->volume, file) == 0);
    return attributes.inode;
}

// Every second block of 8 KiB, so that its map is a tree.
static void make_fragmented(struct visit *visit, uint64_t parent)
{
    struct attributes attributes;
    struct open_file *file;
    CHECK(operation_create(visit->volume, parent, "fragmented", S_IFREG | 0644, 0, &user, O_RDWR,
                           &attributes, &file) == 0);
    for (uint64_t i = 0; i < LARGE_PIECES; i++)
        CHECK(operation_write(visit->volume, file, i * 2 * DATA_BYTES, visit->data, 4096) == 4096);
    CHECK(operation_allocate(visit->volume, file, 0, 0, DATA_BYTES) == 0);
    CHECK(operation_release(visit->volume, file) == 0);
}

static void fill_body(void *argument)
{
    struct visit *visit = argument;
    struct volume *volume = visit->volume;
    uint64_t root = volume->geometry.root_inode;
    struct attributes directory, out;
    char name[NAME_BYTES];
    make_file(visit, root, "inline", 100);
    uint64_t large = make_file(visit, root, "large", DATA_BYTES);
    make_fragmented(visit, root);
    CHECK(operation_make_directory(volume, root, "directory", 0755, &user, &directory) == 0);
    CHECK(operation_make_directory(volume, directory.inode, "inner", 0755, &user, &out) == 0);
    CHECK(operation_symlink(volume, root, "link", "directory/inner", &user, &out) == 0);
    CHECK(operation_link(volume, large, directory.inode, "hard", &out) == 0);
    memset(visit->data, 'x', DATA_BYTES);
    CHECK(operation_set_xattr(volume, large, "user.short", "value", 5, 0) == 0);
    CHECK(operation_set_xattr(volume, large, "user.long", visit->data, 6000, 0) == 0);
    CHECK(operation_sync_volume(volume) == 0);
    for (unsigned i = 0; i < FILES; i++) {
        snprintf(name, sizeof(name), "%0*u", 40 + (int)i, i);
        make_file(visit, directory.inode, name, i % 3 == 0 ? 4096 : 0);
    }
    CHECK(operation_unlink(volume, directory.inode, name) == 0);
    CHECK(operation_sync_volume(volume) == 0);
}

static void visit_run(struct ring2_node *node, uint64_t seed, void (*body)(void *argument))
{
    struct visit visit = {.volume = node->volume, .data = block_buffer_new(DATA_BYTES)};
    random_init(&visit.random, seed);
    ring2_run(node->world, body, &visit);
    free(visit.data);
}

void image_fill(struct ring2_node *node)
{
    visit_run(node, 1, fill_body);
}

// --- looking ---------------------------------------------------------------------------------

struct listing {
    char (*names)[NAME_BYTES];
    unsigned count, seen;
};

static bool emit(void *context, const struct directory_entry *entry)
{
    struct listing *listing = context;
    CHECK(strlen(entry->name) < NAME_BYTES);
    if (listing->count < NAMES_MAX)
        strcpy(listing->names[listing->count++], entry->name);
    return ++listing->seen < 1000;
}

static void look_at_file(struct visit *visit, uint64_t inode)
{
    struct open_file *file;
    if (operation_open(visit->volume, inode, O_RDWR, &file) != 0)
        return;
    operation_read(visit->volume, file, 0, visit->data, DATA_BYTES);
    operation_read(visit->volume, file, 20 * DATA_BYTES, visit->data, 4096);
    operation_seek(visit->volume, file, 1000, SEEK_HOLE);
    operation_seek(visit->volume, file, 1000, SEEK_DATA);
    switch (random_below(&visit->random, 6)) {
    case 0:
        operation_write(visit->volume, file, 0, visit->data, 4096);
        break;
    case 1:
        operation_write(visit->volume, file, 30000, visit->data, 700);
        break;
    case 2:
        operation_allocate(visit->volume, file, 0, 4096, UINT64_C(1) << 20);
        break;
    case 3:
        operation_sync_file(visit->volume, file, false);
        break;
    default:
        break;
    }
    operation_release(visit->volume, file);
}

static void look_at_attributes(struct visit *visit, uint64_t inode)
{
    static const char *const names[] = {"user.short", "user.long"};
    struct attributes wanted = {.stat.st_size = 5000}, out;
    operation_list_xattr(visit->volume, inode, true, (char *)visit->data, DATA_BYTES);
    for (unsigned i = 0; i < 2; i++)
        operation_get_xattr(visit->volume, inode, names[i], visit->data, DATA_BYTES);
    switch (random_below(&visit->random, 6)) {
    case 0:
        operation_set_attributes(visit->volume, inode, &wanted, SET_SIZE, &out);
        break;
    case 1:
        operation_set_xattr(visit->volume, inode, "user.long", visit->data, 3000, 0);
        break;
    case 2:
        operation_remove_xattr(visit->volume, inode, "user.short");
        break;
    default:
        break;
    }
}

static void look_at(struct visit *visit, uint64_t parent, const char *name, unsigned depth);

// Afterwards some of its names go, and one comes.
static void look_at_directory(struct visit *visit, uint64_t inode, unsigned depth)
{
    struct listing listing = {.names = malloc((size_t)NAMES_MAX * NAME_BYTES)};
    struct attributes out;
    CHECK(listing.names != NULL);
    operation_read_directory(visit->volume, inode, 0, random_one_in(&visit->random, 2), emit,
                             &listing);
    for (unsigned i = 0; i < listing.count; i++)
        look_at(visit, inode, listing.names[i], depth + 1);
    operation_make_directory(visit->volume, inode, "new directory", 0755, &user, &out);
    operation_symlink(visit->volume, inode, "new link", "somewhere", &user, &out);
    for (unsigned i = 0; i < listing.count; i++) {
        switch (random_below(&visit->random, 8)) {
        case 0:
            operation_unlink(visit->volume, inode, listing.names[i]);
            break;
        case 1:
            operation_remove_directory(visit->volume, inode, listing.names[i]);
            break;
        case 2:
            operation_rename(visit->volume, inode, listing.names[i], inode, "another name", 0);
            break;
        default:
            break;
        }
    }
    free(listing.names);
}

static void look_at(struct visit *visit, uint64_t parent, const char *name, unsigned depth)
{
    struct attributes found;
    if (visit->count >= VISITS_MAX || depth > DEPTH_MAX ||
        operation_lookup(visit->volume, parent, name, &found) != 0)
        return;
    visit->count++;
    look_at_attributes(visit, found.inode);
    if (S_ISDIR(found.stat.st_mode))
        look_at_directory(visit, found.inode, depth);
    else if (S_ISREG(found.stat.st_mode))
        look_at_file(visit, found.inode);
    else if (S_ISLNK(found.stat.st_mode))
        operation_read_link(visit->volume, found.inode, (char *)visit->data);
}

static void use_body(void *argument)
{
    struct visit *visit = argument;
    struct statvfs space;
    struct attributes out;
    uint64_t root = visit->volume->geometry.root_inode;
    operation_statfs(visit->volume, &space);
    look_at_directory(visit, root, 0);
    operation_create(visit->volume, root, "new file", S_IFREG | 0600, 0, &user, -1, &out, NULL);
    operation_sync_volume(visit->volume);
    operation_statfs(visit->volume, &space);
}

void image_use(struct ring2_node *node, uint64_t seed)
{
    visit_run(node, seed, use_body);
}
