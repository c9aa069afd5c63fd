// SPDX-License-Identifier: Apache-2.0
// Where files have space, and what the volume says of it: fallocate, lseek, copy_file_range,
// statfs.
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <unistd.h>

#include "fs/base/block_device.h"
#include "fs/volume.h"
#include "tests/sim/ring3_part.h"

struct mode {
    int mode;
    bool zeroes, grows;
    int expected;
    const char *what;
};

void ring3_space_allocate(struct ring3_client *client, struct ring3_handle *handle)
{
    static const struct mode modes[] = {
        {0, false, true, 0, "fallocate"},
        {FALLOC_FL_KEEP_SIZE, false, false, 0, "fallocate, keep size"},
        {FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, true, false, 0, "punch"},
        {FALLOC_FL_ZERO_RANGE, true, true, 0, "zero"},
        {FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, true, false, 0, "zero, keep size"},
        {FALLOC_FL_COLLAPSE_RANGE, false, false, -EOPNOTSUPP, "collapse"},
    };
    struct ring3_content *content = handle->object->content;
    struct ring3_part part = ring3_part_draw(client);
    const struct mode *mode = &modes[ring3_choose(client, sizeof(modes) / sizeof(modes[0]))];
    uint64_t offset = (uint64_t)part.first * RING3_CELL_BYTES;
    uint64_t length = (uint64_t)part.count * RING3_CELL_BYTES;
    struct ring3_act act;
    ring3_act_say_object(&act, handle->object);
    if (ring3_content_is_busy(content, part.first, part.count) ||
        !ring3_act_begin(&act, client, mode->what, true))
        return;
    if (mode->zeroes)
        ring3_content_change(content, act.change, part.first, part.count, 0);
    if (mode->grows && offset + length > ring3_size_of(content))
        ring3_cell_change(&content->size, act.change, offset + length);
    ring3_file_modified(&act, handle->object);
    int result =
        operation_allocate(ring3_act_volume(&act), handle->open, mode->mode, offset, length);
    enum ring3_answer answer = ring3_act_end(&act, result, mode->expected);
    if (answer == RING3_REFUSED)
        ring3_file_undo(&act, handle->object);
    if (answer == RING3_DONE && mode->expected != 0)
        ring3_act_wrong(&act, "it was done");
    ring3_size_end(&act, content);
}

// --- data and holes ------------------------------------------------------------------------------

static bool may_be_zero(const struct ring3_cell *cell, ring3_tick begin)
{
    uint64_t value;
    if (begin < cell->forgotten || cell->is_blind)
        return true;
    for (unsigned i = 0; ring3_cell_candidate(cell, begin, i, &value); i++) {
        if (value == 0)
            return true;
    }
    return false;
}

static bool may_all_be_zero(const struct ring3_content *content, ring3_tick begin, uint64_t from,
                            uint64_t to)
{
    for (uint64_t at = from; at < to; at += RING3_CELL_BYTES) {
        if (!may_be_zero(&content->cells[at / RING3_CELL_BYTES], begin))
            return false;
    }
    return true;
}

// No data is passed over, and a hole is one to the end of its block.
static const char *check_found(const struct ring3_content *content, ring3_tick begin, int whence,
                               uint64_t offset, off_t found)
{
    uint64_t size = ring3_size_of(content), at = (uint64_t)found;
    if (offset >= size)
        return found == -ENXIO ? NULL : "something is found behind the end";
    if (found == -ENXIO && whence == SEEK_DATA)
        return may_all_be_zero(content, begin, offset, size) ? NULL : "data is not found";
    if (found < 0 || at < offset || at > size || (whence == SEEK_DATA && at == size))
        return "what it found is not inside the file";
    if (whence == SEEK_DATA)
        return may_all_be_zero(content, begin, offset, at) ? NULL : "data is passed over";
    uint64_t end = (at / BLOCK_BYTES + 1) * BLOCK_BYTES;
    return may_all_be_zero(content, begin, at, end < size ? end : size) ? NULL : "data is a hole";
}

void ring3_space_seek(struct ring3_client *client, struct ring3_handle *handle)
{
    const struct ring3_content *content = handle->object->content;
    int whence = ring3_choose(client, 2) == 0 ? SEEK_DATA : SEEK_HOLE;
    uint64_t offset = ring3_choose(client, RING3_FILE_CELLS) * RING3_CELL_BYTES;
    struct ring3_act act;
    ring3_act_say_object(&act, handle->object);
    if (!ring3_act_begin(&act, client, whence == SEEK_DATA ? "SEEK_DATA" : "SEEK_HOLE", false))
        return;
    off_t found = operation_seek(ring3_act_volume(&act), handle->open, (off_t)offset, whence);
    enum ring3_answer answer = ring3_act_end(&act, found, found == -ENXIO ? -ENXIO : 0);
    if ((answer != RING3_DONE && answer != RING3_REFUSED) ||
        !ring3_cell_is_certain(&content->size) || act.deaths != client->ring3->deaths)
        return;
    const char *why = check_found(content, act.begin, whence, offset, found);
    if (why != NULL)
        ring3_act_wrong(&act, why);
}

