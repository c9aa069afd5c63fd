// SPDX-License-Identifier: Apache-2.0
// A step of the core. An event may cause work on every lock there is; what a step does not get done
// of it the next steps do, before they take any more events.
//
//   VIEW ─► work, kind by kind ─► messages to ourselves ─► held frames ─► idle: the next event
//                  ▲                       │  the last READY may be among them
//                  └── settle ◄────────────┴──────────────────┘
#include "dlm/core.h"

#include "fs/base/check.h"
#include "fs/base/sabotage.h"

#include <string.h>

enum { SELF_MESSAGE_BYTES_MAX = 256 }; // a RULE, the only longer one, goes to peers alone

static bool has_self_messages(const struct dlm_core *core)
{
    return core->self_peer && core->self_peer->out_count;
}

// The oldest that we said to ourselves.
static void handle_self_message(struct dlm_core *core)
{
    struct core_peer *self = core->self_peer;
    _Alignas(8) uint8_t message[SELF_MESSAGE_BYTES_MAX];

    if (!core->self_at)
        core->self_at = sizeof(struct frame_header_wire);
    const struct message_header_wire *header = (const void *)(self->out + core->self_at);
    size_t length = le16_get(header->length);
    CHECK(length <= sizeof(message));
    memcpy(message, header, length); // what it causes may move the rest
    core->self_at += length;
    core_receive_message(core, self, core_epoch(core), message);
    if (core->self_at < self->out_length)
        return;
    self->out_length = core->self_at = sizeof(struct frame_header_wire);
    self->out_count = 0;
}

bool dlm_core_is_busy(const struct dlm_core *core)
{
    return core->work.kind != WORK_NONE || has_self_messages(core) || core->is_all_ready ||
           core->replays_held;
}

// One piece of whatever is under way.
static void go_on(struct dlm_core *core)
{
    if (core->work.kind != WORK_NONE)
        core_recovery_work(core);
    else if (has_self_messages(core))
        handle_self_message(core);
    else if (core->is_all_ready)
        core_recovery_settle(core);
    else
        core_replay_held_frame(core);
}

size_t dlm_core_step(struct dlm_core *core, const struct dlm_event *events, size_t count,
                     struct dlm_effects *effects)
{
    size_t taken = 0;
    bool is_idle = !count && !dlm_core_is_busy(core);

    CHECK(core->effects == NULL);
    effects->count = 0;
    effects->byte_count = 0;
    core->effects = effects;
    for (uint32_t left = core->slice;;) {
        for (; left > 0 && dlm_core_is_busy(core); left--)
            go_on(core);
        if (taken == count || (dlm_core_is_busy(core) && !SABOTAGE(dlm_events_while_busy)))
            break;
        core_take_event(core, &events[taken++]);
    }
    if (is_idle)
        core_flush_frames(core);
    else
        core_flush_urgent_frames(core);
    core->effects = NULL;
    return taken;
}
