// SPDX-License-Identifier: Apache-2.0
// Checks of what comes from the wire, and the small conversions of fields. A frame is verified as
// a whole before its first message is used, so none is ever half applied.
#include "dlm/message.h"

#include "fs/base/check.h"
#include "fs/base/error.h"

#include <inttypes.h>
#include <string.h>

// ---- fields -----------------------------------------------------------------------------------

struct message_header_wire message_header_make(enum message_type type, size_t length)
{
    CHECK(length % 8 == 0 && length <= UINT16_MAX);
    return (struct message_header_wire){le16_make((uint16_t)type), le16_make((uint16_t)length),
                                        le32_make(0)};
}

struct name_wire message_name_make(struct lock_name name)
{
    return (struct name_wire){le32_make(name.type), le32_make(0), le64_make(name.id)};
}

struct lock_name message_name_get(const struct name_wire *wire)
{
    return (struct lock_name){le32_get(wire->type), le64_get(wire->id)};
}

struct node_wire message_node_make(struct dlm_node node)
{
    return (struct node_wire){le32_make(node.node_id), le32_make(0), le64_make(node.incarnation)};
}

struct dlm_node message_node_get(const struct node_wire *wire)
{
    return (struct dlm_node){le32_get(wire->node_id), le64_get(wire->incarnation)};
}

struct range_wire message_range_make(const struct dlm_range *range)
{
    return (struct range_wire){
        .owner = le64_make(range->owner),
        .handle = le64_make(range->handle),
        .start = le64_make(range->start),
        .end = le64_make(range->end),
        .pid = le32_make(range->pid),
        .space = range->space,
        .type = range->type,
    };
}

struct dlm_range message_range_get(const struct range_wire *wire)
{
    return (struct dlm_range){
        .owner = le64_get(wire->owner),
        .handle = le64_get(wire->handle),
        .start = le64_get(wire->start),
        .end = le64_get(wire->end),
        .pid = le32_get(wire->pid),
        .space = wire->space,
        .type = wire->type,
    };
}

static const int error_of[MESSAGE_ERROR_COUNT] = {
    [MESSAGE_ERROR_NONE] = 0,
    [MESSAGE_ERROR_AGAIN] = -EAGAIN,
    [MESSAGE_ERROR_CANCELED] = -ECANCELED,
    [MESSAGE_ERROR_DEADLOCK] = -EDEADLK,
};

uint8_t message_error_make(int error)
{
    for (int wire = 0; wire < MESSAGE_ERROR_COUNT; wire++)
        if (error_of[wire] == error)
            return (uint8_t)wire;
    CHECK(!"an error that the wire can carry");
}

int message_error_get(uint8_t wire)
{
    CHECK(wire < MESSAGE_ERROR_COUNT);
    return error_of[wire];
}

// ---- verification -----------------------------------------------------------------------------

static bool is_zero(const uint8_t *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (bytes[i])
            return false;
    return true;
}

#define ZERO(message) is_zero((message)->zero, sizeof((message)->zero))

static bool name_is_valid(const struct name_wire *name)
{
    return le32_get(name->zero) == 0;
}

static bool node_is_valid(const struct node_wire *node)
{
    return le32_get(node->zero) == 0 && le32_get(node->node_id) != 0;
}

static bool mode_is_valid(uint8_t mode)
{
    return mode < DLM_MODE_COUNT;
}

static bool range_is_valid(const struct range_wire *range)
{
    return ZERO(range) && range->space < DLM_RANGE_SPACE_COUNT &&
           range->type <= DLM_RANGE_EXCLUSIVE && le64_get(range->start) <= le64_get(range->end);
}

static bool request_is_valid(const void *bytes)
{
    const struct message_request_wire *m = bytes;
    return name_is_valid(&m->name) && mode_is_valid(m->mode) && !(m->flags & ~MESSAGE_NOQUEUE) &&
           ZERO(m);
}

