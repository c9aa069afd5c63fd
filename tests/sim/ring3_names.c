// SPDX-License-Identifier: Apache-2.0
// Operations on names.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fs/base/check.h"
#include "fs/base/error.h"
#include "fs/volume.h"
#include "tests/sim/ring3_attributes.h"
#include "tests/sim/ring3_place.h"

// --- choosing ------------------------------------------------------------------------------------

static struct ring3_object *choose_directory(struct ring3_client *client)
{
    const struct ring3_tree *tree = client->ring3->tree;
    for (int i = 0; i < 20; i++) {
        struct ring3_object *object = tree->objects[ring3_choose(client, tree->count)];
        if (object->kind == RING3_DIRECTORY && !object->is_gone &&
            object->owner == client->number && object->depth < 8)
            return object;
    }
    return tree->objects[ring3_choose(client, RING3_SHARED_DIRECTORIES)];
}

struct spot {
    struct ring3_object *directory;
    unsigned index; // of a name there
};

static struct spot draw_spot(struct ring3_client *client)
{
    struct ring3_object *directory = choose_directory(client);
    unsigned first = ring3_names_of(directory, client->number);
    return (struct spot){directory, first + (unsigned)ring3_choose(client, RING3_NAMES)};
}

static uint64_t id_at(const struct spot *spot)
{
    return ring3_cell_latest(&spot->directory->names[spot->index]);
}

// A few tries for one that is used, or is not.
static struct spot draw_used(struct ring3_client *client, bool is_used)
{
    struct spot spot = draw_spot(client);
    for (int i = 0; i < 12 && (id_at(&spot) != 0) != is_used; i++)
        spot = draw_spot(client);
    return spot;
}

static struct ring3_place choose_used(struct ring3_client *client, bool is_used)
{
    struct spot spot = draw_used(client, is_used);
    return ring3_place_at(spot.directory, spot.index);
}

static struct ring3_object *object_at(struct ring3_client *client, const struct ring3_place *place)
{
    return ring3_object_of(client->ring3->tree, ring3_cell_latest(place->cell));
}

struct ring3_object *ring3_names_choose(struct ring3_client *client, int kind)
{
    for (int i = 0; i < 10; i++) {
        struct spot spot = draw_used(client, true);
        struct ring3_object *object = ring3_object_of(client->ring3->tree, id_at(&spot));
        if (object != NULL && (kind < 0 || (int)object->kind == kind))
            return object;
    }
    return NULL;
}

bool ring3_names_find(struct ring3_client *client, const struct ring3_object *object,
                      struct ring3_place *place)
{
    const struct ring3_tree *tree = client->ring3->tree;
    for (unsigned i = 0; i < tree->count; i++) {
        struct ring3_object *directory = tree->objects[i];
        if (directory->kind != RING3_DIRECTORY || directory->is_gone ||
            (directory->owner != RING3_NOBODY && directory->owner != client->number))
            continue;
        unsigned first = ring3_names_of(directory, client->number);
        for (unsigned j = first; j < first + RING3_NAMES; j++) {
            if (ring3_cell_latest(&directory->names[j]) != object->id)
                continue;
            *place = ring3_place_at(directory, j);
            return true;
        }
    }
    return false;
}

// --- changes of names ----------------------------------------------------------------------------

// What two cells get by a change; the second may be missing.
struct names_change {
    struct ring3_cell *cells[2];
    uint64_t values[2];
    bool is_noted;
};

static void note(struct ring3_act *act, struct names_change *change)
{
    for (int i = 0; i < 2; i++) {
        if (change->cells[i] != NULL)
            ring3_cell_change(change->cells[i], act->change, change->values[i]);
    }
    change->is_noted = true;
}

// While a life died that had worked on them, nobody can say what the operation met: whoever looks
// next decides.
static enum ring3_answer names_end(struct ring3_act *act, struct names_change *change, int result,
                                   int expected)
{
    struct ring3_client *client = act->client;
    enum ring3_answer answer = ring3_act_end(act, result, expected);
    bool is_open_ended = client->ring3->deaths != client->settled_deaths;
    if (answer == RING3_DONE && !change->is_noted)
        note(act, change);
    for (int i = 0; i < 2 && change->cells[i] != NULL; i++) {
        if (answer == RING3_REFUSED)
            ring3_cell_undo(change->cells[i], act->change);
        if (is_open_ended && answer != RING3_WRONG)
            change->cells[i]->is_blind = true;
    }
    return answer;
}

// --- making --------------------------------------------------------------------------------------

