// SPDX-License-Identifier: Apache-2.0
// A lane is a data thread: it serves a read or write of an allocated range from the request to the
// answer with no help of the core (I5). This file knows passes, extents and the LUN; where requests
// come from is its callers' business (lane_fuse.c).
//
//     pass_enter ── no ──────────────► the core does it
//        │ counted
//     gate_is_open, read after the count (rule 10c) ── no ──► the core waits or refuses
//        │
//     pass_translate ── hole, unwritten, behind the size ───► the core does it
//        │
//     pread / pwrite, O_DIRECT ──► answer ──► pass_leave
//
// Blocking calls on purpose: behind FUSE a pool of blocking threads beats an asynchronous engine on
// few cores (rule P2).
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct gate;
struct pass;

enum {
    LANE_TRANSFER_BYTES_MAX = 1 << 20, // of one request
    LANE_ALIGNMENT = 4096,
};

// What lanes know of the volume. Set before the first lane starts, constant while one runs.
struct lane_volume {
    struct gate *gate;
    int descriptor;        // the worker's one description of the LUN, O_DIRECT
    uint32_t sector_bytes; // of the LUN: 512 or 4096
    bool tracks_access;    // note the time of reads for the core
    // Called on a lane's thread when the LUN refused an I/O: `error` is negative. May not block.
    void (*failed)(void *context, int error);
    void *context;
};

// Written by the lane's thread alone, read by anybody.
struct lane_counters {
    _Atomic uint64_t reads, writes;             // served here
    _Atomic uint64_t read_bytes, written_bytes; // ... their bytes
    _Atomic uint64_t forwarded;                 // data requests handed to the core
    _Atomic uint64_t errors;                    // the LUN refused
};

struct lane {
    const struct lane_volume *volume;
    uint8_t *bounce; // aligned, a transfer and two sectors long
    struct lane_counters counters;
};

// 0 or -ENOMEM. `lane` is zeroed memory; it belongs to the calling thread, its counters to all.
int lane_init(struct lane *lane, const struct lane_volume *volume);
void lane_deinit(struct lane *lane);

// Both: true when served, with *result = bytes or -errno; false when it is the core's, with nothing
// read, and nothing written that the core will not write again. At most LANE_TRANSFER_BYTES_MAX.
//
// A read may begin and end anywhere, and is of kind PASS_READ or PASS_FILL; *data points into the
// lane's buffer, until its next call.
bool lane_read(struct lane *lane, struct pass *pass, unsigned kind, uint64_t offset, size_t length,
               const uint8_t **data, ssize_t *result);
// A write of part of a sector is the core's (rule 25). `data` need not be aligned.
bool lane_write(struct lane *lane, struct pass *pass, uint64_t offset, const void *data,
                size_t length, ssize_t *result);
