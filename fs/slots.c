// SPDX-License-Identifier: Apache-2.0
#include "fs/slots.h"

#include <stdlib.h>

#include "fs/base/error.h"

// A beat of a live node may tear on 512-byte sectors: read once more (rule 36).
int slot_read_heartbeat(struct block_device *device, struct scheduler *scheduler,
                        const struct geometry *geometry, uint32_t slot, uint8_t *buffer,
                        struct heartbeat_content *content)
{
    uint64_t offset = geometry_heartbeat_block(geometry, slot) * BLOCK_BYTES;
    int result = 0;
    for (int attempt = 0; attempt < 2; attempt++) {
        result = block_device_read(device, scheduler, offset, buffer, BLOCK_BYTES);
        if (result == 0)
            result = heartbeat_decode(buffer, geometry, slot, content);
        if (result == 0 || !error_is_check(result))
            break;
    }
    return result;
}

static int read_note(struct block_device *device, struct scheduler *scheduler,
                     const struct geometry *geometry, uint32_t slot, uint8_t *buffer,
                     struct mailbox_content *content)
{
    uint64_t offset = geometry_mailbox_block(geometry, slot) * BLOCK_BYTES;
    int result = block_device_read(device, scheduler, offset, buffer, BLOCK_BYTES);
    if (result != 0)
        return result;
    return mailbox_decode(buffer, geometry, slot, content);
}

static void take_max(uint64_t *max, uint64_t value)
{
    if (value > *max)
        *max = value;
}

static int survey_slot(struct slot_survey *survey, uint32_t slot, struct block_device *device,
                       struct scheduler *scheduler, const struct geometry *geometry,
                       uint8_t *buffer, uint64_t *block)
{
    struct heartbeat_content *heartbeat = &survey->slots[slot].heartbeat;
    *block = geometry_heartbeat_block(geometry, slot);
    int result = slot_read_heartbeat(device, scheduler, geometry, slot, buffer, heartbeat);
    if (result != 0)
        return result;
    struct mailbox_content note;
    *block = geometry_mailbox_block(geometry, slot);
    result = read_note(device, scheduler, geometry, slot, buffer, &note);
    if (result != 0)
        return result;
    take_max(&survey->incarnation_max, heartbeat->incarnation);
    take_max(&survey->incarnation_max, heartbeat->recovered_incarnation);
    take_max(&survey->incarnation_max, note.victim_incarnation);
    take_max(&survey->lamport_max, heartbeat->lamport);
    survey->slots[slot].is_in_use = heartbeat->state != HEARTBEAT_FREE;
    survey->in_use_count += survey->slots[slot].is_in_use;
    return 0;
}

int slot_survey_read(struct slot_survey *survey, struct block_device *device,
                     struct scheduler *scheduler, const struct geometry *geometry, uint64_t *block)
{
    uint8_t *buffer = block_buffer_new(BLOCK_BYTES);
    int result = 0;
    *survey = (struct slot_survey){.slot_count = geometry->slot_count};
    for (uint32_t slot = 0; slot < geometry->slot_count && result == 0; slot++)
        result = survey_slot(survey, slot, device, scheduler, geometry, buffer, block);
    free(buffer);
    return result;
}

int slot_survey_choose(const struct slot_survey *survey, uint32_t node_id, uint32_t *slot)
{
    uint32_t found = survey->slot_count;
    for (uint32_t i = survey->slot_count; i-- > 0;) {
        if (survey->slots[i].is_in_use)
            continue;
        found = i;
        if (survey->slots[i].heartbeat.incarnation != 0 &&
            survey->slots[i].heartbeat.node_id == node_id)
            break;
    }
    if (found == survey->slot_count)
        return -ERROR_VOLUME_SLOTS;
    *slot = found;
    return 0;
}
