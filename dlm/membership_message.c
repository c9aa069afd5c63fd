// SPDX-License-Identifier: Apache-2.0
// One walker writes and reads: each field is named once, so the two directions cannot differ.
#include "dlm/membership_message.h"

#include <string.h>

#include "fs/base/check.h"
#include "fs/base/error.h"

#define MEMBERSHIP_MAGIC 0x424d4e55u
enum { MEMBERSHIP_WIRE_VERSION = 1 };

// A place in the bytes. Past its end nothing is read or written and `is_bad` stays set.
struct walk {
    uint8_t *bytes;
    size_t length;
    size_t at;
    bool is_writing;
    bool is_bad;   // too short
    bool is_wrong; // a field out of range
};

static void walk_bytes(struct walk *walk, void *field, size_t bytes)
{
    if (walk->is_bad || walk->length - walk->at < bytes) {
        walk->is_bad = true;
        if (!walk->is_writing)
            memset(field, 0, bytes);
        return;
    }
    if (walk->is_writing)
        memcpy(walk->bytes + walk->at, field, bytes);
    else
        memcpy(field, walk->bytes + walk->at, bytes);
    walk->at += bytes;
}

static uint64_t walk_number(struct walk *walk, uint64_t value, size_t bytes)
{
    uint8_t field[8];
    for (size_t i = 0; i < bytes; i++)
        field[i] = (uint8_t)(value >> (8 * i));
    walk_bytes(walk, field, bytes);
    value = 0;
    for (size_t i = 0; i < bytes; i++)
        value |= (uint64_t)field[i] << (8 * i);
    return value;
}

static void walk_u16(struct walk *walk, uint16_t *field)
{
    *field = (uint16_t)walk_number(walk, *field, 2);
}

static void walk_u32(struct walk *walk, uint32_t *field)
{
    *field = (uint32_t)walk_number(walk, *field, 4);
}

static void walk_u64(struct walk *walk, uint64_t *field)
{
    *field = walk_number(walk, *field, 8);
}

static void walk_bool(struct walk *walk, bool *field)
{
    uint64_t value = walk_number(walk, *field, 1);
    if (value > 1)
        walk->is_wrong = true;
    *field = value == 1;
}

static void walk_count(struct walk *walk, uint32_t *field, uint32_t max)
{
    walk_u32(walk, field);
    if (*field > max) {
        walk->is_wrong = true;
        *field = 0;
    }
}

static void walk_process(struct walk *walk, struct membership_process *process)
{
    walk_u32(walk, &process->node_id);
    walk_u32(walk, &process->pid);
}

static void walk_node(struct walk *walk, struct membership_node *node)
{
    walk_u32(walk, &node->node_id);
    walk_u32(walk, &node->slot);
    walk_u64(walk, &node->incarnation);
    if (node->slot >= MEMBERSHIP_SLOTS_MAX)
        walk->is_wrong = true;
}

static void walk_member(struct walk *walk, struct membership_member *member)
{
    walk_u32(walk, &member->node_id);
    walk_u32(walk, &member->pid);
    walk_u64(walk, &member->incarnation);
    walk_u32(walk, &member->slot);
    walk_u16(walk, &member->port);
    walk_u16(walk, &member->version_min);
    walk_u16(walk, &member->version_max);
    walk_u64(walk, &member->features);
    walk_bool(walk, &member->is_leaving);
    if (member->slot >= MEMBERSHIP_SLOTS_MAX && member->slot != MEMBERSHIP_NO_SLOT)
        walk->is_wrong = true;
    if (member->node_id == 0 || member->incarnation == 0)
        walk->is_wrong = true;
}

static void walk_dead(struct walk *walk, struct membership_dead *dead)
{
    uint32_t phase = dead->phase;
    walk_u32(walk, &dead->node_id);
    walk_u32(walk, &dead->pid);
    walk_u64(walk, &dead->incarnation);
    walk_u32(walk, &dead->slot);
    walk_u32(walk, &phase);
    walk_u32(walk, &dead->recoverer_node_id);
    walk_u64(walk, &dead->recoverer_incarnation);
    walk_u64(walk, &dead->died_generation);
    if (dead->slot >= MEMBERSHIP_SLOTS_MAX || phase > MEMBERSHIP_FENCED)
        walk->is_wrong = true;
    dead->phase = (enum membership_phase)phase;
}

