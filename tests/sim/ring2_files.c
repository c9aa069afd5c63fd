// SPDX-License-Identifier: Apache-2.0
// Content: reads, writes, truncations, allocations, through the core; and the lanes, which here are
// coroutines that go the way of a real lane (fs/lane.c) over the simulated disk.
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/base/check.h"
#include "fs/base/coroutine.h"
#include "fs/base/error.h"
#include "fs/extent_map.h"
#include "fs/file_inline.h"
#include "fs/open_file.h"
#include "fs/operation.h"
#include "fs/pass.h"
#include "tests/sim/ring2_history.h"

enum { TRANSFER_BYTES_MAX = 96 << 10 };

static struct volume *volume_of(const struct ring2_client *client)
{
    return client->history->nodes[client->node].volume;
}

static uint64_t choose(struct ring2_client *client, uint64_t bound)
{
    return random_below(&client->history->random, bound);
}

// A multiple of 8, often of 512 or 4096.
static uint64_t choose_place(struct random *random, uint64_t bound)
{
    static const uint64_t grains[] = {8, 8, 512, 4096, 4096};
    uint64_t grain = grains[random_below(random, 5)];
    return random_below(random, bound / grain + 1) * grain;
}

// `frees`: it gives space back, so -ENOSPC is no answer.
static bool answered(struct ring2_client *client, const struct ring2_file *file, const char *what,
                     long result, long expected, bool frees)
{
    struct ring2_history *history = client->history;
    if (!ring2_goes_on(history))
        return false;
    history->result.operations++;
    ring2_trace(history, "client %u: node %u: file %u: %s: %ld", client->number, client->node,
                file->id, what, result);
    if (result == expected && frees)
        ring2_freed(history);
    if (result == expected)
        return true;
    if (frees || result != -ENOSPC || !ring2_no_space(history, client->node))
        ring2_fail(history, "client %u: file %u: %s answered %ld (%s), expected %ld",
                   client->number, file->id, what, result, error_text((int)result), expected);
    return false;
}

// --- read and write ------------------------------------------------------------------------------

static void trace_range(struct ring2_client *client, const struct ring2_file *file,
                        const char *what, uint64_t offset, uint64_t end)
{
    ring2_trace(client->history, "client %u: node %u: file %u: %s of %llu to %llu, size %llu",
                client->number, client->node, file->id, what, (unsigned long long)offset,
                (unsigned long long)end, (unsigned long long)file->size);
}

static void read_some(struct ring2_client *client, struct ring2_handle *handle)
{
    struct ring2_file *file = handle->file;
    uint64_t offset = choose_place(&client->history->random, RING2_FILE_BYTES_MAX - 8);
    uint64_t length = 8 + choose_place(&client->history->random, TRANSFER_BYTES_MAX - 8);
    uint64_t left = file->size > offset ? file->size - offset : 0;
    uint64_t expected = length < left ? length : left;
    uint8_t *buffer = block_buffer_new(length + 2 * BLOCK_BYTES);
    char why[RING2_FAILURE_BYTES];
    uint64_t begin = ring2_read_begin(file);
    ssize_t result = operation_read(volume_of(client), handle->open, offset, buffer, length);
    ring2_read_end(file);
    if (answered(client, file, "read", result, (long)expected, false)) {
        ring2_did(client->history, RING2_ROW_read);
        if (!ring2_check_read(file, begin, offset, buffer, expected, why, sizeof(why)))
            ring2_fail(client->history, "%s", why);
    }
    free(buffer);
}

// Where the next write goes: behind the end, inside, or behind a hole.
static uint64_t choose_offset(struct ring2_client *client, const struct ring2_file *file)
{
    uint64_t dice = choose(client, 10);
    if (dice < 5)
        return file->size;
    if (dice < 9 && file->size > 0)
        return choose_place(&client->history->random, file->size);
    return choose_place(&client->history->random, RING2_FILE_BYTES_MAX / 2);
}

static uint64_t choose_length(struct ring2_client *client)
{
    uint64_t dice = choose(client, 10);
    if (dice < 3)
        return 8 + choose(client, 80) * 8;
    if (dice < 6)
        return BLOCK_BYTES * (1 + choose(client, 4));
    return 8 + choose_place(&client->history->random, TRANSFER_BYTES_MAX - 8);
}

