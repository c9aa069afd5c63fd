// SPDX-License-Identifier: Apache-2.0
#include <stdlib.h>
#include <string.h>

#include "fs/base/block_device.h"
#include "fs/open_file.h"
#include "fs/pass.h"
#include "tests/sim/ring3_client.h"

// Behind the seam buffers are aligned to a block; a lane's need only be to a sector.
static long transfer_piece(struct ring3_life *life, bool is_write, uint64_t at, uint8_t *bytes,
                           size_t length)
{
    struct scheduler *scheduler = life->ring3->scheduler;
    uint8_t *aligned = block_buffer_new(length);
    if (is_write)
        memcpy(aligned, bytes, length);
    long result = is_write ? block_device_write(life->path, scheduler, at, aligned, length)
                           : block_device_read(life->path, scheduler, at, aligned, length);
    if (!is_write && result == 0)
        memcpy(bytes, aligned, length);
    free(aligned);
    return result;
}

// One transfer past the core, as fs/lane.c does it: false if any of it is the core's.
static bool transfer(struct ring3_life *life, struct open_file *open, bool is_write,
                     uint64_t offset, uint8_t *buffer, size_t length, long *result)
{
    struct pass *pass = open_file_pass(open);
    size_t done = 0;
    *result = 0;
    if ((offset | length) % life->path->sector_bytes != 0 || offset + length > pass_size(pass))
        return false;
    while (done < length && *result == 0) {
        uint64_t at, run;
        if (!pass_translate(pass, offset + done, &at, &run))
            return false;
        if (run > length - done)
            run = length - done;
        if (run % life->path->sector_bytes != 0)
            return false;
        *result = transfer_piece(life, is_write, at, buffer + done, run);
        done += run;
    }
    if (*result == 0)
        *result = (long)length;
    return true;
}

bool ring3_lane_serves(struct ring3_life *life, struct open_file *open, bool is_write,
                       uint64_t offset, uint8_t *buffer, size_t length, long *result)
{
    struct pass *pass = open_file_pass(open);
    struct environment *environment = &life->world_node.environment;
    bool is_served = false;
    if (!pass_enter(pass, is_write ? PASS_WRITE : PASS_READ))
        return false;
    if (gate_is_open(&life->gate, environment_boot_ns(environment)))
        is_served = transfer(life, open, is_write, offset, buffer, length, result);
    pass_leave(pass);
    life->ring3->result.transfers += is_served;
    return is_served;
}
