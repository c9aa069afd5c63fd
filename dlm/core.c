// SPDX-License-Identifier: Apache-2.0
// The way in and the way out of the lock core: events and frames are taken apart and handed to the
// part that knows them; messages are gathered per peer and leave as frames at the end of a step.
#include "dlm/core.h"

#include "fs/base/check.h"
#include "fs/base/error.h"
#include "fs/base/memory.h"
#include "fs/base/sabotage.h"

#include <stdlib.h>
#include <string.h>

enum {
    FRAME_HEADER_BYTES = sizeof(struct frame_header_wire),
    OUT_BYTES_FIRST = 4096,
    LEISURE_BYTES_MAX = 2048, // of messages to one peer that may wait
    SLICE_DEFAULT = 128,      // about a quarter of a millisecond
};

// ---- life -------------------------------------------------------------------------------------

struct dlm_core *dlm_core_new(const struct dlm_core_config *config)
{
    struct dlm_core *core = calloc(1, sizeof(*core));

    CHECK(core != NULL && config->self.node_id != 0 && config->clock != NULL);
    core->self = config->self;
    core->clock = config->clock;
    core->slice = config->slice ? config->slice : SLICE_DEFAULT;
    core->lock_pool.object_bytes = sizeof(struct core_lock);
    core->file_pool.object_bytes = sizeof(struct core_file);
    core->wait_pool.object_bytes = sizeof(struct core_range_wait);
    core->unlock_pool.object_bytes = sizeof(struct core_unlock);
    core->note_pool.object_bytes = sizeof(struct core_note);
    core->holder_pool.object_bytes = sizeof(struct core_holder);
    core->resource_pool.object_bytes = sizeof(struct core_resource);
    core->waiter_pool.object_bytes = sizeof(struct core_range_waiter);
    core->range_pool.object_bytes = sizeof(struct core_range);
    TAILQ_INIT(&core->held_frames);
    TAILQ_INIT(&core->waits);
    return core;
}

static void peer_free(struct core_peer *peer)
{
    free(peer->out);
    free(peer);
}

void dlm_core_free(struct dlm_core *core)
{
    struct core_held_frame *frame;
    struct core_range_wait *wait;

    while ((frame = TAILQ_FIRST(&core->held_frames))) {
        TAILQ_REMOVE(&core->held_frames, frame, link);
        free(frame);
    }
    TAILQ_FOREACH (wait, &core->waits, all_link)
        free(wait->probes);
    for (uint32_t i = 0; i < core->peer_count; i++)
        peer_free(core->peers[i]);
    core_recovery_free_departed(core);
    core_rules_clear(&core->rules);
    core_history_deinit(&core->history);
    table_deinit(&core->locks);
    table_deinit(&core->files);
    table_deinit(&core->notes);
    table_deinit(&core->holders);
    table_deinit(&core->resources);
    struct pool *pools[] = {&core->lock_pool,   &core->file_pool,   &core->wait_pool,
                            &core->unlock_pool, &core->holder_pool, &core->resource_pool,
                            &core->waiter_pool, &core->range_pool,  &core->note_pool};
    for (size_t i = 0; i < sizeof(pools) / sizeof(pools[0]); i++)
        pool_deinit(pools[i]);
    free(core->aligned);
    free(core);
}

// ---- effects ----------------------------------------------------------------------------------

void dlm_effects_deinit(struct dlm_effects *effects)
{
    free(effects->items);
    free(effects->bytes);
    *effects = (struct dlm_effects){0};
}

const uint8_t *dlm_effects_frame(const struct dlm_effects *effects,
                                 const struct dlm_effect_send *send)
{
    CHECK(send->offset + send->length <= effects->byte_count);
    return effects->bytes + send->offset;
}

struct dlm_effect *core_effect(struct dlm_core *core, enum dlm_effect_type type)
{
    struct dlm_effects *effects = core->effects;