static void count_write(struct ring2_client *client, const struct ring2_handle *handle,
                        uint64_t offset, uint64_t length, uint64_t size)
{
    struct ring2_history *history = client->history;
    uint64_t end = offset + length;
    ring2_did(history, offset > size ? RING2_ROW_write_behind
                       : end > size  ? RING2_ROW_write_growing
                                     : RING2_ROW_write_inside);
    if (offset % BLOCK_BYTES != 0 || end % BLOCK_BYTES != 0)
        ring2_did(history, RING2_ROW_write_part);
    if (size <= FILE_INLINE_BYTES_MAX && end <= FILE_INLINE_BYTES_MAX)
        ring2_did(history, RING2_ROW_write_small);
    if ((handle->flags & O_APPEND) != 0)
        ring2_did(history, RING2_ROW_write_append);
}

static void write_range(struct ring2_client *client, struct ring2_handle *handle, uint64_t offset,
                        uint64_t length)
{
    struct ring2_file *file = handle->file;
    if ((handle->flags & O_APPEND) != 0)
        offset = file->size;
    uint64_t size = file->size;
    if ((handle->flags & O_ACCMODE) == O_RDONLY || offset + length > RING2_FILE_BYTES_MAX ||
        !ring2_may_begin(file, RING2_WRITE, offset, offset + length))
        return;
    trace_range(client, file, "write", offset, offset + length);
    struct ring2_data_operation *operation =
        ring2_begin(file, RING2_WRITE, offset, offset + length);
    uint8_t *buffer = block_buffer_new(length + 2 * BLOCK_BYTES);
    ring2_fill(buffer, file->id, operation->sequence, offset, length);
    bool copies = (handle->flags & O_APPEND) == 0 && choose(client, 30) == 0;
    ssize_t result = copies
                         ? ring2_unnamed_copy(client, handle, offset, buffer, length)
                         : operation_write(volume_of(client), handle->open, offset, buffer, length);
    free(buffer);
    if (!ring2_goes_on(client->history))
        return;
    bool is_short = result > 0 && result % RING2_WORD_BYTES == 0 && client->history->is_nearly_full;
    if (is_short || answered(client, file, "write", result, (long)length, false)) {
        ring2_end(file, operation, offset + (uint64_t)result);
        count_write(client, handle, offset, (uint64_t)result, size);
    } else {
        ring2_void(file, operation);
    }
}

static void write_some(struct ring2_client *client, struct ring2_handle *handle)
{
    uint64_t offset = choose_offset(client, handle->file);
    write_range(client, handle, offset, choose_length(client));
}

// So many extents that they do not go in one transaction.
static void write_comb(struct ring2_client *client, struct ring2_handle *handle)
{
    uint64_t end = 30 + choose(client, 34);
    if ((handle->flags & O_APPEND) != 0)
        return;
    for (uint64_t block = choose(client, 3); block < end && ring2_goes_on(client->history);
         block += 2)
        write_range(client, handle, block * BLOCK_BYTES, BLOCK_BYTES);
}

// --- size and holes ------------------------------------------------------------------------------

static void count_truncate(struct ring2_client *client, uint64_t size, uint64_t size_before)
{
    ring2_did(client->history, size == 0            ? RING2_ROW_truncate_to_nothing
                               : size < size_before ? RING2_ROW_truncate_down
                                                    : RING2_ROW_truncate_up);
}

static bool truncate_to(struct ring2_client *client, struct ring2_handle *handle, uint64_t size)
{
    struct ring2_file *file = handle->file;
    struct attributes wanted = {0}, out;
    uint64_t size_before = file->size;
    if (size > RING2_FILE_BYTES_MAX ||
        !ring2_may_begin(file, RING2_TRUNCATE, size, RING2_FILE_BYTES_MAX))
        return false;
    trace_range(client, file, "truncate", size, RING2_FILE_BYTES_MAX);
    struct ring2_data_operation *operation =
        ring2_begin(file, RING2_TRUNCATE, size, RING2_FILE_BYTES_MAX);
    wanted.stat.st_size = (off_t)size;
    int result =
        operation_set_attributes(volume_of(client), handle->inode, &wanted, SET_SIZE, &out);
    if (!ring2_goes_on(client->history))
        return false;
    if (!answered(client, file, "truncate", result, 0, size == 0)) {
        ring2_void(file, operation);
        return false;
    }
    ring2_end(file, operation, RING2_FILE_BYTES_MAX);
    count_truncate(client, size, size_before);
    return true;
}

