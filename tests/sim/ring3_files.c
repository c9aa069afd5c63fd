// SPDX-License-Identifier: Apache-2.0
// Operations on content, through the core and past it (ring3_lane.c).
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fs/base/block_device.h"
#include "fs/base/check.h"
#include "fs/open_file.h"
#include "fs/pass.h"
#include "fs/volume.h"
#include "tests/sim/ring3_client.h"

// --- content -------------------------------------------------------------------------------------

struct range {
    unsigned first, count;
};

static struct range draw_range(struct ring3_client *client)
{
    static const unsigned counts[] = {1, 2, 7, 8, 16, 64};
    static const unsigned grains[] = {1, 8, 8, 16};
    unsigned grain = grains[ring3_choose(client, 4)];
    struct range range = {.count = counts[ring3_choose(client, 6)]};
    if (ring3_choose(client, 2) == 0)
        range.count = 1 + (unsigned)ring3_choose(client, range.count);
    range.first =
        (unsigned)ring3_choose(client, (RING3_FILE_CELLS - range.count) / grain + 1) * grain;
    return range;
}

static uint64_t size_of(const struct ring3_content *content)
{
    return ring3_cell_latest(&content->size);
}

// A death while the size was being changed leaves open what it was: the next look decides.
static void size_end(struct ring3_act *act, struct ring3_content *content)
{
    if (act->client->ring3->deaths != act->deaths && !content->is_shared)
        content->size.is_blind = true;
}

static void write_range(struct ring3_client *client, struct ring3_handle *handle)
{
    struct ring3_object *object = handle->object;
    struct ring3_content *content = object->content;
    struct range range = draw_range(client);
    uint64_t offset = (uint64_t)range.first * RING3_CELL_BYTES;
    size_t length = (size_t)range.count * RING3_CELL_BYTES;
    struct ring3_act act;
    ring3_act_say_object(&act, object);
    if (ring3_content_is_busy(content, range.first, range.count) ||
        !ring3_act_begin(&act, client, "write", true))
        return;
    ring3_content_change(content, act.change, range.first, range.count, act.begin);
    if (offset + length > size_of(content))
        ring3_cell_change(&content->size, act.change, offset + length);
    uint8_t *buffer = block_buffer_new(length + 2 * BLOCK_BYTES);
    ring3_content_fill(buffer, act.begin, range.first, range.count);
    long result;
    if (!ring3_lane_serves(act.life, handle->open, true, offset, buffer, length, &result))
        result = operation_write(ring3_act_volume(&act), handle->open, offset, buffer, length);
    enum ring3_answer answer = ring3_act_end(&act, result, 0);
    if (answer == RING3_REFUSED)
        ring3_content_undo(content, act.change);
    if (answer == RING3_DONE && result != (long)length)
        ring3_act_wrong(&act, "it was short");
    size_end(&act, content);
    free(buffer);
}

static bool read_range(struct ring3_client *client, struct ring3_handle *handle, struct range range)
{
    struct ring3 *ring3 = client->ring3;
    struct ring3_object *object = handle->object;
    uint64_t offset = (uint64_t)range.first * RING3_CELL_BYTES, size = size_of(object->content);
    size_t length = (size_t)range.count * RING3_CELL_BYTES;
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
                                   range.first, (unsigned)(result / RING3_CELL_BYTES), buffer)) {
        ring3_act_wrong(&act, ring3->memories.why);
        holds = false;
    }
    free(buffer);
    return holds;
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
    ring3_cell_change(&content->size, act.change, (uint64_t)wanted.stat.st_size);
    ring3_content_change(content, act.change, cells, RING3_FILE_CELLS - cells, 0);
    int result =
        operation_set_attributes(ring3_act_volume(&act), object->inode, &wanted, SET_SIZE, &out);
    if (ring3_act_end(&act, result, 0) == RING3_REFUSED)
        ring3_content_undo(content, act.change);
    size_end(&act, content);
}