static void walk_view(struct walk *walk, struct membership_view *view)
{
    walk_u64(walk, &view->epoch);
    walk_u16(walk, &view->version);
    walk_u64(walk, &view->features);
    walk_count(walk, &view->member_count, MEMBERSHIP_NODES_MAX);
    for (uint32_t i = 0; i < view->member_count; i++)
        walk_member(walk, &view->members[i]);
    walk_count(walk, &view->dead_count, MEMBERSHIP_DEAD_MAX);
    for (uint32_t i = 0; i < view->dead_count; i++)
        walk_dead(walk, &view->dead[i]);
}

static void walk_state(struct walk *walk, struct membership_state *state)
{
    walk_u64(walk, &state->generation);
    walk_u32(walk, &state->slot_count);
    walk_view(walk, &state->view);
    walk_count(walk, &state->joiner_count, MEMBERSHIP_NODES_MAX);
    for (uint32_t i = 0; i < state->joiner_count; i++) {
        walk_member(walk, &state->joiners[i].member);
        walk_bool(walk, &state->joiners[i].is_assigned);
        walk_u64(walk, &state->joiners[i].offered);
        walk_bool(walk, &state->joiners[i].is_proved);
        walk_bool(walk, &state->joiners[i].is_seen);
    }
    walk_count(walk, &state->recovered_count, MEMBERSHIP_DEAD_MAX);
    for (uint32_t i = 0; i < state->recovered_count; i++)
        walk_node(walk, &state->recovered[i]);
}

static void walk_sync(struct walk *walk, struct membership_sync *sync)
{
    walk_bool(walk, &sync->has_state);
    walk_bool(walk, &sync->is_joining);
    walk_bool(walk, &sync->is_founding);
    walk_u64(walk, &sync->incarnation);
    if (sync->has_state)
        walk_state(walk, &sync->state);
}

static void walk_found(struct walk *walk, struct membership_message *message)
{
    walk_member(walk, &message->found.member);
    walk_u32(walk, &message->found.slot_count);
    walk_count(walk, &message->found.dead_count, MEMBERSHIP_DEAD_MAX);
    for (uint32_t i = 0; i < message->found.dead_count; i++)
        walk_node(walk, &message->found.dead[i]);
    if (message->found.member.slot >= message->found.slot_count ||
        message->found.slot_count > MEMBERSHIP_SLOTS_MAX)
        walk->is_wrong = true;
}

static void walk_start(struct walk *walk, struct membership_message *message)
{
    walk_count(walk, &message->start.excluded_count, MEMBERSHIP_PROCESSES_MAX);
    for (uint32_t i = 0; i < message->start.excluded_count; i++)
        walk_process(walk, &message->start.excluded[i]);
}

static void walk_body(struct walk *walk, struct membership_message *message)
{
    switch (message->type) {
    case MEMBERSHIP_MESSAGE_START:
        walk_start(walk, message);
        break;
    case MEMBERSHIP_MESSAGE_SYNC:
        walk_sync(walk, &message->sync);
        break;
    case MEMBERSHIP_MESSAGE_ACK:
        walk_u64(walk, &message->generation);
        break;
    case MEMBERSHIP_MESSAGE_FOUND:
        walk_found(walk, message);
        break;
    case MEMBERSHIP_MESSAGE_JOIN:
        walk_member(walk, &message->join.member);
        break;
    case MEMBERSHIP_MESSAGE_PROVED:
    case MEMBERSHIP_MESSAGE_SEEN:
    case MEMBERSHIP_MESSAGE_LEAVING:
    case MEMBERSHIP_MESSAGE_NODE_FENCED:
    case MEMBERSHIP_MESSAGE_NODE_RECOVERED:
    case MEMBERSHIP_MESSAGE_STRANGER:
        walk_node(walk, &message->node);
        break;
    case MEMBERSHIP_MESSAGE_EXPEL:
        walk_process(walk, &message->expel.process);
        walk_u64(walk, &message->expel.incarnation);
        walk_bytes(walk, message->expel.reason, sizeof(message->expel.reason));
        message->expel.reason[MEMBERSHIP_REASON_BYTES - 1] = '\0';
        break;
    case MEMBERSHIP_MESSAGE_LINK:
        walk_u32(walk, &message->link.peer_node_id);
        walk_u64(walk, &message->link.peer_incarnation);
        walk_bool(walk, &message->link.is_down);
        break;
    case MEMBERSHIP_MESSAGE_FEATURES:
        walk_u16(walk, &message->features.version);
        walk_u64(walk, &message->features.features);
        break;
    case MEMBERSHIP_MESSAGE_TYPE_COUNT:
        break;
    }
}