// --- copies --------------------------------------------------------------------------------------

struct copy {
    struct ring3_handle *from, *to;
    struct ring3_part part; // of the target
    unsigned from_first;
    unsigned count; // that there is to copy
};

// Only what the source has, and never onto itself.
static bool plan_copy(struct ring3_client *client, struct copy *copy)
{
    const struct ring3_object *source = copy->from->object, *target = copy->to->object;
    unsigned cells = (unsigned)(ring3_size_of(source->content) / RING3_CELL_BYTES);
    copy->part = ring3_part_draw(client);
    copy->from_first = (unsigned)ring3_choose(client, RING3_FILE_CELLS - copy->part.count + 1);
    copy->count = copy->from_first >= cells ? 0 : cells - copy->from_first;
    if (copy->count > copy->part.count)
        copy->count = copy->part.count;
    bool overlaps = copy->part.first < copy->from_first + copy->part.count &&
                    copy->from_first < copy->part.first + copy->part.count;
    return (source != target || !overlaps) && ring3_cell_is_certain(&source->content->size) &&
           ring3_cell_is_certain(&target->content->size) &&
           ring3_content_is_known(source->content, copy->from_first, copy->count) &&
           !ring3_content_is_busy(target->content, copy->part.first, copy->part.count);
}

static void run_copy(struct ring3_client *client, const struct copy *copy)
{
    struct ring3_object *target = copy->to->object;
    uint64_t offset = (uint64_t)copy->part.first * RING3_CELL_BYTES;
    uint64_t end = offset + (uint64_t)copy->count * RING3_CELL_BYTES;
    struct ring3_act act;
    ring3_act_say_object(&act, target);
    if (!ring3_act_begin(&act, client, "copy_file_range", true))
        return;
    ring3_content_copy(target->content, act.change, copy->part.first, copy->count,
                       copy->from->object->content, copy->from_first);
    if (end > offset && end > ring3_size_of(target->content))
        ring3_cell_change(&target->content->size, act.change, end);
    ring3_file_modified(&act, target);
    long result = operation_copy(ring3_act_volume(&act), copy->from->open,
                                 (uint64_t)copy->from_first * RING3_CELL_BYTES, copy->to->open,
                                 offset, (uint64_t)copy->part.count * RING3_CELL_BYTES);
    bool is_wrong = result >= 0 && result != (long)(end - offset);
    enum ring3_answer answer = ring3_act_end(&act, is_wrong ? -EIO : result, 0);
    if (answer == RING3_REFUSED)
        ring3_file_undo(&act, target);
    ring3_size_end(&act, target->content);
}

void ring3_space_copy(struct ring3_client *client, struct ring3_handle *to)
{
    struct ring3_object *source =
        ring3_choose(client, 3) == 0 ? to->object : ring3_names_choose(client, RING3_FILE);
    if (source == NULL || source->inode == 0 || to->object->content->is_shared ||
        (to->flags & O_APPEND) != 0 || // the kernel refuses that
        !ring3_size_settle(client, source))
        return;
    struct copy copy = {.from = ring3_file_open(client, source, O_RDONLY), .to = to};
    if (copy.from == NULL)
        return;
    if (copy.from->life == to->life && to->open != NULL && copy.from->open != NULL &&
        plan_copy(client, &copy))
        run_copy(client, &copy);
    ring3_file_close(client, copy.from);
}

// --- the volume ----------------------------------------------------------------------------------

void ring3_space_look(struct ring3_client *client)
{
    struct ring3 *ring3 = client->ring3;
    struct statvfs space;
    struct ring3_act act = {.where = ""};
    if (!ring3_act_begin(&act, client, "statfs", false))
        return;
    int result = operation_statfs(ring3_act_volume(&act), &space);
    if (ring3_act_end(&act, result, 0) != RING3_DONE)
        return;
    if (ring3->block_count == 0)
        ring3->block_count = space.f_blocks;
    if (space.f_blocks != ring3->block_count || space.f_bfree > space.f_blocks ||
        space.f_bavail > space.f_bfree || space.f_bsize != BLOCK_BYTES)
        ring3_act_wrong(&act, "its numbers contradict each other");
}