static void allocate(struct ring3_client *client, struct ring3_handle *handle)
{
    static const struct {
        int mode;
        bool zeroes, grows;
        const char *what;
    } modes[] = {
        {0, false, true, "fallocate"},
        {FALLOC_FL_KEEP_SIZE, false, false, "fallocate, keep size"},
        {FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, true, false, "punch"},
        {FALLOC_FL_ZERO_RANGE, true, true, "zero"},
        {FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, true, false, "zero, keep size"},
    };
    struct ring3_content *content = handle->object->content;
    struct range range = draw_range(client);
    uint64_t dice = ring3_choose(client, 5);
    uint64_t offset = (uint64_t)range.first * RING3_CELL_BYTES;
    uint64_t length = (uint64_t)range.count * RING3_CELL_BYTES;
    struct ring3_act act;
    ring3_act_say_object(&act, handle->object);
    if (ring3_content_is_busy(content, range.first, range.count) ||
        !ring3_act_begin(&act, client, modes[dice].what, true))
        return;
    if (modes[dice].zeroes)
        ring3_content_change(content, act.change, range.first, range.count, 0);
    if (modes[dice].grows && offset + length > size_of(content))
        ring3_cell_change(&content->size, act.change, offset + length);
    int result =
        operation_allocate(ring3_act_volume(&act), handle->open, modes[dice].mode, offset, length);
    if (ring3_act_end(&act, result, 0) == RING3_REFUSED)
        ring3_content_undo(content, act.change);
    size_end(&act, content);
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

static struct ring3_handle *open_object(struct ring3_client *client, struct ring3_object *object)
{
    struct ring3_act act;
    struct open_file *open = NULL;
    ring3_act_say_object(&act, object);
    if (!ring3_act_begin(&act, client, "open", false))
        return NULL;
    act.life->user_count++; // until the handle stands in its list
    struct ring3_handle *handle = NULL;
    int result = operation_open(ring3_act_volume(&act), object->inode, O_RDWR, &open);
    enum ring3_answer answer = ring3_act_end(&act, result, 0);
    if (answer == RING3_DONE)
        handle = ring3_handle_new(act.life, open, object, O_RDWR);
    else if (result == 0)
        operation_release(ring3_act_volume(&act), open);
    ring3_life_end(act.life);
    return handle;
}

static void close_it(struct ring3_client *client, struct ring3_handle *handle)
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
    close_it(client, handle);
}

// After a death the size of what only this client writes has to be asked for.
static bool settle_content(struct ring3_client *client, struct ring3_object *object)
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
    if (!settle_content(client, object))
        return false;
    struct ring3_handle *handle = open_object(client, object);
    if (handle == NULL)
        return false;
    bool holds = read_range(client, handle, (struct range){0, RING3_FILE_CELLS});
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
        return settle_content(client, handle->object) ? handle : NULL;
    if (handle != NULL && handle->open != NULL && handle->life->is_mounted)
        close_handle(client, *index);
    if (client->handles[*index] != NULL)
        return NULL;
    struct ring3_object *object = choose_file(client);
    if (object == NULL || object->inode == 0 || !settle_content(client, object))
        return NULL;
    client->handles[*index] = open_object(client, object);
    return client->handles[*index];
}

// From one file that only this client writes to another one.
static void copy_range(struct ring3_client *client, struct ring3_handle *to)
{
    struct ring3_object *source = ring3_names_choose(client, RING3_FILE), *target = to->object;
    struct range range = draw_range(client);
    unsigned from_first = (unsigned)ring3_choose(client, RING3_FILE_CELLS - range.count + 1);
    if (source == NULL || source == target || source->inode == 0 || target->content->is_shared ||
        !settle_content(client, source))
        return;
    struct ring3_handle *from = open_object(client, source);
    if (from == NULL)
        return;
    uint64_t from_offset = (uint64_t)from_first * RING3_CELL_BYTES;
    uint64_t offset = (uint64_t)range.first * RING3_CELL_BYTES;
    uint64_t length = (uint64_t)range.count * RING3_CELL_BYTES;
    struct ring3_act act;
    ring3_act_say_object(&act, target);
    if (from->life == to->life && from_offset + length <= size_of(source->content) &&
        ring3_content_is_known(source->content, from_first, range.count) &&
        !ring3_content_is_busy(target->content, range.first, range.count) && to->open != NULL &&
        from->open != NULL && ring3_act_begin(&act, client, "copy_file_range", true)) {
        ring3_content_copy(target->content, act.change, range.first, range.count, source->content,
                           from_first);
        if (offset + length > size_of(target->content))
            ring3_cell_change(&target->content->size, act.change, offset + length);
        long result = operation_copy(ring3_act_volume(&act), from->open, from_offset, to->open,
                                     offset, length);
        bool is_short = result >= 0 && result != (long)length;
        enum ring3_answer answer = ring3_act_end(&act, is_short ? -EIO : result, 0);
        if (answer == RING3_REFUSED)
            ring3_content_undo(target->content, act.change);
        size_end(&act, target->content);
    }
    close_it(client, from);
}

void ring3_files_step(struct ring3_client *client)
{
    unsigned index;
    struct ring3_handle *handle = choose_handle(client, &index);
    if (handle == NULL || handle->open == NULL || handle->life != client->life ||
        !client->life->is_mounted || !settle_content(client, handle->object) ||
        handle->open == NULL)
        return;
    handle->life->user_count++; // it is not released meanwhile
    uint64_t dice = ring3_choose(client, 100);
    if (dice < 37)
        write_range(client, handle);
    else if (dice < 41)
        copy_range(client, handle);
    else if (dice < 70)
        read_range(client, handle, draw_range(client));
    else if (dice < 78)
        set_size(client, handle->object);
    else if (dice < 86)
        allocate(client, handle);
    else
        sync_file(client, handle);
    ring3_life_end(handle->life);
}
