// SPDX-License-Identifier: Apache-2.0
// What the slot table says of who was, and is, on the volume: read once by whoever comes first.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "dlm/heartbeat.h"
#include "fs/base/block_device.h"
#include "fs/format.h"

struct slot_survey {
    uint32_t slot_count;
    uint64_t incarnation_max; // over all heartbeats and notes
    uint64_t lamport_max;
    uint32_t in_use_count; // slots that are not free: to be fenced and replayed
    struct {
        bool is_in_use;
        struct heartbeat_content heartbeat;
    } slots[FORMAT_SLOT_COUNT_MAX];
};

// 0, -errno, -ERROR_BLOCK_* with `*block` set to the one at fault: a heartbeat block that cannot be
// read is nobody's permission to think that the slot is free. Waits.
int slot_survey_read(struct slot_survey *survey, struct block_device *device,
                     struct scheduler *scheduler, const struct geometry *geometry, uint64_t *block);

// The heartbeat block of one slot, as slot_survey_read reads it.
int slot_read_heartbeat(struct block_device *device, struct scheduler *scheduler,
                        const struct geometry *geometry, uint32_t slot, uint8_t *buffer,
                        struct heartbeat_content *content);

// A free slot, the one last used by `node_id` if there is one (its groups are near its files);
// -ERROR_VOLUME_SLOTS if all are in use.
int slot_survey_choose(const struct slot_survey *survey, uint32_t node_id, uint32_t *slot);
