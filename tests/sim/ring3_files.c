// SPDX-License-Identifier: Apache-2.0
// Operations on content, through the core and past it (ring3_lane.c).
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fs/base/block_device.h"
#include "fs/base/check.h"
#include "fs/open_file.h"
#include "fs/pass.h"
#include "fs/volume.h"
#include "tests/sim/ring3_part.h"

// --- content -------------------------------------------------------------------------------------

struct ring3_part ring3_part_draw(struct ring3_client *client)
{
    static const unsigned counts[] = {1, 2, 7, 8, 16, 64};
    static const unsigned grains[] = {1, 8, 8, 16};
    unsigned grain = grains[ring3_choose(client, 4)];
    struct ring3_part part = {.count = counts[ring3_choose(client, 6)]};
    if (ring3_choose(client, 2) == 0)
        part.count = 1 + (unsigned)ring3_choose(client, part.count);
    part.first =
        (unsigned)ring3_choose(client, (RING3_FILE_CELLS - part.count) / grain + 1) * grain;
    return part;
}

uint64_t ring3_size_of(const struct ring3_content *content)
{
    return ring3_cell_latest(&content->size);
}

void ring3_size_end(struct ring3_act *act, struct ring3_content *content)
{
    if (act->client->ring3->deaths != act->deaths && !content->is_shared)
        content->size.is_blind = true;
}

void ring3_file_modified(struct ring3_act *act, struct ring3_object *object)
{
    if (object->owner != RING3_NOBODY)
        ring3_cell_change(&object->modified, act->change, 0);
}

void ring3_file_undo(struct ring3_act *act, struct ring3_object *object)
{
    ring3_content_undo(object->content, act->change);
    ring3_cell_undo(&object->modified, act->change);
}

// Where it goes: with O_APPEND to the end, if the model has room for it.
static bool place_write(struct ring3_client *client, const struct ring3_handle *handle,
                        struct ring3_part *part)
{
    *part = ring3_part_draw(client);
    if ((handle->flags & O_APPEND) == 0)
        return true;
    part->first = (unsigned)(ring3_size_of(handle->object->content) / RING3_CELL_BYTES);
    return part->first + part->count <= RING3_FILE_CELLS;
}

static long call_write(struct ring3_act *act, const struct ring3_handle *handle,
                       const struct ring3_part *part)
{
    bool appends = (handle->flags & O_APPEND) != 0;
    uint64_t offset = (uint64_t)part->first * RING3_CELL_BYTES;
    size_t length = (size_t)part->count * RING3_CELL_BYTES;
    uint8_t *buffer = block_buffer_new(length + 2 * BLOCK_BYTES);
    long result;
    ring3_content_fill(buffer, act->begin, part->first, part->count);
    if (appends ||
        !ring3_lane_serves(act->life, handle->open, true, offset, buffer, length, &result))
        result = operation_write(ring3_act_volume(act), handle->open, appends ? 0 : offset, buffer,
                                 length);
    free(buffer);
    return result;
}

static void write_range(struct ring3_client *client, struct ring3_handle *handle)
{
    struct ring3_object *object = handle->object;
    struct ring3_content *content = object->content;
    bool appends = (handle->flags & O_APPEND) != 0;
    struct ring3_part part;
    struct ring3_act act;
    ring3_act_say_object(&act, object);
    if (!place_write(client, handle, &part) ||
        ring3_content_is_busy(content, part.first, part.count) ||
        !ring3_act_begin(&act, client, appends ? "append" : "write", true))
        return;
    uint64_t end = (uint64_t)(part.first + part.count) * RING3_CELL_BYTES;
    ring3_content_change(content, act.change, part.first, part.count, act.begin);
    if (end > ring3_size_of(content))
        ring3_cell_change(&content->size, act.change, end);
    ring3_file_modified(&act, object);
    long result = call_write(&act, handle, &part);
    enum ring3_answer answer = ring3_act_end(&act, result, 0);
    if (answer == RING3_REFUSED)
        ring3_file_undo(&act, object);
    if (answer == RING3_DONE && result != (long)part.count * RING3_CELL_BYTES)
        ring3_act_wrong(&act, "it was short");
    ring3_size_end(&act, content);
    if (appends && client->ring3->deaths != act.deaths)
        ring3_content_doubt(content); // nobody knows which end it met
}