static void truncate_some(struct ring2_client *client, struct ring2_handle *handle)
{
    uint64_t size = choose(client, 4) == 0
                        ? 0
                        : choose_place(&client->history->random, handle->file->size + (64 << 10));
    truncate_to(client, handle, size);
}

static void count_extent(void *context, const struct extent_report *extent)
{
    unsigned *count = context;
    (void)extent;
    ++*count;
}

static unsigned extents_of(struct ring2_client *client, uint64_t inode)
{
    unsigned count = 0;
    int result = operation_list_extents(volume_of(client), inode, count_extent, &count);
    if (!ring2_goes_on(client->history))
        return 0;
    if (result != 0)
        ring2_fail(client->history, "a list of extents answered %d", result);
    ring2_did(client->history, RING2_ROW_list_extents);
    return count;
}

// Meanwhile lanes sync, so that commits fall between the steps.
static void truncate_many(struct ring2_client *client, struct ring2_handle *handle)
{
    uint64_t size = choose_place(&client->history->random, 20 << 10);
    write_comb(client, handle);
    if (!ring2_goes_on(client->history))
        return;
    bool is_rolling = extents_of(client, handle->inode) > EXTENT_MAP_STEP_MAX + 5;
    client->history->steps_under_way++;
    if (ring2_goes_on(client->history) && truncate_to(client, handle, size) && is_rolling)
        ring2_did(client->history, RING2_ROW_truncate_rolling);
    client->history->steps_under_way--;
}

static void allocate(struct ring2_client *client, struct ring2_handle *handle)
{
    static const struct {
        int mode;
        enum ring2_data_kind kind;
        bool grows;
        enum ring2_row row;
        const char *name;
    } modes[] = {
        {0, RING2_ALLOCATE, true, RING2_ROW_allocate, "allocate"},
        {FALLOC_FL_KEEP_SIZE, RING2_ALLOCATE, false, RING2_ROW_allocate_keep,
         "allocate, keep size"},
        {FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, RING2_ZERO, false, RING2_ROW_punch, "punch"},
        {FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, RING2_ZERO, false, RING2_ROW_punch, "punch"},
        {FALLOC_FL_ZERO_RANGE, RING2_ZERO, true, RING2_ROW_zero, "zero"},
        {FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, RING2_ZERO, false, RING2_ROW_zero_keep,
         "zero, keep size"},
    };
    struct ring2_file *file = handle->file;
    uint64_t dice = choose(client, sizeof(modes) / sizeof(modes[0]));
    uint64_t offset = choose_place(&client->history->random, RING2_FILE_BYTES_MAX / 2);
    uint64_t end = offset + 8 + choose_place(&client->history->random, TRANSFER_BYTES_MAX - 8);
    if (!ring2_may_begin(file, modes[dice].kind, offset, end))
        return;
    trace_range(client, file, modes[dice].name, offset, end);
    struct ring2_data_operation *operation = ring2_begin(file, modes[dice].kind, offset, end);
    operation->grows = modes[dice].grows;
    int result =
        operation_allocate(volume_of(client), handle->open, modes[dice].mode, offset, end - offset);
    if (!ring2_goes_on(client->history))
        return;
    if (answered(client, file, "fallocate", result, 0, false)) {
        ring2_end(file, operation, end);
        ring2_did(client->history, modes[dice].row);
    } else {
        ring2_void(file, operation);
    }
}

static void allocate_strangely(struct ring2_client *client, struct ring2_handle *handle)
{
    int result =
        operation_allocate(volume_of(client), handle->open, FALLOC_FL_COLLAPSE_RANGE, 0, 4096);
    if (answered(client, handle->file, "fallocate in another mode", result, -EOPNOTSUPP, false))
        ring2_did(client->history, RING2_ROW_allocate_unknown);
}