static void symlink_target(const struct ring3_object *object, char target[300])
{
    snprintf(target, 300, "to %0*u", object->id % 3 == 0 ? 280 : 10, object->id);
}

static int call_make(struct ring3_act *act, const struct ring3_place *place,
                     const struct ring3_object *object, mode_t mode, struct attributes *made)
{
    struct volume *volume = ring3_act_volume(act);
    struct credentials who = {1000 + object->owner, 1000, 0};
    uint64_t parent = place->directory->inode;
    char target[300];
    switch (object->kind) {
    case RING3_FILE:
    case RING3_FIFO:
        return operation_create(volume, parent, place->text, ring3_kind_mode(object->kind) | mode,
                                0, &who, -1, made, NULL);
    case RING3_DIRECTORY:
        return operation_make_directory(volume, parent, place->text, mode, &who, made);
    case RING3_SYMLINK:
        symlink_target(object, target);
        return operation_symlink(volume, parent, place->text, target, &who, made);
    }
    return -EINVAL;
}

// What a new object has; a default list of its directory becomes its access list, and grants at
// most what was asked for.
static void know_attributes(struct ring3_client *client, struct ring3_object *object,
                            const struct ring3_object *directory, mode_t mode)
{
    struct ring3_memories *memories = &client->ring3->memories;
    uint64_t list = object->kind == RING3_SYMLINK ? 0 : ring3_cell_latest(&directory->defaults);
    if (list != 0) {
        mode &= ring3_acl_mode(list);
        ring3_cell_set(memories, &object->access, ring3_acl_with_mode(list, mode));
        if (object->kind == RING3_DIRECTORY)
            ring3_cell_set(memories, &object->defaults, list);
    }
    ring3_cell_set(memories, &object->mode, ring3_kind_mode(object->kind) | mode);
    ring3_cell_set(memories, &object->user, 1000 + object->owner);
}

// A death since its directory's default list was certain leaves open what it inherited.
static void doubt_attributes(struct ring3_object *object, const struct ring3_object *directory)
{
    bool is_open = directory->defaults.count > 0 && object->kind != RING3_SYMLINK;
    object->mode.is_blind = object->access.is_blind = is_open;
    object->defaults.is_blind = is_open && object->kind == RING3_DIRECTORY;
}

static void make(struct ring3_client *client)
{
    static const enum ring3_kind kinds[] = {RING3_FILE,    RING3_FILE,      RING3_FILE,
                                            RING3_FILE,    RING3_DIRECTORY, RING3_DIRECTORY,
                                            RING3_SYMLINK, RING3_FIFO};
    static const char *const names[] = {"create", "mkdir", "symlink", "mknod"};
    struct ring3_place place = choose_used(client, ring3_choose(client, 12) == 0);
    struct ring3_act act;
    enum ring3_kind kind = kinds[ring3_choose(client, 8)];
    mode_t mode = kind == RING3_SYMLINK ? 0777 : (mode_t)(0400 | ring3_choose(client, 01000));
    if (!ring3_acl_settle(client, place.directory, &place.directory->defaults))
        return;
    bool exists = object_at(client, &place) != NULL;
    unsigned deaths = client->ring3->deaths;
    ring3_place_say(&act, &place);
    if (!ring3_act_begin(&act, client, names[kind], true))
        return;
    struct ring3_object *object = ring3_object_new(client->ring3->tree, kind, client->number);
    struct names_change change = {{place.cell, NULL}, {object->id, 0}, false};
    object->depth = place.directory->depth + 1;
    snprintf(act.where, sizeof(act.where), "%u/%.40s: %u", place.directory->id, place.text,
             object->id);
    know_attributes(client, object, place.directory, mode);
    if (!exists)
        note(&act, &change);
    struct attributes made = {0};
    int result = call_make(&act, &place, object, mode, &made);
    enum ring3_answer answer = names_end(&act, &change, result, exists ? -EEXIST : 0);
    if (answer == RING3_DONE) {
        object->inode = made.inode;
        object->generation = made.generation;
    } else if (exists) {
        object->is_gone = true;
    }
    if (client->ring3->deaths != deaths)
        doubt_attributes(object, place.directory);
}