static bool read_range(struct ring3_client *client, struct ring3_handle *handle,
                       struct ring3_part part)
{
    struct ring3 *ring3 = client->ring3;
    struct ring3_object *object = handle->object;
    uint64_t offset = (uint64_t)part.first * RING3_CELL_BYTES,
             size = ring3_size_of(object->content);
    size_t length = (size_t)part.count * RING3_CELL_BYTES;
    long expected = offset >= size ? 0 : (long)(size - offset < length ? size - offset : length);
    struct ring3_act act;
    ring3_act_say_object(&act, object);
    if (!ring3_act_begin(&act, client, "read", false))
        return false;
    uint8_t *buffer = block_buffer_new(length + 2 * BLOCK_BYTES);
    long result;
    bool holds = true;
    if (expected != (long)length ||
        !ring3_lane_serves(act.life, handle->open, false, offset, buffer, length, &result))
        result = operation_read(ring3_act_volume(&act), handle->open, offset, buffer, length);
    if (ring3_act_end(&act, result, 0) != RING3_DONE) {
        holds = false;
    } else if (result != expected && !ring3_cell_is_certain(&object->content->size)) {
        holds = false; // a death meanwhile: its size has to be asked for
    } else if (result != expected) {
        ring3_act_wrong(&act, "it was of another length");
        holds = false;
    } else if (!ring3_content_seen(&ring3->memories, object->content, &act.life->memory, act.begin,
                                   part.first, (unsigned)(result / RING3_CELL_BYTES), buffer)) {
        ring3_act_wrong(&act, ring3->memories.why);
        holds = false;
    }
    free(buffer);
    return holds;
}

static void note_size(struct ring3_act *act, struct ring3_object *object, unsigned cells)
{
    struct ring3_content *content = object->content;
    ring3_cell_change(&content->size, act->change, (uint64_t)cells * RING3_CELL_BYTES);
    ring3_content_change(content, act->change, cells, RING3_FILE_CELLS - cells, 0);
    ring3_file_modified(act, object);
}

static void set_size(struct ring3_client *client, struct ring3_object *object)
{
    struct ring3_content *content = object->content;
    unsigned cells = (unsigned)ring3_choose(client, RING3_FILE_CELLS + 1);
    struct ring3_act act;
    struct attributes wanted = {0}, out;
    if (ring3_choose(client, 3) == 0)
        cells = (unsigned)ring3_choose(client, 4);
    ring3_act_say_object(&act, object);
    if (content->is_shared || !ring3_act_begin(&act, client, "truncate", true))
        return;
    wanted.stat.st_size = (off_t)cells * RING3_CELL_BYTES;
    note_size(&act, object, cells);
    int result =
        operation_set_attributes(ring3_act_volume(&act), object->inode, &wanted, SET_SIZE, &out);
    if (ring3_act_end(&act, result, 0) == RING3_REFUSED)
        ring3_file_undo(&act, object);
    ring3_size_end(&act, content);
}

static void sync_file(struct ring3_client *client, struct ring3_handle *handle)
{
    struct ring3_act act;
    ring3_act_say_object(&act, handle->object);
    if (!ring3_act_begin(&act, client, "fsync", false))
        return;
    int result =
        operation_sync_file(ring3_act_volume(&act), handle->open, ring3_choose(client, 3) == 0);
    if (ring3_act_end(&act, result, 0) == RING3_DONE)
        ring3_content_synced(handle->object->content, &act.life->memory, act.begin);
}

// --- handles -------------------------------------------------------------------------------------

struct ring3_handle *ring3_file_open(struct ring3_client *client, struct ring3_object *object,
                                     int flags)
{
    struct ring3_act act;
    struct open_file *open = NULL;
    bool truncates = (flags & O_TRUNC) != 0;
    ring3_act_say_object(&act, object);
    if (!ring3_act_begin(&act, client, truncates ? "open with O_TRUNC" : "open", truncates))
        return NULL;
    act.life->user_count++; // until the handle stands in its list
    struct ring3_handle *handle = NULL;
    if (truncates)
        note_size(&act, object, 0);
    int result = operation_open(ring3_act_volume(&act), object->inode, flags, &open);
    enum ring3_answer answer = ring3_act_end(&act, result, 0);
    if (answer == RING3_DONE)
        handle = ring3_handle_new(act.life, open, object, flags);
    else if (result == 0)
        operation_release(ring3_act_volume(&act), open);
    if (truncates && answer == RING3_REFUSED)
        ring3_file_undo(&act, object);
    if (truncates)
        ring3_size_end(&act, object->content);
    ring3_life_end(act.life);
    return handle;
}