static bool convert_is_valid(const void *bytes)
{
    const struct message_convert_wire *m = bytes;
    return mode_is_valid(m->mode) && !(m->flags & ~(MESSAGE_NOQUEUE | MESSAGE_VALUE)) && ZERO(m);
}

static bool release_is_valid(const void *bytes)
{
    const struct message_release_wire *m = bytes;
    return !(m->flags & ~MESSAGE_VALUE) && ZERO(m);
}

static bool cancel_is_valid(const void *bytes)
{
    (void)bytes;
    return true;
}

static bool grant_is_valid(const void *bytes)
{
    const struct message_grant_wire *m = bytes;
    return mode_is_valid(m->mode) && !(m->flags & ~MESSAGE_VALUE) && ZERO(m);
}

static bool denied_is_valid(const void *bytes)
{
    const struct message_denied_wire *m = bytes;
    return m->error > MESSAGE_ERROR_NONE && m->error < MESSAGE_ERROR_COUNT && ZERO(m);
}

static bool blocking_is_valid(const void *bytes)
{
    const struct message_blocking_wire *m = bytes;
    return mode_is_valid(m->mode) && ZERO(m);
}

static bool hold_is_valid(const void *bytes)
{
    const struct message_hold_wire *m = bytes;
    return name_is_valid(&m->name) && node_is_valid(&m->holder) && mode_is_valid(m->granted) &&
           (mode_is_valid(m->requested) || m->requested == DLM_MODE_NONE) &&
           !(m->flags & ~(MESSAGE_NOQUEUE | MESSAGE_VALUE | MESSAGE_AT_MOST)) && ZERO(m);
}

static bool range_lock_is_valid(const void *bytes)
{
    const struct message_range_lock_wire *m = bytes;
    return name_is_valid(&m->name) && range_is_valid(&m->range) && m->wait <= 1 && ZERO(m);
}

static bool range_unlock_is_valid(const void *bytes)
{
    const struct message_range_unlock_wire *m = bytes;
    return name_is_valid(&m->name) && range_is_valid(&m->range) && m->scope <= DLM_SCOPE_HANDLE &&
           m->is_share <= 1 && ZERO(m);
}

static bool range_cancel_is_valid(const void *bytes)
{
    const struct message_range_cancel_wire *m = bytes;
    return name_is_valid(&m->name) && m->error > MESSAGE_ERROR_NONE &&
           m->error < MESSAGE_ERROR_COUNT && ZERO(m);
}

static bool range_result_is_valid(const void *bytes)
{
    const struct message_range_result_wire *m = bytes;
    return name_is_valid(&m->name) && le32_get(m->conflict_node.zero) == 0 &&
           range_is_valid(&m->conflict) && m->error < MESSAGE_ERROR_COUNT && m->is_kept <= 1 &&
           ZERO(m);
}

static bool range_hold_is_valid(const void *bytes)
{
    const struct message_range_hold_wire *m = bytes;
    return name_is_valid(&m->name) && node_is_valid(&m->holder) && range_is_valid(&m->range);
}

static bool probe_owner_is_valid(const void *bytes)
{
    const struct message_probe_owner_wire *m = bytes;
    return node_is_valid(&m->probe.node);
}

static bool probe_waiter_is_valid(const void *bytes)
{
    const struct message_probe_waiter_wire *m = bytes;
    return node_is_valid(&m->probe.node) && name_is_valid(&m->name);
}

static bool rule_is_valid(const void *bytes)
{
    const struct message_rule_wire *m = bytes;
    uint32_t members = le32_get(m->member_count), blockers = le32_get(m->blocker_count);

    if (members > DLM_NODES_MAX || blockers > DLM_DEAD_MAX || m->is_noted > 1 || !ZERO(m))
        return false;
    if (le16_get(m->header.length) != sizeof(*m) + (members + blockers) * sizeof(m->nodes[0]))
        return false;
    for (uint32_t i = 0; i < members + blockers; i++)
        if (!node_is_valid(&m->nodes[i]))
            return false;
    return members == DLM_NODES_MAX || le64_get(m->gone) >> members == 0;
}

