// SPDX-License-Identifier: Apache-2.0
// A LUN in memory, for unit tests. Requests wait in a queue until memory_device_run completes them,
// in a random order, so that every read of the code under test is a wait.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "fs/base/block_device.h"
#include "fs/base/random.h"

enum { MEMORY_DEVICE_QUEUE_MAX = 4096 };

struct memory_device {
    struct block_device device; // first
    uint8_t *bytes;             // untouched pages cost nothing
    struct random random;
    struct block_request *queue[MEMORY_DEVICE_QUEUE_MAX];
    unsigned queue_length;
    uint64_t read_count, write_count, flush_count;
    uint64_t failing_offset; // reads of it answer -EIO; UINT64_MAX: none
    uint64_t held_offset;    // writes to it stay in the queue; UINT64_MAX: none
};

void memory_device_init(struct memory_device *memory, uint64_t bytes, uint64_t seed);
void memory_device_deinit(struct memory_device *memory);
// Completes what was queued before the call. False if there was nothing.
bool memory_device_run(struct memory_device *memory);