// What lies before the data is a hole.
static void check_data(struct ring2_client *client, const struct ring2_file *file, uint64_t offset,
                       off_t data)
{
    uint64_t end = data >= 0 ? (uint64_t)data : file->size;
    for (uint64_t i = offset; i < end; i += RING2_WORD_BYTES) {
        if (file->now[i / RING2_WORD_BYTES] == 0)
            continue;
        ring2_fail(client->history, "file %u: no data from %llu to %lld, but there is", file->id,
                   (unsigned long long)offset, (long long)data);
        return;
    }
}

static void check_hole(struct ring2_client *client, const struct ring2_file *file, uint64_t offset,
                       off_t hole)
{
    uint64_t end = hole / BLOCK_BYTES * BLOCK_BYTES + BLOCK_BYTES;
    if (offset >= file->size && hole == -ENXIO)
        return;
    bool is_inside = hole >= (off_t)offset && hole <= (off_t)file->size;
    for (uint64_t i = (uint64_t)hole; is_inside && i < end && i < file->size; i += RING2_WORD_BYTES)
        is_inside = file->now[i / RING2_WORD_BYTES] == 0;
    if (!is_inside)
        ring2_fail(client->history, "file %u: no hole at %lld, behind %llu of %llu", file->id,
                   (long long)hole, (unsigned long long)offset, (unsigned long long)file->size);
}

static void seek(struct ring2_client *client, struct ring2_handle *handle)
{
    struct ring2_file *file = handle->file;
    uint64_t offset = choose_place(&client->history->random, RING2_FILE_BYTES_MAX - 8);
    bool is_data = choose(client, 2) == 0;
    off_t found = operation_seek(volume_of(client), handle->open, (off_t)offset,
                                 is_data ? SEEK_DATA : SEEK_HOLE);
    if (!ring2_goes_on(client->history))
        return;
    if (is_data)
        check_data(client, file, offset, found);
    else
        check_hole(client, file, offset, found);
    ring2_did(client->history, is_data ? RING2_ROW_seek_data : RING2_ROW_seek_hole);
}

static void look_at(struct ring2_client *client, struct ring2_handle *handle)
{
    struct attributes out;
    int result = operation_get_attributes(volume_of(client), handle->inode, &out);
    if (!answered(client, handle->file, "stat", result, 0, false))
        return;
    ring2_did(client->history, RING2_ROW_stat);
    if ((uint64_t)out.stat.st_size != handle->file->size)
        ring2_fail(client->history, "file %u: size %lld, expected %llu", handle->file->id,
                   (long long)out.stat.st_size, (unsigned long long)handle->file->size);
}

static void sync_file(struct ring2_client *client, struct ring2_handle *handle)
{
    struct ring2_file *file = handle->file;
    uint64_t mark = ring2_sync_mark(file), state = file->last_state;
    bool data_only = choose(client, 2) == 0;
    int result = operation_sync_file(volume_of(client), handle->open, data_only);
    if (!answered(client, file, "fsync", result, 0, false))
        return;
    ring2_did(client->history, data_only ? RING2_ROW_fdatasync : RING2_ROW_fsync);
    ring2_synced(file, mark);
    ring2_client_durable(client, state);
}

void ring2_files_step(struct ring2_client *client, struct ring2_handle *handle, bool is_unlinked)
{
    uint64_t dice = choose(client, 100), writes = client->history->result.operations;
    handle->is_busy = true;
    if (dice < 20)
        read_some(client, handle);
    else if (dice < 57)
        write_some(client, handle);
    else if (dice < 59)
        write_comb(client, handle);
    else if (dice < 69)
        truncate_some(client, handle);
    else if (dice < 70)
        truncate_many(client, handle);
    else if (dice < 82)
        allocate(client, handle);
    else if (dice < 83)
        allocate_strangely(client, handle);
    else if (dice < 86)
        seek(client, handle);
    else if (dice < 88)
        look_at(client, handle);
    else
        sync_file(client, handle);
    handle->is_busy = false;
    if (is_unlinked && dice >= 20 && dice < 59 && client->history->result.operations > writes)
        ring2_did(client->history, RING2_ROW_write_unlinked);
}

// --- lanes ---------------------------------------------------------------------------------------