struct header {
    uint32_t magic;
    uint16_t version;
    uint16_t type;
    uint8_t format_id[16];
};

static void walk_header(struct walk *walk, struct header *header,
                        struct membership_message *message)
{
    walk_u32(walk, &header->magic);
    walk_u16(walk, &header->version);
    walk_u16(walk, &header->type);
    walk_bytes(walk, header->format_id, sizeof(header->format_id));
    walk_u32(walk, &message->ring.node_id);
    walk_u64(walk, &message->ring.sequence);
    walk_process(walk, &message->round.starter);
    walk_u32(walk, &message->round.number);
}

size_t membership_message_encode(struct membership_message *message, const uint8_t format_id[16],
                                 uint8_t *bytes)
{
    struct walk walk = {.bytes = bytes, .length = MEMBERSHIP_MESSAGE_BYTES_MAX, .is_writing = true};
    struct header header = {.magic = MEMBERSHIP_MAGIC,
                            .version = MEMBERSHIP_WIRE_VERSION,
                            .type = (uint16_t)message->type};
    memcpy(header.format_id, format_id, sizeof(header.format_id));
    walk_header(&walk, &header, message);
    walk_body(&walk, message);
    CHECK(!walk.is_bad && !walk.is_wrong);
    return walk.at;
}

int membership_message_decode(struct membership_message *message, const uint8_t format_id[16],
                              const uint8_t *bytes, size_t length)
{
    struct walk walk = {.bytes = (uint8_t *)bytes, .length = length}; // only read
    struct header header = {0};
    memset(message, 0, sizeof(*message));
    walk_header(&walk, &header, message);
    if (walk.is_bad)
        return -ERROR_MESSAGE_LENGTH;
    if (header.magic != MEMBERSHIP_MAGIC)
        return -ERROR_MESSAGE_FIELD;
    if (header.version != MEMBERSHIP_WIRE_VERSION)
        return -ERROR_PEER_VERSION;
    if (memcmp(header.format_id, format_id, sizeof(header.format_id)) != 0)
        return -ERROR_PEER_VOLUME;
    if (header.type < MEMBERSHIP_MESSAGE_START || header.type >= MEMBERSHIP_MESSAGE_TYPE_COUNT)
        return -ERROR_MESSAGE_TYPE;
    message->type = (enum membership_message_type)header.type;
    walk_body(&walk, message);
    if (walk.is_bad || walk.at != length)
        return -ERROR_MESSAGE_LENGTH;
    return walk.is_wrong ? -ERROR_MESSAGE_FIELD : 0;
}

const char *membership_message_text(enum membership_message_type type)
{
    static const char *const names[] = {
        [MEMBERSHIP_MESSAGE_START] = "START",
        [MEMBERSHIP_MESSAGE_SYNC] = "SYNC",
        [MEMBERSHIP_MESSAGE_ACK] = "ACK",
        [MEMBERSHIP_MESSAGE_FOUND] = "FOUND",
        [MEMBERSHIP_MESSAGE_JOIN] = "JOIN",
        [MEMBERSHIP_MESSAGE_PROVED] = "PROVED",
        [MEMBERSHIP_MESSAGE_SEEN] = "SEEN",
        [MEMBERSHIP_MESSAGE_LEAVING] = "LEAVING",
        [MEMBERSHIP_MESSAGE_EXPEL] = "EXPEL",
        [MEMBERSHIP_MESSAGE_NODE_FENCED] = "FENCED",
        [MEMBERSHIP_MESSAGE_NODE_RECOVERED] = "RECOVERED",
        [MEMBERSHIP_MESSAGE_LINK] = "LINK",
        [MEMBERSHIP_MESSAGE_FEATURES] = "FEATURES",
        [MEMBERSHIP_MESSAGE_STRANGER] = "STRANGER",
    };
    return type >= MEMBERSHIP_MESSAGE_START && type < MEMBERSHIP_MESSAGE_TYPE_COUNT ? names[type]
                                                                                    : "?";
}