// How a client opens what it works on; shared files stay as long as they are.
static int draw_flags(struct ring3_client *client, const struct ring3_object *object)
{
    static const int flags[] = {O_RDWR,
                                O_RDWR,
                                O_RDWR,
                                O_RDWR | O_APPEND,
                                O_RDWR | O_APPEND,
                                O_RDWR | O_TRUNC,
                                O_RDWR | O_TRUNC | O_APPEND};
    if (object->content->is_shared)
        return O_RDWR;
    return flags[ring3_choose(client, sizeof(flags) / sizeof(flags[0]))];
}

void ring3_file_close(struct ring3_client *client, struct ring3_handle *handle)
{
    struct ring3_life *life = handle->life;
    struct open_file *open = handle->open;
    handle->open = NULL; // from here on it is not the life's to release
    if (open != NULL) {
        life->user_count++;
        operation_release(life->volume, open);
        ring3_life_end(life);
    }
    struct ring3_object *object = handle->object;
    ring3_handle_free(handle);
    if (object->owner == client->number && ring3_object_links(client->ring3->tree, object) == 0)
        object->is_gone = true;
}

static void close_handle(struct ring3_client *client, unsigned index)
{
    struct ring3_handle *handle = client->handles[index];
    client->handles[index] = NULL;
    ring3_file_close(client, handle);
}

// After a death the size of what only this client writes has to be asked for.
bool ring3_size_settle(struct ring3_client *client, struct ring3_object *object)
{
    struct ring3 *ring3 = client->ring3;
    struct ring3_act act;
    struct attributes found;
    if (ring3_cell_is_certain(&object->content->size))
        return true;
    ring3_act_say_object(&act, object);
    if (!ring3_act_begin(&act, client, "look at the size", false))
        return false;
    int result = operation_get_attributes(ring3_act_volume(&act), object->inode, &found);
    if (ring3_act_end(&act, result, 0) != RING3_DONE)
        return false;
    if (ring3_content_size_seen(&ring3->memories, object->content, &act.life->memory, act.begin,
                                (uint64_t)found.stat.st_size))
        return true;
    ring3_act_wrong(&act, ring3->memories.why);
    return false;
}

bool ring3_look_content(struct ring3_client *client, struct ring3_object *object)
{
    if (!ring3_size_settle(client, object))
        return false;
    struct ring3_handle *handle = ring3_file_open(client, object, O_RDONLY);
    if (handle == NULL)
        return false;
    bool holds = read_range(client, handle, (struct ring3_part){0, RING3_FILE_CELLS});
    client->handles[0] = handle;
    close_handle(client, 0);
    return holds;
}

static struct ring3_object *choose_file(struct ring3_client *client)
{
    struct ring3_tree *tree = client->ring3->tree;
    if (ring3_choose(client, 3) == 0)
        return tree->objects[RING3_SHARED_DIRECTORIES + ring3_choose(client, RING3_SHARED_FILES)];
    return ring3_names_choose(client, RING3_FILE);
}

// One that is open in the life where the client works now, or a new one.
static struct ring3_handle *choose_handle(struct ring3_client *client, unsigned *index)
{
    *index = (unsigned)ring3_choose(client, RING3_HANDLES);
    struct ring3_handle *handle = client->handles[*index];
    if (handle != NULL && handle->open != NULL && handle->life == client->life &&
        ring3_choose(client, 4) != 0)
        return ring3_size_settle(client, handle->object) ? handle : NULL;
    if (handle != NULL && handle->open != NULL && handle->life->is_mounted)
        close_handle(client, *index);
    if (client->handles[*index] != NULL)
        return NULL;
    struct ring3_object *object = choose_file(client);
    if (object == NULL || object->inode == 0 || !ring3_size_settle(client, object))
        return NULL;
    client->handles[*index] = ring3_file_open(client, object, draw_flags(client, object));
    return client->handles[*index];
}

void ring3_files_step(struct ring3_client *client)
{
    unsigned index;
    struct ring3_handle *handle = choose_handle(client, &index);
    if (handle == NULL || handle->open == NULL || handle->life != client->life ||
        !client->life->is_mounted || !ring3_size_settle(client, handle->object) ||
        handle->open == NULL)
        return;
    handle->life->user_count++; // it is not released meanwhile
    uint64_t dice = ring3_choose(client, 100);
    if (dice < 37)
        write_range(client, handle);
    else if (dice < 42)
        ring3_space_copy(client, handle);
    else if (dice < 70)
        read_range(client, handle, ring3_part_draw(client));
    else if (dice < 78)
        set_size(client, handle->object);
    else if (dice < 86)
        ring3_space_allocate(client, handle);
    else if (dice < 91)
        ring3_space_seek(client, handle);
    else
        sync_file(client, handle);
    ring3_life_end(handle->life);
}