static struct ring2_handle *choose_handle(struct ring2_history *history)
{
    struct ring2_client *client = &history->clients[random_below(&history->random, RING2_CLIENTS)];
    struct ring2_handle *handle = &client->handles[random_below(&history->random, RING2_HANDLES)];
    return handle->open != NULL ? handle : NULL;
}

// One extent's part of the range, as a real lane does it; false: it is the core's.
static bool transfer(struct ring2_history *history, struct ring2_handle *handle, bool is_write,
                     uint64_t offset, void *buffer, size_t length, int *result)
{
    uint64_t volume_offset, run;
    struct block_device *device = history->nodes[handle->node].path;
    struct scheduler *scheduler = history->world.scheduler;
    struct pass *pass = open_file_pass(handle->open);
    if (!pass_translate(pass, offset, &volume_offset, &run) || run < length)
        return false;
    *result = is_write ? block_device_write(device, scheduler, volume_offset, buffer, length)
                       : block_device_read(device, scheduler, volume_offset, buffer, length);
    return true;
}

static void lane_read(struct ring2_history *history, struct ring2_handle *handle, uint64_t offset,
                      uint64_t length)
{
    struct pass *pass = open_file_pass(handle->open);
    char why[RING2_FAILURE_BYTES];
    int result = 0;
    uint8_t *buffer = block_buffer_new(length);
    uint64_t begin = ring2_read_begin(handle->file);
    if (pass_enter(pass, PASS_READ)) {
        bool served = transfer(history, handle, false, offset, buffer, length, &result);
        pass_leave(pass);
        if (served && result == 0 && ring2_goes_on(history)) {
            history->result.lane_transfers++;
            ring2_did(history, RING2_ROW_read_lane);
            if (!ring2_check_read(handle->file, begin, offset, buffer, length, why, sizeof(why)))
                ring2_fail(history, "a lane: %s", why);
        }
    }
    ring2_read_end(handle->file);
    free(buffer);
}

static void lane_write(struct ring2_history *history, struct ring2_handle *handle, uint64_t offset,
                       uint64_t length)
{
    struct ring2_file *file = handle->file;
    struct pass *pass = open_file_pass(handle->open);
    int result = 0;
    if (!ring2_may_begin(file, RING2_WRITE, offset, offset + length))
        return;
    struct ring2_data_operation *operation =
        ring2_begin(file, RING2_WRITE, offset, offset + length);
    uint8_t *buffer = block_buffer_new(length);
    ring2_fill(buffer, file->id, operation->sequence, offset, length);
    bool served = false;
    if (pass_enter(pass, PASS_WRITE)) {
        if (file->is_protected)
            ring2_fail(history, "a lane writes to protected file %u", file->id);
        served = transfer(history, handle, true, offset, buffer, length, &result);
        pass_leave(pass);
    }
    free(buffer);
    if (!ring2_goes_on(history))
        return;
    history->result.lane_transfers += served;
    if (served)
        ring2_trace(history, "a lane of node %u: file %u: write of %llu at %llu", handle->node,
                    file->id, (unsigned long long)length, (unsigned long long)offset);
    if (served && result == 0) {
        ring2_end(file, operation, offset + length);
        ring2_did(history, RING2_ROW_write_lane);
    } else {
        ring2_void(file, operation);
    }
}

void ring2_lane_step(struct ring2_history *history, unsigned lane)
{
    struct ring2_handle *handle = choose_handle(history);
    uint64_t sector = history->nodes[0].path->sector_bytes;
    (void)lane;
    if (history->steps_under_way > 0 && operation_sync_volume(history->nodes[0].volume) != 0 &&
        ring2_goes_on(history))
        ring2_fail(history, "sync of the volume failed");
    if (handle == NULL || handle->open == NULL || handle->file->size < sector)
        return;
    uint64_t sectors = handle->file->size / sector;
    uint64_t first = random_below(&history->random, sectors);
    uint64_t count = 1 + random_below(&history->random, 16);
    if (count > sectors - first)
        count = sectors - first;
    handle->lane_users++;
    bool is_read_only = (handle->flags & O_ACCMODE) == O_RDONLY;
    if (is_read_only || random_one_in(&history->random, 3))
        lane_read(history, handle, first * sector, count * sector);
    else
        lane_write(history, handle, first * sector, count * sector);
    handle->lane_users--;
}
