// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/ring3_tree.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fs/base/check.h"
#include "fs/base/memory.h"

struct ring3_tree *ring3_tree_new(unsigned client_count)
{
    struct ring3_tree *tree = calloc(1, sizeof(*tree));
    CHECK(tree != NULL);
    tree->client_count = client_count;
    return tree;
}

static void object_free(struct ring3_object *object)
{
    ring3_cell_deinit(&object->mode);
    ring3_cell_deinit(&object->user);
    ring3_cell_deinit(&object->access);
    ring3_cell_deinit(&object->defaults);
    ring3_cell_deinit(&object->protection);
    ring3_cell_deinit(&object->modified);
    for (unsigned i = 0; i < RING3_XATTRS; i++)
        ring3_cell_deinit(&object->xattrs[i]);
    ring3_content_free(object->content);
    for (unsigned i = 0; i < object->name_count; i++)
        ring3_cell_deinit(&object->names[i]);
    free(object->names);
    free(object);
}

void ring3_tree_free(struct ring3_tree *tree)
{
    for (unsigned i = 0; i < tree->count; i++)
        object_free(tree->objects[i]);
    free(tree->objects);
    free(tree);
}

struct ring3_object *ring3_object_new(struct ring3_tree *tree, enum ring3_kind kind, unsigned owner)
{
    struct ring3_object *object = calloc(1, sizeof(*object));
    CHECK(object != NULL);
    if (tree->count == tree->capacity) {
        tree->capacity = tree->capacity == 0 ? 64 : 2 * tree->capacity;
        tree->objects = memory_resize(tree->objects, tree->capacity, sizeof(tree->objects[0]));
    }
    tree->objects[tree->count++] = object;
    object->id = tree->count;
    object->kind = kind;
    object->owner = owner;
    object->modified.is_content = true;
    if (kind == RING3_FILE)
        object->content = ring3_content_new(owner == RING3_NOBODY);
    if (kind != RING3_DIRECTORY)
        return object;
    object->name_count = RING3_NAMES * (owner == RING3_NOBODY ? tree->client_count : 1);
    object->names = calloc(object->name_count, sizeof(object->names[0]));
    CHECK(object->names != NULL);
    return object;
}

struct ring3_object *ring3_object_of(const struct ring3_tree *tree, uint64_t id)
{
    CHECK(id <= tree->count);
    return id == 0 ? NULL : tree->objects[id - 1];
}

uint64_t ring3_object_find(const struct ring3_tree *tree, const struct ring3_cell *cell,
                           ring3_tick begin, uint64_t inode, uint64_t generation)
{
    uint64_t id;
    // What was lost with its node may have had the same number: the latest counts.
    for (unsigned i = tree->count; i-- > 0;) {
        const struct ring3_object *object = tree->objects[i];
        if (object->inode == inode && object->generation == generation)
            return object->id;
    }
    for (unsigned i = 0; ring3_cell_candidate(cell, begin, i, &id); i++) {
        struct ring3_object *object = ring3_object_of(tree, id);
        if (object == NULL || object->inode != 0)
            continue;
        object->inode = inode;
        object->generation = generation;
        return id;
    }
    return 0;
}

// --- names -------------------------------------------------------------------------------------

unsigned ring3_names_of(const struct ring3_object *directory, unsigned client)
{
    return directory->owner == RING3_NOBODY ? client * RING3_NAMES : 0;
}

unsigned ring3_name_client(const struct ring3_object *directory, unsigned index)
{
    return directory->owner == RING3_NOBODY ? index / RING3_NAMES : directory->owner;
}

// The first of each client is as long as names get.
void ring3_name_text(const struct ring3_object *directory, unsigned index,
                     char text[RING3_NAME_BYTES])
{
    int length = snprintf(text, RING3_NAME_BYTES, "c%u-%u", ring3_name_client(directory, index),
                          index % RING3_NAMES);
    if (index % RING3_NAMES == 0) {
        memset(text + length, 'x', RING3_NAME_BYTES - 1 - (size_t)length);
        text[RING3_NAME_BYTES - 1] = '\0';
    }
}

int ring3_name_index(const struct ring3_object *directory, const char *text)
{
    unsigned client, number, index;
    char expected[RING3_NAME_BYTES];
    if (sscanf(text, "c%u-%u", &client, &number) != 2 || number >= RING3_NAMES)
        return -1;
    index = directory->owner == RING3_NOBODY ? client * RING3_NAMES + number : number;
    if (index >= directory->name_count)
        return -1;
    ring3_name_text(directory, index, expected);
    return strcmp(expected, text) == 0 ? (int)index : -1;
}

bool ring3_directory_is_empty(const struct ring3_object *directory)
{
    for (unsigned i = 0; i < directory->name_count; i++) {
        if (ring3_cell_latest(&directory->names[i]) != 0)
            return false;
    }
    return true;
}

unsigned ring3_object_links(const struct ring3_tree *tree, const struct ring3_object *object)
{
    unsigned links = 0;
    if (object->owner == RING3_NOBODY)
        return 1;
    for (unsigned i = 0; i < tree->count; i++) {
        const struct ring3_object *directory = tree->objects[i];
        if (directory->kind != RING3_DIRECTORY || directory->is_gone ||
            (directory->owner != RING3_NOBODY && directory->owner != object->owner))
            continue;
        unsigned first = ring3_names_of(directory, object->owner);
        for (unsigned j = first; j < first + RING3_NAMES; j++)
            links += ring3_cell_latest(&directory->names[j]) == object->id;
    }
    return links;
}

mode_t ring3_kind_mode(enum ring3_kind kind)
{
    static const mode_t modes[] = {S_IFREG, S_IFDIR, S_IFLNK, S_IFIFO};
    return modes[kind];
}
