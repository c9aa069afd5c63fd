// SPDX-License-Identifier: Apache-2.0
// Content: reads, writes, truncations, allocations, through the core; and the lanes, which here are
// coroutines that go the way of a real lane (fs/lane.c) over the simulated disk.
#include <errno.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/base/check.h"
#include "fs/base/coroutine.h"
#include "fs/base/error.h"
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

static bool answered(struct ring2_client *client, const struct ring2_file *file, const char *what,
                     long result, long expected)
{
    struct ring2_history *history = client->history;
    if (!ring2_goes_on(history))
        return false;
    history->result.operations++;
    ring2_trace(history, "client %u: node %u: file %u: %s: %ld", client->number, client->node,
                file->id, what, result);
    if (result == expected)
        return true;
    if (!(result == -ENOSPC && history->is_nearly_full))
        ring2_fail(history, "client %u: file %u: %s answered %ld (%s), expected %ld",
                   client->number, file->id, what, result, error_text((int)result), expected);
    return false;
}

// --- read and write
// -------------------------------------------------------------------------------

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
    if (answered(client, file, "read", result, (long)expected) &&
        !ring2_check_read(file, begin, offset, buffer, expected, why, sizeof(why)))
        ring2_fail(client->history, "%s", why);
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

static void write_range(struct ring2_client *client, struct ring2_handle *handle, uint64_t offset,
                        uint64_t length)
{
    struct ring2_file *file = handle->file;
    if (offset + length > RING2_FILE_BYTES_MAX ||
        !ring2_may_begin(file, RING2_WRITE, offset, offset + length))
        return;
    trace_range(client, file, "write", offset, offset + length);
    struct ring2_data_operation *operation =
        ring2_begin(file, RING2_WRITE, offset, offset + length);
    uint8_t *buffer = block_buffer_new(length + 2 * BLOCK_BYTES);
    ring2_fill(buffer, file->id, operation->sequence, offset, length);
    ssize_t result = operation_write(volume_of(client), handle->open, offset, buffer, length);
    free(buffer);
    if (!ring2_goes_on(client->history))
        return;
    bool is_short = result > 0 && result % RING2_WORD_BYTES == 0 && client->history->is_nearly_full;
    if (is_short || answered(client, file, "write", result, (long)length))
        ring2_end(file, operation, offset + (uint64_t)result);
    else
        ring2_void(file, operation);
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
    for (uint64_t block = choose(client, 3); block < end && ring2_goes_on(client->history);
         block += 2)
        write_range(client, handle, block * BLOCK_BYTES, BLOCK_BYTES);
}

// --- size and holes
// --------------------------------------------------------------------------------

static void truncate_some(struct ring2_client *client, struct ring2_handle *handle)
{
    struct ring2_file *file = handle->file;
    struct attributes wanted = {0}, out;
    uint64_t size = choose(client, 4) == 0
                        ? 0
                        : choose_place(&client->history->random, file->size + (64 << 10));
    if (size > RING2_FILE_BYTES_MAX ||
        !ring2_may_begin(file, RING2_TRUNCATE, size, RING2_FILE_BYTES_MAX))
        return;
    trace_range(client, file, "truncate", size, RING2_FILE_BYTES_MAX);
    struct ring2_data_operation *operation =
        ring2_begin(file, RING2_TRUNCATE, size, RING2_FILE_BYTES_MAX);
    wanted.stat.st_size = (off_t)size;
    int result =
        operation_set_attributes(volume_of(client), handle->inode, &wanted, SET_SIZE, &out);
    if (!ring2_goes_on(client->history))
        return;
    if (answered(client, file, "truncate", result, 0))
        ring2_end(file, operation, RING2_FILE_BYTES_MAX);
    else
        ring2_void(file, operation);
}