static bool ready_is_valid(const void *bytes)
{
    const struct message_ready_wire *m = bytes;
    return m->is_first <= 1 && ZERO(m);
}

static bool note_is_valid(const void *bytes)
{
    const struct message_note_wire *m = bytes;
    return name_is_valid(&m->name) && (mode_is_valid(m->mode) || m->mode == DLM_MODE_NONE) &&
           !(m->flags & ~MESSAGE_ANSWER) && ZERO(m);
}

struct message_kind {
    const char *text;
    size_t bytes;     // of header and body; the least for a kind of variable length
    bool is_variable; // its check judges the length too
    bool (*is_valid)(const void *message);
};

static const struct message_kind kinds[MESSAGE_TYPE_COUNT] = {
    [MESSAGE_REQUEST] = {"REQUEST", sizeof(struct message_request_wire), false, request_is_valid},
    [MESSAGE_CONVERT] = {"CONVERT", sizeof(struct message_convert_wire), false, convert_is_valid},
    [MESSAGE_RELEASE] = {"RELEASE", sizeof(struct message_release_wire), false, release_is_valid},
    [MESSAGE_CANCEL] = {"CANCEL", sizeof(struct message_cancel_wire), false, cancel_is_valid},
    [MESSAGE_GRANT] = {"GRANT", sizeof(struct message_grant_wire), false, grant_is_valid},
    [MESSAGE_DENIED] = {"DENIED", sizeof(struct message_denied_wire), false, denied_is_valid},
    [MESSAGE_BLOCKING] = {"BLOCKING", sizeof(struct message_blocking_wire), false,
                          blocking_is_valid},
    [MESSAGE_HOLD] = {"HOLD", sizeof(struct message_hold_wire), false, hold_is_valid},
    [MESSAGE_RANGE_LOCK] = {"RANGE_LOCK", sizeof(struct message_range_lock_wire), false,
                            range_lock_is_valid},
    [MESSAGE_RANGE_TEST] = {"RANGE_TEST", sizeof(struct message_range_lock_wire), false,
                            range_lock_is_valid},
    [MESSAGE_RANGE_UNLOCK] = {"RANGE_UNLOCK", sizeof(struct message_range_unlock_wire), false,
                              range_unlock_is_valid},
    [MESSAGE_RANGE_CANCEL] = {"RANGE_CANCEL", sizeof(struct message_range_cancel_wire), false,
                              range_cancel_is_valid},
    [MESSAGE_RANGE_RESULT] = {"RANGE_RESULT", sizeof(struct message_range_result_wire), false,
                              range_result_is_valid},
    [MESSAGE_RANGE_HOLD] = {"RANGE_HOLD", sizeof(struct message_range_hold_wire), false,
                            range_hold_is_valid},
    [MESSAGE_PROBE_OWNER] = {"PROBE_OWNER", sizeof(struct message_probe_owner_wire), false,
                             probe_owner_is_valid},
    [MESSAGE_PROBE_WAITER] = {"PROBE_WAITER", sizeof(struct message_probe_waiter_wire), false,
                              probe_waiter_is_valid},
    [MESSAGE_DEADLOCK] = {"DEADLOCK", sizeof(struct message_deadlock_wire), false, cancel_is_valid},
    [MESSAGE_RULE] = {"RULE", sizeof(struct message_rule_wire), true, rule_is_valid},
    [MESSAGE_READY] = {"READY", sizeof(struct message_ready_wire), false, ready_is_valid},
    [MESSAGE_NOTE] = {"NOTE", sizeof(struct message_note_wire), false, note_is_valid},
    [MESSAGE_NOTED] = {"NOTED", sizeof(struct message_noted_wire), false, cancel_is_valid},
};