    if (effects->count == effects->capacity) {
        effects->capacity = effects->capacity ? effects->capacity * 2 : 64;
        effects->items = memory_resize(effects->items, effects->capacity, sizeof(*effects->items));
    }
    struct dlm_effect *effect = &effects->items[effects->count++];
    effect->type = type;
    return effect;
}

static uint8_t *effects_reserve(struct dlm_effects *effects, size_t length)
{
    size_t needed = effects->byte_count + length;

    if (needed > effects->byte_capacity) {
        while (effects->byte_capacity < needed)
            effects->byte_capacity = effects->byte_capacity ? effects->byte_capacity * 2 : 16384;
        effects->bytes = memory_resize(effects->bytes, effects->byte_capacity, 1);
    }
    uint8_t *bytes = effects->bytes + effects->byte_count;
    effects->byte_count = needed;
    return bytes;
}

// ---- out --------------------------------------------------------------------------------------

static void peer_flush(struct dlm_core *core, struct core_peer *peer)
{
    if (!peer->out_count)
        return;
    struct frame_header header = {
        .sender = core->self,
        .epoch = core_epoch(core),
        .lamport = lamport_tick(core->clock),
        .message_count = peer->out_count,
    };
    message_frame_header_encode(&header, peer->out);
    struct dlm_effect *effect = core_effect(core, DLM_EFFECT_SEND);
    effect->send =
        (struct dlm_effect_send){peer->node, core->effects->byte_count, peer->out_length};
    memcpy(effects_reserve(core->effects, peer->out_length), peer->out, peer->out_length);
    core->counters.frames_sent++;
    core->counters.messages_sent += peer->out_count;
    core->counters.bytes_sent += peer->out_length;
    peer->out_length = FRAME_HEADER_BYTES;
    peer->out_count = 0;
    peer->is_urgent = false;
}

void core_flush_frames(struct dlm_core *core)
{
    for (uint32_t i = 0; i < core->peer_count; i++)
        if (core->peers[i] != core->self_peer)
            peer_flush(core, core->peers[i]);
}

void core_flush_urgent_frames(struct dlm_core *core)
{
    for (uint32_t i = 0; i < core->peer_count; i++) {
        struct core_peer *peer = core->peers[i];
        if (peer != core->self_peer && (peer->is_urgent || peer->out_length > LEISURE_BYTES_MAX))
            peer_flush(core, peer);
    }
}

bool dlm_core_has_more_to_say(const struct dlm_core *core)
{
    for (uint32_t i = 0; i < core->peer_count; i++)
        if (core->peers[i] != core->self_peer && core->peers[i]->out_count)
            return true;
    return false;
}

static void peer_out_grow(struct core_peer *peer, size_t length)
{
    size_t needed = peer->out_length + length;

    while (peer->out_capacity < needed)
        peer->out_capacity = peer->out_capacity ? peer->out_capacity * 2 : OUT_BYTES_FIRST;
    peer->out = memory_resize(peer->out, peer->out_capacity, 1);
}

void core_send(struct dlm_core *core, struct core_peer *to, void *message, enum message_type type,
               size_t length)
{
    core_send_leisurely(core, to, message, type, length);
    to->is_urgent = true;
}

void core_send_leisurely(struct dlm_core *core, struct core_peer *to, void *message,
                         enum message_type type, size_t length)
{
    struct message_header_wire header = message_header_make(type, length);

    memcpy(message, &header, sizeof(header));
    if (to != core->self_peer && to->out_length + length > DLM_FRAME_BYTES_MAX)
        peer_flush(core, to);
    if (!to->out_length)
        to->out_length = FRAME_HEADER_BYTES;
    if (to->out_length + length > to->out_capacity)
        peer_out_grow(to, length);
    memcpy(to->out + to->out_length, message, length);
    to->out_length += length;
    to->out_count++;
}

// ---- in ---------------------------------------------------------------------------------------

typedef void receive_function(struct dlm_core *core, const struct core_message *message);

