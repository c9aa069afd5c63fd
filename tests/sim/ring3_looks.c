// SPDX-License-Identifier: Apache-2.0
// Looks at names, and what a client finds out after a death before it goes on.
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/check.h"
#include "fs/volume.h"
#include "tests/sim/ring3_place.h"

struct ring3_place ring3_place_at(struct ring3_object *directory, unsigned index)
{
    struct ring3_place place = {directory, index, &directory->names[index], ""};
    ring3_name_text(directory, index, place.text);
    return place;
}

void ring3_place_say(struct ring3_act *act, const struct ring3_place *place)
{
    snprintf(act->where, sizeof(act->where), "%u/%.40s", place->directory->id, place->text);
}

// --- looking -------------------------------------------------------------------------------------

bool ring3_look_name(struct ring3_client *client, struct ring3_object *directory, unsigned index)
{
    struct ring3 *ring3 = client->ring3;
    struct ring3_place place = ring3_place_at(directory, index);
    struct ring3_act act;
    struct attributes found = {0};
    ring3_place_say(&act, &place);
    if (!ring3_act_begin(&act, client, "lookup", false))
        return false;
    int result = operation_lookup(ring3_act_volume(&act), directory->inode, place.text, &found);
    uint64_t id = 0;
    enum ring3_answer answer = ring3_act_end(&act, result, result == -ENOENT ? -ENOENT : 0);
    if (answer == RING3_UNKNOWN || answer == RING3_WRONG)
        return false;
    if (answer == RING3_DONE) {
        id = ring3_object_find(ring3->tree, place.cell, act.begin, found.inode, found.generation);
        if (id == 0) {
            ring3_act_wrong(&act, "it names what nobody made");
            return false;
        }
    }
    ring3_trace(ring3, "    that is %llu (inode %llu.%llu)", (unsigned long long)id,
                (unsigned long long)found.inode, (unsigned long long)found.generation);
    if (place.cell->is_blind && !ring3_cell_unblind(&ring3->memories, place.cell, id))
        return true;
    if (ring3_cell_seen(&ring3->memories, place.cell, &act.life->memory, act.begin, id))
        return true;
    ring3_act_wrong(&act, ring3->memories.why);
    return false;
}

struct listing {
    struct ring3_act *act;
    struct ring3_object *directory;
    bool *is_listed;
    uint64_t *ids;
    const char *why;
    unsigned piece; // entries that are taken at once; 0: all
    unsigned left;  // of this piece
    uint64_t cursor;
};

static bool list_entry(void *context, const struct directory_entry *entry)
{
    struct listing *listing = context;
    struct ring3 *ring3 = listing->act->client->ring3;
    if (listing->piece > 0 && listing->left-- == 0)
        return false;
    listing->cursor = entry->cursor;
    if (strcmp(entry->name, ".") == 0 || strcmp(entry->name, "..") == 0)
        return true;
    int index = ring3_name_index(listing->directory, entry->name);
    if (index < 0 || listing->is_listed[index]) {
        listing->why = index < 0 ? "it lists a name that nobody gave" : "it lists a name twice";
        return true;
    }
    listing->is_listed[index] = true;
    listing->ids[index] = ring3_object_find(ring3->tree, &listing->directory->names[index],
                                            listing->act->begin, entry->inode, entry->generation);
    return true;
}

// All at once, or piece by piece while others change the directory.
static int list(struct listing *listing, enum directory_listing kind)
{
    struct ring3_act *act = listing->act;
    struct volume *volume = ring3_act_volume(act);
    uint64_t inode = listing->directory->inode, before;
    int result;
    do {
        before = listing->cursor;
        listing->left = listing->piece;
        result = operation_read_directory(volume, inode, before, kind, list_entry, listing);
        if (listing->piece == 0 || result != 0 || listing->cursor == before)
            break;
        environment_sleep(&act->life->world_node.environment, 2 * RING3_MS);
    } while (listing->why == NULL && ring3_life_may_answer(act->life));
    return result;
}