// open(2)'s O_TMPFILE, and a name for it, by the same node: as a create, for whoever looks.
static void make_unnamed(struct ring3_client *client)
{
    struct ring3_place place = choose_used(client, false);
    struct credentials who = {1000 + client->number, 1000, 0};
    struct attributes made = {0}, out;
    struct open_file *file = NULL;
    struct ring3_act act;
    mode_t mode = (mode_t)(0400 | ring3_choose(client, 01000));
    ring3_place_say(&act, &place);
    if (!ring3_acl_settle(client, place.directory, &place.directory->defaults))
        return;
    unsigned deaths = client->ring3->deaths;
    if (object_at(client, &place) != NULL || !ring3_act_begin(&act, client, "O_TMPFILE", true))
        return;
    struct ring3_object *object = ring3_object_new(client->ring3->tree, RING3_FILE, client->number);
    struct names_change change = {{place.cell, NULL}, {object->id, 0}, false};
    struct volume *volume = ring3_act_volume(&act);
    object->depth = place.directory->depth + 1;
    know_attributes(client, object, place.directory, mode);
    note(&act, &change);
    int result = operation_create_unnamed(volume, place.directory->inode, S_IFREG | mode, &who,
                                          O_RDWR, &made, &file);
    if (result == 0)
        result = operation_link(volume, made.inode, place.directory->inode, place.text, &out);
    if (file != NULL)
        operation_release(volume, file);
    if (names_end(&act, &change, result, 0) == RING3_DONE) {
        object->inode = made.inode;
        object->generation = made.generation;
    }
    if (client->ring3->deaths != deaths)
        doubt_attributes(object, place.directory);
}

static void link_name(struct ring3_client *client)
{
    struct ring3_object *object = ring3_names_choose(client, RING3_FILE);
    struct ring3_place place = choose_used(client, ring3_choose(client, 12) == 0);
    struct ring3_act act;
    struct attributes out;
    ring3_place_say(&act, &place);
    if (object == NULL || object->inode == 0 || !ring3_act_begin(&act, client, "link", true))
        return;
    bool exists = object_at(client, &place) != NULL;
    struct names_change change = {{place.cell, NULL}, {object->id, 0}, false};
    if (!exists)
        note(&act, &change);
    int result = operation_link(ring3_act_volume(&act), object->inode, place.directory->inode,
                                place.text, &out);
    names_end(&act, &change, result, exists ? -EEXIST : 0);
}

// --- taking away -----------------------------------------------------------------------------

static void forget_if_unnamed(struct ring3_client *client, struct ring3_object *object)
{
    if (object != NULL && !ring3_is_open(client, object) &&
        ring3_object_links(client->ring3->tree, object) == 0)
        object->is_gone = true;
}

static void remove_name(struct ring3_client *client)
{
    struct ring3_place place = choose_used(client, ring3_choose(client, 12) != 0);
    struct ring3_object *object = object_at(client, &place);
    bool is_directory = object != NULL && object->kind == RING3_DIRECTORY;
    struct names_change change = {{place.cell, NULL}, {0, 0}, false};
    struct ring3_act act;
    int expected = object == NULL                                      ? -ENOENT
                   : is_directory && !ring3_directory_is_empty(object) ? -ENOTEMPTY
                                                                       : 0;
    ring3_place_say(&act, &place);
    if (!ring3_act_begin(&act, client, is_directory ? "rmdir" : "unlink", true))
        return;
    if (expected == 0)
        note(&act, &change);
    struct volume *volume = ring3_act_volume(&act);
    int result = is_directory
                     ? operation_remove_directory(volume, place.directory->inode, place.text)
                     : operation_unlink(volume, place.directory->inode, place.text);
    if (names_end(&act, &change, result, expected) == RING3_DONE)
        forget_if_unnamed(client, object);
}

// --- renaming --------------------------------------------------------------------------------

static bool is_below(struct ring3_client *client, const struct ring3_object *directory,
                     const struct ring3_object *top)
{
    struct ring3_tree *tree = client->ring3->tree;
    for (unsigned depth = 0; directory != top; depth++) {
        const struct ring3_object *parent = NULL;
        for (unsigned i = 0; i < tree->count && parent == NULL; i++) {
            const struct ring3_object *candidate = tree->objects[i];
            for (unsigned j = 0; j < candidate->name_count; j++) {
                if (!candidate->is_gone && ring3_cell_latest(&candidate->names[j]) == directory->id)
                    parent = candidate;
            }
        }
        if (parent == NULL || depth == tree->count)
            return false;
        directory = parent;
    }
    return true;
}