static receive_function *const receivers[MESSAGE_TYPE_COUNT] = {
    [MESSAGE_REQUEST] = core_master_receive_request,
    [MESSAGE_CONVERT] = core_master_receive_convert,
    [MESSAGE_RELEASE] = core_master_receive_release,
    [MESSAGE_CANCEL] = core_master_receive_cancel,
    [MESSAGE_HOLD] = core_master_receive_hold,
    [MESSAGE_GRANT] = core_client_receive_grant,
    [MESSAGE_DENIED] = core_client_receive_denied,
    [MESSAGE_BLOCKING] = core_client_receive_blocking,
    [MESSAGE_RANGE_LOCK] = core_range_master_receive_lock,
    [MESSAGE_RANGE_TEST] = core_range_master_receive_lock,
    [MESSAGE_RANGE_UNLOCK] = core_range_master_receive_unlock,
    [MESSAGE_RANGE_CANCEL] = core_range_master_receive_cancel,
    [MESSAGE_RANGE_HOLD] = core_range_master_receive_hold,
    [MESSAGE_RANGE_RESULT] = core_range_client_receive_result,
    [MESSAGE_PROBE_OWNER] = core_deadlock_receive_owner,
    [MESSAGE_PROBE_WAITER] = core_deadlock_receive_waiter,
    [MESSAGE_DEADLOCK] = core_deadlock_receive_found,
    [MESSAGE_RULE] = core_recovery_receive_rule,
    [MESSAGE_READY] = core_recovery_receive_ready,
    [MESSAGE_NOTE] = core_note_receive,
    [MESSAGE_NOTED] = core_note_receive_noted,
};

void core_receive_message(struct dlm_core *core, struct core_peer *from, uint64_t epoch,
                          const void *wire)
{
    const struct message_header_wire *header = wire;
    struct core_message message = {.from = from, .epoch = epoch, .wire = wire};

    receivers[le16_get(header->type)](core, &message);
}

struct core_peer *core_peer_find(const struct dlm_core *core, struct dlm_node node)
{
    for (uint32_t i = 0; i < core->peer_count; i++) {
        if (SABOTAGE(dlm_accept_stale_incarnation) && core->peers[i]->node.node_id == node.node_id)
            return core->peers[i];
        if (node_equal(core->peers[i]->node, node))
            return core->peers[i];
    }
    return NULL;
}

struct core_peer *core_peer_of_master(const struct dlm_core *core, struct lock_name name)
{
    const struct core_view *view = core_history_current(&core->history);

    if (!view)
        return NULL;
    return core->peers[core_view_master(view->members, view->member_count, name)];
}

struct core_place core_place_of(const struct dlm_core *core, struct lock_name name)
{
    const struct core_view *view = core_history_current(&core->history);

    if (!view)
        return (struct core_place){0};
    struct core_order order = core_view_order(view->members, view->member_count, name);
    bool has_shadow = order.shadow < view->member_count;
    return (struct core_place){core->peers[order.master],
                               has_shadow ? core->peers[order.shadow] : NULL};
}

uint64_t core_name_hash(struct lock_name name)
{
    return hash_u64(name.id ^ hash_u64(name.type));
}

static void receive_verified(struct dlm_core *core, const struct frame_header *header,
                             const uint8_t *bytes)
{
    struct core_peer *peer = core_peer_find(core, header->sender);

    if (!peer || peer == core->self_peer) {
        core->counters.frames_refused++;
        return;
    }
    lamport_observe(core->clock, header->lamport);
    if (header->epoch > peer->epoch_seen)
        peer->epoch_seen = header->epoch;
    const uint8_t *at = bytes + FRAME_HEADER_BYTES;
    for (uint32_t i = 0; i < header->message_count; i++) {
        core_receive_message(core, peer, header->epoch, at);
        at += le16_get(((const struct message_header_wire *)(const void *)at)->length);
    }
}