// 0 and the length of the message that begins `bytes`.
static int message_verify(const uint8_t *bytes, size_t left, size_t *length)
{
    const struct message_header_wire *header = (const void *)bytes;

    if (left < sizeof(*header))
        return -ERROR_MESSAGE_LENGTH;
    uint16_t type = le16_get(header->type);
    *length = le16_get(header->length);
    if (type >= MESSAGE_TYPE_COUNT || !kinds[type].is_valid)
        return -ERROR_MESSAGE_TYPE;
    const struct message_kind *kind = &kinds[type];
    if (*length > left || *length % 8 || *length < kind->bytes)
        return -ERROR_MESSAGE_LENGTH;
    if (!kind->is_variable && *length != kind->bytes)
        return -ERROR_MESSAGE_LENGTH;
    return le32_get(header->zero) == 0 && kind->is_valid(bytes) ? 0 : -ERROR_MESSAGE_FIELD;
}

static int frame_header_decode(const uint8_t *bytes, size_t length, struct frame_header *header)
{
    struct frame_header_wire wire;

    if (length < sizeof(wire) || length > DLM_FRAME_BYTES_MAX)
        return -ERROR_MESSAGE_LENGTH;
    memcpy(&wire, bytes, sizeof(wire));
    if (le32_get(wire.magic) != MESSAGE_MAGIC || le16_get(wire.zero) != 0)
        return -ERROR_MESSAGE_FIELD;
    uint16_t version = le16_get(wire.version);
    if (version < MESSAGE_VERSION_MIN || version > MESSAGE_VERSION)
        return -ERROR_PEER_VERSION;
    *header = (struct frame_header){
        .sender = {le32_get(wire.node_id), le64_get(wire.incarnation)},
        .epoch = le64_get(wire.epoch),
        .lamport = le64_get(wire.lamport),
        .message_count = le32_get(wire.message_count),
    };
    return header->epoch && header->message_count ? 0 : -ERROR_MESSAGE_FIELD;
}

int message_frame_verify(const uint8_t *bytes, size_t length, struct frame_header *header)
{
    int result = frame_header_decode(bytes, length, header);
    size_t at = sizeof(struct frame_header_wire);

    for (uint32_t i = 0; result == 0 && i < header->message_count; i++) {
        size_t message_length = 0;
        result = message_verify(bytes + at, length - at, &message_length);
        at += message_length;
    }
    return result == 0 && at != length ? -ERROR_MESSAGE_LENGTH : result;
}

void message_frame_header_encode(const struct frame_header *header, uint8_t *bytes)
{
    struct frame_header_wire wire = {
        .magic = le32_make(MESSAGE_MAGIC),
        .version = le16_make(MESSAGE_VERSION),
        .node_id = le32_make(header->sender.node_id),
        .message_count = le32_make(header->message_count),
        .incarnation = le64_make(header->sender.incarnation),
        .epoch = le64_make(header->epoch),
        .lamport = le64_make(header->lamport),
    };
    memcpy(bytes, &wire, sizeof(wire));
}

// ---- text -------------------------------------------------------------------------------------

const char *message_type_text(enum message_type type)
{
    return type < MESSAGE_TYPE_COUNT && kinds[type].text ? kinds[type].text : "?";
}

static void hold_to_text(const struct message_hold_wire *m, struct text *text)
{
    text_add(text, " %u/%" PRIu64 " node=%u cookie=%" PRIu64 " %s", le32_get(m->name.type),
             le64_get(m->name.id), le32_get(m->holder.node_id), le64_get(m->cookie),
             dlm_mode_text(m->granted));
    if (m->requested != DLM_MODE_NONE)
        text_add(text, "->%s", dlm_mode_text(m->requested));
    if (m->flags & MESSAGE_AT_MOST)
        text_add(text, " at most");
}

static void range_lock_to_text(const struct message_range_lock_wire *m, struct text *text)
{
    text_add(text, " %u/%" PRIu64 " cookie=%" PRIu64 " owner=%" PRIu64 " [%" PRIu64 ",%" PRIu64 "]",
             le32_get(m->name.type), le64_get(m->name.id), le64_get(m->cookie),
             le64_get(m->range.owner), le64_get(m->range.start), le64_get(m->range.end));
}