static int expect_rename(struct ring3_client *client, const struct ring3_place *from,
                         const struct ring3_place *to, unsigned flags)
{
    const struct ring3_object *source = object_at(client, from), *target = object_at(client, to);
    if (source == NULL)
        return -ENOENT;
    if (flags & RENAME_NOREPLACE && target != NULL)
        return -EEXIST;
    if (flags & RENAME_EXCHANGE)
        return target == NULL ? -ENOENT : 0;
    if (target == NULL || source == target)
        return 0;
    if (source->kind == RING3_DIRECTORY)
        return target->kind != RING3_DIRECTORY    ? -ENOTDIR
               : ring3_directory_is_empty(target) ? 0
                                                  : -ENOTEMPTY;
    return target->kind == RING3_DIRECTORY ? -EISDIR : 0;
}

// Loops are refused in an order of errors that ring 2 knows; here they are not tried.
static bool may_loop(struct ring3_client *client, const struct ring3_place *from,
                     const struct ring3_place *to)
{
    const struct ring3_object *source = object_at(client, from), *target = object_at(client, to);
    return (source != NULL && source->kind == RING3_DIRECTORY &&
            is_below(client, to->directory, source)) ||
           (target != NULL && target->kind == RING3_DIRECTORY &&
            is_below(client, from->directory, target));
}

static void deepen(struct ring3_client *client, const struct ring3_place *place)
{
    struct ring3_object *object = object_at(client, place);
    if (object != NULL)
        object->depth = place->directory->depth + 1;
}

static void rename_name(struct ring3_client *client)
{
    static const unsigned all_flags[] = {0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE};
    unsigned flags = all_flags[ring3_choose(client, 4)];
    struct ring3_place from = choose_used(client, ring3_choose(client, 12) != 0);
    struct ring3_place to = choose_used(client, (flags & RENAME_EXCHANGE) != 0);
    struct ring3_act act;
    if (from.cell == to.cell || may_loop(client, &from, &to))
        return;
    int expected = expect_rename(client, &from, &to, flags);
    struct ring3_object *replaced = object_at(client, &to);
    uint64_t source = ring3_cell_latest(from.cell), target = ring3_cell_latest(to.cell);
    struct names_change change = {
        {to.cell, from.cell}, {source, flags & RENAME_EXCHANGE ? target : 0}, false};
    if (source == target) // two names of one file stay
        change.values[1] = source;
    snprintf(act.where, sizeof(act.where), "%u/%.24s to %u/%.24s (%u)", from.directory->id,
             from.text, to.directory->id, to.text, flags);
    if (!ring3_act_begin(&act, client, "rename", true))
        return;
    if (expected == 0)
        note(&act, &change);
    int result = operation_rename(ring3_act_volume(&act), from.directory->inode, from.text,
                                  to.directory->inode, to.text, flags);
    if (names_end(&act, &change, result, expected) != RING3_DONE)
        return;
    deepen(client, &from);
    deepen(client, &to);
    forget_if_unnamed(client, replaced);
}

// --- any of them -------------------------------------------------------------------------------

// Anybody's name, while others change the directory.
static void look_around(struct ring3_client *client)
{
    struct ring3_tree *tree = client->ring3->tree;
    struct ring3_object *directory = tree->objects[ring3_choose(client, RING3_SHARED_DIRECTORIES)];
    if (ring3_choose(client, 3) == 0)
        ring3_look_directory(client, directory);
    else
        ring3_look_name(client, directory, (unsigned)ring3_choose(client, directory->name_count));
}

static void read_link(struct ring3_client *client)
{
    struct ring3_object *object = ring3_names_choose(client, RING3_SYMLINK);
    struct ring3_act act;
    char expected[300];
    act.where[0] = '\0';
    if (object == NULL || object->inode == 0 || !ring3_act_begin(&act, client, "readlink", false))
        return;
    char *target = calloc(1, FORMAT_SYMLINK_BYTES_MAX + 1);
    CHECK(target != NULL);
    int result = operation_read_link(ring3_act_volume(&act), object->inode, target);
    symlink_target(object, expected);
    if (ring3_act_end(&act, result, 0) == RING3_DONE && strcmp(target, expected) != 0)
        ring3_act_wrong(&act, "it leads elsewhere");
    free(target);
}

void ring3_names_step(struct ring3_client *client)
{
    static const struct {
        unsigned share; // of 100
        void (*step)(struct ring3_client *client);
    } steps[] = {{35, make},        {3, make_unnamed}, {8, link_name}, {20, remove_name},
                 {18, rename_name}, {14, look_around}, {2, read_link}};
    uint64_t dice = ring3_choose(client, 100);
    unsigned i = 0;
    while (dice >= steps[i].share)
        dice -= steps[i++].share;
    steps[i].step(client);
}