static void hold_frame(struct dlm_core *core, const struct dlm_frame *frame, uint64_t epoch)
{
    struct core_held_frame *held = malloc(sizeof(*held) + frame->length);

    CHECK(held != NULL);
    held->from = frame->from;
    held->epoch = epoch;
    held->length = frame->length;
    memcpy(held->bytes, frame->bytes, frame->length);
    TAILQ_INSERT_TAIL(&core->held_frames, held, link);
    core->counters.frames_held++;
}

// The frame's bytes where wire structs may be read in place.
static const uint8_t *frame_aligned(struct dlm_core *core, const struct dlm_frame *frame)
{
    if ((uintptr_t)frame->bytes % 8 == 0)
        return frame->bytes;
    if (!core->aligned)
        core->aligned = malloc(DLM_FRAME_BYTES_MAX);
    CHECK(core->aligned != NULL);
    if (frame->length <= DLM_FRAME_BYTES_MAX)
        memcpy(core->aligned, frame->bytes, frame->length);
    return core->aligned;
}

static void receive_frame(struct dlm_core *core, const struct dlm_frame *frame)
{
    const struct core_view *view = core_history_current(&core->history);
    const uint8_t *bytes = frame_aligned(core, frame);
    struct frame_header header;
    int result = message_frame_verify(bytes, frame->length, &header);

    core->counters.frames_received++;
    if (result == 0 && !node_equal(header.sender, frame->from))
        result = -ERROR_MESSAGE_SENDER;
    if (result < 0) {
        core->counters.frames_bad++;
        core_effect(core, DLM_EFFECT_BAD_FRAME)->bad_frame =
            (struct dlm_effect_bad_frame){frame->from, result};
        return;
    }
    bool is_early = !view || header.epoch > view->epoch;
    if (is_early && !(view && SABOTAGE(dlm_use_early_frames)))
        hold_frame(core, frame, header.epoch);
    else
        receive_verified(core, &header, bytes);
}

bool core_replay_held_frame(struct dlm_core *core)
{
    struct core_held_frame *held;
    struct frame_header header;

    if (!core->replays_held)
        return false;
    TAILQ_FOREACH (held, &core->held_frames, link)
        if (held->epoch <= core_epoch(core))
            break;
    if (!held) {
        core->replays_held = false;
        return false;
    }
    TAILQ_REMOVE(&core->held_frames, held, link);
    CHECK(message_frame_verify((const uint8_t *)held->bytes, held->length, &header) == 0);
    receive_verified(core, &header, (const uint8_t *)held->bytes);
    free(held);
    return true;
}

// ---- events -----------------------------------------------------------------------------------

void core_take_event(struct dlm_core *core, const struct dlm_event *event)
{
    switch (event->type) {
    case DLM_EVENT_REQUEST:
        core_client_request(core, &event->request);
        return;
    case DLM_EVENT_CONVERT:
        core_client_convert(core, &event->convert);
        return;
    case DLM_EVENT_RELEASE:
        core_client_release(core, &event->release);
        return;
    case DLM_EVENT_CANCEL:
        core_client_cancel(core, &event->cancel);
        return;
    case DLM_EVENT_RANGE_LOCK:
    case DLM_EVENT_RANGE_TEST:
        core_range_client_lock(core, &event->range_lock, event->type == DLM_EVENT_RANGE_TEST);
        return;
    case DLM_EVENT_RANGE_UNLOCK:
        core_range_client_unlock(core, &event->range_unlock);
        return;
    case DLM_EVENT_RANGE_CANCEL:
        core_range_client_cancel(core, &event->range_cancel);
        return;
    case DLM_EVENT_FRAME:
        receive_frame(core, &event->frame);
        return;
    case DLM_EVENT_VIEW:
        core_recovery_view(core, event->view);
        return;
    case DLM_EVENT_RECOVERED:
        core_recovery_recovered(core, event->recovered);
        return;
    }
    CHECK(!"an event of a known type");
}
