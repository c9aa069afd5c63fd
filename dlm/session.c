// SPDX-License-Identifier: Apache-2.0
#include "dlm/session.h"

#include "fs/base/check.h"
#include "fs/base/error.h"
#include "fs/base/memory.h"
#include "fs/base/sabotage.h"

#include <stdlib.h>
#include <string.h>

enum { HEADER_BYTES = sizeof(struct session_frame_wire), QUEUE_BYTES_FIRST = 16384 };

// Frames with their headers, as they are written, lie one behind the other in `queue`:
//
//   queue   [ gone | confirmed not yet, written ... | not written on this connection | room ]
//           0      begin                            cursor                           end
struct session {
    uint8_t *queue;
    size_t capacity;
    size_t begin;
    size_t cursor;
    size_t end;
    size_t unacked_bytes_max;
    uint64_t sent;
    uint64_t acked;
    uint64_t received;
    uint64_t written_max; // highest sequence ever written: writing it again is a resend
    uint64_t resent;
    size_t unconfirmed_bytes; // received since we last told the peer how far we are
    bool is_connected;
    bool is_lost;
};

struct session *session_new(const struct session_config *config)
{
    struct session *session = calloc(1, sizeof(*session));

    CHECK(session != NULL);
    session->unacked_bytes_max = config->unacked_bytes_max;
    return session;
}

void session_free(struct session *session)
{
    free(session->queue);
    free(session);
}

uint64_t session_received(const struct session *session)
{
    return session->received;
}

static int lose(struct session *session)
{
    session->is_lost = true;
    session->is_connected = false;
    return -ERROR_SESSION_LOST;
}

// Room for `length` more bytes at the end: moves the rest to the front, or grows.
static void queue_reserve(struct session *session, size_t length)
{
    size_t used = session->end - session->begin;

    if (session->end + length <= session->capacity)
        return;
    if (used) // an empty queue may have no memory yet
        memmove(session->queue, session->queue + session->begin, used);
    session->cursor -= session->begin;
    session->begin = 0;
    session->end = used;
    if (used + length <= session->capacity / 2)
        return;
    size_t capacity = session->capacity ? session->capacity : QUEUE_BYTES_FIRST;
    while (capacity / 2 < used + length)
        capacity *= 2;
    session->queue = memory_resize(session->queue, capacity, 1);
    session->capacity = capacity;
}

int session_send(struct session *session, const void *bytes, size_t length)
{
    size_t needed = HEADER_BYTES + length;

    CHECK(length > 0 && length <= DLM_FRAME_BYTES_MAX && length % 8 == 0);
    if (session->is_lost)
        return -ERROR_SESSION_LOST;
    if (session->end - session->begin + needed > session->unacked_bytes_max)
        return lose(session);
    queue_reserve(session, needed);
    struct session_frame_wire header = {
        .length = le32_make((uint32_t)length),
        .sequence = le64_make(++session->sent),
    };
    memcpy(session->queue + session->end, &header, HEADER_BYTES);
    memcpy(session->queue + session->end + HEADER_BYTES, bytes, length);
    session->end += needed;
    return 0;
}

static struct session_frame_wire header_at(const struct session *session, size_t at)
{
    struct session_frame_wire header;

    memcpy(&header, session->queue + at, sizeof(header));
    return header;
}

// The peer has delivered all up to `ack`.
static int confirm(struct session *session, uint64_t ack)
{
    if (ack > session->sent)
        return lose(session);
    while (session->begin < session->end) {
        struct session_frame_wire header = header_at(session, session->begin);
        if (le64_get(header.sequence) > ack)
            break;
        session->begin += HEADER_BYTES + le32_get(header.length);
    }
    if (session->cursor < session->begin)
        session->cursor = session->begin;
    if (ack > session->acked)
        session->acked = ack;
    if (session->begin == session->end)
        session->begin = session->cursor = session->end = 0;
    return 0;
}

int session_connect(struct session *session, uint64_t peer_received)
{
    if (session->is_lost || peer_received < session->acked)
        return lose(session);
    if (!SABOTAGE(session_deliver_duplicates) && confirm(session, peer_received) < 0)
        return -ERROR_SESSION_LOST;
    session->is_connected = true;
    session->cursor = SABOTAGE(session_no_resend) ? session->end : session->begin;
    session->unconfirmed_bytes = 0; // our hello has said it
    return 0;
}

void session_disconnect(struct session *session)
{
    session->is_connected = false;
}

static void next_queued(struct session *session, struct session_frame_wire *header,
                        const uint8_t **payload, size_t *length)
{
    *header = header_at(session, session->cursor);
    *length = le32_get(header->length);
    *payload = session->queue + session->cursor + HEADER_BYTES;
    session->cursor += HEADER_BYTES + *length;
    uint64_t sequence = le64_get(header->sequence);
    session->resent += sequence <= session->written_max;
    if (sequence > session->written_max)
        session->written_max = sequence;
}

bool session_next(struct session *session, struct session_frame_wire *header,
                  const uint8_t **payload, size_t *length)
{
    if (!session->is_connected)
        return false;
    if (session->cursor < session->end) {
        next_queued(session, header, payload, length);
    } else if (session->unconfirmed_bytes >= SESSION_ACK_BYTES) {
        *header = (struct session_frame_wire){0};
        *payload = NULL;
        *length = 0;
    } else {
        return false;
    }
    header->ack = le64_make(session->received);
    session->unconfirmed_bytes = 0;
    return true;
}

int session_frame_verify(const struct session_frame_wire *header, size_t *length)
{
    *length = le32_get(header->length);
    if (*length > DLM_FRAME_BYTES_MAX || *length % 8)
        return -ERROR_MESSAGE_LENGTH;
    bool is_ack_only = *length == 0;
    if (le32_get(header->zero) || is_ack_only != (le64_get(header->sequence) == 0))
        return -ERROR_MESSAGE_FIELD;
    return 0;
}

int session_receive(struct session *session, const struct session_frame_wire *header)
{
    uint64_t sequence = le64_get(header->sequence);

    if (session->is_lost || confirm(session, le64_get(header->ack)) < 0)
        return -ERROR_SESSION_LOST;
    if (!sequence)
        return 0;
    if (sequence <= session->received)
        return SABOTAGE(session_deliver_duplicates) ? 1 : 0;
    if (sequence != session->received + 1 && !SABOTAGE(session_no_resend))
        return lose(session);
    session->received = sequence;
    session->unconfirmed_bytes += HEADER_BYTES + le32_get(header->length);
    return 1;
}

struct session_status session_status_get(const struct session *session)
{
    return (struct session_status){
        .sent = session->sent,
        .acked = session->acked,
        .received = session->received,
        .unacked_bytes = session->end - session->begin,
        .resent = session->resent,
        .is_connected = session->is_connected,
        .is_lost = session->is_lost,
    };
}