static void allocate(struct ring2_client *client, struct ring2_handle *handle)
{
    static const struct {
        int mode;
        enum ring2_data_kind kind;
        bool grows;
    } modes[] = {
        {0, RING2_ALLOCATE, true},
        {FALLOC_FL_KEEP_SIZE, RING2_ALLOCATE, false},
        {FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, RING2_ZERO, false},
        {FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, RING2_ZERO, false},
        {FALLOC_FL_ZERO_RANGE, RING2_ZERO, true},
        {FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, RING2_ZERO, false},
    };
    struct ring2_file *file = handle->file;
    uint64_t dice = choose(client, sizeof(modes) / sizeof(modes[0]));
    uint64_t offset = choose_place(&client->history->random, RING2_FILE_BYTES_MAX / 2);
    uint64_t end = offset + 8 + choose_place(&client->history->random, TRANSFER_BYTES_MAX - 8);
    if (!ring2_may_begin(file, modes[dice].kind, offset, end))
        return;
    static const char *const names[] = {"allocate", "allocate, keep size", "punch", "punch",
                                        "zero",     "zero, keep size"};
    trace_range(client, file, names[dice], offset, end);
    struct ring2_data_operation *operation = ring2_begin(file, modes[dice].kind, offset, end);
    operation->grows = modes[dice].grows;
    int result =
        operation_allocate(volume_of(client), handle->open, modes[dice].mode, offset, end - offset);
    if (!ring2_goes_on(client->history))
        return;
    if (answered(client, file, "fallocate", result, 0))
        ring2_end(file, operation, end);
    else
        ring2_void(file, operation);
}

static void seek(struct ring2_client *client, struct ring2_handle *handle)
{
    struct ring2_file *file = handle->file;
    uint64_t offset = choose_place(&client->history->random, RING2_FILE_BYTES_MAX - 8);
    off_t data = operation_seek(volume_of(client), handle->open, (off_t)offset, SEEK_DATA);
    if (!ring2_goes_on(client->history))
        return;
    // What lies before the data is a hole.
    uint64_t end = data >= 0 ? (uint64_t)data : file->size;
    for (uint64_t i = offset; i < end; i += RING2_WORD_BYTES) {
        if (file->now[i / RING2_WORD_BYTES] != 0) {
            ring2_fail(client->history, "file %u: no data from %llu to %lld, but there is",
                       file->id, (unsigned long long)offset, (long long)data);
            return;
        }
    }
}

static void look_at(struct ring2_client *client, struct ring2_handle *handle)
{
    struct attributes out;
    int result = operation_get_attributes(volume_of(client), handle->inode, &out);
    if (answered(client, handle->file, "stat", result, 0) &&
        (uint64_t)out.stat.st_size != handle->file->size)
        ring2_fail(client->history, "file %u: size %lld, expected %llu", handle->file->id,
                   (long long)out.stat.st_size, (unsigned long long)handle->file->size);
}

static void sync_file(struct ring2_client *client, struct ring2_handle *handle)
{
    struct ring2_file *file = handle->file;
    uint64_t mark = ring2_sync_mark(file), state = file->last_state;
    int result = operation_sync_file(volume_of(client), handle->open, choose(client, 2) == 0);
    if (!answered(client, file, "fsync", result, 0))
        return;
    ring2_synced(file, mark);
    ring2_client_durable(client, state);
}

void ring2_files_step(struct ring2_client *client, struct ring2_handle *handle)
{
    uint64_t dice = choose(client, 100);
    handle->is_busy = true;
    if (dice < 20)
        read_some(client, handle);
    else if (dice < 58)
        write_some(client, handle);
    else if (dice < 60)
        write_comb(client, handle);
    else if (dice < 70)
        truncate_some(client, handle);
    else if (dice < 82)
        allocate(client, handle);
    else if (dice < 85)
        seek(client, handle);
    else if (dice < 88)
        look_at(client, handle);
    else
        sync_file(client, handle);
    handle->is_busy = false;
}

// --- lanes
// -----------------------------------------------------------------------------------------

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
    if (served && result == 0)
        ring2_end(file, operation, offset + length);
    else
        ring2_void(file, operation);
}

void ring2_lane_step(struct ring2_history *history, unsigned lane)
{
    struct ring2_handle *handle = choose_handle(history);
    uint64_t sector = history->nodes[0].path->sector_bytes;
    (void)lane;
    if (handle == NULL || handle->file->size < sector)
        return;
    uint64_t sectors = handle->file->size / sector;
    uint64_t first = random_below(&history->random, sectors);
    uint64_t count = 1 + random_below(&history->random, 16);
    if (count > sectors - first)
        count = sectors - first;
    handle->lane_users++;
    if (random_one_in(&history->random, 3))
        lane_read(history, handle, first * sector, count * sector);
    else
        lane_write(history, handle, first * sector, count * sector);
    handle->lane_users--;
}
