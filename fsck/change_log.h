// SPDX-License-Identifier: Apache-2.0
// What a repair will write, in memory, in order: later reads see it, the disk does not until all
// is written at once. A barrier stands for a flush: what comes behind it may rest on what stands
// before it.
#pragma once

#include <stddef.h>
#include <stdint.h>

struct change {
    uint64_t block;
    uint32_t epoch; // how many barriers stand before it
    uint8_t *bytes; // 4096, aligned for the device
};

struct change_log {
    struct change *changes;
    size_t count, capacity;
    uint32_t epoch;
    uint32_t *buckets; // index + 1 of the last change of a block; 0: empty
    size_t bucket_count;
};

void change_log_init(struct change_log *log);
void change_log_deinit(struct change_log *log);
// Copies 4096 bytes.
void change_log_add(struct change_log *log, uint64_t block, const void *bytes);
void change_log_barrier(struct change_log *log);
// The newest bytes of `block`; NULL if it was not changed.
const uint8_t *change_log_find(const struct change_log *log, uint64_t block);