void message_to_text(const struct message_header_wire *message, struct text *text)
{
    const void *bytes = message;
    const struct message_request_wire *request = bytes;
    const struct message_convert_wire *convert = bytes;
    const struct message_grant_wire *grant = bytes;
    uint16_t type = le16_get(message->type);

    text_add(text, "%s", message_type_text(type));
    if (type == MESSAGE_REQUEST || type == MESSAGE_NOTE)
        text_add(text, " %u/%" PRIu64 " cookie=%" PRIu64 " %s", le32_get(request->name.type),
                 le64_get(request->name.id), le64_get(request->cookie),
                 dlm_mode_text(request->mode));
    else if (type == MESSAGE_CONVERT)
        text_add(text, " cookie=%" PRIu64 " %s", le64_get(convert->cookie),
                 dlm_mode_text(convert->mode));
    else if (type == MESSAGE_GRANT || type == MESSAGE_BLOCKING)
        text_add(text, " cookie=%" PRIu64 " %s", le64_get(grant->cookie),
                 dlm_mode_text(grant->mode)); // both keep the mode at the same offset
    else if (type == MESSAGE_RELEASE || type == MESSAGE_CANCEL || type == MESSAGE_DENIED ||
             type == MESSAGE_NOTED)
        text_add(text, " cookie=%" PRIu64, le64_get(grant->cookie));
    else if (type == MESSAGE_HOLD)
        hold_to_text(bytes, text);
    else if (type == MESSAGE_RANGE_LOCK || type == MESSAGE_RANGE_TEST)
        range_lock_to_text(bytes, text);
}
_Static_assert(offsetof(struct message_grant_wire, mode) ==
                       offsetof(struct message_blocking_wire, mode) &&
                   offsetof(struct message_request_wire, mode) ==
                       offsetof(struct message_note_wire, mode),
               "message_to_text reads one through the other");

// ---- hello ------------------------------------------------------------------------------------

void message_hello_encode(const struct hello *hello, struct hello_wire *wire)
{
    *wire = (struct hello_wire){
        .magic = le32_make(HELLO_MAGIC),
        .version_min = le16_make(hello->version_min),
        .version_max = le16_make(hello->version_max),
        .features_must = le64_make(hello->features_must),
        .features_may = le64_make(hello->features_may),
        .incarnation = le64_make(hello->sender.incarnation),
        .peer_incarnation = le64_make(hello->peer_incarnation),
        .node_id = le32_make(hello->sender.node_id),
        .session_received = le64_make(hello->session_received),
    };
    memcpy(wire->format_id, hello->format_id, sizeof(wire->format_id));
}

int message_hello_decode(const struct hello_wire *wire, const struct hello *mine,
                         struct hello *peer, uint16_t *version)
{
    *peer = (struct hello){
        .sender = {le32_get(wire->node_id), le64_get(wire->incarnation)},
        .peer_incarnation = le64_get(wire->peer_incarnation),
        .version_min = le16_get(wire->version_min),
        .version_max = le16_get(wire->version_max),
        .features_must = le64_get(wire->features_must),
        .features_may = le64_get(wire->features_may),
        .session_received = le64_get(wire->session_received),
    };
    memcpy(peer->format_id, wire->format_id, sizeof(peer->format_id));
    if (le32_get(wire->magic) != HELLO_MAGIC || le32_get(wire->zero) || !peer->sender.node_id)
        return -ERROR_PEER_HANDSHAKE;
    *version = peer->version_max < mine->version_max ? peer->version_max : mine->version_max;
    if (*version < peer->version_min || *version < mine->version_min)
        return -ERROR_PEER_VERSION;
    if (peer->features_must & ~(mine->features_must | mine->features_may))
        return -ERROR_PEER_VERSION;
    if (memcmp(peer->format_id, mine->format_id, sizeof(peer->format_id)) != 0)
        return -ERROR_PEER_VOLUME;
    if (peer->peer_incarnation && peer->peer_incarnation != mine->sender.incarnation)
        return -ERROR_MESSAGE_SENDER;
    return 0;
}