bool ring3_look_directory(struct ring3_client *client, struct ring3_object *directory)
{
    struct ring3 *ring3 = client->ring3;
    struct ring3_act act;
    snprintf(act.where, sizeof(act.where), "%u", directory->id);
    if (!ring3_act_begin(&act, client, "readdir", false))
        return false;
    struct listing listing = {
        .act = &act,
        .directory = directory,
        .is_listed = calloc(directory->name_count, sizeof(bool)),
        .ids = calloc(directory->name_count, sizeof(uint64_t)),
    };
    CHECK(listing.is_listed != NULL && listing.ids != NULL);
    if (ring3_choose(client, 3) == 0)
        listing.piece = 1 + (unsigned)ring3_choose(client, 6);
    int result = list(&listing, ring3_choose(client, 2) == 0 ? LIST_NAMES_AHEAD : LIST_NAMES);
    bool holds = ring3_act_end(&act, result, 0) == RING3_DONE;
    // What died meanwhile may have been seen in one piece and not in another.
    bool is_judged = listing.piece == 0 || act.deaths == ring3->deaths;
    for (unsigned i = 0; holds && listing.why == NULL && i < directory->name_count; i++) {
        if (listing.is_listed[i] && listing.ids[i] == 0)
            listing.why = "it lists what nobody made";
        else if (is_judged && !ring3_cell_seen(&ring3->memories, &directory->names[i],
                                               &act.life->memory, act.begin, listing.ids[i]))
            listing.why = ring3->memories.why;
    }
    if (holds && listing.why != NULL)
        ring3_act_wrong(&act, listing.why);
    holds = holds && listing.why == NULL;
    free(listing.is_listed);
    free(listing.ids);
    return holds;
}

// --- settling ------------------------------------------------------------------------------------

static bool settle_directory(struct ring3_client *client, struct ring3_object *directory)
{
    unsigned first = ring3_names_of(directory, client->number);
    for (unsigned i = first; i < first + RING3_NAMES; i++) {
        if (!ring3_cell_is_certain(&directory->names[i]) && !ring3_look_name(client, directory, i))
            return false;
        struct ring3_object *object =
            ring3_object_of(client->ring3->tree, ring3_cell_latest(&directory->names[i]));
        if (object == NULL)
            continue;
        object->is_reached = true;
        object->is_gone = false;
        object->depth = directory->depth + 1;
    }
    return true;
}

bool ring3_is_open(const struct ring3_client *client, const struct ring3_object *object)
{
    for (unsigned i = 0; i < RING3_HANDLES; i++) {
        if (client->handles[i] != NULL && client->handles[i]->object == object)
            return true;
    }
    return false;
}

// What of it no name leads to any more is gone, with all that is below.
bool ring3_names_settle(struct ring3_client *client)
{
    struct ring3 *ring3 = client->ring3;
    struct ring3_tree *tree = ring3->tree;
    unsigned deaths = ring3->deaths, reached = 0, before;
    if (client->settled_deaths == deaths)
        return true;
    for (unsigned i = 0; i < tree->count; i++) {
        struct ring3_object *object = tree->objects[i];
        if (object->owner == client->number)
            object->is_reached = false;
    }
    bool *is_done = calloc(tree->count, sizeof(bool));
    unsigned count = tree->count;
    bool holds = is_done != NULL;
    do {
        before = reached;
        for (unsigned i = 0; holds && i < count; i++) {
            struct ring3_object *object = tree->objects[i];
            bool is_own = object->owner == client->number;
            if (object->kind != RING3_DIRECTORY || is_done[i] ||
                (is_own ? !object->is_reached : object->owner != RING3_NOBODY))
                continue;
            is_done[i] = true;
            reached++;
            holds = settle_directory(client, object);
        }
    } while (holds && reached != before);
    free(is_done);
    if (!holds)
        return false;
    for (unsigned i = 0; i < count; i++) {
        struct ring3_object *object = tree->objects[i];
        if (object->owner == client->number && !object->is_reached &&
            !ring3_is_open(client, object))
            object->is_gone = true;
    }
    client->settled_deaths = deaths;
    return true;
}
