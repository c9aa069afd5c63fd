// SPDX-License-Identifier: Apache-2.0
#include <stdlib.h>
#include <string.h>

#include "fs/base/check.h"
#include "fs/base/lamport.h"
#include "fs/journal_format.h"
#include "tests/sim/disk.h"
#include "tests/sim/ring3_check.h"
#include "tests/sim/still_device.h"

static void *new_zeroed(size_t bytes)
{
    void *memory = calloc(1, bytes);
    CHECK(memory != NULL);
    return memory;
}

void ring3_copy_init(struct ring3_copy *copy, struct ring3 *ring3, const struct geometry *geometry)
{
    *copy = (struct ring3_copy){
        .disk = sim_disk_clone(ring3->disk, ring3->world, NULL),
        .device = new_zeroed(sizeof(*copy->device)),
        .context = new_zeroed(sizeof(*copy->context)),
        .clock = new_zeroed(sizeof(*copy->clock)),
        .log = new_zeroed(sizeof(*copy->log)),
        .geometry = geometry,
    };
    still_device_init(copy->device, copy->disk, geometry->block_count * BLOCK_BYTES, 512);
    memcpy(copy->context->format_id, geometry->format_id, sizeof(copy->context->format_id));
    world_node_init(&copy->node, ring3->world);
    log_init_null(copy->log);
}

void ring3_copy_deinit(struct ring3_copy *copy)
{
    world_node_stop(&copy->node);
    sim_disk_free(copy->disk);
    free(copy->device);
    free(copy->context);
    free(copy->clock);
    free(copy->log);
}

struct journal_config ring3_copy_journal(struct ring3_copy *copy, uint32_t slot)
{
    struct journal_config config = {
        .device = &copy->device->device,
        .environment = &copy->node.environment,
        .log = copy->log,
        .clock = copy->clock,
        .callbacks = &journal_format_callbacks,
        .context = copy->context,
        .start_block = geometry_journal_block(copy->geometry, slot),
        .block_count = copy->geometry->journal_block_count,
        .slot = slot,
    };
    memcpy(config.format_id, copy->geometry->format_id, sizeof(config.format_id));
    return config;
}
