// SPDX-License-Identifier: Apache-2.0
#include "fs/slot_takeover.h"

#include <errno.h>
#include <stdlib.h>

#include "fs/base/error.h"

struct watches {
    struct lease_watch slots[FORMAT_SLOT_COUNT_MAX];
    uint8_t *buffer;
};

static uint64_t boot_ns(const struct slot_takeover *takeover)
{
    return takeover->clock.boot_ns(takeover->clock.context);
}

// 0, -ERROR_CLAIM_HELD when the slot has moved since the look before, or what reading it gave.
static int look(const struct slot_takeover *takeover, struct watches *watches, uint32_t slot)
{
    struct heartbeat_content content;
    uint64_t submitted_ns = boot_ns(takeover);
    int result = slot_read_heartbeat(takeover->device, takeover->scheduler, takeover->geometry,
                                     slot, watches->buffer, &content);
    if (result != 0)
        return result;
    struct lease_sighting sighting = {.incarnation = content.incarnation,
                                      .beat = content.beat,
                                      .version = content.version,
                                      .state = content.state,
                                      .node_id = content.node_id,
                                      .is_valid = true};
    struct lease_watch *watch = &watches->slots[slot];
    lease_watch_observe(watch, &sighting, submitted_ns, boot_ns(takeover));
    return watch->change_count == 0 ? 0 : -ERROR_CLAIM_HELD;
}

static int look_at_all(const struct slot_takeover *takeover, struct watches *watches,
                       bool *all_silent)
{
    *all_silent = true;
    for (uint32_t slot = 0; slot < takeover->geometry->slot_count; slot++) {
        int result = look(takeover, watches, slot);
        if (result != 0)
            return result;
        if (lease_watch_silent_ns(&watches->slots[slot]) < lease_silence_ns(&takeover->lease))
            *all_silent = false;
    }
    return 0;
}

static int watch_until_silent(const struct slot_takeover *takeover, struct watches *watches)
{
    for (;;) {
        bool all_silent;
        int result = takeover->keep_claim != NULL ? takeover->keep_claim(takeover->context) : 0;
        if (result == 0)
            result = look_at_all(takeover, watches, &all_silent);
        if (result != 0 || all_silent)
            return result;
        takeover->clock.wait_ns(takeover->clock.context, takeover->lease.beat_ns);
    }
}

static uint32_t choose(const struct slot_takeover *takeover, const struct slot_survey *survey)
{
    for (uint32_t slot = 0; slot < survey->slot_count; slot++) {
        if (survey->slots[slot].heartbeat.node_id == takeover->node_id)
            return slot;
    }
    return 0;
}

int slot_takeover_wait(const struct slot_takeover *takeover, const struct slot_survey *survey,
                       uint32_t *slot)
{
    struct watches *watches = calloc(1, sizeof(*watches));
    if (watches == NULL)
        return -ENOMEM;
    for (uint32_t i = 0; i < FORMAT_SLOT_COUNT_MAX; i++)
        lease_watch_init(&watches->slots[i]);
    watches->buffer = block_buffer_new(BLOCK_BYTES);
    int result = watch_until_silent(takeover, watches);
    free(watches->buffer);
    free(watches);
    if (result == 0)
        *slot = choose(takeover, survey);
    return result;
}
